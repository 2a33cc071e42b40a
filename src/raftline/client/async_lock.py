"""AsyncRaftlineLock: a lock with a fencing token, held by a task, kept by another one behind it."""

import asyncio
import inspect
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import redis

from raftline.client.errors import LockNotAcquired
from raftline.client.lease import Lease, backoff_s, is_locked

if TYPE_CHECKING:
    from raftline.client.asynchronous import AsyncClient

__all__ = ["AsyncRaftlineLock"]


class AsyncRaftlineLock:
    """One lock of the cluster; made by `AsyncClient.lock`, and a context manager.

    Whatever it guards must be shown `token` with each request and refuse one that is below the highest it has seen:
    that alone is certain. `lost`, and `check`, say what this holder may believe; `on_lost` is called, and
    awaited if it can be, by a task of this lock when the lease is lost. One object is one holder: it is not for several
    tasks at once.
    """

    def __init__(
        self,
        client: "AsyncClient",
        name: Any,
        lease_s: float,
        wait_s: float,
        *,
        renew: bool = True,
        on_lost: Callable[["AsyncRaftlineLock"], object] | None = None,
    ) -> None:
        self._client = client
        self._lease = Lease(name, lease_s)
        self._wait_s = wait_s
        self._renews = renew
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None

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

    async def acquire(self, wait_s: float | None = None) -> bool:
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
                token = int(await self._client.execute_command(*lease.acquire_words()))
                if lease.on_acquired(token, asked_at, time.monotonic()):
                    break
            except redis.RedisError as error:
                if not is_locked(error):
                    raise
            delay_s = backoff_s(attempt, random.random)
            if time.monotonic() + delay_s >= give_up_at:
                return False
            attempt += 1
            await asyncio.sleep(delay_s)
        if self._renews:
            self._task = asyncio.create_task(self._keep(), name=f"raftline-lock-{lease.name!r}")
        return True

    async def renew(self) -> None:
        """Let the lease begin anew; raises `LockLost` if it ended before, or what the cluster did not answer."""
        lease = self._lease
        lease.check(time.monotonic())
        try:
            await self._renew(lease.left_s(time.monotonic()))
        except redis.ResponseError as error:
            lease.lose(str(error))
            raise lease.loss() from error

    async def release(self) -> None:
        """Give the lock back; raises `LockLost` if it was lost before, `Unavailable` if the cluster did not answer.

        A release that is cancelled may leave the lock taken until its lease ends; nothing renews it.
        """
        lease = self._lease
        if lease.token is None:
            lease.check(time.monotonic())
        try:
            await self._stop_renewing()
            is_lost = lease.has_run_out(time.monotonic())
            await self._client.execute_command(*lease.release_words())
        except redis.ResponseError as error:
            lease.lose(str(error))
            raise lease.loss() from error
        finally:
            lease.end()
        if is_lost:
            raise lease.loss()

    async def __aenter__(self) -> Self:
        if not await self.acquire():
            raise LockNotAcquired(f"somebody else holds the lock {self.name!r}, for {self._wait_s:g} s and longer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release; what the block itself raised comes before what the release comes to."""
        if self._lease.token is None:
            return
        try:
            await self.release()
        except redis.RedisError:
            if error is None:
                raise

    async def _stop_renewing(self) -> None:
        """End the task behind the lock; raises what `on_lost` raised."""
        task, self._task = self._task, None
        if task is None or task is asyncio.current_task():
            return
        task.cancel()
        await asyncio.wait([task])  # unlike the task itself it raises only if it is this task that is cancelled
        if not task.cancelled():
            task.result()

    async def _keep(self) -> None:
        """Renew until told to stop, or until the lease is lost."""
        lease = self._lease
        delay_s: float | None = lease.renewal_in_s()
        while delay_s is not None:
            await asyncio.sleep(delay_s)
            try:
                async with asyncio.timeout(lease.left_s(time.monotonic())):
                    await self._renew(lease.lease_s)
            except Exception as error:  # noqa: BLE001  whatever it is, the holder has to hear that it lost the lock
                delay_s = lease.on_failed_renewal(error, time.monotonic())
            else:
                delay_s = None if lease.reason else lease.renewal_in_s()
            if self._task is not asyncio.current_task():
                return  # told to stop: a cancellation that comes in the last moment of a wait is lost in Python 3.11
        if self._on_lost is not None:
            told = self._on_lost(self)
            if inspect.isawaitable(told):
                await told

    async def _renew(self, deadline_s: float) -> None:
        asked_at = time.monotonic()
        await self._client.execute_within(deadline_s, *self._lease.renew_words())
        self._lease.on_renewed(asked_at)
