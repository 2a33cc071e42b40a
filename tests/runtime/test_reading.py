"""What each kind of read waits for, and that every one is answered once."""

from types import SimpleNamespace
from typing import Any

from raftline.core.events import ClockDoubted, ReadRequested
from raftline.errors import TooStale
from raftline.runtime.reading import Reading
from raftline.runtime.requests import Consistency, Read


def _fake(**facts: object) -> Any:
    """Stand for an object of which only these facts are looked at."""
    return SimpleNamespace(**facts)


class _Bench:
    """A replica that is told what to say."""

    def __init__(self) -> None:
        self.fresh: tuple[float, int] = (float("-inf"), 0)
        self.slept = False
        self.core: Any = _fake(leader="n1", slept=lambda _now: self.slept, freshness=lambda _now: self.fresh)
        self.stepped: list[Any] = []
        self.replica: Any = _fake(
            core=self.core,
            applied=0,
            restoring=None,
            machine=_fake(reads_while_restoring=False),
            step=lambda event, _now: self.stepped.append(event),
        )
        self.wall_ms = 0
        self.reading = Reading(self.replica, lambda: self.wall_ms)
        self.outcomes: list[Any] = []

    def read(self, consistency: Consistency = "linearizable", staleness_s_max: float = 0.0) -> None:
        self.reading.add(Read(self.outcomes.append, 100.0, consistency, staleness_s_max))

    def applied(self, index: int, now: float = 0.0) -> list[Any]:
        self.replica.applied = index
        self.reading.answer(now)
        return self.outcomes


def test_reads_of_one_turn_share_a_round() -> None:
    """One question for a hundred reads; they are answered once what was committed then is applied (§8)."""
    bench = _Bench()
    for _ in range(100):
        bench.read()
    bench.reading.route(0.0)
    assert bench.stepped == [ReadRequested(1, lease=False)]
    bench.reading.on_outcome(1, 7)
    assert bench.applied(6) == []
    assert bench.applied(7) == [None] * 100


def test_a_linearizable_read_waits_for_a_leader_and_a_stale_one_for_nobody() -> None:
    """What is here is enough for one that asked for no more."""
    bench = _Bench()
    bench.core.leader = None
    bench.read()
    bench.read("stale")
    bench.reading.route(0.0)
    assert bench.applied(0) == [None]
    assert bench.reading.is_waiting
    assert not bench.stepped


def test_reads_that_nobody_vouched_for_look_for_the_next_leader() -> None:
    """They are asked again, not dropped (G13)."""
    bench = _Bench()
    bench.read()
    bench.reading.route(0.0)
    bench.reading.on_outcome(1, None)
    assert bench.reading.is_waiting
    bench.reading.route(0.0)
    (again,) = bench.stepped[1:]
    bench.reading.on_outcome(again.read_id, 0)
    assert bench.applied(0) == [None]


def test_nothing_is_read_of_a_machine_that_is_neither_old_nor_new() -> None:
    """The state in between is nobody's (D11)."""
    bench = _Bench()
    bench.read("stale")
    bench.reading.route(0.0)
    bench.replica.restoring = "a snapshot"
    assert bench.applied(9) == []
    bench.replica.restoring = None
    assert bench.applied(9) == [None]


def test_the_old_state_is_read_while_a_snapshot_is_being_restored() -> None:
    """By whoever asks for no more than it holds; the others wait for the new one."""
    bench = _Bench()
    bench.replica.machine.reads_while_restoring = True
    bench.replica.restoring = "a snapshot"
    bench.read("stale")
    bench.read()
    bench.reading.route(0.0)
    (asked,) = bench.stepped
    bench.reading.on_outcome(asked.read_id, 9)
    assert bench.applied(8) == [None]
    assert bench.applied(9) == [None, None]


def test_a_bounded_read_is_refused_beyond_its_bound() -> None:
    """When it is asked, and again when what was committed by then is applied too late."""
    bench = _Bench()
    bench.fresh = (10.0, 5)
    bench.read("bounded", 2.0)
    bench.reading.route(12.5)
    assert isinstance(bench.outcomes[0], TooStale)
    bench.read("bounded", 2.0)
    bench.reading.route(11.0)
    assert isinstance(bench.applied(5, now=12.5)[1], TooStale)
    bench.read("bounded", 2.0)
    bench.reading.route(11.0)
    assert bench.applied(5, now=12.0)[2] is None


def test_a_bounded_read_does_not_wait_for_a_copy_that_will_be_too_old() -> None:
    """What it has to see is not applied within the bound: who asks may find a younger copy elsewhere."""
    bench = _Bench()
    bench.fresh = (10.0, 5)
    bench.read("bounded", 2.0)
    bench.read("bounded", 9.0)
    bench.read("stale")
    bench.reading.route(11.0)
    bench.reading.refuse_too_old(12.0)
    assert bench.outcomes == []
    bench.reading.refuse_too_old(12.1)
    (refused,) = bench.outcomes
    assert isinstance(refused, TooStale)
    assert bench.applied(5, now=13.0) == [refused, None, None]


def test_a_bounded_read_of_a_sleeping_group_asks_the_leader() -> None:
    """Nobody vouches for the copy while all sleep: the read wakes them, and is refused if it leads to nothing (G3)."""
    bench = _Bench()
    bench.fresh = (10.0, 5)
    bench.slept = True
    bench.read("bounded", 2.0)
    bench.read("bounded", 9.0)
    bench.reading.route(12.5)
    (asked,) = bench.stepped
    assert bench.applied(5, now=12.5) == [None], "the other copy is young enough"
    bench.reading.on_outcome(asked.read_id, 8)
    assert bench.applied(7, now=13.0) == [None]
    assert bench.applied(8, now=13.0) == [None, None]
    bench.read("bounded", 2.0)
    bench.reading.route(14.0)
    bench.slept = False
    bench.reading.on_outcome(bench.stepped[-1].read_id, None)
    bench.reading.route(14.1)
    assert isinstance(bench.outcomes[2], TooStale)
    bench.slept = True
    bench.read("bounded", 2.0)
    bench.reading.route(20.0)
    bench.reading.on_outcome(bench.stepped[-1].read_id, 8)
    assert isinstance(bench.applied(8, now=22.5)[3], TooStale), "the answer took longer than the bound"


def test_a_lease_is_doubted_if_the_wall_clock_went_on_alone() -> None:
    """As while the machine slept: the lease may have ended meanwhile (thesis 6.4.1)."""
    bench = _Bench()
    for now, wall_ms in ((1.0, 1000), (2.0, 2000), (2.1, 9000)):
        bench.wall_ms = wall_ms
        bench.read("lease")
        bench.reading.route(now)
    kinds = [type(event) for event in bench.stepped]
    assert kinds == [ReadRequested, ReadRequested, ClockDoubted, ReadRequested]
    assert all(event.lease for event in bench.stepped if isinstance(event, ReadRequested))


def test_what_waits_is_refused_when_no_leader_will_come() -> None:
    """A node that was removed says so at once, once."""
    bench = _Bench()
    bench.core.leader = None
    bench.read()
    error = TooStale("no")
    bench.reading.refuse(error)
    bench.reading.refuse(error)
    assert bench.outcomes == [error]
