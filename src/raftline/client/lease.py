"""What the holder of a lock knows of its lease, by its own stopwatch: how long it may believe in it, when to renew.

No I/O and no clock. A lease counts from before the request was first sent, and a little less than it was given for: so
the holder stops believing in it before the servers give the lock to somebody else, as long as their clocks run evenly.
When a clock jumps it may be wrong; the token is what protects then.
"""

import secrets
import socket
from collections.abc import Callable
from typing import Any

import redis.exceptions

from raftline.client.errors import CommandFailed, LockLost, LockNotAcquired, ReplyLost, SessionLost
from raftline.errors import ConfigError

__all__ = ["LEASE_S", "Lease", "backoff_s", "check_options", "is_locked"]

LEASE_S = 10.0

_LEASE_S_MAX = 86_400.0
_DRIFT = 0.01
"""How much faster, at most, the servers' clocks are believed to run than the holder's."""
_RENEWALS = 3
"""Renewals that are due within one lease."""
_RETRY_S = 0.05
_BACKOFF_S = 0.02
_BACKOFF_S_MAX = 0.5
_DOUBLINGS_MAX = 10


class Lease:
    """One lock and what is known of it.

    Invariants: `token` is None iff the lock was never acquired, or was released; once `reason` is set the lease is
    lost for good.
    """

    __slots__ = ("_until", "lease_s", "name", "owner", "reason", "token")

    def __init__(self, name: Any, lease_s: float) -> None:
        if not 0.001 <= lease_s <= _LEASE_S_MAX:
            raise ConfigError(f"lease_s must be from 0.001 to {_LEASE_S_MAX:g}, not {lease_s}")
        self.name = name
        self.lease_s = lease_s
        self.owner = ""
        self.token: int | None = None
        self.reason = ""
        """Why it was lost."""
        self._until = 0.0

    # What is sent.

    def acquire_words(self) -> tuple[Any, ...]:
        """Return the command that takes the lock."""
        return ("RAFTLINE.LOCK", "ACQUIRE", self.name, self.owner, self._lease_ms)

    def renew_words(self) -> tuple[Any, ...]:
        """Return the command that lets the lease begin anew."""
        return ("RAFTLINE.LOCK", "RENEW", self.name, self.owner, self.token, self._lease_ms)

    def release_words(self) -> tuple[Any, ...]:
        """Return the command that gives the lock back."""
        return ("RAFTLINE.LOCK", "RELEASE", self.name, self.owner, self.token)

    # What happened.

    def begin(self) -> None:
        """Get ready for an acquisition, under a name that nobody else has."""
        if self.token is not None:
            raise LockNotAcquired(f"this object holds, or lost, the lock {self.name!r} already: release it first")
        self.owner = f"{socket.gethostname()[:64]}-{secrets.token_hex(8)}"
        self.reason = ""

    def on_acquired(self, token: int, asked_at: float, now: float) -> bool:
        """Note the token of a lock that was asked for at `asked_at`; False if the answer came too late to count."""
        self.on_renewed(asked_at)
        self.token = token if now < self._until else None
        return self.token is not None

    def on_renewed(self, asked_at: float) -> None:
        """Note that the lease began anew after `asked_at`."""
        self._until = asked_at + self.lease_s * (1 - _DRIFT)

    def on_failed_renewal(self, error: Exception, now: float) -> float | None:
        """Return after how many seconds to try again; None if the lease is lost, which is noted."""
        if isinstance(error, redis.exceptions.ResponseError):
            self.lose(str(error))
        elif not isinstance(error, CommandFailed | redis.exceptions.RedisError | OSError):
            self.lose(f"its renewal failed: {error!r}")
        elif self.has_run_out(now):
            self.lose(f"it could not be renewed in time: {error}")
        return None if self.reason else min(_RETRY_S, self.lease_s / _RENEWALS)

    def lose(self, reason: str) -> None:
        """Note why the lease is lost; the first reason counts."""
        self.reason = self.reason or reason

    def end(self) -> None:
        """Note that the lock was given back."""
        self.token = None

    # What is known.

    def has_run_out(self, now: float) -> bool:
        """Say whether nothing speaks for the lease any more; notes it as the reason if there is no other."""
        if self.token is not None and now >= self._until:
            self.lose("its lease ran out before it was renewed")
        return bool(self.reason)

    def left_s(self, now: float) -> float:
        """Return how long the lease may be believed in, at least 0."""
        return max(0.0, self._until - now)

    def renewal_in_s(self) -> float:
        """Return how long after one renewal the next is due."""
        return self.lease_s / _RENEWALS

    def check(self, now: float) -> int:
        """Return the token of a lock that may be believed to be held; raises `LockLost` if it may not."""
        if self.token is None:
            raise LockLost(f"the lock {self.name!r} is not held")
        if self.has_run_out(now):
            raise self.loss()
        return self.token

    def loss(self) -> LockLost:
        """Return the exception that says how the lock was lost."""
        return LockLost(f"the lock {self.name!r} was lost: {self.reason}")

    @property
    def _lease_ms(self) -> int:
        return max(1, int(self.lease_s * 1000))


def is_locked(error: Exception) -> bool:
    """Say whether an attempt to acquire failed in a way that another may not: somebody holds it, or a reply was lost.

    The second is harmless: who asks again under the same name gets the same lock.
    """
    if isinstance(error, SessionLost | ReplyLost):
        return True
    return isinstance(error, redis.exceptions.ResponseError) and str(error).startswith("LOCKED ")


def backoff_s(attempt: int, random: Callable[[], float]) -> float:
    """Return how long to wait before the next attempt, from 0 on: longer each time, and at random."""
    return (0.5 + 0.5 * random()) * min(_BACKOFF_S_MAX, _BACKOFF_S * (1 << min(attempt, _DOUBLINGS_MAX)))


def check_options(theirs: dict[str, Any]) -> None:
    """Refuse the options of redis-py's lock, which is another one."""
    if theirs:
        raise TypeError(
            f"lock() does not take {', '.join(sorted(theirs))}: this is raftline's lock (lease_s, wait_s, renew, "
            "on_lost), with fencing tokens; redis-py's needs Lua scripts, which raftline does not run"
        )
