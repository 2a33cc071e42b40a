"""Rows of the command table about a sharded cluster: RAFTLINE.SHARD."""

from typing import Any

from raftline.kv.commands import shards
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_shard_rows"]


def add_shard_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    Rows(table, "raftline").add_container(
        "raftline.shard",
        "1.0.0",
        "Look at a sharded cluster, and change which group serves what.",
        (
            subcommand(
                "raftline.shard|status",
                2,
                "",
                "Return nodes, groups, slots and what is on its way, as this node knows it, in JSON.",
                local=shards.status,
                complexity="O(N) in the number of groups.",
                flags="admin",
            ),
            *_changes(),
        ),
    )


def _changes() -> tuple[Command, ...]:
    return (
        _change(
            "addgroup",
            -2,
            "[count] [ON id [id ...]]",
            "Add groups, on the nodes named or the least loaded ones; slots are balanced anew.",
            shards.add_group,
        ),
        _change(
            "removegroup",
            -3,
            "group [group ...]",
            "Let groups give their slots to the others; each is gone once it is empty.",
            shards.remove_group,
        ),
        _change("move", 5, "first last group", "Move slots, both ends included, to a group.", shards.move),
        _change("rebalance", 2, "", "Balance the slots anew, with as few moves as can be.", shards.rebalance),
        _change(
            "place",
            -4,
            "group id [id ...]",
            "Have a group's replicas on these nodes, led by the first if it can; no slot moves.",
            shards.place,
        ),
        _change(
            "replacenode",
            3,
            "id",
            "Give a node up: make its replicas anew on other nodes, where there is room.",
            shards.replace_node,
        ),
    )


def _change(name: str, arity: int, syntax: str, summary: str, task: Any) -> Command:
    return subcommand(f"raftline.shard|{name}", arity, syntax, summary, task=task, flags="admin")
