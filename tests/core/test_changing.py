"""How a leader carries changes of the membership through, and what it refuses."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from raftline.core.changes import AddLearner, Move, Promote, Remove, Replace, SetPriority, plan_change
from raftline.core.changing import describe_progress, why_not_ready
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry, SnapshotMeta
from raftline.core.events import ChangeRequested, TransferRequested
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    SnapshotReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.core.ready import Answer, Verdict
from raftline.sim.core_cluster import CoreCluster

PLAIN = {"pre_vote": False, "check_quorum": False, "guard_lost_disk": False}


@pytest.fixture
def leading(bench: Any) -> Callable[..., Any]:
    """Make a leader of term 1 whose no-op is committed."""

    def make(**settings: Any) -> Any:
        one = bench(noop=True, **settings)
        one.lead()
        if one.membership.voters[1:]:
            _accept(one, "n2")
            _accept(one, "n3")
        assert one.core.has_settled
        one.taken()
        return one

    return make


def _accept(one: Any, sender: str, match: int | None = None, *, trusted: bool = True) -> list[Any]:
    """Let `sender` acknowledge everything, or up to `match`; return what was sent thereupon."""
    match = one.state.log.last_index if match is None else match
    term = one.core.term
    reply = AppendReply(term, term, True, match, match, unestablished=not trusted)  # noqa: FBT003
    return one.receive(sender, reply)  # type: ignore[no-any-return]


_NUMBERS = iter(range(1, 1_000_000))


def _ask(one: Any, change: Any) -> int:
    number = next(_NUMBERS)
    one.node.step(ChangeRequested(number, change))
    return number


def _refusal(one: Any, change: Any) -> str:
    """Ask for a change that has to be refused at once, leaving everything as it is; return the reason."""
    before = (one.state.membership, one.state.log.last_index)
    answer = one.node.answers[_ask(one, change)]
    assert answer.verdict is Verdict.REFUSED
    assert (one.state.membership, one.state.log.last_index) == before
    return answer.reason  # type: ignore[no-any-return]


# What is refused.


def test_only_the_leader_changes_the_membership(bench: Any) -> None:
    """A follower says who should be asked by saying that it is not the one."""
    one = bench()
    number = _ask(one, Remove("n3"))
    assert one.node.answers[number].verdict is Verdict.NOT_LEADER
    assert one.state.log.last_index == 0


def test_no_change_before_this_term_has_committed_something(bench: Any) -> None:
    """Else a majority of an older membership might not know of this one (thesis 4.1)."""
    one = bench(noop=True)
    one.lead()
    assert "committed no entry of its term yet" in _refusal(one, Remove("n3"))
    _accept(one, "n2")
    _ask(one, Remove("n3"))
    assert one.state.membership.is_joint


def test_one_change_at_a_time(leading: Any) -> None:
    """The second is refused and the first is named, until it is committed (§6)."""
    one = leading()
    _ask(one, AddLearner("n4", "h:4", promote=False))
    assert _refusal(one, Remove("n3")) == "a change is in progress: adding n4 as a learner; one at a time"
    _accept(one, "n2")
    _ask(one, Remove("n3"))
    assert _refusal(one, Move("n2", "h:9")) == "a change is in progress: removing n3; one at a time"


def test_the_change_of_an_earlier_leader_is_named_too(bench: Any) -> None:
    """By what the membership says of it."""
    one = bench(noop=True, terms=(1,))
    joint = plan_change(one.membership, Remove("n3"))
    one.lead()
    one.receive("n2", AppendRequest(7, 0, 0, (Entry(1, 7, encode_membership(joint), KIND_MEMBERSHIP),), 0))
    assert describe_progress(one.state) == "the voters n1, n2, n3 give way to n1, n2"
    learner = plan_change(one.membership, AddLearner("n4", "h:4"))
    one.receive("n3", AppendRequest(8, 0, 0, (Entry(1, 8, encode_membership(learner), KIND_MEMBERSHIP),), 0))
    assert describe_progress(one.state) == "the membership at index 1 is not committed yet"


def test_no_change_while_the_leadership_is_on_its_way(leading: Any) -> None:
    """The target would lag again."""
    one = leading()
    _accept(one, "n3", 0)
    one.node.step(TransferRequested(77, "n3"))
    assert "on its way to n3" in _refusal(one, Remove("n2"))


def test_a_change_that_makes_no_sense_changes_nothing(leading: Any) -> None:
    """The reason is `plan_change`'s."""
    assert _refusal(leading(), Remove("n9")) == "n9 is no member; there are n1, n2, n3"


