"""What can go wrong and how often: named probabilities and times for links and disks, without the machinery.

All values are plain numbers, checked once, so that a nemesis can draw them from a seed, print them and shrink them.
Samples use only exact arithmetic on uniform draws, so that they are equal on every machine and Python.
"""

from collections.abc import Callable

import msgspec

from raftline.errors import ConfigError

__all__ = ["CALM_DISK", "CALM_LINK", "DiskFaults", "Latency", "LinkFaults", "SimCrash"]


class SimCrash(BaseException):
    """The simulated machine stops at this very point; unwinds whatever runs, and nothing may catch it."""

    def __init__(self, point: str) -> None:
        super().__init__(f"simulated crash: {point}")
        self.point = point


class Latency(msgspec.Struct, frozen=True, array_like=True):
    """A skewed distribution of seconds: from `low_s` up to `high_s`, half of them below about `typical_s`."""

    low_s: float
    typical_s: float
    high_s: float

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        if not 0.0 <= self.low_s <= self.typical_s <= self.high_s:
            raise ConfigError(f"a latency needs 0 <= low <= typical <= high, not {self}")

    def sample(self, draw: Callable[[], float]) -> float:
        """Return seconds for one uniform draw from [0, 1); a few samples are many times the typical one."""
        extra = self.typical_s - self.low_s
        if extra == 0.0:
            return self.low_s
        uniform = draw()
        return self.low_s + extra * uniform / (1.0 - uniform + extra / (self.high_s - self.low_s))


def _check_probabilities(owner: msgspec.Struct, names: tuple[str, ...]) -> None:
    for name in names:
        if not 0.0 <= getattr(owner, name) <= 1.0:
            raise ConfigError(f"{type(owner).__name__}.{name} is {getattr(owner, name)}: a probability lies in [0, 1]")


class LinkFaults(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of one link: how long messages take, and each message's chance of each mishap."""

    latency: Latency = Latency(0.0001, 0.0004, 0.02)
    loss: float = 0.0
    duplicate: float = 0.0
    """The message arrives, and once more on its own."""
    reorder: float = 0.0
    """The message leaves its place in line: it may be overtaken, or overtake what a slow line holds."""
    delay: float = 0.0
    """The message takes `delay_latency`: seconds, while later ones pass."""
    delay_latency: Latency = Latency(0.2, 1.0, 10.0)
    reset: float = 0.0
    """Chance per flush that the connection breaks: everything in flight, both ways, is lost."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        _check_probabilities(self, ("loss", "duplicate", "reorder", "delay", "reset"))
        if self.mishap > 1.0:
            raise ConfigError(f"loss, duplicate, reorder and delay exclude each other and add up to {self.mishap} > 1")

    @property
    def mishap(self) -> float:
        """The chance that anything at all happens to a message."""
        return self.loss + self.duplicate + self.reorder + self.delay


class DiskFaults(msgspec.Struct, frozen=True, kw_only=True):
    """One node's disk: how long its operations take, and how often they fail."""

    write_latency: Latency = Latency(0.000002, 0.00001, 0.0005)
    sync_latency: Latency = Latency(0.00005, 0.0002, 0.005)
    slow_sync: float = 0.0
    """Chance that an fsync takes `slow_sync_latency` instead."""
    slow_sync_latency: Latency = Latency(0.05, 0.3, 5.0)
    slow_read: float = 0.0
    """Chance that a read of a snapshot takes `slow_sync_latency`."""
    write_error: float = 0.0
    """Chance that a write fails with EIO, part of it done."""
    sync_error: float = 0.0
    """Chance that an fsync fails with EIO; whether anything became durable is unknown."""
    read_flip: float = 0.0
    """Chance that one bit of what a read returns is wrong; what is stored stays right."""
    keep_unsynced: float = 0.5
    """On a crash: chance that a file's unsynced writes are kept, each for itself."""
    tear_unsynced: float = 0.3
    """On a crash: chance that an unsynced write is torn, its first bytes or sectors kept."""
    keep_names: float = 0.5
    """On a crash: chance that a creation, rename or removal without an fsync of its directory is kept."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        names = (
            "slow_sync",
            "slow_read",
            "write_error",
            "sync_error",
            "read_flip",
            "keep_unsynced",
            "tear_unsynced",
            "keep_names",
        )
        _check_probabilities(self, names)
        if self.keep_unsynced + self.tear_unsynced > 1.0:
            raise ConfigError("DiskFaults.keep_unsynced and tear_unsynced exclude each other and add up to more than 1")


CALM_LINK = LinkFaults()
"""Nothing happens but short latencies."""

CALM_DISK = DiskFaults()
"""Nothing happens but short latencies; a crash still loses, keeps or tears what was not synced."""
