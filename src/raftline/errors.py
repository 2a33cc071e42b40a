"""The exception tree. Three branches that never mix: whose fault it is decides what the caller does next.

RaftlineError
├── CallerError                the caller's mistake: correct the call, do not retry it as it is
│   ├── ConfigError            a setting, argument or address that cannot be used
│   └── TooLarge               a command or value above a configured limit
├── OperatingError             the world's trouble: disk, peers, load; retry as `may_take_effect` allows
│   ├── ProposalError
│   │   ├── NotLeader          this node does not lead; `leader_address` says who does, if known
│   │   ├── ProposalLost       the index went to another term's entry: the command did not and will not take effect
│   │   ├── NotMember          this node was removed from the group, or waits to be added to one
│   │   ├── Overloaded         refused before the command entered the log
│   │   ├── ChangeRefused      the leader refused a change of the membership or a transfer; nothing was changed
│   │   ├── TooNew             a command of a version that not every member knows yet; it was not proposed
│   │   ├── TooStale           a read with a bound: no leader vouches for a copy that young
│   │   ├── Timeout            no answer in time
│   │   └── Stopped            the node stops, or stopped leading, before the outcome was known
│   ├── ApplyError             the state machine's `apply` or `read` raised; the same on every replica
│   │   ├── SessionClosed      the session is not open; what became of a command in it that has no answer is unknown
│   │   ├── OutdatedSequence   the session went on since: the command is not carried out now, nor later
│   │   ├── ReplyForgotten     the command was carried out before, and its reply is no longer kept
│   │   └── NotServed          this group's state machine does not serve what was asked for; nothing was done
│   ├── StorageError           a write, fsync or full disk; the node stops
│   │   ├── CorruptLog         damage that is no torn tail: file, offset and reason are named
│   │   └── DirectoryInUse     another process holds the data directory
│   └── PeerError              a peer that cannot be talked to (wrong cluster, version, frame)
└── SafetyViolation            a promise of Raft was broken: a bug, or a state machine that is not deterministic
    └── Diverged               this replica's state machine is not the same as the leader's
"""

__all__ = [
    "ApplyError",
    "CallerError",
    "ChangeRefused",
    "ConfigError",
    "CorruptLog",
    "DirectoryInUse",
    "Diverged",
    "NotLeader",
    "NotMember",
    "NotServed",
    "OperatingError",
    "OutdatedSequence",
    "Overloaded",
    "PeerError",
    "ProposalError",
    "ProposalLost",
    "RaftlineError",
    "ReplyForgotten",
    "SafetyViolation",
    "SessionClosed",
    "Stopped",
    "StorageError",
    "Timeout",
    "TooLarge",
    "TooNew",
    "TooStale",
    "described",
]


class RaftlineError(Exception):
    """Root of everything raftline raises on purpose."""


class CallerError(RaftlineError):
    """The caller's mistake; nothing was changed by it."""


class ConfigError(CallerError):
    """A setting, argument or address that cannot be used."""


class TooLarge(CallerError):
    """A command, key or value above a configured limit."""


class OperatingError(RaftlineError):
    """Trouble with the disk, the peers or the load."""


class ProposalError(OperatingError):
    """A proposal or read without a result; `may_take_effect` says whether the command can still be applied."""

    may_take_effect: bool = False


class NotLeader(ProposalError):
    """This node does not lead; `leader_id` and `leader_address` say who does, None while nobody is known."""

    def __init__(self, leader_id: str | None = None, leader_address: str | None = None) -> None:
        where = f"ask {leader_id} at {leader_address}" if leader_id else "no leader is known, try again shortly"
        super().__init__(f"this node does not lead the group: {where}")
        self.leader_id = leader_id
        self.leader_address = leader_address


class NotMember(ProposalError):
    """This node was removed from its group, or waits to be added to one: ask a member."""


class ProposalLost(ProposalError):
    """Another term's entry stands at the proposal's index: the command did not and will not take effect."""


class Overloaded(ProposalError):
    """Too many proposals wait; refused before the command entered the log."""


class ChangeRefused(ProposalError):
    """The leader refused a change of the membership, or to hand over; the text says why, nothing was changed."""


class TooNew(ProposalError):
    """A command of a version that not every member's state machine knows yet; it was not proposed."""


class TooStale(ProposalError):
    """A read with a bound on staleness found that no leader vouches for a copy as young as that."""


class Timeout(ProposalError):
    """No outcome in time; a command that was proposed may still take effect."""

    def __init__(self, message: str, *, may_take_effect: bool = True) -> None:
        super().__init__(message)
        self.may_take_effect = may_take_effect


class Stopped(ProposalError):
    """The node stops, or lost its leadership, before the outcome was known; what it took may still take effect."""

    def __init__(self, message: str, *, may_take_effect: bool = True) -> None:
        super().__init__(message)
        self.may_take_effect = may_take_effect

    def of_nothing(self) -> "Stopped":
        """Return the same for who asked for what was surely not begun, and will not be."""
        return Stopped(str(self), may_take_effect=False)


class ApplyError(OperatingError):
    """The state machine raised while applying; every replica recorded the same."""


class SessionClosed(ApplyError):
    """The session expired, was closed or made room for others: nothing was carried out now, and nothing is later.

    Whether a command in it that was proposed before and has no answer was carried out is unknown.
    """


class OutdatedSequence(ApplyError):
    """The session carried out a command with a higher number: this one is not carried out now, nor later."""


class ReplyForgotten(ApplyError):
    """The command was carried out when it was proposed before; its reply is no longer kept."""


class NotServed(ApplyError):
    """Raised by a state machine for what another group serves: nothing was done.

    A session takes no note of it, so that the same number can be carried out where it is served.
    """


class StorageError(OperatingError):
    """A write or fsync failed; the node stops, because what is on disk is no longer known."""


class CorruptLog(StorageError):
    """Damage that a crash cannot explain; names file, offset and reason."""


class DirectoryInUse(StorageError):
    """Another process holds the data directory."""


class PeerError(OperatingError):
    """A peer that cannot be talked to."""


class SafetyViolation(RaftlineError):
    """A promise of Raft was broken; the node must not go on."""


class Diverged(SafetyViolation):
    """This replica's state machine is not the same as the leader's at the same index."""


def described(error: BaseException) -> str:
    """Return type and text of an exception that is not ours: never raising, and such that UTF-8 can carry it."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  its own text raises
        text = type(error).__name__
    return text.encode(errors="backslashreplace").decode()
