"""What a state machine keeps for a snapshot it may let go as soon as nobody will write the rest of it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.runtime.test_snapshotting import Bench

from raftline import StateMachine
from raftline.replica.commands import plain
from raftline.runtime import snapshotting


class Shielded(StateMachine):
    """Gives snapshots that are to be closed: `make` says how."""

    def __init__(self, make: "Callable[[Shielded], Iterable[bytes]]") -> None:
        self.make = make
        self.closed = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        return command

    def snapshot(self) -> Iterable[bytes]:
        return self.make(self)

    def restore(self, chunks: Iterable[bytes]) -> None:
        list(chunks)


class Pieces:
    """An iterator that nobody but its owner closes."""

    def __init__(self, machine: Shielded) -> None:
        self.machine = machine
        self.left = 3

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return bytes(4000)

    def close(self) -> None:
        self.machine.closed += 1


def generated(machine: Shielded) -> Iterator[bytes]:
    """Give the same as a generator."""
    try:
        for _ in range(3):
            yield bytes(4000)
    finally:
        machine.closed += 1


class Stubborn(Pieces):
    """Fails to be closed."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("not now")


def bench_of(directory: Path, make: Any) -> tuple[Bench, Shielded]:
    """Return a leader with something to take a snapshot of."""
    machine = Shielded(make)
    bench = Bench("n1", directory, machine)
    bench.write(plain(b"a"))
    return bench, machine


@pytest.mark.parametrize("make", [Pieces, generated])
@pytest.mark.parametrize("steps", range(4))
def test_a_snapshot_is_closed_when_its_group_stops(tmp_path: Path, make: Any, steps: int) -> None:
    """In that moment, wherever it is: on the way to the disk, or waiting for its pace."""
    bench, machine = bench_of(tmp_path, make)
    bench.is_waiting = True
    bench.snapshots.take()
    for _ in range(steps):
        if bench.disk.submitted:
            bench.disk.step()
    assert (bench.later != []) == (steps > 1)
    assert machine.closed == 0
    bench.snapshots.stop()
    bench.snapshots.stop()
    assert machine.closed == 1
    bench.snapshots.close_files()
    bench.disk.run()
    assert bench.failures == []


@pytest.mark.parametrize("make", [Pieces, generated])
@pytest.mark.parametrize("steps", range(3))
def test_a_snapshot_is_closed_when_a_newer_state_takes_the_place_of_its_own(
    tmp_path: Path, make: Any, steps: int
) -> None:
    """Nobody will ask for the rest of it."""
    bench, machine = bench_of(tmp_path, make)
    bench.snapshots.take()
    bench.disk.run()
    (event,) = bench.posted
    bench.step(event)
    before = machine.closed
    bench.write(plain(b"b"))
    bench.snapshots.take()
    for _ in range(steps):
        bench.disk.step()
    bench.replica.restore_begin(bench.replica.core.state.snapshot)
    bench.disk.run()
    assert not bench.snapshots.taking
    assert machine.closed == before + 1
    assert bench.failures == []


def test_a_snapshot_that_is_written_whole_is_closed_too(tmp_path: Path) -> None:
    """It may be a file, or something else that holds what has an end of its own."""
    bench, machine = bench_of(tmp_path, Pieces)
    bench.take()
    assert machine.closed == 1


def test_a_snapshot_that_cannot_be_closed_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and the node goes on: what was written is good."""
    said = structlog.testing.CapturingLogger()
    monkeypatch.setattr(snapshotting, "_log", said)
    bench, machine = bench_of(tmp_path, Stubborn)
    bench.take()
    bench.write(plain(b"b"))
    bench.snapshots.take()
    bench.snapshots.stop()
    assert machine.closed == 2
    assert bench.failures == []
    assert [call.kwargs["error"] for call in said.calls] == ["RuntimeError: not now"] * 2
