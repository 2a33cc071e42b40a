"""What a campaign reached: faults, rows of the role table, rows of the recovery table, persistence points.

A run that did not elect, crash, partition or snapshot proves nothing; a campaign that never reached something says so.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raftline.core import raft, roles
from raftline.wal import recovery, wal

__all__ = [
    "FAULTS",
    "JUDGED_FROM_RUNS",
    "NOT_EXPECTED",
    "RARE",
    "READS",
    "SESSIONS",
    "SHARDED",
    "Reached",
    "counting",
    "missing",
    "missing_sharded",
]


class Reached:
    """Counters of one process.

    Invariant: names are those of the tables themselves, so that nothing can be forgotten here.
    """

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.cases: Counter[str] = Counter()


class _CountingTable(dict[Any, Any]):
    """A table that counts which rows are used."""

    def __init__(self, table: dict[Any, Any], rows: Counter[str]) -> None:
        super().__init__(table)
        self._rows = rows

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up, and count a hit."""
        found = super().get(key, default)
        if found is not None:
            self._rows[row_name(key)] += 1
        return found

    def __getitem__(self, key: Any) -> Any:
        self._rows[row_name(key)] += 1
        return super().__getitem__(key)


def row_name(key: Any) -> str:
    """Return the name of a row: role and message."""
    role, message = key
    return f"{role.value} × {message.__name__}"


@contextmanager
def counting() -> Iterator[Reached]:
    """Count what the code under simulation reaches, in this process, until the block ends."""
    reached = Reached()
    handled, ignored, decide = roles.HANDLED, roles.IGNORED, recovery.decide

    def counting_decide(finding: recovery.Finding) -> recovery.Case:
        case = decide(finding)
        reached.cases[f"case {case.letter}"] += 1
        return case

    raft.HANDLED = _CountingTable(roles.HANDLED, reached.rows)  # type: ignore[attr-defined]
    raft.IGNORED = _CountingTable(roles.IGNORED, reached.rows)  # type: ignore[attr-defined]
    wal.decide = counting_decide  # type: ignore[attr-defined]
    try:
        yield reached
    finally:
        raft.HANDLED, raft.IGNORED, wal.decide = handled, ignored, decide  # type: ignore[attr-defined]


JUDGED_FROM_RUNS = 100
"""A smaller campaign says what it did not reach, and is not judged by it."""

_NEVER_LED = (
    "a candidate stands in a term that it has not led, and answers to a leader of an earlier term stop at the gate"
)

NOT_EXPECTED: dict[str, str] = {
    "candidate × AppendReply": _NEVER_LED,
    "candidate × SnapshotReply": _NEVER_LED,
    "candidate × ReadIndexRequest": _NEVER_LED,
    "case B": "no crash leaves damage before good frames: start-up refuses it",
    "case C": "no crash leaves damage in a segment that is not the last: start-up refuses it",
    "case D": "no crash leaves damage without holes: start-up refuses it",
}
"""What a campaign need not reach, each with its reason."""

RARE: dict[str, int] = {
    "candidate × TimeoutNow": 20_000,
    "leader × TimeoutNow": 20_000,
    "pre-candidate × TimeoutNow": 2_000,
    "candidate × SnapshotRequest": 20_000,
    "candidate × ReadIndexReply": 1_000,
    "candidate × AppendRequest": 200,
    "candidate × VoteRequest": 200,
    "follower × SnapshotReply": 500,
    "pre-candidate × SnapshotReply": 500,
    "pre-candidate × SnapshotRequest": 500,
    "before remove segment tmp": 500,
    "within remove segment tmp": 500,
    "after remove segment tmp": 500,
    "before remove snapshot tmp": 500,
    "within remove snapshot tmp": 500,
    "after remove snapshot tmp": 500,
}
"""What takes more runs than others to be reached: from how many a campaign is expected to have done so."""


