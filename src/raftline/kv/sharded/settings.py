"""What an operator may choose about the groups of a sharded cluster; each node follows its own."""

import msgspec

__all__ = ["KeeperSettings"]


class KeeperSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one node."""

    first_groups: int = 0
    """How many groups a new cluster begins with; 0: one for each node."""
    replicas: int = 3
    """On how many nodes a new group is."""
    bytes_per_second: int = 64 << 20
    """How fast moving slots may arrive, all groups of the node together."""
    replace_dead_after_s: float = 0.0
    """A node that is gone for so long is given up, and its replicas are made anew elsewhere; 0: never."""
