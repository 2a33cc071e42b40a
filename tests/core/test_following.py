"""AppendEntries at a follower, case by case."""

from typing import Any

import msgspec
import pytest

from raftline.core.entries import Entry
from raftline.core.events import Received
from raftline.core.following import is_well_formed
from raftline.core.messages import AppendReply, AppendRequest

TERM = 6
FIGURE_7_LEADER = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]


def _request(prev_index: int, prev_term: int, entries: tuple[Entry, ...] = (), commit: int = 0) -> AppendRequest:
    return AppendRequest(TERM, prev_index, prev_term, entries, commit)


@pytest.mark.parametrize(
    ("name", "terms", "conflict"),
    [
        ("a", [1, 1, 1, 4, 4, 5, 5, 6, 6], (10, 0)),
        ("b", [1, 1, 1, 4], (5, 0)),
        ("c", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6], None),
        ("d", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6, 6], None),
        ("e", [1, 1, 1, 4, 4, 4, 4], (8, 0)),
        ("f", [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], (7, 3)),
    ],
)
def test_the_followers_of_figure_7_say_where_to_look(
    bench: Any, name: str, terms: list[int], conflict: tuple[int, int] | None
) -> None:
    """A log too short gives its end, another term its first index; what agrees is accepted, longer or not (B4, B23)."""
    one = bench(terms=terms, term=TERM)
    reply = one.answer("n2", _request(10, 6))
    assert reply.success == (conflict is None), name
    if conflict is None:
        assert reply.match_index == 10
        assert one.log_terms() == terms, "extra entries stay until something contradicts them (B6)"
    else:
        assert (reply.conflict_index, reply.conflict_term) == conflict


def test_the_first_index_of_a_term_stops_at_the_base(bench: Any) -> None:
    """Behind a snapshot the term may have begun earlier, but the search does not (B23, D19)."""
    one = bench(snapshot=(4, 2), terms=[2, 2, 2], term=TERM)
    reply = one.answer("n2", _request(6, 5))
    assert (reply.conflict_index, reply.conflict_term) == (5, 2)


def test_a_refusal_changes_nothing(bench: Any, entries: Any) -> None:
    """No later step runs: nothing appended, cut or committed (B5)."""
    one = bench(terms=[1, 1, 2], term=TERM)
    for request in (_request(5, 6, entries(6, 6), 6), _request(3, 5, entries(4, 6), 4)):
        assert not one.answer("n2", request).success
        assert one.log_terms() == [1, 1, 2]
        assert one.state.commit == 0


def test_only_a_real_conflict_cuts(bench: Any, entries: Any) -> None:
    """A short request that arrives late leaves what a longer one brought (B6, E7)."""
    one = bench(terms=[1, 1], term=TERM)
    one.receive("n2", _request(2, 1, entries(3, 6, 6, 6, 6, 6)))
    reply = one.answer("n2", _request(2, 1, entries(3, 6, 6, 6)))
    assert reply.match_index == 5, "it speaks of what this request verified"
    assert one.state.log.last_index == 7
    assert one.state.log_epoch == 0


def test_a_conflict_takes_everything_behind_it(bench: Any, entries: Any) -> None:
    """And the membership, the disk's cursors and the write under way with it (B7)."""
    one = bench(terms=[1, 1, 2, 2, 2], term=TERM)
    assert one.state.persisted == 5
    one.node.slow_disk = True
    one.receive("n2", _request(3, 2, entries(4, 6)))
    assert one.log_terms() == [1, 1, 2, 6]
    assert (one.state.persisted, one.state.handed_to_disk) == (3, 4)
    one.node.persist()
    assert one.state.persisted == 4
    assert [entry.term for entry in one.node.disk.entries] == [1, 1, 2, 6]


def test_a_write_that_was_overtaken_by_a_cut_counts_for_nothing(bench: Any, entries: Any) -> None:
    """Its entries are not in the log any more when it is done."""
    one = bench(terms=[1], term=2)
    one.node.slow_disk = True
    one.receive("n2", AppendRequest(2, 1, 1, entries(2, 2, 2, 2), 0))
    one.receive("n3", AppendRequest(3, 1, 1, entries(2, 3), 0))
    one.node.persist()
    assert one.state.persisted == 1
    assert one.state.persisted_term == 2
    one.node.persist()
    assert (one.state.persisted, one.state.persisted_term) == (2, 3)


def test_what_is_there_already_is_skipped(bench: Any, entries: Any) -> None:
    """A repeated request writes nothing and is acknowledged again (B8)."""
    one = bench(terms=[1], term=TERM)
    request = _request(1, 1, entries(2, 6, 6))
    one.receive("n2", request)
    number = one.state.ready_number
    assert one.answer("n2", request).match_index == 3
    assert one.state.log.last_index == 3
    assert one.state.ready_number == number + 1
    assert [entry.index for entry in one.node.disk.entries] == [1, 2, 3]


