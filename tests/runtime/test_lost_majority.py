"""A majority of empty disks is noticed by who is left, and by nobody else."""

import random

from structlog.testing import capture_logs

from raftline.core.entries import Entry, HardState
from raftline.core.membership import Membership
from raftline.core.messages import VoteRequest
from raftline.core.raft import Raft
from raftline.core.state import RaftState
from raftline.runtime.lost_majority import LostMajority

BLANK = VoteRequest(1, 0, 0, pre_vote=True)
FULL = VoteRequest(1, 5, 1, pre_vote=True)


def watcher(size: int = 3, *, history: int = 7, entries: int = 5, group: int = 0) -> tuple[RaftState, LostMajority]:
    """Return the state of n1, in a group of so many, and what watches it."""
    members = Membership.of({f"n{number}": f"h:{number}" for number in range(1, size + 1)})
    log = [Entry(index, 1, b"") for index in range(1, entries + 1)]
    hard_state = HardState(1, None, history=history)
    core = Raft("n1", members, random=random.Random(1), now=0.0, entries=log, hard_state=hard_state)
    return core.state, LostMajority(group, core.state)


def test_a_survivor_names_the_way_out() -> None:
    """As soon as the emptied ones are so many that the rest is no majority, by name (C14)."""
    _, watch = watcher()
    watch.note("n2", BLANK)
    assert watch.words() is None, "n3 may come with its disk"
    watch.note("n3", BLANK)
    words = watch.words()
    assert words is not None
    assert words.startswith("no leader can be elected: n2 and n3 came with empty disks, and n1 alone is no majority")
    assert "`raftline recover`" in words


def test_of_one_group_of_many_no_cluster_is_made() -> None:
    """`recover` makes a cluster of a node's first group, and would leave the others: it is not named (C14)."""
    _, watch = watcher(group=5)
    with capture_logs() as lines:
        watch.note("n2", BLANK)
        watch.note("n3", BLANK)
    (line,) = lines
    assert (line["event"], line["group"], line["trouble"]) == ("majority lost", 5, watch.words())
    assert "Start them with their own disks" in line["trouble"]
    assert "recover" not in line["trouble"]


def test_a_majority_that_is_left_needs_no_way_out() -> None:
    """Two of five may be replaced; a third is too many, and one of them that caught up is none of them."""
    _, watch = watcher(5)
    for name in ("n2", "n3"):
        watch.note(name, BLANK)
    assert watch.words() is None
    watch.note("n4", BLANK)
    assert "n1 and n5 alone is no majority" in (watch.words() or "")
    watch.note("n3", FULL)
    assert watch.words() is None


def test_a_first_start_is_no_loss() -> None:
    """Where nothing is known to be committed nothing can be missing: voters of an entry that nobody else got."""
    _, watch = watcher(history=0, entries=1)
    watch.note("n2", BLANK)
    watch.note("n3", BLANK)
    assert watch.words() is None


def test_who_is_no_voter_does_not_count() -> None:
    """A node with a wrong list of nodes asks, too."""
    _, watch = watcher()
    watch.note("n8", BLANK)
    watch.note("n9", BLANK)
    assert watch.words() is None


def test_a_leader_ends_it() -> None:
    """Then there was a majority after all; what was noted before counts no longer."""
    state, watch = watcher()
    watch.note("n2", BLANK)
    watch.note("n3", BLANK)
    state.leader = "n3"
    assert watch.words() is None
    watch.forget()
    state.leader = None
    assert watch.words() is None
