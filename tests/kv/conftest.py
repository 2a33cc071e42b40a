"""Stand-ins for the node, so that the store can be tested without a group around it."""

import asyncio
from collections.abc import Callable

import pytest

from raftline.kv.machine import KvMachine
from raftline.runtime.status import Status


def make_status(*, role: str = "leader") -> Status:
    """Return the status of a lone node."""
    return Status(
        node_id="n1",
        cluster_id="test",
        role=role,
        leader_id="n1" if role == "leader" else "n2",
        leader_address="127.0.0.1:7001@17001",
        term=1,
        compacted_index=0,
        snapshot_index=0,
        applied_index=5,
        commit_index=5,
        last_index=6,
        persisted_index=6,
        log_bytes=0,
        pending_requests=0,
        apply_errors=0,
        sessions=0,
        digest=0,
        disk_batches=0,
        snapshots_taken=0,
        snapshots_installed=0,
        snapshot_in_progress=False,
        established=True,
        members=(),
    )


class FakeClock:
    """A wall clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms


class HeldNode:
    """A node whose answers come when the test says so; commands are applied at that moment."""

    def __init__(self, machine: KvMachine, clock: FakeClock) -> None:
        self.machine = machine
        self.clock = clock
        self.waiting: list[tuple[bytes | None, Callable[..., None]]] = []
        self.is_leader = True
        self.applied = 0
        self.log: list[bytes] = []

    def submit(self, command: bytes, done: Callable[[bytes | Exception], None]) -> None:
        self.waiting.append((command, done))

    def submit_read(self, done: Callable[[Exception | None], None]) -> None:
        self.waiting.append((None, done))

    def status(self) -> Status:
        return make_status()

    def answer(self, failure: Exception | None = None) -> int:
        """Answer everything that waits now; return how much that was."""
        waiting, self.waiting = self.waiting, []
        for command, done in waiting:
            if failure is not None:
                done(failure)
            elif command is None:
                done(None)
            else:
                self.applied += 1
                self.log.append(command)
                done(self.machine.apply(command, self.applied, self.clock.wall_ms()))
        return len(waiting)

    def answer_all(self) -> None:
        """Answer until nothing waits."""
        while self.waiting:
            self.answer()


class PromptNode(HeldNode):
    """A node that answers in the next turn of the event loop."""

    def submit(self, command: bytes, done: Callable[[bytes | Exception], None]) -> None:
        self._schedule()
        super().submit(command, done)

    def submit_read(self, done: Callable[[Exception | None], None]) -> None:
        self._schedule()
        super().submit_read(done)

    def _schedule(self) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.answer)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def machine() -> KvMachine:
    return KvMachine()


@pytest.fixture
def held_node(machine: KvMachine, clock: FakeClock) -> HeldNode:
    return HeldNode(machine, clock)


@pytest.fixture
def prompt_node(machine: KvMachine, clock: FakeClock) -> PromptNode:
    return PromptNode(machine, clock)
