"""What the commands about slots know of a sharded store: the same for every client, as this node sees it."""

from typing import NamedTuple, Protocol

__all__ = ["ClusterView", "Keyspace"]


class Keyspace(NamedTuple):
    """How much a node holds."""

    keys: int
    expires: int
    """Keys with a deadline."""
    used_bytes: int
    expired: int
    """Keys that were removed because they expired."""


class ClusterView(Protocol):
    """The cluster as its nodes describe it to clients."""

    @property
    def wants_all_nodes_asked(self) -> bool:
        """Say whether each node counts the keys that it leads only, so that all have to be asked how many there are."""

    def slots(self) -> bytes:
        """Return the reply to CLUSTER SLOTS."""

    def shards(self) -> bytes:
        """Return the reply to CLUSTER SHARDS."""

    def nodes(self) -> list[str]:
        """Return the lines of CLUSTER NODES."""

    def facts(self) -> dict[str, object]:
        """Return what CLUSTER INFO tells."""

    def my_id(self) -> str:
        """Return who this node is, in 40 hexadecimal digits."""

    def replicas(self, node: str) -> list[str] | None:
        """Return the lines of the replicas of a node, None for an id that no node has."""
