"""A few servers on the lab's network: start, crash, restart, connect, disconnect, and the questions that tests ask.

Servers are whatever `make` returns; nothing is known of them but the interface. All of them run in the loop of the
test, on virtual or real time; a server that raises, returns wrong types or breaks a promise ends the test.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from raftline.lab.bench import Bench, describe_error
from raftline.lab.consumer import Consumer, Ledger, show
from raftline.lab.network import Held, LabNetwork, NetworkEnd, NetworkEvent, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.values import describe_value, is_pair, is_plain, is_triple
from raftline.lab.watch import State, Watch
from raftline.lab.watchdog import Interrupted
from raftline.lab.watched_persister import KILL_GRACE_S, WatchedPersister

__all__ = ["ELECTION_S", "Cluster"]

ELECTION_S = 1.0
"""The course's unit of patience: an election takes no longer in the normal case."""

_WATCH_INTERVAL_S = 0.01

_EXCEPTIONS_INTERVAL_S = 0.25
_UNSEEN_S_MAX = 8.0
"""Longer than any call takes, so that whoever awaits calls one after the other has come to the one that failed."""


class _Incarnation:
    """One life of a server."""

    __slots__ = ("consumer", "persister", "raft")

    def __init__(self, raft: Any, persister: WatchedPersister, consumer: Consumer) -> None:
        self.raft = raft
        self.persister = persister
        self.consumer = consumer


