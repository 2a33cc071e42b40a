"""One node's disk: a file system in memory under the WAL's `Files`, with every way in which a real one lets you down.

Operations take virtual time, which the disk thread waits for. Before, within and after each of them lies a named
point at which the nemesis may stop the program or the whole machine. It knows the kinds of files by their names, and
nothing of what is in them.
"""

import errno
import math
import os
from collections import Counter
from collections.abc import Callable
from enum import Enum
from random import Random

from raftline.errors import DirectoryInUse
from raftline.sim.directory import NameChange, Names, parent_of
from raftline.sim.faults import CALM_DISK, DiskFaults, SimCrash
from raftline.sim.inode import Inode

__all__ = ["OPERATIONS", "PERSISTENCE_POINTS", "CrashKind", "SimDisk", "SimFile", "SimFiles", "kind_of"]

_BYTES_PER_S = 500e6
_NEAR_BYTES = 512

OPERATIONS: dict[str, tuple[str, ...]] = {
    "create": ("segment tmp", "snapshot tmp", "lock"),
    "allocate": ("segment tmp",),
    "write": ("segment tmp", "segment", "snapshot tmp"),
    "sync": ("segment tmp", "segment", "snapshot tmp", "directory"),
    "rename": ("segment", "snapshot"),
    "remove": ("segment", "snapshot", "segment tmp", "snapshot tmp"),
    "truncate": ("snapshot tmp",),
}
"""What a node's files go through, by kind of file; a rename is named by the kind it makes."""

PERSISTENCE_POINTS: tuple[str, ...] = tuple(
    f"{when} {operation} {kind}"
    for operation, kinds in OPERATIONS.items()
    for kind in kinds
    for when in ("before", "within", "after")
)
"""Every point at which the durable log and its snapshots can be crashed."""


class CrashKind(Enum):
    """What stops."""

    PROGRAM = "program"
    """SIGKILL: what was written is in the page cache and survives."""
    MACHINE = "machine"
    """Power loss: what was not synced is kept, torn or lost."""


def kind_of(path: str) -> str:
    """Return the kind of file that a path names: segment, snapshot, either of them with `tmp`, lock or other."""
    name = path.rpartition("/")[2].lower()
    if "lock" in name:
        return "lock"
    kind = "segment" if name.startswith("wal-") else "snapshot" if name.startswith("snapshot") else "other"
    return f"{kind} tmp" if name.endswith(".tmp") else kind


