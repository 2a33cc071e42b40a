"""The one table of what a server can be told: `ServerSettings`, with name, type, default, bounds, unit and help.

Flags (`--data-dir`), variables (`RAFTLINE_DATA_DIR`), keys of the settings file (`data_dir`) and the documentation are
all derived from it. It refuses to know where a value was written; that is `settings_loading`.
"""

from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, UNSET, Meta, Struct, structs

from raftline.core.config import CoreConfig
from raftline.kv.limits import KEY_BYTES_CEILING, Limits
from raftline.kv.sharded.settings import KeeperSettings
from raftline.replica.sessions import ONE_REPLY_BYTES_MAX
from raftline.runtime.config import NodeConfig
from raftline.shards.ranges import SLOT_COUNT
from raftline.transport.address import Address, parse_address
from raftline.transport.tls import TlsFiles

__all__ = [
    "COMMAND_SPARE_BYTES",
    "CONFIG_VARIABLE",
    "VARIABLE_PREFIX",
    "ServerSettings",
    "Setting",
    "keeper_settings_of",
    "limits_of",
    "node_config_of",
    "own_address_of",
    "settings_table",
    "tls_files_of",
]

VARIABLE_PREFIX = "RAFTLINE_"
CONFIG_VARIABLE = VARIABLE_PREFIX + "CONFIG"
"""Names the settings file, if no flag does."""
COMMAND_SPARE_BYTES = 1 << 20
"""What a request, or a reply that goes with a slot, may grow by on its way into the log: lengths, time, session."""

REQUEST_BYTES_CEILING = 512 << 20
"""As long as one string may be. A node that cannot write an entry stops, and a record of the log holds 1 GiB."""

_CORE = CoreConfig()
_NODE = NodeConfig(node_id="", members={}, data_dir="")
_LIMITS = Limits()
_KEEPER = KeeperSettings()