def test_a_learner_that_lags_is_not_promoted(leading: Any) -> None:
    """Silent, behind, being sent a snapshot, or with a disk not trusted yet: each in words (thesis 4.2.1, C14)."""
    one = leading()
    _ask(one, AddLearner("n4", "h:4", promote=False))
    _accept(one, "n2")
    assert _refusal(one, Promote("n4")) == "n4 does not answer"
    one.node.propose(b"x")
    _accept(one, "n4", 1)
    one.wait(0.4)
    _accept(one, "n2")
    _accept(one, "n4", 1)
    assert _refusal(one, Promote("n4")) == "n4 is not caught up: it holds 1 of 3 entries"
    for _ in range(2):
        _accept(one, "n4", trusted=False)
    assert _refusal(one, Promote("n4")) == "n4 is not caught up: it holds 3 of 3 entries"
    _accept(one, "n4")
    one.state.progress["n4"].become_snapshot(1)
    assert _refusal(one, Promote("n4")) == "n4 is not caught up: it is being sent a snapshot"
    one.state.progress["n4"].on_accepted(3, 0)
    one.wait(0.9)
    assert _refusal(one, Promote("n4")) == "n4 does not answer"
    _accept(one, "n3")
    _accept(one, "n4")
    _accept(one, "n4")
    _ask(one, Promote("n4"))
    assert one.state.membership.voters == ("n1", "n2", "n3", "n4")
    assert why_not_ready(one.state, "n9") == "n9 is no learner that this leader knows"


def test_the_new_voters_have_to_be_able_to_elect(leading: Any) -> None:
    """A disk that may have been lost has no vote: left with one other voter, nobody could win (C14).

    Found by a random walk: n1 held its own removal, n3 was behind it, n2 was not to vote, and nobody led again.
    """
    one = leading()
    one.state.progress["n2"].on_trust(trusted=False)
    reason = _refusal(one, Remove("n1"))
    assert reason.startswith("of the voters n2, n3 too few could elect a leader: n2 did not answer yet")
    assert reason.endswith("start it, if it is down, or remove it first"), "new leaders have not heard of who is down"
    assert "n2" in _refusal(one, Remove("n3"))
    _ask(one, Remove("n2"))
    assert one.state.membership.voters == ("n1", "n3")


def test_the_new_voters_have_to_be_heard(leading: Any) -> None:
    """Whoever is down cannot help to commit the change: without it nobody could decide anything, nor take it back."""
    one = leading()
    one.wait(0.9)
    _accept(one, "n3")
    reason = _refusal(one, Remove("n3"))
    assert reason.startswith("of the voters n1, n2 too few could elect a leader: n2 does not answer")
    assert "n2" in _refusal(one, Replace.by({"n1": "n1:1", "n2": "n2:1"}))
    assert "n2" in _refusal(one, Remove("n1")), "n3 would be alone, too"
    _ask(one, Remove("n2"))
    assert one.state.membership.voters == ("n1", "n3"), "who is down can be removed"


def test_a_replacement_waits_for_voters_that_are_down(leading: Any) -> None:
    """Newcomers that have caught up are not enough if one of the old, which is to stay, does not answer."""
    one = leading()
    _ask(one, Replace.by({"n2": "n2:1", "n4": "n4:1"}))
    for sender in ("n2", "n3"):
        _accept(one, sender)
    one.wait(0.9)
    for sender in ("n3", "n4", "n4"):
        _accept(one, sender)
    assert one.state.membership.wanted == ("n2", "n4"), "n2 does not answer"
    _accept(one, "n2")
    assert one.state.membership.voters == ("n2", "n4")
    assert one.state.membership.is_joint


