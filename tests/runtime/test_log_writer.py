"""One write for all groups that wait."""

from typing import Any

import pytest

from raftline.core.ready import Ready
from raftline.errors import StorageError
from raftline.runtime.log_writer import LogWriter
from raftline.wal.wal import Write


class _Source:
    """A group that wants to write what is in `waiting`."""

    def __init__(self, group: int, bench: "_Bench") -> None:
        self._group = group
        self._bench = bench
        self.waiting = False
        self.writing_bytes = 0

    def want(self) -> None:
        self.waiting = True
        self._bench.writer.want(self)

    def take(self, bytes_max: int) -> list[Write]:  # noqa: ARG002
        self.waiting = False
        return [Write(group=self._group)]

    def settle(self) -> list[Ready]:
        if "settle" in self._bench.faults.get(self._group, ""):
            raise ValueError(f"{self._group} cannot settle")
        if self.waiting:
            self._bench.writer.want(self)
        return []

    def on_durable(self, durable: list[Ready]) -> None:  # noqa: ARG002
        if "durable" in self._bench.faults.get(self._group, ""):
            raise ValueError(f"{self._group} cannot go on")
        self._bench.said.append(f"{self._group} is durable")
        if self._bench.goes_on:
            self.want()

    def fail(self, error: BaseException) -> None:
        self._bench.said.append(f"{self._group}: {error}")


class _Bench:
    """A disk that finishes when told to."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Any, Any]] = []
        self.said: list[str] = []
        self.goes_on = False
        self.faults: dict[int, str] = {}
        """What raises, by group."""
        self.now = 0.0
        wal: Any = self
        disk: Any = self
        self.writer = LogWriter(wal, disk, lambda: self.said.append("flush"), lambda: self.now)
        self.groups = [_Source(group, self) for group in range(4)]

    def submit(self, work: Any, done: Any) -> None:
        self.under_way.append((work, done))

    def append(self, writes: list[Write]) -> None:
        self.said.append(f"write {' '.join(str(write.group) for write in writes)}")

    def finish(self, error: BaseException | None = None) -> None:
        work, done = self.under_way.pop(0)
        work()
        done(error)


def test_one_write_serves_every_group_that_waits() -> None:
    """At most one is under way; whoever came meanwhile goes out with the next one, all together (F19)."""
    bench = _Bench()
    for group in bench.groups:
        group.want()
    assert len(bench.under_way) == 1
    bench.finish()
    bench.finish()
    assert bench.said == [
        "write 0",
        "0 is durable",
        "flush",
        "write 1 2 3",
        "1 is durable",
        "2 is durable",
        "3 is durable",
        "flush",
    ]
    assert not bench.under_way
    assert bench.writer.writes == 2


def test_the_disk_goes_on_before_anybody_is_told() -> None:
    """What waits is on its way while the groups work through what is durable."""
    bench = _Bench()
    bench.groups[0].want()
    bench.groups[1].want()
    work, done = bench.under_way.pop(0)
    work()
    bench.said.clear()
    done(None)
    assert len(bench.under_way) == 1
    assert bench.said == ["0 is durable", "flush"]


def test_groups_that_are_told_together_write_together() -> None:
    """Each has something new when it hears of the last write: one write for all of them."""
    bench = _Bench()
    bench.writer.hold()
    for group in bench.groups[:3]:
        group.want()
    assert not bench.under_way, "held"
    bench.writer.let_go()
    bench.goes_on = True
    bench.finish()
    bench.goes_on = False
    assert len(bench.under_way) == 1
    bench.finish()
    assert [what for what in bench.said if what.startswith("write")] == ["write 0 1 2", "write 0 1 2"]


def test_a_failed_write_is_told_to_every_group_in_it() -> None:
    """None of them knows what is on disk (C2)."""
    bench = _Bench()
    bench.writer.hold()
    bench.groups[0].want()
    bench.groups[2].want()
    bench.writer.let_go()
    bench.finish(StorageError("no space"))
    assert bench.said == ["write 0 2", "0: no space", "2: no space"]


@pytest.mark.parametrize(("fault", "words"), [("settle", "0: 0 cannot settle"), ("durable", "0: 0 cannot go on")])
@pytest.mark.parametrize("together", [True, False])
def test_a_group_that_raises_fails_by_itself(*, fault: str, words: str, together: bool) -> None:
    """As by a turn that raises: the others hear of what is on disk, and what waits is written (F19)."""
    bench = _Bench()
    bench.writer.hold()
    bench.groups[0].want()
    if together:
        bench.groups[2].want()
    bench.writer.let_go()
    bench.groups[1].want()
    bench.faults = {0: fault}
    bench.finish()
    written, told = ("write 0 2", ["2 is durable"]) if together else ("write 0", [])
    assert bench.said == [written, words, *told, "flush"]
    assert not bench.writer.is_held
    bench.finish()
    assert bench.said[-3:] == ["write 1", "1 is durable", "flush"]
    bench.groups[3].want()
    bench.finish()
    assert bench.said[-3:] == ["write 3", "3 is durable", "flush"]
