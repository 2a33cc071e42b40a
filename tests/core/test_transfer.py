"""How the leadership is given away (thesis 3.10), and when it is not."""

from collections.abc import Callable
from typing import Any

import pytest

from raftline.core.changes import AddLearner, Remove, SetPriority
from raftline.core.config import CoreConfig
from raftline.core.entries import Entry
from raftline.core.events import ChangeRequested, DiskBehind, Proposed, Received, TimerDue, TransferRequested
from raftline.core.messages import AppendReply, AppendRequest, TimeoutNow, VoteReply, VoteRequest
from raftline.core.progress import Mode
from raftline.core.ready import Verdict
from raftline.sim.core_cluster import CoreCluster, CoreNode


@pytest.fixture
def leading(bench: Any) -> Callable[..., Any]:
    """Make a leader of term 1 whose followers hold everything."""

    def make(**settings: Any) -> Any:
        one = bench(noop=True, **settings)
        one.lead()
        for name in one.membership.voters[1:]:
            _accept(one, name)
        one.taken()
        return one

    return make


def _accept(one: Any, sender: str, match: int | None = None) -> list[Any]:
    match = one.state.log.last_index if match is None else match
    term = one.core.term
    return one.receive(sender, AppendReply(term, term, True, match, match))  # type: ignore[no-any-return]  # noqa: FBT003


def _told(sent: list[Any]) -> list[str]:
    return [to for to, message in sent if isinstance(message, TimeoutNow)]


def _refusal(one: Any, to: str | None) -> str:
    one.node.step(TransferRequested(9, to))
    answer = one.node.answers.pop(9)
    assert answer.verdict is Verdict.REFUSED
    assert not _told(one.taken())
    return answer.reason  # type: ignore[no-any-return]


def _cluster(seed: int = 1, *, size: int = 3, **settings: Any) -> tuple[CoreCluster, CoreNode]:
    cluster = CoreCluster(size, seed=seed, **settings)
    cluster.start()
    assert cluster.run(10, lambda: bool(cluster.leaders()) and cluster.leaders()[0].core.has_settled)
    cluster.run(0.2)
    return cluster, cluster.leaders()[0]


# On request.


def test_a_target_that_holds_everything_is_told_at_once(leading: Any) -> None:
    """And nobody else; the answer comes with the next term."""
    one = leading()
    sent = one.step(TransferRequested(1, "n3"))
    assert _told(sent) == ["n3"]
    assert 1 not in one.node.answers
    one.receive("n3", VoteRequest(2, 1, 1, transfer=True))
    assert one.node.answers[1].verdict is Verdict.DONE
    assert one.core.role.value == "follower"


def test_a_target_that_lags_is_brought_up_to_date_first(leading: Any) -> None:
    """It is told when its log is as long as the leader's, not before (thesis 3.10)."""
    one = leading()
    one.node.propose(b"x", b"y")
    one.taken()
    assert _told(one.step(TransferRequested(1, "n3"))) == []
    assert _told(_accept(one, "n3", 2)) == []
    assert _told(_accept(one, "n2")) == []
    assert _told(_accept(one, "n3")) == ["n3"]


def test_a_target_is_told_without_waiting_for_the_leaders_own_disk(leading: Any) -> None:
    """A slow write would hold the word back until it is not true any more: the transfer given up, new entries there."""
    one = leading()
    one.core.step(Proposed((b"x",), 0), one.now)
    assert one.core.take_ready().entries
    one.core.step(Received("n3", AppendReply(1, 1, success=True, prev_index=2, match_index=2)), one.now)
    one.core.step(TransferRequested(1, "n3"), one.now)
    ready = one.core.take_ready()
    assert _told([(each.to, each.message) for each in ready.messages]) == ["n3"]
    assert not _told([(each.to, each.message) for each in ready.messages_after_persist])


