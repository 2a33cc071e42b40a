"""The parent's side: a process per mutant, several at a time, and what became of each.

A mutant is caught when one of our checks notices within the seeds allowed; one that only crashes, or hangs, is broken
and proves nothing.
"""

import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from raftline.sim.mutants.mutant import Mutant
from raftline.sim.mutants.trial import Trial

__all__ = ["Verdict", "control", "process_command", "run_mutants"]

_PROCESS = Path(__file__).with_name("process.py")
_SILENCE_S_MAX = 180.0
"""A seed that takes longer than this hangs."""
_HANGS = -signal.SIGKILL


class Verdict(msgspec.Struct, kw_only=True):
    """What became of a mutant, or of the code as it is, on one bench."""

    mutant: str
    rules: tuple[str, ...]
    bench: str
    caught: bool = False
    broken: str | None = None
    seeds: int = 0
    """How many were run; the last one caught it."""
    seed: int | None = None
    """The one that caught it."""
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    check: str | None = None
    error: str | None = None

    def add(self, trial: Trial) -> None:
        """Take in one seed's outcome."""
        self.seeds += 1
        self.virtual_s += trial.virtual_s
        self.cpu_s += trial.cpu_s
        self.broken = trial.broken
        if trial.check is not None:
            self.caught = True
            self.seed, self.check, self.error = trial.seed, trial.check, trial.error


OnTrial = Callable[[Verdict], None]


def process_command(mutant: str, module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module under a mutant, child processes included."""
    return [sys.executable, str(_PROCESS), mutant, "-m", module, *arguments]


def run_mutants(
    mutants: Sequence[Mutant], seeds: range, jobs: int = 1, on_trial: OnTrial | None = None
) -> Iterator[Verdict]:
    """Run each mutant until caught; yield what became of it, in the order in which they end."""
    blanks = [Verdict(mutant=mutant.name, rules=mutant.rules, bench=mutant.bench) for mutant in mutants]
    yield from _run_all([(blank, seeds) for blank in blanks], jobs, on_trial)


def control(
    verdicts: Sequence[Verdict], seeds: range, jobs: int = 1, on_trial: OnTrial | None = None
) -> Iterator[Verdict]:
    """Run the code as it is on every bench and seed that caught a mutant: `caught` would be a false alarm."""
    needed: dict[str, int] = {}
    for verdict in verdicts:
        needed[verdict.bench] = max(needed.get(verdict.bench, 0), verdict.seeds)
    yield from _run_all(
        [(Verdict(mutant="none", rules=(), bench=bench), seeds[:count]) for bench, count in needed.items()],
        jobs,
        on_trial,
    )


def _run_all(work: Sequence[tuple[Verdict, range]], jobs: int, on_trial: OnTrial | None) -> Iterator[Verdict]:
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run_one, blank, seeds, on_trial) for blank, seeds in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_one(verdict: Verdict, seeds: range, on_trial: OnTrial | None) -> Verdict:
    """Run one process to its end; whatever it does is a verdict."""
    command = process_command(
        verdict.mutant, "raftline.sim.mutants.trial", verdict.bench, str(seeds.start), str(seeds.stop)
    )
    with TemporaryFile() as complaints:
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=complaints, bufsize=0) as process:  # noqa: S603  ourselves
            for line in _lines(process):
                verdict.add(msgspec.json.decode(line, type=Trial))
                if on_trial is not None:
                    on_trial(verdict)
            if process.returncode == _HANGS:
                verdict.broken = f"no seed ended within {_SILENCE_S_MAX:.0f} s: it hangs"
                return verdict
        if process.returncode != 0:
            complaints.seek(0)
            complaint = complaints.read().decode(errors="replace").strip()
            verdict.broken = complaint[-2000:] or f"its process ended with exit code {process.returncode}"
    return verdict


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    """Yield each line of a process's output; one that is silent for too long is killed."""
    assert process.stdout is not None, "a pipe"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(_SILENCE_S_MAX):
            line = process.stdout.readline()
            if not line:
                process.wait()
                return
            yield line
    process.kill()
    process.wait()
