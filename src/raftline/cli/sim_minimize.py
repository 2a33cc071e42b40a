"""`raftline sim --minimize --seed N`: shrinks what makes a seed fail, and writes down how to repeat it.

The smallest schedule goes to a file, which `raftline sim --schedule FILE` runs.
"""

from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from raftline.errors import ConfigError
from raftline.sim.executors import Executor
from raftline.sim.minimize import CLIENTS, Minimized, minimize
from raftline.sim.scenario import Scenario, Schedule, read_schedule, write_schedule

__all__ = ["load_schedule", "minimize_seed"]


def load_schedule(path: Path) -> Schedule:
    """Read a schedule's file, or refuse the option."""
    try:
        return read_schedule(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        raise typer.BadParameter(f"{path}: {error}") from None


def minimize_seed(
    seed: int, scenario: Scenario, executor: Executor, artifacts: Path, *, runs_max: int, as_json: bool
) -> int:
    """Shrink one failing seed, print what is left and write its file; return 1, because something fails."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with executor as workers, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"seed {seed} runs", total=None)

        def show(runs: int, best: Schedule, doing: str) -> None:
            progress.update(task, description=f"{runs} runs, left: {_size(best)}; trying {doing}")

        try:
            found = minimize(seed, scenario, workers, runs_max=runs_max, on_progress=show)
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from None
    artifacts.mkdir(parents=True, exist_ok=True)
    path = artifacts / f"seed-{seed}.schedule.json"
    path.write_text(write_schedule(found.schedule), encoding="utf-8")
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print(found, path)
    return 1


def _size(schedule: Schedule) -> str:
    """Return how large a schedule is, in words."""
    scenario = schedule.scenario
    assert scenario.workload is not None, "resolved"
    clients = sum(getattr(scenario.workload, field) for field in CLIENTS)
    counts = ((len(scenario.acts or ()), "act"), (scenario.size or 0, "node"), (clients, "client"))
    words = [f"{count} {word}{'s' * (count != 1)}" for count, word in counts]
    return ", ".join([*words, f"{scenario.safety_s:g} s of faults"])


def _print(found: Minimized, path: Path) -> None:
    """Show what was left out and what is left; an act that chose its victim says whom it hit."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"before: {_size(found.was)}")
    note = "" if found.complete else "; the runs are used up, there may be more to leave out"
    console.print(f"after:  {_size(found.schedule)} ({found.runs} runs{note})")
    console.print(found.schedule.lines()[0])
    for line in found.outcome.acts:
        console.print(line, markup=False)
    console.print(f"{found.outcome.virtual_s:10.6f} s  {found.schedule.found}", style="red", markup=False)
    console.print(f"replay: raftline sim --schedule {path} --trace")
