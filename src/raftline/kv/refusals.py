"""What a client is told when a command could not be carried out, and whether it may have been.

-CLUSTERDOWN  no quorum could be reached in time, this node stops or was removed, or its copy is older than the reader
              wanted; it says whether a write may take effect; try another node, or later
-TRYAGAIN     nothing is wrong for long: the leader changed, or too much waits; the command did not take effect
-NOSESSION    the session is not open: nothing was carried out; what became of an earlier try in it is unknown
-OUTDATED     the session went on: nothing was carried out, and nothing will be; as unknown
-FORGOTTEN    the command was carried out before, once; its reply is no longer kept
-NOTMEMBER    a command about the cluster, asked of a node that is in no group: nothing was changed; ask a member
-DENIED       the node is in protected mode and the client on another machine; the connection ends
-ERR          the command itself cannot be carried out, here or anywhere; or why the connection ends

What is refused before it is a command of this store's (-NOAUTH, -NOPERM, -MOVED and the like) is worded where that is
found out.
"""

from raftline.errors import (
    ApplyError,
    CallerError,
    ChangeRefused,
    NotLeader,
    NotMember,
    OutdatedSequence,
    Overloaded,
    ProposalError,
    ProposalLost,
    ReplyForgotten,
    SessionClosed,
    TooStale,
)
from raftline.kv.resp.replies import error

__all__ = [
    "NOTHING_CHANGED",
    "PROTECTED",
    "SPEAK_PLAIN",
    "SPEAK_TLS",
    "TOO_MANY",
    "TOO_MUCH_BEHIND",
    "TOO_MUCH_PARTIAL",
    "TOO_SLOW",
    "read_refusal",
    "task_refusal",
    "write_refusal",
]

SPEAK_TLS = error("ERR this port speaks TLS: connect with TLS, as in `redis-cli --tls` or rediss://")
SPEAK_PLAIN = error("ERR this port speaks plain text, not TLS")
PROTECTED = error(
    "DENIED this node is in protected mode: its user 'default' needs no password, so only clients on the same machine "
    "are served. Ways out: 1) RAFTLINE_PASSWORD, or `password` in the settings file, and a restart; 2) from that "
    "machine: ACL SETUSER default resetpass >PASSWORD; 3) tls_clients=mutual; or, if the network lets nobody in, "
    "protected_mode=off"
)
TOO_MANY = error("ERR max number of clients reached")
TOO_MUCH_BEHIND = error("ERR more than request_bytes_max was sent behind a command that waits")
TOO_MUCH_PARTIAL = error("ERR too many half-received requests are held by this server: try again later")
TOO_SLOW = error("ERR Protocol error: the request was not complete in time")

NOTHING_CHANGED = "nothing was changed"
"""In a CLUSTERDOWN about a change of the cluster: it was not taken, and will not be."""

_CODES: dict[type[BaseException], str] = {
    SessionClosed: "NOSESSION",
    OutdatedSequence: "OUTDATED",
    ReplyForgotten: "FORGOTTEN",
}


def write_refusal(reason: BaseException) -> bytes:
    """Return the reply to a write that has no result; says so if it may take effect nevertheless."""
    if isinstance(reason, ApplyError | CallerError):
        return error(f"{_CODES.get(type(reason), 'ERR')} {reason}")
    if isinstance(reason, Overloaded):
        return error(f"TRYAGAIN {reason} (the command was not taken)")
    if isinstance(reason, ProposalLost):
        return error(f"TRYAGAIN the leader changed: the command did not take effect ({reason})")
    if isinstance(reason, ProposalError) and not reason.may_take_effect:
        return error(f"CLUSTERDOWN {_no_leader(reason)}: the command did not take effect")
    return error(f"CLUSTERDOWN no outcome in time: the command may have been applied, or may still be ({reason})")


def read_refusal(reason: BaseException) -> bytes:
    """Return the reply to a read that could not be made linearizable."""
    if isinstance(reason, ApplyError | CallerError):
        return error(f"ERR {reason}")
    if isinstance(reason, Overloaded):
        return error(f"TRYAGAIN {reason}")
    if isinstance(reason, TooStale):
        return error(f"CLUSTERDOWN the copy that was asked is too old: {reason}")
    if isinstance(reason, ProposalError):
        return error(f"CLUSTERDOWN {_no_leader(reason)}: nothing can be read that is certain to be current")
    return error(f"CLUSTERDOWN this node cannot answer: {reason}")


def task_refusal(reason: BaseException) -> bytes:
    """Return the reply to a command about the cluster that did not come to its end."""
    if isinstance(reason, ChangeRefused):
        return error(f"ERR {reason}")
    if isinstance(reason, NotMember):
        return error(f"NOTMEMBER {reason}: {NOTHING_CHANGED}")
    if isinstance(reason, ProposalError) and not isinstance(reason, Overloaded):
        outcome = "look at the members before asking again" if reason.may_take_effect else NOTHING_CHANGED
        return error(f"CLUSTERDOWN {_no_leader(reason)}: {outcome}")
    return error(f"TRYAGAIN {reason}" if isinstance(reason, Overloaded) else f"ERR {reason}")


def _no_leader(reason: ProposalError) -> str:
    if isinstance(reason, NotMember):
        return str(reason)
    return "no leader is known" if isinstance(reason, NotLeader) else f"no quorum could be reached ({reason})"
