"""A replica of one voter: everything it proposes is committed as soon as it is said to be on disk."""

import random
from collections.abc import Callable, Iterable

import pytest

from raftline.core.config import CoreConfig
from raftline.core.events import Persisted, TimerDue
from raftline.core.membership import Membership
from raftline.core.raft import Raft
from raftline.replica.replica import Replica
from raftline.replica.state_machine import StateMachine


class Journal(StateMachine):
    """Remembers every command; `boom` raises; `text` returns the wrong type."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, bytes, int]] = []

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        if command == b"boom":
            raise ValueError("boom at the same place on every replica")
        if command == b"text":
            return "not bytes"  # type: ignore[return-value]
        self.commands.append((index, command, time_ms))
        return b"did " + command

    def snapshot(self) -> Iterable[bytes]:
        return [repr(self.commands).encode()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.commands = [(0, chunk, 0) for chunk in chunks]


class Driver:
    """Runs a single-voter replica to completion after each proposal."""

    def __init__(self, machine: StateMachine) -> None:
        core = Raft(
            "n1",
            Membership.of({"n1": "127.0.0.1:7001"}),
            random=random.Random(1),
            now=0.0,
            config=CoreConfig(command_version=machine.version),
        )
        self.machine = machine
        self.replica = Replica(core, machine)
        self.replica.step(TimerDue(), 0.0)
        self.settle()

    def settle(self) -> None:
        """Persist and apply until nothing is left to do."""
        while (ready := self.replica.take_ready()) is not None:
            if ready.must_persist:
                self.replica.step(Persisted(ready.number), 0.0)
            self.replica.apply_some(1000, 0.0)

    def propose(self, *commands: bytes, time_ms: int = 0) -> list[bytes | Exception]:
        """Propose wrapped commands together and return their outcomes."""
        outcomes: dict[int, bytes | Exception] = {}
        calls: dict[int, int] = {}

        def slot(position: int) -> Callable[[bytes | Exception], None]:
            def done(outcome: bytes | Exception) -> None:
                outcomes[position] = outcome
                calls[position] = calls.get(position, 0) + 1

            return done

        assert self.replica.propose(commands, [slot(n) for n in range(len(commands))], 0.0, time_ms)
        self.settle()
        assert set(calls.values()) == {1}, "each proposal is answered exactly once"
        return [outcomes[n] for n in range(len(commands))]


@pytest.fixture
def driver() -> Driver:
    """A replica that leads alone."""
    return Driver(Journal())


@pytest.fixture
def make_driver() -> Callable[[StateMachine], Driver]:
    """Return a function that makes a replica around a machine, which leads alone."""
    return Driver
