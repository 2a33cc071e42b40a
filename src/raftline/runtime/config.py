"""Settings of a node: where it is, whom it talks to, how long it waits, when it takes snapshots."""

import msgspec

from raftline.core.config import CoreConfig, check_number
from raftline.core.ids import GroupId, NodeId
from raftline.errors import ConfigError
from raftline.transport.address import Address, parse_address
from raftline.transport.tls import TlsFiles

__all__ = ["GroupConfig", "NodeConfig"]

_LEAST = {
    "pending_max": 1,
    "pending_bytes_max": 1,
    "command_bytes_max": 1,
    "log_memory_bytes": 0,
    "snapshot_log_bytes": 1,
    "snapshot_log_entries": 1,
    "keep_log_entries": 0,
    "snapshot_bytes_per_second": 1,
    "segment_bytes": 1 << 16,
    "apply_slice": 1,
}
_COMMAND_BYTES_END = 2 << 30
"""Frames between nodes are twice as long, and their length has four bytes."""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `members` maps every first voter's id to `host:port@busport`, this node's included.

    Empty `members` make a node that waits until it is added to a group, at `address`. The first change of the members,
    and the first snapshot, put them into the log, which counts from then on; until then each start needs the same ones.
    """

    node_id: NodeId
    members: dict[NodeId, str]
    data_dir: str
    address: str = ""
    """This node's own `host:port@busport`; empty: as `members` has it."""
    cluster_id: str = "raftline"
    core: CoreConfig = CoreConfig()
    request_timeout_s: float = 5.0
    """A proposal or read without an outcome fails after this long."""
    drain_s_max: float = 2.0
    """A node that stops waits at most this long for a successor and for what is under way; 0: stops at once."""
    pending_max: int = 100_000
    """Most proposals and reads that may wait, in all groups; more are refused as `Overloaded`.

    One group of several leaves some of it, and of the bytes, to the others: see `runtime/admission.py`.
    """
    pending_bytes_max: int = 256 << 20
    """Most bytes of commands that may wait, in all groups; and that a leader's own disk may be behind."""
    command_bytes_max: int = 8 << 20
    """Largest single command, as it is given to `propose`; frames between nodes are made to hold it."""
    log_memory_bytes: int = 32 << 20
    """Most payload bytes of the logs of all groups kept in memory once they are on disk and applied or about to be;
    followers that need older entries are fed from the disk."""
    snapshot_log_bytes: int = 64 << 20
    """Take a snapshot when the log holds this many bytes more than at the last one.

    So it is for the logs of all groups together: then the one that has grown most takes its own, by a sixteenth of
    this at least.
    """
    snapshot_log_entries: int = 500_000
    """Take a snapshot when the log holds this many entries more than at the last one; in all groups as above."""
    snapshot_bytes_per_second: int = 32 << 20
    """Write and send snapshots no faster than this, all groups and followers together: writes need the disk and the
    network."""
    keep_log_entries: int = 10_000
    """Keep so many entries before a snapshot, so that a slightly slow follower needs none; fewer if they are large: no
    more bytes than are written between two snapshots."""
    segment_bytes: int = 64 << 20
    """Size of one file of the durable log."""
    apply_slice: int = 64
    """Most entries applied between two looks at the clock."""
    tls: TlsFiles | None = None
    """Certificate, key and authority for the traffic between nodes: every other node has to show a certificate of that
    authority with its node id; `tls.reload()` reads the files again. None, then on all nodes: plain text."""

    @property
    def own_address(self) -> str:
        """Return where this node is to be reached."""
        return self.address or self.members[self.node_id]

    def check(self) -> "NodeConfig":
        """Return self, or raise `ConfigError` naming the setting that cannot work."""
        if not self.node_id:
            raise ConfigError("node_id must not be empty")
        if not self.members and not self.address:
            raise ConfigError(
                "members are empty: name the first voters, or the address of a node that waits to be added"
            )
        if self.members and self.node_id not in self.members:
            known = ", ".join(sorted(self.members))
            raise ConfigError(f"node_id {self.node_id!r} is not among the members ({known}): add it or correct it")
        if not self.data_dir:
            raise ConfigError("data_dir must not be empty: name the directory of the node's log and snapshots")
        self._check_addresses()
        check_number("drain_s_max", self.drain_s_max)
        if not self.drain_s_max >= 0:
            raise ConfigError(f"drain_s_max must be 0 or more, not {self.drain_s_max}")
        check_number("request_timeout_s", self.request_timeout_s)
        if not self.request_timeout_s > 0:
            raise ConfigError(f"request_timeout_s must be above 0, not {self.request_timeout_s}")
        for name, least in _LEAST.items():
            check_number(name, getattr(self, name), is_whole=True)
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.command_bytes_max >= _COMMAND_BYTES_END:
            raise ConfigError(f"command_bytes_max must be below {_COMMAND_BYTES_END}, not {self.command_bytes_max}")
        self.core.check()
        return self

    def _check_addresses(self) -> None:
        """Raise `ConfigError` naming a member that cannot be reached; later it would only be missing."""
        if self.address:
            _address("address", self.address)
        known: dict[NodeId, Address] = {}
        for node, text in self.members.items():
            if not node:
                raise ConfigError(f"members: a name is empty, that of {text!r}: give it one")
            address = known[node] = _address(f"members: {node}", text)
            for other, taken in known.items():
                if other != node and address.shares_port_with(taken):
                    raise ConfigError(
                        f"members: {node} at {address} has a port in common with {other} at {taken}: correct one"
                    )


def _address(where: str, text: object) -> Address:
    if not isinstance(text, str):
        raise ConfigError(f"{where}: {text!r} is no address: write 'host:port' or 'host:port@busport'")
    try:
        return parse_address(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


class GroupConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One more group of a node; everything else is as the node has it.

    `members` maps every first voter's id to `host:port@busport`; empty: the replica waits until it is added. They count
    until the log names members: with their first change, or the first snapshot.
    """

    group: GroupId
    """The same on every node; 1 or more, 0 is the node's own first group."""
    members: dict[NodeId, str]
    name: str = ""
    """What people call it on this node; empty: the number."""
    prefers: NodeId | None = None
    """Who should lead as long as nobody says otherwise, the same on every node: its first priority is 1."""
    has_begun: bool = False
    """Some replica is known to have a log: one that has none waits for that, and begins nothing."""

    @property
    def called(self) -> str:
        """Return what people call it."""
        return self.name or str(self.group)

    def check(self, node_id: NodeId) -> "GroupConfig":
        """Return self, or raise `ConfigError` naming what cannot work on node `node_id`."""
        if self.group < 1:
            raise ConfigError(f"a group's number must be 1 or more, not {self.group}: 0 is the node's first group")
        if self.members and node_id not in self.members:
            known = ", ".join(sorted(self.members))
            raise ConfigError(f"node {node_id!r} is not among the members of group {self.group} ({known})")
        if self.prefers is not None and self.prefers not in self.members:
            raise ConfigError(f"group {self.group} prefers {self.prefers!r}, who is not among its members")
        return self