def _about(help_text: str, unit: str = "", *, is_secret: bool = False, **bounds: Any) -> Meta:
    return Meta(description=help_text, extra={"unit": unit, "is_secret": is_secret}, **bounds)


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `raftline server` can be told."""

    def __repr__(self) -> str:
        """Show no password, wherever this is shown."""
        return f"ServerSettings(id={self.id!r})"

    id: Annotated[str, _about("This node's name; one of the names in `cluster`, if that is given.")]
    data_dir: Annotated[str, _about("Directory of this node's log and snapshots; made if it is missing.")]
    cluster: Annotated[
        dict[str, str],
        _about(
            "Name and address of every node of a new cluster, the same on all of them: `name=host:port`, or "
            "`name=host:port@busport`. Once the log names the members, it counts."
        ),
    ] = {}
    listen: Annotated[
        str,
        _about("This node's own address, `host:port` or `host:port@busport`; empty: the one in `cluster`."),
    ] = ""
    join: Annotated[
        str,
        _about(
            "Client address of any node of the cluster that this node is to be added to (`raftline member add`); it "
            "waits until then. Instead of `cluster`, with `listen`."
        ),
    ] = ""
    cluster_id: Annotated[
        str,
        _about(
            "Name of the cluster; nodes of another cluster are turned away, and so is its directory. Empty: that of "
            f"the data directory, or `{_NODE.cluster_id}` for a new one."
        ),
    ] = ""
    sharded: Annotated[
        Literal["auto", "on", "off"],
        _about(
            "Keys in many groups, or all in one; what a cluster begins with stays. `auto`: as the data directory says, "
            "or the node that is joined; a new cluster is not sharded. `--sharded` alone means `on`."
        ),
    ] = "auto"
    groups: Annotated[
        int,
        _about(
            "How many groups a new sharded cluster begins with; 0: one for each node.", "groups", ge=0, le=SLOT_COUNT
        ),
    ] = 0
    replicas: Annotated[
        int, _about("On how many nodes each new group of a sharded cluster is, if there are so many.", "nodes", ge=1)
    ] = _KEEPER.replicas
    redirects: Annotated[
        Literal["auto", "always", "never"],
        _about(
            "Which clients are told to ask another node (MOVED), rather than served by way of this one: those that "
            "asked for the slots, all, or none."
        ),
    ] = "auto"
    move_bytes_per_second: Annotated[
        int, _about("Take in moving slots no faster than this, all groups together.", "bytes per second", ge=1)
    ] = _KEEPER.bytes_per_second
    replace_dead_after_s: Annotated[
        float,
        _about(
            "The replicas of a node that is gone for so long are made anew on others, where there is room; 0: never.",
            "seconds",
            ge=0,
        ),
    ] = _KEEPER.replace_dead_after_s
    bind: Annotated[
        str, _about("IP address or host name to listen on, for clients and peers; empty: the host of the own address.")
    ] = ""
    heartbeat_interval_s: Annotated[
        float, _about("A leader that has nothing to send says so this often.", "seconds", gt=0)
    ] = _CORE.heartbeat_interval_s
    election_timeout_s: Annotated[
        tuple[float, float],
        _about(
            "Range `low,high`: a follower that hears no leader for a random time in it stands for election.", "seconds"
        ),
    ] = _CORE.election_timeout_s
    reads: Annotated[
        Literal["linearizable", "lease"],
        _about(
            "How reads are proven to be current, the same on all nodes: by a round of messages, or by the leader's "
            "lease, which needs none but clocks that keep within `clock_drift_max`."
        ),
    ] = "linearizable"
    clock_drift_max: Annotated[
        float, _about("How much faster than another's any node's clock may run, as a fraction.", ge=0, lt=1)
    ] = _CORE.clock_drift_max
    drain_s_max: Annotated[
        float,
        _about(
            "A node that is stopped hands over and answers what is under way for at most this long.", "seconds", ge=0
        ),
    ] = _NODE.drain_s_max
    request_timeout_s: Annotated[
        float,
        _about("A command without an outcome, because no leader is known, fails after this long.", "seconds", gt=0),
    ] = _NODE.request_timeout_s
    clients_max: Annotated[
        int, _about("Most client connections at a time; further ones are told so and closed.", "connections", ge=1)
    ] = _LIMITS.clients_max
    request_bytes_max: Annotated[
        int, _about("Largest single request of a client.", "bytes", ge=1024, le=REQUEST_BYTES_CEILING)
    ] = _LIMITS.request_bytes_max
    key_bytes_max: Annotated[int, _about("Longest key.", "bytes", ge=1, le=KEY_BYTES_CEILING)] = _LIMITS.key_bytes_max
    value_bytes_max: Annotated[
        int, _about("Largest value in a request; APPEND and SETRANGE may make it longer.", "bytes", ge=1)
    ] = _LIMITS.value_bytes_max
    args_max: Annotated[int, _about("Most arguments of one request.", "arguments", ge=16)] = _LIMITS.args_max
    receive_s_max: Annotated[
        float,
        _about(
            "A request that is not complete after this long is given up; its connection is closed.", "seconds", gt=0
        ),
    ] = _LIMITS.receive_s_max
    stalled_s_max: Annotated[
        float, _about("A client that takes none of its waiting replies for this long is closed.", "seconds", gt=0)
    ] = _LIMITS.stalled_s_max
    idle_s_max: Annotated[
        float,
        _about(
            "A client that asks nothing, and waits for nothing, for this long is closed; 0: never.", "seconds", ge=0
        ),
    ] = _LIMITS.idle_s_max
    partial_bytes_max: Annotated[
        int,
        _about(
            "Half-received requests of all clients together; beyond it, the one that asks for more is closed.",
            "bytes",
            ge=1024,
        ),
    ] = _LIMITS.partial_bytes_max
    output_buffer_bytes_max: Annotated[
        int,
        _about(
            "Replies that may wait for a client that does not read; beyond it, it is closed; the log tells.",
            "bytes",
            ge=1024,
        ),
    ] = _LIMITS.output_buffer_bytes_max
    pending_max: Annotated[
        int,
        _about(
            "Most entries that may wait for an outcome, of up to 32 small commands each, in all groups together; more "
            "are refused at once. One group of several leaves a quarter of it to the others.",
            "entries",
            ge=1,
        ),
    ] = _NODE.pending_max
    log_memory_bytes: Annotated[
        int,
        _about(
            "Most of the log to keep in memory, of all groups together; followers that need older entries are fed from "
            "disk.",
            "bytes",
            ge=0,
        ),
    ] = _NODE.log_memory_bytes
    snapshot_log_bytes: Annotated[
        int,
        _about(
            "Take a snapshot when the log has grown by this much since the last; where the logs of all groups together "
            "have, of the one that has grown most, by a sixteenth at least.",
            "bytes",
            ge=1,
        ),
    ] = _NODE.snapshot_log_bytes
    snapshot_log_entries: Annotated[
        int,
        _about(
            "Take a snapshot when the log has grown by this many entries since the last; in all groups together as "
            "above.",
            "entries",
            ge=1,
        ),
    ] = _NODE.snapshot_log_entries
    snapshot_bytes_per_second: Annotated[
        int,
        _about(
            "Write and send snapshots no faster than this, all groups and followers together.", "bytes per second", ge=1
        ),
    ] = _NODE.snapshot_bytes_per_second
    keep_log_entries: Annotated[
        int,
        _about(
            "Keep this many entries before a snapshot, for followers that are a little behind; of large ones as many "
            "bytes as between two snapshots.",
            "entries",
            ge=0,
        ),
    ] = _NODE.keep_log_entries
    segment_bytes: Annotated[int, _about("Size of one file of the log.", "bytes", ge=1 << 16)] = _NODE.segment_bytes
    metrics: Annotated[
        str,
        _about(
            "Address, `host:port`, of an HTTP port for /metrics (Prometheus), /healthz and /readyz; empty: none. It "
            "asks for no password: use the loopback interface or a network that you trust."
        ),
    ] = ""
    maxmemory: Annotated[
        int,
        _about(
            "Above so much of keys and values, as INFO counts them, this node refuses commands that may need more; 0: "
            "no limit. The same on all nodes; CONFIG SET changes it until the node is started again.",
            "bytes",
            ge=0,
        ),
    ] = _LIMITS.maxmemory
    slowlog_log_slower_than: Annotated[
        int,
        _about("SLOWLOG keeps commands that take at least this long; 0 for all, -1 for none.", "microseconds", ge=-1),
    ] = _LIMITS.slowlog_log_slower_than
    slowlog_max_len: Annotated[
        int, _about("SLOWLOG keeps this many commands; the oldest go first.", "entries", ge=1, le=1_000_000)
    ] = _LIMITS.slowlog_max_len
    tls_clients: Annotated[
        Literal["off", "on", "mutual"],
        _about("TLS on the client port; with `mutual`, clients have to show a certificate of `tls_ca`."),
    ] = "off"
    tls_peers: Annotated[
        Literal["off", "mutual"],
        _about(
            "TLS between nodes, the same on all of them; each certificate must be of `tls_ca` and name the node's id."
        ),
    ] = "off"
    tls_cert: Annotated[
        str, _about("This node's certificate, with what leads to its authority; PEM, read again on SIGHUP.")
    ] = ""
    tls_key: Annotated[str, _about("The certificate's key, without a password; PEM, read again on SIGHUP.")] = ""
    tls_ca: Annotated[
        str, _about("Certificates of the authorities that clients and peers are verified with; PEM, as above.")
    ] = ""
    password: Annotated[
        str,
        _about(
            "What the user `default` has to give on this node, in addition to what ACL SETUSER says; no flag, because "
            "everybody on a machine may read command lines.",
            is_secret=True,
        ),
    ] = ""
    protected_mode: Annotated[
        Literal["on", "off"],
        _about("While `default` needs no password, only clients of this machine, or with a certificate, are served."),
    ] = "on"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _about("Least important lines to log, on standard error.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], _about("`text` for people, `json` (one object a line) for log collectors.")
    ] = "text"


class Setting(Struct, frozen=True):
    """One row of the table."""

    name: str
    type: Any
    default: Any
    """`msgspec.UNSET` if it has to be given."""
    unit: str
    help: str
    is_secret: bool = False
    """It has no flag, and is shown nowhere."""

    @property
    def required(self) -> bool:
        """Say whether there is no default."""
        return self.default is UNSET

    @property
    def base(self) -> Any:
        """The type without its bounds and help."""
        return get_args(self.type)[0]

    @property
    def flag(self) -> str:
        """The command-line flag, as in `--data-dir`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, as in `RAFTLINE_DATA_DIR`."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def metavar(self) -> str:
        """What stands for the value in the help: `SECONDS`, `text|json`, ..."""
        base = self.base
        if get_origin(base) is Literal:
            return "|".join(get_args(base))
        if get_origin(base) is dict:
            return "NAME=HOST:PORT,..."
        if get_origin(base) is tuple:
            return "LOW,HIGH"
        return self.unit.upper() or "TEXT"

    @property
    def default_text(self) -> str:
        """The default as it would be written on the command line; empty if there is none."""
        if self.required:
            return ""
        if isinstance(self.default, dict):
            return ""
        if isinstance(self.default, tuple):
            return ",".join(str(part) for part in self.default)
        return str(self.default)


