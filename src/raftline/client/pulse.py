"""Whether the node at the other end of a connection is there while it has nothing to say: silence alone proves nothing.

After half the patience without a word it is asked, and it is taken for dead if nothing came by the end of the other
half. No I/O, no clock: whoever listens says what happened and when.
"""

__all__ = ["Pulse"]

_ASKED_AFTER = 0.5
"""The part of the patience after which a node that said nothing is asked; the other part it has to answer."""


class Pulse:
    """One connection, from the moment it is made; `patience_s` is for how long a living node may say nothing."""

    __slots__ = ("_answer_s", "_ask_s", "_asked_at", "_heard_at")

    def __init__(self, patience_s: float, now: float) -> None:
        self._ask_s = patience_s * _ASKED_AFTER
        self._answer_s = patience_s - self._ask_s
        self._heard_at = now
        self._asked_at: float | None = None

    def on_heard(self, now: float) -> None:
        """Something came, whatever it was."""
        self._heard_at = now
        self._asked_at = None

    def on_asked(self, now: float) -> None:
        """The node was asked for an answer."""
        self._asked_at = now

    def wait_s(self, now: float) -> float:
        """Return for how long to listen before there is something to do."""
        end = self._heard_at + self._ask_s if self._asked_at is None else self._asked_at + self._answer_s
        return max(0.0, end - now)

    def must_ask(self, now: float) -> bool:
        """Say whether to ask the node; call after listening in vain."""
        return self._asked_at is None and self.wait_s(now) == 0

    def is_dead(self, now: float) -> bool:
        """Say whether the node was asked and had its time to answer; call after listening in vain."""
        return self._asked_at is not None and self.wait_s(now) == 0
