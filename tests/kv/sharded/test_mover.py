"""A group's part in moving slots: nothing is given up before there is somebody to take it."""

import asyncio
from itertools import pairwise

import msgspec
import pytest
from structlog.testing import capture_logs

from raftline.core.ids import GroupId
from raftline.errors import ApplyError, ConfigError, Timeout
from raftline.kv.machine import encode_command
from raftline.kv.pieces import Record
from raftline.kv.sharded.machine import ShardMachine, decode_chunk, fetch, release, take_configuration
from raftline.kv.sharded.mover import Mover, Pace
from raftline.kv.slots import slot_of
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import EMPTY, Change, Configuration, Join, Leave, changed
from raftline.shards.ranges import SLOT_COUNT
from raftline.sim.loop import SimLoop

NODES = ("n1", "n2", "n3")


def _machine(group: GroupId, *taken: Configuration) -> ShardMachine:
    """Return a group that has taken configurations."""
    machine = ShardMachine(group)
    machine.use_sessions(Sessions())
    _take(machine, *taken)
    return machine


def _take(machine: ShardMachine, *configurations: Configuration) -> None:
    for configuration in configurations:
        machine.apply(take_configuration(configuration), 1, 1000)


class _World:
    """Group 1, which has all slots and is to give half of them to group 2."""

    def __init__(self) -> None:
        first = changed(EMPTY, Join({1: NODES}))
        self.configurations = [first, changed(first, Join({2: NODES}))]
        self.giver, self.taker = _machine(1, *self.configurations), _machine(2)
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
        _take(world.taker, world.configurations[0])
        await until_asked(5)
        _take(world.taker, world.configurations[1])
        await until_asked(5)
        moving.cancel()
        return seen

    seen = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert seen[:4] == [SLOT_COUNT] * 4
    assert seen[4] < SLOT_COUNT
    assert all(later <= earlier for earlier, later in pairwise(seen))


class _Newer(_World):
    """Group 2, which gets a value of a kind that it does not know, until its nodes are upgraded."""

    def __init__(self) -> None:
        super().__init__()
        key = next(b"%d" % number for number in range(99) if self.configurations[1].owner(slot_of(b"%d" % number)) == 2)
        first, second = self.configurations
        self.giver = _machine(1, first)
        self.giver.apply(encode_command([b"SET", key, b"value"]), 1, 1000)
        _take(self.giver, second)
        self.giver.apply(release(2, 2, 1 << 40, 1 << 40), 1, 1000)
        _take(self.taker, first, second)
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


def _check_told_until_upgraded(world: _Newer) -> None:
    """Let the nodes of group 2 be upgraded after a minute, and the slots arrive then."""
    with capture_logs() as lines, SimLoop(1) as loop:
        moving = loop.create_task(Mover(world, world.taker, world).finish())
        loop.run_for(60)
        assert 2 <= world.refused <= 15
        assert not world.taker.holdings.is_settled
        told = [line for line in lines if line["log_level"] == "warning"]
        assert len(told) == world.refused
        assert "upgrade every node" in told[0]["error"]
        world.is_up = True
        loop.run_for(10)
        assert moving.done()
    assert world.taker.holdings.is_settled
    assert world.taker.store.count == 1


def test_a_chunk_that_cannot_be_read_is_told_and_not_entered_again_at_once() -> None:
    """Each attempt stands in the log: it waits for somebody to upgrade the nodes, and then the slots arrive."""
    _check_told_until_upgraded(_Newer())


class _Halting(_Newer):
    """Its giver tells of the chunk that is waited for alone; whoever asks for the one behind it is not answered."""

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        if not self.is_up and query != fetch(2, 2, self.taker.holdings.arrivals[1].cursor):
            raise OSError("nobody is there")
        return await super().ask(group, query)


def test_a_chunk_that_cannot_be_read_is_told_also_if_the_next_one_cannot_be_had() -> None:
    """The giver that does not go on is no reason to enter again what is refused, and to say nothing of it."""
    _check_told_until_upgraded(_Halting())


class _Node:
    """Leads a group."""

    is_leader = True

    def __init__(self, machine: ShardMachine) -> None:
        self._machine = machine

    async def propose(self, command: bytes) -> bytes:
        await asyncio.sleep(0.002)
        return self._machine.apply(command, 1, 1000)


class _Apart:
    """Groups 1 and 2 are there, and a question to group 3 is given up after the time of a request.

    Group 1 holds 50 keys of 10 kB, which go to group 2.
    """

    _ASKED_S = 5.0

    def __init__(self, change: Change) -> None:
        first = changed(
            EMPTY, Join({1: NODES, 3: NODES} if isinstance(change, Join) else {1: NODES, 2: NODES, 3: NODES})
        )
        self.configurations = [first, changed(first, change)]
        self.machines = {group: _machine(group, first) for group in (1, 2)}
        after = self.configurations[1]
        keys = [b"%d" % number for number in range(1000)]
        going = [key for key in keys if (first.owner(slot_of(key)), after.owner(slot_of(key))) == (1, 2)]
        for key in going[:50]:
            self.machines[1].apply(encode_command([b"SET", key, b"x" * 10_000]), 1, 1000)
        for machine in self.machines.values():
            _take(machine, after)

    async def configuration(self, number: int) -> Configuration:
        return self.configurations[min(number, len(self.configurations)) - 1]

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        if group == 3:
            await asyncio.sleep(self._ASKED_S)
            raise Timeout("nobody is there", may_take_effect=False)
        return self.machines[group].read(query, 0)

    def move_for(self, seconds: float) -> None:
        """Let the leaders of both groups do what they can, in batches of some keys."""
        pace = Pace(1 << 20)
        with SimLoop(1) as loop:
            moving = [loop.create_task(Mover(_Node(m), m, self, pace=pace).finish()) for m in self.machines.values()]
            loop.run_for(seconds)
            for task in moving:
                task.cancel()
            loop.run_for(0.1)


@pytest.mark.parametrize("change", [Join({2: NODES}), Leave((1,))], ids=["it gives, too", "it takes, too"])
def test_slots_that_move_between_groups_that_are_there_wait_for_no_other(change: Change) -> None:
    """What is released is served by nobody: it does not wait until a question to a group that is down is given up."""
    world = _Apart(change)
    world.move_for(world._ASKED_S - 1)
    giver, taker = world.machines[1].holdings, world.machines[2].holdings
    assert world.machines[2].store.count == 50
    assert 2 not in giver.given
    assert 1 not in taker.arrivals
    left = taker.arrivals if isinstance(change, Join) else giver.given
    assert list(left) == [3]
