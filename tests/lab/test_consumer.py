"""The service behind a server notices every delivery that is wrong, early, twice, late or of the wrong type."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from raftline.lab import ApplyMsg
from raftline.lab.bench import Bench
from raftline.lab.consumer import Consumer, Ledger
from raftline.sim.loop import SimLoop


class World:
    """Two consumers with one ledger."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        with loop.entered():
            self.bench = Bench(lambda: None, 1, virtual=True)
        self.ledger = Ledger(self.bench, 2)
        self.consumers = [Consumer(self.bench, self.ledger, server, snapshots=True) for server in range(2)]

    def put(self, server: int, message: Any) -> None:
        """Deliver one message."""
        self.loop.run_until_complete(self.consumers[server].put(message))

    def command(self, server: int, index: int, command: bytes, term: int = 1) -> None:
        """Deliver one command."""
        self.put(server, ApplyMsg(command_valid=True, command=command, command_index=index, command_term=term))

    def broken(self) -> tuple[str, str] | None:
        """Return name and sight of the broken promise, if there is one."""
        if not self.bench.failed.done():
            return None
        broken = self.bench.failed.result()
        return broken.name, broken.seen


@pytest.fixture
def world() -> Iterator[World]:
    """Return two consumers that delivered nothing."""
    with SimLoop(1) as loop:
        yield World(loop)


def test_equal_deliveries_are_counted(world: World) -> None:
    """Two servers with the same commands are two that delivered an index (H4)."""
    for server in range(2):
        world.command(server, 1, b"a")
    world.command(0, 2, b"b")
    assert world.ledger.count(1) == (2, b"a")
    assert world.ledger.count(2) == (1, b"b")
    assert world.ledger.count(3) == (0, None)
    assert world.broken() is None


def test_another_command_at_an_index_is_noticed(world: World) -> None:
    """The message names both servers, both commands and both terms (B17)."""
    world.command(0, 1, b"a", term=1)
    world.command(1, 1, b"b", term=2)
    broken = world.broken()
    assert broken is not None
    assert broken[0] == "same command"
    assert broken[1].startswith(
        "at index 1 server 1 delivered b'b' of term 2, but server 0 had delivered b'a' of term 1"
    )


def test_the_same_command_of_another_term_is_noticed(world: World) -> None:
    """Index and term identify an entry; two terms at one index cannot both be right (B2)."""
    world.command(0, 1, b"a", term=1)
    world.command(1, 1, b"a", term=2)
    broken = world.broken()
    assert broken is not None
    assert broken[0] == "same command"


@pytest.mark.parametrize("index", [0, 2, -1])
def test_gaps_and_repetitions_are_noticed(world: World, index: int) -> None:
    """Anything but the next index is out of order (F8)."""
    world.command(0, index, b"x")
    broken = world.broken()
    assert broken is not None
    assert broken[0] == "order"


def test_two_appliers_are_noticed(world: World) -> None:
    """A put() that begins before the previous one has returned is a second applier's (F8)."""
    consumer = world.consumers[0]
    consumer.delay_s = 1.0
    first = world.loop.create_task(consumer.put(ApplyMsg(command_valid=True, command_index=1)))
    second = world.loop.create_task(consumer.put(ApplyMsg(command_valid=True, command_index=2)))
    world.loop.run_for(3)
    assert first.done()
    assert second.done()
    broken = world.broken()
    assert broken is not None
    assert "two appliers" in broken[1]


def test_a_snapshot_is_taken_at_nine_and_restores_elsewhere(world: World) -> None:
    """At index 9 snapshot() is called with bytes that bring another server to the same state (D1, D11)."""
    taken: list[tuple[int, bytes]] = []
    world.consumers[0].raft = SimpleNamespace(snapshot=lambda index, data: taken.append((index, data)))
    for index in range(1, 10):
        world.command(0, index, b"%d" % index)
    assert [index for index, _ in taken] == [9]
    world.put(1, ApplyMsg(snapshot_valid=True, snapshot=taken[0][1], snapshot_index=9, snapshot_term=1))
    assert world.ledger.count(5) == (2, b"5")
    world.command(1, 10, b"ten")
    assert world.broken() is None


@pytest.mark.parametrize(
    ("index", "term", "data", "name"),
    [
        (2, 1, None, "forward"),
        (3, 1, b"garbage", "snapshot"),
        (4, 1, None, "snapshot"),
        (3, 7, None, "snapshot"),
    ],
    ids=["behind", "garbage", "wrong index", "wrong term"],
)
def test_wrong_snapshots_are_noticed(world: World, index: int, term: int, data: bytes | None, name: str) -> None:
    """A snapshot that moves back, says nothing, or is announced at another index or term is noticed (D9, D5)."""
    for number in range(1, 4):
        world.command(0, number, b"x")
    world.command(1, 1, b"x")
    world.command(1, 2, b"x")
    content = world.ledger.encode(0, min(index, 3)) if data is None else data
    world.put(1, ApplyMsg(snapshot_valid=True, snapshot=content, snapshot_index=index, snapshot_term=term))
    broken = world.broken()
    assert broken is not None
    assert broken[0] == name


@pytest.mark.parametrize(
    "message",
    [
        None,
        {"command": b"x"},
        ApplyMsg(),
        ApplyMsg(command_valid=True, snapshot_valid=True),
        SimpleNamespace(
            command_valid=True,
            command="text",
            command_index=1,
            command_term=1,
            snapshot_valid=False,
            snapshot=b"",
            snapshot_index=0,
            snapshot_term=0,
        ),
    ],
    ids=["None", "dict", "neither", "both", "text"],
)
def test_wrong_types_are_noticed(world: World, message: Any) -> None:
    """Whatever is put, put() returns, and says what is wrong with it (H4)."""
    world.put(0, message)
    broken = world.broken()
    assert broken is not None
    assert broken[0] == "types"


def test_deliveries_of_the_dead_are_noticed_after_a_grace_time(world: World) -> None:
    """A dead incarnation's delivery changes nothing, and is reported once its loops had time to end (F22)."""
    world.consumers[0].killed_at = 1.0
    world.command(0, 1, b"x")
    assert world.broken() is None
    assert world.ledger.count(1) == (0, None)
    world.loop.run_for(2)
    world.command(0, 1, b"x")
    broken = world.broken()
    assert broken is not None
    assert broken[0] == "killed"


def test_an_exception_of_snapshot_is_the_servers(world: World) -> None:
    """What snapshot() raises ends the test as the implementation's failure (H6)."""

    def snapshot(index: int, data: bytes) -> None:
        raise KeyError(index, len(data))

    world.consumers[0].raft = SimpleNamespace(snapshot=snapshot)
    for index in range(1, 10):
        world.command(0, index, b"x")
    broken = world.broken()
    assert broken is not None
    assert broken[0] == "no exception"
    assert "snapshot(9, ...) raised: KeyError" in broken[1]
