"""Many groups in each simulated node: busy ones and idle ones, on one log, through crashes, while some come and go.

Every group has checkers of its own, so that Raft's promises are checked for each. Clients append words of their own to
their group's list, each word once: what was acknowledged has to be there at the end, in its own group and nowhere else.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from raftline.core.config import CoreConfig
from raftline.core.ids import GroupId, NodeId
from raftline.errors import ConfigError, OperatingError, SafetyViolation
from raftline.kv.machine import KvMachine, encode_command
from raftline.runtime.config import GroupConfig, NodeConfig
from raftline.runtime.node import Node
from raftline.sim.checkers import Checkers
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.faults import CALM_LINK, Latency, LinkFaults
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import NodeKilled

__all__ = ["GroupsOutcome", "run_groups"]

_LIST = b"words"
_FAULTS = LinkFaults(latency=Latency(0.0001, 0.001, 0.02), loss=0.02, duplicate=0.02, reorder=0.02)
_BUSY_S, _IDLE_S = 0.01, 2.0
_PATIENCE_S = 2.0
_LOOK_S = 0.05
_DRAIN_S = 1.0
"""Messages of a group that is forgotten everywhere may still be on their way for so long."""
_SEGMENT_BYTES = 1 << 14


class GroupsOutcome(msgspec.Struct):
    """What happened in one run."""

    acknowledged: dict[GroupId, int]
    unknown: int = 0
    crashes: int = 0
    removals: int = 0
    segments_max: int = 0


class _Cluster(SimCluster):
    """Machines that host some groups from their start on."""

    def __init__(self, world: SimLoop, size: int) -> None:
        super().__init__(world, size, config_of=_config_of, make_machine=KvMachine)
        self.hosted: list[GroupId] = []
        self.network.set_faults(_FAULTS)

    async def on_started(self, member: Member, node: Node) -> None:
        """Host what is to be hosted, and forget what else the log holds."""
        for group in self.hosted:
            await self.host(member, node, group)
        for group in node.recovered_groups:
            await node.remove_group(group)

    async def host(self, member: Member, node: Node, group: GroupId) -> None:
        """Let a node host a group, watched; runs as the node."""
        if group not in node.groups:
            checkers = self.group_checkers.setdefault(group, Checkers(self, group))
            await node.add_group(GroupConfig(group=group, members=self.first_addresses), KvMachine())
            checkers.watch(member, node)


def _config_of(name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
    return NodeConfig(
        node_id=name,
        members=addresses,
        data_dir="/data",
        request_timeout_s=1.0,
        segment_bytes=1 << 16,
        snapshot_log_bytes=_SEGMENT_BYTES,
        keep_log_entries=10,
        core=CoreConfig(quiesce_after_s=0.5),
    )


class _Run:
    """One seed."""

    def __init__(self, seed: int, *, size: int, groups: int, busy: int) -> None:
        self.world = SimLoop(seed)
        self.cluster = _Cluster(self.world, size)
        self.random = self.world.stream("groups")
        self.groups = list(range(1, groups + 1))
        self.busy = set(self.groups[:busy])
        self.acknowledged: dict[GroupId, set[bytes]] = {group: set() for group in self.groups}
        self.paused: set[GroupId] = set()
        self.outcome = GroupsOutcome(acknowledged={})
        self._lives = dict.fromkeys(self.groups, 0)
        self._ended = False

    async def run(self, chaos_s: float) -> None:
        """Fill groups while machines crash; then let everything come to rest and look at it."""
        self.cluster.hosted = list(self.groups)
        self.cluster.start()
        await self._until(lambda: len(self.cluster.ready()) == len(self.cluster.members))
        clients = [asyncio.create_task(self._client(group)) for group in self.groups]
        crasher = asyncio.create_task(self._crash_machines())
        await asyncio.sleep(chaos_s / 2)
        await self._replace(self.groups[-1])
        await asyncio.sleep(chaos_s / 2)
        self._ended = True
        await asyncio.gather(crasher, *clients)
        self.cluster.network.heal()
        self.cluster.network.set_faults(CALM_LINK)
        await self._until(lambda: len(self.cluster.ready()) == len(self.cluster.members))
        for group in self.groups:
            await self._write(group, b"last word of %d" % group, must=True)
        await self._until(self._is_level)
        self._check()

    async def _client(self, group: GroupId) -> None:
        """Append words to one group, often or seldom."""
        pause_s = _BUSY_S if group in self.busy else _IDLE_S
        number = 0
        while not self._ended:
            await asyncio.sleep(2 * pause_s * self.random.random())
            if group not in self.paused:
                number += 1
                word = b"%d.%d.%d" % (group, self._lives[group], number)
                await self._write(group, word + b" " + b"x" * int(2000 * self.random.random()))

    async def _write(self, group: GroupId, word: bytes, *, must: bool = False) -> None:
        """Append a word once, at any node; with `must`, words until one is acknowledged."""
        while True:
            life = self._lives[group]
            member = self.random.choice([*self.cluster.members.values()])
            command = encode_command([b"RPUSH", _LIST, word])
            try:
                await self._at(member, lambda node, command=command: node.group(group).propose(command))  # type: ignore[misc]
            except (OperatingError, ConfigError, NodeKilled, TimeoutError):
                self.outcome.unknown += 1
            else:
                if life == self._lives[group]:
                    self.acknowledged[group].add(word)
                return
            if not must:
                return
            word += b"!"

    async def _at(self, member: Member, call: Callable[[Node], Coroutine[Any, Any, Any]]) -> Any:
        """Run something in a node; raises what it raises, and `TimeoutError` for one that is down or silent."""
        loop, node = member.loop, member.node
        if loop is None or node is None or not member.ready:
            raise TimeoutError
        done = loop.spawn(call(node))
        await asyncio.wait([done], timeout=_PATIENCE_S)
        if not done.done():
            done.cancel()
            raise TimeoutError
        return done.result()

    async def _crash_machines(self) -> None:
        """Kill programs and cut the power of machines, one or two at a time, and start them again."""
        while not self._ended:
            await asyncio.sleep(0.3 + 2.0 * self.random.random())
            up = [member for member in self.cluster.members.values() if member.is_up]
            for member in self.random.sample(up, min(len(up), self.random.choice((1, 1, 2)))):
                member.crash(self.random.choice((CrashKind.PROGRAM, CrashKind.MACHINE)))
                self.outcome.crashes += 1
            await asyncio.sleep(0.05 + self.random.random())
            for member in self.cluster.members.values():
                if not member.is_up:
                    member.start()
            self._measure()

    async def _replace(self, group: GroupId) -> None:
        """Let every node forget a group, then host another one of the same number, which begins with nothing."""
        self.paused.add(group)
        self.cluster.hosted.remove(group)
        await self._everywhere(lambda member, node: self._remove(member, node, group))
        self.outcome.removals += 1
        self._lives[group] += 1
        self.acknowledged[group] = set()
        await asyncio.sleep(_DRAIN_S)
        self.cluster.group_checkers.pop(group)
        self.cluster.hosted.append(group)
        await self._everywhere(lambda member, node: self.cluster.host(member, node, group))
        self.paused.discard(group)

    async def _remove(self, member: Member, node: Node, group: GroupId) -> None:
        self.cluster.group_checkers[group].on_removed(member)
        await node.remove_group(group)

    async def _everywhere(self, call: Callable[[Member, Node], Coroutine[Any, Any, None]]) -> None:
        """Do something on every node, through crashes, until each has done it once."""
        waiting = list(self.cluster.members.values())
        while waiting:
            for member in list(waiting):
                try:
                    await self._at(member, lambda node, member=member: call(member, node))  # type: ignore[misc]
                    waiting.remove(member)
                except (OperatingError, ConfigError, NodeKilled, TimeoutError):
                    pass
            await asyncio.sleep(_LOOK_S)

    def _measure(self) -> None:
        for member in self.cluster.members.values():
            segments = sum(path.rpartition("/")[2].startswith("wal-") for path in member.disk.names.live)
            self.outcome.segments_max = max(self.outcome.segments_max, segments)

    def _machines(self, group: GroupId) -> list[KvMachine]:
        found = [member.node.groups[group].machine for member in self.cluster.ready() if member.node is not None]
        assert all(isinstance(machine, KvMachine) for machine in found), "as they were made"
        return found  # type: ignore[return-value]

    def _is_level(self) -> bool:
        return all(
            len({member.node.groups[group].status().applied_index for member in self.cluster.ready() if member.node})
            == 1
            for group in self.groups
        )

    def _check(self) -> None:
        """Every acknowledged word is there, once, on every replica of its group, and no word of another."""
        for group in self.groups:
            lists = {tuple(_words(machine)) for machine in self._machines(group)}
            if len(lists) != 1:
                raise SafetyViolation(f"group {group}: its replicas hold different lists (G1)")
            words = lists.pop()
            if len(set(words)) != len(words):
                raise SafetyViolation(f"group {group}: a word was appended twice (F8)")
            if lost := self.acknowledged[group] - set(words):
                raise SafetyViolation(f"group {group}: {len(lost)} acknowledged words are lost (C13), {min(lost)!r}")
            own = (b"%d.%d." % (group, self._lives[group]), b"last word of %d" % group)
            if foreign := [word for word in words if not word.startswith(own)]:
                raise SafetyViolation(f"group {group}: holds {foreign[0]!r} of another group, or of one before it")
            self.outcome.acknowledged[group] = len(self.acknowledged[group])

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Look every few milliseconds of virtual time; nothing tells when it is so."""
        until = self.world.now + 60.0
        while not condition():
            if self.world.now > until:
                raise SafetyViolation("the groups do not come to rest within a minute")
            await asyncio.sleep(_LOOK_S)


def _words(machine: KvMachine) -> Sequence[bytes]:
    """Return the list as the state machine has it."""
    query = encode_command([b"LRANGE", _LIST, b"0", b"-1"])
    lines = machine.read(query, 0).split(b"\r\n")
    return lines[2::2]


def run_groups(seed: int, *, size: int = 3, groups: int = 6, busy: int = 2, chaos_s: float = 20.0) -> GroupsOutcome:
    """Run one seed; raises `SafetyViolation` for a promise that was broken."""
    run = _Run(seed, size=size, groups=groups, busy=busy)
    run.world.run_until_complete(run.world.create_task(run.run(chaos_s)), limit_s=10 * chaos_s + 300.0)
    return run.outcome
