"""Tests of the verdicts: against a twin that tries every order, on recorded histories, and at size."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.linearizability.checker import Result, Verdict, check, partition
from raftline.linearizability.formats import READERS
from raftline.linearizability.history import HistoryError, Operation, Value
from raftline.linearizability.model import Model, State
from raftline.linearizability.models import model_named

Record = Callable[..., list[Operation]]


class Queue(Model):
    """What a user writes: a queue, with nothing but the two methods that are needed."""

    name: ClassVar[str] = "queue"

    def initial(self) -> State:
        return ()

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        assert isinstance(state, tuple)
        if operation.kind == "push":
            return (*state, operation.input), None
        return (state[1:], state[0]) if state else (state, None)


def has_order(operations: Sequence[Operation], model: Model) -> bool:
    """Try every order that real time allows: the twin, too simple to be wrong."""

    def goes_on(left: frozenset[int], state: State) -> bool:
        ends = [end for index in left if (end := operations[index].return_time) is not None]
        if not ends:
            return True
        for index in left:
            operation = operations[index]
            if operation.call_time <= min(ends):
                after, answer = model.apply(state, operation)
                if (not operation.known or model.accepts(operation, answer)) and goes_on(left - {index}, after):
                    return True
        return False

    return goes_on(frozenset(range(len(operations))), model.initial())


TEXTS = ("a", "b", "ab", "")
NUMBERS = (0, 1, 2)
REQUESTS: dict[str, dict[str, tuple[Value, ...]]] = {
    "register": {"read": (None,), "write": NUMBERS, "cas": tuple((a, b) for a in (None, 0, 1) for b in NUMBERS)},
    "cas": {"read": (None,), "write": NUMBERS, "cas": tuple((a, b) for a in (None, 0, 1) for b in NUMBERS)},
    "append": {"read": (None,), "append": NUMBERS},
    "counter": {"read": (None,), "add": (0, 1, 2, -1)},
    "kv": {"get": (None,), "put": TEXTS, "append": TEXTS},
    "redis": {
        **dict.fromkeys(("get", "exists", "strlen", "getdel", "del"), (None,)),
        **dict.fromkeys(("set", "setnx", "append", "getset"), TEXTS),
        "cas": tuple((a, b) for a in (None, "a", "ab") for b in TEXTS),
    },
    "redis with numbers": {"get": (None,), "set": ("1", "a"), "incr": (None,), "decrby": (1, 2), "append": ("1",)},
    "queue": {"push": NUMBERS, "pop": (None,)},
}


@st.composite
def histories(draw: st.DrawFn, name: str, model: Model) -> list[Operation]:
    """Draw up to seven operations with answers that some order may give, some answers false, some lost."""
    requests = [(kind, entered) for kind, inputs in REQUESTS[name].items() for entered in inputs]
    asked: list[Operation] = []
    moments: list[float] = []
    for client in range(draw(st.integers(1, 7))):
        kind, entered = draw(st.sampled_from(requests))
        call = draw(st.integers(0, 9))
        end = call + draw(st.integers(0, 6))
        asked.append(Operation(client, kind, entered, None, call, end))
        moments.append(draw(st.floats(call, end)))
    answers: dict[int, Value] = {}
    pools: dict[str, list[Value]] = {}
    state = model.initial()
    for client in sorted(range(len(asked)), key=moments.__getitem__):
        state, answers[client] = model.apply(state, asked[client])
        pools.setdefault(asked[client].kind, []).append(answers[client])
    history: list[Operation] = []
    for client, op in enumerate(asked):
        fate = draw(st.sampled_from(("true", "true", "true", "another's", "lost")))
        answer = draw(st.sampled_from(pools[op.kind])) if fate == "another's" else answers[client]
        end_known = None if fate == "lost" else op.return_time
        history.append(
            Operation(client, op.kind, op.input, None if fate == "lost" else answer, op.call_time, end_known)
        )
    return history


@pytest.mark.parametrize("name", REQUESTS)
def test_every_verdict_is_that_of_trying_every_order(name: str, faults_of_order: Callable[..., list[str]]) -> None:
    """On small histories, lost answers included, the verdict is the twin's and a yes comes with a true order."""
    model = Queue() if name == "queue" else model_named(name.split(maxsplit=1)[0])

    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(histories(name, model))
    def compare(history: list[Operation]) -> None:
        result = check(history, model)
        assert result.verdict is (Verdict.YES if has_order(history, model) else Verdict.NO)
        for part in result.partitions:
            faults = faults_of_order(part.order, part.operations, model)
            assert (faults == []) is (part.verdict is Verdict.YES)

    compare()


