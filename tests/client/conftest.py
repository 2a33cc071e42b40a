"""Nodes that are no nodes: sockets with a script, and one counter behind all of them that knows sessions."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import pytest
import redis

from raftline.client import lease
from raftline.kv.machine import KvMachine, encode_command

ROWS: list[tuple[str, tuple[str, ...]]] = [
    ("get", ("readonly",)),
    ("incrby", ("write",)),
    ("publish", ()),
    ("raftline.once", ()),
]
CLOSE = b""
"""A handler's answer that ends the connection instead."""
SILENCE = b"-"
"""A handler's answer that is not sent."""


def bulk(text: str) -> bytes:
    """Return a bulk string."""
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


class FakeCluster:
    """A counter and sessions, behind as many sockets as are asked for.

    `scripts` holds, in order, what happens to the next commands on the counter: "ok", "lost" (carried out, connection
    ends), "dropped" (in a session: not carried out, connection ends), "held" (in a session: carried out, answered when
    `release` is set), or an error reply, which is sent without carrying anything out.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sessions: dict[int, tuple[int, int]] = {}
        self.opened = 0
        self.scripts: list[str] = []
        self.seen: list[tuple[str, ...]] = []
        self.leader = 0
        self.members_told = True
        self.ports: list[int] = []
        self.rows = ROWS
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.protocol = 2
        """That of its subscribers."""
        self.silent: set[int] = set()
        """Ports of nodes that take what is sent and say nothing any more."""
        self.greets = False
        """Silent nodes still answer what a new connection begins with."""

    def handle(self, port: int, words: list[bytes]) -> bytes:
        """Return the reply to a command, or CLOSE."""
        args = tuple(word.decode() for word in words)
        with self.lock:
            if args[0] not in {"CLIENT", "HELLO"}:
                self.seen.append((str(self.ports.index(port)), *args))
            if port in self.silent and not (self.greets and args[0] in {"CLIENT", "HELLO"}):
                return SILENCE
            is_held = args[0] == "RAFTLINE.ONCE" and self.scripts[:1] == ["held"]
            if is_held:
                self.scripts[0] = "ok"
            reply = self._answer(args)
        if is_held:
            self.release.wait(60)
        return reply

    def _answer(self, args: tuple[str, ...]) -> bytes:
        answers: dict[str, Callable[[], bytes]] = {
            "COMMAND": self._command,
            "HELLO": lambda: b"%1\r\n$5\r\nproto\r\n:3\r\n",
            "RAFTLINE.MEMBER": self._members,
            "RAFTLINE.SESSION": lambda: self._session(args),
            "RAFTLINE.ONCE": lambda: self._once(int(args[1]), int(args[2])),
            "GET": lambda: self._plain(is_write=False),
            "INCRBY": lambda: self._plain(is_write=True),
            "PUBLISH": lambda: self._plain(is_write=True),
            "SUBSCRIBE": lambda: self.push("subscribe", args[1], 1),
            "PING": lambda: bulk(args[1]) if self.protocol == 3 else b"*2\r\n" + bulk("pong") + bulk(args[1]),
        }
        return answers.get(args[0].upper(), lambda: b"+OK\r\n")()

    def push(self, *words: str | int) -> bytes:
        """Return what a subscriber is told."""
        parts = [b":%d\r\n" % word if isinstance(word, int) else bulk(word) for word in words]
        return b"%c%d\r\n" % (b">" if self.protocol == 3 else b"*", len(parts)) + b"".join(parts)

    def times_seen(self, *words: str) -> int:
        """Return how often a command was received that begins so; the first word is the number of the node."""
        with self.lock:
            return sum(seen[: len(words)] == words for seen in self.seen)

    def _command(self) -> bytes:
        rows = [
            f"*10\r\n${len(row)}\r\n{row}\r\n:1\r\n*{len(flags)}\r\n"
            + "".join(f"+{flag}\r\n" for flag in flags)
            + ":0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*0\r\n"
            for row, flags in self.rows
        ]
        return f"*{len(rows)}\r\n{''.join(rows)}".encode()

    def _plain(self, *, is_write: bool) -> bytes:
        script = self.scripts.pop(0) if self.scripts else "ok"
        if script not in {"ok", "lost"}:
            return f"-{script}\r\n".encode()
        self.count += is_write
        return CLOSE if script == "lost" else b":%d\r\n" % self.count

    def _members(self) -> bytes:
        if not self.members_told:
            return b"*0\r\n"
        told = [
            f"*4\r\n$7\r\naddress\r\n${len(address)}\r\n{address}\r\n$4\r\nrole\r\n${len(role)}\r\n{role}\r\n"
            for number, port in enumerate(self.ports)
            for address in [f"127.0.0.1:{port}@{port + 10_000}"]
            for role in ["leader" if number == self.leader else "follower"]
        ]
        return f"*{len(told)}\r\n{''.join(told)}".encode()

    def _session(self, args: tuple[str, ...]) -> bytes:
        if len(args) > 1:
            return b":%d\r\n" % (self.sessions.pop(int(args[2]), None) is not None)
        self.opened += 1
        self.sessions[self.opened] = (0, 0)
        return b":%d\r\n" % self.opened

    def _once(self, session: int, sequence: int) -> bytes:
        script = self.scripts.pop(0) if self.scripts else "ok"
        if script == "dropped":
            return CLOSE
        if script not in {"ok", "lost"}:
            return f"-{script}\r\n".encode()
        if session not in self.sessions:
            return b"-NOSESSION session %d is not open\r\n" % session
        last, reply = self.sessions[session]
        if sequence < last:
            return b"-OUTDATED older\r\n"
        if sequence > last:
            self.count += 1
            reply = self.count
            self.sessions[session] = (sequence, reply)
        return CLOSE if script == "lost" else b":%d\r\n" % reply


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        reader = hiredis.Reader()
        server.sockets.append(self.request)
        while data := self._receive():
            reader.feed(data)
            while (words := reader.gets()) is not False:
                reply = server.cluster.handle(server.server_address[1], words)
                if reply == CLOSE:
                    return
                if reply == SILENCE:
                    continue
                with contextlib.suppress(OSError):
                    self.request.sendall(reply)
                if words[0] == b"SUBSCRIBE":
                    server.listeners.append(self.request)

    def _receive(self) -> bytes:
        try:
            return bytes(self.request.recv(65536))
        except OSError:
            return b""


class FakeNode(socketserver.ThreadingTCPServer):
    """One listening socket of the cluster; its port stays its own when it has stopped, and refuses connections then."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cluster: FakeCluster) -> None:
        self._claim = socket.socket()
        self._claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._claim.bind(("127.0.0.1", 0))
        super().__init__(self._claim.getsockname(), _Handler)
        self.cluster = cluster
        self.sockets: list[socket.socket] = []
        self.listeners: list[socket.socket] = []
        """Those that were told that they are subscribed."""
        cluster.ports.append(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and end every connection."""
        self.shutdown()
        self.server_close()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # unlike its end here alone, this wakes whoever reads it
        self._thread.join()

    def give_up_port(self) -> None:
        """Let others have the port."""
        self._claim.close()


@pytest.fixture
def cluster() -> FakeCluster:
    """Return the counter behind the nodes."""
    return FakeCluster()


@pytest.fixture
def start_node(cluster: FakeCluster) -> Iterator[Callable[[], FakeNode]]:
    """Return a function that starts one more node."""
    nodes: list[FakeNode] = []

    def start() -> FakeNode:
        nodes.append(FakeNode(cluster))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()
        node.give_up_port()


class LockCluster:
    """What locks need of a client, with the real state machine behind it and a log's time that only the test moves.

    `before` is called with each command's words; what it raises is raised instead of a reply.
    """

    def __init__(self) -> None:
        self.machine = KvMachine()
        self.index = 0
        self.time_ms = 1_000_000
        self.before: Callable[[tuple[str, ...]], None] = lambda _words: None
        self.guard = threading.Lock()

    def do(self, *args: Any) -> Any:
        """Carry out a command and return its reply as redis-py does."""
        words = tuple(str(arg) for arg in args)
        self.before(words)
        name = f"{words[0]}|{words[1]}" if words[0] == "RAFTLINE.LOCK" else words[0]
        with self.guard:
            self.index += 1
            command = encode_command([name.encode(), *(word.encode() for word in words[1:])])
            reply = self.machine.apply(command, self.index, self.time_ms)
        reader = hiredis.Reader(replyError=redis.ResponseError)
        reader.feed(reply)
        value = reader.gets()
        if isinstance(value, redis.ResponseError):
            raise value
        return value

    def execute_command(self, *args: Any) -> Any:
        """As `Client` has it."""
        return self.do(*args)

    def execute_within(self, _deadline_s: float, *args: Any) -> Any:
        """As `Client` has it."""
        return self.do(*args)

    @property
    def held(self) -> int:
        """Return how many locks are held."""
        return self.machine.store.count


@pytest.fixture
def often_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let locks be renewed thousands of times a lease, so that a long one is seen to be renewed."""
    monkeypatch.setattr(lease, "_RENEWALS", 20_000)


@pytest.fixture
def locks() -> LockCluster:
    """Return a cluster where no lock is held."""
    return LockCluster()
