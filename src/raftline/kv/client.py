"""What the commands know about a client and about the server it is connected to; no sockets, no protocol."""

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from raftline.kv.acl.denials import Denials
from raftline.kv.acl.user import DEFAULT_NAME
from raftline.kv.cluster_view import ClusterView, Keyspace
from raftline.kv.limits import Limits
from raftline.kv.memory import MemoryLimit
from raftline.kv.slowlog import Slowlog
from raftline.kv.store import Store
from raftline.kv.transaction import Transaction
from raftline.runtime.backup import Backup
from raftline.runtime.histogram import Histogram
from raftline.runtime.measurements import Measurements
from raftline.runtime.requests import Consistency
from raftline.runtime.status import Status

if TYPE_CHECKING:
    from raftline.kv.bundles import Bundles
    from raftline.kv.channels import Channels
    from raftline.kv.shards_view import ShardsAdmin
    from raftline.kv.waiting import Waiter, Waiting

__all__ = ["Client", "Guardian", "Server", "ServerFacts", "Statistics"]

_NO_NAMES: dict[bytes, None] = {}
"""Stands for the names of everybody who listens to nothing; nothing is ever put into it."""
Reply = Callable[[], bytes]


class Statistics(msgspec.Struct):
    """Counters since the server started, or since CONFIG RESETSTAT."""

    connections: int = 0
    rejected_connections: int = 0
    commands: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    protocol_errors: int = 0
    slow_clients_closed: int = 0
    output_limit_disconnections: int = 0
    """Those of them for whom too much waited."""
    failed_requests: int = 0
    calls: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    """Commands begun, by name; subcommands as `container|subcommand`."""


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while a server runs."""

    host: str
    port: int
    process_id: int
    started_ms: int


class Guardian(Protocol):
    """Decides what a client may do; `Guard` is the one there is."""

    @property
    def denials(self) -> Denials:
        """What was refused lately."""

    def is_free(self, client: "Client") -> bool:
        """Say whether nothing has to be asked about this client's commands for now."""

    def refusal(self, client: "Client", command: Any, args: list[bytes]) -> bytes | None:
        """Return the reply to a command that the client may not use like this; None if it may."""

    def denial(self, client: "Client", command: Any, args: list[bytes]) -> str | None:
        """Return why the client may no longer use a command that it was allowed to queue; None if it may."""


