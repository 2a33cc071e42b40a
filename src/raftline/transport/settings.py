"""The transport's limits and times, checked once.

One immutable value is shared by the listening side and by every link, so a limit has one place.
"""

import msgspec

from raftline.errors import ConfigError
from raftline.transport.frame import HEADER_BYTES

__all__ = ["TransportSettings"]


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds; raises ConfigError for values that cannot work together."""

    max_frame_bytes: int = 16 * 1024 * 1024
    """The longest payload sent or accepted; a longer one is refused before anything is allocated for it."""
    queue_bytes: int = 32 * 1024 * 1024
    """What may wait for one peer; beyond it new messages are dropped and counted."""
    write_buffer_bytes: int = 256 * 1024
    """What may lie in a connection's own buffer before the queue holds back."""
    connect_timeout_s: float = 2.0
    """For the TCP connection to a peer."""
    handshake_timeout_s: float = 3.0
    """For the opening handshake, on either side."""
    ping_interval_s: float = 1.0
    """Each side sends a ping this often."""
    silent_pings_max: int = 10
    """A connection that was silent for this many intervals is half open, and is closed."""
    backoff_s_min: float = 0.05
    """Wait before the second attempt to connect; doubled after each failure."""
    backoff_s_max: float = 1.0
    """The longest wait between two attempts."""
    unidentified_max: int = 64
    """Accepted connections that have not said who they are; beyond it the oldest of them is closed."""
    identified_max: int = 256
    """Nodes connected to this one at a time."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ConfigError(f"transport setting {name} is {getattr(self, name)}; it must be above 0")
        if self.queue_bytes < self.max_frame_bytes + HEADER_BYTES:
            raise ConfigError(
                f"transport setting queue_bytes is {self.queue_bytes}; with max_frame_bytes of {self.max_frame_bytes}"
                f" it must be at least {self.max_frame_bytes + HEADER_BYTES}, or the longest frame could never be sent"
            )
        if self.max_frame_bytes >= 1 << (8 * HEADER_BYTES):
            raise ConfigError(f"transport setting max_frame_bytes is {self.max_frame_bytes}; the length has 4 bytes")
        if self.backoff_s_max < self.backoff_s_min:
            raise ConfigError(f"transport setting backoff_s_max is below backoff_s_min, {self.backoff_s_min}")
