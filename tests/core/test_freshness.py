"""How fresh a copy is known to be: by what came back of what was sent, never by when a message arrived."""

from typing import Any

import pytest

from raftline.core.messages import AppendReply, AppendRequest
from raftline.core.stamps import Stamps

NEVER = float("-inf")


def fresh(one: Any) -> Any:
    """Return as of when, and up to where, a replica is known to hold everything."""
    return one.core.freshness(one.now)


def follower(bench: Any) -> Any:
    """Return a follower of n2 in term 1 that holds three entries, and has told n2 its first number at time 1."""
    one = bench(terms=[1, 1, 1])
    one.cluster.now = 1.0
    one.first = hear(one, 2, commit=1).stamp
    return one


def hear(one: Any, prev_index: int, *, entries: Any = (), term: int = 1, echo: int = 0, **more: Any) -> AppendReply:
    """Let the leader say something that vouches for `echo`, if it is one; return the answer."""
    vouched: dict[str, Any] = {"echoes": (("n3", 7), ("n1", echo)), "age_ms": 0} if echo else {}
    prev_term = one.state.log.term_at(prev_index)
    reply = one.answer("n2", AppendRequest(term, prev_index, prev_term, entries, **vouched | more))
    assert isinstance(reply, AppendReply)
    return reply


def test_a_copy_is_as_fresh_as_what_the_leader_had_received_when_it_spoke(bench: Any) -> None:
    """However long its message took, and no fresher if it comes twice (G3)."""
    one = follower(bench)
    assert fresh(one) == (NEVER, 0), "nothing has come back yet"
    one.cluster.now = 9.0
    hear(one, 3, commit=3, echo=one.first)
    assert fresh(one) == (1.0, 3)
    second = hear(one, 3, commit=3).stamp
    one.cluster.now = 12.0
    hear(one, 3, commit=3, echo=second)
    assert fresh(one) == (9.0, 3)
    hear(one, 3, commit=3, echo=one.first)
    assert fresh(one) == (9.0, 3), "what was overtaken takes nothing back"


@pytest.mark.parametrize(("echo", "more"), [(1, {}), (None, {"age_ms": -1}), (None, {"echoes": (("n3", 7),)}), (0, {})])
def test_what_vouches_for_nothing_is_no_proof(bench: Any, echo: int | None, more: dict[str, Any]) -> None:
    """A number of an earlier life, a leader that nobody followed yet, another's number, an older node (G3)."""
    one = follower(bench)
    hear(one, 3, commit=3, echo=one.first if echo is None else echo, **more)
    assert fresh(one) == (NEVER, 0)


def test_a_leader_that_nobody_follows_any_more_vouches_for_the_past(bench: Any) -> None:
    """Another one may have been elected since a quorum followed it, and have committed more (G3)."""
    one = follower(bench)
    one.cluster.now = 5.0
    hear(one, 3, commit=3, echo=one.first, age_ms=400)
    assert fresh(one) == (pytest.approx(0.6), 3)


def test_a_message_that_shows_a_gap_makes_nothing_fresh(bench: Any, entries: Any) -> None:
    """What the leader said to be committed has to be here (G3)."""
    one = follower(bench)
    hear(one, 3, commit=5, echo=one.first)
    assert fresh(one) == (NEVER, 0), "entries up to 5 are committed and not here"
    hear(one, 3, entries=entries(4, 1, 1), commit=5, echo=one.first)
    assert fresh(one) == (1.0, 5)


def test_a_new_leader_tells_nobody_that_it_is_fresh(bench: Any, entries: Any) -> None:
    """Before it has committed an entry of its term it may not know what another one had committed (§8).

    A bounded read would otherwise miss what was acknowledged long before its bound.
    """
    one = follower(bench)
    one.cluster.now = 9.0
    hear(one, 3, term=2, entries=entries(4, 2), commit=1, echo=one.first)
    assert fresh(one) == (NEVER, 0), "entry 2 may be committed for long, and its leader does not know it"
    hear(one, 4, term=2, commit=4, echo=one.first)
    assert fresh(one) == (1.0, 4)


def leader(bench: Any, size: int) -> Any:
    """Return a leader that has committed its no-op, and what it sent first to each."""
    one = bench(size=size, noop=True)
    one.sent = {to: message for to, message in one.lead() if isinstance(message, AppendRequest)}
    return one


def answer(one: Any, name: str, request: AppendRequest, stamp: int = 0) -> list[Any]:
    """Let a follower acknowledge what it was sent."""
    match = request.prev_index + len(request.entries)
    reply = AppendReply(1, 1, True, request.prev_index, match, echo=request.stamp, stamp=stamp)  # noqa: FBT003
    return [message for to, message in one.receive(name, reply) if to == name]


def test_a_leader_is_as_fresh_as_what_a_majority_has_answered(bench: Any) -> None:
    """From when it sent that: an answer, too, may have been held for long, and it be deposed since (G3)."""
    one = leader(bench, 5)
    begun = one.now
    one.cluster.now = begun + 9
    answer(one, "n2", one.sent["n2"])
    assert fresh(one)[0] == NEVER
    answer(one, "n3", one.sent["n3"])
    assert fresh(one) == (begun, 1)
    one.state.commit = 0
    assert fresh(one)[0] == NEVER, "it knows how far is committed once an entry of its own term is (§8)"


def test_a_leader_alone_is_always_fresh(bench: Any) -> None:
    """Nobody else can have committed anything (G3)."""
    one = leader(bench, 1)
    one.wait(9)
    assert fresh(one)[0] == one.now > one.state.now


def test_a_leader_says_what_it_has_received_and_who_follows_it(bench: Any) -> None:
    """To all in one message; a follower that never answered is not in it, and its silence makes it no older (G3)."""
    one = leader(bench, 3)
    first = one.sent["n2"]
    assert (first.echoes, first.age_ms) == ((), -1)
    answer(one, "n2", first, stamp=77)
    one.cluster.now += 0.05
    sent = [message for _, message in one.wait(0.1) if isinstance(message, AppendRequest)]
    assert {message.echoes for message in sent} == {(("n2", 77),)}
    assert all(50 < message.age_ms < 400 for message in sent)
    assert sent[-1].stamp > first.stamp


def test_a_number_tells_when_it_was_first_used() -> None:
    """The same for a while, so that many messages share it; what was never used, or long ago, tells nothing (G3)."""
    stamps = Stamps(1000, 0.5)
    assert stamps.used_at(1000) == NEVER
    first = stamps.use(10.0)
    assert (stamps.use(10.4), stamps.used_at(first)) == (first, 10.0)
    second = stamps.use(10.5)
    assert second > first > 1000
    assert [stamps.used_at(number) for number in (first, second, second + 1, 0)] == [10.0, 10.5, NEVER, NEVER]
    for step in range(2000):
        stamps.use(11.0 + step)
    assert [stamps.used_at(number) for number in (first, second + 2000)] == [NEVER, 2010.0]