class SimDisk:
    """What outlives a node's incarnations.

    Invariants: what was synced by the instant of a crash is there after it; what a dead incarnation does has no effect.
    """

    def __init__(self, clock: Callable[[], float], random: Random, *, faults: DiskFaults = CALM_DISK) -> None:
        """`clock` gives virtual time in seconds."""
        self.faults = faults
        self.capacity_bytes: float = math.inf
        """Beyond it, whatever needs space fails with ENOSPC."""
        self.on_point: Callable[[str], CrashKind | None] | None = None
        """Asked at every point: None goes on; it may raise an OSError of its own as well."""
        self.on_crash: Callable[[str], None] | None = None
        """Called when a point becomes a crash, before SimCrash unwinds the work: kill the node here."""
        self.reached: Counter[str] = Counter()
        """How often each point was passed, or crashed at."""
        self.stats: Counter[str] = Counter()
        """How often each fault and each outcome of a crash happened."""
        self.draw = random.random
        self.names = Names()
        self._clock = clock
        self._instant_s = -1.0
        self._spent_s = 0.0
        self._mounted: SimFiles | None = None
        self._points: dict[tuple[str, str], tuple[str, str, str]] = {}

    # --- incarnations -----------------------------------------------------------------------------------------------

    def mount(self) -> "SimFiles":
        """Return the file system for a new incarnation of the node; an earlier one must have crashed or ended."""
        if self._mounted is not None:
            self._mounted.dead = True
        self._mounted = SimFiles(self)
        return self._mounted

    def crash(self, kind: CrashKind) -> None:
        """Stop the program or the machine at this virtual instant."""
        self._crash_at(self._clock(), kind)

    def _crash_at(self, now_s: float, kind: CrashKind) -> None:
        if self._mounted is not None:
            self._mounted.dead = True
            self._mounted = None
        self.stats[f"{kind.value} crashes"] += 1
        inodes = {id(inode): inode for inode in (*self.names.durable.values(), *self._inodes_of_changes())}
        if kind is CrashKind.PROGRAM:
            self.names.kill(now_s)
            for inode in inodes.values():
                inode.kill(now_s)
        else:
            self.names.lose_power(now_s, self.faults.keep_names, self.draw, self.stats)
            for inode in inodes.values():
                inode.lose_power(now_s, self.faults, self.draw, self.stats)
        for path, inode in self.names.live.items():
            inode.kind = kind_of(path)

    def _inodes_of_changes(self) -> list[Inode]:
        return [change.inode for change in self.names.changes if change.inode is not None]

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def spent_s(self) -> float:
        """Virtual time that operations at this instant have taken so far."""
        return self._spent_s if self._instant_s == self._clock() else 0.0

    def now_s(self) -> float:
        """Return virtual time, what operations at this instant took included."""
        now = self._clock()
        if now != self._instant_s:
            self._instant_s = now
            self._spent_s = 0.0
        return now + self._spent_s

    def instant_s(self) -> float:
        """Return virtual time without what operations took: a crash may still come at any later instant."""
        return self._clock()

    def spend(self, seconds: float) -> float:
        """Let an operation take `seconds`; return the time at its end."""
        self.now_s()
        self._spent_s += seconds
        return self._instant_s + self._spent_s

    # --- points and faults ------------------------------------------------------------------------------------------

    def points_of(self, operation: str, kind: str) -> tuple[str, str, str]:
        """Return the names of the points before, within and after an operation."""
        key = (operation, kind)
        points = self._points.get(key)
        if points is None:
            before, within, after = (f"{when} {operation} {kind}" for when in ("before", "within", "after"))
            points = self._points[key] = (before, within, after)
        return points

    def passes(self, point: str) -> None:
        """Pass a point, or crash at it."""
        kind = self.asks(point)
        if kind is not None:
            self.dies(point, kind)

    def asks(self, point: str) -> CrashKind | None:
        """Count a point and ask whether to crash; the caller then leaves its operation half done and calls `dies`."""
        self.reached[point] += 1
        return None if self.on_point is None else self.on_point(point)

    def dies(self, point: str, kind: CrashKind) -> None:
        """Crash at `point`: raise SimCrash."""
        self._crash_at(self.now_s(), kind)
        if self.on_crash is not None:
            self.on_crash(point)
        raise SimCrash(point)

    def fails(self, chance: float, what: str) -> bool:
        """Draw a fault and count it."""
        if chance and self.draw() < chance:
            self.stats[what] += 1
            return True
        return False

    def need_space(self, growth: int, path: str) -> None:
        """Raise OSError(ENOSPC) if `growth` bytes more do not fit."""
        if growth > 0 and self.capacity_bytes < math.inf and self.used_bytes + growth > self.capacity_bytes:
            self.stats["no space"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    @property
    def used_bytes(self) -> int:
        """Sizes of all files."""
        return sum(inode.size for inode in self.names.live.values())

    @property
    def open_files(self) -> int:
        """How many files the present incarnation holds open."""
        return self._mounted.open_count if self._mounted is not None else 0

    # --- for tests and nemeses --------------------------------------------------------------------------------------

    def flip_bit(self, path: str, offset: int, bit: int) -> None:
        """Damage what is stored: invert one bit of a file for good (bit rot); offset below the file's size."""
        inode = self.names.live[path]
        (byte,) = inode.read(offset, 1)
        inode.change(offset, bytes([byte ^ (1 << bit)]), -math.inf)
        inode.changes[-1].durable_s = -math.inf

    def wipe(self) -> None:
        """Replace the disk by an empty one; whoever has it mounted must be dead."""
        self.names = Names()


class SimFiles:
    """Implements the WAL's `Files` for one incarnation; dead, it does nothing but raise SimCrash."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.dead = False
        self.open_count = 0
        """Files that were opened and not closed."""
        self._locks: dict[str, SimLock] = {}

    def check_alive(self) -> SimDisk:
        """Return the disk, or raise SimCrash: the incarnation is over."""
        if self.dead:
            raise SimCrash("after the crash")
        return self.disk

    def open(self, path: str, *, create: bool = False) -> "SimFile":
        """Open, or make, a file; raise FileNotFoundError."""
        disk = self.check_alive()
        inode = disk.names.live.get(path)
        if inode is None:
            self._check_directory(parent_of(path))
            if not create or path in disk.names.directories:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            inode = Inode(kind_of(path))
            self._change_name("create", kind_of(path), NameChange(path, inode, 0.0))
        return SimFile(self, path, inode)

    def exists(self, path: str) -> bool:
        """Say whether a file or directory has this name."""
        names = self.check_alive().names
        return path in names.live or path in names.directories

    def list(self, directory: str) -> list[str]:
        """Return names, sorted."""
        self._check_directory(directory)
        return self.check_alive().names.list(directory)

    def make_directory(self, path: str) -> None:
        """Make a directory and its parents; directories last at once."""
        names = self.check_alive().names
        if path not in names.directories:
            self.make_directory(parent_of(path))
            names.directories[path] = None

    def rename(self, old: str, new: str) -> None:
        """Rename, replacing; raise FileNotFoundError."""
        disk = self.check_alive()
        inode = disk.names.live.get(old)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        inode.kind = kind_of(new)
        self._change_name("rename", inode.kind, NameChange(new, inode, 0.0, old))

    def remove(self, path: str) -> None:
        """Unlink; raise FileNotFoundError."""
        if path not in self.check_alive().names.live:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._change_name("remove", kind_of(path), NameChange(path, None, 0.0))

    def sync_directory(self, directory: str) -> None:
        """Make names in `directory` durable; raise OSError(EIO) as the faults say."""
        disk = self.check_alive()
        self._check_directory(directory)
        before, within, after = disk.points_of("sync", "directory")
        disk.passes(before)
        started, ended = _spend_on_sync(disk)
        kind = disk.asks(within)
        if kind is not None:
            disk.names.sync_partly(ended, disk.draw)
            disk.dies(within, kind)
        if disk.fails(disk.faults.sync_error, "sync errors"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), directory)
        disk.names.sync(directory, started, ended)
        disk.names.settle(disk.instant_s())
        disk.passes(after)

    def lock(self, path: str) -> "SimLock":
        """Take the lock, or raise DirectoryInUse if this incarnation holds it already."""
        if path in self._locks:
            raise DirectoryInUse(f"{path} is held already")
        self.open(path, create=True)
        lock = self._locks[path] = SimLock(self._locks, path)
        return lock

    def _change_name(self, operation: str, kind: str, change: NameChange) -> None:
        disk = self.disk
        before, within, after = disk.points_of(operation, kind)
        disk.passes(before)
        change.made_s = disk.spend(disk.faults.write_latency.sample(disk.draw))
        disk.names.change(change)
        crash = disk.asks(within)
        if crash is not None:
            if disk.draw() < 0.5:
                change.durable_s = change.made_s
            disk.dies(within, crash)
        disk.passes(after)

    def _check_directory(self, directory: str) -> None:
        if directory not in self.check_alive().names.directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)


class SimLock:
    """A held lock."""

    def __init__(self, locks: dict[str, "SimLock"], path: str) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        """Let others have it."""
        self._locks.pop(self._path, None)


class SimFile:
    """An open file; stays readable after its removal."""

    __slots__ = ("_closed", "_files", "_inode", "path")

    def __init__(self, files: SimFiles, path: str, inode: Inode) -> None:
        self.path = path
        self._files = files
        self._inode = inode
        self._closed = False
        files.open_count += 1

    def _disk(self) -> SimDisk:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)
        return self._files.check_alive()

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data`; raise OSError with EIO or ENOSPC, part of it done."""
        disk, inode = self._disk(), self._inode
        before, within, after = disk.points_of("write", self._inode.kind)
        disk.passes(before)
        now = disk.spend(disk.faults.write_latency.sample(disk.draw) + len(data) / _BYTES_PER_S)
        crash = disk.asks(within)
        if crash is not None:
            inode.change(offset, bytes(data[: int(disk.draw() * len(data))]), now)
            disk.dies(within, crash)
        if disk.fails(disk.faults.write_error, "write errors"):
            inode.change(offset, bytes(data[: int(disk.draw() * len(data))]), now)
            raise OSError(errno.EIO, os.strerror(errno.EIO), self.path)
        disk.need_space(offset + len(data) - inode.size, self.path)
        inode.change(offset, bytes(data), now)
        disk.passes(after)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes, with one bit flipped as the faults say."""
        disk = self._disk()
        data = self._inode.read(offset, size)
        disk.spend(disk.faults.write_latency.low_s + len(data) / _BYTES_PER_S)
        if self._inode.kind.startswith("snapshot") and disk.fails(disk.faults.slow_read, "slow reads"):
            disk.spend(disk.faults.slow_sync_latency.sample(disk.draw))
        if data and disk.fails(disk.faults.read_flip, "read flips"):
            position = int(self._where_it_matters(data) * 8)
            flipped = bytearray(data)
            flipped[position // 8] ^= 1 << position % 8
            return bytes(flipped)
        return data

    def _where_it_matters(self, data: bytes) -> float:
        """Return a place in `data`: anywhere, or near the end of what was written."""
        draw = self._files.disk.draw
        written = len(data.rstrip(b"\0"))
        if written and draw() < 0.5:
            return written - (1.0 - draw()) * min(written, _NEAR_BYTES)
        return draw() * len(data)

    def size(self) -> int:
        """Return the size in bytes."""
        self._disk()
        return self._inode.size

    def allocate(self, size: int) -> None:
        """Let the file have at least `size` bytes; raise OSError(ENOSPC)."""
        disk, inode = self._disk(), self._inode
        before, within, after = disk.points_of("allocate", self._inode.kind)
        disk.passes(before)
        now = disk.spend(disk.faults.write_latency.sample(disk.draw))
        crash = disk.asks(within)
        if crash is not None:
            inode.change(inode.size + int(disk.draw() * max(0, size - inode.size)), None, now)
            disk.dies(within, crash)
        disk.need_space(size - inode.size, self.path)
        if size > inode.size:
            inode.change(size, None, now)
        disk.passes(after)

    def truncate(self, size: int) -> None:
        """Set the size."""
        disk = self._disk()
        before, within, after = disk.points_of("truncate", self._inode.kind)
        disk.passes(before)
        now = disk.spend(disk.faults.write_latency.sample(disk.draw))
        crash = disk.asks(within)
        if crash is not None:
            if disk.draw() < 0.5:
                self._inode.change(size, None, now)
            disk.dies(within, crash)
        disk.need_space(size - self._inode.size, self.path)
        self._inode.change(size, None, now)
        disk.passes(after)

    def sync(self) -> None:
        """Make what was written durable; raise OSError(EIO) as the faults say: then nothing is known."""
        disk, inode = self._disk(), self._inode
        before, within, after = disk.points_of("sync", self._inode.kind)
        disk.passes(before)
        started, ended = _spend_on_sync(disk)
        crash = disk.asks(within)
        if crash is not None:
            inode.sync_partly(ended, disk.draw)
            disk.dies(within, crash)
        if disk.fails(disk.faults.sync_error, "sync errors"):
            inode.abandon()
            raise OSError(errno.EIO, os.strerror(errno.EIO), self.path)
        inode.settle(disk.instant_s())
        inode.sync(started, ended)
        disk.passes(after)

    def close(self) -> None:
        """Give the file back."""
        self._files.open_count -= not self._closed
        self._closed = True


def _spend_on_sync(disk: SimDisk) -> tuple[float, float]:
    """Let a sync take its time; return when it starts and ends."""
    faults = disk.faults
    disk.stats["syncs"] += 1
    slow = disk.fails(faults.slow_sync, "slow syncs")
    started = disk.now_s()
    latency = faults.slow_sync_latency if slow else faults.sync_latency
    return started, disk.spend(latency.sample(disk.draw))