def test_voters_get_the_time_to_answer_a_new_leader(bench: Any) -> None:
    """Until each has answered, or an election timeout is over, a change need not be refused: it can wait (C14)."""
    one = bench(noop=True)
    one.lead()
    _accept(one, "n2")
    assert one.core.has_settled
    assert one.core.awaits_voters, "n3 has not answered"
    _accept(one, "n3")
    assert not one.core.awaits_voters
    other = bench(noop=True)
    other.lead()
    _accept(other, "n2")
    other.state.now += 2 * other.state.config.election_timeout_s[1]
    assert not other.core.awaits_voters, "n3 had its time"


# How a change goes.


def test_a_membership_takes_effect_when_it_is_appended(leading: Any) -> None:
    """Newcomers are sent to at once, and both halves count (§6)."""
    one = leading()
    for name in ("n4", "n5"):
        _ask(one, AddLearner(name, f"{name}:1", promote=False))
        _accept(one, "n2")
        assert name in one.state.progress
    for _ in range(2):
        _accept(one, "n4")
        _accept(one, "n5")
    _ask(one, Replace.by({"n1": "n1:1", "n4": "n4:1", "n5": "n5:1"}))
    _accept(one, "n2")
    assert one.state.membership.voters == ("n1", "n4", "n5")
    joint = one.state.log.last_index
    _accept(one, "n2")
    _accept(one, "n3")
    assert one.state.commit == joint - 1, "the incoming half has one of three"
    _accept(one, "n5")
    assert one.state.commit == joint


def test_the_leader_goes_on_to_the_final_membership_by_itself(leading: Any) -> None:
    """As soon as the joint one is committed; who asked is answered once the final one is (§6)."""
    one = leading()
    number = _ask(one, Remove("n3"))
    joint = one.state.log.last_index
    assert one.state.membership.outgoing == ("n1", "n2", "n3")
    sent = _accept(one, "n2")
    assert one.state.commit == joint
    assert (one.state.membership.voters, one.state.membership.outgoing) == (("n1", "n2"), ())
    assert number not in one.node.answers
    assert {to for to, message in sent if isinstance(message, AppendRequest) and message.entries} == {"n2", "n3"}
    _accept(one, "n3")
    assert one.state.commit == joint, "the outgoing half does not count any more"
    _accept(one, "n2")
    assert one.node.answers[number] == Answer(number, Verdict.DONE)
    assert one.state.log.last_index == joint + 1, "nothing more is to be done"


def test_a_later_leader_finishes_what_an_earlier_one_began(bench: Any) -> None:
    """It finds the joint membership in its log and appends the final one once that is committed (§6)."""
    one = bench(noop=True)
    joint = plan_change(one.membership, Remove("n3"))
    one.receive("n3", AppendRequest(1, 0, 0, (Entry(1, 1, encode_membership(joint), KIND_MEMBERSHIP),), 0))
    one.lead()
    assert one.state.membership.is_joint
    _accept(one, "n2")
    assert one.state.membership.voters == ("n1", "n2")
    assert not one.state.membership.is_joint
    assert one.state.log.last_index == 3


def test_a_change_goes_with_the_entry_that_brought_it(leading: Any, entries: Any) -> None:
    """A deposed leader's change is taken back with its entry; whoever asked learns that it does not know (§6, B7)."""
    one = leading()
    number = _ask(one, Remove("n3"))
    one.receive("n2", AppendRequest(2, 1, 1, entries(2, 2), 1))
    assert one.state.membership == one.membership
    answer = one.node.answers[number]
    assert answer.verdict is Verdict.UNKNOWN
    assert "removing n3" in answer.reason
    sent = one.time_out()
    assert {to for to, message in sent if isinstance(message, VoteRequest)} == {"n2", "n3"}


def test_an_election_under_a_joint_membership_needs_both_halves(bench: Any) -> None:
    """Votes are counted in each (§6)."""
    one = bench()
    joint = Membership(voters=("n1", "n4", "n5"), outgoing=("n1", "n2", "n3"))
    one.receive("n2", AppendRequest(1, 0, 0, (Entry(1, 1, encode_membership(joint), KIND_MEMBERSHIP),), 0))
    one.time_out()
    for name in ("n2", "n3"):
        one.receive(name, VoteReply(2, 2, granted=True))
    assert one.core.role.value == "candidate"
    one.receive("n5", VoteReply(2, 2, granted=True))
    assert one.core.role.value == "leader"


