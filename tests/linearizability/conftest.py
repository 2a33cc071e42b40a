"""What several tests of the checker need: a store to record, a judge of orders, the recorded histories."""

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from raftline.linearizability.history import Operation, Value
from raftline.linearizability.model import Model, State
from raftline.linearizability.search import Placed

Pick: TypeAlias = Callable[[random.Random, int, int], tuple[str, Value]]
"""(random source, client, how many it did before) → kind and input of the next operation."""


def _record(
    model: Model,
    pick: Pick,
    *,
    seed: int,
    clients: int,
    operations: int,
    keys: int,
    unknown: float = 0.0,
    pause: float = 0.1,
) -> list[Operation]:
    """Record a linearizable store: each operation takes effect at a random moment between call and return.

    Of the share `unknown` whose answers get lost, half never take effect.
    """
    source = random.Random(seed)
    plan: list[tuple[float, float, float, int, int]] = []
    for client in range(clients):
        now = source.random()
        for done in range(operations // clients):
            effect = now + source.expovariate(1)
            end = effect + source.expovariate(1)
            plan.append((effect, now, end, client, done))
            now = end + source.expovariate(1 / pause)
    states: dict[str, State] = {}
    history: list[Operation] = []
    for _, call, end, client, done in sorted(plan):
        key = f"k{source.randrange(keys)}"
        kind, entered = pick(source, client, done)
        lost = source.random() < unknown
        operation = Operation(client, kind, entered, None, call, None if lost else end, key)
        after, answer = model.apply(states.get(key, model.initial()), operation)
        if not lost or source.random() < 0.5:
            states[key] = after
        history.append(operation if lost else Operation(client, kind, entered, answer, call, end, key))
    return history


def _spoil(history: Sequence[Operation], model: Model, *, seed: int) -> list[Operation]:
    """Give one late read the older answer of another read of its key, which was overwritten in between."""
    source = random.Random(seed)
    spoilt = list(history)
    reads = [index for index, op in enumerate(history) if op.known and not model.changes(op)]
    while True:
        late, early = source.choice(reads[len(reads) // 2 :]), source.choice(reads)
        new, old = history[late], history[early]
        same = (old.key, old.kind, old.input) == (new.key, new.kind, new.input)
        if new.known and same and old.output != new.output and (old.return_time or 0) < new.call_time:
            spoilt[late] = Operation(
                new.client, new.kind, new.input, old.output, new.call_time, new.return_time, new.key
            )
            return spoilt


def _faults_of_order(order: Iterable[Placed], operations: Sequence[Operation], model: Model) -> list[str]:
    """Say what keeps `order` from being a linearization of `operations`, which may hold an operation only once."""
    faults: list[str] = []
    placed = [item.operation for item in order]
    if len({id(op) for op in placed}) != len(placed):
        faults.append("an operation stands in the order twice")
    if {id(op) for op in operations if op.known} - {id(op) for op in placed}:
        faults.append("an answered operation is missing")
    latest_call = float("-inf")
    for operation in placed:
        if operation.return_time is not None and operation.return_time < latest_call:
            faults.append(f"{operation} returned before an earlier one was called")
        latest_call = max(latest_call, operation.call_time)
    state = model.initial()
    for operation in placed:
        state, answer = model.apply(state, operation)
        if operation.known and not model.accepts(operation, answer):
            faults.append(f"{operation} would have been answered {answer}")
    return faults


@pytest.fixture(scope="session")
def record() -> Callable[..., list[Operation]]:
    """Return the function that records a linearizable store."""
    return _record


@pytest.fixture(scope="session")
def spoil() -> Callable[..., list[Operation]]:
    """Return the function that makes one read stale."""
    return _spoil


@pytest.fixture(scope="session")
def faults_of_order() -> Callable[..., list[str]]:
    """Return the function that judges an order."""
    return _faults_of_order


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Return the folder of recorded histories with known verdicts, or skip."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "histories"
    if not folder.is_dir():
        pytest.skip(f"no recorded histories at {folder}: nothing to compare with")
    return folder
