"""§5.4 Safety: the election restriction, and what may be committed."""

from typing import Any

import pytest

from raftline.core.entries import Entry
from raftline.core.messages import AppendReply, AppendRequest, VoteRequest
from raftline.errors import SafetyViolation


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [
        (3, 2, True),
        (4, 2, True),
        (2, 2, False),
        (9, 1, False),
        (1, 3, True),
        (0, 0, False),
    ],
    ids=["equal", "longer", "shorter", "longer of an older term", "shorter of a newer term", "empty"],
)
def test_a_vote_goes_only_to_logs_that_are_at_least_as_up_to_date(
    server: Any,
    last_index: int,
    last_term: int,
    granted: bool,  # noqa: FBT001
) -> None:
    """The later last term wins, then the longer log; equal is enough (A13, L8, L9, L37)."""
    one = server(terms=[1, 1, 2], term=4)
    assert one.answer("n2", VoteRequest(5, last_index, last_term)).granted is granted


def test_an_entry_of_an_older_term_is_not_committed_by_counting(server: Any) -> None:
    """Figure 8: a majority stores it, and it can still be replaced (§5.4.2, B11, B18, L17)."""
    one = server(size=5, terms=[1, 2], term=2)
    one.lead()
    term = one.state.term
    for name in ("n2", "n3"):
        one.receive(name, AppendReply(term, term, True, 0, 2))  # noqa: FBT003
    assert one.state.commit == 0
    one.propose(b"mine")
    for name in ("n2", "n3"):
        one.receive(name, AppendReply(term, term, True, 2, 3))  # noqa: FBT003
    assert one.state.commit == 3, "with an entry of its own term everything before it is committed too (B12)"


def test_the_leader_counts_itself_only_when_the_entry_is_on_its_disk(server: Any) -> None:
    """One follower of three and an unwritten own log are no majority (thesis 10.2.1, C6)."""
    one = server()
    one.lead()
    one.receive("n2", AppendReply(1, 1, True, 0, 0))  # noqa: FBT003
    one.holds_disk = True
    one.propose(b"x")
    one.receive("n2", AppendReply(1, 1, True, 0, 1))  # noqa: FBT003
    assert one.state.commit == 0
    one.receive("n3", AppendReply(1, 1, True, 0, 1))  # noqa: FBT003
    assert one.state.commit == 1, "two followers are one without it"


def test_a_majority_commits_and_the_slowest_is_not_waited_for(server: Any) -> None:
    """One of two followers is enough among three, two of four among five (B13, L39)."""
    one = server(size=5)
    one.lead()
    one.propose(b"x")
    one.receive("n2", AppendReply(1, 1, True, 0, 1))  # noqa: FBT003
    assert one.state.commit == 0
    one.receive("n5", AppendReply(1, 1, True, 0, 1))  # noqa: FBT003
    assert one.state.commit == 1
    assert [entry.data for entry in one.applied] == [b"x"], "committed in the step of the acknowledgement (B26)"


def test_a_leader_never_cuts_its_own_log(server: Any) -> None:
    """Leader Append-Only: refusals move probes, never entries (B16)."""
    one = server(terms=[1, 2, 3], term=3)
    one.lead()
    term = one.state.term
    one.receive("n2", AppendReply(term, term, False, 3, 0, conflict_index=1, conflict_term=0))  # noqa: FBT003
    assert one.log_terms() == [1, 2, 3]


def test_a_committed_entry_is_never_cut(server: Any) -> None:
    """A message that would replace one is a broken promise and stops the replica (B17)."""
    one = server(terms=[1, 1], term=1)
    one.receive("n2", AppendRequest(1, 2, 1, (), 2))
    with pytest.raises(SafetyViolation, match="entry 2 is committed"):
        one.receive("n3", AppendRequest(2, 1, 1, (Entry(2, 2, b"other"),), 2))


def test_entries_are_applied_in_order_and_once(server: Any) -> None:
    """State Machine Safety begins with an applier that never repeats or skips (F8, F25)."""
    one = server(terms=[1] * 5, term=1)
    for commit in (2, 2, 1, 5, 5):
        one.receive("n2", AppendRequest(1, 5, 1, (), commit))
    assert [entry.index for entry in one.applied] == [1, 2, 3, 4, 5]
