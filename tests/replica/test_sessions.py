"""Promises of the session table: bounded, deterministic, and a snapshot away from any other replica's."""

from raftline.replica.sessions import Session, Sessions


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
    assert sessions.close(1, 40)
    assert not sessions.close(1, 40)
    sessions.remember(3, 2, failed=False, reply=b"longer", time_ms=40)
    assert sessions.reply_bytes == 2 + 6
    copy = Sessions()
    copy.load(sessions.dump())
    assert copy.reply_bytes == 8
    sessions.expire(130)
    assert sessions.reply_bytes == 6
    assert len(sessions) == 1


def guests(count_max: int = 10_000, *born: int) -> Sessions:
    """Return a table of sessions that another group drew, each numbered by when that was."""
    sessions = Sessions(count_max=count_max)
    sessions.are_guests = True
    for moment in born:
        assert sessions.open(moment, 0, moment)
    return sessions


def test_a_guest_that_was_forgotten_is_not_opened_anew() -> None:
    """It made room, so nobody knows any more what was carried out in it (G16)."""
    sessions = guests(2, 11, 12)
    assert sessions.open(13, 1, 13)
    assert sessions.find(11) is None
    assert not sessions.open(11, 2, 11)
    assert not sessions.open(10, 2, 10), "it may have been here, for all that is remembered"
    assert sessions.open(14, 3, 14), "it was drawn later than any that was forgotten"


def test_a_guest_that_comes_late_is_opened_while_only_older_ones_were_forgotten() -> None:
    """In steady use elsewhere, and used here for the first time: however long others were not used here."""
    sessions = guests(10_000, 3, 9)
    sessions.remember(9, 1, failed=False, reply=b"", time_ms=5_000_000)
    sessions.expire(5_000_000)
    assert sessions.find(3) is None
    assert sessions.open(8, 5_000_000, 8)
    assert not sessions.open(3, 5_000_000, 3)


def test_a_guest_that_was_closed_stays_closed_and_keeps_nobody_else_out() -> None:
    """Clients close their sessions in the ordinary course: only those are kept out that were closed (G16)."""
    sessions = guests(3, 5, 9)
    assert sessions.close(9, 1)
    assert not sessions.close(9, 1)
    assert sessions.find(9) is None
    assert not sessions.open(9, 2, 9)
    assert sessions.open(7, 2, 7)
    assert len(sessions) == 2
    assert sessions.open(12, 3, 12), "the closed one makes room, before any that is open"
    assert sorted(session for session, _ in sessions.dump()) == [5, 7, 12]
    assert not sessions.open(9, 4, 9)


def test_what_was_forgotten_and_closed_is_in_a_snapshot() -> None:
    """A replica that begins with it opens what the others open, and nothing else (G9)."""
    sessions = guests(2, 3, 4, 9)
    sessions.close(9, 2)
    copy = guests(2)
    copy.load(sessions.dump(), sessions.forgotten)
    assert [copy.open(born, 3, born) for born in (3, 9, 8)] == [False, False, True]


def test_a_session_that_the_other_group_forgot_is_not_known_by_what_it_was_here() -> None:
    """There it may have gone further than here: with its slots it is forgotten here, too (G16)."""
    sessions = guests(10_000, 3, 4, 20)
    for session in (3, 4, 20):
        sessions.remember(session, 5, failed=False, reply=b"", time_ms=1)
    assert sessions.lost_to([4], 0, 1 << 64, 10) == [3]
    sessions.merge([(4, Session(6, False, b"six", 0, False, 4))], 2)  # noqa: FBT003
    sessions.forget([3], 10)
    assert sorted(session for session, _ in sessions.dump()) == [4, 20]
    assert not sessions.open(3, 3, 3)


def test_a_session_that_was_forgotten_here_does_not_come_back_with_what_the_other_group_knows() -> None:
    """Here it may have gone further than there; and one that was closed anywhere is closed (G16)."""
    sessions = guests(2, 3, 4, 5, 6)
    sessions.close(6, 1)
    known = [(number, Session(1, False, b"", 0, False, number)) for number in (3, 6, 7)]  # noqa: FBT003
    sessions.merge(known, 2)
    assert [sessions.find(number) is not None for number in (3, 5, 6, 7)] == [False, True, False, True]
    closed = Session(1, False, b"", 0, True, 5, True)  # noqa: FBT003
    sessions.merge([(5, closed)], 3)
    assert sessions.find(5) is None
