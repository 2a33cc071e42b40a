"""Reads on their way: which proof each one needs, whom it has to wait for, and when it may look at the local state.

Linearizable reads share one round of messages, those on a lease none; bounded and stale ones ask nobody. Every read
that was taken in is answered: by the state, by a reason, or by its deadline.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from raftline.core.events import ClockDoubted, ReadRequested
from raftline.core.ids import Index
from raftline.errors import TooStale
from raftline.replica.replica import Replica
from raftline.runtime.requests import Read

__all__ = ["Reading"]

_CLOCK_SLACK_S = 0.01
_CLOCK_SLEW_MAX = 0.001


class Reading:
    """The reads of one replica.

    Invariant: a read that nobody answered yet is in exactly one of `_waiting`, `_confirming` and `_confirmed`.
    """

    __slots__ = ("_clocks", "_confirmed", "_confirming", "_core", "_ids", "_replica", "_waiting", "_wall_ms")

    def __init__(self, replica: Replica, wall_ms: Callable[[], int]) -> None:
        self._replica = replica
        self._core = replica.core
        self._wall_ms = wall_ms
        self._waiting: list[Read] = []
        self._confirming: dict[int, list[Read]] = {}
        self._confirmed: list[tuple[Index, int, list[Read]]] = []
        self._ids = count(1)
        self._clocks: tuple[float, float] | None = None

    @property
    def is_waiting(self) -> bool:
        """Say whether reads wait to be routed."""
        return bool(self._waiting)

    def add(self, read: Read) -> None:
        """Take a read in; it is routed in the next turn."""
        self._waiting.append(read)

    def forget_answered(self) -> None:
        """Let go of reads whose deadline passed while they waited for a leader."""
        self._waiting = [read for read in self._waiting if read.done is not None]

    def route(self, now: float) -> None:
        """Ask for what each read needs; without a leader linearizable ones go on waiting."""
        waiting, self._waiting = self._waiting, []
        by_round: list[Read] = []
        by_lease: list[Read] = []
        for read in waiting:
            if read.consistency == "stale":
                self._confirm(0, [read])
            elif read.consistency == "bounded" and not self._slept_and_is_too_old(read, now):
                self._check_bound(read, now)  # else as a linearizable one, which is as old as the way of the question
            elif self._core.leader is None:
                self._waiting.append(read)
            else:
                (by_lease if read.consistency == "lease" else by_round).append(read)
        if by_lease:
            self._check_clock(now)
        for reads, lease in ((by_lease, True), (by_round, False)):
            if reads:
                read_id = next(self._ids)
                self._confirming[read_id] = reads
                self._replica.step(ReadRequested(read_id, lease=lease), now)

    def refuse(self, error: Exception) -> None:
        """Answer what waits for a leader: none will come."""
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            read.finish(error)

    def on_outcome(self, read_id: int, index: Index | None) -> None:
        """Let confirmed reads wait for the applier; let the others look for the next leader."""
        reads = self._confirming.pop(read_id, [])
        if index is None:
            self._waiting.extend(reads)
        else:
            self._confirm(index, reads)

    def answer(self, now: float) -> None:
        """Answer the reads whose index is applied: the local state is what they asked for at this moment.

        While a snapshot is being restored that is the state before it, if the machine still has it, and no other.
        """
        if not self._confirmed:
            return
        replica = self._replica
        can_read = replica.restoring is None or replica.machine.reads_while_restoring
        while self._confirmed and self._confirmed[0][0] <= replica.applied and can_read:
            for read in heappop(self._confirmed)[2]:
                if now - read.fresh_at > read.staleness_s_max:
                    read.finish(_too_stale(read, now - read.fresh_at))
                else:
                    read.finish(None)

    def refuse_too_old(self, now: float) -> None:
        """Refuse bounded reads for which the state will be too old when what they have to see is applied."""
        waiting = [read for _, _, reads in self._confirmed for read in reads]
        for read in waiting:
            if read.fresh_at + read.staleness_s_max < now:
                read.finish(_too_stale(read, now - read.fresh_at))

    def _confirm(self, index: Index, reads: list[Read]) -> None:
        heappush(self._confirmed, (index, next(self._ids), reads))

    def _slept_and_is_too_old(self, read: Read, now: float) -> bool:
        """Say whether nobody vouches for so young a copy only because the group sleeps, or did: ask the leader then."""
        read.fresh_at = now
        return self._core.slept(now) and now - self._core.freshness(now)[0] > read.staleness_s_max

    def _check_bound(self, read: Read, now: float) -> None:
        """Refuse a bounded read if no leader vouches for so young a copy; else let it wait for what it has to see."""
        read.fresh_at, index = self._core.freshness(now)
        if now - read.fresh_at > read.staleness_s_max:
            read.finish(_too_stale(read, now - read.fresh_at))
        else:
            self._confirm(index, [read])

    def _check_clock(self, now: float) -> None:
        """Doubt the monotonic clock if the wall clock went on without it, as while a machine is suspended."""
        wall_s = self._wall_ms() / 1000
        if self._clocks is not None:
            passed_s = now - self._clocks[0]
            if wall_s - self._clocks[1] > passed_s * (1 + _CLOCK_SLEW_MAX) + _CLOCK_SLACK_S:
                self._replica.step(ClockDoubted(), now)
        self._clocks = (now, wall_s)


def _too_stale(read: Read, age_s: float) -> TooStale:
    passed = (
        "no leader has vouched for this copy yet"
        if age_s == float("inf")
        else f"a leader last vouched for this copy as of {age_s:.3f} s ago"
    )
    return TooStale(f"{passed}, the bound is {read.staleness_s_max} s")
