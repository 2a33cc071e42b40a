"""§5.3 Log replication."""

from typing import Any

import pytest

from raftline.core.entries import Entry
from raftline.core.messages import AppendReply, AppendRequest
from raftline.core.progress import Mode
from raftline.core.state import Role
from raftline.errors import SafetyViolation


def _entries(first: int, *terms: int) -> tuple[Entry, ...]:
    return tuple(Entry(first + n, term, b"e") for n, term in enumerate(terms))


def _to(sent: list[Any], name: str) -> list[Any]:
    return [message for to, message in sent if to == name]


def _accept(one: Any, name: str, request: AppendRequest) -> list[Any]:
    match = request.prev_index + len(request.entries)
    return list(
        one.receive(
            name,
            AppendReply(request.term, request.term, True, request.prev_index, match, round=request.round),  # noqa: FBT003
        )
    )


def test_the_leader_appends_first_and_sends_in_parallel(server: Any) -> None:
    """A command goes to the leader's log, then to every follower beside the leader's own disk write (B1, B13)."""
    one = server()
    for name in ("n2", "n3"):
        for request in _to(one.lead() if one.state.role is not Role.LEADER else [], name):
            _accept(one, name, request)
    for name in ("n2", "n3"):
        _accept(one, name, AppendRequest(1, 0, 0, (), 0))
    one.holds_disk = True
    sent = one.propose(b"a", b"b")
    assert one.log_terms() == [1, 1]
    assert sorted(to for to, _ in sent) == ["n2", "n3"], "several commands leave as one message per follower (B29)"
    assert all([entry.data for entry in message.entries] == [b"a", b"b"] for _, message in sent)
    assert one.state.commit == 0


def test_concurrent_proposals_get_consecutive_indices(server: Any) -> None:
    """No two commands share an index in a term (B33), and the first index is 1 (B30)."""
    one = server(size=1)
    one.time_out()
    for expected in (1, 2, 3):
        one.propose(b"x")
        assert one.state.log.last_index == expected
    assert [entry.index for entry in one.applied] == [1, 2, 3]


def test_a_follower_refuses_without_the_previous_entry(server: Any) -> None:
    """Both a missing entry and another term at prev are refused, and nothing else happens (B2, B4, B5)."""
    one = server(terms=[1, 1, 2], term=3)
    beyond = one.answer("n2", AppendRequest(3, 5, 3, _entries(6, 3), 5))
    assert not beyond.success
    assert (beyond.conflict_index, beyond.conflict_term) == (4, 0)
    differs = one.answer("n2", AppendRequest(3, 3, 3, _entries(4, 3), 3))
    assert not differs.success
    assert (differs.conflict_index, differs.conflict_term) == (3, 2)
    assert one.log_terms() == [1, 1, 2]
    assert one.state.commit == 0


def test_a_heartbeat_is_checked_like_any_other(server: Any) -> None:
    """Success is a claim that the logs agree up to prev (B3, L1)."""
    one = server(terms=[1], term=3)
    assert not one.answer("n2", AppendRequest(3, 2, 2, (), 2)).success
    assert one.answer("n2", AppendRequest(3, 1, 1, (), 0)).success


@pytest.mark.parametrize(
    ("held", "sent", "expected"),
    [
        ([1, 1, 1], (3, 1, 1), [1, 1, 1, 1, 1]),
        ([1, 1, 2, 2], (2, 1, 3), [1, 1, 1, 3]),
        ([1, 1, 1, 1, 1], (1, 1, 1), [1, 1, 1, 1, 1]),
        ([1, 1, 2], (0, 1, 1), [1, 1, 2]),
    ],
    ids=["append", "conflict", "already there", "already there, and more"],
)
def test_a_follower_cuts_only_at_a_real_conflict(
    server: Any, held: list[int], sent: tuple[int, ...], expected: list[int]
) -> None:
    """From the first entry that differs everything goes; where nothing differs nothing does (B6, B7, B8, E7)."""
    one = server(terms=held, term=4)
    prev, *terms = sent
    prev_term = held[prev - 1] if prev else 0
    reply = one.answer("n2", AppendRequest(4, prev, prev_term, _entries(prev + 1, *terms), 0))
    assert reply.success
    assert reply.match_index == prev + len(terms)
    assert one.log_terms() == expected


