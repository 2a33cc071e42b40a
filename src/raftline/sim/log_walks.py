"""Random walks of one durable log on a simulated disk: writes, snapshots, failures and crashes at any point.

Finer than the whole node, and faster. An all-knowing record says what the log has promised to hold; after each
restart exactly that has to be there, or that and the one operation which was interrupted. What is damaged may be
refused, never misread. Knows nothing of Raft.
"""

from collections.abc import Callable
from random import Random

import msgspec

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import GroupId, Index, Term
from raftline.core.membership import Membership
from raftline.errors import ConfigError, CorruptLog, SafetyViolation, StorageError
from raftline.sim.disk import CrashKind, SimDisk
from raftline.sim.faults import DiskFaults, SimCrash
from raftline.wal.wal import Wal, Write

__all__ = ["LogWalk"]

_DIRECTORY = "/data"
_MEMBERS = Membership.of({"n1": "127.0.0.1:7001"})
_POINTS = ("", "", "segment tmp", "rename", "remove", "directory", "snapshot", "write segment", "sync segment")
_CRASHES_MAX = 4
"""So often one start may be interrupted."""


class _Held(msgspec.Struct, frozen=True):
    """What a group's log and snapshots add up to."""

    hard_state: HardState | None = None
    snapshot: SnapshotMeta | None = None
    base: tuple[Index, Term] = (0, 0)
    """The log begins behind it."""
    entries: tuple[Entry, ...] = ()

    @property
    def last(self) -> tuple[Index, Term]:
        return (self.entries[-1].index, self.entries[-1].term) if self.entries else self.base

    @property
    def covered(self) -> Index:
        return 0 if self.snapshot is None else self.snapshot.index

    def term_at(self, index: Index) -> Term | None:
        """Return the term at a position of the log, None if it holds none."""
        if index == self.base[0]:
            return self.base[1]
        position = index - self.base[0] - 1
        return self.entries[position].term if 0 <= position < len(self.entries) else None

    def settled(self) -> "_Held":
        """Return what a start makes of it: the log goes if it does not reach the snapshot, or contradicts it (D10)."""
        snapshot = self.snapshot
        if snapshot is None or self.term_at(snapshot.index) == snapshot.term:
            return self
        return msgspec.structs.replace(self, base=(snapshot.index, snapshot.term), entries=())

    def appended(self, write: Write) -> "_Held":
        """Return what it is after one write."""
        base, entries = self.base, self.entries
        if write.reset is not None:
            base, entries = (write.reset.index, write.reset.term), ()
        if write.entries:
            entries = (*entries[: write.entries[0].index - base[0] - 1], *write.entries)
        return _Held(write.hard_state or self.hard_state, self.snapshot, base, entries)


_Record = dict[GroupId, _Held]


