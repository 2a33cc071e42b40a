"""Exactly-once inside a session: the remembered reply answers a command that was carried out already (§8, thesis 6.3).

Sessions are replicated state: changed only while applying, equal on every replica, part of every snapshot (G9). A
client numbers its commands 1, 2, 3, ... with one outstanding at a time, and repeats the number when it retries (G8).
They are bounded: too many close the least recently used session; too many bytes of replies forget a reply, and never
that its command was carried out.
"""

import msgspec

__all__ = ["Session", "Sessions"]

_SHARE_OF_ONE = 2
"""A single reply may take half of what all may."""


class Session(msgspec.Struct, array_like=True, gc=False):
    """One client's last command: its number, how it ended and when."""

    sequence: int
    failed: bool
    reply: bytes
    used_ms: int
    reply_forgotten: bool = False
    """The command was carried out, and its reply was too large to be kept, or had to make room for newer ones."""


class Sessions:
    """Open sessions, the least recently used first.

    Invariants: at most `count_max` sessions, at most `reply_bytes_max` of remembered replies; order and content depend
    on the applied commands alone; `_replies` names the sessions whose reply takes memory, in the order of `_sessions`.
    """

    __slots__ = ("_replies", "_sessions", "count_max", "idle_ms_max", "reply_bytes", "reply_bytes_max")

    def __init__(self, count_max: int = 10_000, idle_ms_max: int = 3_600_000, reply_bytes_max: int = 8 << 20) -> None:
        self.count_max = count_max
        self.idle_ms_max = idle_ms_max
        self.reply_bytes_max = reply_bytes_max
        self.reply_bytes = 0
        self._sessions: dict[int, Session] = {}
        self._replies: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, session_id: int, time_ms: int) -> None:
        """Open a session; the least recently used one makes room if there are too many.

        One that is open stays as it is: the entry that opens it may stand in the log twice.
        """
        self.expire(time_ms)
        if session_id in self._sessions:
            return
        if len(self._sessions) >= self.count_max:
            self.close(next(iter(self._sessions)))
        self._sessions[session_id] = Session(0, False, b"", time_ms)  # noqa: FBT003

    def close(self, session_id: int) -> bool:
        """Forget a session; return whether it was open."""
        session = self._sessions.pop(session_id, None)
        if session is None:
            return False
        if session.reply:
            del self._replies[session_id]
            self.reply_bytes -= len(session.reply)
        return True

    def expire(self, time_ms: int) -> None:
        """Close the sessions that nobody used for too long, as of the log's own time."""
        while self._sessions:
            oldest = next(iter(self._sessions))
            if self._sessions[oldest].used_ms + self.idle_ms_max > time_ms:
                return
            self.close(oldest)

    def find(self, session_id: int) -> Session | None:
        """Return an open session."""
        return self._sessions.get(session_id)

    def remember(self, session_id: int, sequence: int, *, failed: bool, reply: bytes, time_ms: int) -> None:
        """Note how the session's command `sequence` ended, and that the session was used."""
        is_kept = len(reply) <= self.reply_bytes_max // _SHARE_OF_ONE
        self._put(session_id, Session(sequence, failed, reply if is_kept else b"", time_ms, not is_kept))
        while self.reply_bytes > self.reply_bytes_max:
            self._forget_reply(next(iter(self._replies)))

    def touch(self, session_id: int, time_ms: int) -> None:
        """Note that the session was used: the last command was asked for once more."""
        session = self._sessions[session_id]
        self._put(session_id, msgspec.structs.replace(session, used_ms=time_ms))

    def dump(self) -> list[tuple[int, Session]]:
        """Return everything, in order, for a snapshot."""
        return list(self._sessions.items())

    def load(self, sessions: list[tuple[int, Session]]) -> None:
        """Take over what `dump` returned."""
        self._sessions = dict(sessions)
        self._replies = {session_id: None for session_id, session in sessions if session.reply}
        self.reply_bytes = sum(len(session.reply) for _, session in sessions)

    def merge(self, sessions: list[tuple[int, Session]], time_ms: int) -> None:
        """Take over what another group remembers, where it went further; the least recently used make room (G16)."""
        for session_id, session in sessions:
            known = self._sessions.get(session_id)
            if known is None or known.sequence < session.sequence:
                self.open(session_id, time_ms)
                self._put(session_id, msgspec.structs.replace(session, used_ms=time_ms))
        while self.reply_bytes > self.reply_bytes_max:
            self._forget_reply(next(iter(self._replies)))

    def _put(self, session_id: int, session: Session) -> None:
        """Set an open session, as the one that was used last."""
        self.close(session_id)
        self._sessions[session_id] = session
        if session.reply:
            self._replies[session_id] = None
            self.reply_bytes += len(session.reply)

    def _forget_reply(self, session_id: int) -> None:
        """Keep what a session did, and not what it was told."""
        session = self._sessions[session_id]
        del self._replies[session_id]
        self.reply_bytes -= len(session.reply)
        self._sessions[session_id] = msgspec.structs.replace(session, reply=b"", reply_forgotten=True)
