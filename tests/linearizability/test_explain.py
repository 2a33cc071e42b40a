"""Tests of the explanation: the prefix fails, nothing shorter does, the order holds for the rest."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from raftline.linearizability.checker import PartitionResult, Verdict, check
from raftline.linearizability.explain import Explanation, explain
from raftline.linearizability.history import Operation, Value
from raftline.linearizability.model import Model
from raftline.linearizability.models import model_named


def _op(client: int, kind: str, value: Value, call: float, end: float | None) -> Operation:
    read = kind == "read"
    return Operation(client, kind, None if read else value, value if read else None, call, end)


def _failing(history: list[Operation], model: Model) -> PartitionResult:
    (part,) = check(history, model).failing()
    return part


def _dumb_shortest(history: list[Operation], model: Model) -> tuple[int, Operation]:
    """Cut the history after each return in turn; tell how many operations the first failing cut holds."""
    returns = sorted((op for op in history if op.known), key=lambda op: (op.return_time, op.call_time))
    for count in range(1, len(returns) + 1):
        end, kept = returns[count - 1].return_time or 0, {id(op) for op in returns[:count]}
        cut = [
            op if id(op) in kept else replace(op, output=None, return_time=None)
            for op in history
            if op.call_time <= end
        ]
        if check(cut, model).verdict is Verdict.NO:
            return len(cut), returns[count - 1]
    raise AssertionError("every prefix has an order")


def _pick(source: random.Random, client: int, done: int) -> tuple[str, Value]:
    kind = source.choice(("read", "write", "cas"))
    return kind, {"read": None, "write": source.randrange(9)}.get(kind, (source.randrange(9), client * 100 + done))


@pytest.mark.parametrize("seed", range(12))
def test_the_prefix_fails_and_no_shorter_one_does(
    seed: int,
    record: Callable[..., list[Operation]],
    spoil: Callable[..., list[Operation]],
    faults_of_order: Callable[..., list[str]],
) -> None:
    """On spoilt recordings the prefix is the one found by cutting after every return, and the order explains it."""
    model = model_named("register")
    history = record(model, _pick, seed=seed, clients=4, operations=80, keys=1, unknown=0.05)
    history = spoil(history, model, seed=seed)
    if check(history, model).verdict is Verdict.YES:
        history = [*history, replace(history[-1], kind="read", input=None, output=777, return_time=10**6)]
    reason = explain(_failing(history, model), model)
    assert reason.shortest
    assert (len(reason.operations), reason.culprit) == _dumb_shortest(history, model)
    rest = [op for op in reason.operations if op is not reason.culprit]
    order = [item for item in reason.order if item.operation is not reason.culprit]
    placed_culprit = len(order) != len(reason.order)
    assert placed_culprit or faults_of_order(reason.order, rest, model) == []
    assert reason.culprit.output not in reason.answers


def test_what_had_not_returned_has_an_unknown_outcome() -> None:
    """The prefix keeps calls before its end without their later answers, and leaves out what was called after."""
    history = [
        _op(1, "write", 1, 0, 1),
        _op(2, "write", 5, 2, 9),
        _op(3, "read", None, 3, 4),
        _op(1, "write", 2, 6, 7),
    ]
    reason = explain(_failing(history, model_named("register")), model_named("register"))
    assert reason.culprit is history[2]
    assert reason.operations == (history[0], replace(history[1], output=None, return_time=None), history[2])
    assert [item.operation for item in reason.order] == [history[0]]
    assert reason.answers == (1,)


def test_an_update_that_was_answered_wrongly_stands_in_the_order() -> None:
    """A culprit that must have taken effect is placed, and what it would have answered there is told."""
    history = [
        _op(1, "write", 1, 0, 1),
        Operation(2, "cas", (1, 2), output=False, call_time=2, return_time=9),
        _op(3, "read", 2, 3, 4),
    ]
    model = model_named("register")
    reason = explain(_failing(history, model), model)
    assert reason.culprit is history[1]
    assert reason.culprit in [item.operation for item in reason.order]
    assert reason.answers == (True,)


def test_a_budget_that_runs_out_leaves_a_prefix_that_fails_anyway() -> None:
    """Without time to prove it the shortest, the prefix is still one that has no order, and says so."""
    adds = [Operation(i, "add", 2**i, None, 0, 100) for i in range(10)]
    history = [*adds, Operation(98, "read", None, 3, 1, 2), Operation(99, "read", None, -1, 101, 102)]
    model = model_named("counter")
    reason: Explanation = explain(_failing(history, model), model, steps_max=1)
    assert not reason.shortest
    assert check(reason.operations, model).verdict is Verdict.NO
    assert explain(_failing(history, model), model, expired=lambda: True).shortest is False


def test_the_key_is_named() -> None:
    """An explanation belongs to one key."""
    history = [replace(_op(1, "read", 3, 0, 1), key="x"), replace(_op(1, "write", 3, 2, 3), key="x")]
    assert explain(_failing(history, model_named("register")), model_named("register")).key == "x"