def _timed(name: str, *operations: tuple[str, Value, Value, float, float]) -> tuple[str, list[Operation]]:
    return name, [Operation(client, *operation) for client, operation in enumerate(operations)]


@pytest.mark.parametrize(
    ("name", "history"),
    [
        _timed(
            "register",
            ("write", 9, None, 10, 11),
            ("cas", (9, 8), False, 20, 21),
            ("write", 1, None, 0, 100),
            ("read", None, 1, 0, 100),
        ),
        _timed("register", ("write", 9, None, 10, 11), ("cas", (9, 8), False, 20, 21), ("write", 1, None, 0, 100)),
        _timed(
            "redis",
            ("set", "aa", None, 0, 1),
            ("set", "bb", None, 0, 100),
            ("set", "ccccc", None, 10, 11),
            ("append", "x", 3, 20, 21),
        ),
        _timed(
            "redis",
            ("append", "a", None, 0, 1),
            ("set", "q", None, 0, 100),
            ("del", None, 1, 10, 11),
            ("setnx", "b", 0, 20, 21),
            ("get", None, "z", 110, 111),
            ("set", "z", None, 105, 106),
        ),
    ],
)
def test_a_write_that_nobody_reads_may_still_be_needed_where_it_stands(name: str, history: list[Operation]) -> None:
    """Failed comparisons and lengths notice even unread values, so these must not be placed too early."""
    assert has_order(history, model_named(name))
    assert check(history, model_named(name)).verdict is Verdict.YES


def verdicts(folder: Path) -> list[tuple[str, Verdict]]:
    """Read the table of known verdicts."""
    words = {"linearizable": Verdict.YES, "not-linearizable": Verdict.NO}
    rows = [line.split("\t") for line in (folder / "verdicts.tsv").read_text().splitlines()]
    return [(name, words[word]) for name, word in rows]


def test_recorded_histories_get_their_known_verdicts(
    recordings: Path, faults_of_order: Callable[..., list[str]]
) -> None:
    """All recorded histories of etcd and of a key/value store get the verdict they are known to have, in few steps."""
    wrong: list[str] = []
    for name, expected in verdicts(recordings):
        lines = (recordings / name).read_text().splitlines()
        history = READERS["porcupine-kv" if name.startswith("kv/") else "jepsen"](lines)
        model = model_named(history.model or "")
        result = check(history.operations, model, steps_max=20_000)
        orders_hold = all(
            (faults_of_order(part.order, part.operations, model) == []) is (part.verdict is Verdict.YES)
            for part in result.partitions
        )
        if result.verdict is not expected or not orders_hold:
            wrong.append(f"{name}: {result.verdict}")
    assert wrong == []


def pick_text(source: random.Random, client: int, done: int) -> tuple[str, Value]:
    """A key/value client: gets, appends of texts that are nobody else's, now and then a put."""
    kind = source.choice(("get", "get", "get", "append", "append", "append", "put"))
    return kind, None if kind == "get" else f"x {client} {done} y"


def pick_item(_source: random.Random, client: int, done: int) -> tuple[str, Value]:
    """A client that appends and reads a list by turns."""
    return ("append", client * 10_000 + done) if done % 2 else ("read", None)


