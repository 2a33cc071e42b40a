"""Versions of commands: used when every member knows them, the same on every replica, and never by who does not."""

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from raftline.core.config import CoreConfig
from raftline.core.events import Persisted, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, VoteReply
from raftline.core.raft import Raft
from raftline.errors import ConfigError
from raftline.replica.commands import plain, use_version
from raftline.replica.replica import Replica
from raftline.replica.state_machine import StateMachine

if TYPE_CHECKING:
    from tests.replica.conftest import Driver

    MakeDriver = Callable[[StateMachine], Driver]


class Versioned(StateMachine):
    """Notes what it is told, in order."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.told: list[object] = []

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        self.told.append(command)
        return b""

    def use_version(self, version: int) -> None:
        self.told.append(version)

    def snapshot(self) -> Iterable[bytes]:
        return []

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.told = ["restored", *chunks]


class Leader:
    """A replica that leads n2 and n3, or others; messages to them are collected."""

    def __init__(self, version: int, membership: Membership | None = None) -> None:
        members = membership or Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
        config = CoreConfig(guard_lost_disk=False, pre_vote=False, command_version=version)
        core = Raft("n1", members, random=random.Random(1), now=0.0, config=config)
        self.machine = Versioned(version)
        self.replica = Replica(core, self.machine)
        self.now = core.next_deadline
        self.sent: list[tuple[str, Any]] = []
        self.replica.step(TimerDue(), self.now)
        self.settle()
        for voter in members.voters[1:]:
            self.receive(voter, VoteReply(1, 1, granted=True))
        assert core.is_leader

    def settle(self) -> None:
        """Persist, apply and collect messages until nothing is left to do."""
        while (ready := self.replica.take_ready()) is not None:
            self.sent += [(out.to, out.message) for out in (*ready.messages, *ready.messages_after_persist)]
            if ready.must_persist:
                self.replica.step(Persisted(ready.number), self.now)
            self.replica.apply_some(1000, self.now)

    def receive(self, sender: str, message: Any) -> None:
        """Take a message in."""
        self.replica.step(Received(sender, message), self.now)
        self.settle()

    def answer(self, sender: str, version: int) -> None:
        """Let a follower acknowledge everything that was sent to it, and tell its version."""
        requests = [message for to, message in self.sent if to == sender and isinstance(message, AppendRequest)]
        last = requests[-1]
        match = last.prev_index + len(last.entries)
        reply = AppendReply(1, 1, success=True, prev_index=last.prev_index, match_index=match, round=last.round)
        self.receive(sender, msgspec.structs.replace(reply, command_version=version))

    @property
    def in_force(self) -> int:
        """The version that may be used."""
        return self.replica.version.in_force


def test_a_version_is_used_when_every_member_knows_it() -> None:
    """Not when a majority does; and as the lowest of all."""
    leader = Leader(4)
    for _ in range(3):
        leader.answer("n2", 3)
        assert leader.in_force == 1
    leader.answer("n3", 5)
    leader.answer("n2", 3)
    assert leader.in_force == 3
    assert leader.machine.told == [3]
    leader.answer("n2", 4)
    leader.answer("n3", 5)
    leader.answer("n2", 4)
    assert leader.in_force == 4


def test_learners_count() -> None:
    """They apply every command, too."""
    members = Membership.of({"n1": "n1:1", "n2": "n2:1"})
    learner = msgspec.structs.replace(members, learners=("n3",), addresses=(*members.addresses, ("n3", "n3:1")))
    leader = Leader(2, learner)
    for _ in range(3):
        leader.answer("n2", 2)
    assert leader.in_force == 1
    leader.answer("n3", 1)
    leader.answer("n2", 2)
    assert leader.in_force == 1
    leader.answer("n3", 2)
    leader.answer("n2", 2)
    assert leader.in_force == 2


def test_it_is_asked_for_once() -> None:
    """One entry for each version, however many answers come."""
    leader = Leader(2)
    for _ in range(5):
        leader.answer("n3", 2)
        leader.answer("n2", 2)
    entries = [
        entry.data for entry in leader.replica.core.state.log.slice(1, leader.replica.core.state.log.last_index + 1)
    ]
    assert entries == [b"", use_version(2)]


def test_nodes_of_before_know_the_first_version() -> None:
    """Their answers do not say so."""
    leader = Leader(2)
    leader.answer("n2", 2)
    leader.answer("n3", AppendReply(1, 1, True, 0, 0).command_version)  # noqa: FBT003
    leader.answer("n2", 2)
    assert leader.in_force == 1


def test_it_is_in_force_on_every_replica_at_the_same_place(make_driver: "MakeDriver") -> None:
    """Between two commands of the log; lower versions and repetitions change nothing."""
    machine = Versioned(3)
    driver = make_driver(machine)
    machine.told.clear()
    driver.propose(plain(b"a"), use_version(2), plain(b"b"), use_version(3), use_version(2), plain(b"c"))
    assert machine.told == [b"a", 3, b"b", 3, 3, b"c"]
    assert driver.replica.version.in_force == 3


def test_a_node_that_does_not_know_a_version_stops_in_words(make_driver: "MakeDriver") -> None:
    """Before it would misunderstand a command."""
    driver = make_driver(Versioned(2))
    with pytest.raises(ConfigError, match=r"commands of version 3, this node's .* up to 2: start it with the newer"):
        driver.propose(use_version(3))


def test_it_travels_with_snapshots(make_driver: "MakeDriver") -> None:
    """Who restores one learns what is in force, or stops."""
    source = make_driver(Versioned(2)).replica
    assert source.version.in_force == 2
    meta, chunks = source.snapshot()
    header = next(chunks)
    machine = Versioned(2)
    new = make_driver(machine).replica
    assert new.applied == meta.index
    new.restore_begin(meta)
    new.restore_header(header)
    new.restore_end(0.0)
    assert new.version.in_force == 2
    assert machine.told[-2:] == ["restored", 2]
    old = make_driver(Versioned(1)).replica
    old.restore_begin(meta)
    with pytest.raises(ConfigError, match="start it with the newer software"):
        old.restore_header(header)


def test_snapshots_of_before_are_of_the_first_version(driver: "Driver") -> None:
    """Their header has no such field."""
    meta, chunks = driver.replica.snapshot()
    header = msgspec.msgpack.decode(next(iter(chunks)))
    driver.replica.restore_begin(meta)
    driver.replica.restore_header(msgspec.msgpack.encode(header[:3]))
    assert driver.replica.version.in_force == 1


def test_a_leader_alone_needs_to_ask_nobody(make_driver: "MakeDriver") -> None:
    """It knows all members."""
    assert make_driver(Versioned(1)).replica.version.in_force == 1
    assert make_driver(Versioned(7)).replica.version.in_force == 7
