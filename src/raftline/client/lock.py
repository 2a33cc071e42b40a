"""RaftlineLock: a lock with a fencing token, held by a thread of a program, kept by another one behind it."""

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import redis

from raftline.client.errors import LockNotAcquired
from raftline.client.lease import Lease, backoff_s, is_locked

if TYPE_CHECKING:
    from raftline.client.sync import Client

__all__ = ["RaftlineLock"]


class RaftlineLock:
    """One lock of the cluster; made by `Client.lock`, and a context manager.

    Whatever it guards must be shown `token` with each request and refuse one that is below the highest it has seen:
    that alone is certain. `lost`, and `check`, say what this holder may believe; `on_lost` is called, in a thread of
    this lock, when the lease is known to be lost. One object is one holder: it is not for several threads at once.
    """

    def __init__(
        self,
        client: "Client",
        name: Any,
        lease_s: float,
        wait_s: float,
        *,
        renew: bool = True,
        on_lost: Callable[["RaftlineLock"], object] | None = None,
    ) -> None:
        self._client = client
        self._lease = Lease(name, lease_s)
        self._wait_s = wait_s
        self._renews = renew
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> Any:
        """Return the lock's name, which is a key."""
        return self._lease.name

    @property
    def owner(self) -> str:
        """Return as whom it is, or was last, held: a name of this acquisition alone."""
        return self._lease.owner

    @property
    def token(self) -> int:
        """Return the fencing token, higher than that of any holder before; raises `LockLost` if the lease is lost."""
        return self._lease.check(time.monotonic())

    @property
    def lost(self) -> bool:
        """Say whether it was acquired and may not be believed to be held any more."""
        return self._lease.has_run_out(time.monotonic())

    def check(self) -> None:
        """Raise `LockLost` unless the lock may be believed to be held."""
        self._lease.check(time.monotonic())

    def acquire(self, wait_s: float | None = None) -> bool:
        """Take the lock; return False if somebody else had it all the time.

        Raises `Unavailable` if the cluster did not answer. Then, and after an interruption, the lock may be taken
        until its lease ends.
        """
        lease = self._lease
        lease.begin()
        give_up_at = time.monotonic() + (self._wait_s if wait_s is None else wait_s)
        attempt = 0
        while True:
            asked_at = time.monotonic()
            try:
                token = int(self._client.execute_command(*lease.acquire_words()))
                if lease.on_acquired(token, asked_at, time.monotonic()):
                    break
            except redis.RedisError as error:
                if not is_locked(error):
                    raise
            delay_s = backoff_s(attempt, random.random)
            if time.monotonic() + delay_s >= give_up_at:
                return False
            attempt += 1
            time.sleep(delay_s)
        if self._renews:
            self._stop = threading.Event()
            words = f"raftline-lock-{lease.name!r}"
            self._thread = threading.Thread(target=self._keep, args=(self._stop,), name=words, daemon=True)
            self._thread.start()
        return True

    def renew(self) -> None:
        """Let the lease begin anew; raises `LockLost` if it ended before, or what the cluster did not answer."""
        lease = self._lease
        lease.check(time.monotonic())
        try:
            self._renew(lease.left_s(time.monotonic()))
        except redis.ResponseError as error:
            lease.lose(str(error))
            raise lease.loss() from error

    def release(self) -> None:
        """Give the lock back; raises `LockLost` if it was lost before, `Unavailable` if the cluster did not answer."""
        lease = self._lease
        if lease.token is None:
            lease.check(time.monotonic())
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None
        is_lost = lease.has_run_out(time.monotonic())
        try:
            self._client.execute_command(*lease.release_words())
        except redis.ResponseError as error:
            lease.lose(str(error))
            raise lease.loss() from error
        finally:
            lease.end()
        if is_lost:
            raise lease.loss()

    def __enter__(self) -> Self:
        if not self.acquire():
            raise LockNotAcquired(f"somebody else holds the lock {self.name!r}, for {self._wait_s:g} s and longer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release; what the block itself raised comes before what the release comes to."""
        if self._lease.token is None:
            return
        try:
            self.release()
        except redis.RedisError:
            if error is None:
                raise

    def _keep(self, stop: threading.Event) -> None:
        """Renew until told to stop, or until the lease is lost."""
        lease = self._lease
        delay_s: float | None = lease.renewal_in_s()
        while delay_s is not None and not stop.wait(delay_s):
            try:
                self._renew(max(0.001, lease.left_s(time.monotonic())))
            except Exception as error:  # noqa: BLE001  whatever it is, the holder has to hear that it lost the lock
                if stop.is_set():
                    return
                delay_s = lease.on_failed_renewal(error, time.monotonic())
            else:
                delay_s = None if lease.reason else lease.renewal_in_s()
        if not stop.is_set() and self._on_lost is not None:
            self._on_lost(self)

    def _renew(self, deadline_s: float) -> None:
        asked_at = time.monotonic()
        self._client.execute_within(deadline_s, *self._lease.renew_words())
        self._lease.on_renewed(asked_at)