def test_a_late_shorter_request_takes_nothing_back(server: Any) -> None:
    """Entries 3 to 7, then a late 3 to 5: 6 and 7 stay (B6, E7, L33)."""
    one = server(terms=[1, 1], term=1)
    one.receive("n2", AppendRequest(1, 2, 1, _entries(3, 1, 1, 1, 1, 1), 0))
    reply = one.answer("n2", AppendRequest(1, 2, 1, _entries(3, 1, 1, 1), 0))
    assert reply.match_index == 5
    assert one.state.log.last_index == 7


def test_the_acknowledgement_waits_for_the_disk(server: Any) -> None:
    """A follower that acknowledged what it then forgot would break the majority (C2, C5)."""
    one = server()
    one.holds_disk = True
    sent = one.receive("n2", AppendRequest(1, 0, 0, _entries(1, 1), 0))
    assert sent == []
    (waiting,) = one.readies[-1].messages_after_persist
    assert waiting.message.success


def test_a_follower_commits_what_the_message_verified_and_no_more(server: Any) -> None:
    """min(leaderCommit, last new entry): a tail of its own may stand behind (B9, L12, L13)."""
    one = server(terms=[1, 2, 2, 2], term=3)
    one.receive("n2", AppendRequest(3, 1, 1, (), 4))
    assert one.state.commit == 1
    assert [entry.index for entry in one.applied] == [1]
    one.receive("n2", AppendRequest(3, 1, 1, _entries(2, 3), 9))
    assert one.state.commit == 2
    assert [entry.term for entry in one.applied] == [1, 3]


def test_the_commit_index_never_goes_back(server: Any) -> None:
    """An old message with an old commit index changes nothing (B32)."""
    one = server(terms=[1, 1], term=1)
    one.receive("n2", AppendRequest(1, 2, 1, (), 2))
    one.receive("n2", AppendRequest(1, 2, 1, (), 1))
    assert one.state.commit == 2
    assert [entry.index for entry in one.applied] == [1, 2]


def test_followers_do_not_commit_on_receipt(server: Any) -> None:
    """They wait for the leader's word (B10), which comes with any later message (B27)."""
    one = server()
    one.receive("n2", AppendRequest(1, 0, 0, _entries(1, 1), 0))
    assert one.applied == []
    one.receive("n2", AppendRequest(1, 1, 1, (), 1))
    assert len(one.applied) == 1


def test_match_and_next_start_apart(server: Any) -> None:
    """The nextIndex is a guess at the end of the log, matchIndex knows of nothing (B19, L14, L15)."""
    one = server(terms=[1, 1, 1], term=1)
    one.lead()
    progress = one.state.progress["n2"]
    assert (progress.next_index, progress.match_index) == (4, 0)


def test_an_acknowledgement_counts_for_what_its_request_carried(server: Any) -> None:
    """Entries appended after the request was sent are not acknowledged by its reply (B20, L16)."""
    one = server()
    first = _to(one.lead(), "n2")[0]
    _accept(one, "n2", first)
    request = _to(one.propose(b"a"), "n2")[0]
    one.propose(b"b", b"c")
    _accept(one, "n2", request)
    assert one.state.progress["n2"].match_index == 1
    assert one.state.commit == 1


def test_late_and_repeated_acknowledgements_take_nothing_back(server: Any) -> None:
    """The matchIndex only rises (E3)."""
    one = server()
    _accept(one, "n2", _to(one.lead(), "n2")[0])
    first = _to(one.propose(b"a"), "n2")[0]
    second = _to(one.propose(b"b"), "n2")[0]
    _accept(one, "n2", second)
    _accept(one, "n2", first)
    _accept(one, "n2", first)
    assert one.state.progress["n2"].match_index == 2
    assert one.state.progress["n2"].next_index == 3


