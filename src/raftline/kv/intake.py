"""What a client sent and was not yet taken up: bytes in, a slice of them at a time, commands out."""

from collections import deque

from raftline.kv.commands.command import Arguments
from raftline.kv.limits import Limits
from raftline.kv.resp.requests import RequestParser

__all__ = ["Intake"]

_SLICE_BYTES = 32 << 10
"""Input is parsed in pieces of this size, so that one turn of the loop is short whatever a client sends."""
_BACKLOG_BYTES_MAX = 64 << 10


class Intake:
    """Bytes that wait to be parsed, and the parser that has taken the others."""

    __slots__ = ("_limits", "_unlooked_at_bytes_max", "backlog_bytes", "is_large", "parser", "refusal", "waiting")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._unlooked_at_bytes_max = limits.unlooked_at_bytes_max
        self.waiting: deque[bytes] = deque()
        self.backlog_bytes = 0
        """What was fed and not parsed, at the last look; whoever sees that nothing waits sets it to 0."""
        self.parser = RequestParser(limits)
        self.is_large = False
        """The commands parsed last may hold keys or values above their limits."""
        self.refusal: bytes | None = None
        """What the client is told behind all commands that were whole; set once nothing more is taken."""

    def feed(self, data: bytes) -> None:
        """Take bytes in."""
        if self.refusal is not None:
            return
        self.backlog_bytes += len(data)
        if len(data) <= _SLICE_BYTES:
            self.waiting.append(data)
        else:
            self.waiting.extend(data[start : start + _SLICE_BYTES] for start in range(0, len(data), _SLICE_BYTES))

    def parse(self) -> list[Arguments]:
        """Return the commands that the next slice completes; there must be one in `waiting`."""
        data = self.waiting.popleft()
        parser = self.parser
        self.is_large = len(data) > self._unlooked_at_bytes_max or parser.partial_bytes > 0
        commands = parser.feed(data)
        self.backlog_bytes = len(data) + (sum(map(len, self.waiting)) if self.waiting else 0)
        if parser.error is not None:
            self.waiting.clear()
        return commands

    def give_up(self, refusal: bytes) -> None:
        """Forget what is not whole, and take nothing more."""
        self.refusal = refusal
        self.waiting.clear()
        self.parser.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.waiting.clear()
        self.parser = RequestParser(self._limits)

    @property
    def has_backlog(self) -> bool:
        """Say whether so much waits that the owner should stop reading for now."""
        return self.backlog_bytes >= _BACKLOG_BYTES_MAX

    @property
    def waits_for_bytes(self) -> bool:
        """Say whether a half-received request lacks bytes that have not come, not bytes that wait here."""
        return self.parser.partial_bytes > 0 and not self.waiting
