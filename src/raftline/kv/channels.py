"""Who listens to what on this node, and how a message reaches them.

A message comes out of the log on every node, in one order (docs/decisions/0011-waiting-and-publishing.md); here it is
written once in each protocol and handed to the connections of those who listen. A message for nobody costs nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from raftline.kv.acl.rights import may_listen
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, WriteFunction
from raftline.kv.commands.glob import compile_glob
from raftline.kv.events import EXPIRED, KEY_EVENT, KEY_SPACE, MISSED, Event, watch_write
from raftline.kv.hooks import Listener
from raftline.kv.resp.replies import bulk
from raftline.kv.store import Store

__all__ = ["CHANNEL", "PATTERN", "SHARD", "Channels", "Kind"]


class Kind(NamedTuple):
    """One of the three ways to listen."""

    attribute: str
    """Where a client keeps the names."""
    subscribed: bytes
    unsubscribed: bytes
    message: bytes


CHANNEL: Final = Kind("channels", b"subscribe", b"unsubscribe", b"message")
PATTERN: Final = Kind("patterns", b"psubscribe", b"punsubscribe", b"pmessage")
SHARD: Final = Kind("shard_channels", b"ssubscribe", b"sunsubscribe", b"smessage")
_KINDS: Final = (CHANNEL, PATTERN, SHARD)

Listeners = dict[Client, None]


class Channels:
    """All subscriptions of one node.

    Invariants: a name stands here iff some client has it; the store knows of this while anybody listens.
    """

    __slots__ = ("_by_name", "_matchers", "_store", "_users_version", "messages")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_name: dict[Kind, dict[bytes, Listeners]] = {kind: {} for kind in _KINDS}
        self._matchers: dict[bytes, Callable[[bytes], bool]] = {}
        self._users_version = store.users.version
        self.messages = 0
        """Messages handed to clients."""

    def listeners(self, kind: Kind, name: bytes) -> int:
        """Return how many clients listen to a name."""
        return len(self._by_name[kind].get(name, ()))

    def names(self, kind: Kind) -> list[bytes]:
        """Return what somebody listens to."""
        return list(self._by_name[kind])

    def receivers(self, channel: bytes, kind: Kind = CHANNEL) -> int:
        """Return to how many subscriptions a message of a channel goes on this node."""
        count = self.listeners(kind, channel)
        if kind is CHANNEL:
            patterns = self._by_name[PATTERN]
            count += sum(len(patterns[name]) for name, matches in self._matchers.items() if matches(channel))
        return count

    def add(self, client: Client, kind: Kind, name: bytes) -> None:
        """Let a client listen to a name."""
        names = client.names(kind.attribute)
        if name not in names:
            names[name] = None
            self._by_name[kind].setdefault(name, {})[client] = None
            if kind is PATTERN and name not in self._matchers:
                self._matchers[name] = compile_glob(name)
            self.listen(self)

    def remove(self, client: Client, kind: Kind, name: bytes) -> None:
        """Let a client no longer listen to a name."""
        names = client.names(kind.attribute)
        if name not in names:
            return
        del names[name]
        listeners = self._by_name[kind][name]
        del listeners[client]
        if not listeners:
            del self._by_name[kind][name]
            self._matchers.pop(name, None) if kind is PATTERN else None
        if not any(self._by_name.values()):
            self.listen(None)

    def listen(self, listener: Listener | None) -> None:
        """Let the store know who listens, if anybody does."""
        self._store.listener = listener

    def remove_all(self, client: Client) -> None:
        """Let a client listen to nothing."""
        for kind in _KINDS:
            for name in list(client.names(kind.attribute)):
                self.remove(client, kind, name)

    def review(self) -> None:
        """Close the connections of those who may no longer listen to what they listen to."""
        users = self._store.users
        if self._users_version == users.version:
            return
        self._users_version = users.version
        everybody = {client for names in self._by_name.values() for some in names.values() for client in some}
        for client in sorted(everybody, key=lambda each: each.id):
            user = users.named(client.user)
            for kind in _KINDS:
                for name in client.names(kind.attribute):
                    if user is None or not may_listen(user, name, is_pattern=kind is PATTERN):
                        client.kill()
                        break

    # What the store calls, while an entry is applied.

    def on_message(self, channel: bytes, message: bytes, *, is_shard: bool = False) -> None:
        """Hand a message to everybody who listens: to the channel first, then to patterns."""
        self.review()
        kind = SHARD if is_shard else CHANNEL
        listeners = self._by_name[kind].get(channel)
        if listeners:
            self._send(listeners, (kind.message, channel, message))
        if not is_shard and self._matchers:
            for pattern, matches in self._matchers.items():
                if matches(channel):
                    self._send(self._by_name[PATTERN][pattern], (PATTERN.message, pattern, channel, message))

    def carry_out(self, write: WriteFunction, args: Arguments) -> bytes:
        """Carry a write out, return its reply, and tell of its events those that are to be told."""
        return self.carry_out_on(self._store, write, args)

    def carry_out_on(self, store: Store, write: WriteFunction, args: Arguments) -> bytes:
        """Do so on any of the stores of which the settings of the first one hold."""
        if not self._store.notify:
            return write(store, args, store.time_ms)
        return watch_write(store, write, args, store.time_ms, self._tell)

    def on_expired(self, keys: list[bytes]) -> None:
        """Tell that keys were removed because they expired."""
        if self._store.notify:
            for key in keys:
                self._tell(Event(*EXPIRED, key))

    def on_missed(self, key: bytes) -> None:
        """Tell that a key was read that is not there."""
        if self._store.notify:
            self._tell(Event(*MISSED, key))

    def _tell(self, event: Event) -> None:
        flags = self._store.notify
        if event.kind in flags:
            if KEY_SPACE in flags:
                self.on_message(b"__keyspace@0__:" + event.key, event.name)
            if KEY_EVENT in flags:
                self.on_message(b"__keyevent@0__:" + event.name, event.key)

    def _send(self, listeners: Iterable[Client], words: tuple[bytes, ...]) -> None:
        texts = b"".join(map(bulk, words))
        old, new = b"*%d\r\n%b" % (len(words), texts), b">%d\r\n%b" % (len(words), texts)
        for client in listeners:
            client.push(old if client.protocol == 2 else new)
            self.messages += 1
