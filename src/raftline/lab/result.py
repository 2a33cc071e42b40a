"""The outcome of one run of one test, as it travels from the worker to whoever asked."""

import msgspec

from raftline.lab.promises import BrokenPromise
from raftline.lab.rules import RULES

__all__ = ["Failure", "Numbers", "TestResult", "failure_of"]


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """The five numbers of the lab's line (H12)."""

    time_s: float
    servers: int
    rpcs: int
    bytes: int
    commits: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a test failed; places that are unknown are None."""

    promise: str
    seen: str
    at_s: float
    server: int | None = None
    index: int | None = None
    term: int | None = None
    script: str | None = None
    """The title of the schedule that showed it; None for the test itself."""
    rules: dict[str, str] = {}
    """Number → rule, likeliest first."""
    also: list[str] = []
    """Exceptions of the implementation that nobody looked at."""
    trace: str | None = None
    """The file that the trace was written to."""


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one test."""

    __test__ = False  # no test class, whatever pytest thinks

    part: str
    title: str
    seed: int
    virtual: bool
    passed: bool
    numbers: Numbers | None = None
    """Of the test's body; None if it did not end."""
    cpu_s: float = 0.0
    """All of it, scripts included."""
    failure: Failure | None = None


def failure_of(broken: BrokenPromise, at_s: float, *, script: str | None = None) -> Failure:
    """Return a broken promise as a `Failure`."""
    return Failure(
        promise=broken.promise.sentence,
        seen=broken.seen,
        at_s=round(at_s, 6),
        server=broken.server,
        index=broken.index,
        term=broken.term,
        script=script,
        rules={number: RULES[number] for number in broken.rules},
    )
