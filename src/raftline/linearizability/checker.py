"""Decides whether a history is linearizable: partition by key, search each part, put the verdicts together.

Linearizability is local (Herlihy and Wing 1990, theorem 1): a history is linearizable if and only if each object's part
is. Nothing here reads a clock; the caller passes a step limit, or a function that says when time is up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raftline.linearizability.history import Operation
from raftline.linearizability.model import Model
from raftline.linearizability.search import Budget, Placed, Search, Verdict

__all__ = ["PartitionResult", "Result", "Verdict", "check", "partition"]


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """One key's verdict; `order` is a linearization if YES, else the one that came furthest.

    `steps` counts the positions tried; `returns_passed` how many answers, by time of return, `order` holds without a
    gap, each of which some order explains.
    """

    key: str | None
    verdict: Verdict
    operations: tuple[Operation, ...]
    order: tuple[Placed, ...]
    returns_passed: int
    steps: int


@dataclass(frozen=True, slots=True)
class Result:
    """NO if any key's part has no order; else UNKNOWN if any part was not finished; else YES."""

    verdict: Verdict
    partitions: tuple[PartitionResult, ...]
    steps: int

    def failing(self) -> tuple[PartitionResult, ...]:
        """Return the parts that have no order."""
        return tuple(part for part in self.partitions if part.verdict is Verdict.NO)


def check(
    history: Iterable[Operation],
    model: Model,
    *,
    steps_max: int | None = None,
    expired: Callable[[], bool] | None = None,
    stop_at_first: bool = False,
) -> Result:
    """Decide whether `history` is linearizable with respect to `model`.

    `steps_max` bounds the positions tried over all keys; `expired()` is asked now and then, and ends the search once
    true. With `stop_at_first` the first part without an order ends it. Raises HistoryError if an operation does not fit
    the model. Operations of unknown outcome may take effect at any later time, or never.
    """
    parts = partition(history)
    for operations in parts.values():
        for operation in operations:
            model.check_operation(operation)
    budget = Budget(steps_max, expired)
    results: list[PartitionResult] = []
    for key, operations in parts.items():
        before = budget.steps
        search = Search(operations, model)
        verdict = search.run(budget)
        passed = search.returns_passed()
        results.append(PartitionResult(key, verdict, operations, search.order(), passed, budget.steps - before))
        if verdict is Verdict.NO and stop_at_first:
            break
    found = {result.verdict for result in results}
    verdict = next((worst for worst in (Verdict.NO, Verdict.UNKNOWN) if worst in found), Verdict.YES)
    return Result(verdict, tuple(results), budget.steps)


def partition(history: Iterable[Operation]) -> dict[str | None, tuple[Operation, ...]]:
    """Return the operations of each key, in the order of their first calls."""
    parts: dict[str | None, list[Operation]] = {}
    for operation in sorted(history, key=lambda op: op.call_time):
        parts.setdefault(operation.key, []).append(operation)
    return {key: tuple(operations) for key, operations in parts.items()}
