"""Costs are read right, and a piece is really run."""

from pathlib import Path

import pytest
from benchmarks.cost import Work, cpu_costs, parse_summary


def test_the_total_of_a_count_is_found() -> None:
    """What cachegrind counted is its summary line, not one of its events."""
    assert parse_summary("events: Ir\nfl=x\nfn=y\n1 2345\nsummary: 67890\n") == 67890


def test_a_count_without_an_end_is_refused() -> None:
    """A file that a process left half-written is no measurement."""
    with pytest.raises(ValueError, match="no summary"):
        parse_summary("events: Ir\nfn=summary\n1 2345\n")


def count_to(end: int) -> Work:
    """Return something to do."""

    def work() -> None:
        assert sum(range(end)) > end

    return work


def test_each_piece_is_prepared_once_in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is that of one operation, however many a piece carries out."""
    monkeypatch.chdir(tmp_path)
    prepared: list[Path] = []

    def prepare(directory: Path) -> tuple[Work, int]:
        assert directory.is_dir()
        prepared.append(directory)
        return count_to(20_000), 100

    def prepare_more(directory: Path) -> tuple[Work, int]:
        prepared.append(directory)
        return count_to(2_000_000), 10_000

    costs = cpu_costs({"few": prepare, "many": prepare_more})
    assert len(set(prepared)) == 2
    assert costs["few"].operations == 100
    assert costs["many"].operations == 10_000
    assert all(cost.per_operation > 0 for cost in costs.values())
    assert list(tmp_path.iterdir()) == []