def test_a_refusal_skips_a_whole_term(server: Any) -> None:
    """The leader goes on behind its own last entry of the follower's term, else where the follower says (B22, B24)."""
    one = server(terms=[1, 1, 2, 2, 4, 4], term=4)
    one.lead()
    term = one.state.term
    one.receive("n2", AppendReply(term, term, False, 6, 0, conflict_index=3, conflict_term=2))  # noqa: FBT003
    assert one.state.progress["n2"].next_index == 5
    one.receive("n3", AppendReply(term, term, False, 6, 0, conflict_index=2, conflict_term=3))  # noqa: FBT003
    assert one.state.progress["n3"].next_index == 2


def test_a_late_refusal_does_not_undo_progress(server: Any) -> None:
    """A refusal below what is matched, or of another probe, is ignored (E4, B21)."""
    one = server(terms=[1, 1, 1], term=1)
    request = _to(one.lead(), "n2")[0]
    _accept(one, "n2", request)
    progress = one.state.progress["n2"]
    assert progress.mode is Mode.REPLICATE
    term = one.state.term
    one.receive("n2", AppendReply(term, term, False, 2, 0, conflict_index=1))  # noqa: FBT003
    assert (progress.mode, progress.next_index, progress.match_index) == (Mode.REPLICATE, 4, 3)


def test_repair_goes_on_at_once_after_a_refusal(server: Any) -> None:
    """The next probe leaves in the same step, not with the next heartbeat (B15, B25)."""
    one = server(terms=[1, 1, 1], term=1)
    one.lead()
    term = one.state.term
    sent = one.receive("n2", AppendReply(term, term, False, 3, 0, conflict_index=1))  # noqa: FBT003
    (probe,) = _to(sent, "n2")
    assert probe.prev_index == 0
    assert len(probe.entries) == 3


def test_replies_of_another_term_are_dropped(server: Any) -> None:
    """An acknowledgement from an earlier leadership proves nothing now (E1)."""
    one = server(terms=[1, 1], term=1)
    one.lead()
    one.receive("n2", AppendReply(1, 1, True, 0, 2))  # noqa: FBT003
    assert one.state.progress["n2"].match_index == 0
    assert one.state.commit == 0


def test_the_pipeline_does_not_wait_for_answers(server: Any) -> None:
    """Once a follower matches, entries follow each other without a reply in between."""
    one = server()
    _accept(one, "n2", _to(one.lead(), "n2")[0])
    sent = [_to(one.propose(b"%d" % n), "n2") for n in range(5)]
    assert [message.prev_index for messages in sent for message in messages] == [0, 1, 2, 3, 4]


def test_the_window_bounds_what_is_in_flight(server: Any) -> None:
    """A follower that does not answer costs a bounded number of messages."""
    one = server()
    _accept(one, "n2", _to(one.lead(), "n2")[0])
    limit = one.state.config.inflight_messages_max
    sent = [message for n in range(limit + 10) for message in _to(one.propose(b"%d" % n), "n2")]
    assert len(sent) == limit
    assert one.state.progress["n2"].inflight_messages == limit


def test_an_entry_above_the_window_goes_alone(server: Any) -> None:
    """A single entry larger than all that may be in flight is sent, and nothing behind it until it is answered.

    Found by reading: what was left of the window became negative and was taken for room.
    """
    one = server()
    _accept(one, "n2", _to(one.lead(), "n2")[0])
    big = b"x" * (one.state.config.inflight_bytes_max + 1)
    (request,) = _to(one.propose(big), "n2")
    assert len(request.entries) == 1
    assert _to(one.propose(b"next"), "n2") == []
    (following,) = [message for to, message in one.receive("n2", AppendReply(1, 1, True, 0, 1)) if to == "n2"]  # noqa: FBT003
    assert [entry.data for entry in following.entries] == [b"next"]


def test_only_the_terms_winner_sends_append_entries(server: Any) -> None:
    """Two leaders in one term are a broken promise, and not passed over (A21)."""
    one = server()
    one.lead()
    with pytest.raises(SafetyViolation, match="got AppendRequest"):
        one.receive("n2", AppendRequest(1, 0, 0, (), 0))
