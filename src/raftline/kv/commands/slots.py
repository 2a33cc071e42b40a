"""CLUSTER and ASKING: which node serves which slots, in the forms of Redis Cluster.

A server whose store is in one group answers as a Redis server does that has no cluster: all of it is refused. Who asks
for the nodes or the slots finds its way itself from then on, and is redirected rather than served by way of this node.
"""

from raftline.kv.client import Client
from raftline.kv.cluster_view import ClusterView
from raftline.kv.commands.arguments import require_integer
from raftline.kv.commands.command import Arguments, ReadFunction, Refused
from raftline.kv.resp.replies import OK, ZERO, bulk, bulk_array, error, integer, shown, verbatim
from raftline.kv.slots import SLOT_COUNT, slot_of
from raftline.kv.store import Store

__all__ = [
    "asking",
    "cluster_count_failure_reports",
    "cluster_info",
    "cluster_keyslot",
    "cluster_myid",
    "cluster_nodes",
    "cluster_replicas",
    "cluster_shards",
    "cluster_slots",
    "count_keys_in_slot",
    "get_keys_in_slot",
    "read_slot",
]

_DISABLED = error("ERR This instance has cluster support disabled")
_BAD_SLOT = error("ERR Invalid slot")
_BAD_SLOT_OR_COUNT = error("ERR Invalid slot or number of keys")


def asking(client: Client, _args: Arguments) -> bytes:
    """ASKING; nothing has to be asked for here, because a slot that moves is waited for."""
    _view(client)
    client.finds_slots = True
    return OK


def cluster_slots(client: Client, _args: Arguments) -> bytes:
    """CLUSTER SLOTS."""
    view = _view(client)
    client.finds_slots = True
    return view.slots()


def cluster_shards(client: Client, _args: Arguments) -> bytes:
    """CLUSTER SHARDS."""
    view = _view(client)
    client.finds_slots = True
    return view.shards()


def cluster_nodes(client: Client, _args: Arguments) -> bytes:
    """CLUSTER NODES."""
    view = _view(client)
    client.finds_slots = True
    return verbatim("".join(f"{line}\n" for line in view.nodes()))


def cluster_info(client: Client, _args: Arguments) -> bytes:
    """CLUSTER INFO."""
    return verbatim("".join(f"{name}:{value}\r\n" for name, value in _view(client).facts().items()))


def cluster_myid(client: Client, _args: Arguments) -> bytes:
    """CLUSTER MYID."""
    return bulk(_view(client).my_id().encode())


def cluster_keyslot(client: Client, args: Arguments) -> bytes:
    """CLUSTER KEYSLOT key."""
    _view(client)
    return integer(slot_of(args[2]))


def cluster_replicas(client: Client, args: Arguments) -> bytes:
    """CLUSTER REPLICAS node-id, and SLAVES."""
    found = _view(client).replicas(args[2].decode("ascii", "replace"))
    if found is None:
        return _unknown_node(args[2])
    return bulk_array([line.encode() for line in found])


def cluster_count_failure_reports(client: Client, args: Arguments) -> bytes:
    """CLUSTER COUNT-FAILURE-REPORTS node-id: Raft needs none."""
    if _view(client).replicas(args[2].decode("ascii", "replace")) is None:
        return _unknown_node(args[2])
    return ZERO


def count_keys_in_slot(client: Client, _args: Arguments) -> ReadFunction:
    """CLUSTER COUNTKEYSINSLOT slot."""

    def count(store: Store, args: Arguments, _now_ms: int) -> bytes:
        _view(client)
        slot = require_integer(args[2])
        if not 0 <= slot < SLOT_COUNT:
            return _BAD_SLOT
        return read_slot(store, slot, None)

    return count


def get_keys_in_slot(client: Client, _args: Arguments) -> ReadFunction:
    """CLUSTER GETKEYSINSLOT slot count."""

    def keys(store: Store, args: Arguments, _now_ms: int) -> bytes:
        _view(client)
        slot, count = require_integer(args[2]), require_integer(args[3])
        if not 0 <= slot < SLOT_COUNT or count < 0:
            return _BAD_SLOT_OR_COUNT
        return read_slot(store, slot, count)

    return keys


def read_slot(store: Store, slot: int, count: int | None) -> bytes:
    """Return up to `count` keys of a slot, or how many there are."""
    keys = store.table(slot)[0]
    return integer(len(keys)) if count is None else bulk_array(list(keys)[:count])


def _view(client: Client) -> ClusterView:
    view = client.server.cluster
    if view is None:
        raise Refused(_DISABLED)
    return view


def _unknown_node(name: bytes) -> bytes:
    return error(f"ERR Unknown node {shown(name)}")
