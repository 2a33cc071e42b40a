"""`raftline sim --mutants`: runs the wrong implementations until the checks notice, and prints who noticed what.

Afterwards the code as it is runs on the same seeds: a check that complains there, too, has caught nothing.
"""

import json
import time
from collections.abc import Sequence

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from raftline.cli.output import say
from raftline.errors import ConfigError
from raftline.sim.mutants.catalogue import CATALOGUE, select
from raftline.sim.mutants.mutant import Mutant
from raftline.sim.mutants.runner import Verdict, control, run_mutants

__all__ = ["list_mutants", "run_catalogue"]


def list_mutants(*, as_json: bool) -> int:
    """Print every mutant; return the exit code."""
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(CATALOGUE), indent=2).decode())
        return 0
    table = Table(title=f"{len(CATALOGUE)} mutants")
    for column in ("mutant", "rules", "what it does"):
        table.add_column(column, overflow="fold")
    for mutant in CATALOGUE:
        table.add_row(mutant.name, ", ".join(mutant.rules), mutant.does)
    Console().print(table)
    return 0


def run_catalogue(words: Sequence[str], seeds: range, jobs: int, *, as_json: bool) -> int:
    """Run the mutants meant by names, rules or sections; return 1 if one was not caught, or a control run failed."""
    try:
        mutants = select(words)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    started = time.monotonic()
    verdicts, controls = _run(mutants, seeds, jobs)
    order = {mutant.name: number for number, mutant in enumerate(mutants)}
    verdicts.sort(key=lambda verdict: order[verdict.mutant])
    elapsed_s = time.monotonic() - started
    if as_json:
        fields = {"mutants": verdicts, "controls": controls, "elapsed_s": elapsed_s}
        say(json.dumps(msgspec.to_builtins(fields), indent=2))
    else:
        _print(Console(), verdicts, controls, elapsed_s)
    good = all(verdict.caught for verdict in verdicts)
    return int(not good or any(verdict.caught or verdict.broken for verdict in controls))


def _run(mutants: Sequence[Mutant], seeds: range, jobs: int) -> tuple[list[Verdict], list[Verdict]]:
    """Run everything under a progress bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    verdicts: list[Verdict] = []
    controls: list[Verdict] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("mutants", total=len(mutants), now="")
        for verdict in run_mutants(mutants, seeds, jobs, _Report(progress, task)):
            verdicts.append(verdict)
            progress.advance(task)
            if not verdict.caught:
                progress.console.print(f"{verdict.mutant}: {_outcome(verdict)}", style="red", highlight=False)
        task = progress.add_task("code as it is", total=len({verdict.bench for verdict in verdicts}), now="")
        for verdict in control(verdicts, seeds, jobs, _Report(progress, task)):
            controls.append(verdict)
            progress.advance(task)
    return verdicts, controls


class _Report:
    """Shows which seed of what has just ended."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, verdict: Verdict) -> None:
        self._progress.update(self._task, now=f"{verdict.mutant} on {verdict.bench}: {verdict.seeds} seeds")


def _print(console: Console, verdicts: Sequence[Verdict], controls: Sequence[Verdict], elapsed_s: float) -> None:
    table = Table(title="mutants")
    table.add_column("mutant", no_wrap=True)
    table.add_column("rules")
    table.add_column("bench")
    table.add_column("seeds", justify="right")
    table.add_column("virtual s", justify="right")
    table.add_column("caught by", overflow="fold")
    for verdict in verdicts:
        style = None if verdict.caught else "red"
        row = (verdict.mutant, ", ".join(verdict.rules), verdict.bench, f"{verdict.seeds:,}")
        table.add_row(*row, f"{verdict.virtual_s:,.0f}", _outcome(verdict), style=style)
    console.print(table)
    for verdict in controls:
        wrong = verdict.caught or verdict.broken is not None
        outcome = f"FALSE ALARM at seed {verdict.seed}: {_outcome(verdict)}" if wrong else "no complaint"
        line = f"the code as it is, on {verdict.bench}: {verdict.seeds:,} seeds, {outcome}"
        console.print(line, style="red" if wrong else "green", highlight=False)
    caught = sum(verdict.caught for verdict in verdicts)
    virtual_s = sum(verdict.virtual_s for verdict in verdicts)
    console.print(
        f"{caught} of {len(verdicts)} caught, {sum(verdict.seeds for verdict in verdicts):,} seeds, "
        f"{virtual_s / 3600:.1f} virtual h, {elapsed_s:.0f} s",
        style="green" if caught == len(verdicts) else "red",
        highlight=False,
    )


def _outcome(verdict: Verdict) -> str:
    if verdict.broken is not None:
        return f"BROKEN: {verdict.broken}"
    return f"{verdict.check}: {verdict.error}" if verdict.caught else "NOT CAUGHT"
