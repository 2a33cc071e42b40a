"""What our clients raise besides redis-py's own errors: each says whether the command may have been applied.

CommandFailed
├── Unavailable   nobody answered before the deadline
├── SessionLost   the session ended while a command in it had no answer: its outcome is unknown
└── ReplyLost     the command was carried out, once; its reply is no longer kept
LockNotAcquired   somebody else holds the lock, and went on holding it
LockLost          the lease of a lock ended, or may have, before the lock was released
"""

import redis.exceptions

from raftline.errors import OperatingError

__all__ = ["CommandFailed", "LockLost", "LockNotAcquired", "ReplyLost", "SessionLost", "Unavailable", "note"]


class CommandFailed(OperatingError, redis.exceptions.RedisError):
    """A command without a reply; `may_have_been_applied` says whether it took, or may still take, effect."""

    def __init__(self, message: str, *, may_have_been_applied: bool) -> None:
        effect = "it may have been applied" if may_have_been_applied else "it was not applied"
        super().__init__(f"{message}: {effect}")
        self.may_have_been_applied = may_have_been_applied


class Unavailable(CommandFailed, redis.exceptions.ConnectionError):
    """Nobody answered before the deadline."""


class SessionLost(CommandFailed):
    """The session was closed while a command in it had no answer, or was used by somebody else."""


class ReplyLost(CommandFailed):
    """The command was carried out once; its reply was too large to be remembered, or too old."""


class LockNotAcquired(OperatingError, redis.exceptions.LockError):
    """Somebody else holds the lock, and went on holding it for as long as it was waited for."""


class LockLost(OperatingError, redis.exceptions.LockNotOwnedError):
    """The lock is not held, or not any more: its lease ended before it was released, or somebody took it away."""


def note(error: BaseException, *, may_have_been_applied: bool) -> None:
    """Say of an exception whether the command may have been applied, unless it says so itself."""
    if not isinstance(error, CommandFailed):
        error.may_have_been_applied = may_have_been_applied  # type: ignore[attr-defined]
