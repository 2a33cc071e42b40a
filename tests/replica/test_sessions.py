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


def test_replies_are_bounded_in_bytes_and_what_was_done_is_not_forgotten() -> None:
    """The least recently used reply makes room; its session still knows that the command was carried out (G8)."""
    sessions = Sessions(reply_bytes_max=10)
    for session in (1, 2, 3):
        sessions.open(session, 0)
        sessions.remember(session, 1, failed=False, reply=b"four", time_ms=session)
    assert sessions.reply_bytes == 8
    forgotten = sessions.find(1)
    assert forgotten is not None
    assert (forgotten.sequence, forgotten.reply, forgotten.reply_forgotten) == (1, b"", True)
    kept = sessions.find(2)
    assert kept is not None
    assert (kept.reply, kept.reply_forgotten) == (b"four", False)


def test_a_session_that_is_open_is_not_opened_anew() -> None:
    """The entry that opened it may stand in the log twice: what was carried out since is not forgotten (G7)."""
    sessions = Sessions()
    sessions.open(7, 0)
    sessions.remember(7, 3, failed=False, reply=b"r", time_ms=1)
    sessions.open(7, 2)
    found = sessions.find(7)
    assert found is not None
    assert (found.sequence, found.reply) == (3, b"r")
    assert sessions.reply_bytes == 1


def test_one_large_reply_does_not_cost_the_others_theirs() -> None:
    """A reply above half of the bound is not kept at all, the others are."""
    sessions = Sessions(reply_bytes_max=10)
    for session, reply in ((1, b"five."), (2, b"sixsix")):
        sessions.open(session, 0)
        sessions.remember(session, 1, failed=False, reply=reply, time_ms=0)
    assert sessions.reply_bytes == 5
    assert [session.reply_forgotten for _, session in sessions.dump()] == [False, True]


def test_a_session_that_is_asked_again_is_used() -> None:
    """A retry keeps its session, and its reply, from being the next to make room."""
    sessions = Sessions(count_max=2, reply_bytes_max=8)
    for session in (1, 2):
        sessions.open(session, 0)
        sessions.remember(session, 1, failed=False, reply=b"four", time_ms=session)
    sessions.touch(1, 5)
    sessions.remember(2, 2, failed=False, reply=b"", time_ms=6)
    sessions.touch(1, 7)
    sessions.open(3, 8)
    assert [session_id for session_id, _ in sessions.dump()] == [1, 3]
    assert sessions.reply_bytes == 4


def test_bytes_are_counted_whatever_happens_to_a_session() -> None:
    """Closing, expiry, a newer reply and a restore: the count is that of the replies that are there."""
    sessions = Sessions(idle_ms_max=100)
    for session in (1, 2, 3):
        sessions.open(session, 0)
        sessions.remember(session, 1, failed=False, reply=b"x" * session, time_ms=10 * session)
    assert sessions.close(1)
    assert not sessions.close(1)
    sessions.remember(3, 2, failed=False, reply=b"longer", time_ms=40)
    assert sessions.reply_bytes == 2 + 6
    copy = Sessions()
    copy.load(sessions.dump())
    assert copy.reply_bytes == 8
    sessions.expire(130)
    assert sessions.reply_bytes == 6
    assert len(sessions) == 1
