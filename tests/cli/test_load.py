"""The load finds every kind of broken promise, and nothing where there is none."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from raftline.cli.load import Load
from raftline.cli.local_cluster import ClusterTrouble


def run(store: Any, until: Callable[[Load], bool], **options: Any) -> Load:
    """Let a load go on until something holds (at most a minute), then stop it."""
    load = Load([store.port], timeout_s=60.0, **options)
    load.start()
    deadline = time.monotonic() + 60
    while not until(load) and time.monotonic() < deadline:
        time.sleep(0.005)
    load.stop()
    return load


def test_a_faithful_store_has_no_findings(store: Any) -> None:
    """Everything acknowledged is there, on every look."""
    load = run(store, lambda load: load.writes > 200 and load.reads > 20)
    assert (load.wrong, load.unknown, load.refusals) == ([], 0, {})
    assert load.writes > 200
    assert load.check_node(store.port) == []
    assert load.contents(store.port).keys() == load.acknowledged.keys() | load.floors().keys()


def test_a_lost_write_is_found(store: Any) -> None:
    """An acknowledged key that is missing is named."""
    load = run(store, lambda load: load.writes > 50)
    lost = next(iter(load.acknowledged))
    del store.values[lost.encode()]
    assert [fault.split(" ")[0] for fault in load.check_node(store.port)] == [lost]


def test_a_store_that_forgets_is_found(store: Any) -> None:
    """SET without effect: every key is missing, the counters are right."""
    store.forgets = True
    load = run(store, lambda load: load.writes > 20)
    assert len(load.check_node(store.port)) == len(load.acknowledged) > 0


def test_a_stale_read_is_found_while_it_happens(store: Any) -> None:
    """A read that shows less than was acknowledged before it began."""
    store.lags = 3
    load = run(store, lambda load: bool(load.wrong))
    assert load.wrong[0].startswith("STALE READ: GET load:counter:")


def test_a_counter_that_goes_back_is_found(store: Any) -> None:
    """Acknowledged increments that are gone afterwards, though each single reply was right."""
    load = run(store, lambda load: load.writes > 50)
    for key, floor in load.floors().items():
        store.values[key.encode()] = b"%d" % (floor - 1)
    assert len(load.check_node(store.port)) == 3


def test_an_increment_that_was_not_carried_out_is_found(store: Any) -> None:
    """INCR that returns an old number."""
    store.repeats = True
    load = run(store, lambda load: bool(load.wrong))
    assert "INCR load:counter:" in load.wrong[0]


def test_an_increment_carried_out_twice_is_found(store: Any) -> None:
    """More than was attempted is as wrong as less than was acknowledged."""
    load = run(store, lambda load: load.writes > 10, writers=1)
    store.values[b"load:counter:0"] = b"1000000"
    assert "1000000" in load.check_node(store.port)[0]


def test_refusals_are_counted_and_promise_nothing(store: Any) -> None:
    """An error is an unknown outcome: no finding, and what the client was told is kept."""
    store.refuses = True
    load = run(store, lambda load: load.unknown > 5)
    assert (load.wrong, load.writes) == ([], 0)
    assert any("no leader" in text for text in load.refusals)
    store.refuses = False
    assert load.check_node(store.port) == []


def test_the_first_write_after_a_moment_is_the_one_sent_after_it(store: Any) -> None:
    """What was under way before does not count as a resumption."""
    load = run(store, lambda load: load.writes > 20)
    assert load.first_acknowledged_after(time.monotonic()) is None
    first = load.first_acknowledged_after(0.0)
    assert first is not None
    assert load.wait_acknowledged_after(0.0, 1.0) == first
    assert 0 < load.silent_s < 60
    with pytest.raises(ClusterTrouble, match="no write was acknowledged within 0 s"):
        load.wait_acknowledged_after(time.monotonic(), 0)