def test_a_target_is_not_told_if_the_transfer_is_given_up_at_that_moment(leading: Any) -> None:
    """A leader that stood still takes the answer in, gives up and appends before anything leaves (seed 2509145)."""
    one = leading()
    one.node.propose(b"x")
    assert _told(one.step(TransferRequested(1, "n3"))) == []
    late = one.state.transfer.deadline + 1.0
    one.core.step(Received("n3", AppendReply(1, 1, success=True, prev_index=2, match_index=2)), late)
    one.core.step(TimerDue(), late)
    assert one.core.step(Proposed((b"y",), 0), late) == 3
    ready = one.core.take_ready()
    assert [answer.verdict for answer in ready.answers] == [Verdict.REFUSED]
    assert [entry.index for entry in ready.entries] == [3]
    assert _told([(each.to, each.message) for each in (*ready.messages, *ready.messages_after_persist)]) == []


def test_a_target_is_not_told_by_who_leads_no_more(leading: Any) -> None:
    """Another leader's entries came with the target's answer: there is nothing to hand over, and nothing was."""
    one = leading()
    one.node.propose(b"x")
    assert _told(one.step(TransferRequested(1, "n3"))) == []
    one.core.step(Received("n3", AppendReply(1, 1, success=True, prev_index=2, match_index=2)), one.now)
    others = (Entry(3, 2, b"y"),)
    one.core.step(Received("n2", AppendRequest(2, 2, 1, others, 0)), one.now)
    ready = one.core.take_ready()
    assert [answer.verdict for answer in ready.answers] == [Verdict.UNKNOWN]
    assert ready.entries == others
    assert _told([(each.to, each.message) for each in (*ready.messages, *ready.messages_after_persist)]) == []


def test_nothing_is_proposed_meanwhile(leading: Any) -> None:
    """Else the target would lag for ever (thesis 3.10)."""
    one = leading()
    one.node.step(TransferRequested(1, "n3"))
    assert not one.core.takes_proposals
    assert one.node.propose(b"x") == 0
    assert one.state.log.last_index == 1


def test_a_target_that_does_not_come_is_given_up(leading: Any) -> None:
    """After an election timeout the leader goes on, and says so; until then it repeats what may have been lost."""
    one = leading(check_quorum=True)
    sent = one.step(TransferRequested(1, "n3"))
    while 1 not in one.node.answers:
        assert one.now < 5
        sent += one.wait(0.05)
        _accept(one, "n2")
    assert len(_told(sent)) > 3
    assert one.node.answers[1].verdict is Verdict.REFUSED
    assert one.node.answers[1].reason == "n3 did not take over within 0.8 s, n1 leads on"
    assert one.node.propose(b"x") == 2


def test_a_transfer_in_an_emptied_group_of_one_has_nobody_to_go_to(leading: Any) -> None:
    """Said in words, at once."""
    one = leading(size=1)
    assert _refusal(one, None) == "no other voter is fit to take over"


def test_whoever_cannot_lead_is_refused_in_words(leading: Any) -> None:
    """Strangers, learners, the silent, those that lag or whose disk may be lost; and a second transfer."""
    one = leading()
    assert _refusal(one, "n9") == "n9 is no member: only a voter can lead"
    one.node.step(ChangeRequested(50, AddLearner("n4", "n4:1", promote=False)))
    _accept(one, "n2")
    _accept(one, "n3")
    assert _refusal(one, "n4") == "n4 is a learner: only a voter can lead"
    one.state.progress["n3"].become_snapshot(0)
    assert _refusal(one, "n3") == "n3 lags behind: its log is not known to match this leader's"
    one.state.progress["n3"].on_accepted(2, 0)
    one.state.progress["n3"].on_trust(trusted=False)
    assert _refusal(one, "n3").startswith("n3 cannot lead: its disk may have been lost")
    one.wait(0.5)
    assert _refusal(one, "n3") == "n3 was not heard for 0.4 s"
    assert _refusal(one, None) == "no other voter is fit to take over"
    _accept(one, "n2")
    assert _told(one.step(TransferRequested(1))) == ["n2"]
    assert one.state.transfer.to == "n2"
    assert _refusal(one, "n3") == "the leadership is on its way to n2 already"


def test_who_is_leaving_does_not_take_over(leading: Any) -> None:
    """It votes still, and could lead for a moment only."""
    one = leading()
    one.node.step(ChangeRequested(50, Remove("n3")))
    assert _refusal(one, "n3") == "n3 is leaving: only a voter can lead"


