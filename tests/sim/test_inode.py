"""Inode: what was synced survives, what was not is decided by chance, what came after the crash never was."""

from collections import Counter
from random import Random

from raftline.sim.faults import DiskFaults
from raftline.sim.inode import SECTOR_BYTES, Inode

KEEP = DiskFaults(keep_unsynced=1.0, tear_unsynced=0.0)
LOSE = DiskFaults(keep_unsynced=0.0, tear_unsynced=0.0)
TEAR = DiskFaults(keep_unsynced=0.0, tear_unsynced=1.0)


def _bytes(inode: Inode) -> bytes:
    return inode.read(0, inode.size)


def _crash(inode: Inode, now_s: float, faults: DiskFaults, seed: int = 1) -> bytes:
    inode.lose_power(now_s, faults, Random(seed).random, Counter())
    return _bytes(inode)


def _two_writes() -> Inode:
    inode = Inode()
    inode.change(0, b"first", 1.0)
    inode.sync(1.0, 2.0)
    inode.change(5, b"second", 3.0)
    return inode


def test_programs_see_every_write_at_once() -> None:
    """Reads return what was written, zeros in between, and nothing behind the end."""
    inode = Inode()
    inode.change(4, b"x", 1.0)
    inode.change(10, None, 1.0)
    assert _bytes(inode) == b"\0\0\0\0x\0\0\0\0\0"
    assert inode.read(8, 100) == b"\0\0"
    assert inode.read(20, 5) == b""
    inode.change(2, None, 1.0)
    inode.change(6, None, 1.0)
    assert _bytes(inode) == bytes(6)


def test_a_large_allocation_costs_no_memory() -> None:
    """Sixty-four preallocated mebibytes hold only what was written."""
    inode = Inode()
    inode.change(64 << 20, None, 1.0)
    inode.change(100, b"x", 1.0)
    inode.sync(1.0, 1.0)
    inode.settle(2.0)
    assert inode.size == 64 << 20
    assert len(inode.live.data) == len(inode.durable.data) == 101
    assert inode.changes == []


def test_what_was_synced_survives_power_loss_and_the_rest_may_be_kept_or_lost() -> None:
    """The synced write is always there, the other one as the faults say."""
    assert _crash(_two_writes(), 9.0, LOSE) == b"first"
    assert _crash(_two_writes(), 9.0, KEEP) == b"firstsecond"


def test_a_torn_write_keeps_a_prefix_or_some_of_its_sectors() -> None:
    """Any byte can be the last one that was written, and any sector can be missing."""
    prefixes, patterns = set(), set()
    for seed in range(300):
        inode = Inode()
        inode.change(4 * SECTOR_BYTES, None, 0.0)
        inode.sync(0.0, 0.0)
        inode.change(100, b"x" * (3 * SECTOR_BYTES), 1.0)
        content = _crash(inode, 9.0, TEAR, seed)
        assert len(content) == 4 * SECTOR_BYTES
        written = content[100 : 100 + 3 * SECTOR_BYTES]
        assert content.count(b"x") == written.count(b"x")
        if written.rstrip(b"\0").count(b"\0") == 0:
            prefixes.add(written.count(b"x"))
        else:
            patterns.add(tuple(content[position] for position in (200, 600, 1100, 1600)))
    assert len(prefixes) > 80
    assert len(patterns) > 3


def test_a_sync_counts_from_its_end() -> None:
    """Power that fails while a slow sync runs may take the write; after its end it may not."""
    inode = Inode()
    inode.change(0, b"x", 1.0)
    inode.sync(1.0, 5.0)
    assert _crash(inode, 4.9, LOSE) == b""
    inode.change(0, b"x", 11.0)
    inode.sync(11.0, 15.0)
    assert _crash(inode, 15.0, LOSE) == b"x"


def test_nothing_survives_that_was_written_after_the_crash() -> None:
    """Work that ran ahead of virtual time is undone, by power loss and by the program's death alike."""
    inode = _two_writes()
    assert _crash(inode, 2.5, KEEP) == b"first"
    inode = _two_writes()
    inode.kill(2.5)
    assert _bytes(inode) == b"first"


def test_the_death_of_the_program_loses_nothing_that_was_written() -> None:
    """The page cache outlives the program, and a later power loss may still take what was never synced."""
    inode = _two_writes()
    inode.kill(9.0)
    assert _bytes(inode) == b"firstsecond"
    assert _crash(inode, 10.0, LOSE) == b"first"


def test_after_a_failed_sync_no_later_sync_helps() -> None:
    """Pages count as clean after an error: what they held may be gone though the next sync succeeds."""
    inode = _two_writes()
    inode.abandon()
    inode.sync(8.0, 8.5)
    assert _bytes(inode) == b"firstsecond"
    assert _crash(inode, 9.0, LOSE) == b"first"


def test_a_sync_covers_only_what_was_written_before_it() -> None:
    """A write that another thread makes during the sync is not part of it."""
    inode = Inode()
    inode.change(0, b"a", 1.0)
    inode.change(1, b"b", 3.0)
    inode.sync(2.0, 2.5)
    assert _crash(inode, 9.0, LOSE) == b"a"


def test_an_interrupted_sync_wrote_some_of_it() -> None:
    """Each change is durable or not for itself."""
    outcomes = set()
    for seed in range(50):
        inode = Inode()
        inode.change(0, b"a", 1.0)
        inode.change(1, b"b", 1.0)
        inode.sync_partly(2.0, Random(seed).random)
        outcomes.add(_crash(inode, 2.0, LOSE))
    assert outcomes == {b"", b"a", b"\0b", b"ab"}