def test_a_learner_does_not_count(leading: Any) -> None:
    """Neither for commits (§6, thesis 4.2.1) nor for the leader's own quorum."""
    one = leading()
    _ask(one, AddLearner("n4", "h:4", promote=False))
    index = one.state.log.last_index
    _accept(one, "n4")
    assert one.state.commit == index - 1
    _accept(one, "n3")
    assert one.state.commit == index


def test_a_learner_is_promoted_once_it_has_caught_up(leading: Any) -> None:
    """By itself, in a change of its own; until then it only learns (thesis 4.2.1)."""
    one = leading()
    number = _ask(one, AddLearner("n4", "h:4"))
    _accept(one, "n2")
    assert one.node.answers[number].verdict is Verdict.DONE
    assert one.state.membership.learners == ("n4",)
    _accept(one, "n4", trusted=False)
    assert one.state.membership.learners == ("n4",), "its disk is not trusted with a vote yet (C14)"
    _accept(one, "n4")
    assert one.state.membership.voters == ("n1", "n2", "n3", "n4")
    assert one.state.membership.is_joint
    _accept(one, "n2")
    _accept(one, "n4")
    _accept(one, "n4")
    assert one.state.membership.outgoing == ()
    assert one.state.membership.promoting == ()


def test_learners_that_are_not_to_be_promoted_stay_what_they_are(leading: Any) -> None:
    """However far they are."""
    one = leading()
    _ask(one, AddLearner("n4", "h:4", promote=False))
    _accept(one, "n2")
    for _ in range(5):
        _accept(one, "n4")
    assert one.state.membership.learners == ("n4",)


def test_a_replacement_waits_for_all_its_newcomers(leading: Any) -> None:
    """One that is ready does not vote before the other; then all change over in one step."""
    one = leading()
    number = _ask(one, Replace.by({"n1": "n1:1", "n4": "n4:1", "n5": "n5:1"}))
    _accept(one, "n2")
    _accept(one, "n4")
    _accept(one, "n4")
    assert one.state.membership.voters == ("n1", "n2", "n3")
    reason = _refusal(one, SetPriority("n2", 1))
    assert "replacing the voters by n1, n4, n5" in reason
    _accept(one, "n5")
    assert one.state.membership.voters == ("n1", "n4", "n5")
    assert one.state.membership.outgoing == ("n1", "n2", "n3")
    for name in ("n2", "n4", "n4"):
        assert number not in one.node.answers
        _accept(one, name)
    assert one.node.answers[number].verdict is Verdict.DONE
    assert one.state.membership.everyone() == ("n1", "n4", "n5")


def test_a_replacement_can_be_replaced(leading: Any) -> None:
    """So that newcomers that never come hold nothing up; who asked first is told."""
    one = leading()
    first = _ask(one, Replace.by({"n9": "h:9"}))
    _accept(one, "n2")
    assert describe_progress(one.state) == "replacing the voters by n9"
    second = _ask(one, Replace.by({"n1": "n1:1", "n2": "n2:1", "n3": "n3:1"}))
    assert one.node.answers[first].verdict is Verdict.REFUSED
    assert one.node.answers[first].reason == "given up in favour of replacing the voters by n1, n2, n3"
    _accept(one, "n2")
    assert one.node.answers[second].verdict is Verdict.DONE
    assert one.state.membership.wanted == ()


# Who leaves.


def test_whoever_was_removed_is_told_and_then_let_go(leading: Any) -> None:
    """It gets the final membership and hears that it is committed, for an election timeout; then nothing more."""
    one = leading()
    _ask(one, Remove("n3"))
    _accept(one, "n2")
    _accept(one, "n2")
    assert one.state.membership.voters == ("n1", "n2")
    final, told = one.state.log.last_index, []
    for _ in range(30):
        told += [message for to, message in one.wait(0.05) if to == "n3" and isinstance(message, AppendRequest)]
        _accept(one, "n2")
    assert any(message.commit >= final for message in told)
    assert "n3" not in one.state.progress
    assert one.receive("n3", AppendReply(1, 1, True, final, final)) == []  # noqa: FBT003


