"""The leader's side of AppendEntries: what is due to whom, and what an answer teaches."""

from typing import Any

import pytest

from raftline.core.entries import Entry
from raftline.core.events import EntriesRead, Unloaded
from raftline.core.messages import AppendReply, AppendRequest
from raftline.core.progress import Mode
from raftline.core.ready import EntriesWanted, Ready
from raftline.errors import SafetyViolation

HEARTBEAT_S = 0.075


def _ok(one: Any, name: str, match: int, *, prev: int | None = None, round_: int = 0) -> Any:
    term = one.core.term
    return one.receive(name, AppendReply(term, term, True, match if prev is None else prev, match, round=round_))  # noqa: FBT003


def _no(one: Any, name: str, prev: int, index: int, term: int = 0, **more: Any) -> Any:
    now = one.core.term
    reply = AppendReply(now, now, False, prev, 0, conflict_index=index, conflict_term=term, **more)  # noqa: FBT003
    return one.receive(name, reply)


def _to(name: str, sent: list[tuple[str, Any]]) -> list[AppendRequest]:
    return [message for to, message in sent if to == name and isinstance(message, AppendRequest)]


def _spans(requests: list[AppendRequest]) -> list[tuple[int, int]]:
    return [(request.prev_index, len(request.entries)) for request in requests]


# What is sent.


def test_many_proposals_leave_as_one_message(bench: Any) -> None:
    """What is due is worked out once per turn (B29)."""
    one = bench()
    one.lead()
    _ok(one, "n2", 0)
    one.node.held = True
    for number in range(100):
        one.node.propose(b"%d" % number)
    one.node.held = False
    one.node.work()
    assert _spans(_to("n2", one.taken())) == [(0, 100)]


def test_followers_at_the_same_place_share_a_message(bench: Any) -> None:
    """The very same object, so that it is encoded once; nothing in it can change any more (F17)."""
    one = bench(size=5)
    one.lead()
    for name in ("n2", "n3", "n4", "n5"):
        _ok(one, name, 0)
    one.node.propose(b"x")
    sent = one.taken()
    assert len(sent) == 4
    assert len({id(message) for _, message in sent}) == 1


def test_proposals_of_one_turn_get_consecutive_indices(bench: Any) -> None:
    """In their order; who does not lead takes none (B33)."""
    one = bench(terms=[1])
    assert one.node.propose(b"refused") == 0
    one.lead()
    assert one.node.propose(b"a", b"b") == 2
    assert one.node.propose(b"c") == 4
    assert [entry.data for entry in one.state.log.slice(2, 5)] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("settings", "spans"),
    [
        ({"append_entries_max": 2}, [(0, 2), (2, 2), (4, 1)]),
        ({"append_bytes_max": 50}, [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]),
        ({"append_bytes_max": 100}, [(0, 2), (2, 2), (4, 1)]),
        ({"inflight_messages_max": 2, "append_entries_max": 1}, [(0, 1), (1, 1)]),
        ({"inflight_bytes_max": 60, "append_entries_max": 1}, [(0, 1), (1, 1)]),
        ({"inflight_bytes_max": 1, "append_entries_max": 1}, [(0, 1)]),
    ],
)
def test_messages_and_windows_have_limits(bench: Any, settings: dict[str, int], spans: list[tuple[int, int]]) -> None:
    """By entries and bytes per message, by messages and bytes under way; one entry always goes (B29)."""
    one = bench(**settings)
    one.lead()
    _ok(one, "n2", 0)
    one.taken()
    one.node.propose(*[b"%030d" % number for number in range(5)])
    assert _spans(_to("n2", one.taken())) == spans


def test_a_window_opens_with_each_answer(bench: Any) -> None:
    """What was held back follows, as much as fits."""
    one = bench(inflight_messages_max=2, append_entries_max=1)
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"a", b"b", b"c", b"d")
    one.taken()
    assert _spans(_to("n2", _ok(one, "n2", 1))) == [(2, 1)]
    assert _spans(_to("n2", _ok(one, "n2", 3))) == [(3, 1)]