def test_only_the_leader_hands_over(bench: Any) -> None:
    """And to itself it need not."""
    one = bench()
    one.node.step(TransferRequested(1, "n2"))
    assert one.node.answers[1].verdict is Verdict.NOT_LEADER
    one = bench()
    one.lead()
    one.node.step(TransferRequested(2, "n1"))
    assert one.node.answers[2].verdict is Verdict.DONE
    assert one.core.is_leader


def test_a_leadership_that_is_lost_otherwise_leaves_the_outcome_open(leading: Any) -> None:
    """Before the target was told: nobody knows who leads next."""
    one = leading()
    one.node.propose(b"x")
    one.node.step(TransferRequested(1, "n3"))
    one.receive("n2", AppendRequest(5, 0, 0, (), 0))
    assert one.node.answers[1].verdict is Verdict.UNKNOWN
    assert one.state.transfer is None


def test_without_a_target_the_best_one_is_chosen(leading: Any) -> None:
    """By priority, then by the length of the log."""
    one = leading()
    one.node.propose(b"x")
    _accept(one, "n2")
    one.node.step(TransferRequested(1))
    assert one.state.transfer.to == "n2"
    one = leading()
    one.node.step(ChangeRequested(50, SetPriority("n3", 1)))
    _accept(one, "n2")
    one.node.step(TransferRequested(1))
    assert one.state.transfer.to == "n3"


# The target.


def test_the_target_runs_at_once_and_says_why(bench: Any) -> None:
    """Without asking first, so that followers that heard the leader just now vote for it (thesis 3.10)."""
    one = bench(pre_vote=True)
    one.receive("n2", AppendRequest(3, 0, 0, (), 0))
    sent = one.receive("n2", TimeoutNow(3))
    votes = [(to, message) for to, message in sent if isinstance(message, VoteRequest)]
    assert [to for to, _ in votes] == ["n2", "n3"]
    assert all(message.transfer and not message.pre_vote and message.term == 4 for _, message in votes)


@pytest.mark.parametrize("message", [("n3", TimeoutNow(3)), ("n2", TimeoutNow(2))])
def test_nobody_but_the_leader_of_this_term_can_ask_for_that(bench: Any, message: Any) -> None:
    """Late and foreign ones change nothing (A24)."""
    one = bench()
    one.receive("n2", AppendRequest(3, 0, 0, (), 0))
    one.receive(*message)
    assert (one.core.role.value, one.core.term) == ("follower", 3)


def test_a_learner_and_an_untrusted_disk_do_not_run(bench: Any) -> None:
    """Whatever they are told (C14)."""
    one = bench(new=True, pre_vote=True, guard_lost_disk=True)
    one.receive("n2", AppendRequest(3, 0, 0, (), 0))
    assert one.core.receive("n2", TimeoutNow(3)) == "cannot lead"


def test_a_follower_keeps_to_its_leader_unless_that_one_asks(bench: Any) -> None:
    """A transfer goes round the stickiness, everything else does not (§6, thesis 3.10)."""
    one = bench(pre_vote=True)
    one.receive("n2", AppendRequest(3, 0, 0, (), 0))
    assert one.receive("n3", VoteRequest(4, 9, 9)) == []
    reply = one.answer("n3", VoteRequest(4, 9, 9, transfer=True))
    assert reply.granted
    assert one.state.handover_term == 4


# By itself.


def test_a_leader_hands_over_to_whoever_is_preferred(leading: Any) -> None:
    """After a quiet while, to a voter that holds everything committed; then not again for a while."""
    one = leading(check_quorum=True, priority_handover_s=2.0)
    one.node.step(ChangeRequested(50, SetPriority("n3", 1)))
    _accept(one, "n2")
    one.taken()
    told: list[float] = []
    while one.now < 8:
        if _told(one.wait(0.1)):
            told.append(one.now)
        _accept(one, "n2")
        _accept(one, "n3")
    assert told[0] >= 2.0
    assert one.state.progress["n3"].mode is Mode.REPLICATE
    again = [at for at in told if at > told[0] + 0.9]
    assert again[0] >= told[0] + 2.0


def test_a_busy_leader_hands_over_as_well(leading: Any) -> None:
    """Where followers are sent something all the time no heartbeat is ever due, and so no timer."""
    one = leading(check_quorum=True, priority_handover_s=2.0)
    one.node.step(ChangeRequested(50, SetPriority("n3", 1)))
    told: list[float] = []
    first, second = "n2", "n3"
    while one.now < 8 and not told:
        one.cluster.now += one.state.config.heartbeat_interval_s / 3
        first, second = second, first
        sent = [*_accept(one, first), *_accept(one, second), *one.step(Proposed((b"x",)))]
        told += [one.now for _ in _told(sent)]
    assert told
    assert told[0] >= 2.0


