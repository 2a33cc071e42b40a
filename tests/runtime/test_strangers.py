"""The word to a candidate that is no member: who says it, who believes it, and what it changes."""

import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.membership import Membership
from raftline.core.messages import Message, VoteRequest
from raftline.core.raft import Raft
from raftline.core.state import RaftState
from raftline.runtime.strangers import Strangers
from raftline.transport.codec import Stranger

MEMBERS = {f"n{number}": f"127.0.0.{number}:7000@17000" for number in (1, 2, 3)}
OTHERS = tuple((name, MEMBERS[name]) for name in ("n1", "n2"))


class _Bench:
    """One node of a group whose log names members at some indices."""

    def __init__(
        self, me: str, memberships: dict[int, tuple[str, ...]], last_index: int, commit: int, group: int = 0
    ) -> None:
        entries = [Entry(index, 1, b"", 0) for index in range(1, last_index + 1)]
        for index, names in memberships.items():
            membership = Membership.of({name: MEMBERS[name] for name in names})
            entries[index - 1] = Entry(index, 1, encode_membership(membership), KIND_MEMBERSHIP)
        core = Raft(me, Membership.of(MEMBERS), random=random.Random(1), now=0.0, entries=entries)
        self.state: RaftState = core.state
        self.state.commit = commit
        self.told: list[tuple[str, Stranger]] = []
        self.sent: list[tuple[str, int, Message]] = []
        transport: Any = self
        self.strangers = Strangers(group, core.state, transport)

    def trouble(self) -> None:
        """Say that all is well."""

    def reaches(self, to: str) -> bool:
        """Say that nobody is gone."""
        return bool(to)

    def send(self, to: str, group: int, message: Message) -> None:
        self.sent.append((to, group, message))

    def tell_stranger(self, to: str, word: Stranger) -> None:
        self.told.append((to, word))


def test_a_candidate_that_was_removed_is_told() -> None:
    """With the members there are now, and up to where that is certain; a member is told nothing."""
    bench = _Bench("n1", {4: ("n1", "n2")}, last_index=9, commit=8)
    bench.strangers.answer("n2")
    assert bench.told == []
    bench.strangers.answer("n3")
    assert bench.told == [("n3", Stranger(0, 8, OTHERS))]


@pytest.mark.parametrize(
    ("me", "memberships", "commit"),
    [
        ("n1", {4: ("n1", "n2")}, 3),  # the removal is not committed, as far as n1 knows
        ("n1", {4: ("n1", "n2"), 6: ("n1", "n2", "n3")}, 5),  # it is being added again
        ("n1", {}, 0),  # nothing is committed: this may be a first start
        ("n2", {4: ("n1",)}, 9),  # who is no member itself
    ],
)
def test_nothing_is_said_that_may_not_be_so(me: str, memberships: dict[int, tuple[str, ...]], commit: int) -> None:
    """While a change is under way, before anything is committed, and by strangers."""
    bench = _Bench(me, memberships, last_index=9, commit=commit)
    bench.strangers.answer("n3" if memberships else "n4")
    assert bench.told == []


def test_who_is_told_says_it_and_changes_nothing_else() -> None:
    """Role and error name it; term, vote, log, membership and the next election stay as they were."""
    bench = _Bench("n3", {}, last_index=2, commit=2)
    before = (bench.state.term, bench.state.vote, bench.state.membership, bench.state.election_deadline)
    assert bench.strangers.error() is None
    assert bench.strangers.on_word("n1", Stranger(0, 8, OTHERS))
    assert str(bench.strangers.error()) == (
        "n3 was removed from the group: ask n1 at 127.0.0.1:7000@17000, n2 at 127.0.0.2:7000@17000"
    )
    assert bench.strangers.role() == "removed"
    after = (bench.state.term, bench.state.vote, bench.state.membership, bench.state.election_deadline)
    assert after == before
    assert not bench.state.hard_state_changed
    assert bench.state.may_campaign


def test_who_never_held_anything_is_a_stranger() -> None:
    """As when it was started with another list of nodes than the cluster has."""
    bench = _Bench("n3", {}, last_index=0, commit=0)
    assert bench.strangers.on_word("n1", Stranger(0, 8, OTHERS))
    assert bench.strangers.role() == "stranger"
    assert "n3 is no member of the group: ask n1 at" in str(bench.strangers.error())


def test_a_node_that_was_just_added_does_not_believe_who_has_not_heard_of_it() -> None:
    """Its own log names it behind the index up to which the other one's holds."""
    bench = _Bench("n3", {2: ("n1", "n2"), 7: ("n1", "n2", "n3")}, last_index=7, commit=2)
    assert not bench.strangers.on_word("n1", Stranger(0, 6, OTHERS))
    assert bench.strangers.error() is None
    assert bench.strangers.on_word("n2", Stranger(0, 8, OTHERS)), "it was removed again"


