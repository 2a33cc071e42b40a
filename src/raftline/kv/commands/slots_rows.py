"""The rows of CLUSTER and ASKING."""

from typing import Any

from raftline.kv.commands import slots
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_slots_rows"]

_HERE = "Of a sharded store; any other refuses it, as Redis does without a cluster."


def add_slots_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    rows = Rows(table, "cluster")
    rows.add_container("cluster", "3.0.0", "Say which node serves which slots.", (*_nodes(), *_slots()))
    rows.add(
        "asking",
        1,
        "",
        "Say that the next command follows an ASK; there are none here.",
        local=slots.asking,
        flags="fast",
        since="3.0.0",
        note="A command for a slot that is on its way is held until the slot has arrived.",
    )


def _row(name: str, arity: int, syntax: str, summary: str, **more: Any) -> Command:
    return subcommand(f"cluster|{name}", arity, syntax, summary, **{"since": "3.0.0", **more})


def _nodes() -> tuple[Command, ...]:
    per_node = "O(N) in the number of nodes."
    return (
        _row("info", 2, "", "Say how the cluster is.", local=slots.cluster_info, note=_HERE),
        _row("myid", 2, "", "Return the id of this node.", local=slots.cluster_myid, note=_HERE),
        _row(
            "nodes",
            2,
            "",
            "Name the nodes and the slots that each leads.",
            local=slots.cluster_nodes,
            complexity=per_node,
            note=f"{_HERE} A node that leads no group stands there as a replica of one that does.",
        ),
        _row(
            "replicas",
            3,
            "node-id",
            "Name the replicas of a node.",
            local=slots.cluster_replicas,
            flags="admin",
            complexity=per_node,
            since="5.0.0",
            note=_HERE,
        ),
        _row(
            "slaves",
            3,
            "node-id",
            "As CLUSTER REPLICAS.",
            local=slots.cluster_replicas,
            flags="admin",
            complexity=per_node,
            note=_HERE,
        ),
        _row(
            "count-failure-reports",
            3,
            "node-id",
            "Always 0: nodes make no such reports.",
            local=slots.cluster_count_failure_reports,
            flags="admin",
            note=_HERE,
        ),
    )


def _slots() -> tuple[Command, ...]:
    per_range = "O(N) in the number of slot ranges."
    return (
        _row(
            "slots",
            2,
            "",
            "Return the ranges of slots, each with the node that leads its group.",
            local=slots.cluster_slots,
            complexity=per_range,
            note=f"{_HERE} Behind it stand the nodes that hold a replica and lead no group.",
        ),
        _row(
            "shards",
            2,
            "",
            "Return the ranges of slots by node, and the nodes.",
            local=slots.cluster_shards,
            complexity=per_range,
            since="7.0.0",
            note=f"{_HERE} A shard is a node that leads groups, with the slots of all of them.",
        ),
        _row("keyslot", 3, "key", "Return the slot of a key.", local=slots.cluster_keyslot, note=_HERE),
        _row(
            "countkeysinslot",
            3,
            "slot",
            "Count the keys in a slot.",
            bound=slots.count_keys_in_slot,
            note=f"{_HERE} Asked of the group that serves the slot, whichever node is asked.",
        ),
        _row(
            "getkeysinslot",
            4,
            "slot count",
            "Name keys in a slot.",
            bound=slots.get_keys_in_slot,
            complexity="O(N) in the number of keys in the slot.",
            note=f"{_HERE} Asked of the group that serves the slot, whichever node is asked.",
        ),
    )