def pick_write(source: random.Random, client: int, done: int) -> tuple[str, Value]:
    """A client of a register, whose values are nobody else's."""
    return ("write", client * 10_000 + done) if source.random() < 0.5 else ("read", None)


def pick_cas(source: random.Random, _client: int, _done: int) -> tuple[str, Value]:
    """A client of a compare-and-set register with five values, as etcd's recordings have them."""
    kind = source.choice(("read", "write", "cas"))
    return kind, {"read": None, "write": source.randrange(5)}.get(kind, (source.randrange(5), source.randrange(5)))


def pick_add(source: random.Random, _client: int, _done: int) -> tuple[str, Value]:
    """A client of a counter."""
    return ("add", source.randrange(1, 6)) if source.random() < 0.5 else ("read", None)


def pick_redis(source: random.Random, client: int, done: int) -> tuple[str, Value]:
    """A client of the Redis-like store."""
    kind = source.choice(("get", "get", "set", "setnx", "getset", "getdel", "cas"))
    new = f"{client}:{done}"
    return kind, {"get": None, "getdel": None, "cas": (None, new)}.get(kind, new)


PICKS = {
    "kv": pick_text,
    "append": pick_item,
    "register": pick_write,
    "cas": pick_cas,
    "counter": pick_add,
    "redis": pick_redis,
}


@pytest.mark.parametrize("name", PICKS)
def test_ten_thousand_operations_are_decided_in_few_steps(
    name: str, record: Record, spoil: Callable[..., list[Operation]]
) -> None:
    """10 clients, 20 keys, 10,000 operations: decided after about as many positions, as is the history spoilt once."""
    model = model_named(name)
    history = record(model, PICKS[name], seed=7, clients=10, operations=10_000, keys=20)
    assert check(history, model, steps_max=30_000).verdict is Verdict.YES
    if name != "cas":  # five values come back too often for a stale read to be a wrong one
        assert check(spoil(history, model, seed=8), model, steps_max=30_000).verdict is Verdict.NO


@pytest.mark.parametrize("name", ["kv", "append", "register", "counter"])
@pytest.mark.parametrize(("keys", "unknown"), [(1, 0.0), (1, 0.05), (10, 0.0), (10, 0.05)])
def test_fifty_clients_on_few_keys_are_decided(
    name: str, keys: int, unknown: float, record: Record, spoil: Callable[..., list[Operation]]
) -> None:
    """50 clients, all of them on one key if need be, and lost answers: still a verdict, both ways."""
    model = model_named(name)
    history = record(model, PICKS[name], seed=3, clients=50, operations=1_000, keys=keys, unknown=unknown)
    assert check(history, model, steps_max=100_000).verdict is Verdict.YES
    assert check(spoil(history, model, seed=4), model, steps_max=100_000).verdict is not Verdict.UNKNOWN


def test_two_hundred_lost_writes_on_one_register_are_decided(record: Record) -> None:
    """A fifth of all answers lost, on five values: operations that nobody heard of again do not drown the search."""
    model = model_named("register")
    history = record(model, pick_cas, seed=1, clients=5, operations=1_000, keys=1, unknown=0.2)
    assert check(history, model, steps_max=100_000).verdict is Verdict.YES


def _op(client: int, kind: str, value: Value, call: float, end: float | None, key: str | None = None) -> Operation:
    """Make an operation; the value of a read is its answer."""
    read = kind == "read"
    return Operation(client, kind, None if read else value, value if read else None, call, end, key)


def test_each_key_is_judged_by_itself() -> None:
    """A key without an order makes the answer no and is named; the other keys keep their yes."""
    history = [_op(1, "write", 1, 0, 1, "x"), _op(1, "read", None, 2, 3, "x"), _op(1, "read", None, 2, 3, "y")]
    result = check(history, model_named("register"))
    assert result.verdict is Verdict.NO
    assert {part.key: part.verdict for part in result.partitions} == {"x": Verdict.NO, "y": Verdict.YES}
    assert [part.key for part in result.failing()] == ["x"]