def test_lost_answers_do_not_keep_a_window_shut(bench: Any) -> None:
    """The heartbeat is answered with everything that arrived (B14)."""
    one = bench(inflight_messages_max=2, append_entries_max=1)
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"a", b"b", b"c")
    one.taken()
    (heartbeat,) = _to("n2", one.wait(HEARTBEAT_S))
    assert (heartbeat.prev_index, heartbeat.entries) == (2, ())
    assert _spans(_to("n2", _ok(one, "n2", 2))) == [(2, 1)]


def test_lost_requests_do_not_keep_a_window_shut(bench: Any) -> None:
    """The heartbeat is refused, and everything missing goes again (B14, B15)."""
    one = bench(inflight_messages_max=2, append_entries_max=1)
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"a", b"b", b"c")
    one.taken()
    one.wait(HEARTBEAT_S)
    sent = _no(one, "n2", 2, 1)
    assert _spans(_to("n2", sent)) == [(0, 1)]
    assert one.state.progress["n2"].mode is Mode.PROBE
    assert _spans(_to("n2", _ok(one, "n2", 1))) == [(1, 1), (2, 1)]


def test_a_lost_probe_is_repeated_with_the_heartbeat(bench: Any) -> None:
    """With its entries, and no sooner (B14, B15)."""
    one = bench(terms=[1, 1])
    one.lead()
    _no(one, "n2", 2, 1)
    assert _to("n2", one.wait(HEARTBEAT_S * 0.6)) == []
    assert _spans(_to("n2", one.wait(HEARTBEAT_S * 0.6))) == [(0, 2)]


def test_a_probe_carries_no_more_than_it_may(bench: Any) -> None:
    """Where the logs may differ a large message would often be in vain."""
    one = bench(terms=[1] * 6, probe_bytes_max=40)
    one.lead()
    assert _spans(_to("n2", _no(one, "n2", 6, 1))) == [(0, 2)]


# Heartbeats.


def test_a_follower_that_was_just_sent_to_needs_no_heartbeat(bench: Any) -> None:
    """Each one's silence counts by itself (A22)."""
    one = bench()
    one.lead()
    _ok(one, "n2", 0)
    one.wait(HEARTBEAT_S * 0.6)
    one.node.propose(b"x")
    assert [to for to, _ in one.taken()] == ["n2"], "n3 is still being probed"
    sent = one.wait(HEARTBEAT_S * 0.6)
    assert [to for to, _ in sent] == ["n3"]
    sent = one.wait(HEARTBEAT_S * 0.6)
    assert [to for to, _ in sent] == ["n2"]


def test_an_idle_leader_is_woken_once_per_interval(bench: Any) -> None:
    """After the timer the next deadline lies ahead: no busy loop, and none forgotten (F19)."""
    one = bench(size=5)
    one.lead()
    fired = 0
    while one.now < 2.0:
        due = one.core.next_deadline
        assert due > one.now or not fired
        one.cluster.advance(due)
        fired += 1
    assert fired <= 1.7 / HEARTBEAT_S + 2
    sent = one.taken()
    assert [len(_to(name, sent)) for name in ("n2", "n3", "n4", "n5")] == [fired] * 4


def test_what_is_committed_is_told_at_once_where_that_is_wanted(bench: Any) -> None:
    """`commit_notice_s` after the last message, not only with the heartbeat, and once (B27)."""
    one = bench(commit_notice_s=0.01)
    one.lead()
    for name in ("n2", "n3"):
        _ok(one, name, 0)
    one.node.propose(b"x")
    one.taken()
    _ok(one, "n2", 1)
    assert one.state.commit == 1
    sent = one.wait(0.02)
    assert [(to, message.commit) for to, message in sent] == [("n2", 1)], "n3 does not hold it yet"
    assert one.wait(0.02) == []


def test_the_commit_index_travels_with_whatever_goes(bench: Any) -> None:
    """Two rounds until followers apply: a busy leader needs no extra message (B27)."""
    one = bench()
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"x")
    one.taken()
    assert _ok(one, "n2", 1) == []
    one.node.propose(b"y")
    assert [request.commit for request in _to("n2", one.taken())] == [1]


# Answers.


