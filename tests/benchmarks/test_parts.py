"""The arithmetic of the parts, and what each says to arguments that cannot work."""

import importlib
from pathlib import Path

import pytest
from benchmarks.compare import QUICK, WORKLOADS, Workload, summarize
from benchmarks.failover import time_line
from benchmarks.library import percentile
from benchmarks.library import summarize as summarize_calls
from benchmarks.limits import sets_per_second
from benchmarks.memory import overhead_bytes
from benchmarks.sizes import spread
from benchmarks.watched import Ticks


def test_workloads_are_named_by_what_they_do() -> None:
    """No two share a name, and what the quick run needs is among them."""
    assert Workload(1).name == "SET, 1 client"
    assert Workload(64, size=4096, reads=0.9, on_followers=True, pipeline=16).name == (
        "90 % GET 4 KiB on followers, pipeline 16, 64 clients"
    )
    assert len(WORKLOADS) == 24
    assert set(QUICK) <= set(WORKLOADS)


def test_medians_are_taken_per_workload_and_system() -> None:
    """With the lowest and the highest round beside the median."""
    keys = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "cpu_us_per_operation")
    results = [
        {"workload": "w", "system": system, "per_second": rate, **dict.fromkeys(keys, rate / 10)}
        for system, rates in {"a": (30.0, 10.0, 20.0), "b": (1.0, 2.0, 9.0)}.items()
        for rate in rates
    ]
    found = summarize({"results": results})["w"]
    assert (found["a"]["per_second"], found["a"]["lowest"], found["a"]["highest"]) == (20.0, 10.0, 30.0)
    assert found["b"]["p99_ms"] == pytest.approx(0.2)


def test_percentiles() -> None:
    """Of nothing 0; the highest share is the last value, not one behind it."""
    values = [float(number) for number in range(100)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50.0, 99.0, 99.0)
    assert percentile([], 0.5) == 0.0


def test_calls_are_compared_at_the_same_number_in_flight() -> None:
    """Medians of rounds, then their ratio; a system that is not there leaves no ratio."""
    results = [
        {"system": system, "in_flight": 1, "per_second": rate, "p50_ms": 1.0, "p99_ms": 2.0}
        for system, rates in {"raftline": (400.0, 600.0, 500.0), "pysyncobj": (10.0,)}.items()
        for rate in rates
    ]
    assert summarize_calls(results)["ratio, 1 in flight"] == {"ratio": 50.0}
    assert "ratio, 1 in flight" not in summarize_calls(results[:3])


def test_a_time_line_counts_writes_around_the_kill() -> None:
    """In writes per second, from a second before to two after; what is outside does not count."""
    line = dict(time_line([8.0, 9.01, 9.02, 10.01, 11.99, 12.5], killed_at=10.0))
    assert len(line) == 60
    assert (line[-0.975], line[0.025], line[1.975]) == (40.0, 20.0, 20.0)
    assert sum(line.values()) == 80.0


def test_limits_count_each_byte_three_times() -> None:
    """A value goes to three disks, and over three connections."""
    measured = {"disk": {"64 commands of 4 KiB": {"mb_per_second": 12.288}}, "loopback": {"mb_per_second": 122.88}}
    assert sets_per_second(measured) == pytest.approx({"disk": 1000.0, "loopback": 10_000.0})


def test_overhead_is_what_is_beyond_key_and_value() -> None:
    """144 bytes of each key are the user's."""
    assert overhead_bytes(1_000, 1_000 + 10 * 344, 10) == 200.0


def test_the_spread_is_that_of_the_dearest_over_the_first() -> None:
    """Cheaper with more is no growth."""
    assert spread({"16": {"cpu_us": 100.0}, "64": {"cpu_us": 50.0}}) == 0.0
    assert spread({"16": {"cpu_us": 100.0}, "64": {"cpu_us": 130.0}, "256": {"cpu_us": 90.0}}) == pytest.approx(0.3)


def test_a_late_tick_is_counted_by_clock_and_by_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 ms of work are 19 ms late and 20 ms of CPU; 50 ms of waiting are nobody's CPU; the start does not count."""
    clock = {"now": 0.0, "cpu": 0.0}
    monkeypatch.setattr("benchmarks.watched.time.perf_counter", lambda: clock["now"])
    monkeypatch.setattr("benchmarks.watched.time.thread_time", lambda: clock["cpu"])
    ticks = Ticks(tmp_path / "ticks", skip_s=1.0)
    for passed, used in ((0.5, 0.4), (0.6, 0.1), (0.001, 0.001), (0.02, 0.02), (0.05, 0.0)):
        clock["now"] += passed
        clock["cpu"] += used
        ticks.tick()
    assert sum(ticks.by_clock_ms) == 4
    assert sum(ticks.by_clock_ms[10:]) == 3
    assert [used for _, _, used in ticks.longest] == [100.0, 20.0]
    ticks.write()
    assert '"cpu_ms_max": 100.0' in (tmp_path / "ticks").read_text()


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("busy", ["--rounds", "0"], "--rounds must be at least 1"),
        ("all", ["--only", "compare,nothing"], "no part nothing"),
        ("compare", ["--systems", "raftlin"], "no system is called raftlin"),
        ("compare", ["--workload", "DEL"], "nothing is left"),
        ("compare", ["--rounds", "0"], "nothing is left"),
        ("guard", ["--runs", "0"], "--runs must be"),
        ("library", ["--rounds", "0"], "nothing is left"),
        ("library", ["--only", "raft"], "invalid choice"),
        ("limits", ["--seconds", "0"], "--seconds must be"),
        ("memory", ["--keys", "0"], "--keys must be"),
        ("micro", ["--only", "nothing"], "none of core"),
        ("pauses", ["--seconds", "0"], "nothing is left"),
        ("sizes", ["--keys-max", "10"], "nothing is left"),
        ("start", ["--entries", "0"], "--entries and --rounds"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_starts(
    module: str, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a line that says which."""
    monkeypatch.setattr("sys.argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{module}").main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
