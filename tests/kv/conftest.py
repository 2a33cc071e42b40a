"""Stand-ins for the node, so that the store can be tested without a group around it."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

from raftline.core.changes import MembershipChange
from raftline.core.ids import NodeId
from raftline.errors import NotMember, StorageError
from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer
from raftline.kv.service import Service
from raftline.runtime.backup import Backup
from raftline.runtime.histogram import Histogram
from raftline.runtime.measurements import Measurements
from raftline.runtime.ports import Clock
from raftline.runtime.requests import Consistency
from raftline.runtime.stages import STAGES
from raftline.runtime.status import SessionStatus, Status


def make_status(*, role: str = "leader") -> Status:
    """Return the status of a lone node."""
    return Status(
        node_id="n1",
        cluster_id="test",
        role=role,
        leader_id="n1" if role == "leader" else "n2",
        leader_address="127.0.0.1:7001@17001",
        term=1,
        compacted_index=0,
        snapshot_index=0,
        applied_index=5,
        commit_index=5,
        last_index=6,
        persisted_index=6,
        log_bytes=0,
        log_memory_bytes=0,
        pending_requests=0,
        apply_errors=0,
        sessions=0,
        digest=0,
        disk_batches=0,
        snapshots_taken=0,
        snapshots_installed=0,
        snapshot_in_progress=False,
        established=True,
        members=(),
    )


def make_measurements(status: Status) -> Measurements:
    """Return what a lone node measures that has done nothing yet."""
    return Measurements(
        status=status,
        not_ready="",
        stages={name: Histogram() for name in STAGES if name != "reply"},
        elections=0,
        pre_votes=0,
        leader_changes=0,
        role_changes={},
        log_memory_bytes=0,
        requests_waiting=0,
        proposals_queued=0,
        messages_queued=0,
        apply_queued=0,
        writes_queued=0,
        unwritten_bytes=0,
        unwritten_bytes_max=256 << 20,
        snapshot_bytes=0,
        restoring=False,
        peers={},
    )


class FakeClock:
    """A wall clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


class HeldNode:
    """A node whose answers come when the test says so; commands are applied at that moment."""

    def __init__(self, machine: KvMachine, clock: Clock) -> None:
        self.machine = machine
        self.clock = clock
        self.waiting: list[tuple[bytes | None, Callable[..., None]]] = []
        self.is_leader = True
        self.command_version = KvMachine.version
        self.applied = 0
        self.log: list[bytes] = []
        self.reads: list[tuple[Consistency, float]] = []
        self.changes: list[MembershipChange] = []
        self.transfers: list[NodeId | None] = []
        self.once: list[tuple[int | None, int]] = []
        self.sessions: dict[int, SessionStatus] = {}
        self.failure: Exception | None = None
        self.removed: NotMember | None = None
        """What it was told, once it is no member any more."""

    def outside(self) -> NotMember | None:
        return self.removed

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        self.waiting.append((command, done))
        self.once.append((session, sequence))

    def before_turn(self, call: Callable[[], None]) -> None:
        """Nothing is collected: each command is submitted by itself."""
        call()

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        self.waiting.append((None, done))
        self.reads.append((consistency, staleness_s_max))

    async def open_session(self) -> int:
        if self.failure is not None:
            raise self.failure
        session = len(self.sessions) + 1
        self.sessions[session] = SessionStatus(session=session, sequence=0, reply_bytes=0, reply_kept=True, idle_ms=0)
        return session

    async def close_session(self, session: int) -> bool:
        if self.failure is not None:
            raise self.failure
        return self.sessions.pop(session, None) is not None

    async def find_session(self, session: int) -> SessionStatus | None:
        if self.failure is not None:
            raise self.failure
        return self.sessions.get(session)

    async def open_backup(self) -> Backup:
        raise StorageError("this node has no disk")

    async def change_membership(self, change: MembershipChange) -> None:
        self.changes.append(change)

    async def transfer_leadership(self, to: NodeId | None = None) -> None:
        self.transfers.append(to)

    def status(self) -> Status:
        return make_status()

    def measure(self) -> Measurements:
        return make_measurements(self.status())

    def answer(self, failure: Exception | None = None) -> int:
        """Answer everything that waits now; return how much that was."""
        waiting, self.waiting = self.waiting, []
        for command, done in waiting:
            if failure is not None:
                done(failure)
            elif command is None:
                done(None)
            else:
                self.applied += 1
                self.log.append(command)
                done(self.machine.apply(command, self.applied, self.clock.wall_ms()))
        return len(waiting)

    def answer_all(self) -> None:
        """Answer until nothing waits."""
        while self.waiting:
            self.answer()