def test_a_preferred_leader_keeps_the_leadership(leading: Any) -> None:
    """And so does one whose rivals are no more than equal."""
    one = leading(check_quorum=True, priority_handover_s=1.0)
    for number, (name, priority) in enumerate((("n1", 1), ("n3", 1))):
        one.node.step(ChangeRequested(50 + number, SetPriority(name, priority)))
        _accept(one, "n2")
        _accept(one, "n3")
    for _ in range(40):
        assert not _told(one.wait(0.1))
        _accept(one, "n2")
        _accept(one, "n3")


def test_a_preferred_node_that_lags_does_not_take_over(leading: Any) -> None:
    """First it has to hold what is committed."""
    one = leading(check_quorum=True, priority_handover_s=1.0)
    one.node.step(ChangeRequested(50, SetPriority("n3", 1)))
    _accept(one, "n2")
    for _ in range(40):
        assert not _told(one.wait(0.1))
        _accept(one, "n2")
        _accept(one, "n3", 1)


def _with_stuck_disk(leading: Any, **settings: Any) -> Any:
    """Make a leader, settled for a while, whose disk takes nothing from here on."""
    one = leading(priority_handover_s=1.0, **settings)
    one.wait(1.5)
    for name in one.membership.voters[1:]:
        _accept(one, name)
    one.node.slow_disk = True
    one.taken()
    return one


def _transfer_of(one: Any) -> Any:
    assert not _told(one.step(DiskBehind()))
    return one.state.transfer


def test_a_leader_whose_disk_is_behind_hands_over(leading: Any) -> None:
    """The others go on without it, and hold all that is committed: nobody waits for the slowest (B13)."""
    one = _with_stuck_disk(leading)
    one.node.propose(b"x")
    _accept(one, "n2")
    _accept(one, "n3")
    assert (one.state.persisted, one.state.commit) == (1, 2)
    assert _told(one.step(DiskBehind())) == ["n3"]
    assert one.node.propose(b"y") == 0


def test_a_leader_leads_on_if_nobody_goes_on_without_its_disk(leading: Any) -> None:
    """Its successor would need a vote that has to be written there (C3)."""
    one = _with_stuck_disk(leading)
    one.node.propose(b"x")
    _accept(one, "n2")
    assert one.state.commit == 1
    assert _transfer_of(one) is None
    one.node.persist(len(one.node.to_persist))
    assert one.state.persisted == one.state.commit == 2
    assert _transfer_of(one) is None


def test_a_leader_with_nothing_to_write_asks_who_goes_on_without_its_disk(leading: Any) -> None:
    """Its clients may be refused for what other groups have to write: one entry without a command shows it (B13)."""
    one = _with_stuck_disk(leading)
    assert [_transfer_of(one) for _ in range(3)] == [None] * 3
    assert [entry.data for entry in one.state.log.slice(2, one.state.log.last_index + 1)] == [b""]
    _accept(one, "n2")
    _accept(one, "n3")
    assert _told(one.step(DiskBehind())) == ["n3"]


def test_it_tells_nobody_before_all_is_committed(leading: Any) -> None:
    """If another disk hangs since, there is no quorum without this one any more: it gives up, and leads on."""
    one = _with_stuck_disk(leading)
    one.node.propose(b"x")
    _accept(one, "n2")
    _accept(one, "n3")
    one.node.propose(b"y")
    assert not _told(_accept(one, "n3"))
    assert _transfer_of(one).to == "n3"
    began_at = one.now
    while one.state.transfer is not None:
        assert not _told(one.wait(0.1))
        _accept(one, "n2", 2)
        _accept(one, "n3")
    assert one.now >= began_at + 0.8
    while _transfer_of(one) is None:
        assert one.now < 10
        one.wait(0.1)
        _accept(one, "n2", 2)
        _accept(one, "n3")
    assert one.now >= began_at + 0.8 + 1.0, "not again and again"
    assert _told(_accept(one, "n2")) == ["n3"]


