"""The whole way of a call of the library in one process: `node.propose`, three nodes, no sockets, no threads.

As `benchmarks/path.py` for the server: the code that ships on virtual time, so that equal code takes equal steps.
"""

import asyncio
import logging
from pathlib import Path

import structlog
from benchmarks.library import Counter
from benchmarks.path import NAMES, InlineDisk, Wire

from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node, Ports
from raftline.sim.clock import SimClock
from raftline.sim.loop import SimLoop
from raftline.wal.files import OsFiles

__all__ = ["LibraryPath"]

_START_S = 5.0


class LibraryPath:
    """Three nodes with a counter each, one of which leads."""

    def __init__(self, directory: Path) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self._world = SimLoop(1, steps_max=1 << 60)
        self._loops = {name: self._world.node(name) for name in NAMES}
        wires: dict[str, Wire] = {}
        self._nodes = {name: self._start(name, directory / name, wires) for name in NAMES}
        self._world.run_for(_START_S)
        self._left = self._answered = 0

    def _start(self, name: str, directory: Path, wires: dict[str, Wire]) -> Node:
        world, loop = self._world, self._loops[name]
        ports = Ports(
            files=OsFiles(),
            clock=SimClock(world),
            random=world.stream(f"elections/{name}"),
            transport=Wire(world, loop, name, wires),
            make_disk=lambda _name, _loop: InlineDisk(world, loop),
        )
        config = NodeConfig(
            node_id=name,
            members={each: f"127.0.0.1:{7001 + place}" for place, each in enumerate(NAMES)},
            data_dir=str(directory),
            snapshot_log_bytes=1 << 40,
            snapshot_log_entries=1 << 40,
        )
        node = Node(config, Counter(), ports=ports)
        loop.spawn(node.start(), name="start")
        return node

    def run(self, calls: int, *, in_flight: int) -> None:
        """Make so many calls on the leader, each of `in_flight` callers one after the other; returns when all ended."""
        leader = next(name for name, node in self._nodes.items() if node.is_leader)
        self._left, self._answered = calls, 0
        self._loops[leader].spawn(self._call(self._nodes[leader], in_flight), name="callers")
        while self._answered < calls:
            self._world.run_for(0.001)

    async def _call(self, node: Node, in_flight: int) -> None:
        await asyncio.gather(*(self._caller(node) for _ in range(in_flight)))

    async def _caller(self, node: Node) -> None:
        while self._left > 0:
            self._left -= 1
            await node.propose(b"1")
            self._answered += 1
