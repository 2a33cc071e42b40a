"""Writes figures and charts into docs/performance.md, between markers, from the JSON files of the parts.

    <!-- begin: targets -->
    ... whatever stands here is replaced ...
    <!-- end: targets -->

The results themselves go beside it, into docs/performance/, with the charts that are drawn from them.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.charts import line_chart
from benchmarks.compare import WORKLOADS, summarize
from benchmarks.machine import disturbance
from benchmarks.targets import judge

__all__ = ["replace_between", "table", "write_page"]

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
Results = Mapping[str, Any]


def write_page(parts: Mapping[str, Results], page: Path = PAGE) -> None:
    """Replace what stands between the markers of `page` by what is known; parts that were not run stay."""
    directory = page.with_suffix("")
    directory.mkdir(exist_ok=True)
    text = page.read_text(encoding="utf-8")
    for name, section in sections(parts, directory.name).items():
        text = replace_between(text, name, section)
    page.write_text(text, encoding="utf-8")
    for name, results in parts.items():
        (directory / f"{name}.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    for name, (_, _, drawn) in charts(parts).items():
        (directory / f"{name}.svg").write_text(drawn, encoding="utf-8")


def replace_between(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between the markers of `name`; raises `ValueError` if they are not there."""
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no markers for {name}")
    return f"{before}{begin}\n{content.rstrip()}\n\n{end}{after}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; every column but the first is set to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def sections(parts: Mapping[str, Results], folder: str = "performance") -> dict[str, str]:
    """Return the text of every section for which there are results."""
    rows = judge(parts)
    found = {"targets": table(["what", "target", "measured", ""], [[*row[:3], row.verdict] for row in rows])}
    writers: dict[str, Callable[[Results], str]] = {
        "compare": _compare,
        "failover": _failover,
        "library": _library,
        "limits": _limits,
        "sizes": _sizes,
        "micro": _micro,
    }
    for name, write in writers.items():
        if name in parts:
            warning = disturbance(parts[name])
            found[name] = (f"{warning}\n\n" if warning else "") + write(parts[name])
    for name, (section, alternative, _) in charts(parts).items():
        found[section] += f"\n\n![{alternative}]({folder}/{name}.svg)"
    if parts:
        found["machine"] = _machine(parts)
    return found


def _compare(results: Results) -> str:
    systems = list(results["versions"])
    head = ["", *systems, *(f"raftline / {name}" for name in systems[1:])]
    rates, latencies = [], []
    for workload, found in summarize(dict(results)).items():
        cells = [
            f"{found[name]['per_second']:,.0f} ({found[name]['lowest']:,.0f} to {found[name]['highest']:,.0f})"
            if name in found else "–" for name in systems
        ]  # fmt: skip
        for name in systems[1:]:
            known = name in found and "raftline" in found and found[name]["per_second"]
            cells.append(f"{found['raftline']['per_second'] / found[name]['per_second']:.2f}" if known else "–")
        rates.append([workload, *cells])
        keys = ("p50_ms", "p99_ms", "p999_ms")
        latencies.append(
            [
                workload,
                *(" / ".join(f"{found[name][key]:.2f}" for key in keys) if name in found else "–" for name in systems),
            ]
        )
    costs = [
        [workload, *(f"{found[name]['cpu_us_per_operation']:,.0f}" if name in found else "–" for name in systems)]
        for workload, found in summarize(dict(results)).items()
    ]
    versions = "; ".join(f"{name}: {version}" for name, version in results["versions"].items())
    return (
        f"Operations per second: median (lowest to highest), rounds: {results['rounds']}.\n\n"
        f"{table(head, rates)}\nLatency in ms: p50 / p99 / p99.9.\n\n{table(['', *systems], latencies)}\n"
        "CPU time of all servers of a system, µs per operation: disturbed less by what else a machine does.\n\n"
        f"{table(['', *systems], costs)}\n{versions}."
    )


def _failover(results: Results) -> str:
    kills = results["kills"]
    took = ", ".join(f"{seconds:.2f}" for seconds in sorted(kills["resumed_s"]))
    return (
        f"Median of {kills['kills']} kills {kills['resumed_s_median']:.2f} s, at most {kills['resumed_s_max']:.2f} s: "
        f"{took} s. {kills['writes']:,} writes were acknowledged and {kills['interrupted']:,} ended without an answer; "
        f"what was acknowledged and is not there, or reads that were stale: {len(kills['faults'])}."
    )


