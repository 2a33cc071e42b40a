"""What may wait in all groups of a node, and that none of them is shut out."""

from typing import Any

import pytest

from raftline.errors import Overloaded
from raftline.runtime.admission import Admission
from raftline.runtime.requests import Deadlines, Proposal, Read


def _fill(deadlines: Deadlines, size: int = 1, count_max: int = 10_000) -> list[Proposal]:
    """Add requests of so many bytes until one is refused; return those that were taken."""
    taken: list[Proposal] = []
    while len(taken) < count_max:
        proposal = Proposal(bytes(size), lambda _outcome: None, 100.0)
        if not deadlines.add(proposal):
            break
        taken.append(proposal)
    return taken


def test_a_group_alone_has_all_of_it() -> None:
    """By number and by bytes; one request is taken however large it is, if nothing else waits."""
    assert len(_fill(Deadlines(Admission(100, 1000)))) == 100
    assert len(_fill(Deadlines(Admission(100, 1000)), 30)) == 33
    assert len(_fill(Deadlines(Admission(100, 1000)), 5000)) == 1


def test_what_one_group_leaves_is_shared_by_the_others() -> None:
    """Each takes three quarters of what is free; all of them together never more than there is."""
    admission = Admission(10_000, 1 << 30)
    groups = [Deadlines(admission) for _ in range(5)]
    counts = [len(_fill(group)) for group in groups]
    assert counts[0] == 7500
    assert counts[1:] == [1875, 468, 117, 30]
    admission = Admission(10_000, 100_000)
    assert [len(_fill(Deadlines(admission), 10)) * 10 for _ in range(2)] == [100_000, 0], "the second one came later"


def test_what_takes_no_bytes_is_refused_for_none() -> None:
    """Commands that wait for a leader shut out no read of the same group, which any replica may answer (F24)."""
    admission = Admission(10_000, 100_000)
    flooded, other = Deadlines(admission), Deadlines(admission)
    _fill(flooded, 1000)
    _fill(other, 1000)
    assert not flooded.add(Proposal(b"x", lambda _outcome: None, 100.0))
    assert flooded.add(Read(lambda _outcome: None, 100.0, "stale"))
    alone = Deadlines(Admission(100, 1000))
    _fill(alone, 5000)
    assert alone.add(Read(lambda _outcome: None, 100.0, "stale"))


def test_in_time_all_that_want_more_have_equal_parts() -> None:
    """Whoever came first gives back what it was answered, and gets no more than the others of it (G5)."""
    admission = Admission(1000, 1 << 30)
    groups = [Deadlines(admission) for _ in range(3)]
    waiting = [_fill(group) for group in groups]
    for _ in range(200):
        for group, proposals in zip(groups, waiting, strict=True):
            for proposal in proposals[:10]:
                proposal.finish(b"")
            del proposals[:10]
            group.sweep(0.0)
        for group, proposals in zip(groups, waiting, strict=True):
            proposals.extend(_fill(group))
        assert admission.count <= 1000
    sizes = [len(group) for group in groups]
    assert min(sizes) > 250, sizes
    assert sum(sizes) == admission.count > 850


def test_what_is_answered_in_another_group_makes_room() -> None:
    """Although that one has not looked yet; it is not looked everywhere for each request that is refused."""
    admission = Admission(100, 1 << 30)
    first, second = Deadlines(admission), Deadlines(admission)
    taken = _fill(first)
    _fill(second)
    late = Proposal(b"x", lambda _outcome: None, 100.0)
    assert not second.add_after_all(late, 1.0)
    for proposal in taken:
        proposal.finish(b"")
    assert not second.add_after_all(late, 1.004)
    assert second.add_after_all(late, 1.005)
    assert (len(first), admission.count) == (0, len(second))
    assert first not in admission.queues


@pytest.mark.parametrize("is_same_group", [True, False])
def test_one_that_waits_for_long_keeps_no_place_for_those_behind_it(*, is_same_group: bool) -> None:
    """They have their answers: whoever comes is not refused for them, by number or by bytes."""
    admission = Admission(100, 1 << 30)
    first, second = Deadlines(admission), Deadlines(admission)
    stuck, *answered = _fill(first, 10)
    for proposal in answered:
        proposal.finish(b"")
    _fill(second)
    asked = first if is_same_group else second
    assert asked.add_after_all(Proposal(b"x", lambda _outcome: None, 100.0), 1.0)
    assert (len(first), first.size_bytes) == ((2, 11) if is_same_group else (1, 10))
    assert admission.count == len(first) + len(second)
    assert admission.size_bytes == first.size_bytes + second.size_bytes
    told: list[object] = []
    stuck.done = told.append
    first.sweep(100.0)
    assert len(told) == 1


def test_the_more_wait_the_rarer_it_is_looked_for_who_was_answered() -> None:
    """While all of them really wait, a node that refuses does little else than that."""
    admission = Admission(50_000, 1 << 30)
    deadlines = Deadlines(admission)
    _, *others = _fill(deadlines, count_max=50_000)
    late = Proposal(b"x", lambda _outcome: None, 100.0)
    assert not deadlines.add_after_all(late, 1.0)
    for proposal in others:
        proposal.finish(b"")
    assert not deadlines.add_after_all(late, 1.049)
    assert deadlines.add_after_all(late, 1.051)


def test_a_refusal_says_how_much_waits_and_where() -> None:
    """So that whoever reads it sees whether this group is the one that is busy."""
    admission = Admission(100, 1000)
    first, second = Deadlines(admission), Deadlines(admission)
    _fill(first, 10)
    _fill(second, 3, 2)
    refusal: Any = second.refusal()
    assert isinstance(refusal, Overloaded)
    assert str(refusal) == (
        "77 requests with 756 bytes wait on this node already, 2 with 6 bytes of them for the same group: "
        "try again later"
    )


def test_a_group_that_is_gone_leaves_nothing_behind() -> None:
    """What waited there was answered, and what is left belongs to who is left."""
    admission = Admission(100, 1000)
    first, second = Deadlines(admission), Deadlines(admission)
    _fill(first)
    first.fail_all(lambda _: Overloaded("gone"))
    assert (admission.count, admission.size_bytes, len(admission.queues)) == (0, 0, 0)
    assert len(_fill(second)) == 100
