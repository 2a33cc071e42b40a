"""The lab's network: remote calls that get lost, late and out of order at the tester's command.

Numbered servers call each other: a call carries bytes and returns bytes, or None when the request or its reply was
lost. It runs on any asyncio loop, on virtual or real time, and takes chance from the random source it is given. It
knows nothing of Raft; its meaning is that of the course's own network (requirements, sections H and N). For a test
that needs one exact schedule, the requests and the replies of each link have a valve: let through, dropped or held.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from enum import Enum
from functools import partial
from random import Random
from typing import Any, NamedTuple, Protocol

__all__ = ["LabNetwork", "NetworkEnd", "NetworkEvent", "RpcServer"]

LATENCY_S = (0.00002, 0.0001)
"""One way, reliable network: enough that time passes, too little to matter."""
UNRELIABLE_DELAY_S_MAX = 0.026
UNRELIABLE_LOSS = 0.1
"""Of requests, and again of replies."""
UNREACHABLE_DELAY_S_MAX = 0.1
UNREACHABLE_LONG_DELAY_S_MAX = 7.0
REORDERED_SHARE = 2 / 3
"""Of replies, with long reordering."""
REORDERED_DELAY_S_MIN = 0.2
REORDERED_SPREAD_S_MAX = 2.0


class RpcServer(Protocol):
    """What answers calls; the lab's Raft objects do."""

    def handle(self, method: str, args: bytes) -> Coroutine[Any, Any, bytes]:
        """Answer one call of a peer."""


class NetworkEvent(NamedTuple):
    """Something happened to a call; `what` is one of request, request lost, request held, unreachable, reply,
    reply lost, reply held, reply late, reply discarded, error.
    """  # noqa: D205  one sentence

    time_s: float
    what: str
    source: int
    """Who called, whichever way this event goes."""
    target: int
    method: str
    size_bytes: int
    number: int = 0
    """Counts the calls of a run; all events of one call share it."""
    payload: bytes = b""


class Valve(Enum):
    """What becomes of the messages of one kind on one link."""

    OPEN = "open"
    DROP = "drop"
    HOLD = "hold"


class Held(NamedTuple):
    """A message that a valve holds back; give it to `release` or `discard`."""

    what: str
    """request or reply"""
    call: "_Call"
    reply: bytes | None = None

    @property
    def source(self) -> int:
        """Return who called."""
        return self.call.end.source

    @property
    def target(self) -> int:
        """Return who was called."""
        return self.call.end.target


class NetworkEnd:
    """One server's line to another, the `peers[i]` of the interface; belongs to one incarnation of its server."""

    __slots__ = ("_network", "retired", "source", "target")

    def __init__(self, network: "LabNetwork", source: int, target: int) -> None:
        self._network = network
        self.source = source
        self.target = target
        self.retired = False
        """The server at this end crashed; nothing it still sends arrives."""

    def __repr__(self) -> str:
        return f"<NetworkEnd {self.source}->{self.target}{' retired' if self.retired else ''}>"

    async def call(self, method: str, args: bytes) -> bytes | None:
        """Call `method` at the other end; None if the request or the reply was lost, which may take 7 s to learn.

        Raises TypeError for a method that is no str or args that are no bytes.
        """
        if not isinstance(method, str) or not isinstance(args, bytes):
            raise TypeError(
                f"call(method: str, args: bytes) was given {type(method).__name__} and {type(args).__name__}"
            )
        return await self._network.send(self, method, args)


class _Call:
    """One request on its way, at its server, or answered by a reply on its way back."""

    __slots__ = ("args", "end", "future", "method", "number", "server", "task")

    def __init__(
        self,
        number: int,
        end: NetworkEnd,
        method: str,
        args: bytes,
        server: RpcServer | None,
        future: asyncio.Future[bytes | None],
    ) -> None:
        self.number = number
        self.end = end
        self.method = method
        self.args = args
        self.server = server
        self.future = future
        self.task: asyncio.Task[bytes] | None = None


