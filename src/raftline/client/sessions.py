"""Sessions that wait for their next command: each is used by one command at a time, and never in two processes.

A number is used up when a command takes it, however the command ends: what was given up is never carried out later
under a number that something else has.
"""

import os
from collections import deque

__all__ = ["ClientSession", "SessionPool"]


class ClientSession:
    """One session: its number, and the number of the last command that took one in it."""

    __slots__ = ("id", "process_id", "sequence")

    def __init__(self, session_id: int) -> None:
        self.id = session_id
        self.sequence = 0
        self.process_id = os.getpid()

    def next(self) -> int:
        """Return a number for a command; no other gets it."""
        self.sequence += 1
        return self.sequence


class SessionPool:
    """Sessions that nobody uses, the last one given back first.

    Thread-safe without a lock, so that a fork in the middle leaves nothing locked: a deque's ends are atomic. A child
    process has its own sessions; in its parent's it would be taken for the parent.
    """

    def __init__(self) -> None:
        self._idle: deque[ClientSession] = deque()

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> ClientSession | None:
        """Return a session of this process, None if there is none."""
        while True:
            try:
                session = self._idle.pop()
            except IndexError:
                return None
            if session.process_id == os.getpid():
                return session

    def take_some(self, count_max: int) -> list[ClientSession]:
        """Return up to so many sessions of this process."""
        found: list[ClientSession] = []
        while len(found) < count_max and (session := self.take()) is not None:
            found.append(session)
        return found

    def give(self, session: ClientSession) -> None:
        """Let somebody else use a session."""
        self._idle.append(session)