def test_it_hands_over_to_a_disk_that_keeps_up(leading: Any) -> None:
    """Not to a preferred voter that lacks what is committed."""
    one = _with_stuck_disk(leading, size=5)
    one.node.step(ChangeRequested(50, SetPriority("n4", 1)))
    for name in ("n2", "n3", "n5"):
        _accept(one, name)
    assert _told(one.step(DiskBehind())) == ["n5"]


def test_it_hands_over_only_between_changes(leading: Any) -> None:
    """Not while the members change, and not just after it took over."""
    one = _with_stuck_disk(leading, size=5)
    one.node.propose(b"x")
    for name in ("n2", "n3", "n5"):
        _accept(one, name)
    one.node.step(ChangeRequested(50, SetPriority("n4", 1)))
    assert _transfer_of(one) is None
    for name in ("n2", "n3", "n5"):
        _accept(one, name)
    assert _told(one.step(DiskBehind())) == ["n5"]
    new = leading(priority_handover_s=1.0)
    new.node.slow_disk = True
    new.node.propose(b"x")
    _accept(new, "n2")
    _accept(new, "n3")
    assert _transfer_of(new) is None
    new.receive("n2", AppendRequest(2, 1, 1, (), 1))
    assert _transfer_of(new) is None
    alone = _with_stuck_disk(leading, size=1)
    assert (_transfer_of(alone), alone.state.log.last_index) == (None, 1), "whom should it ask?"


# All together.


def test_a_group_goes_on_under_a_leader_whose_disk_works() -> None:
    """Also with what the old one, which cannot even write that there is another, had appended (E9)."""
    cluster, old = _cluster(config=CoreConfig(priority_handover_s=0.1))
    old.slow_disk = True

    def go_on() -> None:
        while cluster.pool:
            cluster.deliver(cluster.pool[0])

    old.propose(b"x")
    go_on()
    old.step(DiskBehind())
    go_on()
    (new,) = cluster.leaders()
    assert new is not old
    new.propose(b"y")
    go_on()
    assert [data for _, data in new.applied][-3:] == [b"x", b"", b"y"]
    assert (old.core.leader, old.state.persisted) == (new.name, 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_leadership_moves_within_a_few_messages(seed: int) -> None:
    """No timer has to run out, and no term is lost: the very next one is the target's (thesis 3.10)."""
    cluster, old = _cluster(seed)
    term = old.core.term
    target = next(node for node in cluster.up() if node is not old)
    before = cluster.now
    old.propose(b"x")
    old.step(TransferRequested(1, target.name))
    cluster.settle()
    assert cluster.now == before
    assert target.core.is_leader
    assert target.core.term == term + 1
    assert old.core.leader == target.name
    assert old.answers[1].verdict is Verdict.DONE


def test_a_removed_leader_hands_over_and_hears_who_leads() -> None:
    """The requests that wait there find their way to its successor, which keeps it posted for a while."""
    cluster, old = _cluster()
    old.step(ChangeRequested(1, Remove(old.name)))
    before = cluster.now
    cluster.settle()
    assert cluster.now == before
    (new,) = cluster.leaders()
    assert new is not old
    assert old.answers[1].verdict is Verdict.DONE
    assert old.core.leader == new.name
    assert not new.state.membership.is_member(old.name)
    cluster.run(5)
    assert old.name not in new.state.progress
    assert not old.core.is_leader
    assert old.core.leader is None
    assert old.state.is_removed
    assert new.core.is_leader


def test_a_vote_that_was_asked_for_by_a_transfer_counts_once(leading: Any) -> None:
    """A removed predecessor is told of the election, and its vote is not counted."""
    one = leading()
    one.receive("n2", AppendRequest(2, 1, 1, (), 1))
    one.state.configuration._history[-1] = (0, one.membership.__class__(voters=("n1", "n3")))
    sent = one.receive("n2", TimeoutNow(2))
    assert {to for to, message in sent if isinstance(message, VoteRequest)} == {"n2", "n3"}
    one.receive("n2", VoteReply(3, 3, granted=True))
    assert one.core.role.value == "candidate"
    one.receive("n3", VoteReply(3, 3, granted=True))
    assert one.core.is_leader
    assert "n2" in one.state.departing
