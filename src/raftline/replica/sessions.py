"""Exactly-once inside a session: the remembered reply answers a command that was carried out already (§8, thesis 6.3).

Sessions are replicated state: changed only while applying, equal on every replica, part of every snapshot (G9). A
client numbers its commands 1, 2, 3, ... with one outstanding at a time, and repeats the number when it retries (G8).
They are bounded: too many close the least recently used session; too many bytes of replies forget a reply, and never
that its command was carried out. Where sessions come from another group, one that was forgotten is not opened anew.
"""

from collections.abc import Callable, Iterable
from itertools import chain

import msgspec

__all__ = ["FORGOT_NOTHING", "ONE_REPLY_BYTES_MAX", "Forgotten", "Session", "Sessions"]

_REPLY_BYTES_MAX = 8 << 20
_SHARE_OF_ONE = 2
"""A single reply may take half of what all may."""
ONE_REPLY_BYTES_MAX = _REPLY_BYTES_MAX // _SHARE_OF_ONE
"""The longest reply that is kept."""


class Session(msgspec.Struct, array_like=True, gc=False):
    """One client's last command: its number, how it ended and when."""

    sequence: int
    failed: bool
    reply: bytes
    used_ms: int
    reply_forgotten: bool = False
    """The command was carried out, and its reply was too large to be kept, or had to make room for newer ones."""
    born: int = 0
    """The index of the entry that opened it, in the group that drew its number: who was opened later has a greater."""
    closed: bool = False
    """A client closed it; it is kept where it came from another group, so that nobody opens it here again."""


class Forgotten(msgspec.Struct, frozen=True, array_like=True):
    """How far a table of guests has forgotten; both rise only."""

    born: int
    """The highest `born` of any session that was forgotten here, or by a group whose sessions came here."""
    used_ms: int
    """The latest moment at which one was used that was here and was forgotten; what others forgot does not count."""


FORGOT_NOTHING = Forgotten(-1, -1)


def _nowhere(_session: int, _born: int) -> bool:
    return False


