"""Replicas to be talked to by hand: messages in, messages out, disks that are done at once."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.events import Applied, Event, Persisted, Proposed, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import Message, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.ready import Ready
from raftline.core.state import Role

PLAIN = CoreConfig(pre_vote=False, check_quorum=False, guard_lost_disk=False, noop=False)
"""Figure 2 and nothing else."""


class Server:
    """One replica of Figure 2 among `size`, at a time of its own."""

    def __init__(
        self,
        size: int = 3,
        *,
        terms: Sequence[int] = (),
        term: int | None = None,
        vote: str | None = None,
        config: CoreConfig = PLAIN,
        snapshot: SnapshotMeta | None = None,
        seed: int = 1,
    ) -> None:
        names = [f"n{number}" for number in range(1, size + 1)]
        first = snapshot.index + 1 if snapshot else 1
        entries = [Entry(first + n, entry_term, b"%d" % n) for n, entry_term in enumerate(terms)]
        self.now = 0.0
        self.raft = Raft(
            "n1",
            Membership.of({name: f"{name}:1" for name in names}),
            random=random.Random(seed),
            now=self.now,
            config=config,
            hard_state=HardState(term=term if term is not None else max(terms, default=0), vote=vote),
            snapshot=snapshot,
            entries=entries,
        )
        self.readies: list[Ready] = []
        self.applied: list[Entry] = []
        self.holds_disk = False

    @property
    def state(self) -> Any:
        """The replica's state."""
        return self.raft.state

    def step(self, event: Event) -> list[tuple[str, Message]]:
        """Take one event in; return everything that may leave now, in order."""
        self.raft.step(event, self.now)
        return self.settle()

    def settle(self) -> list[tuple[str, Message]]:
        """Carry out what is ready."""
        sent: list[tuple[str, Message]] = []
        while (ready := self.raft.take_ready()) is not None:
            self.readies.append(ready)
            sent += [(out.to, out.message) for out in ready.messages]
            if ready.must_persist and self.holds_disk:
                break
            if ready.must_persist:
                self.raft.step(Persisted(ready.number), self.now)
            sent += [(out.to, out.message) for out in ready.messages_after_persist]
            self.applied += ready.committed
            if ready.committed:
                self.raft.step(Applied(ready.committed[-1].index), self.now)
        return sent

    def receive(self, sender: str, message: Message) -> list[tuple[str, Message]]:
        """Deliver a message."""
        return self.step(Received(sender, message))

    def answer(self, sender: str, message: Message) -> Any:
        """Deliver a request and return the reply to its sender."""
        replies = [reply for to, reply in self.receive(sender, message) if to == sender]
        assert len(replies) == 1, replies
        return replies[0]

    def time_out(self) -> list[tuple[str, Message]]:
        """Let the election timer run out."""
        self.now = max(self.now, self.state.election_deadline)
        return self.step(TimerDue())

    def wait(self, seconds: float) -> list[tuple[str, Message]]:
        """Let time pass, and the timer fire if it is due."""
        self.now += seconds
        return self.step(TimerDue())

    def propose(self, *commands: bytes) -> list[tuple[str, Message]]:
        """Hand clients' commands in."""
        return self.step(Proposed(commands))

    def lead(self) -> list[tuple[str, Message]]:
        """Win an election against everybody's votes; return what the new leader says."""
        self.time_out()
        sent: list[tuple[str, Message]] = []
        for name in self.state.membership.voters[1:]:
            if self.state.role is not Role.LEADER:
                sent = self.receive(name, VoteReply(self.state.term, self.state.term, granted=True))
        assert self.state.role is Role.LEADER
        return sent

    def log_terms(self) -> list[int]:
        """Return the terms of the entries held."""
        log = self.state.log
        return [log.entry(index).term for index in range(log.base_index + 1, log.last_index + 1)]


@pytest.fixture
def server() -> type[Server]:
    """The class itself: each test builds the server it needs."""
    return Server


@pytest.fixture
def vote_request() -> type[VoteRequest]:
    """RequestVote."""
    return VoteRequest