def settings_table() -> tuple[Setting, ...]:
    """Return every setting in the order of `ServerSettings`."""
    hints = get_type_hints(ServerSettings, include_extras=True)
    rows = []
    for field in structs.fields(ServerSettings):
        annotated = hints[field.name]
        meta = cast("Meta", annotated.__metadata__[0])
        default = UNSET if field.required else field.default
        if field.default_factory is not NODEFAULT:
            default = field.default_factory()
        assert meta.extra is not None
        about = meta.extra
        rows.append(Setting(field.name, annotated, default, about["unit"], meta.description or "", about["is_secret"]))
    return tuple(rows)


def limits_of(settings: ServerSettings) -> Limits:
    """Return the limits for clients; raise ConfigError if one cannot work."""
    shared = set(Limits.__struct_fields__) & set(settings.__struct_fields__)
    return Limits(**{name: getattr(settings, name) for name in sorted(shared)})


def keeper_settings_of(settings: ServerSettings) -> KeeperSettings:
    """Return what a node of a sharded cluster is told about its groups."""
    return KeeperSettings(
        first_groups=settings.groups,
        replicas=settings.replicas,
        bytes_per_second=settings.move_bytes_per_second,
        replace_dead_after_s=settings.replace_dead_after_s,
    )


def own_address_of(settings: ServerSettings) -> Address:
    """Return where this node is to be reached; raise ConfigError if that cannot be read."""
    return parse_address(settings.listen or settings.cluster[settings.id])


