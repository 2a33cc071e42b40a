"""Turns of the groups of a node: each that asked takes one, then what all of them said leaves together.

A busy group holds nobody up: turns are short, shorter the more groups take one, and after a few milliseconds those that
are left come first in the next turn of the event loop.
"""

import asyncio
from collections.abc import Callable

from raftline.runtime.log_writer import LogWriter
from raftline.runtime.ports import Transport

__all__ = ["Turns"]

_HELD_S_MAX = 0.005
_APPLY_S_MAX = 0.005


class Turns:
    """The groups that want a turn.

    Invariant: while somebody is in `_due`, a run is scheduled or under way.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._due: list[Callable[[], None]] = []
        self._stopped = False
        self.writer: LogWriter | None = None
        """Begins one write for all groups that take their turns together."""
        self.crowd = 1
        """How many groups take their turns together."""
        self.apply_s = _APPLY_S_MAX
        """For how long a group may apply entries in this turn."""

    def share_of(self, whole: int, least: int) -> int:
        """Return how much of what it would do alone a group may do in this turn."""
        return whole if self.crowd == 1 else max(whole // self.crowd, min(least, whole))

    def add(self, turn: Callable[[], None]) -> None:
        """Let a group take a turn soon."""
        self._due.append(turn)
        if len(self._due) == 1:
            self._loop.call_soon(self._run)

    def flush(self) -> None:
        """Let what was said leave, unless the node failed."""
        if not self._stopped:
            self._transport.flush()

    def flush_early(self) -> None:
        """Let what was said leave before the rest of the turn is done: who gets it works meanwhile.

        Not while other groups take their turns, too: then all of it leaves together.
        """
        if not (self._stopped or (self.writer is not None and self.writer.is_held)):
            self._transport.flush()

    def flush_soon(self) -> None:
        """Let what is said outside of a turn leave with what groups say next, soon."""
        self.add(_nothing)

    def stop(self) -> None:
        """Let nothing leave any more: the node failed."""
        self._stopped = True

    def _run(self) -> None:
        due, self._due = self._due, []
        if len(due) == 1:
            self._take(due[0])
        elif due:
            self._run_together(due)
        if not self._stopped:
            self._transport.flush()

    def _run_together(self, due: list[Callable[[], None]]) -> None:
        assert self.writer is not None, "somebody takes turns"
        self.writer.hold()
        self.crowd = len(due)
        self.apply_s = _APPLY_S_MAX / self.crowd
        until = self._loop.time() + _HELD_S_MAX
        for position, turn in enumerate(due, 1):
            self._take(turn)
            if position < len(due) and self._loop.time() >= until:
                left = due[position:]
                if not self._due:
                    self._loop.call_soon(self._run)
                self._due[:0] = left
                break
        self.crowd = 1
        self.apply_s = _APPLY_S_MAX
        self.writer.let_go()

    def _take(self, turn: Callable[[], None]) -> None:
        """Let one take its turn; what it raises must not keep the others from theirs, nor from the log."""
        try:
            turn()
        except Exception as error:  # noqa: BLE001  somebody else's code: a group fails by itself
            self._loop.call_exception_handler({"message": "a turn raised", "exception": error})


def _nothing() -> None:
    """Take a turn in which nothing happens."""
