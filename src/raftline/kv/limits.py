"""How much one client, and all of them together, may ask of a server before it says no."""

import msgspec

from raftline.errors import ConfigError

__all__ = ["ARGUMENT_BYTES", "KEY_BYTES_CEILING", "Limits"]

ARGUMENT_BYTES = 64
"""Estimated cost of one argument beside its own bytes."""

KEY_BYTES_CEILING = 512 << 10
"""No limit on keys may be above this: a snapshot carries each key in one piece of at most 1 MiB."""


_LOWEST = frozenset({"idle_s_max", "maxmemory", "slowlog_log_slower_than"})
"""Limits that 0, too, means something for."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one server; each refusal names the one that was met. Raises `ConfigError` if one cannot work."""

    clients_max: int = 20_000
    """Most client connections at a time; further ones are told so and closed."""
    request_bytes_max: int = 32 << 20
    """Largest single request, all its arguments together; the connection is closed beyond it."""
    key_bytes_max: int = 64 << 10
    """Longest key."""
    value_bytes_max: int = 16 << 20
    """Largest value that a command brings (APPEND may grow one up to 512 MiB, as in Redis)."""
    args_max: int = 1 << 16
    """Most arguments of one command."""
    output_buffer_bytes_max: int = 64 << 20
    """Replies that may wait in the socket of a client that does not read; beyond it, it is closed; the log tells."""
    subscriber_buffer_bytes_max: int = 32 << 20
    """The same for a client that listens to channels; beyond it, it is closed."""
    output_pause_bytes: int = 1 << 20
    """No further command of a connection is carried out while this much of its replies waits."""
    pipeline_max: int = 1024
    """Commands of one connection that may be under way at a time; what follows waits unread."""
    pipeline_bytes: int = 4 << 20
    """Bytes of one connection's writes under way, beyond which what follows waits unread."""
    partial_bytes_max: int = 512 << 20
    """Half-received requests and queued commands of all connections together; who would exceed it is closed."""
    transaction_commands_max: int = 1 << 16
    """Most commands of one transaction."""
    transaction_args_max: int = 1 << 20
    """Most arguments of one transaction's commands together, their names and the watched keys included."""
    transaction_walks_max: int = 16
    """Most commands of one transaction that may look at very many keys: KEYS, SCAN and RAFTLINE.LOCK LIST."""
    transaction_bytes_max: int = 16 << 20
    """Arguments of one transaction's commands and watched keys together."""
    receive_s_max: float = 60.0
    """A request that is not complete after this long is given up and its connection closed."""
    stalled_s_max: float = 60.0
    """A client that is behind with taking its replies for this long is closed."""
    idle_s_max: float = 0.0
    """A client that asks nothing, and waits for nothing, for this long is closed; 0: never."""

    waited_keys_max: int = 1 << 20
    """Keys that blocking commands wait for on this node, all together; further commands are refused."""

    maxmemory: int = 0
    """Bytes of keys and values, as INFO counts them, above which nothing may grow; 0: no limit; see `kv.memory`."""
    slowlog_log_slower_than: int = 10_000
    """Microseconds from which on a command is kept in SLOWLOG; 0 keeps all, -1 none."""
    slowlog_max_len: int = 128
    """Entries that SLOWLOG keeps."""

    @property
    def unlooked_at_bytes_max(self) -> int:
        """Return how long a request may be in which no key and no value can be above its limit."""
        return min(self.key_bytes_max, self.value_bytes_max)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name not in _LOWEST and getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.idle_s_max < 0:
            raise ConfigError(f"idle_s_max must be 0 or above, not {self.idle_s_max}")
        if self.maxmemory < 0:
            raise ConfigError(f"maxmemory must be 0 or above, not {self.maxmemory}")
        if self.slowlog_log_slower_than < -1:
            raise ConfigError(f"slowlog_log_slower_than must be -1 or above, not {self.slowlog_log_slower_than}")
        if self.key_bytes_max > KEY_BYTES_CEILING:
            raise ConfigError(f"key_bytes_max must be at most {KEY_BYTES_CEILING} bytes, not {self.key_bytes_max}")