def tls_files_of(settings: ServerSettings) -> TlsFiles | None:
    """Return certificate, key and authority, None if no port speaks TLS; raise ConfigError if one cannot be used."""
    if settings.tls_clients == settings.tls_peers == "off":
        return None
    return TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_ca)


def node_config_of(settings: ServerSettings) -> NodeConfig:
    """Return the node's own settings, addresses in full; raise ConfigError if one cannot work."""
    return NodeConfig(
        node_id=settings.id,
        members={name: str(parse_address(address)) for name, address in settings.cluster.items()},
        address=str(own_address_of(settings)),
        data_dir=settings.data_dir,
        cluster_id=settings.cluster_id or _NODE.cluster_id,
        core=CoreConfig(
            heartbeat_interval_s=settings.heartbeat_interval_s,
            election_timeout_s=settings.election_timeout_s,
            lease_reads=settings.reads == "lease",
            clock_drift_max=settings.clock_drift_max,
        ),
        drain_s_max=settings.drain_s_max,
        request_timeout_s=settings.request_timeout_s,
        pending_max=settings.pending_max,
        command_bytes_max=max(settings.request_bytes_max, ONE_REPLY_BYTES_MAX) + COMMAND_SPARE_BYTES,
        log_memory_bytes=settings.log_memory_bytes,
        snapshot_log_bytes=settings.snapshot_log_bytes,
        snapshot_log_entries=settings.snapshot_log_entries,
        snapshot_bytes_per_second=settings.snapshot_bytes_per_second,
        keep_log_entries=settings.keep_log_entries,
        segment_bytes=settings.segment_bytes,
    ).check()