class PromptNode(HeldNode):
    """A node that answers in the next turn of the event loop."""

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        self._schedule()
        super().submit(command, done, session, sequence)

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        self._schedule()
        super().submit_read(done, consistency, staleness_s_max)

    def before_turn(self, call: Callable[[], None]) -> None:
        """Collect what comes in this turn of the loop."""
        asyncio.get_running_loop().call_soon(call)

    def _schedule(self) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.answer)


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def machine() -> KvMachine:
    """Return a new state machine."""
    return KvMachine()


@pytest.fixture
def held_node(machine: KvMachine, clock: FakeClock) -> HeldNode:
    """Return a node that answers when told to."""
    return HeldNode(machine, clock)


@pytest.fixture
def prompt_node(machine: KvMachine, clock: FakeClock) -> PromptNode:
    """Return a node that answers in the next turn."""
    return PromptNode(machine, clock)


def encode_request(*args: bytes) -> bytes:
    """Return a request as clients write it."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


class Conversation:
    """One connection of a service whose node answers when the test says so."""

    def __init__(self, service: Service, node: HeldNode) -> None:
        self.node = node
        self.ready: list[Connection] = []
        connection = service.connect("127.0.0.1:5000", "127.0.0.1:7001", lambda: self.ready.append(self.connection))
        assert connection is not None
        self.connection = connection

    def send(self, data: bytes) -> bytes:
        """Feed bytes and return what comes back without any help of the node."""
        self.connection.feed(data)
        return self.take()

    def take(self) -> bytes:
        """Give the connection its turns and return its output."""
        output = self.connection.take_output()
        while self.ready:
            connection = self.ready.pop()
            if not (reply := connection.take_lone_reply()):
                connection.turn()
            output += reply or connection.take_output()
        return output

    def raw(self, data: bytes) -> bytes:
        """Feed bytes, let the node answer whatever it is asked, and return all output."""
        output = self.send(data)
        while self.node.waiting:
            self.node.answer()
            output += self.take()
        return output

    def ask(self, *args: bytes) -> bytes:
        """Send one command and return its reply."""
        return self.raw(encode_request(*args))


_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@contextmanager
def claimed_port() -> Iterator[int]:
    """Take a loopback port that nobody else listens on, neither before it is used here nor after."""
    with socket.socket() as claim:
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claim.bind(("127.0.0.1", 0))
        yield claim.getsockname()[1]


@pytest.fixture(params=list(_LOOPS))
def serve(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that runs a scenario, for so long at most, against a server of its own in front of a node."""

    def run(
        scenario: Callable[[KvServer], Awaitable[None]], node: HeldNode, within_s: float, limits: Mapping[str, Any]
    ) -> None:
        async def main() -> None:
            server = KvServer(node, node.machine, "127.0.0.1", port, Limits(**limits), clock=node.clock)
            await server.start()
            try:
                await asyncio.wait_for(scenario(server), within_s)
            finally:
                await server.stop()

        with claimed_port() as port, asyncio.Runner(loop_factory=_LOOPS[request.param]) as runner:
            runner.run(main())

    return run


@pytest.fixture
def limits() -> Limits:
    """Return the usual limits."""
    return Limits()


@pytest.fixture
def service(held_node: HeldNode, machine: KvMachine, limits: Limits, clock: FakeClock) -> Service:
    """Return a service around `held_node`."""
    return Service(held_node, machine, limits, clock, "127.0.0.1", 7001)


@pytest.fixture
def conversation(service: Service, held_node: HeldNode) -> Conversation:
    """Return a connection of `service`."""
    return Conversation(service, held_node)