class Sessions:
    """Open sessions, the least recently used first.

    Invariants: at most `count_max` sessions, at most `reply_bytes_max` of remembered replies; order and content depend
    on the applied commands alone; `_replies` names the sessions whose reply takes memory, in the order of `_sessions`.
    If they are guests, each that was ever here is here, open or closed, or was born no later than `forgotten.born`.
    """

    __slots__ = (
        "_closed",
        "_replies",
        "_sessions",
        "are_guests",
        "count_max",
        "forgotten",
        "forgotten_elsewhere",
        "idle_ms_max",
        "reply_bytes",
        "reply_bytes_max",
    )

    def __init__(
        self, count_max: int = 10_000, idle_ms_max: int = 3_600_000, reply_bytes_max: int = _REPLY_BYTES_MAX
    ) -> None:
        self.count_max = count_max
        self.idle_ms_max = idle_ms_max
        self.reply_bytes_max = reply_bytes_max
        self.reply_bytes = 0
        self.are_guests = False
        """They are drawn by another group, and opened here when they are used here first."""
        self.forgotten = FORGOT_NOTHING
        self.forgotten_elsewhere: Callable[[int, int], bool] = _nowhere
        """(number, born) → a group that is telling what it remembers has not told it, and may have forgotten it."""
        self._sessions: dict[int, Session] = {}
        self._closed: dict[int, Session] = {}
        """Guests that were closed, the one that was closed first before the others."""
        self._replies: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, session_id: int, time_ms: int, born: int = 0) -> bool:
        """Open a session; the least recently used one makes room if there are too many. Return whether it is open.

        One that is open stays as it is: the entry that opens it may stand in the log twice. A guest that was here and
        was closed or forgotten is not opened anew, nor is one that may have been: it could do again what it did.
        """
        self.expire(time_ms)
        if session_id in self._sessions:
            return True
        if self.are_guests and (session_id in self._closed or self._was_forgotten(session_id, born)):
            return False
        self._make_room()
        self._sessions[session_id] = Session(0, False, b"", time_ms, False, born)  # noqa: FBT003
        return True

    def close(self, session_id: int, time_ms: int) -> bool:
        """Close a session that its client does not need any more; return whether it was open."""
        session = self._take_out(session_id)
        if session is not None and self.are_guests:
            self._put_closed(session_id, session, time_ms)
        return session is not None

    def expire(self, time_ms: int) -> None:
        """Close the sessions that nobody used for too long, as of the log's own time."""
        for sessions in (self._sessions, self._closed) if self._closed else (self._sessions,):
            while sessions:
                oldest = next(iter(sessions))
                if sessions[oldest].used_ms + self.idle_ms_max > time_ms:
                    break
                self._forget(oldest)

    def find(self, session_id: int) -> Session | None:
        """Return an open session."""
        return self._sessions.get(session_id)

    def remember(self, session_id: int, sequence: int, *, failed: bool, reply: bytes, time_ms: int) -> None:
        """Note how the session's command `sequence` ended, and that the session was used."""
        is_kept = len(reply) <= self.reply_bytes_max // _SHARE_OF_ONE
        born = self._sessions[session_id].born
        self._put(session_id, Session(sequence, failed, reply if is_kept else b"", time_ms, not is_kept, born))
        while self.reply_bytes > self.reply_bytes_max:
            self._forget_reply(next(iter(self._replies)))

    def touch(self, session_id: int, time_ms: int) -> None:
        """Note that the session was used: the last command was asked for once more."""
        session = self._sessions[session_id]
        self._put(session_id, msgspec.structs.replace(session, used_ms=time_ms))

    def dump(self) -> list[tuple[int, Session]]:
        """Return everything but `forgotten`, in order, for a snapshot; those that were closed come last."""
        return [*self._sessions.items(), *self._closed.items()]

    def load(self, sessions: list[tuple[int, Session]], forgotten: Forgotten = FORGOT_NOTHING) -> None:
        """Take over what `dump` returned, and what was forgotten."""
        self._sessions = {session_id: session for session_id, session in sessions if not session.closed}
        self._closed = {session_id: session for session_id, session in sessions if session.closed}
        self.forgotten = forgotten
        self._replies = {session_id: None for session_id, session in sessions if session.reply}
        self.reply_bytes = sum(len(session.reply) for _, session in sessions)

    def merge(self, sessions: list[tuple[int, Session]], time_ms: int) -> None:
        """Take over what another group remembers, where it went further; the least recently used make room (G16).

        One that was forgotten, here or by a third group, may have gone further before: it stays forgotten.
        """
        for session_id, session in sessions:
            known = self._sessions.get(session_id) or self._closed.get(session_id)
            if known is None and self._was_forgotten(session_id, session.born):
                continue
            if known is None:
                self._make_room()
            if session.closed or (known is not None and known.closed):
                self._take_out(session_id)
                self._put_closed(session_id, session, time_ms)
            elif known is None or known.sequence < session.sequence:
                self._put(session_id, msgspec.structs.replace(session, used_ms=time_ms))
        while self.reply_bytes > self.reply_bytes_max:
            self._forget_reply(next(iter(self._replies)))

    def lost_to(self, told: Iterable[int], first: int, end: int, born: int) -> list[int]:
        """Return the sessions from number `first` up to `end` in which another group may have gone further.

        It forgot them, or may have: `born` is its `forgotten.born`, and it remembers none of these numbers but `told`.
        """
        told = set(told)
        mine = chain(self._sessions.items(), self._closed.items())
        return [
            session_id
            for session_id, session in mine
            if session.born <= born and first <= session_id < end and session_id not in told
        ]

    def forget(self, session_ids: Iterable[int], born: int) -> None:
        """Forget sessions that another group forgot, and note that it forgot others that were born by then."""
        for session_id in session_ids:
            if session_id in self._sessions or session_id in self._closed:
                self._forget(session_id)
        if born > self.forgotten.born:
            self.forgotten = msgspec.structs.replace(self.forgotten, born=born)

    def _was_forgotten(self, session_id: int, born: int) -> bool:
        """Say whether a session that is not here may have gone further before it was forgotten."""
        return born <= self.forgotten.born or self.forgotten_elsewhere(session_id, born)

    def _make_room(self) -> None:
        """Let the one that was closed first go, or the one that nobody used for longest, if there are too many."""
        if len(self._sessions) + len(self._closed) >= self.count_max:
            self._forget(next(iter(self._closed or self._sessions)))

    def _forget(self, session_id: int) -> None:
        """Remember nothing of a session any more but that there was one."""
        session = self._take_out(session_id) or self._closed.pop(session_id)
        if self.are_guests:
            last = self.forgotten
            self.forgotten = Forgotten(max(last.born, session.born), max(last.used_ms, session.used_ms))

    def _take_out(self, session_id: int) -> Session | None:
        """Remove an open session, and return it if it was one."""
        session = self._sessions.pop(session_id, None)
        if session is not None and session.reply:
            del self._replies[session_id]
            self.reply_bytes -= len(session.reply)
        return session

    def _put(self, session_id: int, session: Session) -> None:
        """Set an open session, as the one that was used last."""
        self._take_out(session_id)
        self._sessions[session_id] = session
        if session.reply:
            self._replies[session_id] = None
            self.reply_bytes += len(session.reply)

    def _put_closed(self, session_id: int, session: Session, time_ms: int) -> None:
        """Remember that a guest was closed."""
        self._closed.pop(session_id, None)
        self._closed[session_id] = Session(session.sequence, False, b"", time_ms, True, session.born, True)  # noqa: FBT003

    def _forget_reply(self, session_id: int) -> None:
        """Keep what a session did, and not what it was told."""
        session = self._sessions[session_id]
        del self._replies[session_id]
        self.reply_bytes -= len(session.reply)
        self._sessions[session_id] = msgspec.structs.replace(session, reply=b"", reply_forgotten=True)