class LabNetwork:
    """Connects `server_count` numbered servers; what is unreliable is set by plain attributes, at any time.

    Invariants: a reply reaches the caller at most once; what a server answers after its deletion reaches nobody.
    """

    def __init__(
        self,
        server_count: int,
        random: Random,
        *,
        on_error: Callable[[int, str, BaseException], None] | None = None,
        on_event: Callable[[NetworkEvent], None] | None = None,
    ) -> None:
        """`on_error(server, method, error)` learns what a handler raised; `on_event` sees everything, for a trace."""
        self.reliable = True
        """False: requests are delayed by up to 26 ms, one in ten requests and one in ten replies is lost."""
        self.long_delays = False
        """True: a call to an unreachable server fails after up to 7 s instead of up to 0.1 s."""
        self.long_reordering = False
        """True: two thirds of the replies come 0.2 s to 2.2 s late."""
        self.rpcs_sent = 0
        """Calls made, those to unreachable servers included."""
        self.bytes_total = 0
        """Arguments of all calls and replies that arrived."""
        self._draw = random.random
        self._on_error = on_error
        self._on_event = on_event
        self._servers: list[RpcServer | None] = [None] * server_count
        self._connected = [False] * server_count
        self._received = [0] * server_count
        self._bytes = [0] * server_count
        self._ends: list[tuple[NetworkEnd, ...]] = [()] * server_count
        self._at_server: dict[_Call, None] = {}
        self._tasks: dict[asyncio.Task[bytes], None] = {}
        self._valves: dict[tuple[str, int, int], Valve] = {}
        self.held: list[Held] = []
        """What valves hold back, oldest first."""
        self._closed = False

    # --- what the tester commands -----------------------------------------------------------------------------------

    def new_ends(self, server: int) -> tuple[NetworkEnd, ...]:
        """Return ends to every server, own number included, for a new incarnation; earlier ends of it are retired."""
        for end in self._ends[server]:
            end.retired = True
        self._fail_calls(lambda call: call.end.retired)
        self._ends[server] = tuple(NetworkEnd(self, server, target) for target in range(len(self._servers)))
        return self._ends[server]

    def add_server(self, server: int, handler: RpcServer) -> None:
        """Let `handler` answer calls to `server`; connecting it is a separate step."""
        self._servers[server] = handler

    def delete_server(self, server: int) -> None:
        """Forget the handler; replies it has not given by now are discarded, and their callers learn of a loss."""
        self._servers[server] = None
        self._fail_calls(lambda call: call.end.target == server)

    def connect(self, server: int) -> None:
        """Let calls from and to `server` through, as far as the other side is connected too."""
        self._connected[server] = True

    def disconnect(self, server: int) -> None:
        """Let nothing through from or to `server`."""
        self._connected[server] = False
        self._fail_calls(lambda call: server in (call.end.source, call.end.target))

    def is_connected(self, server: int) -> bool:
        """Return whether `server` was connected."""
        return self._connected[server]

    def set_valve(self, what: str, source: int, target: int, valve: Valve) -> None:
        """Set what becomes of each "request" from `source` to `target`, or of each "reply" to such a request."""
        self._valves[what, source, target] = valve

    def open_valves(self) -> None:
        """Let everything through again; what is held stays held."""
        self._valves.clear()

    def release(self, held: Held) -> None:
        """Let a held message arrive now: a request at whoever serves its target by now."""
        self.held.remove(held)
        call = held.call
        if held.what == "request":
            call.server = self._servers[call.end.target]
            self._arrive(call)
        else:
            self._finish(call, held.reply)

    def discard(self, held: Held) -> None:
        """Lose a held message; its caller learns nothing but None, now."""
        self.held.remove(held)
        self._note(f"{held.what} lost", held.call, 0)
        self._finish(held.call, None)

    def rpcs_received(self, server: int) -> int:
        """Return how many calls reached the handler of `server`, all its incarnations together."""
        return self._received[server]

    def bytes_of(self, server: int) -> int:
        """Return the bytes of arguments sent to `server` and of replies it gave that arrived."""
        return self._bytes[server]

    def close(self) -> None:
        """End every call with None and cancel the handlers that still run."""
        self._closed = True
        for call in (*self._at_server, *(held.call for held in self.held)):
            self._finish(call, None)
        self._at_server.clear()
        self.held.clear()
        for task in self._tasks:
            task.cancel()

    # --- the way of one call ----------------------------------------------------------------------------------------

    async def send(self, end: NetworkEnd, method: str, args: bytes) -> bytes | None:
        """Carry one call of `end`; `NetworkEnd.call` is the way in."""
        if self._closed:
            return None
        loop = asyncio.get_running_loop()
        self.rpcs_sent += 1
        call = _Call(self.rpcs_sent, end, method, args, self._servers[end.target], loop.create_future())
        self._count_bytes(end.target, len(args))
        self._note("request", call, len(args), args)
        valve = self._valves.get(("request", end.source, end.target))
        if valve is Valve.HOLD and not end.retired:
            self._hold(Held("request", call))
        elif valve is Valve.DROP:
            self._note("request lost", call, len(args))
            loop.call_later(self._draw() * UNREACHABLE_DELAY_S_MAX, self._finish, call, None)
        elif not self._is_reachable(call):
            self._note("unreachable", call, len(args))
            longest = UNREACHABLE_LONG_DELAY_S_MAX if self.long_delays else UNREACHABLE_DELAY_S_MAX
            loop.call_later(self._draw() * longest, self._finish, call, None)
        elif self.reliable:
            loop.call_later(self._latency_s(), self._arrive, call)
        else:
            lost = self._draw() < UNRELIABLE_LOSS
            if lost:
                self._note("request lost", call, len(args))
            then = partial(self._finish, call, None) if lost else partial(self._arrive, call)
            loop.call_later(self._draw() * UNRELIABLE_DELAY_S_MAX, then)
        return await call.future

    def _arrive(self, call: _Call) -> None:
        if not self._is_reachable(call):
            self._note("request lost", call, len(call.args))
            self._finish(call, None)
            return
        assert call.server is not None
        self._received[call.end.target] += 1
        task = asyncio.get_running_loop().create_task(_serve(call.server, call.method, call.args))
        call.task = task
        self._at_server[call] = None
        self._tasks[task] = None
        task.add_done_callback(partial(self._on_answer, call))

    def _on_answer(self, call: _Call, task: asyncio.Task[bytes]) -> None:
        del self._tasks[task]
        waited_for = self._at_server.pop(call, call) is None
        error = asyncio.CancelledError("the handler was cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self._report(call, error)
        if not waited_for:
            return
        if error is not None or not self._is_reachable(call):
            self._note("reply discarded", call, 0)
            self._finish(call, None)
            return
        self._send_reply(call, task.result())

    def _send_reply(self, call: _Call, reply: bytes) -> None:
        valve = self._valves.get(("reply", call.end.source, call.end.target))
        if valve is Valve.HOLD:
            self._hold(Held("reply", call, reply))
            return
        if valve is Valve.DROP or (not self.reliable and self._draw() < UNRELIABLE_LOSS):
            self._note("reply lost", call, len(reply))
            self._finish(call, None)
            return
        delay_s = self._latency_s()
        if self.long_reordering and self._draw() < REORDERED_SHARE:
            self._note("reply late", call, len(reply))
            delay_s = REORDERED_DELAY_S_MIN + self._draw() * self._draw() * REORDERED_SPREAD_S_MAX
        asyncio.get_running_loop().call_later(delay_s, self._finish, call, reply)

    def _hold(self, held: Held) -> None:
        self.held.append(held)
        self._note(f"{held.what} held", held.call, len(held.reply or held.call.args))

    def _finish(self, call: _Call, reply: bytes | None) -> None:
        if call.future.done():
            return
        if reply is not None:
            self._count_bytes(call.end.target, len(reply))
            self._note("reply", call, len(reply), reply)
        call.future.set_result(reply)

    def _fail_calls(self, concerned: Callable[[_Call], bool]) -> None:
        """Calls whose server can no longer be heard end with None, a moment later, as unreachable ones do."""
        failed = [call for call in self._at_server if concerned(call)]
        for call in failed:
            del self._at_server[call]
            self._note("reply discarded", call, 0)
            call.future.get_loop().call_later(self._draw() * UNREACHABLE_DELAY_S_MAX, self._finish, call, None)

    def _is_reachable(self, call: _Call) -> bool:
        end = call.end
        return (
            call.server is not None
            and call.server is self._servers[end.target]
            and self._connected[end.source]
            and self._connected[end.target]
            and not end.retired
        )

    def _latency_s(self) -> float:
        low, high = LATENCY_S
        return low + self._draw() * (high - low)

    def _count_bytes(self, server: int, count: int) -> None:
        self.bytes_total += count
        self._bytes[server] += count

    def _report(self, call: _Call, error: BaseException) -> None:
        self._note("error", call, 0)
        if self._on_error is not None and not self._closed:
            self._on_error(call.end.target, call.method, error)

    def _note(self, what: str, call: _Call, size_bytes: int, payload: bytes = b"") -> None:
        if self._on_event is not None:
            end = call.end
            now = call.future.get_loop().time()
            event = NetworkEvent(now, what, end.source, end.target, call.method, size_bytes, call.number, payload)
            self._on_event(event)


async def _serve(server: RpcServer, method: str, args: bytes) -> bytes:
    """Run a handler; whatever it does wrong becomes an exception of this call."""
    try:
        answer = server.handle(method, args)
        if not inspect.isawaitable(answer):
            raise TypeError(f"handle() must be `async def`, it returned {type(answer).__name__}")
        reply: object = await answer
    except SystemExit as error:
        raise RuntimeError(f"handle({method!r}) tried to end the program") from error
    if not isinstance(reply, bytes):
        raise TypeError(f"handle({method!r}) must return bytes, it returned {type(reply).__name__}")
    return reply