def test_whoever_comes_back_starts_from_nothing(leading: Any) -> None:
    """It may bring another disk: what it acknowledged before does not count."""
    one = leading()
    _ask(one, Remove("n3"))
    for _ in range(2):
        _accept(one, "n2")
        _accept(one, "n3")
    assert one.state.progress["n3"].match_index > 0
    _ask(one, AddLearner("n3", "h:3"))
    assert one.state.progress["n3"].match_index == 0
    assert "n3" not in one.state.departing


@pytest.mark.parametrize("kind", [AppendReply, SnapshotReply])
def test_what_it_answered_before_it_left_does_not_count_later(leading: Any, kind: Any) -> None:
    """An answer that was long under way is one of a replica that is gone: the new one holds nothing of it (E2)."""

    def answer(stamp: int) -> None:
        term = one.core.term
        replies = {
            AppendReply: AppendReply(term, term, True, 1, 1, echo=stamp),  # noqa: FBT003
            SnapshotReply: SnapshotReply(term, term, 1, 0, installed=True, echo=stamp),
        }
        one.receive("n3", replies[kind])

    one = leading()
    before = one.state.stamps.use(one.now)
    _ask(one, Remove("n3"))
    for _ in range(2):
        _accept(one, "n2")
        _accept(one, "n3")
    one.taken()
    _ask(one, AddLearner("n3", "h:3"))
    since = [message.stamp for to, message in one.taken() if to == "n3"][-1]
    answer(before)
    assert one.state.progress["n3"].match_index == 0
    assert not one.state.progress["n3"].was_heard
    answer(since)
    assert one.state.progress["n3"].match_index == 1


def test_a_leader_that_removes_itself_does_not_count_itself(leading: Any) -> None:
    """It leads on until the final membership is committed by the others alone (thesis 4.2.2)."""
    one = leading()
    number = _ask(one, Remove("n1"))
    _accept(one, "n2")
    _accept(one, "n3")
    assert one.state.membership.voters == ("n2", "n3")
    assert not one.state.membership.is_joint
    final = one.state.log.last_index
    _accept(one, "n2")
    assert one.state.commit == final - 1, "n1 and n2 are no majority of n2 and n3"
    assert one.core.is_leader
    sent = _accept(one, "n3")
    assert one.state.commit == final
    assert one.node.answers[number].verdict is Verdict.DONE
    assert [(to, message) for to, message in sent if isinstance(message, TimeoutNow)] == [("n3", TimeoutNow(1))]
    assert one.core.is_leader


def test_a_removed_leader_steps_down_if_nobody_takes_over(leading: Any) -> None:
    """After an election timeout, and it does not run again (thesis 4.2.2)."""
    one = leading(check_quorum=True)
    _ask(one, Remove("n1"))
    for name in ("n2", "n3", "n2", "n3"):
        _accept(one, name)
    assert one.state.transfer is not None
    for _ in range(10):
        one.wait(0.1)
        if one.core.is_leader:
            _accept(one, "n2")
            _accept(one, "n3")
    assert one.core.role.value == "follower"
    assert one.core.next_deadline == float("inf")
    assert one.core.term == 1


def test_a_removed_leader_steps_down_at_once_if_nobody_could_take_over(leading: Any) -> None:
    """Its one successor lags: an election will find the next leader."""
    one = leading(size=2)
    _accept(one, "n2")
    _ask(one, Remove("n1"))
    _accept(one, "n2")
    one.state.progress["n2"].on_trust(trusted=False)
    reply = AppendReply(1, 1, True, 0, one.state.log.last_index, unestablished=True)  # noqa: FBT003
    one.receive("n2", reply)
    assert one.core.role.value == "follower"


def test_a_removed_leader_looks_for_no_preferred_successor(leading: Any) -> None:
    """It has stepped down by then, and knows its followers no longer."""
    one = leading(size=2, priority_handover_s=1.0)
    _accept(one, "n2")
    _ask(one, SetPriority("n2", 1))
    _accept(one, "n2")
    _ask(one, Remove("n1"))
    _accept(one, "n2")
    one.state.progress["n2"].on_trust(trusted=False)
    one.cluster.now += 2.0
    one.receive("n2", AppendReply(1, 1, True, 0, one.state.log.last_index, unestablished=True))  # noqa: FBT003
    assert one.core.role.value == "follower"


