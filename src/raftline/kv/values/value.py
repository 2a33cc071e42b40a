"""What a key holds, and which kinds of containers there are."""

from raftline.kv.values.container import Container
from raftline.kv.values.hash import Hash
from raftline.kv.values.list import List
from raftline.kv.values.lock import Lock
from raftline.kv.values.set import Set
from raftline.kv.values.sorted_set import SortedSet

__all__ = ["CONTAINERS", "TYPE_NAMES", "Value"]

Value = bytes | Container
"""The type says which commands may touch it; the `len` is its size in bytes, of a container an estimate."""

CONTAINERS: dict[int, type[Container]] = {kind.kind: kind for kind in (List, Set, Hash, SortedSet, Lock)}
"""Kind in a snapshot → class."""

TYPE_NAMES: dict[type[bytes | Container], str] = {
    bytes: "string",
    List: "list",
    Set: "set",
    Hash: "hash",
    SortedSet: "zset",
    Lock: "lock",
}
"""Class → the name that TYPE and SCAN use."""
