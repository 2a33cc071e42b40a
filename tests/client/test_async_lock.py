"""AsyncRaftlineLock: as the other one, with tasks."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import raftline
from raftline.client.async_lock import AsyncRaftlineLock
from raftline.client.errors import Unavailable
from raftline.client.lease import Lease

if TYPE_CHECKING:
    from tests.client.conftest import LockCluster


class Door:
    """The cluster as an asynchronous client has it."""

    def __init__(self, locks: "LockCluster") -> None:
        self._locks = locks

    async def execute_command(self, *args: Any) -> Any:
        return self._locks.do(*args)

    async def execute_within(self, _deadline_s: float, *args: Any) -> Any:
        return self._locks.do(*args)


def make(locks: "LockCluster", lease_s: float = 600.0, wait_s: float = 30.0, **more: Any) -> AsyncRaftlineLock:
    """Return a lock of that cluster."""
    client: Any = Door(locks)
    return AsyncRaftlineLock(client, "name", lease_s, wait_s, **more)


def test_it_is_held_within_the_block(locks: "LockCluster") -> None:
    """One task at a time, each with a higher token; nothing is left behind."""
    tokens = []
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with make(locks) as lock:
            inside += 1
            assert (inside, locks.held) == (1, 1)
            tokens.append(lock.token)
            await asyncio.sleep(0)
            inside -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(work() for _ in range(4)))
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(all_of_them())
    assert tokens == [1, 2, 3, 4]
    assert locks.held == 0


def test_the_wait_has_an_end(locks: "LockCluster") -> None:
    """`acquire` says False, a block is not entered."""

    async def work() -> None:
        async with make(locks):
            assert await make(locks).acquire(wait_s=0.0) is False
            with pytest.raises(raftline.LockNotAcquired):
                await make(locks, wait_s=0.0).__aenter__()

    asyncio.run(work())


@pytest.mark.usefixtures("often_renewed")
def test_it_is_renewed_until_it_is_taken_away(locks: "LockCluster") -> None:
    """Then the holder is told, by the callback, by the flag and by the end of the block."""

    async def work() -> None:
        renewed, told = asyncio.Event(), asyncio.Event()
        renewals = 0

        def before(words: tuple[str, ...]) -> None:
            nonlocal renewals
            renewals += words[1] == "RENEW"
            if renewals == 2:
                renewed.set()

        async def on_lost(_lock: AsyncRaftlineLock) -> None:
            await asyncio.sleep(0)
            told.set()

        locks.before = before
        async with make(locks, on_lost=on_lost) as lock:
            await asyncio.wait_for(renewed.wait(), 30)
            assert not lock.lost
            await lock.renew()
            locks.do("DEL", "name")
            await asyncio.wait_for(told.wait(), 30)
            assert lock.lost

    with pytest.raises(raftline.LockLost, match="NOTHELD nobody holds this lock"):
        asyncio.run(work())


def test_without_answers_it_is_lost_by_the_own_stopwatch(locks: "LockCluster") -> None:
    """Nobody says so, so the holder does."""

    async def work() -> None:
        told = asyncio.Event()

        def before(words: tuple[str, ...]) -> None:
            if words[1] != "ACQUIRE":
                raise Unavailable("nobody", may_have_been_applied=True)

        locks.before = before
        lock = make(locks, lease_s=0.3, on_lost=lambda _lock: told.set())
        assert await lock.acquire()
        await asyncio.wait_for(told.wait(), 30)
        with pytest.raises(raftline.LockLost):
            lock.check()
        with pytest.raises(Unavailable):
            await lock.release()

    asyncio.run(work())


def test_the_client_makes_it() -> None:
    """With redis-py's name, and with words for redis-py's options, whose lock needs Lua."""

    async def work() -> None:
        async with raftline.AsyncClient("127.0.0.1:1") as client:
            assert isinstance(client.lock("name", lease_s=2.0), raftline.AsyncRaftlineLock)
            with pytest.raises(TypeError, match="does not take blocking, timeout"):
                client.lock("name", timeout=10, blocking=True)
            with pytest.raises(TypeError, match="Lua scripts"):
                client.register_script("return 1")

    asyncio.run(work())


@pytest.mark.usefixtures("often_renewed")
def test_a_release_that_is_cancelled_says_so(locks: "LockCluster") -> None:
    """Also while it waits for the last renewal to end; nothing renews the lock from then on."""

    class SlowDoor(Door):
        """Renewals wait for an answer, and take a while to be given up."""

        def __init__(self) -> None:
            super().__init__(locks)
            self.is_renewing, self.is_given_up, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def execute_within(self, _deadline_s: float, *_args: Any) -> Any:
            self.is_renewing.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.is_given_up.set()
                await self.may_end.wait()

    async def scenario() -> None:
        door: Any = SlowDoor()
        lock = AsyncRaftlineLock(door, "name", 600.0, 30.0)
        await lock.acquire()
        await door.is_renewing.wait()
        releasing = asyncio.create_task(lock.release())
        await door.is_given_up.wait()
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        (renewing,) = asyncio.all_tasks() - {asyncio.current_task()}
        door.may_end.set()
        await asyncio.wait([renewing])
        assert len(asyncio.all_tasks()) == 1
        with pytest.raises(raftline.LockLost, match="not held"):
            lock.check()
        assert await lock.acquire(wait_s=0) is False

    asyncio.run(scenario())


def test_a_release_ends_though_a_cancellation_is_lost(locks: "LockCluster", monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.11 loses one that comes when what is waited for is done already; nothing is renewed after it."""
    monkeypatch.setattr(Lease, "renewal_in_s", lambda _lease: 0.0)
    renewals = 0

    async def work() -> None:
        lock = make(locks)
        under_way = asyncio.Event()

        async def renew(_lease_s: float) -> None:
            nonlocal renewals
            renewals += 1
            under_way.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        monkeypatch.setattr(lock, "_renew", renew)
        assert await lock.acquire()
        await under_way.wait()
        async with asyncio.timeout(60):
            await lock.release()

    asyncio.run(work())
    assert (renewals, locks.held) == (1, 0)