def test_match_is_what_the_answered_request_held(bench: Any) -> None:
    """Not what the log holds by now (B20)."""
    one = bench()
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"a", b"b", b"c")
    _ok(one, "n2", 1)
    assert one.state.progress["n2"].match_index == 1
    assert one.state.commit == 1


def test_answers_in_any_order_only_raise_match(bench: Any) -> None:
    """Duplicated and overtaken ones change nothing (E3, E7)."""
    one = bench()
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"a", b"b", b"c")
    for match in (3, 1, 2, 3):
        _ok(one, "n2", match)
        progress = one.state.progress["n2"]
        assert (progress.match_index, progress.next_index) == (3, 4)


def test_late_refusals_undo_nothing(bench: Any) -> None:
    """Neither one of an earlier probe nor a repetition (E4)."""
    one = bench(terms=[1] * 9)
    one.lead()
    _no(one, "n2", 9, 5)
    progress = one.state.progress["n2"]
    assert progress.next_index == 5
    assert _no(one, "n2", 9, 5) == []
    _ok(one, "n2", 9)
    assert _no(one, "n2", 4, 1) == []
    assert (progress.mode, progress.match_index, progress.next_index) == (Mode.REPLICATE, 9, 10)


def test_answers_of_another_term_are_not_looked_at(bench: Any) -> None:
    """Neither to raise match nor to lower next (E1, B21)."""
    one = bench(terms=[1, 1])
    one.lead()
    before = one.state.progress["n2"].next_index
    assert one.core.receive("n2", AppendReply(2, 1, True, 2, 2)) == "answers a request of another term"  # noqa: FBT003
    assert one.core.receive("n2", AppendReply(2, 1, False, 2, 0, conflict_index=1)) is not None  # noqa: FBT003
    progress = one.state.progress["n2"]
    assert (progress.match_index, progress.next_index, one.state.commit) == (0, before, 0)


def test_a_refusal_with_a_higher_term_is_no_conflict(bench: Any) -> None:
    """Step down, touch nothing else (B21, A9)."""
    one = bench(terms=[1, 1])
    one.lead()
    one.receive("n2", AppendReply(7, 2, False, 2, 0))  # noqa: FBT003
    assert (one.core.role.value, one.core.term, one.state.progress) == ("follower", 7, {})


@pytest.mark.parametrize(
    ("conflict", "next_index"),
    [
        ((6, 0), 6),
        ((2, 4), 6),
        ((4, 2), 4),
        ((4, 9), 4),
        ((1, 1), 4),
    ],
)
def test_where_to_go_on_after_a_conflict(bench: Any, conflict: tuple[int, int], next_index: int) -> None:
    """Behind my last entry of its term, or where the follower's term begins, or at its end (B24, L26)."""
    one = bench(terms=[1, 1, 1, 4, 4, 5, 5, 6, 6, 6])
    one.lead()
    _no(one, "n2", 10, *conflict)
    assert one.state.progress["n2"].next_index == next_index


def test_each_refusal_leads_further_back(bench: Any) -> None:
    """However strange the answers, no probe is repeated for ever (B24, B25)."""
    one = bench(terms=[1, 1, 2, 2, 3])
    one.lead()
    progress = one.state.progress["n2"]
    seen = []
    while progress.next_index > 1:
        seen.append(progress.next_index)
        _no(one, "n2", progress.next_index - 1, 99, 3)
        assert len(seen) < 10
    assert seen == sorted(set(seen), reverse=True)


def test_nobody_waits_for_the_slowest(bench: Any) -> None:
    """Two of five answer, with the leader that is a majority (B13, L39)."""
    one = bench(size=5)
    one.lead()
    one.node.propose(b"x")
    one.taken()
    _ok(one, "n2", 0)
    _ok(one, "n2", 1)
    assert one.state.commit == 0
    _ok(one, "n4", 1)
    assert one.state.commit == 1


def test_an_answer_of_a_stranger_is_not_counted(bench: Any) -> None:
    """Nor remembered."""
    one = bench()
    one.lead()
    one.node.propose(b"x")
    term = one.core.term
    assert one.core.receive("n9", AppendReply(term, term, True, 0, 1)) == "not a member"  # noqa: FBT003
    assert one.state.commit == 0


