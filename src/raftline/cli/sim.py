"""`raftline sim`: campaigns of simulated runs, or one seed with its trace."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from raftline.cli.exit_codes import ExitCode
from raftline.cli.output import complain
from raftline.cli.sim_minimize import load_schedule, minimize_seed
from raftline.errors import ConfigError
from raftline.linearizability.history import History, Operation, write_jsonl
from raftline.sim.campaign import Campaign, Summary, run_campaign
from raftline.sim.executors import Executor as SomeExecutor
from raftline.sim.executors import make_executor
from raftline.sim.quiet import quiet
from raftline.sim.run import Outcome, Scenario, run_seed
from raftline.sim.sharded.run import run_sharded_seed
from raftline.sim.sharded.scenario import ShardScenario

__all__ = ["run_sim"]

_AnyScenario = Scenario | ShardScenario

_SAFETY_S = 30.0
_ARTIFACTS_MAX = 3
"""Of so many failing runs of a campaign trace and history are written."""


def run_sim(
    names: Sequence[str],
    *,
    seeds: str | None,
    seed: int | None,
    jobs: int,
    size: int | None,
    safety_s: float | None,
    trace: bool,
    as_json: bool,
    mutants: bool,
    only_list: bool,
    minimize: bool,
    runs_max: int,
    schedule: Path | None,
    executor: str,
    level: bool,
    minutes: float,
    sharded: bool,
    artifacts: Path,
) -> int:
    """Do what the options of `raftline sim` say; return the exit code."""
    if mutants:
        from raftline.cli.sim_mutants import list_mutants, run_catalogue  # noqa: PLC0415  a catalogue that other runs need not load

        span = range(*_range(seeds or "0:1000"))
        return list_mutants(as_json=as_json) if only_list else run_catalogue(names, span, jobs, as_json=as_json)
    if names:
        raise typer.BadParameter("names are for --mutants")
    if level:
        from raftline.cli.sim_level import run_level  # noqa: PLC0415  as above

        chosen = range(*_range(seeds or "0:24")) if seed is None else range(seed, seed + 1)
        return run_level(chosen, minutes, _executor(executor, jobs), as_json=as_json)
    if sharded and (minimize or schedule is not None or size is not None):
        raise typer.BadParameter("--sharded takes neither --size nor --minimize nor --schedule")
    if schedule is not None:
        loaded = load_schedule(schedule)
        replay = f"raftline sim --schedule {schedule} --trace"
        return _one(loaded.seed, loaded.scenario, replay, trace=trace, as_json=as_json, artifacts=artifacts)
    whole = Scenario(size=size, safety_s=_SAFETY_S if safety_s is None else safety_s)
    if minimize:
        if seed is None:
            raise typer.BadParameter("--minimize needs --seed N, a seed that fails")
        workers = _executor(executor, jobs)
        return minimize_seed(seed, whole, workers, artifacts, runs_max=runs_max, as_json=as_json)
    scenario = _sharded(safety_s) if sharded else whole
    if seed is not None:
        replay = _replay(seed, scenario)
        return _one(seed, scenario, replay, trace=trace, as_json=as_json, artifacts=artifacts)
    first, stop = _range(seeds or "0:100")
    campaign = Campaign(first=first, stop=stop, scenario=scenario, jobs=jobs)
    return _many(campaign, _executor(executor, jobs), artifacts, as_json=as_json)


def _sharded(safety_s: float | None) -> ShardScenario:
    return ShardScenario() if safety_s is None else ShardScenario(safety_s=safety_s)


def _executor(name: str, jobs: int) -> SomeExecutor:
    """Return the executor of that name, or refuse the option."""
    try:
        return make_executor(name, jobs)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _range(seeds: str) -> tuple[int, int]:
    first, colon, stop = seeds.partition(":")
    if not (colon and first.isdigit() and stop.isdigit() and int(first) < int(stop)):
        raise typer.BadParameter(f"--seeds takes FIRST:STOP with FIRST < STOP, such as 0:100, not {seeds!r}")
    return int(first), int(stop)


def _one(seed: int, scenario: _AnyScenario, replay: str, *, trace: bool, as_json: bool, artifacts: Path) -> int:
    """Run one seed; write trace and history if it fails."""
    outcome, operations, lines = _run_kept(seed, scenario)
    if trace:
        typer.echo("\n".join(lines))
    if as_json:
        typer.echo(msgspec.json.encode(outcome).decode())
    else:
        _print_outcome(Console(), outcome, replay)
    if outcome.error is not None:
        _write_artifacts(artifacts, outcome, operations, lines)
    return int(outcome.error is not None)


def _run_kept(seed: int, scenario: _AnyScenario) -> tuple[Outcome, list[Operation], list[str]]:
    """Run a seed and keep its history and its trace."""
    kept: list[tuple[list[Operation], list[str]]] = []
    with quiet():
        if isinstance(scenario, ShardScenario):
            outcome = run_sharded_seed(seed, scenario, keep_trace=True, on_finished=lambda *both: kept.append(both))
        else:
            outcome = run_seed(seed, scenario, keep_trace=True, on_finished=lambda *both: kept.append(both))
    return outcome, *kept[0]


def _write_artifacts(artifacts: Path, outcome: Outcome, operations: list[Operation], lines: list[str]) -> None:
    artifacts.mkdir(parents=True, exist_ok=True)
    trace_path = artifacts / f"seed-{outcome.seed}.trace"
    history_path = artifacts / f"seed-{outcome.seed}.jsonl"
    trace_path.write_text("\n".join(lines) + "\n")
    history_path.write_text("".join(write_jsonl(History(tuple(operations), "redis"))))
    typer.echo(f"trace: {trace_path}\nhistory: {history_path}", err=True)


def _replay(seed: int, scenario: _AnyScenario) -> str:
    if isinstance(scenario, ShardScenario):
        return f"raftline sim --sharded --seed {seed} --safety-s {scenario.safety_s:g} --trace"
    size = f" --size {scenario.size}" if scenario.size else ""
    return f"raftline sim --seed {seed}{size} --safety-s {scenario.safety_s:g} --trace"


def _print_outcome(console: Console, outcome: Outcome, replay: str) -> None:
    console.print(
        f"seed {outcome.seed}: {outcome.size} {_size_in(replay)}, {outcome.virtual_s:.0f} virtual s, "
        f"{outcome.cpu_s:.1f} s of CPU, {outcome.events:,} events, {outcome.elections} elections, "
        f"{outcome.committed:,} entries committed, {outcome.operations:,} operations "
        f"({outcome.unknown} of unknown outcome)",
        highlight=False,
    )
    acts = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()))
    console.print(f"faults: {acts}", highlight=False)
    if outcome.error is None:
        console.print("every promise was kept", style="green")
    else:
        console.print(f"{outcome.check}: {outcome.error}", style="red", highlight=False)
        console.print(f"replay: {replay}", highlight=False)


def _size_in(replay: str) -> str:
    """Return what the size of a run counts."""
    return "groups and the controller" if "--sharded" in replay else "nodes"


def _many(campaign: Campaign, executor: SomeExecutor, artifacts: Path, *, as_json: bool) -> int:
    """Run a campaign with a progress bar on standard error; an interrupt ends it early, with what was done by then."""
    started = time.monotonic()
    summary, interrupted = Summary(), False
    with _progress(campaign, summary) as on_outcome:
        try:
            run_campaign(campaign, on_outcome, executor, summary)
        except KeyboardInterrupt:
            interrupted = True
    for failed in summary.failures[: 0 if interrupted else _ARTIFACTS_MAX]:
        _write_artifacts(artifacts, *_run_kept(failed.seed, campaign.scenario))
    never, too_rare = summary.never_reached()
    elapsed_s = time.monotonic() - started
    if as_json:
        replays = [_replay(failed.seed, campaign.scenario) for failed in summary.failures]
        more = {"never_reached": never, "not_reached_yet": too_rare, "replay": replays, "interrupted": interrupted}
        fields = {**msgspec.to_builtins(summary), **more, "faults_injected": summary.faults_injected}
        typer.echo(json.dumps({**fields, "elapsed_s": elapsed_s}))
    else:
        _print_summary(summary, never, too_rare, elapsed_s)
    if interrupted:
        complain(f"raftline sim: interrupted after {summary.seeds:,} runs")
    return ExitCode.TROUBLE if interrupted or summary.failed or never else ExitCode.OK


@contextmanager
def _progress(campaign: Campaign, summary: Summary) -> Iterator[Callable[[Outcome], None]]:
    """Give a function that hears of each run after `summary` did; failures are shown at once, with their replay."""
    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("simulating", total=campaign.stop - campaign.first, figures="")

        def on_outcome(outcome: Outcome) -> None:
            elapsed_s = max(time.monotonic() - started, 1e-9)
            figures = (
                f"{summary.seeds / elapsed_s:.1f} runs/s, {summary.faults_injected:,} faults, "
                f"{summary.committed:,} entries, {summary.virtual_s / 3600:.1f} virtual h, {summary.failed} failed"
            )
            progress.update(task, advance=1, figures=figures)
            if outcome.error is not None:
                say = partial(progress.console.print, highlight=False, markup=False, soft_wrap=True)
                say(f"seed {outcome.seed}: {outcome.check}: {outcome.error}")
                say(f"  replay: {_replay(outcome.seed, campaign.scenario)}")

        yield on_outcome


def _print_summary(summary: Summary, never: list[str], too_rare: list[str], elapsed_s: float) -> None:
    console = Console()
    table = Table(title="what happened", show_header=False)
    cpu_s = max(summary.cpu_s, 1e-9)
    speed = f"{summary.virtual_s / cpu_s:.0f} virtual s, {summary.events / cpu_s:,.0f} events per s of CPU"
    for name, value in (
        ("runs", f"{summary.seeds:,} ({summary.failed} failed)"),
        ("virtual time", f"{summary.virtual_s / 3600:.2f} h"),
        ("elapsed", f"{elapsed_s:.0f} s, {summary.cpu_s:.0f} s of CPU"),
        ("speed", speed),
        ("faults injected", f"{summary.faults_injected:,}"),
        ("elections", f"{summary.elections:,}"),
        ("entries committed", f"{summary.committed:,}"),
        ("operations", f"{summary.operations:,} ({summary.unknown:,} of unknown outcome)"),
        ("histories", f"{summary.seeds - summary.undecided:,} decided, {summary.undecided:,} too hard to decide"),
    ):
        table.add_row(name, value)
    console.print(table)
    for title, counts in (
        ("faults", summary.faults),
        ("role table", summary.rows),
        ("recovery table", summary.cases),
        ("persistence points", summary.points),
    ):
        listed = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
        console.print(f"{title}: {listed}", highlight=False)
    if never:
        console.print(f"never reached: {', '.join(never)}", style="red", highlight=False)
    if too_rare:
        console.print(f"not reached yet, as so few runs may not: {', '.join(too_rare)}", highlight=False)