class LogWalk:
    """One seed's log and what happens to it.

    Invariant: between two steps the log holds exactly `held`.
    """

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311  reproducible on purpose
        self.now = 0.0
        self.crashes = 0
        self.disk = SimDisk(lambda: self.now, Random(f"{seed}/disk"), faults=DiskFaults())  # noqa: S311  as above
        self.disk.on_point = self._on_point
        self.held: _Record = dict.fromkeys(range(self.chance.choice((1, 1, 2))), _Held())
        self._segment_bytes = self.chance.choice((700, 1500, 4000))
        self._maybe: _Record = self.held
        self._armed: tuple[str, int, CrashKind] | None = None
        self._wal = self._open()

    def run(self, steps: int) -> None:
        """Take so many steps, then start a last time."""
        actions = (self.do_append, self.do_snapshot, self.do_install, self.do_arm, self.do_crash, self.do_fail)
        for _ in range(steps):
            (action,) = self.chance.choices(actions, (20, 3, 1, 2, 1, 0.5))
            action()
        self._armed = None
        self._crash(self._a_kind())

    # Steps.

    def do_append(self) -> None:
        """Write a batch: terms, votes and entries, now and then in place of others."""
        after = dict(self.held)
        writes = []
        for group, held in self.held.items():
            if self.chance.random() < 0.7:
                write = self._a_write(group, held)
                writes.append(write)
                after[group] = held.appended(write)
        if writes:
            self._try(lambda: self._wal.append(writes), after)

    def do_snapshot(self) -> None:
        """Take a snapshot of what is in the log, and let go of what is before it."""
        group = self.chance.choice(list(self.held))
        held = self.held[group]
        index = self.chance.randint(held.covered, held.last[0])
        term = held.term_at(index)
        if index > held.covered and term is not None:
            meta = SnapshotMeta(index, term, _MEMBERS)
            self._store(group, meta)

    def do_install(self) -> None:
        """Store a snapshot from elsewhere that goes beyond the log, and begin the log anew behind it."""
        group = self.chance.choice(list(self.held))
        last_index, last_term = self.held[group].last
        meta = SnapshotMeta(last_index + self.chance.randint(1, 9), last_term + self.chance.randint(0, 1), _MEMBERS)
        if not self._store(group, meta):
            return
        write = Write(group=group, reset=meta)
        self._try(lambda: self._wal.append([write]), {**self.held, group: self.held[group].appended(write)})

    def do_arm(self) -> None:
        """Let the machine or the program stop at one of the next persistence points."""
        self._armed = (self.chance.choice(_POINTS), int(20 * self.chance.random() ** 2), self._a_kind())

    def do_crash(self) -> None:
        """Stop between two operations."""
        self._crash(self._a_kind())

    def do_fail(self) -> None:
        """Let the next write or fsync fail."""
        which = self.chance.choice(("write_error", "sync_error"))
        self.disk.faults = msgspec.structs.replace(self.disk.faults, **{which: 1.0})
        self.do_append()
        self.disk.faults = DiskFaults()

    def _store(self, group: GroupId, meta: SnapshotMeta) -> bool:
        """Write a snapshot and remove what it replaces; say whether nothing came in between."""

        def write() -> None:
            writer = self._wal.snapshots.create(group, meta)
            for _ in range(self.chance.randint(0, 3)):
                writer.write(bytes(self.chance.randint(1, 900)))
            writer.commit()

        def tidy_up() -> None:
            self._wal.snapshots.prune(group, meta.index)
            self._wal.release(group, meta.index)

        after = {**self.held, group: msgspec.structs.replace(self.held[group], snapshot=meta)}
        return self._try(write, after) and self._try(tidy_up, self.held)

    def _a_write(self, group: GroupId, held: _Held) -> Write:
        chance = self.chance
        last_index, last_term = held.last
        known = held.hard_state or HardState()
        hard_state = None
        if chance.random() < 0.3:
            vote = chance.choice((None, "n1", "n2"))
            hard_state = HardState(max(known.term, last_term) + chance.randint(0, 2), vote)
        term = max(last_term, (hard_state or known).term)
        first = last_index + 1
        lowest = max(held.covered, held.base[0]) + 1
        if lowest <= last_index and chance.random() < 0.2:
            first, term = chance.randint(lowest, last_index), term + 1
        count = chance.choice((0, 1, 1, 2, 5)) if first > last_index else chance.choice((1, 2))
        size = chance.choice((0, 20, 300, 900))
        entries = tuple(Entry(first + n, term, bytes((65 + n,)) * size) for n in range(count))
        if not entries and hard_state is None:
            hard_state = HardState(known.term + 1, None)
        return Write(group=group, entries=entries, hard_state=hard_state)

    # Crashes and what is there afterwards.

    def _a_kind(self) -> CrashKind:
        return self.chance.choice((CrashKind.PROGRAM, CrashKind.MACHINE, CrashKind.MACHINE))

    def _on_point(self, point: str) -> CrashKind | None:
        if self._armed is None or self._armed[0] not in point:
            return None
        part, left, kind = self._armed
        self._armed = (part, left - 1, kind) if left else None
        return None if left else kind

    def _try(self, action: Callable[[], object], after: _Record) -> bool:
        """Carry out an operation after which the log holds `after`; say whether it ended well."""
        self._maybe = after
        try:
            action()
        except SimCrash:
            self._restart()
            return False
        except StorageError:
            self.disk.faults = DiskFaults()
            self._crash(self._a_kind())
            return False
        self.held = after
        self._pass_time()
        return True

    def _pass_time(self) -> None:
        self.now += self.disk.spent_s + 0.001

    def _crash(self, kind: CrashKind) -> None:
        self._pass_time()
        self.disk.crash(kind)
        self._restart()

    def _restart(self) -> None:
        """Start again, however often that is interrupted; now and then what is read has a wrong bit in it."""
        self.crashes += 1
        for attempt in range(_CRASHES_MAX + 1):
            self._pass_time()
            flips = attempt < _CRASHES_MAX and self.chance.random() < 0.2
            self.disk.faults = DiskFaults(read_flip=0.3 if flips else 0.0)
            if attempt < _CRASHES_MAX and self.chance.random() < 0.3:
                self.do_arm()
            elif attempt == _CRASHES_MAX:
                self._armed = None
            flips_before = self.disk.stats["read flips"]
            try:
                self._wal = self._open()
            except SimCrash:
                continue
            except (CorruptLog, ConfigError) as error:  # a wrong bit may look like a newer format, or another's name
                if self.disk.stats["read flips"] == flips_before:
                    raise SafetyViolation(f"the log is refused after a crash: {error} (C13)") from None
                self._pass_time()
                self.disk.crash(CrashKind.PROGRAM)
                continue
            break
        self.disk.faults = DiskFaults()
        self._check(self._wal)
        self._pass_time()

    def _open(self) -> Wal:
        return Wal.open(self.disk.mount(), _DIRECTORY, cluster_id="c", node_id="n1", segment_bytes=self._segment_bytes)

    def _check(self, wal: Wal) -> None:
        """Hold what was found against what was promised: all of it, and no more than what was under way (C1 to C5)."""
        found = {group: _what_is_there(wal, group) for group in self.held}
        for record in (self._maybe, self.held):
            settled = {group: held.settled() for group, held in record.items()}
            if all(found[group] == _what_is_promised(held) for group, held in settled.items()):
                self.held = self._maybe = settled
                return
        for group, held in self.held.items():
            one, other = found[group], _what_is_promised(held.settled())
            if one != other:
                raise SafetyViolation(
                    f"after a crash the log of group {group} holds {_shown(one)} instead of {_shown(other)} (C5)"
                )
        raise SafetyViolation("after a crash a part of a batch is there: it was one write (C13)")


_Parts = tuple[HardState | None, SnapshotMeta | None, tuple[Entry, ...]]


def _what_is_there(wal: Wal, group: GroupId) -> _Parts:
    recovered = wal.recovered.get(group)
    if recovered is None:
        return None, None, ()
    return recovered.hard_state, recovered.snapshot, tuple(recovered.entries)


def _what_is_promised(held: _Held) -> _Parts:
    return held.hard_state, held.snapshot, tuple(entry for entry in held.entries if entry.index > held.covered)


def _shown(parts: _Parts) -> str:
    hard_state, snapshot, entries = parts
    covered = 0 if snapshot is None else snapshot.index
    log = ", ".join(f"{entry.index} of term {entry.term}" for entry in entries[-8:]) or "none"
    return f"{hard_state}, a snapshot at {covered}, last entries {log}"