@pytest.fixture
def new_client(held_node: HeldNode) -> Callable[[Service], Conversation]:
    """Return a function that connects to a service around `held_node`."""
    return lambda service: Conversation(service, held_node)


@pytest.fixture
def new_conversation() -> Callable[..., Conversation]:
    """Return a function that makes a conversation with a new, empty store."""

    def make(clock: Clock | None = None, limits: Limits | None = None) -> Conversation:
        machine = KvMachine()
        clock = clock or FakeClock()
        node = HeldNode(machine, clock)
        return Conversation(Service(node, machine, limits or Limits(), clock, "127.0.0.1", 7001), node)

    return make


@pytest.fixture
def request_of() -> Callable[..., bytes]:
    """Return the function that encodes a request."""
    return encode_request


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start a real redis-server on a loopback port; skip if none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed, so there is nothing to compare with")
    directory = tmp_path_factory.mktemp("redis")
    settings = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--databases", "1", "--dir", str(directory))
    with (
        claimed_port() as port,
        subprocess.Popen(
            [program, "--port", str(port), *settings], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if b"Ready to accept connections" in line:
                break
        else:
            pytest.skip(f"redis-server did not start: exit code {process.wait()}")
        version = subprocess.run([program, "--version"], capture_output=True, check=True).stdout
        if b"v=7.0." not in version:
            process.terminate()
            pytest.skip(f"redis-server is not of version 7.0, whose words are compared: {version.decode().strip()}")
        yield port
        process.terminate()
        process.stdout.read()


CRLF = b"\r\n"


class Talker:
    """One connection, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *args: str | bytes) -> None:
        """Send a command."""
        words = [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
        self.writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))

    async def take(self) -> bytes:
        """Return the next reply as it came."""
        line = await asyncio.wait_for(self.reader.readuntil(CRLF), 60)
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=" and rest != b"-1":
            return line + await asyncio.wait_for(self.reader.readexactly(int(rest) + 2), 60)
        if kind in b"*%~>" and rest != b"-1":
            count = int(rest) * (2 if kind == b"%" else 1)
            return line + b"".join([await self.take() for _ in range(count)])
        return line

    async def ask(self, *args: str | bytes) -> bytes:
        """Send a command and return its reply."""
        self.send(*args)
        return await self.take()


class Side:
    """One of the two servers."""

    def __init__(self, port: int, protocol: int) -> None:
        self.port = port
        self.protocol = protocol
        self.talkers: list[Talker] = []

    async def connect(self) -> Talker:
        """Open a connection."""
        talker = Talker(*await asyncio.open_connection("127.0.0.1", self.port))
        self.talkers.append(talker)
        await talker.ask("HELLO", str(self.protocol))
        return talker

    async def until_blocked(self, count: int) -> None:
        """Return when so many clients wait."""
        control = await self.connect()
        while f"blocked_clients:{count}\r\n".encode() not in await control.ask("INFO", "clients"):  # noqa: ASYNC110  what another server knows
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Close every connection."""
        for talker in self.talkers:
            talker.writer.close()


PlayBoth = Callable[[Callable[[Side], Awaitable[Any]], int], tuple[Any, Any]]


@pytest.fixture
def play_both(prompt_node: PromptNode, machine: KvMachine, redis_port: int) -> PlayBoth:
    """Return what plays a scenario with a new server of ours and with redis-server, and returns what came of each."""

    async def play(scenario: Callable[[Side], Awaitable[Any]], port: int, protocol: int) -> Any:
        side = Side(port, protocol)
        try:
            control = await side.connect()
            await control.ask("FLUSHALL")
            return await asyncio.wait_for(scenario(side), 60)
        finally:
            await side.close()

    async def both(scenario: Callable[[Side], Awaitable[Any]], protocol: int) -> tuple[Any, Any]:
        server = KvServer(prompt_node, machine, "127.0.0.1", 0)
        await server.start()
        try:
            return await play(scenario, server.port, protocol), await play(scenario, redis_port, protocol)
        finally:
            await server.stop()

    return lambda scenario, protocol: asyncio.run(both(scenario, protocol))
