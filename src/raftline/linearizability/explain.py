"""Why a history has no order: its shortest failing prefix, and an order of everything in it but the last answer.

A history cut off after one of its returns keeps what had been called by then; what had not returned yet becomes an
operation of unknown outcome. Prefixes of a linearizable history are linearizable, so there is one return before which
all is well and after which nothing is: that answer is the culprit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from raftline.linearizability.checker import PartitionResult
from raftline.linearizability.history import Operation, Value
from raftline.linearizability.model import Model
from raftline.linearizability.search import Budget, Placed, Search, Verdict

__all__ = ["Explanation", "explain"]

_ANSWERS_MAX = 8


@dataclass(frozen=True, slots=True)
class Explanation:
    """The shortest failing prefix of one key's operations, in the order of their calls.

    `culprit` is the operation whose return ends the prefix. `order` is a linearization of the prefix in which the
    culprit's answer is left open; `answers` are those it could have given, in this order, at the places where it fits.
    `shortest` is False if the budget ran out first: then a shorter prefix may fail too, and `order` may be partial.
    """

    key: str | None
    operations: tuple[Operation, ...]
    culprit: Operation
    order: tuple[Placed, ...]
    answers: tuple[Value, ...]
    shortest: bool


def explain(
    part: PartitionResult,
    model: Model,
    *,
    steps_max: int | None = None,
    expired: Callable[[], bool] | None = None,
) -> Explanation:
    """Explain a part whose verdict is NO; `steps_max` and `expired` as for `check`."""
    assert part.verdict is Verdict.NO, "only a part without an order has something to explain"
    budget = Budget(steps_max, expired)
    returns = sorted((op for op in part.operations if op.known), key=_by_return)
    count, shortest = _shortest_failing(part, returns, model, budget)
    prefix = _prefix(part.operations, returns, count)
    culprit = returns[count - 1]
    left_open = _unanswered(culprit)
    rest = Search([left_open if op is culprit else op for op in prefix], model)
    complete = rest.run(budget) is Verdict.YES
    order = tuple(replace(item, operation=culprit) if item.operation is left_open else item for item in rest.order())
    answers = _answers(culprit, order, model)
    return Explanation(part.key, prefix, culprit, order, answers, shortest and complete)


def _shortest_failing(
    part: PartitionResult, returns: list[Operation], model: Model, budget: Budget
) -> tuple[int, bool]:
    """Return how many returns the shortest failing prefix holds, and whether that is proven."""
    fits, fails, stride, proven = part.returns_passed, len(returns), 1, True
    while fails - fits > 1:
        middle = min(fits + stride, fails - 1) if stride else (fits + fails) // 2
        verdict = Search(_prefix(part.operations, returns, middle), model).run(budget)
        if verdict is Verdict.NO:
            fails, stride = middle, 0
        else:
            fits, stride = middle, stride * 2
            proven = proven and verdict is Verdict.YES
    return fails, proven


def _prefix(operations: tuple[Operation, ...], returns: list[Operation], count: int) -> tuple[Operation, ...]:
    """Return what an observer knows at the moment of return number `count`."""
    answered = {id(op) for op in returns[:count]}
    end = _by_return(returns[count - 1])[0]
    return tuple(op if id(op) in answered else _unanswered(op) for op in operations if op.call_time <= end)


def _unanswered(operation: Operation) -> Operation:
    return replace(operation, output=None, return_time=None)


def _by_return(operation: Operation) -> tuple[float, float]:
    assert operation.return_time is not None
    return operation.return_time, operation.call_time


def _answers(culprit: Operation, order: tuple[Placed, ...], model: Model) -> tuple[Value, ...]:
    """Return the different answers the culprit would get in this order, after all that had returned before its call."""
    earliest = 0
    for place, item in enumerate(order):
        ended = item.operation.return_time
        if ended is not None and ended < culprit.call_time:
            earliest = place + 1
    states = [model.initial(), *(item.state for item in order)]
    taken = [place for place, item in enumerate(order) if item.operation is culprit]
    places = taken or range(earliest, len(order) + 1)
    answers = dict.fromkeys(model.apply(states[place], culprit)[1] for place in places)
    return tuple(answers)[:_ANSWERS_MAX]
