"""The Rules for Servers: commit, elect, confirm, step down."""

from typing import Any

import pytest

from raftline.core.events import TimerDue
from raftline.core.messages import AppendReply, AppendRequest, VoteReply


def _ok(one: Any, name: str, match: int) -> Any:
    term = one.core.term
    return one.receive(name, AppendReply(term, term, True, match, match))  # noqa: FBT003


@pytest.mark.parametrize("size", [3, 5, 7])
def test_committed_is_what_a_majority_stores(bench: Any, size: int) -> None:
    """The largest such index, the leader counted (B11, B13, A16)."""
    one = bench(size=size)
    one.lead()
    one.node.propose(b"a", b"b", b"c")
    others = [f"n{number}" for number in range(2, size + 1)]
    for step, name in enumerate(others[: size // 2], 1):
        assert one.state.commit == 0
        _ok(one, name, 3 if step % 2 else 2)
    assert one.state.commit == (3 if size == 3 else 2)


def test_older_terms_are_not_committed_by_counting(bench: Any) -> None:
    """Only with an entry of the leader's own term above them (§5.4.2, B11, B12)."""
    one = bench(terms=[1, 2], term=3)
    one.lead()
    _ok(one, "n2", 2)
    _ok(one, "n3", 2)
    assert one.state.commit == 0
    one.node.propose(b"x")
    _ok(one, "n2", 3)
    assert one.state.commit == 3


def test_a_commit_is_noticed_with_the_answer_that_completes_it(bench: Any) -> None:
    """Not with the next message that is sent (B26)."""
    one = bench()
    one.lead()
    one.node.propose(b"x")
    _ok(one, "n3", 1)
    assert one.state.commit == 1
    assert one.node.applied == [(1, b"x")]


def test_a_timer_that_is_early_or_late_is_checked_again(bench: Any) -> None:
    """It fires for a deadline that has moved (A24, A26)."""
    one = bench()
    one.cluster.now = one.state.election_deadline - 0.001
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    one.cluster.now += 0.001
    assert one.step(TimerDue()) == []
    assert one.core.leader == "n2"


def test_a_leader_keeps_leading_while_a_majority_answers(bench: Any) -> None:
    """Not everybody has to; one that falls silent is no reason (thesis 6.2)."""
    one = bench(size=5, check_quorum=True)
    one.lead()
    for _ in range(20):
        one.wait(0.3)
        _ok(one, "n2", 0)
        _ok(one, "n3", 0)
    assert one.core.is_leader
    one.wait(0.3)
    _ok(one, "n2", 0)
    one.wait(0.6)
    assert not one.core.is_leader
    assert one.core.term == 1, "it steps down within its term"


def test_without_check_quorum_it_leads_on(bench: Any) -> None:
    """As in the paper (B28)."""
    one = bench()
    one.lead()
    one.node.propose(b"x")
    one.wait(10.0)
    assert one.core.is_leader
    assert one.state.commit == 0


def test_a_pre_candidate_that_wins_runs_in_the_same_step(bench: Any) -> None:
    """With the second answer the real requests leave (thesis 9.6)."""
    one = bench(size=5, pre_vote=True)
    one.time_out()
    one.receive("n2", VoteReply(0, 1, granted=True, pre_vote=True))
    one.receive("n3", VoteReply(0, 1, granted=False, pre_vote=True))
    assert one.core.role.value == "pre-candidate"
    sent = one.receive("n4", VoteReply(0, 1, granted=True, pre_vote=True))
    assert one.core.role.value == "candidate"
    assert [message.pre_vote for _, message in sent] == [False] * 4


def test_a_disk_that_is_not_trusted_asks_but_does_not_run(bench: Any) -> None:
    """Even with everybody's yes, once it holds something: what it acknowledged before may be missing (C14)."""
    one = bench(terms=[1], established=False, pre_vote=True, guard_lost_disk=True)
    one.time_out()
    for name in ("n2", "n3"):
        one.receive(name, VoteReply(1, 2, granted=True, pre_vote=True))
    assert one.core.role.value == "pre-candidate"
    assert one.core.term == 1
