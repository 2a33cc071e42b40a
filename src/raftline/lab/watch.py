"""What can be seen of servers whose messages are opaque: role and term at every call, and who answered whom.

From that follow checks that need no cooperation: one leader per term at any time, terms that only rise, leaders that
a majority answered in the term they lead, commits that a majority answered for, and a limit to floods of calls.
"""

from collections import defaultdict
from collections.abc import Callable

from raftline.lab.bench import Bench
from raftline.lab.network import NetworkEvent
from raftline.lab.promises import BrokenPromise

__all__ = ["Watch"]

_CALLS_PER_S_MAX = 20_000
_BYTES_MAX = 1 << 30
_PAYLOAD_KEPT_MAX = 1000

State = tuple[int, bool]


class Watch:
    """Follows all servers of one cluster.

    Invariants: `leaders[term]` is the only server ever seen leading `term`; a server's last term never falls.
    """

    def __init__(self, bench: Bench, count: int, state_of: Callable[[int], State | None]) -> None:
        """`state_of(server)` is its (term, leads), None while it is down."""
        self._bench = bench
        self._count = count
        self._state_of = state_of
        self.leaders: dict[int, int] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a server's role or term is seen to have changed."""
        self._last: list[State | None] = [None] * count
        self._spoken_term = [0] * count
        self._calls: dict[int, State | None] = {}
        self._answered: list[dict[int, set[int]]] = [defaultdict(set) for _ in range(count)]
        self._latest: list[dict[int, int]] = [{} for _ in range(count)]
        self._started: dict[tuple[int, int, int], int] = {}
        self._call_number = 0
        self._second = (0, 0)
        self._bytes = 0

    def on_event(self, event: NetworkEvent) -> None:
        """Take note of what the network did."""
        bench = self._bench
        self._check_size(event)
        if len(event.payload) > _PAYLOAD_KEPT_MAX:
            event = event._replace(payload=b"")
        bench.trace.note(event.time_s, event)
        if event.what == "request":
            self._call_number = event.number
            self._check_flood(event)
            if event.source == event.target:
                seen = f"server {event.source} called {event.method} of peers[{event.target}], which is itself"
                bench.fail(BrokenPromise("not itself", seen, server=event.source))
            self._calls[event.number] = self.look(event.source, speaks=True)
        elif event.what == "reply":
            self.look(event.target, speaks=True)
            asked = self._calls.pop(event.number, None)
            if asked is not None:
                self._answered[event.source][asked[0]].add(event.target)
                latest = self._latest[event.source]
                latest[event.target] = max(event.number, latest.get(event.target, 0))

    def look(self, server: int, *, speaks: bool = False) -> State | None:
        """Look at a server's role and term, check what can be checked, and return them."""
        state = self._state_of(server)
        before = self._last[server]
        if state != before:
            self._on_change(server, before, state)
        if state is not None and speaks:
            self._spoken_term[server] = max(self._spoken_term[server], state[0])
        return state

    def last(self, server: int) -> State | None:
        """Return what was seen of a server at the last look."""
        return self._last[server]

    def look_at_all(self) -> None:
        """Look at every server."""
        for server in range(self._count):
            self.look(server)

    def term_of_call(self, number: int) -> int | None:
        """Return the term in which a call that is still under way was made."""
        state = self._calls.get(number)
        return state[0] if state is not None else None

    def forget(self, server: int) -> None:
        """Note that a server went down: what others answered to it is void."""
        self._answered[server].clear()
        self._latest[server].clear()
        self._last[server] = None

    def on_started(self, server: int, term: int, index: int) -> None:
        """Note that a leader took a command: from now on answers count for it."""
        self._started[server, term, index] = self._call_number

    def check_commit(self, server: int, index: int) -> None:
        """Check that a majority answered a leader since it took the command that it delivers now."""
        state = self.look(server)
        if state is None or not state[1]:
            return
        since = self._started.get((server, state[0], index))
        if since is None:
            return
        answered = sum(1 for number in self._latest[server].values() if number > since)
        if answered + 1 <= self._count // 2:
            seen = (
                f"server {server}, leader of term {state[0]}, delivered its command at index {index} after "
                f"{answered} of {self._count - 1} others had answered any call it made since start()"
            )
            self._bench.fail(BrokenPromise("majority", seen, server=server, index=index, term=state[0]))

    def _on_change(self, server: int, before: State | None, state: State | None) -> None:
        self._last[server] = state
        self.on_change()
        if state is None:
            return
        term, leads = state
        self._bench.note(f"server {server} {'leads' if leads else 'is in'} term {term}")
        lowest = before[0] if before is not None else self._spoken_term[server]
        if term < lowest:
            when = "went back" if before is not None else "came back from a restart"
            seen = f"server {server} {when} from term {lowest} to term {term}"
            self._bench.fail(BrokenPromise("term rises", seen, server=server, term=term))
        if leads and state != before:
            self._check_leader(server, term)

    def _check_leader(self, server: int, term: int) -> None:
        first = self.leaders.setdefault(term, server)
        if first != server:
            seen = f"servers {first} and {server} both led term {term}"
            self._bench.fail(BrokenPromise("one leader", seen, server=server, term=term))
            return
        answered = len(self._answered[server][term])
        if answered + 1 <= self._count // 2:
            seen = (
                f"server {server} leads term {term}, but only {answered} of {self._count - 1} others ever answered "
                "anything that it asked in that term"
            )
            self._bench.fail(BrokenPromise("elected", seen, server=server, term=term))

    def _check_flood(self, event: NetworkEvent) -> None:
        second, calls = self._second
        calls = calls + 1 if second == int(event.time_s) else 1
        self._second = (int(event.time_s), calls)
        if calls > _CALLS_PER_S_MAX:
            seen = f"more than {_CALLS_PER_S_MAX} calls within one second, the last by server {event.source}"
            self._bench.fail(BrokenPromise("flood", seen, server=event.source))

    def _check_size(self, event: NetworkEvent) -> None:
        self._bytes += len(event.payload)
        if self._bytes > _BYTES_MAX:
            sender = event.source if event.what == "request" else event.target
            seen = f"more than {_BYTES_MAX >> 20} MiB of arguments and replies, the last by server {sender}"
            self._bench.fail(BrokenPromise("flood", seen, server=sender))
