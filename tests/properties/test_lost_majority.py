"""A majority of disks is lost, and the emptied nodes start again beside whoever is left, hearing it or not."""

import random
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from raftline.core.entries import Entry, HardState
from raftline.core.events import Applied, Persisted, Proposed, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.raft import Raft
from raftline.errors import SafetyViolation

NAMES = ("n1", "n2", "n3")
MEMBERS = Membership.of({name: f"{name}:1" for name in NAMES})


class _Node:
    """A replica with a disk that is never slow; it stops for good at a broken promise."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.wipe()

    def wipe(self) -> None:
        self.hard_state: HardState | None = None
        self.entries: list[Entry] = []

    def start(self, now: float) -> None:
        self.seed += 1
        self.error: SafetyViolation | None = None
        self.raft = Raft(
            self.name,
            MEMBERS,
            random=random.Random(f"{self.name} {self.seed}"),
            now=now,
            hard_state=self.hard_state,
            entries=self.entries,
        )

    def step(self, event: Any, now: float) -> list[tuple[str, str, Any]]:
        if self.error is not None:
            return []
        sent: list[Any] = []
        try:
            self.raft.step(event, now)
            while (ready := self.raft.take_ready()) is not None:
                self.hard_state = ready.hard_state or self.hard_state
                if ready.entries:
                    self.entries = [*self.entries[: ready.entries[0].index - 1], *ready.entries]
                if ready.must_persist:
                    self.raft.step(Persisted(ready.number), now)
                if ready.committed:
                    self.raft.step(Applied(ready.committed[-1].index), now)
                sent += [*ready.messages, *ready.messages_after_persist]
        except SafetyViolation as error:
            self.error = error
        return [(self.name, out.to, out.message) for out in sent]


class _Network:
    """Delivers at once and in order, to whoever may hear it; lost otherwise."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.nodes = {name: _Node(name, seed) for name in NAMES}
        self.deaf: set[tuple[str, str]] = set()
        for node in self.nodes.values():
            node.start(0.0)

    def step(self, name: str, event: Any) -> None:
        pool = self.nodes[name].step(event, self.now)
        while pool:
            source, target, message = pool.pop(0)
            if (source, target) not in self.deaf:
                pool += self.nodes[target].step(Received(source, message), self.now)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            node = min(self.alive(), key=lambda node: node.raft.next_deadline)
            if node.raft.next_deadline > until:
                self.now = until
                return
            self.now = max(self.now, node.raft.next_deadline)
            self.step(node.name, TimerDue())

    def alive(self) -> list[_Node]:
        return [node for node in self.nodes.values() if node.error is None]

    def propose(self, commands: Iterable[bytes]) -> None:
        for node in self.alive():
            if node.raft.is_leader:
                self.step(node.name, Proposed(tuple(commands), 0))


_LINKS = st.sets(st.sampled_from([(one, other) for one in NAMES for other in NAMES if one != other]))
_RUNS = st.lists(st.tuples(_LINKS, st.integers(1, 30)), max_size=6)


@given(st.integers(0, 1000), st.sampled_from(NAMES), st.integers(0, 20), _RUNS, _RUNS)
def test_a_survivor_keeps_what_was_committed(
    seed: int, survivor: str, count: int, before: list[Any], after: list[Any]
) -> None:
    """Two of three disks are emptied: whoever hears whom, the third keeps each entry or stops with them (C14, B17)."""
    network = _Network(seed)
    network.run(3)
    network.propose([b"%d" % n for n in range(count)])
    for deaf, tenths in before:
        network.deaf = deaf
        network.run(tenths / 10)
        network.propose([b"more"])
    network.deaf = set()
    network.run(3)
    node = network.nodes[survivor]
    commit = node.raft.state.commit
    assert commit > count
    kept = node.entries[:commit]
    for name in NAMES:
        if name != survivor:
            network.nodes[name].wipe()
        network.nodes[name].start(network.now)
    for deaf, tenths in [*after, (set(), 30)]:
        network.deaf = deaf
        network.run(tenths / 10)
        network.propose([b"other"])
        assert node.entries[:commit] == kept
    if not after:
        assert not any(one.raft.is_leader for one in network.alive()), "all were heard: nobody begins anew"
    assert [one.name for one in network.nodes.values() if one.error is not None] in ([], [survivor])
    assert node.error is None or "raftline recover" in str(node.error)
