"""A group's part in moving slots: nothing is given up before there is somebody to take it."""

import asyncio
from itertools import pairwise

import msgspec
from structlog.testing import capture_logs

from raftline.core.ids import GroupId
from raftline.errors import ApplyError, ConfigError
from raftline.kv.machine import encode_command
from raftline.kv.pieces import Record
from raftline.kv.sharded.machine import ShardMachine, decode_chunk, fetch, release, take_configuration
from raftline.kv.sharded.mover import Mover
from raftline.kv.slots import slot_of
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import EMPTY, Configuration, Join, changed
from raftline.shards.ranges import SLOT_COUNT
from raftline.sim.loop import SimLoop

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


class _Newer(_World):
    """Group 2, which gets a value of a kind that it does not know, until its nodes are upgraded."""

    def __init__(self) -> None:
        super().__init__()
        key = next(b"%d" % number for number in range(99) if self.configurations[1].owner(slot_of(b"%d" % number)) == 2)
        first, second = self.configurations
        self.giver = ShardMachine(1)
        self.giver.use_sessions(Sessions())
        self.giver.apply(take_configuration(first), 1, 1000)
        self.giver.apply(encode_command([b"SET", key, b"value"]), 1, 1000)
        self.giver.apply(take_configuration(second), 1, 1000)
        self.giver.apply(release(2, 2, 1 << 40, 1 << 40), 1, 1000)
        for configuration in self.configurations:
            self.taker.apply(take_configuration(configuration), 1, 1000)
        self.refused = 0

    async def propose(self, command: bytes) -> bytes:
        try:
            return self.taker.apply(command, 1, 1000)
        except ConfigError as error:
            self.refused += 1
            raise ApplyError(str(error)) from error

    async def ask(self, _group: GroupId, query: bytes) -> bytes:
        answer = self.giver.read(query, 0)
        chunk = decode_chunk(answer)
        if self.is_up or chunk is None:
            return answer
        records = [(slot, Record(record.key, 99, 0, b"?")) for slot, record in chunk.records]
        return msgspec.msgpack.encode(msgspec.structs.replace(chunk, records=records))


def test_a_chunk_that_cannot_be_read_is_told_and_not_entered_again_at_once() -> None:
    """Each attempt stands in the log: it waits for somebody to upgrade the nodes, and then the slots arrive."""
    world = _Newer()
    with capture_logs() as lines, SimLoop(1) as loop:
        moving = loop.create_task(Mover(world, world.taker, world).finish())
        loop.run_for(60)
        assert 2 <= world.refused <= 15
        assert not world.taker.holdings.is_settled
        world.is_up = True
        loop.run_for(10)
        assert moving.done()
    assert world.taker.holdings.is_settled
    assert world.taker.store.count == 1
    told = [line for line in lines if line["log_level"] == "warning"]
    assert len(told) == world.refused
    assert "upgrade every node" in told[0]["error"]


class _Halting(_Newer):
    """Its giver tells of the chunk that is waited for alone; whoever asks for the one behind it is not answered."""

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        if not self.is_up and query != fetch(2, 2, self.taker.holdings.arrivals[1].cursor):
            raise OSError("nobody is there")
        return await super().ask(group, query)


def test_a_chunk_that_cannot_be_read_is_told_also_if_the_next_one_cannot_be_had() -> None:
    """The giver that does not go on is no reason to enter again what is refused, and to say nothing of it."""
    world = _Halting()
    with capture_logs() as lines, SimLoop(1) as loop:
        moving = loop.create_task(Mover(world, world.taker, world).finish())
        loop.run_for(60)
        assert 2 <= world.refused <= 15
        assert len([line for line in lines if line["log_level"] == "warning"]) == world.refused
        world.is_up = True
        loop.run_for(10)
        assert moving.done()
    assert world.taker.holdings.is_settled
