"""One replica under test, `n1`; everybody else is played by the test. All invariants are checked after every step."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.events import Event, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import Message, VoteReply
from raftline.core.raft import Raft
from raftline.sim.core_cluster import CoreCluster, CoreNode

PLAIN = CoreConfig(pre_vote=False, check_quorum=False, guard_lost_disk=False, noop=False, snapshot_chunk_bytes=64)
"""Figure 2 and nothing else."""


class Bench:
    """`n1` of a cluster whose other members never run; what it sends is handed to the test."""

    def __init__(
        self,
        *,
        size: int = 3,
        terms: Sequence[int] = (),
        term: int | None = None,
        vote: str | None = None,
        established: bool = True,
        new: bool = False,
        snapshot: tuple[int, int] = (0, 0),
        **settings: Any,
    ) -> None:
        config = msgspec.structs.replace(PLAIN, **settings)
        self.cluster = CoreCluster(size, config=config, seed=1)
        self.node: CoreNode = self.cluster.nodes["n1"]
        first = snapshot[0] + 1
        disk = self.node.disk
        disk.entries = [Entry(first + n, entry_term, b"%d" % (first + n)) for n, entry_term in enumerate(terms)]
        if not new:
            highest = term if term is not None else max([*terms, snapshot[1]])
            disk.hard_state = HardState(highest, vote, established)
        if snapshot[0]:
            self.others_committed(snapshot[0])
            applied = [(index, b"%d" % index) for index in range(1, snapshot[0] + 1)]
            disk.store(self.meta(*snapshot), self.node.snapshot_file(applied))
        self.node.start()

    def meta(self, index: int, term: int) -> SnapshotMeta:
        """Return what a snapshot there stands for."""
        return SnapshotMeta(index, term, self.membership)

    def others_committed(self, index: int, term: int = 1) -> None:
        """Let it be known that the others have committed up to `index`."""
        committed = self.cluster.record.committed
        committed += [Entry(n, term, b"%d" % n) for n in range(len(committed) + 1, index + 1)]

    @property
    def membership(self) -> Membership:
        """Return the first membership."""
        return self.cluster.membership

    @property
    def core(self) -> Raft:
        """Return the core."""
        return self.node.core

    @property
    def state(self) -> Any:
        """Return its state."""
        return self.node.state

    @property
    def now(self) -> float:
        """Return the time."""
        return self.cluster.now

    def taken(self) -> list[tuple[str, Message]]:
        """Return what was sent since the last call."""
        sent = [(flight.target, flight.message) for flight in self.cluster.pool]
        self.cluster.pool.clear()
        return sent

    def step(self, event: Event) -> list[tuple[str, Message]]:
        """Take one event in and return what was sent."""
        self.node.step(event)
        return self.taken()

    def receive(self, sender: str, message: Message) -> list[tuple[str, Message]]:
        """Deliver a message and return what was sent."""
        return self.step(Received(sender, message))

    def answer(self, sender: str, message: Message) -> Any:
        """Deliver a message and return the one that goes back to its sender."""
        replies = [reply for to, reply in self.receive(sender, message) if to == sender]
        assert len(replies) == 1, replies
        return replies[0]

    def wait(self, seconds: float) -> list[tuple[str, Message]]:
        """Let time pass, with every timer on the way; return what was sent."""
        self.cluster.advance(self.now + seconds)
        return self.taken()

    def time_out(self) -> list[tuple[str, Message]]:
        """Let the election timer run out, nothing before it; return what was sent."""
        self.cluster.now = max(self.now, self.state.election_deadline)
        return self.step(TimerDue())

    def lead(self) -> list[tuple[str, Message]]:
        """Win an election; return what the new leader says first."""
        self.time_out()
        sent: list[tuple[str, Message]] = []
        for pre_vote in (True, False):
            for name in self.membership.voters[1:]:
                role = "pre-candidate" if pre_vote else "candidate"
                if self.core.role.value == role:
                    asked = self.core.term + pre_vote
                    sent = self.receive(name, VoteReply(self.core.term, asked, granted=True, pre_vote=pre_vote))
        assert self.core.is_leader
        return sent

    def log_terms(self) -> list[int]:
        """Return the terms of the entries held."""
        log = self.state.log
        return [entry.term for entry in log.slice(log.base_index + 1, log.last_index + 1)]


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """Make a replica under test."""
    return Bench


@pytest.fixture
def entries() -> Callable[..., tuple[Entry, ...]]:
    """Make entries from an index on, of these terms."""

    def make(first: int, *terms: int, data: bytes = b"") -> tuple[Entry, ...]:
        return tuple(Entry(first + n, term, data or b"%d" % (first + n)) for n, term in enumerate(terms))

    return make
