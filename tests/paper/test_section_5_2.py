"""§5.2 Leader election."""

from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.core.messages import AppendRequest, VoteReply, VoteRequest
from raftline.core.state import Role


def test_a_follower_that_hears_nothing_starts_an_election_in_one_step(server: Any) -> None:
    """Timeout: next term, own vote, a new timer, requests to all others, and the vote on disk before them (A1, C3)."""
    one = server(size=5)
    before = one.state.election_deadline
    sent = one.time_out()
    assert one.state.role is Role.CANDIDATE
    assert one.state.term == 1
    assert one.state.vote == "n1"
    assert one.state.election_deadline > before
    assert sorted(to for to, _ in sent) == ["n2", "n3", "n4", "n5"]
    assert all(type(message) is VoteRequest and message.term == 1 for _, message in sent)
    ready = one.readies[-1]
    assert ready.hard_state is not None
    assert not ready.messages, "vote requests wait for the disk"


def test_vote_requests_leave_only_when_term_and_vote_are_on_disk(server: Any) -> None:
    """A candidate that forgot its term would ask twice in it (C2)."""
    one = server()
    one.holds_disk = True
    assert one.time_out() == []
    assert len(one.readies[-1].messages_after_persist) == 2


@pytest.mark.parametrize(("size", "needed"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (7, 3)])
def test_a_majority_of_the_whole_cluster_wins(server: Any, size: int, needed: int) -> None:
    """Votes are counted over everybody configured, the candidate included, not over who answered (A16, A27)."""
    one = server(size=size)
    one.time_out()
    for number in range(2, 2 + needed):
        assert one.state.role is Role.CANDIDATE
        one.receive(f"n{number}", VoteReply(1, 1, granted=True))
    assert one.state.role is Role.LEADER


def test_a_vote_counts_once_and_refusals_never(server: Any) -> None:
    """A repeated grant is one vote; a refusal, or a stranger's vote, is none (A16, A27)."""
    one = server(size=5)
    one.time_out()
    for _ in range(3):
        one.receive("n2", VoteReply(1, 1, granted=True))
    one.receive("n3", VoteReply(1, 1, granted=False))
    one.receive("stranger", VoteReply(1, 1, granted=True))
    assert one.state.role is Role.CANDIDATE


def test_a_vote_of_an_earlier_election_does_not_count(server: Any) -> None:
    """A late grant answers another term's request (A17, E1)."""
    one = server()
    one.time_out()
    one.time_out()
    assert one.state.term == 2
    one.receive("n2", VoteReply(1, 1, granted=True))
    assert one.state.role is Role.CANDIDATE


def test_each_server_votes_for_at_most_one_candidate_in_a_term(server: Any) -> None:
    """First come, first served; the same candidate may ask again (A11, A15)."""
    one = server()
    assert one.answer("n2", VoteRequest(1, 0, 0)).granted
    assert not one.answer("n3", VoteRequest(1, 0, 0)).granted
    assert one.answer("n2", VoteRequest(1, 0, 0)).granted
    assert one.readies[0].hard_state.vote == "n2"


def test_granting_restarts_the_timer_refusing_does_not(server: Any) -> None:
    """The candidate gets a full timeout to win; a hopeless one does not hold anybody up (A2, A4, A10)."""
    one = server(terms=[3])
    one.now = 0.1
    deadline = one.state.election_deadline
    one.receive("n2", VoteRequest(7, 0, 0))
    assert one.state.term == 7
    assert one.state.election_deadline == deadline, "adopting a term alone restarts nothing"
    one.receive("n3", VoteRequest(7, 1, 3))
    assert one.state.election_deadline > deadline


def test_the_winner_announces_itself_at_once(server: Any) -> None:
    """AppendEntries leave in the very step that wins (A19)."""
    one = server()
    sent = one.lead()
    assert sorted(to for to, _ in sent) == ["n2", "n3"]
    assert all(type(message) is AppendRequest for _, message in sent)


def test_becoming_leader_happens_once_per_term(server: Any) -> None:
    """Further grants change nothing (A18)."""
    one = server(size=5)
    one.lead()
    one.propose(b"x")
    progress = dict(one.state.progress)
    one.receive("n5", VoteReply(1, 1, granted=True))
    assert dict(one.state.progress) == progress
    assert one.state.term == 1


def test_a_candidate_follows_a_leader_of_its_own_term(server: Any) -> None:
    """The loser of an election recognises the winner (A20)."""
    one = server()
    one.time_out()
    reply = one.answer("n2", AppendRequest(1, 0, 0, (), 0))
    assert reply.success
    assert one.state.role is Role.FOLLOWER
    assert one.state.leader == "n2"
    assert one.state.vote == "n1", "the vote of this term stays (A12)"


def test_a_split_vote_ends_in_another_election(server: Any) -> None:
    """A candidate whose timer runs out tries again in a new term (A5)."""
    one = server()
    one.time_out()
    one.receive("n2", VoteReply(1, 1, granted=False))
    sent = one.time_out()
    assert one.state.term == 2
    assert len(sent) == 2


def test_timeouts_are_drawn_anew_from_the_range(server: Any) -> None:
    """Each restart of the timer draws from [low, high) (A6, A7)."""
    low, high = CoreConfig().election_timeout_s
    one = server()
    seen = set()
    for _ in range(50):
        started = one.now
        one.receive("n2", AppendRequest(1, 0, 0, (), 0))
        seen.add(one.state.election_deadline - started)
        one.now += 0.01
    assert all(low <= timeout < high for timeout in seen)
    assert len(seen) > 40


def test_an_early_timer_starts_nothing(server: Any) -> None:
    """A timer that fires is checked against the deadline as it is now (A24)."""
    one = server()
    one.now = 0.3
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    one.now = one.state.election_deadline - 0.001
    one.wait(0.0)
    assert one.state.role == Role.FOLLOWER
    assert one.state.leader == "n2"
    one.wait(0.002)
    assert one.raft.role.value == "candidate"
    assert one.state.leader is None, "the leader is given up with the timeout (A28)"


def test_heartbeats_keep_followers_quiet_and_leaders_leading(server: Any) -> None:
    """An idle leader says so every interval, to everybody, and never runs against itself (A22, A23, J1)."""
    one = server()
    one.lead()
    interval = CoreConfig().heartbeat_interval_s
    assert one.wait(interval / 2) == []
    sent = one.wait(interval)
    assert sorted(to for to, _ in sent) == ["n2", "n3"]
    assert all(message.entries == () for _, message in sent)
    one.wait(10.0)
    assert one.state.role is Role.LEADER
