"""RaftlineLock: taken, waited for, kept, lost and given back."""

import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

import raftline
from raftline.client.errors import SessionLost, Unavailable
from raftline.client.lock import RaftlineLock

if TYPE_CHECKING:
    from tests.client.conftest import LockCluster

LONG_S = 600.0


def make(locks: "LockCluster", lease_s: float = LONG_S, wait_s: float = 30.0, **more: Any) -> RaftlineLock:
    """Return a lock of that cluster."""
    client: Any = locks
    return RaftlineLock(client, "name", lease_s, wait_s, **more)


def test_it_is_held_within_the_block(locks: "LockCluster") -> None:
    """With a token inside, and free again outside; the next holder's token is higher."""
    tokens = []
    for _ in range(2):
        with make(locks) as lock:
            assert locks.held == 1
            assert not lock.lost
            tokens.append(lock.token)
        assert locks.held == 0
    assert tokens == [1, 2]


def test_it_is_waited_for(locks: "LockCluster") -> None:
    """Somebody else's lock is asked for until it is free."""
    other = make(locks, renew=False)
    assert other.acquire()
    asked = 0

    def before(words: tuple[str, ...]) -> None:
        nonlocal asked
        if words[:2] == ("RAFTLINE.LOCK", "ACQUIRE"):
            asked += 1
            if asked == 3:
                other.release()

    locks.before = before
    with make(locks) as lock:
        assert (asked, lock.token) == (3, 2)


def test_the_wait_has_an_end(locks: "LockCluster") -> None:
    """`acquire` says False, a `with` block is not entered; nothing is released that somebody else holds."""
    with make(locks):
        mine = make(locks, wait_s=0.0)
        assert mine.acquire() is False
        with pytest.raises(raftline.LockNotAcquired, match="somebody else holds the lock 'name'"), mine:
            raise AssertionError("not entered")
        with pytest.raises(redis.exceptions.LockError):
            mine.release()
        assert locks.held == 1


@pytest.mark.usefixtures("often_renewed")
def test_it_is_renewed(locks: "LockCluster") -> None:
    """As long as the block lasts, several times a lease; no more after it."""
    renewed = threading.Event()
    renewals = 0

    def before(words: tuple[str, ...]) -> None:
        nonlocal renewals
        if words[1] == "RENEW":
            renewals += 1
            if renewals == 4:
                renewed.set()

    locks.before = before
    with make(locks) as lock:
        assert renewed.wait(30)
        assert lock.token == 1
        lock.renew()
    assert renewals >= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("raftline-lock")]


@pytest.mark.usefixtures("often_renewed")
def test_a_lock_that_was_taken_away_is_told(locks: "LockCluster") -> None:
    """By the flag, by the token, by the callback, and by the end of the block."""
    told = threading.Event()
    lost: list[RaftlineLock] = []

    def on_lost(lock: RaftlineLock) -> None:
        lost.append(lock)
        told.set()

    def work() -> None:
        with make(locks, on_lost=on_lost) as lock:
            locks.do("DEL", "name")
            assert told.wait(30)
            assert lost == [lock]
            assert lock.lost
            with pytest.raises(raftline.LockLost):
                _ = lock.token

    with pytest.raises(raftline.LockLost, match="'name' was lost: NOTHELD nobody holds this lock"):
        work()
    assert isinstance(raftline.LockLost("x"), redis.exceptions.LockNotOwnedError)


def test_without_answers_it_is_lost_by_the_own_stopwatch(locks: "LockCluster") -> None:
    """Nobody says so, so the holder does; what the block raises comes first (G19)."""
    told = threading.Event()

    def before(words: tuple[str, ...]) -> None:
        if words[1] in {"RENEW", "RELEASE"}:
            raise Unavailable("nobody", may_have_been_applied=True)

    locks.before = before

    def work() -> None:
        with make(locks, lease_s=0.3, on_lost=lambda _lock: told.set()) as lock:
            assert told.wait(30)
            with pytest.raises(raftline.LockLost, match=r"ran out|could not be renewed in time"):
                lock.check()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_a_lost_reply_is_asked_for_again(locks: "LockCluster") -> None:
    """The lock was taken, and nobody heard the token: the same owner gets the same one (G8)."""
    is_first = True

    def before(words: tuple[str, ...]) -> None:
        nonlocal is_first
        if words[1] == "ACQUIRE" and is_first:
            is_first = False
            locks.do(*words)
            raise SessionLost("gone", may_have_been_applied=True)

    locks.before = before
    with make(locks) as lock:
        assert lock.token == 1


def test_an_error_is_no_wait(locks: "LockCluster") -> None:
    """What no later attempt can change is raised at once."""
    locks.do("SET", "name", "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        make(locks).acquire()


def test_the_client_makes_it(request: pytest.FixtureRequest) -> None:
    """With redis-py's name, and with words for redis-py's options, whose lock needs Lua."""
    client = raftline.Client("127.0.0.1:1")
    request.addfinalizer(client.close)
    lock = client.lock("name", lease_s=2.0, wait_s=1.0)
    assert isinstance(lock, raftline.RaftlineLock)
    assert lock.name == "name"
    with pytest.raises(TypeError, match="does not take timeout: this is raftline's lock"):
        client.lock("name", timeout=10)
    with pytest.raises(TypeError, match="Lua scripts"):
        client.register_script("return 1")
