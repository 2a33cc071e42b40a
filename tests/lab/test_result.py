"""A result survives the way from the worker, and a broken promise becomes a failure with all it knows."""

import msgspec

from raftline.lab.promises import BrokenPromise
from raftline.lab.result import Numbers, TestResult, failure_of
from raftline.lab.rules import RULES


def test_a_result_travels_as_json() -> None:
    """Encoded and decoded, everything is still there."""
    broken = BrokenPromise("order", "seen", server=0, index=2, term=3, suspects=("F8",))
    result = TestResult(
        part="2A",
        title="initial election",
        seed=1,
        virtual=False,
        passed=False,
        numbers=Numbers(time_s=1.0, servers=3, rpcs=2, bytes=3, commits=4),
        failure=failure_of(broken, 1.25, script="s"),
    )
    assert msgspec.json.decode(msgspec.json.encode(result), type=TestResult) == result


def test_a_failure_knows_what_the_promise_knew() -> None:
    """Places, schedule and rules with their sentences are taken over."""
    broken = BrokenPromise("order", "seen", server=0, index=2, term=3, suspects=("F8",))
    failure = failure_of(broken, 1.25, script="s")
    assert (failure.promise, failure.seen, failure.at_s) == (broken.promise.sentence, "seen", 1.25)
    assert (failure.server, failure.index, failure.term, failure.script) == (0, 2, 3, "s")
    assert failure.rules["F8"] == RULES["F8"]
    assert next(iter(failure.rules)) == "F8"
