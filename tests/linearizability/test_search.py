"""Tests of the search itself: its budget, its memory, the orders it hands out."""

from collections.abc import Callable, Sequence

import pytest

from raftline.linearizability import search as search_module
from raftline.linearizability.history import Operation, Value
from raftline.linearizability.model import Model
from raftline.linearizability.models import model_named
from raftline.linearizability.search import Budget, Search, Verdict


def _op(client: int, kind: str, value: Value, call: float, end: float | None) -> Operation:
    read = kind == "read"
    return Operation(client, kind, None if read else value, value if read else None, call, end)


def _run(operations: Sequence[Operation], model: Model, budget: Budget | None = None) -> tuple[Verdict, Search]:
    search = Search(operations, model)
    return search.run(budget or Budget()), search


def test_a_budget_counts_and_asks_the_clock_now_and_then() -> None:
    """The step limit is exact; the clock is asked at the first step and then every 256."""
    asked: list[int] = []

    def expired() -> bool:
        asked.append(budget.steps)
        return False

    budget = Budget(steps_max=600, expired=expired)
    while budget.spend():
        pass
    assert budget.steps == 601
    assert asked == [1, 257, 513]


def test_the_order_of_a_yes_names_each_state() -> None:
    """The order is complete, and next to each operation stands the true state after it, forgotten ones too."""
    operations = [_op(1, "write", 1, 0, 5), _op(2, "write", 2, 1, 4), _op(3, "read", 1, 2, 3), _op(3, "read", 2, 6, 7)]
    verdict, search = _run(operations, model_named("register"))
    assert verdict is Verdict.YES
    assert [(item.operation.kind, item.state) for item in search.order()] == [
        ("write", 1), ("read", 1), ("write", 2), ("read", 2)
    ]  # fmt: skip
    assert search.returns_passed() == 4


def test_a_no_keeps_the_order_that_came_furthest(faults_of_order: Callable[..., list[str]]) -> None:
    """What could be placed before no order was left is handed out, in an order that holds."""
    model = model_named("register")
    operations = [_op(1, "write", 1, 0, 1), _op(2, "write", 2, 2, 3), _op(3, "read", 1, 4, 5), _op(3, "write", 1, 6, 7)]
    verdict, search = _run(operations, model)
    assert verdict is Verdict.NO
    placed = [item.operation for item in search.order()]
    assert placed == operations[:2]
    assert faults_of_order(search.order(), placed, model) == []


def test_a_no_without_any_search_has_an_empty_order() -> None:
    """An answer that nothing can explain is refused before the first step."""
    verdict, search = _run([_op(1, "read", 7, 0, 1)], model_named("register"), Budget(steps_max=0))
    assert (verdict, search.order(), search.returns_passed()) == (Verdict.NO, (), 0)


def test_lost_operations_stand_in_the_order_only_if_needed() -> None:
    """A lost write that explains a read is placed before it; one that explains nothing is left out."""
    lost = [_op(1, "write", 1, 0, None), _op(2, "write", 2, 0, None)]
    verdict, search = _run([*lost, _op(3, "read", 2, 5, 6)], model_named("register"))
    assert verdict is Verdict.YES
    assert [item.operation.input for item in search.order()] == [2, None]


def test_equal_lost_operations_are_all_there_to_be_used() -> None:
    """Two lost writes of one value explain that it came back twice, not three times."""
    lost = [_op(client, "write", 1, 0, None) for client in (1, 2)]

    def back(times: int) -> list[Operation]:
        return [
            _op(3, kind, value, 10 * at + step, 10 * at + step + 1)
            for at in range(1, times + 1)
            for step, kind, value in ((0, "read", 1), (2, "write", 0))
        ]

    assert _run([*lost, *back(2)], model_named("register"))[0] is Verdict.YES
    assert _run([*lost, *back(3)], model_named("register"))[0] is Verdict.NO


@pytest.mark.parametrize("remembered", [0, 10])
def test_a_full_memory_costs_time_and_nothing_else(remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts are the same when no more positions can be remembered."""
    adds = [Operation(i, "add", 2**i, None, 0, 100) for i in range(6)]
    end = Operation(9, "read", None, 63, 101, 102)
    plain = _run([*adds, Operation(8, "read", None, 21, 1, 2), end], model_named("counter"))
    monkeypatch.setattr(search_module, "_MEMORY_POSITIONS_MAX", remembered)
    for wanted, total, expected in ((21, 63, Verdict.YES), (21, 62, Verdict.NO), (-1, 63, Verdict.NO)):
        read, last = Operation(8, "read", None, wanted, 1, 2), Operation(9, "read", None, total, 101, 102)
        assert _run([*adds, read, last], model_named("counter"))[0] is expected
    assert plain[0] is Verdict.YES


def test_a_position_reached_with_fewer_lost_operations_covers_the_others() -> None:
    """Forty lost additions that nothing asks for do not multiply the positions that are tried."""
    lost = [Operation(i, "add", 1000 + i, None, 0, None) for i in range(40)]
    known = [Operation(99, "add", 1, None, 10 * i, 10 * i + 1) for i in range(1, 20)]
    budget = Budget(steps_max=5_000)
    reads = [Operation(98, "read", None, i, 10 * i + 2, 10 * i + 3) for i in range(1, 20)]
    assert _run([*lost, *known, *reads], model_named("counter"), budget)[0] is Verdict.YES
    assert budget.steps < 100
