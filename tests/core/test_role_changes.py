"""Every change of role or leader leaves a note that says what caused it, for the log."""

from typing import Any

from raftline.core.messages import AppendReply, AppendRequest, TimeoutNow, VoteReply, VoteRequest
from raftline.core.role_changes import Cause


def _taken(one: Any) -> list[tuple[str, str | None, Cause, str]]:
    """Return role, leader, cause and words of what changed since the last call."""
    return [(each.role, each.leader, each.why.cause, each.why.words) for each in one.core.take_role_changes()]


def test_a_silent_leader_is_named_with_the_time_since_it_was_heard(bench: Any) -> None:
    """An election says which leader was not heard for how long (A1)."""
    one = bench(terms=[1])
    one.receive("n2", AppendRequest(2, 1, 1, (), 0))
    heard_at = one.now
    one.time_out()
    silent_s = one.now - heard_at
    assert _taken(one) == [
        ("follower", "n2", Cause.HIGHER_TERM, "n2 leads the higher term 2"),
        ("candidate", None, Cause.ELECTION_TIMEOUT, f"leader n2 was not heard for {silent_s:.3f} s"),
    ]


def test_a_first_election_says_that_no_leader_was_heard(bench: Any) -> None:
    """A node that just started has nobody to name (A1)."""
    one = bench()
    one.time_out()
    assert _taken(one) == [("candidate", None, Cause.ELECTION_TIMEOUT, "no leader was heard since the start")]


def test_an_election_that_is_not_won_in_time_names_who_gave_and_who_refused(bench: Any) -> None:
    """The next attempt says what became of the one before (A16)."""
    one = bench(size=5)
    one.time_out()
    one.receive("n2", VoteReply(1, 1, granted=True))
    one.receive("n3", VoteReply(1, 1, granted=False))
    one.time_out()
    words = "no majority in time: votes of n1, n2, refused by n3"
    assert _taken(one)[-1] == ("candidate", None, Cause.ELECTION_TIMEOUT, words)


def test_a_winner_names_its_voters_and_those_of_the_pre_vote(bench: Any) -> None:
    """Each of the three steps to the leadership says what made it possible (A18, thesis 9.6)."""
    one = bench(pre_vote=True)
    one.lead()
    assert _taken(one) == [
        ("pre-candidate", None, Cause.ELECTION_TIMEOUT, "no leader was heard since the start"),
        ("candidate", None, Cause.VOTES, "pre-votes of n1, n2"),
        ("leader", "n1", Cause.VOTES, "votes of n1, n2"),
    ]


def test_a_leader_that_steps_down_names_who_told_of_the_higher_term(bench: Any) -> None:
    """A candidate, another leader and a mere answer are told apart (A8, A10)."""
    one = bench(terms=[1])
    for message, words in (
        (VoteRequest(5, 1, 1), "n3 asked for a vote in the higher term 5: it stands for election"),
        (
            VoteRequest(9, 1, 1, transfer=True),
            "n3 asked for a vote in the higher term 9: the old leader handed over to it",
        ),
        (AppendReply(12, 10, False, 0, 0), "n3 told of the higher term 12"),  # noqa: FBT003
    ):
        one.lead()
        one.core.take_role_changes()
        one.receive("n3", message)
        assert _taken(one) == [("follower", None, Cause.HIGHER_TERM, words)]


def test_a_leader_without_a_majority_says_when_it_heard_each_voter_last(bench: Any) -> None:
    """Check-quorum names the silent ones (thesis 6.2)."""
    one = bench(check_quorum=True)
    one.lead()
    won_at = one.now
    one.receive("n2", AppendReply(1, 1, True, 0, 0))  # noqa: FBT003
    one.core.take_role_changes()
    one.wait(5 * one.state.config.election_timeout_s[1])
    role, leader, cause, words = _taken(one)[0]
    assert (role, leader, cause) == ("follower", None, Cause.QUORUM_LOST)
    assert words.startswith(f"no majority was heard for {one.state.config.election_timeout_s[1]} s: n2 ")
    assert words.endswith(", n3 never")
    assert won_at < one.now


def test_a_hand_over_is_named_as_the_cause_of_an_election(bench: Any) -> None:
    """TimeoutNow is no silence of the leader (thesis 3.10)."""
    one = bench(terms=[1])
    one.receive("n2", AppendRequest(2, 1, 1, (), 0))
    one.core.take_role_changes()
    one.receive("n2", TimeoutNow(2))
    assert _taken(one) == [("candidate", None, Cause.TRANSFER, "n2 hands over the leadership")]


def test_a_candidate_that_hears_the_winner_says_so(bench: Any) -> None:
    """It gives up because of a leader of its own term (A20)."""
    one = bench()
    one.time_out()
    one.core.take_role_changes()
    one.receive("n3", AppendRequest(1, 0, 0, (), 0))
    assert _taken(one) == [("follower", "n3", Cause.LEADER_HEARD, "n3 leads term 1")]


def test_a_pre_candidate_that_votes_says_for_whom(bench: Any) -> None:
    """It gives up its own question in favour of somebody's candidacy (thesis 9.6)."""
    one = bench(pre_vote=True)
    one.time_out()
    one.receive("n2", VoteRequest(1, 0, 0))
    assert _taken(one)[1:] == [
        ("follower", None, Cause.HIGHER_TERM, "n2 asked for a vote in the higher term 1: it stands for election")
    ]
    same = bench(pre_vote=True, term=4)
    same.time_out()
    same.receive("n2", VoteRequest(4, 0, 0))
    assert _taken(same)[-1] == ("follower", None, Cause.VOTE_GIVEN, "n2 got this replica's vote in term 4")


def test_notes_that_nobody_takes_are_bounded(bench: Any) -> None:
    """A driver that does not log costs no memory."""
    one = bench()
    for _ in range(200):
        one.time_out()
    notes = one.core.take_role_changes()
    assert len(notes) == 64
    assert notes[-1].term == one.core.term
    assert one.core.take_role_changes() == []
