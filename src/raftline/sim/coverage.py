"""What a campaign reached: faults, rows of the role table, rows of the recovery table, persistence points.

A run that did not elect, crash, partition or snapshot proves nothing; a campaign that never reached something says so.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raftline.core import raft, roles
from raftline.wal import recovery, wal

__all__ = ["Reached", "counting", "missing"]


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


NOT_EXPECTED = frozenset(
    {
        # Leadership transfer is not asked for by any workload yet.
        *(row_name(key) for key in (*roles.HANDLED, *roles.IGNORED) if key[1].__name__ == "TimeoutNow"),
        # Damage that no crash explains: start-up refuses it, and a run would end there.
        "case B",
        "case C",
        "case D",
    }
)
"""What a campaign need not reach, each with its reason."""


def missing(rows: Counter[str], cases: Counter[str], points: Counter[str], wanted_points: tuple[str, ...]) -> list[str]:
    """Return what was never reached."""
    wanted = [row_name(key) for key in (*roles.HANDLED, *roles.IGNORED)]
    wanted += [f"case {case.letter}" for case in recovery.CASES]
    found = {*rows, *cases}
    never = [name for name in wanted if name not in found and name not in NOT_EXPECTED]
    return never + [point for point in wanted_points if not points[point]]