def test_the_leader_counts_itself_only_once_its_disk_has_it(bench: Any) -> None:
    """It may send before (thesis 10.2.1), and may commit before with a majority of others (B1)."""
    one = bench(size=5)
    one.lead()
    for name in ("n2", "n3", "n4"):
        _ok(one, name, 0)
    one.node.slow_disk = True
    one.node.propose(b"x")
    assert len(one.taken()) == 3
    _ok(one, "n2", 1)
    _ok(one, "n3", 1)
    assert one.state.commit == 0
    _ok(one, "n4", 1)
    assert one.state.commit == 1
    one.node.persist(10)
    assert one.state.persisted == 1


def test_what_a_lost_disk_acknowledged_no_longer_counts(bench: Any) -> None:
    """A refusal that says so takes the match index back, once (C14)."""
    one = bench()
    one.lead()
    _ok(one, "n2", 0)
    one.node.propose(b"a", b"b")
    _ok(one, "n2", 2)
    progress = one.state.progress["n2"]
    sent = _no(one, "n2", 2, 1, unestablished=True)
    assert (progress.match_index, progress.next_index, one.state.commit) == (0, 1, 2)
    assert _spans(_to("n2", sent)) == [(0, 2)]
    _ok(one, "n2", 1)
    _no(one, "n2", 2, 2, unestablished=True)
    assert progress.match_index == 1, "what it acknowledged since is there"


def _early(one: Any, sender: str, match_index: int) -> Any:
    term = one.core.term
    return one.receive(sender, AppendReply(term, term, True, match_index, match_index, early=True))  # noqa: FBT003


def test_an_early_answer_keeps_the_leader_in_office(bench: Any) -> None:
    """Followers whose disks are slow are not silent (thesis 6.2); without the answers the leader would step down."""
    for answers in (True, False):
        one = bench(check_quorum=True)
        one.lead()
        for _ in range(20):
            one.wait(one.state.config.heartbeat_interval_s)
            if answers:
                _early(one, "n2", 0)
        assert one.core.is_leader == answers


def test_an_early_answer_counts_what_is_on_disk_and_opens_nothing(bench: Any) -> None:
    """What is under way to the follower is not sent again, by a probe or in a pipeline."""
    one = bench()
    one.lead()
    progress = one.state.progress["n2"]
    one.node.propose(b"a")
    one.taken()
    assert progress.mode is Mode.PROBE
    assert _to("n2", _early(one, "n2", 0)) == []
    assert progress.mode is Mode.PROBE
    _ok(one, "n2", 1)
    assert one.state.commit == 1
    one.node.propose(b"b", b"c")
    assert _spans(_to("n2", one.taken())) == [(1, 2)]
    assert _to("n2", _early(one, "n2", 1)) == []
    assert (progress.match_index, progress.next_index, progress.inflight_messages) == (1, 4, 1)
    _early(one, "n2", 2)
    assert (progress.match_index, one.state.commit, progress.inflight_messages) == (2, 2, 1)


# Entries that only the disk holds.


class _Unloaded:
    """A leader of term 2 with ten entries that everybody but n3 has, all of their data gone from memory."""

    def __init__(self, bench: Any, **settings: Any) -> None:
        self.bench = bench(terms=[1] * 9, **settings)
        self.held = tuple(self.bench.state.log.slice(1, 10))
        self.wanted: list[EntriesWanted] = []
        self.bench.lead()
        self.bench.node.propose(b"own")
        self.held += tuple(self.bench.state.log.slice(10, 11))
        _ok(self.bench, "n2", 10)
        assert self.bench.state.commit == 10
        self.bench.cluster.on_ready = self._on_ready
        self.bench.step(Unloaded(0, 100))
        assert self.bench.state.log.disk_index == 10

    def _on_ready(self, _node: Any, ready: Ready) -> None:
        self.wanted += ready.entries_wanted

    def read(self, low: int, high: int, to: str = "n3") -> Any:
        return self.bench.step(EntriesRead(to, low, self.held[low - 1 : high - 1]))


