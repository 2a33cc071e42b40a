"""Something that answers INFO raft, and disks that crash at every step of a piece of work."""

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from random import Random

import hiredis
import pytest

from raftline.sim.disk import CrashKind, SimDisk, SimFiles
from raftline.sim.faults import DiskFaults, SimCrash

Work = Callable[[SimFiles], None]


def info_lines(node_id: str, ports: dict[str, int], **overrides: object) -> str:
    """Return what a server of three would say; `ports` are the client ports by node."""
    fields = {
        "node_id": node_id, "role": "leader" if node_id == "n1" else "follower", "leader_id": "n1", "term": 4,
        "compacted_index": 2, "snapshot_index": 5, "applied_index": 10, "commit_index": 10, "last_index": 11,
        "digest": "a1b2",
    } | overrides  # fmt: skip
    lines = ["# Raft", *(f"raft_{name}:{value}" for name, value in fields.items())]
    for number, (name, port) in enumerate(ports.items()):
        lines.append(
            f"raft_member{number}:node_id={name},address=127.0.0.1:{port}@{port - 1},voter=1,role=,lag_entries="
        )
    return "\r\n".join([*lines, ""])


class _Fake(socketserver.ThreadingTCPServer):
    """Answers every request with `reply`, whatever was asked; HELLO and CLIENT as redis-py wants it."""

    daemon_threads = True
    allow_reuse_address = True
    reply = b""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer command after command; a client that leaves is no complaint on what may be another test's output."""
        assert isinstance(self.server, _Fake)
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                replies = []
                for command in data.split(b"*")[1:]:
                    if b"HELLO" in command:
                        replies.append(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                    elif b"CLIENT" in command:
                        replies.append(b"+OK\r\n")
                    else:
                        replies.append(self.server.reply)
                self.request.sendall(b"".join(replies))


FakeNode = Callable[..., int]


@pytest.fixture
def fake_node() -> Iterator[FakeNode]:
    """Start a fake; call with the INFO text, or with `raw` bytes to answer; returns its port."""
    servers = []

    def start(text: str = "", *, raw: bytes | None = None, port: int = 0) -> int:
        server = _Fake(("127.0.0.1", port), _Handler)
        body = text.encode()
        server.reply = raw if raw is not None else b"$%d\r\n%b\r\n" % (len(body), body)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def lines_of() -> Callable[..., str]:
    """The INFO lines of a node of three."""
    return info_lines


class ForgetfulStore(socketserver.ThreadingTCPServer):
    """A Redis with the few commands of `Load`, whose faults a test switches on."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StoreHandler)
        self.values: dict[bytes, bytes] = {}
        self.lock = threading.Lock()
        self.forgets = False
        """SET is acknowledged and not kept."""
        self.lags = 0
        """GET of a counter shows so much less than the truth."""
        self.repeats = False
        """INCR returns the same number twice."""
        self.refuses = False
        """Every command gets an error."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def answer(self, command: list[bytes]) -> bytes:
        """Carry out one command."""
        name, *arguments = command
        if name == b"HELLO":
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        if name == b"CLIENT":
            return b"+OK\r\n"
        if self.refuses:
            return b"-CLUSTERDOWN no leader\r\n"
        with self.lock:
            return self._answer(name, arguments)

    def _answer(self, name: bytes, arguments: list[bytes]) -> bytes:
        if name == b"SET":
            if not self.forgets:
                self.values[arguments[0]] = arguments[1]
            return b"+OK\r\n"
        if name == b"INCRBY":
            value = int(self.values.get(arguments[0], b"0")) + (not self.repeats)
            self.values[arguments[0]] = b"%d" % value
            return b":%d\r\n" % value
        if name == b"GET":
            shown = self.values.get(arguments[0])
            if shown is not None and self.lags:
                shown = b"%d" % max(0, int(shown) - self.lags)
            return _bulk(shown)
        assert name == b"MGET", name
        return b"*%d\r\n" % len(arguments) + b"".join(_bulk(self.values.get(key)) for key in arguments)


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


class _StoreHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer command after command."""
        assert isinstance(self.server, ForgetfulStore)
        reader = hiredis.Reader()
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                reader.feed(data)
                replies = b""
                while (command := reader.gets()) is not False:
                    replies += self.server.answer(command)
                self.request.sendall(replies)


@pytest.fixture
def store() -> Iterator[ForgetfulStore]:
    """A store without faults until a test switches them on."""
    server = ForgetfulStore()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class _Clock:
    """Virtual time, by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _crash_once(seed: int, faults: DiskFaults, prepare: Work, work: Work, number: int) -> tuple[str, SimFiles] | None:
    """Do the work on a disk that crashes at its operation of that number; None if there are fewer."""
    clock, left = _Clock(), [number]
    disk = SimDisk(clock, Random(seed), faults=faults)
    prepare(disk.mount())

    def decide(_point: str) -> CrashKind | None:
        left[0] -= 1
        return None if left[0] else (CrashKind.PROGRAM if faults is _PROGRAM else CrashKind.MACHINE)

    clock.now += 100.0
    files = disk.mount()
    disk.on_point = decide
    try:
        work(files)
    except SimCrash as crash:
        disk.on_point = None
        clock.now += 100.0
        return crash.point, disk.mount()
    return None


_PROGRAM = DiskFaults(keep_unsynced=1.0, tear_unsynced=0.0, keep_names=1.0)
_POWER = (
    DiskFaults(keep_unsynced=0.0, tear_unsynced=0.0, keep_names=0.0),
    DiskFaults(keep_unsynced=0.5, tear_unsynced=0.5, keep_names=0.5),
)


@pytest.fixture
def crashes_of() -> Callable[[Work, Work], Iterator[tuple[str, SimFiles]]]:
    """Call with what prepares a disk and what works on it: yields each point of a crash, and the disk after it.

    Every operation is interrupted before, within and after it: by SIGKILL, and by power that fails and takes what was
    not synced, or part of it.
    """

    def crashes(prepare: Work, work: Work) -> Iterator[tuple[str, SimFiles]]:
        for faults in (_PROGRAM, *_POWER):
            for seed in range(1 if faults is _POWER[0] else 3):
                number = 1
                while (crash := _crash_once(seed, faults, prepare, work, number)) is not None:
                    yield crash
                    number += 1
                assert number > 20, "the work has steps"

    return crashes
