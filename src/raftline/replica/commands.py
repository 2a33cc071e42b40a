"""What the `data` of a command entry looks like: one byte says how to read the rest.

0  a plain command: the rest is the state machine's.
1  a command inside a session: session (8 bytes), sequence (8 bytes), then the state machine's (§8, G8).
2  open a session: the rest is nothing; the session's id is the index of this entry.
"""

import struct

__all__ = ["OPEN_SESSION", "PLAIN", "SESSION_HEADER", "in_session", "open_session", "plain"]

PLAIN = 0
IN_SESSION = 1
OPEN_SESSION = 2

SESSION_HEADER = struct.Struct(">BQQ")


def plain(command: bytes) -> bytes:
    """Wrap a command that is carried out each time it stands in the log."""
    return b"\x00" + command


def in_session(session: int, sequence: int, command: bytes) -> bytes:
    """Wrap a command that is carried out once, however often it stands in the log."""
    return SESSION_HEADER.pack(IN_SESSION, session, sequence) + command


def open_session() -> bytes:
    """Return the command that opens a session; its result is the session's id in decimal digits."""
    return b"\x02"
