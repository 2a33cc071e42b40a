"""Two groups in three nodes, all in this one process: each has its own log, its own leader and its own counter.

    python examples/groups.py

They share each node's data directory and connections; a command of one never waits for the other.
"""

import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack

import raftline

MEMBERS = {f"n{n}": f"127.0.0.1:{7110 + n}" for n in (1, 2, 3)}


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
    """Start three nodes, let each host two more groups, and add in one of them."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        nodes = [
            raftline.Node(raftline.NodeConfig(node_id=name, members=MEMBERS, data_dir=f"{directory}/{name}"), Counter())
            for name in MEMBERS
        ]
        for node in nodes:
            await stack.enter_async_context(node)
        for number, name in enumerate(("orders", "users"), 1):
            config = raftline.GroupConfig(group=number, name=name, members=MEMBERS, prefers=f"n{number}")
            for node in nodes:
                await node.add_group(config, Counter())
        for amount in (1, 2, 3, 4):
            await nodes[0].group("orders").propose(str(amount).encode())
        await nodes[1].group("users").propose(b"100")
        for name in ("orders", "users"):
            group = nodes[2].group(name)
            total = (await group.read(b"")).decode()
            print(f"{name}: n3 reads {total}; {group.status().leader_id} leads")


if __name__ == "__main__":
    asyncio.run(main())