def test_an_acknowledgement_waits_for_every_write_before_it(bench: Any, entries: Any) -> None:
    """Also for one of an earlier message: the second request brought nothing new (C2)."""
    one = bench(terms=[1], term=TERM)
    one.node.slow_disk = True
    request = _request(1, 1, entries(2, 6))
    assert one.receive("n2", request) == []
    assert one.receive("n2", request) == []
    one.node.persist()
    assert [message.match_index for _, message in one.taken()] == [2]
    one.node.persist()
    assert [message.match_index for _, message in one.taken()] == [2]


def test_what_was_cut_before_it_was_written_is_not_acknowledged(bench: Any, entries: Any) -> None:
    """Two leaders in one turn: what the first one brought never was on disk, and nobody is told that it was (C2)."""
    one = bench(terms=[1], term=2)
    for sender, request in (
        ("n2", AppendRequest(2, 1, 1, entries(2, 2), 0)),
        ("n2", AppendRequest(2, 2, 2, entries(3, 2, 2), 0)),
        ("n3", AppendRequest(3, 2, 2, entries(3, 3), 0)),
    ):
        one.core.step(Received(sender, request), 0.0)
    ready = one.core.take_ready()
    assert [entry.term for entry in ready.entries] == [2, 3]
    told = [(outgoing.to, outgoing.message) for outgoing in ready.messages_after_persist]
    assert [(to, reply.success, reply.match_index) for to, reply in told] == [
        ("n2", True, 2),
        ("n2", False, 0),
        ("n3", True, 3),
    ]
    assert (told[1][1].term, told[1][1].request_term, told[1][1].prev_index) == (3, 2, 2), "it steps down (E6)"


@pytest.mark.parametrize(("commit", "expected"), [(0, 0), (3, 3), (4, 4), (9, 4)])
def test_committed_is_what_the_request_verified(bench: Any, entries: Any, commit: int, expected: int) -> None:
    """The lower of the leader's commit index and the last new entry, whatever follows it in the log (B9, B10)."""
    one = bench(terms=[1, 1, 1, 1, 1, 1, 1], term=TERM)
    one.receive("n2", _request(2, 1, entries(3, 1, 1), commit))
    assert one.state.commit == expected
    assert one.state.log.last_index == 7


def test_committed_never_goes_back(bench: Any) -> None:
    """A heartbeat that was overtaken names a lower commit index (B32)."""
    one = bench(terms=[1, 1, 1], term=TERM)
    one.receive("n2", _request(3, 1, (), 3))
    one.receive("n2", _request(3, 1, (), 1))
    one.receive("n2", _request(1, 1, (), 3))
    assert one.state.commit == 3
    assert [index for index, _ in one.node.applied] == [1, 2, 3]


def test_an_overtaken_entry_of_a_compacted_log_is_answered(bench: Any, entries: Any) -> None:
    """Below the base everything is committed and agrees; what lies behind it is compared as always (D14)."""
    one = bench(snapshot=(5, 1), terms=[1, 1], term=TERM)
    reply = one.answer("n2", _request(2, 1, entries(3, 1, 1)))
    assert (reply.success, reply.match_index) == (True, 4)
    reply = one.answer("n2", _request(2, 1, entries(3, 1, 1, 1, 1, 6, 6)))
    assert (reply.success, reply.match_index) == (True, 8)
    assert one.log_terms() == [1, 6, 6]


@pytest.mark.parametrize(
    "request_",
    [
        AppendRequest(3, -1, 0, (), 0),
        AppendRequest(3, -1, 0, (Entry(0, 1, b""), Entry(1, 1, b"")), 0),
        AppendRequest(3, 0, 0, (Entry(2, 1, b""),), 0),
        AppendRequest(3, 0, 0, (Entry(1, 2, b""), Entry(2, 1, b"")), 0),
        AppendRequest(3, 4, 2, (Entry(5, 1, b""),), 0),
        AppendRequest(3, 0, 0, (Entry(1, 4, b""),), 0),
        AppendRequest(3, 1, 4, (), 0),
        AppendRequest(3, 0, 0, (Entry(1, 1, b""), Entry(3, 1, b"")), 0),
    ],
)
def test_requests_that_no_leader_sends_are_dropped(bench: Any, request_: AppendRequest) -> None:
    """Gaps, falling terms, terms above the sender's, indices before the first: not even the term is looked at (B31)."""
    assert not is_well_formed(request_)
    one = bench()
    assert one.core.receive("n2", request_) == "malformed"
    assert (one.core.term, one.state.log.last_index) == (0, 0)


def test_a_lost_disk_is_trusted_again_only_with_everything_the_leader_committed(bench: Any, entries: Any) -> None:
    """A first piece of the leader's log may end in an entry of its term and lack what it committed since (C14)."""
    one = bench(new=True, guard_lost_disk=True, pre_vote=True)
    one.receive("n2", AppendRequest(3, 0, 0, entries(1, 3, 3), 5))
    assert one.state.commit == 2
    assert not one.state.established, "entry 5 is committed, and maybe this node's lost disk was one of its holders"
    one.receive("n2", AppendRequest(3, 2, 3, entries(3, 3, 3, 3), 5))
    assert one.state.established
    assert one.state.vote == "n2", "a vote of this term may be lost: it is not given to anybody else"


