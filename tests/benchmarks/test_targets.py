"""Targets are judged by what was measured, and by nothing where nothing was."""

from typing import Any

import pytest
from benchmarks.targets import judge

RATES = {
    ("SET, 64 clients", "raftline"): (20_000.0, 3.0, 8.0),
    ("SET, 64 clients", "etcd"): (3_900.0, 9.0, 40.0),
    ("SET, 1 client", "raftline"): (2_000.0, 0.5, 1.0),
    ("SET, 1 client", "etcd"): (810.0, 1.0, 2.0),
    ("SET, 256 clients", "raftline"): (20_000.0, 9.0, 20.0),
}


def compared() -> dict[str, Any]:
    """Return what `benchmarks.compare` would write."""
    results = []
    for (workload, system), (rate, p50, p99) in RATES.items():
        latencies = {"p50_ms": p50, "p99_ms": p99} | dict.fromkeys(("p90_ms", "p95_ms", "p999_ms", "max_ms"), 1.0)
        figures = {"per_second": rate, "cpu_us_per_operation": 1.0, **latencies}
        results.append({"workload": workload, "system": system, **figures})
    return {"results": results}


def verdicts(**parts: Any) -> dict[tuple[str, str], bool | None]:
    """Return what is met, by row."""
    return {(row.what, row.target): row.met for row in judge(parts)}


def test_rates_ratios_and_latencies_are_compared() -> None:
    """At the bound is met, below it is missed, and a peer that is not there gives no verdict."""
    found = verdicts(compare=compared())
    assert found["SET, 64 clients", "at least 18,000/s"] is True
    assert found["SET, 64 clients", "at least 5 × etcd"] is True
    assert found["SET, 64 clients", "p99 below etcd's p50"] is True
    assert found["SET, 1 client", "at least 2.5 × etcd"] is False
    assert found["SET, 1 client", "p50 at most 0.5 ms"] is True
    assert found["SET, pipeline 16, 64 clients", "at least 90,000/s"] is None
    assert found["SET, 256 clients", "at least 5 × etcd"] is None
    assert found["GET, 64 clients", "at least 30,000/s"] is None


def test_the_tail_is_held_against_the_middle_of_the_other() -> None:
    """A p99 above etcd's p50 is a miss, however low the p50 is."""
    results = compared()
    results["results"][0]["p99_ms"] = 9.5
    assert verdicts(compare=results)["SET, 64 clients", "p99 below etcd's p50"] is False


def test_large_values_are_held_against_the_slower_of_disk_and_loopback() -> None:
    """Half of what it allows, or more, is being bound by it."""
    results = compared()
    results["results"].append(results["results"][0] | {"workload": "SET 4 KiB, 64 clients", "per_second": 4_000.0})
    limits = {"disk": {"64 commands of 4 KiB": {"mb_per_second": 61.44}}, "loopback": {"mb_per_second": 1000.0}}
    (row,) = (row for row in judge({"compare": results, "limits": limits}) if row.what == "SET 4 KiB, 64 clients")
    assert "80 % of what the disk allows (5,000/s)" in row.measured
    assert row.met is True
    results["results"][-1]["per_second"] = 2_400.0
    (row,) = (row for row in judge({"compare": results, "limits": limits}) if row.what == "SET 4 KiB, 64 clients")
    assert row.met is False


@pytest.mark.parametrize(("median", "faults", "met"), [(1.0, [], True), (1.01, [], False), (0.4, ["lost"], False)])
def test_a_failover_that_loses_something_is_none(median: float, faults: list[str], met: bool) -> None:  # noqa: FBT001
    """The median decides, if nothing was wrong."""
    kills = {"kills": 20, "resumed_s_median": median, "resumed_s_max": 2.0, "faults": faults}
    assert list(verdicts(failover={"kills": kills}).values()) == [met]


def test_the_worst_node_and_the_worst_start_count() -> None:
    """No mean hides one that is above the bound."""
    nodes = {"n1": {"overhead_bytes": 100.0}, "n2": {"overhead_bytes": 251.0}}
    memory = {"keys": 1_000_000, "alone": {"overhead_bytes": 90.0}, "nodes": nodes}
    start = {"entries": 1_000_000, "together_s": 3.0, "one_s": 10.5, "one_cpu_s": 4.0}
    assert list(verdicts(memory=memory, start=start).values()) == [False, False]


def test_cost_over_size_needs_all_sizes() -> None:
    """Dearer than the first by more than 20 % is a miss; with sizes left out nothing is said."""
    points = {"16": {"cpu_us": 100.0}, "64": {"cpu_us": 90.0}, "256": {"cpu_us": 80.0}, "1024": {"cpu_us": 119.0}}
    keys = {"1000": {"cpu_us": 100.0}, "10000": {"cpu_us": 130.0}}
    full = {**keys, "100000": {"cpu_us": 100.0}, "1000000": {"cpu_us": 100.0}}
    short = verdicts(sizes={"keys": keys, "clients": points, "nodes": {}})
    assert list(short.values()) == [None, True, None]
    assert list(verdicts(sizes={"keys": full, "clients": points, "nodes": {}}).values()) == [False, True, None]


def test_a_short_run_proves_no_absence_of_pauses() -> None:
    """It can show one, though."""
    ticks = {"cpu_ms_max": 4.0, "clock_ms_max": 30}
    assert list(verdicts(pauses={"seconds": 20, "nodes": {"n1": ticks}}).values()) == [None]
    assert list(verdicts(pauses={"seconds": 600, "nodes": {"n1": ticks}}).values()) == [True]
    assert list(verdicts(pauses={"seconds": 20, "nodes": {"n1": ticks | {"cpu_ms_max": 11.0}}}).values()) == [False]


def test_what_the_machine_does_by_itself_stands_beside_it() -> None:
    """And changes no verdict."""
    ticks = {"cpu_ms_max": 11.0, "clock_ms_max": 12}
    (row,) = judge({"pauses": {"seconds": 600, "nodes": {"n1": ticks}, "idle_cpu_ms_max": 39.2}})
    assert row.measured.endswith("; a loop that does nothing: 39.2 ms of CPU")
    assert row.met is False


def test_only_times_by_the_clock_are_called_disturbed() -> None:
    """Bytes are bytes on a busy machine, too."""
    before = {"load_before": {"busy_percent": 100, "1 min": 9.0}}
    memory = {"keys": 1, "alone": {"overhead_bytes": 90.0}, "nodes": {"n1": {"overhead_bytes": 100.0}}, **before}
    kills = {"kills": 20, "resumed_s_median": 1.5, "resumed_s_max": 2.0, "faults": []}
    rows = judge({"failover": {"kills": kills, **before}, "memory": memory})
    assert [row.verdict for row in rows] == ["missed, disturbed", "met"]
