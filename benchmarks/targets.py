"""What the figures have to reach, and whether they do: each part's results in, rows for people out."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.compare import summarize
from benchmarks.limits import sets_per_second
from benchmarks.machine import disturbance
from benchmarks.sizes import spread

__all__ = ["Row", "judge"]

Results = Mapping[str, Any]

_BY_CLOCK = frozenset({"compare", "library", "failover", "start"})
"""Parts whose figures are times by the clock; the others' are CPU time, instructions and bytes."""


class Row(NamedTuple):
    """One target; `met` is None where nothing can be said: not measured, or a peer is not installed."""

    what: str
    target: str
    measured: str
    met: bool | None
    disturbed: bool = False
    """The machine had other work, so that only what is no time by the clock counts."""

    @property
    def verdict(self) -> str:
        """Return the last column."""
        return {True: "met", False: "missed", None: "–"}[self.met] + (", disturbed" if self.disturbed else "")


def judge(parts: Mapping[str, Results]) -> list[Row]:
    """Return the rows of every part that was run."""
    judges: dict[str, Callable[[Results], list[Row]]] = {
        "compare": _compare,
        "library": _library,
        "failover": _failover,
        "memory": _memory,
        "start": _start,
        "sizes": _sizes,
        "pauses": _pauses,
    }
    rows = [
        row._replace(disturbed=name in _BY_CLOCK and bool(disturbance(parts[name])))
        for name, judge_part in judges.items()
        if name in parts
        for row in judge_part(parts[name])
    ]
    if "compare" in parts and "limits" in parts:
        large = _large_values(parts["compare"], parts["limits"])
        rows.append(large._replace(disturbed=bool(disturbance(parts["compare"]))))
    return rows


def _compare(results: Results) -> list[Row]:
    table = summarize(dict(results))
    return [
        _rate(table, "SET, 64 clients", 18_000),
        _ratio(table, "SET, 64 clients", "etcd", 5.0),
        _tail(table, "SET, 64 clients"),
        _ratio(table, "SET, 256 clients", "etcd", 5.0),
        _ratio(table, "SET, 256 clients", "redis, alone", 0.5),
        _ratio(table, "SET, 1 client", "etcd", 2.5),
        _latency(table, "SET, 1 client", 0.5),
        _rate(table, "SET, pipeline 16, 64 clients", 90_000),
        _rate(table, "GET, 64 clients", 30_000),
        _rate(table, "GET on followers, 64 clients", 15_000),
    ]


def _own(table: Results, workload: str) -> dict[str, float] | None:
    found: dict[str, float] | None = table.get(workload, {}).get("raftline")
    return found


def _rate(table: Results, workload: str, least: float) -> Row:
    own = _own(table, workload)
    measured = "not measured" if own is None else f"{own['per_second']:,.0f}/s"
    return Row(workload, f"at least {least:,.0f}/s", measured, None if own is None else own["per_second"] >= least)


def _ratio(table: Results, workload: str, peer: str, least: float) -> Row:
    own, other = _own(table, workload), table.get(workload, {}).get(peer)
    target = f"at least {least:g} × {peer}"
    if own is None or not other or not other["per_second"]:
        return Row(workload, target, "not measured", None)
    ratio = own["per_second"] / other["per_second"]
    return Row(
        workload, target, f"{ratio:.2f} × ({own['per_second']:,.0f} to {other['per_second']:,.0f})", ratio >= least
    )


def _tail(table: Results, workload: str) -> Row:
    own, other = _own(table, workload), table.get(workload, {}).get("etcd")
    target = "p99 below etcd's p50"
    if own is None or other is None:
        return Row(workload, target, "not measured", None)
    return Row(workload, target, f"{own['p99_ms']:.2f} to {other['p50_ms']:.2f} ms", own["p99_ms"] < other["p50_ms"])


def _latency(table: Results, workload: str, most_ms: float) -> Row:
    own = _own(table, workload)
    measured = "not measured" if own is None else f"{own['p50_ms']:.2f} ms"
    return Row(workload, f"p50 at most {most_ms:g} ms", measured, None if own is None else own["p50_ms"] <= most_ms)


