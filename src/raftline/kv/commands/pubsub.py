"""SUBSCRIBE and its sisters, PUBLISH, and PUBSUB.

A subscription takes effect at a moment when this node's copy is current, as a read is answered: what is published
after its confirmation reaches the client, and nothing that was published before it was asked for.
"""

from typing import Final

from raftline.kv.channels import CHANNEL, PATTERN, SHARD, Kind
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, LocalFunction, Settled, Unsettled
from raftline.kv.commands.glob import compile_glob
from raftline.kv.resp.replies import NULL, ZERO, array, bulk, bulk_array, error, integer, shown
from raftline.kv.store import Store

__all__ = [
    "numpat",
    "psubscribe",
    "publish",
    "pubsub_channels",
    "pubsub_numsub",
    "pubsub_shard_channels",
    "pubsub_shard_numsub",
    "punsubscribe",
    "spublish",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "unsubscribe",
]


def publish(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """PUBLISH channel message, as it comes out of the log; the node that was asked counts its own receivers."""
    if store.listener is not None:
        store.listener.on_message(args[1], args[2])
    return ZERO


def spublish(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SPUBLISH channel message; likewise."""
    if store.listener is not None:
        store.listener.on_message(args[1], args[2], is_shard=True)
    return ZERO


def _frame(kind: bytes, name: bytes | None, count: int) -> bytes:
    return b">3\r\n" + bulk(kind) + (NULL if name is None else bulk(name)) + integer(count)


def _count(client: Client, kind: Kind) -> int:
    """Return what a confirmation counts: shard channels apart, channels and patterns together."""
    if kind is SHARD:
        return len(client.names(SHARD.attribute))
    return len(client.names(CHANNEL.attribute)) + len(client.names(PATTERN.attribute))


def _subscribe_function(kind: Kind) -> LocalFunction:
    def function(client: Client, args: Arguments) -> bytes:
        if not isinstance(args, Settled):
            raise Unsettled
        frames = []
        for name in args[1:]:
            client.server.channels.add(client, kind, name)
            frames.append(_frame(kind.subscribed, name, _count(client, kind)))
        return b"".join(frames)

    return function


def _unsubscribe_function(kind: Kind) -> LocalFunction:
    def function(client: Client, args: Arguments) -> bytes:
        frames = []
        for name in args[1:] or list(client.names(kind.attribute)):
            client.server.channels.remove(client, kind, name)
            frames.append(_frame(kind.unsubscribed, name, _count(client, kind)))
        return b"".join(frames) or _frame(kind.unsubscribed, None, _count(client, kind))

    return function


subscribe: Final = _subscribe_function(CHANNEL)
psubscribe: Final = _subscribe_function(PATTERN)
ssubscribe: Final = _subscribe_function(SHARD)
unsubscribe: Final = _unsubscribe_function(CHANNEL)
punsubscribe: Final = _unsubscribe_function(PATTERN)
sunsubscribe: Final = _unsubscribe_function(SHARD)


def _names(client: Client, kind: Kind, args: Arguments) -> bytes:
    names = client.server.channels.names(kind)
    if len(args) > 3:
        return error(f"ERR unknown subcommand or wrong number of arguments for '{shown(args[1])}'. Try PUBSUB HELP.")
    if len(args) > 2:
        matches = compile_glob(args[2])
        names = [name for name in names if matches(name)]
    return bulk_array(names)


def _counts(client: Client, kind: Kind, args: Arguments) -> bytes:
    listeners = client.server.channels.listeners
    return array([part for name in args[2:] for part in (bulk(name), integer(listeners(kind, name)))])


def pubsub_channels(client: Client, args: Arguments) -> bytes:
    """PUBSUB CHANNELS [pattern]."""
    return _names(client, CHANNEL, args)


def pubsub_shard_channels(client: Client, args: Arguments) -> bytes:
    """PUBSUB SHARDCHANNELS [pattern]."""
    return _names(client, SHARD, args)


def pubsub_numsub(client: Client, args: Arguments) -> bytes:
    """PUBSUB NUMSUB [channel ...]."""
    return _counts(client, CHANNEL, args)


def pubsub_shard_numsub(client: Client, args: Arguments) -> bytes:
    """PUBSUB SHARDNUMSUB [channel ...]."""
    return _counts(client, SHARD, args)


def numpat(client: Client, _args: Arguments) -> bytes:
    """PUBSUB NUMPAT."""
    return integer(len(client.server.channels.names(PATTERN)))
