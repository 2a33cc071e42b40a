"""Places of replies: what each command of a connection waits for; and how long the first of each turn did.

A connection keeps them in the order of its commands; a reply is None until it is known.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from raftline.kv.bundles import Run
from raftline.kv.channels import CHANNEL, SHARD
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, ReadFunction
from raftline.kv.resp.downgrade import as_resp3, downgrade
from raftline.kv.resp.replies import integer
from raftline.kv.slowlog import shorten

__all__ = [
    "PLAIN_HEADS",
    "Executed",
    "Published",
    "Read",
    "SilentWrite",
    "Slot",
    "SlowWatch",
    "Write",
    "Writes",
    "published_reply",
]


PLAIN_HEADS: Final = frozenset((b"+", b"-", b":", b"$", b""))
"""What a reply begins with that is the same in both protocols; an empty one is, too. To look for bytes in bytes takes
five times as long.
"""


class Owner(Protocol):
    """The connection, as a write knows it."""

    def on_failed_write(self, reason: Exception) -> bytes:
        """Return what the client is told."""

    def on_write_done(self) -> None:
        """Note that a write is answered."""


class Host(Owner, Protocol):
    """The connection, as a message knows it."""

    @property
    def client(self) -> Client:
        """Whose it is."""


class Slot:
    """Place of one reply: None until it is known."""

    __slots__ = ("reply",)

    def __init__(self, reply: bytes | None = None) -> None:
        self.reply = reply

    def converted(self, reply: bytes, *, is_old: bool) -> bytes:
        """Return a reply in the client's protocol: RESP2, the old one, or RESP3."""
        return downgrade(reply) if is_old else as_resp3(reply)


class Write(Slot):
    """A command on its way through the log."""

    __slots__ = ("connection",)

    def __init__(self, connection: Owner) -> None:
        self.reply = None
        self.connection = connection

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome; the connection looks at it in its next turn."""
        connection = self.connection
        self.reply = connection.on_failed_write(outcome) if isinstance(outcome, Exception) else outcome
        connection.on_write_done()


class Writes(Write, Run):
    """Commands in a row on their way through the log, whose replies come together as a rule, and leave together."""

    __slots__ = ("_replies", "count")

    ODD: Final = b"?"
    """Stands for replies of which some look different in the client's protocol; no reply begins like this."""

    def __init__(self, connection: Owner) -> None:
        self.reply = None
        self.connection = connection
        self.count = 1
        self._replies: list[bytes] = []

    def join(self) -> None:
        """Count one more command that shares this place."""
        self.count += 1

    def take(self, outcomes: Sequence[bytes | Exception]) -> None:
        """Take all outcomes; the connection looks at the replies in its next turn."""
        connection, replies = self.connection, self._replies
        for outcome in outcomes:
            replies.append(connection.on_failed_write(outcome) if isinstance(outcome, Exception) else outcome)
        is_plain = not [True for reply in replies if reply[:1] not in PLAIN_HEADS]
        self.reply = b"".join(replies) if is_plain else self.ODD
        connection.on_write_done()

    def converted(self, reply: bytes, *, is_old: bool) -> bytes:  # noqa: ARG002  it stands for others
        """Return all replies in the client's protocol."""
        return b"".join([super(Writes, self).converted(each, is_old=is_old) for each in self._replies])


class Published(Write):
    """A message on its way through the log, of which this node counts its own receivers."""

    __slots__ = ("_args", "_client")

    def __init__(self, connection: Host, args: Arguments) -> None:
        super().__init__(connection)
        self._client = connection.client
        self._args = args[:2]

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome, and count unless it is a refusal."""
        super().done(outcome)
        if not isinstance(outcome, Exception) and outcome[:1] != b"-":
            self.reply = published_reply(self._client, self._args)


def published_reply(client: Client, args: Arguments) -> bytes:
    """Return on how many subscriptions of this node a message of PUBLISH or SPUBLISH goes."""
    kind = SHARD if args[0].upper() == b"SPUBLISH" else CHANNEL
    return integer(client.server.channels.receivers(args[1], kind))


class SilentWrite(Write):
    """A write whose client does not want replies."""

    __slots__ = ()

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome, and say nothing."""
        super().done(outcome)
        self.reply = b""


class Executed(Write):
    """A transaction on its way through the log; `finish` makes the reply of its outcome."""

    __slots__ = ("finish", "is_silent")

    def __init__(self, connection: Owner, finish: Callable[[bytes], bytes], *, is_silent: bool) -> None:
        super().__init__(connection)
        self.finish = finish
        self.is_silent = is_silent

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome, and answer what the connection answers itself."""
        super().done(outcome if isinstance(outcome, Exception) else self.finish(outcome))
        if self.is_silent:
            self.reply = b""


class Read(Slot):
    """A command that waits for a moment at which the local store is linearizable."""

    __slots__ = ("args", "function", "is_silent")

    def __init__(self, function: ReadFunction, args: Arguments, *, is_silent: bool) -> None:
        self.reply = None
        self.function = function
        self.args = args
        self.is_silent = is_silent


class SlowWatch:
    """How long the first command of each turn takes, for SLOWLOG: it stands for all that were taken up with it.

    Invariant: marks are in the order of the commands, at most one for each turn.
    """

    __slots__ = ("_client", "_clock", "is_marked", "marks")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._clock = client.server.monotonic_s
        self.marks: deque[tuple[Slot, float, Sequence[bytes]]] = deque()
        self.is_marked = False
        """This turn has its mark."""

    def mark(self, slot: Slot, args: Sequence[bytes], *, is_large: bool) -> None:
        """Note that a command is taken up now; of a large one only what may be shown is kept."""
        self.is_marked = True
        self.marks.append((slot, self._clock(), shorten(args) if is_large else args))

    def look(self) -> None:
        """Keep in SLOWLOG what is answered and took long."""
        marks = self.marks
        slowlog = self._client.server.slowlog
        while marks and marks[0][0].reply is not None:
            _, started_s, args = marks.popleft()
            duration_s = self._clock() - started_s
            if duration_s >= slowlog.threshold_s:
                client = self._client
                slowlog.add(args, duration_s, client.server.now_ms(), client.address, client.name)
