"""The child's side: seed after seed of one bench in this process, one line of JSON each, until a check notices.

`python .../mutants/process.py NAME -m raftline.sim.mutants.trial BENCH FIRST STOP`
"""

import sys
import traceback

import msgspec
import structlog

from raftline.errors import ConfigError
from raftline.sim.mutants.benches import BENCHES, Bench
from raftline.sim.refusals import NotSimulated

__all__ = ["Trial", "main", "try_seed"]

_BROKEN = tuple(kind.__name__ for kind in (ConfigError, NotSimulated, NameError, UnboundLocalError))
"""Errors that speak of a patch that cannot work, not of a promise that a check found broken."""


class Trial(msgspec.Struct, kw_only=True):
    """What came of one seed."""

    seed: int
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    check: str | None = None
    """The check that noticed, None if none did."""
    error: str | None = None
    """Its message, the first line."""
    broken: str | None = None
    """The mutant crashed instead of doing wrong."""


def main(arguments: list[str]) -> None:
    """Run `BENCH FIRST STOP`; stops after the first seed that is caught or broken."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    bench = BENCHES[arguments[0]]
    for seed in range(int(arguments[1]), int(arguments[2])):
        trial = try_seed(bench, seed)
        sys.stdout.write(msgspec.json.encode(trial).decode() + "\n")
        sys.stdout.flush()
        if trial.check is not None or trial.broken is not None:
            return


def try_seed(bench: Bench, seed: int) -> Trial:
    """Run one seed."""
    try:
        outcome = bench(seed)
    except Exception as error:  # noqa: BLE001  whatever it is, it is no check of ours
        return Trial(seed=seed, broken="".join(traceback.format_exception(error)[-3:]).strip())
    trial = Trial(seed=seed, virtual_s=outcome.virtual_s, cpu_s=outcome.cpu_s)
    if outcome.error is not None:
        line = outcome.error.partition("\n")[0]
        if outcome.check in _BROKEN:
            trial.broken = f"{outcome.check}: {line}"
        else:
            trial.check, trial.error = outcome.where or outcome.check, line
    return trial


if __name__ == "__main__":
    main(sys.argv[1:])
