"""Places of replies: what one command of a connection waits for, and what to say in SLOWLOG if it takes long.

A connection keeps them in the order of its commands; a reply is None until it is known.
"""

from collections.abc import Sequence
from typing import Protocol

from raftline.kv.commands.command import Arguments, ReadFunction

__all__ = ["Read", "SilentWrite", "Slot", "Write"]

_NEVER = float("inf")


class Owner(Protocol):
    """The connection, as a write knows it."""

    def on_failed_write(self, reason: Exception) -> bytes:
        """Return what the client is told."""

    def on_write_done(self) -> None:
        """Note that a write is answered."""


class Slot:
    """Place of one reply: None until it is known."""

    __slots__ = ("args", "reply", "started_s")

    args: Sequence[bytes]
    """The command as SLOWLOG shows it; set only if `started_s` is."""

    def __init__(self, reply: bytes | None = None) -> None:
        self.started_s = _NEVER
        self.reply = reply


class Write(Slot):
    """A command on its way through the log."""

    __slots__ = ("connection",)

    def __init__(self, connection: Owner, args: Sequence[bytes], started_s: float) -> None:
        self.args = args
        self.reply = None
        self.started_s = started_s
        self.connection = connection

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome; the connection looks at it in its next turn."""
        connection = self.connection
        self.reply = connection.on_failed_write(outcome) if isinstance(outcome, Exception) else outcome
        connection.on_write_done()


class SilentWrite(Write):
    """A write whose client does not want replies."""

    __slots__ = ()

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome, and say nothing."""
        super().done(outcome)
        self.reply = b""


class Read(Slot):
    """A command that waits for a moment at which the local store is linearizable."""

    __slots__ = ("function", "is_silent")

    args: Arguments

    def __init__(self, function: ReadFunction, args: Arguments, started_s: float, *, is_silent: bool) -> None:
        self.reply = None
        self.started_s = started_s
        self.function = function
        self.args = args
        self.is_silent = is_silent
