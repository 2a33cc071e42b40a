"""The service labs: our store and controller pass, and what services are broken by is noticed."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest

from raftline.kv.sharded.holdings import Holdings
from raftline.kv.sharded.machine import ShardMachine
from raftline.lab.promises import PROMISES
from raftline.lab.services.catalogue import SERVICE_PARTS, SERVICE_TESTS, find_services
from raftline.lab.services.run import run_service_test
from raftline.replica.sessions import Sessions
from raftline.runtime.node import Node
from raftline.shards import configuration, controller
from raftline.shards.configuration import Change, Configuration
from raftline.shards.controller import ControllerMachine, encode_query
from raftline.shards.ranges import SLOT_COUNT, SlotRange
from raftline.sim.quiet import quiet

QUICK = [
    *find_services("4A"),
    *find_services("concurrent append to same key, unreliable"),
    *find_services("progress in majority, none in minority, completion after heal"),
    *find_services("unreliable net, restarts, partitions, many clients"),
    *find_services("InstallSnapshot RPC"),
    *find_services("unreliable net, restarts, partitions, snapshots, many clients"),
    *find_services("static shards"),
    *find_services("join then leave"),
    *find_services("servers miss configuration changes"),
    *find_services("shard deletion"),
    *find_services("unaffected shards are served"),
    *find_services("partial migration is served"),
]
"""Those that cost little; `raftline lab 3A 3B 4A` runs all."""


@pytest.fixture(autouse=True)
def _without_logs() -> Iterator[None]:
    with quiet():
        yield


@pytest.mark.parametrize("test", QUICK, ids=lambda test: test.title)
def test_ours_pass(test: Any) -> None:
    """Store and controller keep every promise, and the seed fixes everything (G7 to G9, G17)."""
    result = run_service_test(test, seed=5)
    assert result.failure is None, result.failure
    again = run_service_test(test, seed=5)
    assert again.numbers == result.numbers


def test_titles_are_found() -> None:
    """Every title names one test; parts name theirs, in any case, and nothing else is found."""
    titles = [test.title for test in SERVICE_TESTS]
    assert len(set(titles)) == len(titles)
    assert all(find_services(test.title) == (test,) for test in SERVICE_TESTS)
    assert [len(find_services(part.lower())) for part in SERVICE_PARTS] == [14, 9, 10, 14]
    assert find_services("one") == ()


def _nothing(self: Sessions, *_arguments: Any, **_more: Any) -> None:
    """Stand for a step that somebody forgot."""


def _slivers(_ranges: Any, groups: Any) -> tuple[SlotRange, ...]:
    """All slots are served, most of them by the last group."""
    order = sorted(groups)
    last = len(order) - 1
    return tuple(SlotRange(n, SLOT_COUNT if n == last else n + 1, group) for n, group in enumerate(order))


def _from_scratch(_ranges: Any, groups: Any) -> tuple[SlotRange, ...]:
    """Balanced, without a look at who has what."""
    order = sorted(groups)
    edges = [SLOT_COUNT * n // max(1, len(order)) for n in range(len(order) + 1)]
    return tuple(SlotRange(low, high, group) for (low, high), group in zip(pairwise(edges), order, strict=True))


_read, _node_read, _changed = ControllerMachine.read, Node.read, configuration.changed


def _newest(self: ControllerMachine, _query: bytes, time_ms: int) -> bytes:
    return _read(self, encode_query(), time_ms)


def _newest_alone(self: ControllerMachine) -> list[bytes]:
    return [b"\x91" + _read(self, encode_query(), 0)]


def _whatever_is_here(self: Node, query: bytes) -> Any:
    return _node_read(self, query, consistency="stale")


def _in_hash_order(before: Configuration, change: Change) -> Configuration:
    """As on a replica that walks over a set: each process, and here each call, has an order of its own."""
    after = _changed(before, change)
    groups = tuple(sorted(after.groups, key=lambda _group: _chance.random()))
    return msgspec.structs.replace(after, groups=groups)


_chance = Random(1)


def _on_arrival_only(_self: ShardMachine, _args: list[bytes]) -> None:
    """Serve whatever was let in: nobody looks when it is applied."""


def _before_it_came(self: Holdings, slot: int) -> bool:
    return self.configuration.owner(slot) == self.group


def _never(self: ShardMachine, _number: int, target: int, *_bounds: int) -> bytes:
    """Keep what was released, and say that it is gone."""
    departure = self.holdings.given.get(target)
    if departure is not None:
        self.holdings.on_dropped(target, list(departure.released))
    return b"+OK\r\n"


BROKEN: list[tuple[str, object, str, object, str]] = [
    ("repeated changes, with failures", Sessions, "remember", _nothing, "exactly once"),
    ("unreliable net, restarts, partitions, many clients", Sessions, "remember", _nothing, "exactly once"),
    ("unreliable net, restarts, partitions, snapshots, many clients", Sessions, "load", _nothing, "raft's promises"),
    (
        "progress in majority, none in minority, completion after heal",
        Node,
        "read",
        _whatever_is_here,
        "no progress or linearizable",
    ),
    ("unreliable net, restarts, partitions, many clients", Node, "read", _whatever_is_here, "exactly once"),
    ("basic leave and join", configuration, "balance", _slivers, "balanced"),
    ("minimal transfers after joins", configuration, "balance", _from_scratch, "fewest moves"),
    ("minimal transfers after leaves", configuration, "balance", _from_scratch, "fewest moves"),
    ("historical queries", ControllerMachine, "read", _newest, "history kept"),
    ("historical queries, with snapshots", ControllerMachine, "snapshot", _newest_alone, "history kept"),
    ("join then leave", ShardMachine, "check_served", _on_arrival_only, "exactly once"),
    ("concurrent puts and configuration changes", Holdings, "serves", _before_it_came, "slots or exactly once"),
    ("unreliable, with restarts", Sessions, "merge", _nothing, "exactly once"),
    ("shard deletion", ShardMachine, "_drop", _never, "given is gone"),
    ("same configuration on every server", controller, "changed", _in_hash_order, "history kept"),
]
"""Test, owner and name of what is replaced, wrong code, and the promise that is found broken."""


@pytest.mark.parametrize(
    ("title", "owner", "name", "wrong", "promise"),
    BROKEN,
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
def test_a_broken_service_is_noticed(
    title: str, owner: object, name: str, wrong: object, promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within ten seeds a test says which promise a wrong line breaks, and which rules to look at."""
    monkeypatch.setattr(owner, name, wrong)
    [test] = find_services(title)
    results = (run_service_test(test, seed) for seed in range(10))
    failure = next((result.failure for result in results if result.failure is not None), None)
    assert failure is not None
    assert failure.promise in [PROMISES[each].sentence for each in promise.split(" or ")]
    assert failure.rules