def test_an_operation_without_answer_may_take_effect_late_or_never() -> None:
    """A lost write explains a read much later, and needs not explain any; it cannot take effect before its call."""
    register = model_named("register")
    lost = _op(1, "write", 1, 10, None)
    assert check([lost, _op(2, "read", None, 20, 21), _op(2, "read", 1, 30, 31)], register).verdict is Verdict.YES
    assert check([lost, _op(2, "read", None, 20, 21)], register).verdict is Verdict.YES
    assert check([lost, _op(2, "read", 1, 8, 9)], register).verdict is Verdict.NO
    twice = [lost, _op(2, "read", 1, 20, 21), _op(2, "write", 2, 22, 23), _op(2, "read", 1, 24, 25)]
    assert check(twice, register).verdict is Verdict.NO


def test_operations_that_touch_in_time_are_concurrent() -> None:
    """One precedes another only if it returned strictly before the other was called."""
    register = model_named("register")
    assert check([_op(1, "write", 1, 0, 5), _op(2, "read", None, 5, 6)], register).verdict is Verdict.YES
    assert check([_op(1, "write", 1, 0, 5), _op(2, "read", None, 5.5, 6)], register).verdict is Verdict.NO


def _hard() -> tuple[list[Operation], Model]:
    """Return a history whose verdict takes a while: 12 different sums, one of which must be hit."""
    adds = [Operation(i, "add", 2**i, None, 0, 100) for i in range(12)]
    return [
        *adds,
        Operation(99, "read", None, 2**12 - 2, 1, 2),
        Operation(98, "read", None, -1, 101, 102),
    ], model_named("counter")


@pytest.mark.parametrize("how", ["steps", "clock"])
def test_a_budget_that_runs_out_gives_unknown(how: str) -> None:
    """After the last step allowed, or once time is up, the verdict is unknown and never a guess."""
    history, model = _hard()
    result: Result
    if how == "steps":
        result = check(history, model, steps_max=50)
        assert result.steps <= 51
    else:
        result = check(history, model, expired=lambda: True)
    assert result.verdict is Verdict.UNKNOWN
    assert check(history, model).verdict is Verdict.NO


def test_a_no_outweighs_an_unknown() -> None:
    """One key proven wrong is enough, whatever was not finished; stopping at the first leaves out the rest."""
    history, model = _hard()
    keyed = [Operation(op.client, op.kind, op.input, op.output, op.call_time, op.return_time, "slow") for op in history]
    wrong = Operation(1, "read", None, 7, 200, 201, "wrong")
    result = check([*keyed, wrong], model, steps_max=50)
    assert [part.verdict for part in result.partitions] == [Verdict.UNKNOWN, Verdict.NO]
    assert result.verdict is Verdict.NO
    early = Operation(1, "read", None, 7, -2, -1, "wrong")
    assert len(check([*keyed, early], model, stop_at_first=True).partitions) == 1


def test_an_empty_history_has_an_order() -> None:
    """Nothing happened, in the only possible order."""
    assert check([], model_named("kv")).verdict is Verdict.YES


def test_a_history_that_does_not_fit_the_model_is_refused() -> None:
    """A kind the model does not have is an error that names it, before any search."""
    with pytest.raises(HistoryError, match="model 'register' has no kind 'push', only read, write, cas"):
        check([_op(1, "push", 1, 0, 1)], model_named("register"))


def test_partitions_keep_the_order_of_calls() -> None:
    """Each key's operations come by call time, the keys by their first call."""
    history = [_op(1, "write", 3, 5, 6, "b"), _op(1, "write", 2, 3, 4, "a"), _op(2, "write", 1, 4, 9, "b")]
    assert {key: [op.input for op in ops] for key, ops in partition(history).items()} == {"a": [2], "b": [1, 3]}
