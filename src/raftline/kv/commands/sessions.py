"""RAFTLINE.SESSION: open a session for RAFTLINE.ONCE, look at it, close it.

Sessions are replicated, so each is known on every node; what is shown is at least as new as the question.
"""

from raftline.errors import ProposalError
from raftline.kv.client import Client
from raftline.kv.commands.arguments import parse_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.ports import KvNode
from raftline.kv.refusals import read_refusal, write_refusal
from raftline.kv.resp.replies import NULL, bulk, error, integer, mapping
from raftline.runtime.status import SessionStatus

__all__ = ["session_close", "session_number", "session_open", "session_reply", "session_show"]

_BAD_SESSION = error("ERR session is not a number that RAFTLINE.SESSION gave")


async def session_open(node: KvNode, _client: Client, _args: Arguments) -> bytes:
    """RAFTLINE.SESSION: the number of a new session."""
    try:
        return integer(await node.open_session())
    except ProposalError as failure:
        raise Refused(write_refusal(failure)) from failure


async def session_close(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SESSION CLOSE session: 1, or 0 if it was not open."""
    session = session_number(args[2])
    try:
        return integer(int(await node.close_session(session)))
    except ProposalError as failure:
        raise Refused(write_refusal(failure)) from failure


async def session_show(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SESSION SHOW session: a map of what is known, nil if it is not open."""
    session = session_number(args[2])
    try:
        status = await node.find_session(session)
    except ProposalError as failure:
        raise Refused(read_refusal(failure)) from failure
    return session_reply(status)


def session_reply(status: SessionStatus | None) -> bytes:
    """Return how a session is shown, nil if it is not open."""
    if status is None:
        return NULL
    facts = {
        "session": status.session,
        "sequence": status.sequence,
        "reply-bytes": status.reply_bytes,
        "reply-kept": int(status.reply_kept),
        "idle-ms": status.idle_ms,
    }
    return mapping((bulk(name.encode()), integer(value)) for name, value in facts.items())


def session_number(written: bytes) -> int:
    """Read a session's number; raises `Refused`."""
    number = parse_integer(written)
    if number is None or number < 0:
        raise Refused(_BAD_SESSION)
    return number