class Cluster:
    """The servers of one test; use as `async with`.

    Invariants: a server is down, or one incarnation of it runs; what a dead one saves or delivers changes nothing.
    """

    def __init__(self, bench: Bench, count: int, *, reliable: bool = True, snapshots: bool = False) -> None:
        self.bench = bench
        self.count = count
        self.network = LabNetwork(count, bench.random, on_error=self._on_handler_error, on_event=self._on_event)
        self.network.reliable = reliable
        self.network.long_delays = True
        self.ledger = Ledger(bench, count)
        self.watch = Watch(bench, count, self._state_of)
        self.watch.on_change = self._refresh_columns
        self.also_on_event: Callable[[NetworkEvent], None] = lambda _event: None
        """A script's own look at what the network does."""
        self._snapshots = snapshots
        self._servers: list[_Incarnation | None] = [None] * count
        self._disks: list[tuple[bytes, bytes]] = [(b"", b"")] * count
        self._dead: list[Any] = []
        self._next_server = 0
        self._watcher: asyncio.Task[None] | None = None
        self._started_at = bench.now()
        bench.server_of = self._server_of
        bench.trace.columns = self._columns()

    async def __aenter__(self) -> Self:
        self._watcher = asyncio.create_task(self._watch_all(), name="lab watcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        self.bench.report_unseen()  # what nobody looked at explains a failure better than its symptoms
        for server in range(self.count):
            if self._servers[server] is not None:
                self.crash(server)
        if kind is None and self.bench.virtual:
            await asyncio.sleep(2 * KILL_GRACE_S)  # whatever still runs shows itself now
        self.network.close()

    # --- lives of servers --------------------------------------------------------------------------------------------

    def start(self, server: int) -> None:
        """Start a server, or crash and restart it, from what it saved; connecting it is a separate step."""
        if self._servers[server] is not None:
            self.crash(server)
        self.bench.note(f"server {server} starts")
        state, snapshot = self._disks[server]
        persister = WatchedPersister(state, snapshot, self.bench.now, lambda *what: self._complain(server, *what))
        consumer = Consumer(self.bench, self.ledger, server, snapshots=self._snapshots)
        consumer.check_commit = self.watch.check_commit
        consumer.on_snapshot = lambda index: self._check_saved_soon(server, persister, index)
        self.ledger.delivered[server] = {}
        if snapshot:
            consumer.applied = self.ledger.restore(server, snapshot) or 0
        ends: tuple[NetworkEnd, ...] = self.network.new_ends(server)
        raft = self._ask(server, "make", lambda: self.bench.make(ends, server, persister, consumer))
        if not is_plain(raft):
            self._raise_types(server, "make() must be a plain function that returns the server, not `async def`")
        consumer.raft = raft
        self._servers[server] = _Incarnation(raft, persister, consumer)
        self.network.add_server(server, raft)
        self.watch.look(server)
        self._refresh_columns()

    def crash(self, server: int) -> None:
        """End a server at this instant: its disk keeps what it saved, its messages under way are lost."""
        self.bench.note(f"server {server} crashes")
        incarnation = self._servers[server]
        assert incarnation is not None, "only what runs can crash"
        self.network.disconnect(server)
        self.network.delete_server(server)
        persister = incarnation.persister
        self._disks[server] = persister.read_raft_state(), persister.read_snapshot()
        persister.killed_at = self.bench.now()
        incarnation.consumer.killed_at = self.bench.now() + KILL_GRACE_S
        self._servers[server] = None
        self._dead.append(incarnation.raft)
        self.ledger.delivered[server] = {}
        self.watch.forget(server)
        self._refresh_columns()
        if not is_plain(self._ask(server, "kill", incarnation.raft.kill)):
            self._raise_types(server, "kill() must be a plain method, not `async def`: nobody awaits it")

    async def ask_the_dead(self, server: int, method: str, args: bytes) -> None:
        """Crash a server and call its `handle` afterwards, past the network: nothing may be saved any more."""
        incarnation = self._servers[server]
        assert incarnation is not None, "only what lives can die"
        self.crash(server)
        incarnation.persister.grace_s = 0.0
        self.bench.note(f"server {server}, dead, is asked {method}")
        with suppress(Exception):
            await asyncio.wait_for(incarnation.raft.handle(method, args), 0.1)

    async def deliver_copy(self, held: Held) -> None:
        """Call a server's `handle` with what a message of the past said, as if the network had doubled it."""
        call = held.call
        incarnation = self._servers[held.target]
        assert incarnation is not None, "only what runs hears"
        self.bench.note(f"a copy of the request #{call.number} {held.source}→{held.target} is delivered")
        try:
            await asyncio.wait_for(incarnation.raft.handle(call.method, call.args), 1)
        except TimeoutError:
            pass  # what it answers is of no interest
        except Exception as error:  # noqa: BLE001  whatever the implementation raises is its failure
            self.bench.fail_with_exception(held.target, f"handle({call.method!r}, ...)", error)

    def connect(self, *servers: int) -> None:
        """Let servers talk with all connected ones."""
        for server in servers:
            self.bench.note(f"server {server} is connected")
            self.network.connect(server)
        self._refresh_columns()

    def disconnect(self, *servers: int) -> None:
        """Cut servers off from everybody."""
        for server in servers:
            self.bench.note(f"server {server} is disconnected")
            self.network.disconnect(server)
        self._refresh_columns()

    def start_all(self) -> None:
        """Start and connect every server."""
        for server in range(self.count):
            self.start(server)
        for server in range(self.count):
            self.connect(server)

    def cut(self, one: int, other: int) -> None:
        """Let no request pass between two servers, in either direction."""
        self.set_requests(one, (other,), Valve.DROP)
        self.set_requests(other, (one,), Valve.DROP)

    def set_requests(self, source: int, targets: Iterable[int], valve: Valve) -> None:
        """Set what becomes of requests from `source` to each of `targets`."""
        for target in targets:
            self.bench.note(f"requests {source}→{target}: {valve.value}")
            self.network.set_valve("request", source, target, valve)

    def set_replies(self, source: int, targets: Iterable[int], valve: Valve) -> None:
        """Set what becomes of the replies of each of `targets` to requests of `source`."""
        for target in targets:
            self.bench.note(f"replies {source}←{target}: {valve.value}")
            self.network.set_valve("reply", source, target, valve)

    def held(self, what: str, source: int, target: int, *, term: int | None = None) -> list[Held]:
        """Return the held messages of calls from `source` to `target`, of those made in `term` if it is given."""
        return [
            held
            for held in self.network.held
            if held.what == what
            and (end := held.call.end).source == source
            and end.target == target
            and (term is None or self.watch.term_of_call(held.call.number) == term)
        ]

    def is_up(self, server: int) -> bool:
        """Return whether a server runs."""
        return self._servers[server] is not None

    def is_connected(self, server: int) -> bool:
        """Return whether a server runs and is connected."""
        return self.is_up(server) and self.network.is_connected(server)

    def delay_delivery(self, server: int, delay_s: float) -> None:
        """Make a server's consumer slow."""
        incarnation = self._servers[server]
        assert incarnation is not None, "only what runs consumes"
        incarnation.consumer.delay_s = delay_s

    def state_size(self, server: int) -> int:
        """Return the bytes of saved state of a server."""
        incarnation = self._servers[server]
        return incarnation.persister.raft_state_size() if incarnation else len(self._disks[server][0])

    def saves_of_nothing(self, server: int) -> int:
        """Return how often a running server saved what it had saved already."""
        incarnation = self._servers[server]
        assert incarnation is not None, "only what runs saves"
        return incarnation.persister.saves_of_nothing

    # --- calls of the interface --------------------------------------------------------------------------------------

    def submit(self, server: int, command: bytes) -> tuple[int, int, bool]:
        """Call `start` of a server and check what it returns; (-1, 0, False) if it is down."""
        incarnation = self._servers[server]
        if incarnation is None:
            return -1, 0, False
        result = self._ask(server, "start", lambda: incarnation.raft.start(command))
        if not is_triple(result):
            seen = (
                f"start() must return (int, int, bool), index and term from 0 on, it returned {describe_value(result)}"
            )
            self._raise_types(server, seen)
        index, term, leads = result
        if leads and index < 1:
            seen = f"server {server} gave index {index} to a command; the first one has index 1"
            raise BrokenPromise("index", seen, server=server, index=index, term=term)
        if leads:
            self.bench.note(f"server {server} takes {show(command)} at index {index} of term {term}")
            self.watch.look(server)
            self.watch.on_started(server, term, index)
        return index, term, leads

    def state(self, server: int) -> State:
        """Call `get_state` of a running server and check what it returns."""
        incarnation = self._servers[server]
        assert incarnation is not None, "only what runs has a state"
        result = self._ask(server, "get_state", incarnation.raft.get_state)
        if not is_pair(result):
            seen = f"get_state() must return (int, bool), a term from 0 on, it returned {describe_value(result)}"
            self._raise_types(server, seen)
        term, leads = result
        return term, leads

    def leads(self, server: int, *, above_term: int = -1) -> bool:
        """Return whether a server runs and takes itself for the leader of a term above `above_term`."""
        if not self.is_up(server):
            return False
        term, leads = self.state(server)
        return leads and term > above_term

    # --- questions that tests ask ------------------------------------------------------------------------------------

    async def check_one_leader(self) -> int:
        """Return the leader of the highest term among the connected servers; it may take about 5 s to stand."""
        for _ in range(10):
            await asyncio.sleep(0.45 + 0.1 * self.bench.random.random())
            leaders: dict[int, int] = {}
            for server in filter(self.is_connected, range(self.count)):
                term, leads = self.state(server)
                if leads and term in leaders:
                    seen = f"servers {leaders[term]} and {server} both lead term {term}"
                    raise BrokenPromise("one leader", seen, server=server, term=term)
                if leads:
                    leaders[term] = server
            if leaders:
                return leaders[max(leaders)]
        raise BrokenPromise("leader", f"after 5 s nobody leads; {self.describe()}")

    def check_terms(self) -> int:
        """Return the term that all connected servers agree on."""
        agreed: int | None = None
        for server in filter(self.is_connected, range(self.count)):
            term, _ = self.state(server)
            if agreed is not None and term != agreed:
                raise BrokenPromise("same term", f"the servers disagree: {self.describe()}", server=server, term=term)
            agreed = term
        return agreed or 0

    def check_no_leader(self) -> None:
        """Check that no connected server takes itself for a leader."""
        for server in filter(self.is_connected, range(self.count)):
            term, leads = self.state(server)
            if leads:
                seen = f"server {server} leads term {term}, but only a minority is connected: {self.describe()}"
                raise BrokenPromise("quorum leader", seen, server=server, term=term)

    def delivered(self, index: int) -> tuple[int, bytes | None]:
        """Return how many running servers delivered a command at `index`, and which."""
        return self.ledger.count(index)

    async def agree(self, command: bytes, servers: int, *, retry: bool) -> int:
        """Have `command` committed and delivered by at least `servers` servers; return its index.

        It may be submitted again for 10 s, if `retry`, since a leader may lose its office; otherwise 2 s must do.
        """
        deadline = self.bench.now() + 10
        while self.bench.now() < deadline:
            index, server = self._submit_somewhere(command)
            if index < 0:
                await asyncio.sleep(0.05)
                continue
            until = self.bench.now() + 2
            while self.bench.now() < until:
                count, found = self.delivered(index)
                if count >= servers and found == command:
                    return index
                await asyncio.sleep(0.02)
            if not retry:
                raise self._no_agreement(command, index, server, servers, "2 s after start()")
        raise self._no_agreement(command, None, None, servers, "within 10 s")

    async def wait(self, index: int, servers: int, *, term: int | None = None) -> bytes | None:
        """Wait until at least `servers` servers delivered `index` and return what; None if `term` is over by then."""
        pause_s = 0.01
        for _ in range(30):
            if self.delivered(index)[0] >= servers:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)
            if term is not None and any(self.state(n)[0] > term for n in range(self.count) if self.is_up(n)):
                return None
        count, command = self.delivered(index)
        if count < servers:
            seen = f"only {count} of {servers} servers delivered index {index} in time; {self.describe()}"
            raise BrokenPromise("agreement", seen, index=index)
        return command

    async def catch(self, source: int, target: int, size_bytes: int, limit_s: float) -> Held | None:
        """Hold the next request of a link that has at least so many bytes and return it; None after `limit_s`."""
        look, asked = self.also_on_event, len(self.network.held)

        def on_event(event: NetworkEvent) -> None:
            look(event)
            if (event.what, event.source, event.target) == ("request", source, target):
                valve = Valve.HOLD if event.size_bytes >= size_bytes else Valve.OPEN
                self.network.set_valve("request", source, target, valve)

        self.also_on_event = on_event
        found = await self.until(lambda: len(self.network.held) > asked, limit_s)
        self.also_on_event = look
        self.network.set_valve("request", source, target, Valve.OPEN)
        return self.network.held[-1] if found else None

    async def until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Wait until `condition()` holds, looking every millisecond; return False after `limit_s`."""
        deadline = self.bench.now() + limit_s
        while not condition():
            if self.bench.now() >= deadline:
                return False
            await asyncio.sleep(0.001)
        return True

    async def leader_among(self, servers: Iterable[int], limit_s: float, *, above_term: int = -1) -> int | None:
        """Return the first of `servers` to lead a term above `above_term`, as soon as it does; None after `limit_s`."""
        candidates = list(servers)
        found: list[int] = []

        def look() -> bool:
            found[:] = [server for server in candidates if self.leads(server, above_term=above_term)]
            return bool(found)

        return found[0] if await self.until(look, limit_s) else None

    def describe(self) -> str:
        """Return role, term and connection of every server, for a message."""
        return ", ".join(f"server {server} {self._describe_one(server)}" for server in range(self.count))

    def _describe_one(self, server: int) -> str:
        if not self.is_up(server):
            return "is down"
        term, leads = self.state(server)
        where = "" if self.network.is_connected(server) else " (disconnected)"
        return f"{'leads' if leads else 'is in'} term {term}{where}"

    def _submit_somewhere(self, command: bytes) -> tuple[int, int]:
        """Offer a command to the connected servers in turn; return index and server, (-1, -1) if nobody leads."""
        for _ in range(self.count):
            self._next_server = (self._next_server + 1) % self.count
            if self.is_connected(self._next_server):
                index, _, leads = self.submit(self._next_server, command)
                if leads:
                    return index, self._next_server
        return -1, -1

    def _no_agreement(
        self, command: bytes, index: int | None, server: int | None, servers: int, when: str
    ) -> BrokenPromise:
        count = self.delivered(index)[0] if index is not None else 0
        seen = f"{show(command)} was not delivered by {servers} servers {when}"
        if index is not None:
            seen += f", only by {count}; server {server} had taken it at index {index}"
        return BrokenPromise("agreement", f"{seen}; {self.describe()}", server=server, index=index)

    # --- behind the scenes -------------------------------------------------------------------------------------------

    def _ask(self, server: int, what: str, call: Callable[[], Any]) -> Any:
        """Call the implementation; what it raises is its failure."""
        try:
            return call()
        except (Interrupted, SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # also a CancelledError: this was a plain call
            self.bench.fail_with_exception(server, f"{what}() raised", error)
            raise BrokenPromise("no exception", f"{what}() raised {describe_error(error)}", server=server) from error

    def _raise_types(self, server: int, seen: str) -> None:
        raise BrokenPromise("types", f"server {server}: {seen}", server=server)

    def _complain(self, server: int, name: str, what: str) -> None:
        self.bench.fail(BrokenPromise(name, f"server {server} {what}", server=server))

    def _check_saved_soon(self, server: int, persister: WatchedPersister, index: int) -> None:
        """A moment after snapshot() the persister must hold one (C10)."""

        def check() -> None:
            if persister.killed_at is None and not persister.read_snapshot():
                self._complain(server, "saved snapshot", f"took a snapshot at index {index} and saved none")

        self.bench.loop.call_later(0.1, check)

    def _state_of(self, server: int) -> State | None:
        return self.state(server) if self.is_up(server) else None

    def _server_of(self, thing: object) -> int | None:
        """Tell which server an object is; -1 for a dead one."""
        for server, incarnation in enumerate(self._servers):
            if incarnation is not None and incarnation.raft is thing:
                return server
        return -1 if any(raft is thing for raft in self._dead) else None

    def _on_handler_error(self, server: int, method: str, error: BaseException) -> None:
        if self.is_up(server):
            self.bench.fail_with_exception(server, f"handle({method!r}, ...)", error)

    def _on_event(self, event: NetworkEvent) -> None:
        try:
            self.watch.on_event(event)
            self.also_on_event(event)
        except BrokenPromise as broken:
            self.bench.fail(broken)

    async def _watch_all(self) -> None:
        look_for_exceptions_at = 0.0
        while True:
            self.bench.check_tasks()
            try:
                self.watch.look_at_all()
            except BrokenPromise as broken:
                self.bench.fail(broken)
            if self.bench.now() >= look_for_exceptions_at:
                look_for_exceptions_at = self.bench.now() + _EXCEPTIONS_INTERVAL_S
                self.bench.report_unseen(for_s=_UNSEEN_S_MAX)
            await asyncio.sleep(_WATCH_INTERVAL_S)

    def _refresh_columns(self) -> None:
        self.bench.trace.columns = self._columns()

    def _columns(self) -> str:
        return " ".join(f"{self._column(server):>5}" for server in range(self.count))

    def _column(self, server: int) -> str:
        state = self.watch.last(server) if self.is_up(server) else None
        if state is None:
            return "--"
        cut = "" if self.network.is_connected(server) else "!"
        return f"{'L' if state[1] else 'f'}{state[0]}{cut}"