class Server(Protocol):
    """The node as its clients see it."""

    @property
    def facts(self) -> ServerFacts:
        """Where and since when it serves."""

    @property
    def limits(self) -> Limits:
        """What it allows."""

    @property
    def statistics(self) -> Statistics:
        """What it counted."""

    @property
    def bundles(self) -> "Bundles":
        """The small writes of its clients that wait for the next turn."""

    @property
    def memory(self) -> MemoryLimit:
        """How much its copy of the data may take."""

    @property
    def guard(self) -> "Guardian":
        """Who decides what each client may do."""

    @property
    def store(self) -> Store:
        """The node's own copy of the data, which may be behind."""

    @property
    def cluster(self) -> "ClusterView | None":
        """The sharded store that this node is part of; None if all keys are in one group."""

    @property
    def is_master(self) -> bool:
        """Say whether the node leads a group that holds keys."""

    def keyspace(self) -> Keyspace:
        """Return how much the node holds."""

    @property
    def clients(self) -> "dict[int, Client]":
        """Everybody who is connected, by id."""

    @property
    def waiting(self) -> "Waiting":
        """Whose commands wait for something to pop."""

    @property
    def channels(self) -> "Channels":
        """Who listens to what."""

    @property
    def shards(self) -> "ShardsAdmin | None":
        """What can be done to a sharded cluster; None where all keys are in one group."""

    @property
    def slowlog(self) -> Slowlog:
        """The commands that took long."""

    @property
    def reply_latency(self) -> Histogram:
        """How long replies took from their outcome to the socket."""

    def status(self) -> Status:
        """Return what the node knows of itself and of its group."""

    def measure(self) -> Measurements:
        """Return everything that the node measures."""

    def monotonic_s(self) -> float:
        """Return a stopwatch's time."""

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970."""


class Client:
    """One connection as CLIENT INFO shows it."""

    __slots__ = (
        "address",
        "backups",
        "blocked",
        "channels",
        "closing",
        "connected_ms",
        "default_reads",
        "finds_slots",
        "id",
        "is_at_end",
        "is_authenticated",
        "kill",
        "last_command",
        "last_ms",
        "library_name",
        "library_version",
        "local_address",
        "muted",
        "name",
        "no_evict",
        "patterns",
        "pending",
        "protocol",
        "push",
        "reads",
        "server",
        "shard_channels",
        "skip_reply",
        "staleness_s_max",
        "transaction",
        "user",
    )

    def __init__(
        self,
        server: Server,
        number: int,
        address: str,
        local_address: str,
        default_reads: Consistency = "linearizable",
    ) -> None:
        self.server = server
        self.id = number
        self.address = address
        self.local_address = local_address
        self.connected_ms = self.last_ms = server.now_ms()
        self.last_command = ""
        self.closing = False
        """No further command is taken; the connection ends once what was asked is answered."""
        self.is_at_end = False
        """It will send no more, or no more is taken; what it sent is still carried out, but nothing is waited for."""
        self.backups: dict[int, Backup] = {}
        """Backups that are being fetched, by number."""
        self.blocked: Waiter | None = None
        """Its command that waits for something to pop."""
        self.kill: Callable[[], object] = _nothing
        """Closes its socket, at once; whoever owns that gives it."""
        self.push: Callable[[bytes], object] = _drop
        """Sends it something that it did not ask for, in its protocol; its connection gives it."""
        self.channels = self.patterns = self.shard_channels = _NO_NAMES
        """What it listens to."""
        self.default_reads = default_reads
        """What reads promise unless the client chose something else."""
        self.pending = 0
        """Commands without an answer yet."""
        self.name = b""
        self.library_name = b""
        self.library_version = b""
        self.user = DEFAULT_NAME
        """As whom it logged in."""
        self.is_authenticated = False
        """It logged in, or it need not."""
        self.reset()

    @property
    def is_subscribed(self) -> bool:
        """Whether it listens to any channel."""
        return bool(self.channels or self.patterns or self.shard_channels)

    @property
    def only_listens(self) -> bool:
        """Whether it may do nothing but listen: in RESP2 a message could not be told from a reply."""
        return self.protocol == 2 and bool(self.channels or self.patterns or self.shard_channels)

    @property
    def output_limit(self) -> str:
        """The setting that says how much that it does not take may wait for it."""
        return "subscriber_buffer_bytes_max" if self.is_subscribed else "output_buffer_bytes_max"

    @property
    def output_bytes_max(self) -> int:
        """How much that it does not take may wait for it."""
        limits = self.server.limits
        return limits.subscriber_buffer_bytes_max if self.is_subscribed else limits.output_buffer_bytes_max

    def names(self, attribute: str) -> dict[bytes, None]:
        """Return one of the three kinds of names that it listens to, to be changed."""
        names: dict[bytes, None] = getattr(self, attribute)
        if names is _NO_NAMES:
            names = {}
            setattr(self, attribute, names)
        return names

    def log_in(self, user: bytes) -> None:
        """Go on as this user, whose password was right."""
        self.user = user
        self.is_authenticated = True

    def line(self) -> str:
        """Return what CLIENT INFO and CLIENT LIST say of it."""
        now_ms = self.server.now_ms()
        transaction = self.transaction
        queued = len(transaction.queued) if transaction is not None and transaction.is_open else -1
        return (
            f"id={self.id} addr={self.address} laddr={self.local_address} name={self.name.decode()}"
            f" age={max(0, now_ms - self.connected_ms) // 1000} idle={max(0, now_ms - self.last_ms) // 1000}"
            f" flags={self._flags()} db=0 sub={len(self.channels)} psub={len(self.patterns)}"
            f" ssub={len(self.shard_channels)} multi={queued} oll={self.pending}"
            f" cmd={self.last_command or 'NULL'} user={self.user.decode(errors='replace')} redir=-1"
            f" resp={self.protocol} lib-name={self.library_name.decode()} lib-ver={self.library_version.decode()}\n"
        )

    def _flags(self) -> str:
        """Return what kind of client it is, in Redis's letters."""
        flags = (
            ("P" if self.is_subscribed else "")
            + ("x" if self.transaction is not None and self.transaction.is_open else "")
            + ("b" if self.blocked is not None else "")
            + ("e" if self.no_evict else "")
        )
        return flags or "N"

    def close(self) -> None:
        """Let go of what is held for a client that is gone."""
        self.server.channels.remove_all(self)
        backups, self.backups = self.backups, {}
        for backup in backups.values():
            backup.close()

    def reset(self) -> None:
        """Go back to what a new connection is like, the name of its library aside (RESET)."""
        if self.is_subscribed:
            self.server.channels.remove_all(self)
        self.protocol = 2
        self.user = DEFAULT_NAME
        self.is_authenticated = not self.server.store.users.default_needs_password
        self.name = b""
        self.muted = False
        self.skip_reply = False
        self.finds_slots = False
        """It knows which node serves what, and wants to be redirected rather than served by way of another."""
        self.no_evict = False
        self.transaction: Transaction | None = None
        """What WATCH and MULTI began; None most of the time."""
        self.reads: Consistency = self.default_reads
        self.staleness_s_max = 0.0
        """How old what a bounded read sees may be."""


def _nothing() -> None:
    """Nobody owns a socket of this client."""


def _drop(_data: bytes) -> None:
    """Nobody owns a connection of this client."""
