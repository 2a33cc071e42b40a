"""Promises of the session table: bounded, deterministic, and a snapshot away from any other replica's."""

from raftline.replica.sessions import Sessions


def test_the_least_recently_used_session_makes_room() -> None:
    """The table never holds more than its limit, and which one goes depends on the log alone."""
    sessions = Sessions(count_max=2)
    sessions.open(1, 10)
    sessions.open(2, 11)
    sessions.remember(1, 1, failed=False, reply=b"r", time_ms=12)
    sessions.open(3, 13)
    assert sessions.find(2) is None
    assert sessions.find(1) is not None
    assert len(sessions) == 2


def test_idle_sessions_close_by_the_logs_time() -> None:
    """Expiry reads no clock: the time of applied commands decides."""
    sessions = Sessions(idle_ms_max=1000)
    sessions.open(1, 0)
    sessions.open(2, 900)
    sessions.expire(1000)
    assert sessions.find(1) is None
    assert sessions.find(2) is not None


def test_dump_and_load_keep_content_and_order() -> None:
    """A restored table evicts the same session next as the original."""
    sessions = Sessions(count_max=2)
    sessions.open(1, 0)
    sessions.open(2, 0)
    sessions.remember(1, 7, failed=True, reply=b"why", time_ms=5)
    copy = Sessions(count_max=2)
    copy.load(sessions.dump())
    for table in (sessions, copy):
        table.open(3, 6)
    assert copy.dump() == sessions.dump()
    found = copy.find(1)
    assert found is not None
    assert (found.sequence, found.failed, found.reply) == (7, True, b"why")