def _library(results: Results) -> list[Row]:
    rows = []
    for in_flight, least in (("1,000", 10.0), ("1", 50.0)):
        what, target = f"node.propose, {in_flight} in flight", f"at least {least:g} × PySyncObj"
        found = results["summary"].get(f"ratio, {in_flight} in flight")
        if found is None:
            rows.append(Row(what, target, "not measured", None))
            continue
        ours, theirs = (
            results["summary"][f"{system}, {in_flight} in flight"]["per_second"] for system in ("raftline", "pysyncobj")
        )
        measured = f"{found['ratio']:.1f} × ({ours:,.0f} to {theirs:,.0f})"
        rows.append(Row(what, target, measured, found["ratio"] >= least))
    return rows


def _failover(results: Results) -> list[Row]:
    kills = results.get("kills")
    if not kills:
        return []
    measured = (
        f"{kills['resumed_s_median']:.2f} s in the median of {kills['kills']}, {kills['resumed_s_max']:.2f} s at most"
    )
    met = kills["resumed_s_median"] <= 1.0 and not kills["faults"]
    return [Row("failover under load", "writes resume within 1.0 s in the median of 20 kills", measured, met)]


def _memory(results: Results) -> list[Row]:
    worst = max(node["overhead_bytes"] for node in results["nodes"].values())
    alone = results["alone"]["overhead_bytes"]
    measured = f"{worst:.0f} bytes on the largest node, {alone:.0f} in the state machine alone"
    target = "at most 250 bytes a key beyond its own"
    return [Row(f"memory, {results['keys']:,} keys", target, measured, worst <= 250)]


def _start(results: Results) -> list[Row]:
    measured = f"{results['together_s']:.1f} s all three at once, {results['one_s']:.1f} s one of them"
    measured += f", whose CPU time was {results['one_cpu_s']:.1f} s"
    met = max(results["together_s"], results["one_s"]) < 10
    return [Row(f"start with a log of {results['entries']:,}", "under 10 s", measured, met)]


def _sizes(results: Results) -> list[Row]:
    rows = []
    for what, name in (("keys", "1,000 to 1,000,000 keys"), ("clients", "16 to 1,024 clients")):
        points = results[what]
        part = spread(points)
        first, last = min(points, key=int), max(points, key=int)
        costs = (
            f"{points[first]['cpu_us']:,.0f} µs at {int(first):,}, {points[last]['cpu_us']:,.0f} µs at {int(last):,}"
        )
        complete = len(points) == 4
        rows.append(
            Row(
                f"CPU per command, {name}",
                "at most 20 % dearer",
                f"{100 * part:+.0f} %: {costs}",
                part <= 0.2 if complete else None,
            )
        )
    costs = ", ".join(f"{nodes}: {point['cpu_us']:,.0f} µs" for nodes, point in results["nodes"].items())
    rows.append(Row("CPU per command by nodes", "measured", costs, None))
    if "instructions" in results:
        counts = list(results["instructions"].values())
        part = max(counts) / counts[0] - 1
        shown = ", ".join(f"{clients}: {count:,}" for clients, count in results["instructions"].items())
        rows.append(Row("instructions per command, 16 to 1,024 clients", "at most 20 % dearer", shown, part <= 0.2))
    return rows


def _pauses(results: Results) -> list[Row]:
    ticks = results["nodes"].values()
    own, clock = max(each["cpu_ms_max"] for each in ticks), max(each["clock_ms_max"] for each in ticks)
    measured = f"{own:.1f} ms of the loop's CPU, {clock} ms by the clock"
    if "idle_cpu_ms_max" in results:
        measured += f"; a loop that does nothing: {results['idle_cpu_ms_max']:.1f} ms of CPU"
    target = "none over 10 ms in ten minutes, 64 clients, with snapshots"
    met = None if results["seconds"] < 600 and own <= 10 else own <= 10
    return [Row(f"longest pause in {results['seconds']:.0f} s", target, measured, met)]


def _large_values(compare: Results, limits: Results) -> Row:
    own = _own(summarize(dict(compare)), "SET 4 KiB, 64 clients")
    bounds = sets_per_second(dict(limits))
    lowest = min(bounds, key=lambda name: bounds[name])
    target = "disk or loopback bound"
    if own is None:
        return Row("SET 4 KiB, 64 clients", target, "not measured", None)
    share = own["per_second"] / bounds[lowest]
    limit = f"{own['per_second']:,.0f}/s, {100 * share:.0f} % of what the {lowest} allows ({bounds[lowest]:,.0f}/s)"
    return Row("SET 4 KiB, 64 clients", target, limit, share >= 0.5)
