"""The rows of the commands about channels."""

from raftline.kv.commands import pubsub
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import ALL_KEYS, ONE_KEY, Rows, subcommand

__all__ = ["add_pubsub_rows"]

_PER_NAME = "O(N) in the number of names."
_NODE = "This node's clients only."
_SENT = (
    "Goes through the log and reaches the clients of every node, in one order with all other writes. The reply counts "
    "the receivers on the node that was asked."
)
_SETTLED = "Takes effect at a moment when this node's copy is current, as a read is answered."


def add_pubsub_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    rows = Rows(table, "pubsub", since="2.0.0", flags="pubsub", complexity=_PER_NAME)
    add = rows.add
    add("subscribe", -2, "channel [channel ...]", "Listen to channels.", local=pubsub.subscribe, note=_SETTLED)
    add("unsubscribe", -1, "[channel ...]", "Stop listening to channels, or to all.", local=pubsub.unsubscribe)
    add("psubscribe", -2, "pattern [pattern ...]", "Listen to all channels that match.", local=pubsub.psubscribe,
        patterns=1, note=_SETTLED)  # fmt: skip
    add("punsubscribe", -1, "[pattern ...]", "Stop listening to patterns, or to all.", local=pubsub.punsubscribe)
    add(
        "ssubscribe",
        -2,
        "shardchannel [shardchannel ...]",
        "Listen to shard channels; there is one shard.",
        local=pubsub.ssubscribe,
        since="7.0.0",
        keys=ALL_KEYS,
        note=_SETTLED,
    )
    add(
        "sunsubscribe",
        -1,
        "[shardchannel ...]",
        "Stop listening to shard channels, or to all.",
        local=pubsub.sunsubscribe,
        since="7.0.0",
        keys=ALL_KEYS,
    )
    send = {"concerns_keys": False, "flags": "pubsub fast", "complexity": "O(N+M) in listeners and patterns."}
    add("publish", 3, "channel message", "Send a message to a channel.", write=pubsub.publish, note=_SENT, **send)
    add(
        "spublish",
        3,
        "shardchannel message",
        "Send a message to a shard channel.",
        write=pubsub.spublish,
        keys=ONE_KEY,
        note=_SENT,
        **{**send, "since": "7.0.0"},
    )
    _add_pubsub(rows)


def _add_pubsub(rows: Rows) -> None:
    def row(name: str, arity: int, syntax: str, summary: str, **more: object) -> Command:
        more = {"since": "2.8.0", "complexity": _PER_NAME, "flags": "pubsub", "note": _NODE, **more}
        return subcommand(f"pubsub|{name}", arity, syntax, summary, **more)

    rows.add_container(
        "pubsub",
        "2.8.0",
        "Look at who listens on this node.",
        (
            row("channels", -2, "[pattern]", "Name the channels that somebody listens to.",
                local=pubsub.pubsub_channels, patterns=2),
            row("numsub", -2, "[channel ...]", "Count who listens to channels.", local=pubsub.pubsub_numsub),
            row("numpat", 2, "", "Count the patterns.", local=pubsub.numpat, complexity="O(1)"),
            row("shardchannels", -2, "[pattern]", "Name the shard channels that somebody listens to.",
                local=pubsub.pubsub_shard_channels, patterns=2, since="7.0.0"),
            row("shardnumsub", -2, "[shardchannel ...]", "Count who listens to shard channels.",
                local=pubsub.pubsub_shard_numsub, since="7.0.0"),
        ),
    )  # fmt: skip
