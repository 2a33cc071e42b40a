"""Promises to whoever waits: told once, in time, and one caller's trouble is nobody else's."""

import asyncio
from typing import Any

from raftline.errors import Stopped, Timeout
from raftline.runtime.admission import Admission
from raftline.runtime.requests import Deadlines, Proposal, Read, head_of


def test_an_outcome_is_told_once() -> None:
    """What comes after the first outcome is dropped: a timeout may have come first."""
    told: list[Any] = []
    proposal = Proposal(b"x", told.append, 1.0)
    proposal.finish(b"first")
    proposal.finish(b"second")
    assert told == [b"first"]


def test_a_callback_that_raises_is_its_owners_trouble() -> None:
    """The loop's exception handler hears of it; whoever told the outcome goes on."""

    async def scenario() -> None:
        heard: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))

        def done(_: object) -> None:
            raise ZeroDivisionError

        Proposal(b"x", done, 1.0).finish(b"outcome")
        assert type(heard[0]["exception"]) is ZeroDivisionError

    asyncio.run(scenario())


def test_what_waits_too_long_is_told_whether_it_may_take_effect() -> None:
    """A proposal that was sent may still take effect; one that never left, or a read, cannot (G19)."""
    told: list[Any] = []
    deadlines = Deadlines(Admission(100, 1000))
    sent, kept, read = Proposal(b"xx", told.append, 1.0), Proposal(b"y", told.append, 2.0), Read(told.append, 3.0)
    sent.may_take_effect = True
    for request in (sent, kept, read):
        deadlines.add(request)
    assert deadlines.size_bytes == 3
    deadlines.sweep(0.5)
    assert told == []
    deadlines.sweep(5.0)
    assert [type(outcome) for outcome in told] == [Timeout] * 3
    assert [outcome.may_take_effect for outcome in told] == [True, False, False]
    assert (len(deadlines), deadlines.size_bytes) == (0, 0)


def test_answered_requests_are_forgotten_and_stopping_tells_the_rest() -> None:
    """Memory follows what really waits."""
    told: list[Any] = []
    deadlines = Deadlines(Admission(100, 1000))
    first, second = Proposal(b"x", told.append, 1.0), Proposal(b"y", told.append, 2.0)
    deadlines.add(first)
    deadlines.add(second)
    first.finish(b"done")
    deadlines.sweep(0.0)
    assert len(deadlines) == 1
    deadlines.fail_all(lambda _: Stopped("stopped"))
    assert isinstance(told[1], Stopped)
    assert len(deadlines) == 0


def test_what_goes_together_is_bounded_and_never_nothing() -> None:
    """A single command goes however large it is."""
    proposals = [Proposal(bytes(size), lambda _outcome: None, 1.0) for size in (10, 20, 500, 5)]
    sizes = [proposal.size_bytes for proposal in proposals]
    assert head_of(proposals, 10, sum(sizes)) == (4, sum(sizes))
    assert head_of(proposals, 2, sum(sizes)) == (2, sum(sizes[:2]))
    assert head_of(proposals, 10, sum(sizes[:3]) - 1) == (2, sum(sizes[:2]))
    assert head_of(proposals[2:], 10, 1) == (1, sizes[2])
    assert head_of([], 10, 1) == (0, 0)
