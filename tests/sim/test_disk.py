"""SimDisk: the WAL's file system, and every way in which it fails; the WAL survives all of them."""

import contextlib
import errno
from collections.abc import Callable
from random import Random

import pytest

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import CorruptLog, DirectoryInUse, StorageError
from raftline.sim.disk import PERSISTENCE_POINTS, CrashKind, SimDisk, SimFiles, kind_of
from raftline.sim.faults import DiskFaults, Latency, SimCrash
from raftline.wal.files import Files
from raftline.wal.wal import Wal, Write

LOSE = DiskFaults(keep_unsynced=0.0, tear_unsynced=0.0, keep_names=0.0)
KEEP = DiskFaults(keep_unsynced=1.0, tear_unsynced=0.0, keep_names=1.0)


class Clock:
    """Virtual time, by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _disk(faults: DiskFaults = LOSE, seed: int = 1) -> tuple[SimDisk, SimFiles, Clock]:
    clock = Clock()
    disk = SimDisk(clock, Random(seed), faults=faults)
    files = disk.mount()
    files.make_directory("/d")
    return disk, files, clock


def _crash(disk: SimDisk, clock: Clock, kind: CrashKind = CrashKind.MACHINE) -> SimFiles:
    clock.now += 100.0
    disk.crash(kind)
    return disk.mount()


def test_it_is_the_wals_file_system() -> None:
    """The simulated disk satisfies the protocol and behaves as files do."""
    _, mounted, _ = _disk()
    files: Files = mounted
    file = files.open("/d/wal-1.log", create=True)
    file.write_at(3, b"abc")
    file.allocate(10)
    file.allocate(5)
    assert (file.size(), file.read_at(0, 100)) == (10, b"\0\0\0abc\0\0\0\0")
    file.truncate(4)
    assert files.open("/d/wal-1.log").read_at(0, 100) == b"\0\0\0a"
    files.rename("/d/wal-1.log", "/d/wal-2.log")
    assert files.list("/d") == ["wal-2.log"]
    assert files.exists("/d/wal-2.log")
    assert files.exists("/d")
    assert not files.exists("/d/wal-1.log")
    files.remove("/d/wal-2.log")
    assert file.read_at(3, 1) == b"a"
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.size()


def test_what_is_not_there_is_refused_as_the_system_does() -> None:
    """Missing files and directories raise FileNotFoundError with their path."""
    _, files, _ = _disk()
    calls: list[Callable[[], object]] = [
        lambda: files.open("/d/nothing"),
        lambda: files.open("/nowhere/file", create=True),
        lambda: files.open("/d", create=True),
        lambda: files.list("/nowhere"),
        lambda: files.rename("/d/nothing", "/d/x"),
        lambda: files.remove("/d/nothing"),
        lambda: files.sync_directory("/nowhere"),
    ]
    for call in calls:
        with pytest.raises(FileNotFoundError):
            call()


def test_the_lock_is_held_by_one_and_not_by_the_dead() -> None:
    """A second lock is refused while the first is held, by nobody after a release or a crash."""
    disk, files, clock = _disk()
    lock = files.lock("/d/LOCK")
    with pytest.raises(DirectoryInUse):
        files.lock("/d/LOCK")
    lock.release()
    files.lock("/d/LOCK")
    _crash(disk, clock).lock("/d/LOCK")


def test_only_what_was_synced_with_its_directory_is_certain() -> None:
    """Data needs `sync`, the name needs `sync_directory`; without either the file may be gone or empty."""
    disk, files, clock = _disk()
    for name, sync, sync_name in (("both", True, True), ("data", True, False), ("name", False, True)):
        file = files.open(f"/d/{name}", create=True)
        file.write_at(0, b"x")
        if sync:
            file.sync()
        if sync_name:
            files.sync_directory("/d")
    after = _crash(disk, clock)
    assert after.list("/d") == ["both", "data", "name"]
    assert after.open("/d/both").read_at(0, 9) == b"x"
    assert after.open("/d/name").read_at(0, 9) == b""
    after.open("/d/lost", create=True).sync()
    assert "lost" not in _crash(disk, clock).list("/d")


def test_the_dead_have_no_effect() -> None:
    """Whatever a crashed incarnation still does raises SimCrash and changes nothing; closing is allowed."""
    disk, files, clock = _disk(KEEP)
    file = files.open("/d/f", create=True)
    file.write_at(0, b"x")
    after = _crash(disk, clock)
    calls: list[Callable[[], object]] = [
        lambda: file.write_at(0, b"y"),
        file.sync,
        lambda: files.remove("/d/f"),
        lambda: files.exists("/d"),
    ]
    for call in calls:
        with pytest.raises(SimCrash):
            call()
    file.close()
    assert after.open("/d/f").read_at(0, 9) == b"x"


def test_the_death_of_the_program_keeps_what_it_wrote() -> None:
    """After SIGKILL everything written is there, synced or not."""
    disk, files, clock = _disk(LOSE)
    files.open("/d/f", create=True).write_at(0, b"x")
    after = _crash(disk, clock, CrashKind.PROGRAM)
    assert after.open("/d/f").read_at(0, 9) == b"x"
    assert _crash(disk, clock).list("/d") == []


def test_a_crash_during_work_that_ran_ahead_undoes_the_future() -> None:
    """Work runs inline but takes virtual time: a crash in the middle of a slow sync keeps nothing from after it."""
    slow = DiskFaults(sync_latency=Latency(5.0, 5.0, 5.0), keep_unsynced=1.0, tear_unsynced=0.0, keep_names=1.0)
    disk, files, clock = _disk(slow)
    file = files.open("/d/f.tmp", create=True)
    file.write_at(0, b"x")
    file.sync()
    file.write_at(1, b"later")
    files.rename("/d/f.tmp", "/d/f")
    assert disk.spent_s > 5.0
    clock.now += 2.5
    disk.crash(CrashKind.PROGRAM)
    after = disk.mount()
    assert after.list("/d") == ["f.tmp"]
    assert after.open("/d/f.tmp").read_at(0, 9) == b"x"


def test_operations_take_virtual_time_that_starts_anew_at_each_instant() -> None:
    """Time spent adds up within one instant and is forgotten in the next."""
    disk, files, clock = _disk(DiskFaults(sync_latency=Latency(1.0, 1.0, 1.0)))
    file = files.open("/d/f", create=True)
    file.sync()
    file.sync()
    assert 2.0 < disk.spent_s < 2.1
    clock.now = 10.0
    assert disk.spent_s == 0.0
    file.write_at(0, bytes(5_000_000))
    assert 0.01 < disk.spent_s < 0.011


def test_a_full_disk_says_so() -> None:
    """Whatever needs space raises ENOSPC once the capacity is used up; what fits goes on."""
    disk, files, _ = _disk()
    disk.capacity_bytes = 100
    file = files.open("/d/f", create=True)
    file.write_at(0, bytes(90))
    calls: list[Callable[[], None]] = [
        lambda: file.write_at(50, bytes(60)),
        lambda: file.allocate(101),
        lambda: file.truncate(101),
    ]
    for call in calls:
        with pytest.raises(OSError, match="No space left") as caught:
            call()
        assert caught.value.errno == errno.ENOSPC
    file.write_at(0, bytes(100))
    assert disk.used_bytes == 100
    assert disk.stats["no space"] == 3


def test_errors_happen_as_often_as_said() -> None:
    """A tenth of the writes, syncs and reads fails in its own way, and each is counted."""
    faults = DiskFaults(write_error=0.1, sync_error=0.1, read_flip=0.1, slow_sync=0.1)
    disk, files, _ = _disk(faults)
    file = files.open("/d/f", create=True)
    failed: list[int | None] = []
    for number in range(2000):
        try:
            if number % 2:
                file.sync()
            else:
                file.write_at(0, b"12345678")
        except OSError as error:
            failed.append(error.errno)
    assert set(failed) == {errno.EIO}
    disk.faults = LOSE
    file.write_at(0, b"12345678")
    disk.faults = faults
    flipped = [data for _ in range(1000) if (data := file.read_at(0, 8)) != b"12345678"]
    for what in ("write errors", "sync errors", "read flips", "slow syncs"):
        assert 70 < disk.stats[what] < 130
    assert len(failed) == disk.stats["write errors"] + disk.stats["sync errors"]
    assert len(flipped) == disk.stats["read flips"]
    for data in flipped:
        assert sum((one ^ two).bit_count() for one, two in zip(data, b"12345678", strict=True)) == 1
    disk.faults = DiskFaults(sync_error=1.0)
    with pytest.raises(OSError, match="Input/output"):
        files.sync_directory("/d")


def test_bit_rot_and_a_wiped_disk() -> None:
    """A flipped bit stays flipped, and a wiped disk is empty."""
    disk, files, clock = _disk()
    file = files.open("/d/f", create=True)
    file.write_at(0, b"\0\0")
    file.sync()
    files.sync_directory("/d")
    disk.flip_bit("/d/f", 1, 3)
    assert file.read_at(0, 2) == b"\0\x08"
    assert _crash(disk, clock).open("/d/f").read_at(0, 2) == b"\0\x08"
    disk.wipe()
    assert not disk.mount().exists("/d")


def test_kinds_of_files_are_known_by_their_names() -> None:
    """The names that the durable log uses, and anything else."""
    assert kind_of("/d/wal-0000000000000001.log") == "segment"
    assert kind_of("/d/wal-0000000000000001.log.tmp") == "segment tmp"
    assert kind_of("/d/snapshot-0-0000000000000007-1.snap") == "snapshot"
    assert kind_of("/d/snapshot-0-0000000000000007-1.snap.taken.tmp") == "snapshot tmp"
    assert kind_of("/d/LOCK") == "lock"
    assert kind_of("/d/whatever") == "other"


def test_a_point_becomes_a_crash_when_the_hook_says_so() -> None:
    """Before the write nothing is written, within it a part, after it all of it; the owner hears of it first."""
    contents = {}
    for point in ("before write segment", "within write segment", "after write segment"):
        disk, files, clock = _disk(KEEP)
        file = files.open("/d/wal-1.log", create=True)
        disk.on_point = {point: CrashKind.MACHINE}.get
        heard: list[str] = []
        disk.on_crash = heard.append
        with pytest.raises(SimCrash) as caught:
            file.write_at(0, b"x" * 100)
        assert heard == [caught.value.point] == [point]
        assert files.dead
        assert disk.reached[point] == 1
        disk.on_point = None
        contents[point[:6]] = _crash(disk, clock).open("/d/wal-1.log").read_at(0, 1000)
    assert contents["before"] == b""
    assert 0 < len(contents["within"]) < 100
    assert contents["after "] == b"x" * 100


def test_a_crash_within_a_rename_leaves_the_old_name_or_the_new_one() -> None:
    """Power that fails during the call finds the rename on disk or not, even if nothing unsynced survives."""
    outcomes = set()
    for seed in range(30):
        disk, files, clock = _disk(LOSE, seed)
        files.open("/d/wal-1.log.tmp", create=True)
        files.sync_directory("/d")
        clock.now = 1.0
        disk.on_point = {"within rename segment": CrashKind.MACHINE}.get
        with pytest.raises(SimCrash):
            files.rename("/d/wal-1.log.tmp", "/d/wal-1.log")
        outcomes.add(tuple(_crash(disk, clock).list("/d")))
    assert outcomes == {("wal-1.log.tmp",), ("wal-1.log",)}


def test_a_hook_may_raise_an_error_of_its_own() -> None:
    """One exact operation can be made to fail."""

    def fail(point: str) -> None:
        if point == "within sync segment":
            raise OSError(errno.EIO, "as ordered")

    disk, files, _ = _disk()
    disk.on_point = fail
    file = files.open("/d/wal-1.log", create=True)
    file.write_at(0, b"x")
    with pytest.raises(OSError, match="as ordered"):
        file.sync()


class Torture:
    """Writes a log with snapshots, crashes it again and again, and checks what comes back against what was promised."""

    def __init__(self, seed: int, faults: DiskFaults) -> None:
        self.clock = Clock()
        self.random = Random(seed)
        self.disk = SimDisk(self.clock, Random(seed + 1), faults=faults)
        self.crash_chance = 0.01 + 0.1 * self.random.random()
        self.crashed_at: list[str] = []
        self.entries: list[Entry] = []
        """Everything that `append` has returned for, in order from index 1."""
        self.doubtful: list[Entry] = []
        """The batch that was being written."""
        self.snapshot_index = 0
        self.term = 0

    def run(self, incarnations: int) -> None:
        """Live and die so many times."""
        self.disk.mount().make_directory("/data")
        self.disk.on_point = self._decide
        for _ in range(incarnations):
            self.clock.now += 1000.0
            try:
                self._live()
            except SimCrash as crash:
                self.crashed_at.append(crash.point)

    def _decide(self, _point: str) -> CrashKind | None:
        if self.random.random() >= self.crash_chance:
            return None
        return CrashKind.MACHINE if self.random.random() < 0.7 else CrashKind.PROGRAM

    def _live(self) -> None:
        wal = Wal.open(self.disk.mount(), "/data", cluster_id="c", node_id="n", segment_bytes=3000)
        self._check(wal)
        for _ in range(100):
            self.clock.now += 1000.0
            self._append(wal)
            if self.random.random() < 0.1:
                self._take_snapshot(wal)

    def live_on(self) -> None:
        """Append and restart in peace, until something raises."""
        for _ in range(50):
            self._live()

    def _check(self, wal: Wal) -> None:
        recovered = wal.recovered.get(0)
        base = recovered.snapshot.index if recovered and recovered.snapshot else 0
        found = recovered.entries if recovered else []
        assert base >= self.snapshot_index
        assert base <= len(self.entries)
        promised = self.entries[base:]
        assert found[: len(promised)] == promised
        assert found[len(promised) :] in ([], self.doubtful)
        self.entries += found[len(promised) :]
        self.doubtful = []
        term = recovered.hard_state.term if recovered and recovered.hard_state else 0
        assert term in (self.term, self.term + 1)
        self.term = term

    def _append(self, wal: Wal) -> None:
        count = self.random.randrange(1, 4)
        size = self.random.choice((0, 10, 100, 700))
        first = len(self.entries) + 1
        self.doubtful = [Entry(first + number, self.term + 1, b"x" * size) for number in range(count)]
        wal.append([Write(group=0, entries=tuple(self.doubtful), hard_state=HardState(term=self.term + 1))])
        self.entries += self.doubtful
        self.doubtful = []
        self.term += 1

    def _take_snapshot(self, wal: Wal) -> None:
        index = len(self.entries)
        meta = SnapshotMeta(index, self.entries[-1].term, Membership.of({"n": "127.0.0.1:1@2"}))
        writer = wal.snapshots.create(0, meta)
        writer.write(b"state" * 200)
        writer.commit()
        self.snapshot_index = index
        wal.snapshots.prune(0, index)
        wal.release(0, index)


def test_the_wal_keeps_its_promises_through_crashes_at_every_point() -> None:
    """What `append` returned for, or recovery has shown, is there after any crash (C1, C5)."""
    for seed in range(400):
        torture = Torture(seed, DiskFaults(keep_unsynced=0.4, tear_unsynced=0.4, keep_names=0.5))
        torture.run(12)


def test_every_persistence_point_of_the_wal_is_crashed_at() -> None:
    """Appends, rotations and snapshots pass at least 25 named points, and crashes happen at each of them."""
    crashed: set[str] = set()
    for seed in range(400):
        torture = Torture(seed, DiskFaults(keep_unsynced=1.0, tear_unsynced=0.0, keep_names=1.0))
        with contextlib.suppress(CorruptLog):
            torture.run(12)
        crashed.update(torture.crashed_at)
    assert len(PERSISTENCE_POINTS) >= 25
    assert crashed == set(PERSISTENCE_POINTS)


def test_the_wal_survives_a_full_disk_and_failing_syncs() -> None:
    """An error stops the log for good; what it had promised is there for the next incarnation."""
    for seed in range(60):
        faults = DiskFaults(sync_error=0.02, write_error=0.02)
        torture = Torture(seed, faults)
        torture.crash_chance = 0.0
        torture.disk.mount().make_directory("/data")
        if seed % 3 == 0:
            torture.disk.capacity_bytes = 20_000
        for _ in range(6):
            torture.clock.now += 1000.0
            with pytest.raises(StorageError) as caught:
                torture.live_on()
            assert not isinstance(caught.value, CorruptLog), caught.value
            torture.clock.now += 1000.0
            torture.disk.crash(CrashKind.MACHINE)
            torture.disk.capacity_bytes = 1e9


def test_the_wal_refuses_bit_rot() -> None:
    """A bit that flips in what was durable is found at start-up, never passed on."""
    refused: list[str] = []
    for seed in range(100):
        torture = Torture(seed, LOSE)
        torture.crash_chance = 0.0
        torture.disk.mount().make_directory("/data")
        torture._live()
        torture.disk.crash(CrashKind.PROGRAM)
        paths = sorted(path for path in torture.disk.names.live if path.endswith(".log"))
        path = paths[torture.random.randrange(len(paths))]
        written = len(torture.disk.names.live[path].live.data)
        torture.disk.flip_bit(path, torture.random.randrange(written), torture.random.randrange(8))
        wal = None
        try:
            wal = Wal.open(torture.disk.mount(), "/data", cluster_id="c", node_id="n", segment_bytes=3000)
        except CorruptLog as error:
            refused.append(str(error))
        if wal is not None:
            torture._check(wal)
    assert len(refused) > 80
    assert all("/data/wal-" in words for words in refused)


def test_a_later_sync_does_not_settle_what_an_earlier_crash_can_still_undo() -> None:
    """Operations run ahead of virtual time: a crash between two syncs of one instant finds the first not done yet.

    Found by a campaign: a rename outlived a crash that came before its file was synced.
    """
    now = [0.0]
    disk = SimDisk(lambda: now[0], Random(1), faults=DiskFaults(keep_names=0.0))
    files = disk.mount()
    files.make_directory("/d")
    file = files.open("/d/a.tmp", create=True)
    file.write_at(0, b"whole")
    file.sync()
    files.rename("/d/a.tmp", "/d/a")
    files.sync_directory("/d")
    files.sync_directory("/d")
    now[0] = 1e-9
    disk.crash(CrashKind.MACHINE)
    assert disk.mount().list("/d") == []