def test_who_is_removed_runs_until_it_knows_that_this_is_committed(bench: Any) -> None:
    """An uncommitted removal must not silence the one with the longest log (§6).

    n1 led {n1, n2}, appended its own removal, and lost the leadership before n2 had the entry: n2 cannot win without
    n1's vote, and n1's log is longer. So n1 runs; it does not count its own vote, and wins by n2's.
    """
    one = bench(size=2)
    joint = plan_change(one.membership, Remove("n1"))
    final = msgspec.structs.replace(joint, outgoing=(), addresses=(("n2", "n2:1"),))
    log = [
        Entry(1, 1, encode_membership(joint), KIND_MEMBERSHIP),
        Entry(2, 1, encode_membership(final), KIND_MEMBERSHIP),
    ]
    one.receive("n2", AppendRequest(1, 0, 0, tuple(log), 1))
    assert not one.state.membership.is_voter("n1")
    one.time_out()
    assert one.core.role.value == "candidate", "its own vote does not count"
    one.receive("n2", VoteReply(2, 2, granted=True))
    assert one.core.is_leader
    one.receive("n2", AppendRequest(3, 2, 1, (), 2))
    one.wait(5)
    assert one.core.role.value == "follower", "now it knows"
    assert one.core.next_deadline == float("inf")


def test_the_group_of_two_survives_a_leader_that_fell_while_leaving() -> None:
    """The same, as a whole cluster: a leader comes, and the change is finished."""
    cluster = CoreCluster(2, seed=3)
    cluster.start()
    assert cluster.run(10, lambda: bool(cluster.leaders()) and cluster.leaders()[0].core.has_settled)
    old = cluster.leaders()[0]
    other = next(node for node in cluster.up() if node is not old)
    old.step(ChangeRequested(1, Remove(old.name)))
    while old.state.membership.is_joint:
        flight = cluster.pool[0]
        cluster.deliver(flight)
    assert old.state.membership.voters == (other.name,)
    old.crash()
    cluster.pool.clear()
    old.start()
    assert cluster.run(20, lambda: other.core.is_leader)
    assert cluster.run(20, lambda: other.state.membership.voters == (other.name,) and other.core.has_settled)
    cluster.run(2)
    assert old.core.role.value == "follower"


# What must not happen.


@pytest.mark.parametrize("data", [b"", b"\xc1", encode_membership(Membership())])
def test_a_membership_that_cannot_be_read_is_refused_with_its_message(bench: Any, data: bytes) -> None:
    """Nothing of the request is taken over, and nothing is raised."""
    one = bench()
    request = AppendRequest(1, 0, 0, (Entry(1, 1, data, KIND_MEMBERSHIP),), 0)
    assert one.core.receive("n2", request) == "malformed"
    assert one.state.log.last_index == 0
    assert one.state.membership == one.membership


def test_a_snapshot_with_an_unsound_membership_is_refused(bench: Any) -> None:
    """As a whole, before anything of it is stored."""
    one = bench()
    wrong = Membership(voters=("n2", "n1"))
    assert one.core.receive("n2", SnapshotRequest(1, 5, 1, wrong, 0, b"", done=True)) == "malformed"
    assert SnapshotMeta(5, 1, wrong).membership.problem() is not None


def test_whoever_waits_to_be_added_elects_nobody_and_learns_who_there_is() -> None:
    """It has no members, no timer and no vote until a leader sends it the log (docs/membership.md)."""
    cluster = CoreCluster(1, spares=1, seed=4)
    cluster.start()
    one, two = cluster.nodes["n1"], cluster.nodes["n2"]
    assert two.core.next_deadline == float("inf"), "it has no timer"
    assert not two.state.established
    assert cluster.run(5, lambda: one.core.has_settled)
    one.step(ChangeRequested(1, AddLearner("n2", "n2:1", promote=False)))
    assert cluster.run(5, lambda: two.state.membership.learners == ("n2",))
    assert cluster.run(5, lambda: two.state.established), "it holds what its leader committed in its own term (C14)"
    one.crash()
    cluster.run(5)
    assert (two.core.role.value, two.core.term, two.core.leader) == ("follower", 1, None), (
        "it waits for the next leader"
    )
    assert two.core.next_deadline < float("inf"), "and asks meanwhile whether it is a member still"