def test_an_older_term_does_not_make_a_disk_trusted(bench: Any, entries: Any) -> None:
    """The leader may not know yet what is committed (C14)."""
    one = bench(new=True, guard_lost_disk=True, pre_vote=True)
    one.receive("n2", AppendRequest(3, 0, 0, entries(1, 1, 2), 2))
    assert not one.state.established


def _said(prev_index: int, match_index: int, **more: Any) -> AppendReply:
    return AppendReply(TERM, TERM, success=True, prev_index=prev_index, match_index=match_index, **more)


def _heartbeats(one: Any, count: int, prev_index: int, round_: int = 0) -> list[Any]:
    """Deliver heartbeats, an interval apart; return what was answered."""
    answers = []
    for _ in range(count):
        one.wait(one.state.config.heartbeat_interval_s)
        request = AppendRequest(TERM, prev_index, one.state.log.term_at(prev_index), (), 0, round=round_)
        answers += [_plain(reply) for _, reply in one.receive("n2", request)]
    return answers


def _plain(reply: Any) -> Any:
    """Leave out the number of the answer, which another test is about."""
    assert reply.stamp > 0
    return msgspec.structs.replace(reply, stamp=0)


def test_a_slow_write_is_no_silence(bench: Any, entries: Any) -> None:
    """Answers wait for the disk; until then the leader is told that it was heard, and what is on disk (C2, C5)."""
    one = bench(terms=[1, 1], term=TERM)
    one.node.slow_disk = True
    assert one.receive("n2", _request(2, 1, entries(3, 6, 6))) == []
    assert _heartbeats(one, 2, 4, round_=7) == [_said(4, 2, round=7, early=True)] * 2
    assert _heartbeats(one, 1, 1) == [_said(1, 1, early=True)], "what was verified, no more"
    one.node.persist(9)
    assert [(reply.match_index, reply.early) for _, reply in one.taken()] == [(4, False)] * 3 + [(1, False)]


def test_a_quick_disk_answers_once(bench: Any, entries: Any) -> None:
    """No early answer before half a heartbeat interval, none to a request that nothing waits for, none twice."""
    one = bench(terms=[1, 1], term=TERM)
    one.node.slow_disk = True
    assert _plain(one.answer("n2", _request(2, 1))) == _said(2, 2)
    one.receive("n2", _request(2, 1, entries(3, 6)))
    one.wait(one.state.config.heartbeat_interval_s * 0.49)
    assert one.receive("n2", _request(3, 6)) == []
    one.wait(one.state.config.heartbeat_interval_s * 0.02)
    assert len(one.receive("n2", _request(3, 6))) == 1
    assert one.receive("n2", _request(3, 6)) == []
    one.node.persist(9)
    one.taken()
    one.receive("n2", _request(3, 6, entries(4, 6)))
    one.receive("n2", _request(4, 6, entries(5, 6)))
    one.wait(one.state.config.heartbeat_interval_s * 0.4)
    one.node.persist(1)
    assert [reply.match_index for _, reply in one.taken()] == [4]
    one.wait(one.state.config.heartbeat_interval_s * 0.4)
    assert one.receive("n2", _request(5, 6)) == [], "a write ended just now, and its answer left"


def test_nothing_is_said_early_of_a_term_or_a_vote_on_its_way_to_disk(bench: Any, entries: Any) -> None:
    """Who hears the term may count on it (C2, C4)."""
    one = bench(terms=[1, 1], term=TERM - 1)
    one.node.slow_disk = True
    one.receive("n2", _request(2, 1, entries(3, 6)))
    assert one.state.term == TERM
    assert _heartbeats(one, 3, 3) == []
    one.node.persist(9)
    one.taken()
    one.receive("n2", _request(3, 6, entries(4, 6)))
    assert [reply.early for reply in _heartbeats(one, 1, 4)] == [True]


def test_nothing_is_said_early_while_the_trust_in_a_new_disk_is_written(bench: Any) -> None:
    """A new directory that has caught up says so when that is on disk (C14)."""
    one = bench(new=True, guard_lost_disk=True, pre_vote=True)
    one.receive("n2", AppendRequest(1, 0, 0, (Entry(1, 1, b"1"),), 0))
    assert not one.state.established
    one.node.slow_disk = True
    one.others_committed(1)
    one.receive("n2", AppendRequest(1, 1, 1, (Entry(2, 1, b""),), 1))
    assert one.state.established
    one.wait(one.state.config.heartbeat_interval_s)
    assert one.receive("n2", AppendRequest(1, 2, 1, (), 1)) == []
