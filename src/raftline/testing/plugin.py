"""The pytest plugin: `@pytest.mark.simulate(machine=..., seeds=...)` on an async test that takes `simulation`.

It is found by pytest once raftline is installed. A failure names the seed, the command that repeats it, and the files
with the trace and the history. With pytest-asyncio in its auto mode both would want the test: use its strict mode.
"""

import inspect
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from raftline.linearizability.history import History, write_jsonl
from raftline.testing.running import Failure, Outcome, Settings, simulate
from raftline.testing.simulation import Simulation

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_pyfunc_call",
    "pytest_terminal_summary",
    "simulation",
]

_SEEDS = 20
_SUMS: pytest.StashKey["_Sums"] = pytest.StashKey()
_MARK = (
    "simulate(machine, seeds=20, first_seed=0, size=None, faults=None, faulty_s=20.0, heal_s=15.0, timeout_s=4.0, "
    "model=None, compare_snapshots=True): run this async test as a client of a simulated cluster, once per seed, "
    "under virtual time and injected faults"
)


class _Sums:
    """What all simulated tests of a session did."""

    def __init__(self) -> None:
        self.seeds = 0
        self.virtual_s = 0.0
        self.cpu_s = 0.0
        self.elections = 0
        self.committed = 0
        self.faults: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Add one run."""
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.cpu_s
        self.elections += outcome.elections
        self.committed += outcome.committed
        self.faults.update(outcome.faults)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of simulated tests."""
    group = parser.getgroup("raftline", "simulated clusters")
    group.addoption(
        "--simulate-seeds", type=int, default=None, metavar="N", help="run N seeds instead of those that the mark says"
    )
    group.addoption("--simulate-seed", type=int, default=None, metavar="SEED", help="run this one seed, with its trace")
    group.addoption(
        "--simulate-artifacts",
        type=Path,
        default=Path("artifacts"),
        metavar="DIR",
        help="where traces and histories of failures go [artifacts]",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)
    config.stash[_SUMS] = _Sums()


@pytest.fixture
def simulation() -> Any:
    """A cluster of your state machine under virtual time; given to tests that are marked `simulate`."""
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test once per seed."""
    mark = pyfuncitem.get_closest_marker("simulate")
    if mark is None:
        return None
    seeds, settings = _settings(pyfuncitem, mark)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}  # noqa: SLF001  as pytest does
    config = pyfuncitem.config

    def test(given: Simulation) -> Any:
        return pyfuncitem.obj(**{**arguments, "simulation": given})

    calls = 0
    for seed in seeds:
        failed = None
        try:
            outcome = simulate(test, settings, seed)
        except Failure as failure:
            failed = failure
        if failed is not None:
            _report(pyfuncitem, partial(simulate, test, settings, seed, keep_trace=True), failed)
        config.stash[_SUMS].add(outcome)
        calls += outcome.calls
    if not calls:
        pytest.fail("the test never asked its cluster for anything, so it proves nothing", pytrace=False)
    return True


def _settings(item: pytest.Function, mark: pytest.Mark) -> tuple[range, Settings]:
    """Read the mark and the options; refuse what cannot be meant."""
    where = f"{item.nodeid}: @pytest.mark.simulate"
    given = dict(mark.kwargs)
    if mark.args:
        raise pytest.UsageError(f"{where} takes keywords only, such as machine=Counter")
    if not inspect.iscoroutinefunction(item.obj):
        raise pytest.UsageError(f"{where} is for `async def` tests")
    if "simulation" not in item.funcargs:
        raise pytest.UsageError(f"{where}: let the test take the argument `simulation`")
    first, count = given.pop("first_seed", 0), given.pop("seeds", _SEEDS)
    if not callable(given.get("machine")):
        raise pytest.UsageError(f"{where} needs machine=..., a state machine's class or a function that makes one")
    chosen = item.config.getoption("--simulate-seeds")
    one = item.config.getoption("--simulate-seed")
    count = count if chosen is None else chosen
    if count < 1:
        raise pytest.UsageError(f"{where}: {count} seeds prove nothing")
    try:
        settings = Settings(**given)
    except TypeError as error:
        raise pytest.UsageError(f"{where}: {error}") from None
    return (range(first, first + count) if one is None else range(one, one + 1)), settings


def _report(item: pytest.Function, again: "partial[Outcome]", failure: Failure) -> NoReturn:
    """Repeat a failing seed with its trace, write the files, and fail the test."""
    outcome = failure.outcome
    try:
        again()
        note = "  it did not fail when it was repeated: the test uses time, chance or state from outside\n"
    except Failure as repeated:
        outcome = repeated.outcome
        note = ""
        if str(repeated) != str(failure):
            note = f"  repeated, it failed otherwise ({repeated}): the test uses time, chance or state from outside\n"
    directory: Path = item.config.getoption("--simulate-artifacts")
    directory.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid).strip("-")
    trace = directory / f"{stem}-seed{outcome.seed}.trace"
    trace.write_text("\n".join(outcome.trace) + "\n", encoding="utf-8")
    files = f"  trace:   {trace}\n"
    if outcome.operations:
        history = directory / f"{stem}-seed{outcome.seed}.jsonl"
        history.write_text("\n".join(write_jsonl(History(tuple(outcome.operations)))) + "\n", encoding="utf-8")
        files += f"  history: {history}\n"
    faults = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()) if "message" not in name)
    pytest.fail(
        f"{failure}\n  again:   pytest '{item.nodeid}' --simulate-seed {outcome.seed}\n{files}"
        f"  {outcome.size} nodes, {outcome.committed} entries committed, {outcome.elections} elections; {faults}\n"
        f"{note}"
        f"{_own_lines(failure.__cause__)}",
        pytrace=False,
    )


def _own_lines(cause: BaseException | None) -> str:
    """Return where the test or the state machine raised, for an exception that is theirs."""
    lines = []
    traceback = cause.__traceback__ if cause else None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if f"raftline{'/'}" not in code.co_filename.replace("\\", "/"):
            lines.append(f"  at {code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}")
        traceback = traceback.tb_next
    return "\n".join(lines[-6:])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was simulated."""
    sums = config.stash.get(_SUMS, None)
    if sums is None or not sums.seeds:
        return
    acts = sum(count for name, count in sums.faults.items() if not name.startswith("messages") and name != "syncs")
    terminalreporter.write_sep("-", "simulated")
    terminalreporter.write_line(
        f"{sums.seeds} seeds, {sums.virtual_s / 3600:.2f} virtual hours in {sums.cpu_s:.1f} s of CPU, {acts:,} faults, "
        f"{sums.elections:,} elections, {sums.committed:,} entries committed"
    )