FAULTS: tuple[str, ...] = (
    "kill_program",
    "kill_machine",
    "kill_leader",
    "kill_all",
    "crash_at_point",
    "point_crashes_hit",
    "pause",
    "pause_leader",
    "partition",
    "isolate_leader",
    "one_way_cut",
    "bridge",
    "flap",
    "reset",
    "clock_jump",
    "clock_drift",
    "full_disk",
    "disk_error",
    "disk_errors_hit",
    "wipe",
    "lag",
    "late_snapshot",
    "snapshots_held",
    "read_flip",
    "wrong_clock",
    "lose_kind",
    "late_candidate",
    "candidates_delayed",
    "slow_link",
    "slow_disk",
    "pause_all",
    "crash_loop",
    "links of their own pace",
    "transfer",
    "transfers done",
    "remove",
    "changes done",
    "replace",
    "machines replaced",
    "replacements done",
    "move",
    "moves done",
    "messages to_old_address",
    "priority",
    "priorities done",
    "stop_leader",
    "leaders stopped",
    "rolling_restart",
    "machines restarted",
    "rolling restarts done",
    "upgrades done",
    "messages lost",
    "messages duplicated",
    "messages reordered",
    "messages delayed",
    "messages held_in_cut",
    "messages lost_in_cut",
    "messages lost_in_reset",
    "messages lost_of_a_kind",
    "changes lost",
    "changes kept",
    "names lost",
    "names kept",
    "writes torn",
    "slow syncs",
    "no space",
    "write errors",
    "sync errors",
    "read flips",
    "storage failures",
)
"""What the environment does: every one of them has to happen in a campaign."""

READS: tuple[str, ...] = ("lease reads", "stale reads", "bounded reads", "bounded reads refused")
"""What clients ask for besides: every one of them, too."""


SESSIONS: tuple[str, ...] = ("commands repeated", "once acknowledged", "once SessionLost")
"""What happens to commands in sessions: repeated ones meet in the log, and sessions give way while one is unknown."""


SHARDED: tuple[str, ...] = (
    "join",
    "leave",
    "move",
    "place",
    "rebalance",
    "changes made",
    "changes refused",
    "configurations",
    "entries take",
    "entries release",
    "entries arrive",
    "entries drop",
    "keys dropped",
    "commands refused by the log",
    "commands refused by the log beside others",
    "reads refused",
    "snapshots restored",
    "snapshots restored in the middle of arrivals",
    "groups cut off",
    "requests between groups lost",
    "clients sent elsewhere",
    "requests repeated",
    "away",
    "home",
    "replicas that came back to a node",
    "questions of movers to other nodes",
    "machines replaced",
    "wipe",
    "groups whose disks were emptied",
    "clocks set",
    "changes told again",
    "changes told again refused",
    "requests of keepers told again",
    "keys expired",
    "runs with every check of Raft",
    "runs whose groups share nodes",
    "visitors answered",
    "visitors refused",
    "visitors sent on",
    "kill_program",
    "kill_machine",
    "kill_leader",
    "kill_all",
    "crash_at_point",
    "point_crashes_hit",
    "pause",
    "pause_leader",
    "partition",
    "isolate_leader",
    "one_way_cut",
    "bridge",
    "reset",
    "clock_jump",
    "clock_drift",
    "disk_error",
    "lag",
    "transfers done",
    "crash_loop",
    "slow syncs",
    "messages lost",
    "messages duplicated",
    "messages reordered",
    "messages delayed",
    "messages lost_in_cut",
    "storage failures",
)
"""What has to happen in a campaign of the sharded store."""


def missing_sharded(counts: Counter[str], runs: int) -> tuple[list[str], list[str]]:
    """Return what `runs` runs of the sharded store never did: what they should have, or else what takes more."""
    never = [name for name in SHARDED if not counts[name]]
    return (never, []) if runs >= JUDGED_FROM_RUNS else ([], never)


def missing(
    rows: Counter[str],
    cases: Counter[str],
    points: Counter[str],
    faults: Counter[str],
    wanted_points: tuple[str, ...],
    runs: int,
) -> tuple[list[str], list[str]]:
    """Return what `runs` runs never reached: first what they should have, then what takes more of them."""
    wanted = [row_name(key) for key in (*roles.HANDLED, *roles.IGNORED)]
    wanted += [f"case {case.letter}" for case in recovery.CASES]
    found = {*rows, *cases}
    never = [name for name in wanted if name not in found and name not in NOT_EXPECTED]
    never += [point for point in wanted_points if not points[point]]
    never += [name for name in (*FAULTS, *READS, *SESSIONS) if not faults[name]]
    due = [name for name in never if runs >= RARE.get(name, JUDGED_FROM_RUNS)]
    return due, [name for name in never if name not in due]
