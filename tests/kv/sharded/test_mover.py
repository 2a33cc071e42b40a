"""A group's part in moving slots: nothing is given up before there is somebody to take it."""

import asyncio
from itertools import pairwise

from raftline.kv.sharded.machine import ShardMachine, take_configuration
from raftline.kv.sharded.mover import Mover
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import EMPTY, Configuration, Join, changed
from raftline.shards.ranges import SLOT_COUNT

NODES = ("n1", "n2", "n3")


class _World:
    """Group 1, which has all slots and is to give half of them to group 2."""

    def __init__(self) -> None:
        first = changed(EMPTY, Join({1: NODES}))
        self.configurations = [first, changed(first, Join({2: NODES}))]
        self.giver, self.taker = ShardMachine(1), ShardMachine(2)
        for machine in (self.giver, self.taker):
            machine.use_sessions(Sessions())
        for configuration in self.configurations:
            self.giver.apply(take_configuration(configuration), 1, 1000)
        self.is_up = False
        self.questions: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_leader = True

    async def propose(self, command: bytes) -> bytes:
        return self.giver.apply(command, 1, 1000)

    async def configuration(self, number: int) -> Configuration:
        return self.configurations[min(number, len(self.configurations)) - 1]

    async def ask(self, _group: int, query: bytes) -> bytes:
        self.questions.put_nowait(query)
        if not self.is_up:
            raise OSError("nobody is there")
        return self.taker.read(query, 0)

    @property
    def served(self) -> int:
        return sum(self.giver.serves(slot) for slot in range(SLOT_COUNT))


def test_slots_are_served_until_the_group_that_takes_them_is_there() -> None:
    """It may not have a leader yet, be down, or be behind: what is released is served by nobody until it arrives."""

    async def scenario() -> list[int]:
        world = _World()
        seen = [world.served]
        moving = asyncio.ensure_future(Mover(world, world.giver, world).finish())

        async def until_asked(times: int) -> None:
            for _ in range(times):
                await world.questions.get()
            seen.append(world.served)

        await until_asked(5)
        world.is_up = True  # and knows of no configuration
        await until_asked(5)
        world.taker.apply(take_configuration(world.configurations[0]), 1, 1000)
        await until_asked(5)
        world.taker.apply(take_configuration(world.configurations[1]), 1, 1000)
        await until_asked(5)
        moving.cancel()
        return seen

    seen = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert seen[:4] == [SLOT_COUNT] * 4
    assert seen[4] < SLOT_COUNT
    assert all(later <= earlier for earlier, later in pairwise(seen))
