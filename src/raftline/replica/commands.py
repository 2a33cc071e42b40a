"""What the `data` of a command entry looks like: one byte says how to read the rest.

0  a plain command: the rest is the state machine's.
1  a command inside a session: session (8 bytes), sequence (8 bytes), then the state machine's (§8, G8).
2  open a session: its id (8 bytes), drawn so that nobody guesses it; or nothing, then it is the index of this entry.
   Where another group drew it, the index of the entry there follows (8 bytes).
5  use commands up to a version: the rest is the version in decimal digits; every member knows it.
6  close a session: session (8 bytes).
7  nothing: what came behind the entry before this one is lost (`raftline recover`, `raftline restore`).

Two more never stand in the log. They are requests to whoever leads, and travel to it as commands do:
3  change the membership: the rest is the change.  4  hand over the leadership: the rest is the successor, or nothing.
"""

import struct
from typing import Final

import msgspec

from raftline.core.changes import MembershipChange, decode_change, encode_change
from raftline.core.events import ChangeRequested, TransferRequested
from raftline.core.ids import NodeId
from raftline.errors import ConfigError

__all__ = [
    "CLOSE_SESSION",
    "CONTROLS",
    "HISTORY_LOST",
    "ID_END",
    "OPEN_SESSION",
    "PLAIN",
    "SESSION_HEADER",
    "USE_VERSION",
    "bytes_for_machine",
    "change_membership",
    "close_session",
    "command_in",
    "control_event",
    "history_lost",
    "in_session",
    "open_session",
    "plain",
    "session_to_close",
    "session_to_open",
    "transfer_leadership",
    "use_version",
    "wrapped",
]

PLAIN = 0
IN_SESSION = 1
OPEN_SESSION = 2
_CHANGE = b"\x03"
_TRANSFER = b"\x04"
CONTROLS: Final = frozenset({_CHANGE, _TRANSFER})
"""The first byte of what is a request to the leader itself, and no entry."""
USE_VERSION = 5
CLOSE_SESSION = 6
HISTORY_LOST = 7

_PLAIN_BYTE, _SESSION_BYTE = bytes((PLAIN,)), bytes((IN_SESSION,))
SESSION_HEADER = struct.Struct(">BQQ")
_ID = struct.Struct(">BQ")
_GUEST = struct.Struct(">BQQ")
ID_END = 1 << 64
"""Numbers of sessions, and of commands in them, are below."""


def plain(command: bytes) -> bytes:
    """Wrap a command that is carried out each time it stands in the log."""
    return b"\x00" + command


def in_session(session: int, sequence: int, command: bytes) -> bytes:
    """Wrap a command that is carried out once, however often it stands in the log."""
    return SESSION_HEADER.pack(IN_SESSION, session, sequence) + command


def wrapped(command: bytes, session: int | None, sequence: int) -> bytes:
    """Wrap a command, in a session if one is given; raises `ConfigError` for what is no number of either."""
    if session is None:
        return plain(command)
    if not (0 <= session < ID_END and 0 < sequence < ID_END):
        raise ConfigError(
            f"session {session} and sequence {sequence} must be numbers below 2**64, the sequence above 0"
        )
    return in_session(session, sequence, command)


def open_session(session: int | None = None, born: int | None = None) -> bytes:
    """Return the command that opens a session; its result is the session's id in decimal digits.

    `born`: the index of the entry that opened it in the group that drew it, if that is another one.
    """
    if born is not None:
        return _GUEST.pack(OPEN_SESSION, session, born)
    return b"\x02" if session is None else _ID.pack(OPEN_SESSION, session)


def session_to_open(command: bytes, index: int) -> tuple[int, int]:
    """Return which session a wrapped command opens that stands at `index`, and where that was opened first."""
    if len(command) == _GUEST.size:
        _, session, born = _GUEST.unpack(command)
        return session, born
    return int(_ID.unpack(command)[1]) if len(command) > 1 else index, index


def close_session(session: int) -> bytes:
    """Return the command that closes a session; its result is 1, or 0 if it was not open."""
    return _ID.pack(CLOSE_SESSION, session)


def session_to_close(command: bytes) -> int:
    """Return which session a wrapped command closes."""
    return int(_ID.unpack(command)[1])


def use_version(version: int) -> bytes:
    """Return the command after which commands up to `version` may be proposed."""
    return b"\x05%d" % version


def history_lost() -> bytes:
    """Return the command that tells the state machine that entries behind the one before may be lost."""
    return b"\x07"


def change_membership(change: MembershipChange) -> bytes:
    """Wrap a change of the membership; its result is empty."""
    return _CHANGE + encode_change(change)


def transfer_leadership(to: NodeId | None) -> bytes:
    """Wrap the wish for another leader, `to` or whoever is best; its result is empty."""
    return _TRANSFER + (to or "").encode()


def command_in(data: bytes) -> bytes | None:
    """Return the state machine's part of a command entry; None if the entry has none."""
    if data.startswith(_PLAIN_BYTE):
        return data[1:]
    return data[SESSION_HEADER.size :] if data.startswith(_SESSION_BYTE) else None


def bytes_for_machine(data: bytes) -> int:
    """Return how many bytes of a wrapped command are the state machine's."""
    if data.startswith(_PLAIN_BYTE):
        return len(data) - 1
    return len(data) - SESSION_HEADER.size if data.startswith(_SESSION_BYTE) else 0


def control_event(command: bytes, request_id: int) -> ChangeRequested | TransferRequested | None:
    """Return what a request to the leader asks of the core; None if it cannot be read."""
    try:
        if command[:1] == _CHANGE:
            return ChangeRequested(request_id, decode_change(command[1:]))
        if command[:1] == _TRANSFER:
            return TransferRequested(request_id, command[1:].decode() or None)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return None
