"""`raftline sim --level`: virtual hours at a fixed number of keys, and a table of what is level and what is not."""

import time
from collections.abc import Sequence
from functools import partial

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from raftline.cli.exit_codes import ExitCode
from raftline.cli.output import complain
from raftline.sim.executors import Executor
from raftline.sim.level import LevelOutcome, LevelPlan, run_level_seed
from raftline.sim.quiet import quiet

__all__ = ["run_level"]

_SHOWN = (
    "process blocks",
    "process resident bytes",
    "n1 memory objects",
    "n1 memory bytes",
    "n1 keys",
    "n1 data bytes",
    "n1 log bytes",
    "n1 log memory bytes",
    "n1 sessions",
    "n1 session reply bytes",
    "n1 clients",
    "n1 files",
    "n1 file bytes",
)
"""Of hundreds of measures."""


def run_level(seeds: Sequence[int], minutes: float, executor: Executor, *, as_json: bool) -> int:
    """Run the seeds with a progress bar; return the exit code: 0 if nothing grew and all else went well."""
    started = time.monotonic()
    outcomes: list[LevelOutcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    interrupted = False
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress, executor as workers:
        task = progress.add_task("virtual hours" if minutes == 60.0 else "seeds", total=len(seeds))
        try:
            for outcome in workers.run(partial(_one, plan=LevelPlan.of(minutes)), seeds):
                outcomes.append(outcome)
                progress.update(task, advance=1)
                if outcome.error is not None:
                    progress.console.print(_failure(outcome, minutes), highlight=False, markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            interrupted = True
    failed = sum(outcome.error is not None for outcome in outcomes)
    if as_json:
        elapsed_s = time.monotonic() - started
        document = {"outcomes": outcomes, "failed": failed, "interrupted": interrupted, "elapsed_s": elapsed_s}
        typer.echo(msgspec.json.encode(document).decode())
    else:
        _print(outcomes, failed, time.monotonic() - started)
    if interrupted:
        complain(f"raftline sim --level: interrupted after {len(outcomes)} seeds")
    return ExitCode.TROUBLE if interrupted or failed else ExitCode.OK


def _one(seed: int, plan: LevelPlan) -> LevelOutcome:
    with quiet():
        return run_level_seed(seed, plan)


def _failure(outcome: LevelOutcome, minutes: float) -> str:
    replay = f"raftline sim --level --seed {outcome.seed} --minutes {minutes:g}"
    return f"seed {outcome.seed}: {outcome.check}: {outcome.error}\n  replay: {replay}"


def _print(outcomes: Sequence[LevelOutcome], failed: int, elapsed_s: float) -> None:
    """Print what was done, and the highest values of some measures over all seeds."""
    if not outcomes:
        return
    console = Console()
    did = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in ("virtual_s", "cpu_s", "events")}
    asked, answered = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("asked", "answered"))
    acts = sum(sum(outcome.acts.values()) for outcome in outcomes)
    table = Table(title="highest values of all seeds: after the warm-up, and at the end")
    for column in ("measure", "after the warm-up", "at the end", "most growth of a seed"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for measure in _SHOWN:
        pairs = [(outcome.early.get(measure, 0.0), outcome.late.get(measure, 0.0)) for outcome in outcomes]
        before, after = (max(values) for values in zip(*pairs, strict=True))
        worst = max((late / early - 1 for early, late in pairs if early), default=0.0)
        table.add_row(measure, f"{before:,.0f}", f"{after:,.0f}", f"{worst:+.1%}")
    console.print(table)
    console.print(
        f"{len(outcomes)} seeds ({failed} failed), {did['virtual_s'] / 3600:.1f} virtual h, {elapsed_s:.0f} s, "
        f"{did['cpu_s']:.0f} s of CPU, {did['events']:,} events; {answered:,} of {asked:,} requests answered, "
        f"{sum(outcome.entries for outcome in outcomes):,} entries, {acts} troubles, "
        f"{sum(outcome.snapshots for outcome in outcomes):,} snapshots of n1",
        highlight=False,
    )
    if not failed:
        measured = max(len(outcome.late) for outcome in outcomes)
        console.print(f"nothing grows: {measured:,} measures are level", style="green", highlight=False)
