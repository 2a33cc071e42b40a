"""Who uses which session, and which number."""

import pytest

from raftline.client.sessions import ClientSession, SessionPool


def test_a_session_is_used_by_one_command_at_a_time() -> None:
    """What is taken is gone until it is given back; the last one given back is the next one taken (G8)."""
    pool = SessionPool()
    assert pool.take() is None
    first, second = ClientSession(1), ClientSession(2)
    pool.give(first)
    pool.give(second)
    assert pool.take() is second
    assert pool.take() is first
    assert pool.take() is None


def test_some_are_taken_at_once() -> None:
    """No more than asked for, the others stay."""
    pool = SessionPool()
    for number in range(5):
        pool.give(ClientSession(number))
    assert [session.id for session in pool.take_some(3)] == [4, 3, 2]
    assert len(pool) == 2
    assert len(pool.take_some(3)) == 2


def test_numbers_are_never_used_again() -> None:
    """Each command has its own, given up or not."""
    session = ClientSession(1)
    assert [session.next() for _ in range(3)] == [1, 2, 3]


def test_a_child_process_takes_none_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that count in one session would be taken for retries of each other (G7)."""
    pool = SessionPool()
    pool.give(ClientSession(1))
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert pool.take() is None
    pool.give(ClientSession(2))
    found = pool.take()
    assert found is not None
    assert found.id == 2
