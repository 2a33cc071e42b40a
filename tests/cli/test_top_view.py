"""A frame of `raftline top`: rates and percentiles are of what happened between two looks."""

import io

import pytest
from rich.console import Console

from raftline.cli.node_info import parse_info
from raftline.cli.top_view import Look, frame, stage_quantiles
from raftline.runtime.histogram import BOUNDS_S, Histogram

INFO = (
    "raft_node_id:n1\r\nraft_role:leader\r\nraft_term:4\r\nraft_commit_index:90\r\nraft_applied_index:80\r\n"
    "raft_last_index:91\r\nraft_snapshot_index:5\r\nraft_elections:3\r\nraft_pending_requests:6\r\n"
    "raft_snapshots_taken:2\r\nraft_snapshots_installed:1\r\n"
)


def _look(at_s: float, extra: str = "", **lines: str) -> Look:
    return Look(node_id="n1", address="a:1", at_s=at_s, info=parse_info(INFO + extra, "a:1"), lines=lines)


def _text(*looks: Look, before: dict[str, Look] | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(frame(looks, before or {}, "headline"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _line(text: str, begin: str) -> list[str]:
    """Return the cells of the first row that begins with a word."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"│ {begin} ")][:1]
    return [cell.strip() for cell in row.strip("│").split("│")]


def _latency(*durations_s: float) -> str:
    histogram = Histogram()
    for duration in durations_s:
        histogram.observe(duration)
    return f"count={len(durations_s)},sum_us=0,buckets={'|'.join(map(str, histogram.counts))}"


def test_commands_per_second_are_of_the_time_between_two_looks() -> None:
    """The first frame has none; after a restart, which begins at 0 again, there is none for one frame."""
    first, second = _look(10.0, total_commands_processed="1000"), _look(12.0, total_commands_processed="1500")
    assert _line(_text(second, before={"n1": first}), "n1")[7] == "250"
    assert _line(_text(first), "n1")[7] == "-"
    restarted = _look(13.0, total_commands_processed="7")
    assert _line(_text(restarted, before={"n1": second}), "n1")[7] == "-"


def test_a_row_tells_positions_and_what_waits() -> None:
    """Lag is behind the highest commit that anybody told."""
    cells = _line(_text(_look(1.0, connected_clients="7", db0="keys=5,expires=0,avg_ttl=0")), "n1")
    assert cells == ["n1", "a:1", "leader", "4", "90", "80", "10", "-", "7", "5", "6", "3", "2 + 1"]


def test_percentiles_are_of_what_happened_since() -> None:
    """A slow start does not darken a fast present; when nothing happened since, the whole past is shown."""
    before = _look(1.0, latency_fsync=_latency(5.0))
    now = _look(2.0, latency_fsync=_latency(5.0, *[0.0015] * 10))
    assert list(stage_quantiles(now, before, "fsync")) == [pytest.approx(0.0015), pytest.approx(0.00199)]
    assert stage_quantiles(now, now, "fsync")[1] == pytest.approx(4.67)
    assert stage_quantiles(_look(3.0), None, "fsync") == (None, None)
    restarted = _look(4.0, latency_fsync=_latency(0.00001))
    assert stage_quantiles(restarted, now, "fsync")[1] == pytest.approx(0.99 * BOUNDS_S[0])
    assert "1.50 / 1.99" in _text(now, before={"n1": before})


def test_who_does_not_answer_has_a_row_and_a_sentence() -> None:
    """Others are shown as ever."""
    away = Look(node_id="n2", address="b:2", at_s=1.0, trouble="b:2: Connection refused")
    text = _text(_look(1.0), away)
    assert _line(text, "n2")[2] == "not reached"
    assert "n2: b:2: Connection refused" in text
    assert _line(text, "n1")[2] == "leader"


def test_what_is_under_way_is_told() -> None:
    """Not ready, restoring, writing a snapshot."""
    text = _text(_look(1.0, "raft_ready:0\r\nraft_restoring:1\r\n"))
    assert _line(text, "n1")[2] == "leader, not ready"
    assert _line(text, "n1")[-1] == "2 + 1, restoring"
    assert _line(_text(_look(1.0, "raft_snapshot_in_progress:1\r\n")), "n1")[-1] == "2 + 1, writing"
