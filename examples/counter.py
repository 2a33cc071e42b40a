"""A counter replicated over three nodes, all in this one process: run it as it is.

    python examples/counter.py

Every command goes through the log: a majority of the nodes has it on disk before `propose` returns.
"""

import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack

import raftline

MEMBERS = {f"n{n}": f"127.0.0.1:{7100 + n}" for n in (1, 2, 3)}


class Counter(raftline.StateMachine):
    """Adds numbers up."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Add the number in `command` and return the total."""
        self.total += int(command)
        return str(self.total).encode()

    def read(self, query: bytes, time_ms: int) -> bytes:
        """Return the total."""
        return str(self.total).encode()

    def snapshot(self) -> Iterable[bytes]:
        """Return the whole state."""
        return [str(self.total).encode()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over what `snapshot` returned."""
        self.total = int(b"".join(chunks))


async def main() -> None:
    """Start three nodes, add on one, read on another."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        nodes = [
            raftline.Node(raftline.NodeConfig(node_id=name, members=MEMBERS, data_dir=f"{directory}/{name}"), Counter())
            for name in MEMBERS
        ]
        for node in nodes:
            await stack.enter_async_context(node)
        for amount in (1, 2, 3, 4):
            total = await nodes[0].propose(str(amount).encode())
            print(f"n1 added {amount}: the total is {total.decode()}")
        print(f"n3 reads {(await nodes[2].read(b'')).decode()}, linearizably")


if __name__ == "__main__":
    asyncio.run(main())