def _library(results: Results) -> str:
    rows = []
    for name, row in results["summary"].items():
        if "ratio" in row:
            rows.append([name, f"**{row['ratio']:.1f}**", "", ""])
        else:
            rate = f"{row['per_second']:,.0f} ({row['lowest']:,.0f} to {row['highest']:,.0f})"
            rows.append([name, rate, f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}"])
    return table(["", "calls per second", "p50, ms", "p99, ms"], rows)


def _limits(results: Results) -> str:
    disk = [
        [name, f"{rate['syncs_per_second']:,.0f}", f"{rate['mb_per_second']:,.0f}"]
        for name, rate in results["disk"].items()
    ]
    loopback = results["loopback"]
    return (
        table(["three processes write and sync", "syncs per second of each", "MB/s of all"], disk)
        + f"\nLoopback: {loopback['mb_per_second']:,.0f} MB/s on one connection, "
        f"{loopback['round_trips_per_second']:,.0f} round trips of 200 bytes per second."
    )


def _sizes(results: Results) -> str:
    rows = [
        [f"{int(point):,} {what}", f"{found['cpu_us']:,.1f}", f"{found['per_second']:,}", f"{found['p50_ms']:.2f}"]
        for what in ("keys", "clients", "nodes")
        for point, found in results[what].items()
    ]
    text = table(["", "CPU of all nodes, µs per SET", "SET/s", "p50, ms"], rows)
    if "instructions" in results:
        counts = [[f"{int(point):,} clients", f"{count:,}"] for point, count in results["instructions"].items()]
        text += "\n" + table(["", "instructions of three nodes per SET"], counts)
    return text


def _micro(results: Results) -> str:
    rows = [
        [
            name,
            "–" if row["instructions"] is None else f"{row['instructions']:,}",
            f"{row['cpu_us']:.2f}",
            f"{row['per_cpu_second']:,.0f}",
        ]
        for name, row in results["pieces"].items()
    ]
    synced = [
        [batch, f"{rate['batches_per_second']:,.0f}", f"{rate['entries_per_second']:,.0f}"]
        for batch, rate in results["wal_synced"].items()
    ]
    return (
        table(["one operation", "instructions", "CPU, µs", "per second of CPU"], rows)
        + "\nThe durable log with its fsync, by the clock:\n\n"
        + table(["entries in a batch", "batches/s", "entries/s"], synced)
    )


def _machine(parts: Mapping[str, Results]) -> str:
    machine = next(results["machine"] for results in parts.values() if "machine" in results)
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    befores = [(name, part["load_before"], part["machine"]) for name, part in parts.items() if "load_before" in part]
    loads = "; ".join(
        f"{name} {before['busy_percent']} %, {before['1 min']:g}, {where['commit']}" for name, before, where in befores
    )
    return (
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gib']:g} GiB, "
        f"{machine['system']}, "
        f"logs on {machine['file_system']}; Python {machine['python']}, {packages}.\n\n"
        f"How busy everything else kept the processors before each part, the load average, and the commit: {loads}."
    )


def charts(parts: Mapping[str, Results]) -> dict[str, tuple[str, str, str]]:
    """Return every chart for which there are results: name → section, what it shows in words, and the SVG."""
    found: dict[str, tuple[str, str, str]] = {}
    if "compare" in parts:
        found = _compare_charts(parts["compare"], " (on a busy machine)" if disturbance(parts["compare"]) else "")
    line = parts.get("failover", {}).get("kills", {}).get("time_line")
    if line:
        drawn = line_chart(
            "Acknowledged writes while the leader is killed at 0 s",
            "seconds since the kill",
            "writes per second",
            {"raftline": [(float(at) + 1.0, float(rate)) for at, rate in line]},
            x_names={float(at): f"{at - 1:g}" for at in range(4)},
            marks=False,
        )
        found["failover"] = ("failover", "Acknowledged writes per second around the kill of the median", drawn)
    return found


def _compare_charts(results: Results, remark: str) -> dict[str, tuple[str, str, str]]:
    summary = summarize(dict(results))
    systems = list(results["versions"])
    found: dict[str, tuple[str, str, str]] = {}
    measures = (("throughput", "per_second", "operations per second"), ("cpu", "cpu_us_per_operation", "CPU, µs"))
    for key, title, reads, followers in (
        ("set", "SET, 128 bytes", 0.0, False),
        ("get", "Linearizable GET, 128 bytes, on the leader", 1.0, False),
        ("get-followers", "Linearizable GET, 128 bytes, on followers", 1.0, True),
    ):
        names = [
            (workload.clients, name)
            for name, workload in WORKLOADS.items()
            if (workload.reads, workload.on_followers, workload.size, workload.pipeline) == (reads, followers, 128, 1)
            and name in summary
        ]
        for prefix, field, label in measures:
            series = {
                system: [
                    (float(n), summary[name][system][field]) for n, name in names if system in summary.get(name, {})
                ]
                for system in systems
            }
            if any(len(points) > 1 for points in series.values()):
                heading = f"{title}: {label}{remark if prefix == 'throughput' else ' of all servers per operation'}"
                drawn = line_chart(heading, "clients", label, series, log_x=True, log_y=prefix == "cpu")
                found[f"{prefix}-{key}"] = ("compare", f"{title}: {label} by number of clients", drawn)
    percentiles = {"p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "p999_ms": "p99.9", "max_ms": "max"}
    rows = summary.get("SET, 64 clients", {})
    if rows:
        series = {
            system: [(float(place), rows[system][key]) for place, key in enumerate(percentiles)]
            for system in systems
            if system in rows
        }
        names_of = {float(place): name for place, name in enumerate(percentiles.values())}
        title = "Latency of SET, 64 clients"
        drawn = line_chart(title + remark, "percentile", "milliseconds", series, x_names=names_of, log_y=True)
        found["latency"] = ("compare", f"{title}: percentiles", drawn)
    return found
