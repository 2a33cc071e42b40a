"""What nodes pass on to each other waits for room on the way: of what a full queue drops nobody hears."""

import asyncio
from typing import Any

from tests.runtime.conftest import Register

MIB = 1 << 20


class Generous(Register):
    """Answers `large=N` with so many bytes."""

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        if command.startswith(b"large="):
            return bytes(int(command[6:]))
        return super().apply(command, index, time_ms)


def test_large_commands_of_a_followers_clients_all_arrive(make_cluster: Any) -> None:
    """More than a peer's queue holds, at a time: they go as fast as the leader takes them, in their order."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            await cluster.leader()
            follower = await cluster.follower()
            values = [b"%03d" % number + bytes(MIB) for number in range(60)]
            proposals = [asyncio.ensure_future(follower.propose(b"k=" + value)) for value in values]
            assert [old[:3] for old in await asyncio.gather(*proposals)] == [b"", *[value[:3] for value in values[:-1]]]

    asyncio.run(scenario())


def test_large_results_of_a_followers_clients_all_arrive(make_cluster: Any) -> None:
    """Frames that are answered at the same time wait for each other where together they are too much."""

    async def scenario() -> None:
        async with make_cluster(started=False) as cluster:
            cluster.make_machine = lambda _: Generous()
            await cluster.start()
            await cluster.leader()
            follower = await cluster.follower()
            proposals = []
            for _ in range(20):
                proposals.append(asyncio.ensure_future(follower.propose(b"large=%d" % (8 * MIB))))
                await asyncio.sleep(0)  # a turn of its own for each: a frame of its own
            assert [len(result) for result in await asyncio.gather(*proposals)] == [8 * MIB] * 20

    asyncio.run(scenario())
