"""Exactly-once inside a session: the remembered reply answers a command that was carried out already (§8, thesis 6.3).

Sessions are replicated state: changed only while applying, equal on every replica, part of every snapshot (G9). A
client numbers its commands 1, 2, 3, ... with one outstanding at a time, and repeats the number when it retries (G8).
"""

import msgspec

__all__ = ["Session", "Sessions"]


class Session(msgspec.Struct, array_like=True, gc=False):
    """One client's last command: its number, how it ended and when."""

    sequence: int
    failed: bool
    reply: bytes
    used_ms: int


class Sessions:
    """Open sessions, the least recently used first.

    Invariants: at most `count_max` sessions; order and content depend on the applied commands alone.
    """

    def __init__(self, count_max: int = 10_000, idle_ms_max: int = 3_600_000) -> None:
        self._count_max = count_max
        self._idle_ms_max = idle_ms_max
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, session_id: int, time_ms: int) -> None:
        """Open a session; the least recently used one makes room if there are too many."""
        self.expire(time_ms)
        if len(self._sessions) >= self._count_max:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session_id] = Session(0, False, b"", time_ms)  # noqa: FBT003

    def expire(self, time_ms: int) -> None:
        """Close the sessions that nobody used for too long, as of the log's own time."""
        while self._sessions:
            oldest = next(iter(self._sessions))
            if self._sessions[oldest].used_ms + self._idle_ms_max > time_ms:
                return
            del self._sessions[oldest]

    def find(self, session_id: int) -> Session | None:
        """Return an open session."""
        return self._sessions.get(session_id)

    def remember(self, session_id: int, sequence: int, *, failed: bool, reply: bytes, time_ms: int) -> None:
        """Note how the session's command `sequence` ended, and that the session was used."""
        del self._sessions[session_id]
        self._sessions[session_id] = Session(sequence, failed, reply, time_ms)

    def dump(self) -> list[tuple[int, Session]]:
        """Return everything, in order, for a snapshot."""
        return list(self._sessions.items())

    def load(self, sessions: list[tuple[int, Session]]) -> None:
        """Take over what `dump` returned."""
        self._sessions = dict(sessions)