def test_a_leader_ends_it() -> None:
    """While one is known no word is believed, and what was believed before is forgotten for good."""
    bench = _Bench("n3", {}, last_index=2, commit=2)
    assert bench.strangers.on_word("n1", Stranger(0, 8, OTHERS))
    bench.state.leader = "n1"
    assert bench.strangers.error() is None
    assert not bench.strangers.on_word("n2", Stranger(0, 9, OTHERS))
    bench.strangers.forget()
    bench.state.leader = None
    assert bench.strangers.role() is None


def test_an_entry_that_names_it_ends_it() -> None:
    """Even before the leader that sent it is forgotten again."""
    bench = _Bench("n3", {}, last_index=2, commit=2)
    assert bench.strangers.on_word("n1", Stranger(0, 8, OTHERS))
    bench.state.configuration.on_appended(
        [Entry(9, 1, encode_membership(Membership.of(MEMBERS)), KIND_MEMBERSHIP)],
    )
    assert bench.strangers.error() is None


def test_a_group_of_another_history_is_not_believed() -> None:
    """Indices of two logs that began apart say nothing about each other (C14)."""
    bench = _Bench("n3", {}, last_index=2, commit=2)
    bench.state.history = 7
    assert not bench.strangers.on_word("n1", Stranger(0, 8, OTHERS, history=8))
    assert bench.strangers.on_word("n1", Stranger(0, 8, OTHERS, history=7))


def test_a_word_is_news_once() -> None:
    """Every candidate of the group says it at every election."""
    bench = _Bench("n3", {}, last_index=2, commit=2)
    word = Stranger(0, 8, OTHERS)
    assert bench.strangers.on_word("n1", word)
    assert not bench.strangers.on_word("n2", word)
    assert bench.strangers.on_word("n2", Stranger(0, 9, OTHERS))


def test_a_node_that_knows_of_its_removal_needs_no_word() -> None:
    """It answers clients from its own log."""
    bench = _Bench("n3", {4: ("n1", "n2")}, last_index=9, commit=9)
    assert not bench.strangers.on_word("n1", Stranger(0, 9, OTHERS))
    assert "n3 was removed from the group: ask n1 at" in str(bench.strangers.error())


def test_a_removal_that_may_be_taken_back_is_no_such_knowledge() -> None:
    """The leader changed before a learner heard that its removal is committed: then it takes a member's word for it."""
    learner = Membership(voters=("n1", "n2"), learners=("n3",), addresses=tuple(MEMBERS.items()))
    bench = _Bench("n3", {9: ("n1", "n2")}, last_index=9, commit=8)
    bench.state.configuration.restart_at(0, learner)
    bench.state.configuration.on_appended(bench.state.log.slice(9, 10))
    assert not bench.strangers.on_word("n1", Stranger(0, 8, OTHERS)), "older than what it holds"
    assert bench.strangers.on_word("n2", Stranger(0, 10, OTHERS))
    assert bench.strangers.role() == "removed"
    assert str(bench.strangers.error()).startswith("n3 was removed from the group: ask n1 at")


def test_who_knows_no_member_any_more_asks_others() -> None:
    """Those that it does not know, as an election would; not if it was told already, or hears a leader (K1)."""
    bench = _Bench("n3", {}, last_index=2, commit=2)
    assert bench.strangers.ask(("n4", "n1", "n5"))
    question = VoteRequest(bench.state.term, 2, 1, pre_vote=True)
    assert bench.sent == [("n4", 0, question), ("n5", 0, question)]
    assert not bench.strangers.ask(("n1", "n2"))
    bench.state.leader = "n1"
    assert not bench.strangers.ask(("n4",))
    bench.state.leader = None
    assert bench.strangers.on_word("n4", Stranger(0, 8, OTHERS))
    assert not bench.strangers.ask(("n4",))
    assert len(bench.sent) == 2


@pytest.mark.parametrize(("group", "advises_to_stop"), [(0, True), (5, False)])
def test_only_who_is_out_of_the_first_group_is_advised_to_stop(group: int, advises_to_stop: bool) -> None:  # noqa: FBT001
    """A node whose replica of another group went elsewhere holds those of others: nobody should empty its directory."""
    bench = _Bench("n3", {}, last_index=2, commit=2, group=group)
    with capture_logs() as lines:
        assert bench.strangers.on_word("n1", Stranger(group, 8, OTHERS))
    (line,) = lines
    assert (line["group"], line["node"], line["told_by"]) == (group, "n3", "n1")
    assert ("stop it" in line["event"]) == ("emptied" in line["event"]) == advises_to_stop


def test_who_were_learners_when_they_were_last_heard_of_are_asked() -> None:
    """They may be the only voters by now; a candidate asks none of them for a vote (seed 15016165)."""
    bench = _Bench("n3", {}, last_index=9, commit=0, group=1)
    known = Membership(voters=("n1", "n3"), learners=("n2",), addresses=tuple(MEMBERS.items()), promoting=("n2",))
    bench.state.configuration.restart_at(9, known)
    assert bench.strangers.ask(("n1", "n2"))
    assert [to for to, _, _ in bench.sent] == ["n2"]
