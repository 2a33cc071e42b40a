"""What callers wait for: proposals and reads, each with a deadline, each answered exactly once.

Plain objects with a callback slot; no future and no task per command. The deadlines are swept in the order in which
the requests came, because all of them wait equally long.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Literal, TypeAlias, get_args

from raftline.core.ids import Term
from raftline.errors import ConfigError, Overloaded, Timeout, TooLarge
from raftline.replica.commands import CONTROLS, bytes_for_machine
from raftline.runtime.admission import Admission

__all__ = ["Consistency", "Deadlines", "Proposal", "Read", "Request", "check_promise", "head_of", "too_large"]


class Request:
    """Something with an outcome that is told once.

    Invariant: `done` is None from the moment the outcome was told.
    """

    __slots__ = ("deadline", "done", "may_take_effect", "size_bytes")

    def __init__(self, done: Callable[..., None], deadline: float, size_bytes: int) -> None:
        self.done: Callable[..., None] | None = done
        self.deadline = deadline
        self.size_bytes = size_bytes
        self.may_take_effect = False

    def finish(self, outcome: object) -> None:
        """Tell the outcome, unless one was told already (a timeout may have come first).

        What the callback raises is its owner's trouble: the loop's exception handler hears of it, the node goes on.
        """
        done = self.done
        if done is not None:
            self.done = None
            try:
                done(outcome)
            except Exception as error:  # noqa: BLE001  somebody else's code
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "the callback of a request raised", "exception": error}
                )


class Proposal(Request):
    """A wrapped command on its way into the log."""

    __slots__ = ("command", "is_control", "term")

    def __init__(
        self, command: bytes, done: Callable[[bytes | Exception], None], deadline: float, term: Term | None = None
    ) -> None:
        # Made for every command: the fields of `Request` are set here, which saves a call.
        self.done = done
        self.deadline = deadline
        self.size_bytes = len(command)
        self.may_take_effect = False
        self.command = command
        self.is_control = command[:1] in CONTROLS
        self.term = term
        """Only the leader of this term may append it; None: any."""


Consistency: TypeAlias = Literal["linearizable", "lease", "bounded", "stale"]
"""What a read promises: linearizable (by a round of messages); linearizable as long as clocks do not drift apart by
more than `clock_drift_max` (no messages, where the leader holds a lease); not older than a bound; anything."""

_CONSISTENCIES: tuple[str, ...] = get_args(Consistency)


def head_of(proposals: Sequence[Proposal], count_max: int, bytes_max: int) -> tuple[int, int]:
    """Return how many of the first proposals go together, and their bytes: one at least, however large it is."""
    count = size_bytes = 0
    for proposal in islice(proposals, count_max):
        if count and size_bytes + proposal.size_bytes > bytes_max:
            break
        count += 1
        size_bytes += proposal.size_bytes
    return count, size_bytes


def too_large(request: Request, bytes_max: int) -> TooLarge | None:
    """Return what to tell whose command is above the limit; what is put around a command does not count."""
    if not isinstance(request, Proposal):
        return None
    size_bytes = bytes_for_machine(request.command)
    return TooLarge(f"the command has {size_bytes} bytes, the limit is {bytes_max}") if size_bytes > bytes_max else None


def check_promise(consistency: str, staleness_s_max: float, *, lease_reads: bool) -> None:
    """Raise `ConfigError` if there is no such promise, or it cannot be kept with these settings."""
    if consistency == "lease" and not lease_reads:
        how = "set CoreConfig.lease_reads (a server: --reads lease) on all members"
        raise ConfigError(f"reads on a lease are switched off: {how}")
    if consistency not in _CONSISTENCIES:
        raise ConfigError(f"consistency {consistency!r} is none of {', '.join(_CONSISTENCIES)}")
    if consistency == "bounded" and not staleness_s_max > 0:
        raise ConfigError(f"a bounded read needs staleness_s_max, a number of seconds above 0, not {staleness_s_max}")


class Read(Request):
    """Somebody who wants to know when the local state may be read."""

    __slots__ = ("consistency", "fresh_at", "staleness_s_max")

    def __init__(
        self,
        done: Callable[[Exception | None], None],
        deadline: float,
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        self.done = done  # as above
        self.deadline = deadline
        self.size_bytes = 0
        self.may_take_effect = False
        self.consistency = consistency
        self.staleness_s_max = staleness_s_max
        self.fresh_at = float("inf")
        """As of when the state is that a bounded read will see."""


class Deadlines:
    """Requests of one group in the order of their deadlines, with what they hold in memory.

    Invariants: with those of the other groups they are no more than what is admitted; a request leaves at the latest
    when its deadline has passed and it was swept.
    """

    __slots__ = ("_admission", "_requests", "size_bytes")

    def __init__(self, admission: Admission) -> None:
        self._requests: list[Request] = []
        self._admission = admission
        admission.join()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> bool:
        """Watch one more request, whose deadline is not before those already watched; False: there are too many."""
        requests, admission, size_bytes = self._requests, self._admission, request.size_bytes
        all_bytes = admission.size_bytes + size_bytes
        if (admission.count >= admission.count_open or all_bytes > admission.bytes_open) and not admission.admits(
            len(requests), self.size_bytes, size_bytes
        ):
            return False
        if not requests:
            admission.queues[self] = None
        requests.append(request)
        self.size_bytes += size_bytes
        admission.count += 1
        admission.size_bytes = all_bytes
        return True

    def add_after_all(self, request: Request, now: float) -> bool:
        """Watch a request that did not fit if others are answered by now, here or in the other groups."""
        self.sweep(now)
        return self.add(request) or (self._admission.forget_answered(now) and self.add(request))

    def refusal(self) -> Overloaded:
        """Return what to tell whose request does not fit."""
        count, size_bytes = self._admission.count, self._admission.size_bytes
        return Overloaded(
            f"{count} requests with {size_bytes} bytes wait on this node already, {len(self)} with {self.size_bytes} "
            "bytes of them for the same group: try again later"
        )

    @property
    def is_idle(self) -> bool:
        """Say whether nobody waits for an answer."""
        return all(request.done is None for request in self._requests)

    def sweep(self, now: float) -> None:
        """Forget what is answered, as far as all before it is, too, and fail what has waited too long."""
        over = size_bytes = 0
        for request in self._requests:
            if request.done is not None and request.deadline > now:
                break
            size_bytes += request.size_bytes
            over += 1
        if not over:
            return
        ended = self._requests[:over]
        del self._requests[:over]
        self._count_less(over, size_bytes)
        for request in ended:
            if request.done is not None:
                request.finish(_timeout(request))

    def forget_answered(self) -> None:
        """Forget what is answered, also behind what still waits; looks at all of it, so this is for once in a while."""
        waiting = [request for request in self._requests if request.done is not None]
        over = len(self._requests) - len(waiting)
        if over:
            self._requests = waiting
            self._count_less(over, self.size_bytes - sum(request.size_bytes for request in waiting))

    def fail_all(self, error_of: Callable[[Request], Exception]) -> None:
        """Fail everything that still waits, and watch nothing any more: the group or the node stops."""
        requests, self._requests = self._requests, []
        self._count_less(len(requests), self.size_bytes)
        self._admission.leave()
        for request in requests:
            if request.done is not None:
                request.finish(error_of(request))

    def _count_less(self, count: int, size_bytes: int) -> None:
        admission = self._admission
        self.size_bytes -= size_bytes
        admission.count -= count
        admission.size_bytes -= size_bytes
        if not self._requests:
            admission.queues.pop(self, None)


def _timeout(request: Request) -> Timeout:
    if request.may_take_effect and isinstance(request, Proposal) and request.is_control:
        return Timeout("no outcome in time: the request was accepted and goes on; ask for the members to follow it")
    if request.may_take_effect:
        return Timeout("no outcome in time: the command was proposed and may still take effect")
    if isinstance(request, Proposal) and request.is_control:
        return Timeout("no leader took the request in time: it may be busy with another change", may_take_effect=False)
    if isinstance(request, Proposal):
        return Timeout("no leader could be reached in time: the command was not proposed", may_take_effect=False)
    return Timeout("no leader could confirm the read in time", may_take_effect=False)