def test_a_follower_is_asked_first_and_then_fed_from_the_disk(bench: Any) -> None:
    """A probe needs no entries; what the disk gives is sent once, and the rest asked for in order (B24, D16)."""
    one = _Unloaded(bench, append_entries_max=4)
    assert _spans(_to("n3", _no(one.bench, "n3", 9, 3))) == [(2, 0)]
    assert not one.wanted
    assert not _to("n3", _ok(one.bench, "n3", 2))
    assert one.wanted == [EntriesWanted("n3", 3, 7, one.bench.state.config.append_bytes_max)]
    (request,) = _to("n3", one.read(3, 7))
    assert (request.prev_index, request.prev_term, request.entries) == (2, 1, one.held[2:6])
    assert [wanted.low for wanted in one.wanted] == [3, 7]
    one.bench.node.propose(b"more")
    assert len(one.wanted) == 2, "one read at a time"
    (last,) = _to("n3", one.read(7, 9))
    assert (last.prev_index, len(last.entries)) == (6, 2)
    assert one.wanted[2:] == [EntriesWanted("n3", 9, 11, one.wanted[2].bytes_max)]
    sent = _to("n3", one.read(9, 11))
    assert _spans(sent) == [(8, 2), (10, 1)], "from memory behind what only the disk had"


def test_heartbeats_go_on_while_entries_are_being_read(bench: Any) -> None:
    """A slow disk of the leader's costs no election (A22)."""
    one = _Unloaded(bench)
    _no(one.bench, "n3", 9, 1)
    _ok(one.bench, "n3", 0)
    assert [wanted.low for wanted in one.wanted] == [1]
    assert _spans(_to("n3", one.bench.wait(2.5 * HEARTBEAT_S))) == [(0, 0), (0, 0)]
    assert len(one.wanted) == 1


def test_the_window_bounds_what_is_read(bench: Any) -> None:
    """A follower that does not answer makes nobody read ahead (B29)."""
    one = _Unloaded(bench, inflight_messages_max=1, append_entries_max=2)
    _no(one.bench, "n3", 9, 1)
    _ok(one.bench, "n3", 0)
    one.read(1, 3)
    assert len(one.wanted) == 1
    _ok(one.bench, "n3", 2)
    assert [wanted.low for wanted in one.wanted] == [1, 3]


def test_what_was_read_for_somebody_elsewhere_is_dropped(bench: Any) -> None:
    """An old outcome, a stranger's, a deposed leader's (E1, E4)."""
    one = _Unloaded(bench)
    _no(one.bench, "n3", 9, 1)
    _ok(one.bench, "n3", 0)
    assert not _to("n9", one.read(1, 3, to="n9"))
    _ok(one.bench, "n3", 4)
    assert not _to("n3", one.read(1, 3))
    assert [wanted.low for wanted in one.wanted] == [1, 5]
    one.bench.receive("n2", AppendReply(9, 2, False, 4, 0))  # noqa: FBT003
    assert not one.bench.core.is_leader
    assert not one.read(5, 7)


def test_a_late_outcome_starts_no_second_reading(bench: Any) -> None:
    """What was read before the follower refused something is nobody's, and what it needs now is being read (E4)."""
    one = _Unloaded(bench, append_entries_max=2)
    _no(one.bench, "n3", 9, 1)
    _ok(one.bench, "n3", 4)
    one.read(5, 7)
    _no(one.bench, "n3", 6, 5)
    _ok(one.bench, "n3", 4)
    assert [wanted.low for wanted in one.wanted] == [5, 7, 5]
    assert not _to("n3", one.read(7, 9))
    assert len(one.wanted) == 3
    assert _spans(_to("n3", one.read(5, 7))) == [(4, 2)]


def test_entries_of_another_log_are_never_sent(bench: Any) -> None:
    """What the disk gives has to be this log's, by index and term (B2)."""
    for wrong in ((Entry(1, 2, b""),), (Entry(2, 1, b""),), ()):
        one = _Unloaded(bench)
        _no(one.bench, "n3", 9, 1)
        _ok(one.bench, "n3", 0)
        with pytest.raises(SafetyViolation, match="disk"):
            one.bench.core.step(EntriesRead("n3", 1, wrong), one.bench.now)
