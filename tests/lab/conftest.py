"""Three servers of ours on the lab's network and virtual time, with everything that leaves them on record."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from raftline.lab import ApplyMsg, Persister
from raftline.lab.network import LabNetwork, NetworkEvent
from raftline.lab.raft import Raft, make
from raftline.sim.loop import SimLoop


class Inbox:
    """An `apply` that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[ApplyMsg] = []
        self.on_put: Callable[[ApplyMsg], Any] | None = None

    async def put(self, message: ApplyMsg) -> None:
        """Keep a message; if there is something to do with it, do that first."""
        self.messages.append(message)
        if self.on_put is not None:
            outcome = self.on_put(message)
            if outcome is not None:
                await outcome

    @property
    def commands(self) -> list[bytes]:
        """Return the commands so far."""
        return [message.command for message in self.messages if message.command_valid]


class Group:
    """A few servers; `events` is everything the network saw."""

    def __init__(self, loop: SimLoop, count: int = 3) -> None:
        self.loop = loop
        self.count = count
        self.events: list[NetworkEvent] = []
        self.on_event: Callable[[NetworkEvent], None] = lambda _event: None
        self.network = LabNetwork(count, Random(1), on_event=self._note)
        self.persisters = [Persister() for _ in range(count)]
        self.inboxes = [Inbox() for _ in range(count)]
        self.rafts: list[Raft] = []
        with loop.entered():
            for server in range(count):
                self.rafts.append(self.made(server))

    def made(self, server: int) -> Raft:
        """Return a new incarnation of a server, connected."""
        raft = make(self.network.new_ends(server), server, self.persisters[server], self.inboxes[server])
        self.network.add_server(server, raft)
        self.network.connect(server)
        return raft

    def restart(self, server: int) -> None:
        """Crash a server and start it from what it saved, with an empty inbox."""
        self.network.disconnect(server)
        self.network.delete_server(server)
        self.persisters[server] = self.persisters[server].copy()
        self.inboxes[server] = Inbox()
        with self.loop.entered():
            self.rafts[server].kill()
            self.rafts[server] = self.made(server)

    def leader(self) -> int:
        """Run until somebody connected leads; return the one with the highest term."""
        for _ in range(50):
            leading = [
                (raft.get_state()[0], server)
                for server, raft in enumerate(self.rafts)
                if raft.get_state()[1] and self.network.is_connected(server)
            ]
            if leading:
                return max(leading)[1]
            self.loop.run_for(0.1)
        raise AssertionError("nobody was elected within 5 s")

    def start(self, server: int, *commands: bytes) -> list[tuple[int, int, bool]]:
        """Give a server commands in one turn of the loop, from a callback outside any task."""
        results: list[tuple[int, int, bool]] = []
        self.loop.call_soon(lambda: results.extend(self.rafts[server].start(command) for command in commands))
        self.loop.run_for(0)
        return results

    def requests(self, source: int | None = None, since: int = 0) -> list[NetworkEvent]:
        """Return the calls made, by one server or all, from event number `since` on."""
        return [event for event in self.events[since:] if event.what == "request" and source in {None, event.source}]

    def _note(self, event: NetworkEvent) -> None:
        self.events.append(event)
        self.on_event(event)


@pytest.fixture
def sim_loop() -> Iterator[SimLoop]:
    """Return a loop on virtual time that fails the test with whatever nobody handled."""
    with SimLoop(1) as made_loop:
        yield made_loop


@pytest.fixture
def group(sim_loop: SimLoop) -> Group:
    """Return three servers."""
    return Group(sim_loop)
