"""One command on its way through as many attempts as it takes: what a failure means, and what comes next.

No I/O, no clock, no chance: whoever makes the attempts says what happened and when. A write is repeated with the same
number in the same session, so however often it is sent it is carried out once; a new number, or a new session, is used
only while it is certain that the command was not carried out.
"""

from collections.abc import Callable
from enum import Enum

from raftline.client.errors import ReplyLost, SessionLost, Unavailable

__all__ = ["Call", "Kind", "Outcome", "outcome_of"]

_BACKOFF_S = 0.02
_BACKOFF_S_MAX = 1.0
_DOUBLINGS_MAX = 10


class Kind(Enum):
    """What a command may do if it is sent again."""

    WRITE = "write"
    """It goes in a session and is sent until its outcome is known."""
    WAIT = "wait"
    """A write that waits until there is something to write, a while at a time."""
    READ = "read"
    """It changes nothing, so it is sent as often as it takes."""
    OTHER = "other"
    """It is sent again only if it was certainly not carried out."""


class Outcome(Enum):
    """How an attempt without a reply ended."""

    NOT_SENT = "not sent"
    LOST = "lost"
    """Sent, and the connection ended or said nothing in time; or the node itself does not know the outcome."""
    REFUSED = "refused"
    """The node says that this attempt had no effect and will have none; another may."""
    SESSION_CLOSED = "session closed"
    OUTDATED = "outdated"
    FORGOTTEN = "forgotten"
    FINAL = "final"
    """An error that is the command's own reply."""


_BY_CODE = {
    "CLUSTERDOWN": Outcome.REFUSED,
    "TRYAGAIN": Outcome.REFUSED,
    "LOADING": Outcome.REFUSED,
    "MOVED": Outcome.REFUSED,
    "NOTMEMBER": Outcome.REFUSED,
    "NOSESSION": Outcome.SESSION_CLOSED,
    "OUTDATED": Outcome.OUTDATED,
    "FORGOTTEN": Outcome.FORGOTTEN,
}
_UNSURE = "may have been applied"
_STOPS = "UNBLOCKED this node stops"
_TOO_MANY = ("ERR max number of clients reached", "too many half-received requests")


def outcome_of(reply: str) -> Outcome:
    """Return what an error reply, code first, says of the attempt."""
    outcome = _BY_CODE.get(reply.partition(" ")[0], Outcome.FINAL)
    if outcome is Outcome.REFUSED and _UNSURE in reply:
        return Outcome.LOST
    if outcome is Outcome.FINAL and reply.startswith((*_TOO_MANY, _STOPS)):
        return Outcome.REFUSED
    return outcome


class Call:
    """What is known of one command so far.

    Invariant: once `may_have_been_applied`, the session and the number of a write stay as they are.
    """

    __slots__ = ("_deadline", "_random", "_sessions", "attempts", "kind", "may_have_been_applied", "needs_session")

    def __init__(self, kind: Kind, deadline: float, random: Callable[[], float]) -> None:
        self.kind = kind
        self.may_have_been_applied = False
        self.needs_session = False
        """The session is gone, and the command was certainly not carried out in it: a new one is to be used."""
        self.attempts = 0
        self._deadline = deadline
        self._random = random
        self._sessions = 0
        """How many were gone before the command was carried out in them."""

    def on_failure(self, outcome: Outcome, error: Exception, now: float) -> float:
        """Return after how many seconds to try again, on another node; raise what the caller is to be told."""
        self.attempts += 1
        self.needs_session = False
        if outcome is Outcome.FINAL:
            raise error
        if outcome is Outcome.LOST and self.kind is not Kind.READ:
            self.may_have_been_applied = True
            if self.kind is Kind.OTHER:
                raise Unavailable(
                    f"no reply, and this kind of command is not sent twice ({error})", may_have_been_applied=True
                ) from error
        if outcome in {Outcome.SESSION_CLOSED, Outcome.OUTDATED, Outcome.FORGOTTEN}:
            self._on_session(outcome, error)
            if self._sessions == 1:
                return 0.0
        delay_s = self._random() * min(_BACKOFF_S_MAX, _BACKOFF_S * (1 << min(self.attempts, _DOUBLINGS_MAX)))
        if now + delay_s >= self._deadline:
            raise Unavailable(
                f"no answer after {self.attempts} attempts, the last one: {error}",
                may_have_been_applied=self.may_have_been_applied,
            ) from error
        return delay_s

    def on_interrupted(self, *, sent: bool) -> None:
        """Note that nobody waits for the attempt any longer."""
        if sent and self.kind is not Kind.READ:
            self.may_have_been_applied = True

    def _on_session(self, outcome: Outcome, error: Exception) -> None:
        if outcome is Outcome.FORGOTTEN:
            raise ReplyLost(str(error), may_have_been_applied=True) from error
        if outcome is Outcome.OUTDATED or self.may_have_been_applied:
            raise SessionLost(str(error), may_have_been_applied=self.may_have_been_applied) from error
        self.needs_session = True
        self._sessions += 1

    def beside(self) -> "Call":
        """Return a call for something that this one needs first, with the same deadline, harmless if sent again."""
        return Call(Kind.READ, self._deadline, self._random)
