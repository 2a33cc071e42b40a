"""States, compared wherever a snapshot goes."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from raftline.core.entries import SnapshotMeta
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine, encode_command
from raftline.replica.sessions import Sessions
from raftline.sim.state_checks import StateChecks, difference, state_of


class Snapshotting:
    """Takes and restores nothing."""

    def take(self) -> None:
        """Take one."""

    def restore(self, _meta: SnapshotMeta, done: Callable[[], None]) -> None:
        """Be done at once."""
        done()


def group(applied: int = 0, **keys: str) -> Any:
    """Return as much of a group as the checks look at, with these keys in its store."""
    machine = KvMachine()
    for key, value in keys.items():
        machine.apply(encode_command([b"SET", key.encode(), value.encode()]), 1, 1000)
    sessions = Sessions()
    sessions.open(1, 1000)
    replica = SimpleNamespace(
        applied=applied,
        time_ms=1000,
        version=SimpleNamespace(in_force=1),
        sessions=sessions,
        machine=machine,
        has_work=False,
        restoring=SnapshotMeta(applied, 1),
        _to_apply=[],
    )
    return SimpleNamespace(replica=replica, snapshotting=Snapshotting(), _scheduled=False)


def restored(one: Any, at: int = 7) -> None:
    """Let a group have restored a snapshot at an index."""

    def done() -> None:
        one.replica.applied = at

    one.replica.applied = at
    one.snapshotting.restore(SnapshotMeta(at, 1), done)


@pytest.fixture
def checks() -> StateChecks:
    """Return checks that saw n1 take a snapshot at 7, with a = 1."""
    checks = StateChecks()
    taker = group(a="1")
    checks.watch("n1", taker)
    taker.replica.applied = 7
    taker.snapshotting.take()
    return checks


def test_the_state_restored_is_the_one_that_was_taken(checks: StateChecks) -> None:
    """Equal states pass; a key that is missing, more, or other is named with both nodes (D2, G14)."""
    same = group(a="1")
    checks.watch("n2", same)
    restored(same)
    for keys, what in (({}, "key a"), ({"a": "2"}, "key a"), ({"a": "1", "b": "1"}, "key b")):
        other = group(0, **keys)
        checks.watch("n2", other)
        with pytest.raises(SafetyViolation, match=rf"n2: restoring.*index 7.*n1.*{what}"):
            restored(other)


def test_what_a_node_begins_with_is_compared_too(checks: StateChecks) -> None:
    """A node that starts from a snapshot begins with the state that was taken (D17)."""
    checks.watch("n2", group(7, a="1"))
    with pytest.raises(SafetyViolation, match="key a"):
        checks.watch("n2", group(7))


def test_a_lost_session_is_noticed(checks: StateChecks) -> None:
    """Sessions, and their order, are part of the state (G9)."""
    other = group(a="1")
    other.replica.sessions.load([])
    checks.watch("n2", other)
    with pytest.raises(SafetyViolation, match="session 1: None and"):
        restored(other)


def test_two_snapshots_at_one_index_are_equal(checks: StateChecks) -> None:
    """Every taker at an index has the same state (G1)."""
    other = group(a="3")
    checks.watch("n2", other)
    other.replica.applied = 7
    with pytest.raises(SafetyViolation, match="taking a snapshot"):
        other.snapshotting.take()


def test_a_snapshot_that_nobody_took_is_noticed(checks: StateChecks) -> None:
    """A snapshot stands for the index at which it was taken (D2)."""
    other = group(a="1")
    checks.watch("n2", other)
    with pytest.raises(SafetyViolation, match="index 8, where nobody took one"):
        restored(other, at=8)


def test_what_waits_behind_a_snapshot_is_not_left_lying(checks: StateChecks) -> None:
    """After a restore the node applies what is committed behind it, or plans to (F10)."""
    other = group(a="1")
    checks.watch("n2", other)
    other.replica.has_work = True
    with pytest.raises(SafetyViolation, match="F10"):
        restored(other)
    other._scheduled = True
    restored(other)


def test_replicas_are_compared_where_they_are_level(checks: StateChecks) -> None:
    """At the end equal positions mean equal states; others are not compared (G1)."""
    one, other, behind = group(9, a="1").replica, group(9, a="2").replica, group(8).replica
    checks.check_equal({"n1": one, "n3": behind})
    with pytest.raises(SafetyViolation, match="key a"):
        checks.check_equal({"n1": one, "n2": other})


def test_the_first_difference_is_shown_short() -> None:
    """Long values are cut, equal states differ in nothing."""
    one, other = state_of(group(a="1" * 500).replica), state_of(group(a="2" * 500).replica)
    assert difference(one, one) is None
    found = difference(one, other)
    assert found is not None
    assert found.startswith("key a: ")
    assert len(found) < 150


@pytest.mark.parametrize("fault", ["applies on", "old entries wait"])
def test_nothing_is_applied_while_a_snapshot_is_on_its_way(fault: str) -> None:
    """From the install on nothing is applied before the snapshot is restored, nor anything it covers after (D11)."""
    checks = StateChecks()
    one = group()
    one.snapshotting.restore = lambda _meta, _done: None
    checks.watch("n1", one)
    if fault == "applies on":
        one.replica.restoring = None
    else:
        one.replica._to_apply = [SimpleNamespace(index=7)]
    with pytest.raises(SafetyViolation, match="D11"):
        one.snapshotting.restore(SnapshotMeta(7, 1), lambda: None)
