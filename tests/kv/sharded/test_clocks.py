"""What a move brings along of the time in another group's log: deadlines, and nothing else."""

import msgspec
import pytest

from raftline.kv.machine import encode_command
from raftline.kv.sharded.machine import ShardMachine, arrive, decode_chunk, fetch, release, take_configuration
from raftline.kv.slots import slot_of
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import EMPTY, Join, Move, changed

NODES = ("n1", "n2", "n3")
DAY_MS = 86_400_000
STAYS, GOES = b"key0", b"key2"


class Pair:
    """Group 1, whose leader's clock is a day ahead, gives the slot of `GOES` to group 2, which has that of `STAYS`."""

    def __init__(self) -> None:
        first = changed(EMPTY, Join({1: NODES, 2: NODES}))
        slot = slot_of(GOES)
        assert (first.owner(slot), first.owner(slot_of(STAYS))) == (1, 2)
        self.steps = first, changed(first, Move(slot, slot + 1, 2))
        self.giver, self.taker = self.machine(1), self.machine(2)
        self.sessions = Sessions()
        self.taker.use_sessions(self.sessions)

    def machine(self, group: int) -> ShardMachine:
        machine = ShardMachine(group)
        assert machine.apply(take_configuration(self.steps[0]), 1, 0) == b"+OK\r\n"
        return machine

    def give(self, *words: bytes, time_ms: int) -> bytes:
        """Carry a command out in the giving group."""
        return self.giver.apply(encode_command(list(words)), 1, DAY_MS + time_ms)

    def begin(self, time_ms: int) -> None:
        """Let both groups enter the configuration that moves the slot, and the giving one release it."""
        for machine, ahead_ms in ((self.giver, DAY_MS), (self.taker, 0)):
            assert machine.apply(take_configuration(self.steps[1]), 1, ahead_ms + time_ms) == b"+OK\r\n"
        assert self.giver.apply(release(2, 2, 1 << 40, 1 << 40), 1, DAY_MS + time_ms) == b"+OK\r\n"

    def carry(self, time_ms: int, *, time_of_older: int = 0) -> None:
        """Carry everything over."""
        while arrivals := self.taker.holdings.arrivals:
            chunk = decode_chunk(self.giver.read(fetch(2, 2, arrivals[1].cursor), 0))
            assert chunk is not None
            if time_of_older:
                chunk = msgspec.structs.replace(chunk, time_ms=time_of_older)
            assert self.taker.apply(arrive(chunk), 1, time_ms) == b"+OK\r\n"

    def there(self, key: bytes) -> bool:
        """Say whether the taking group has a key."""
        return self.taker.read(encode_command([b"EXISTS", key]), 0) == b":1\r\n"


def test_a_clock_that_is_ahead_stays_with_its_group() -> None:
    """Whatever a group holds lives until its own log says that the deadline has passed, wherever it came from."""
    pair = Pair()
    pair.taker.apply(encode_command([b"SET", STAYS, b"v", b"PX", b"5000"]), 1, 1000)
    pair.give(b"SET", GOES, b"v", b"PX", b"5000", time_ms=1000)
    pair.begin(2000)
    pair.carry(2000)
    assert pair.there(STAYS)
    assert pair.there(GOES)
    assert pair.taker.store.time_ms == 2000
    pair.taker.apply(encode_command([b"RAFTLINE.TICK"]), 1, 6000)
    assert not pair.there(STAYS)
    assert pair.there(GOES), "its deadline was drawn from the clock that is ahead"
    pair.taker.apply(encode_command([b"RAFTLINE.TICK"]), 1, DAY_MS + 6000)
    assert not pair.there(GOES)


@pytest.mark.parametrize("overdue_ms", [0, 1])
def test_what_expired_where_it_was_does_not_come_back(overdue_ms: int) -> None:
    """Whoever was told that a key is gone was told by the log, before its slot was released (G15).

    So it is in no chunk, though the group that gets the slot is a day behind.
    """
    pair = Pair()
    pair.give(b"SET", GOES, b"v", b"PX", b"5000", time_ms=1000)
    pair.give(b"RAFTLINE.TICK", time_ms=6000 + overdue_ms)
    assert pair.giver.store.table(slot_of(GOES))[0], "it was not removed yet"
    pair.begin(6000 + overdue_ms)
    pair.carry(2000)
    assert not pair.taker.store.table(slot_of(GOES))[0]


def test_sessions_that_come_are_as_young_as_the_group_says() -> None:
    """One that seemed to be used tomorrow would stay for a day, and with it all that were used after it (G16)."""
    pair = Pair()
    theirs = Sessions()
    pair.giver.use_sessions(theirs)
    theirs.open(7, DAY_MS)
    pair.begin(2000)
    pair.carry(2000)
    known = pair.sessions.find(7)
    assert known is not None
    assert known.used_ms == 2000


def test_the_time_that_an_older_version_gave_counts() -> None:
    """The entry stands in the log, and every replica that goes through it has to come to the same state."""
    pair = Pair()
    pair.give(b"SET", GOES, b"v", time_ms=1000)
    pair.begin(2000)
    pair.carry(2000, time_of_older=9000)
    assert pair.taker.store.time_ms == 9000
