"""The pytest plugin: `@pytest.mark.simulate(machine=..., seeds=...)` on an async test that takes `simulation`.

Its hooks are in pytest_raftline, which pytest finds once raftline is installed. A failure names the seed, the command
that repeats it, and the files with the trace and the history. With pytest-asyncio in its auto mode both would want the
test: use its strict mode.
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from raftline.linearizability.checker import check
from raftline.linearizability.explain import explain
from raftline.linearizability.history import History, write_jsonl
from raftline.linearizability.picture import render
from raftline.sim.run import LinearizabilityViolation
from raftline.testing.running import Failure, Outcome, Settings, simulate
from raftline.testing.simulation import Simulation

__all__ = ["run_marked", "split", "summarize"]

_SEEDS = 20
_PORTION = 50
"""A test with more seeds is split, so that pytest-xdist can share it out and a time limit means something."""
_PORTION_NAME = "simulated_seeds"
_PROPERTY = "simulated"


def _figures(outcome: Outcome) -> dict[str, float]:
    """Return what is summed up over all runs."""
    acts = (count for name, count in outcome.faults.items() if not name.startswith("messages") and name != "syncs")
    return {
        "seeds": 1,
        "virtual_s": outcome.virtual_s,
        "cpu_s": outcome.cpu_s,
        "faults": sum(acts),
        "elections": outcome.elections,
        "committed": outcome.committed,
    }


def _add(sums: dict[str, float], figures: Mapping[str, float]) -> None:
    for name, figure in figures.items():
        sums[name] = sums.get(name, 0) + figure


def split(metafunc: pytest.Metafunc, mark: pytest.Mark) -> None:
    """Split a test with many seeds into several of some each."""
    seeds = _seeds(metafunc.config, mark.kwargs)
    portions = [seeds[start : start + _PORTION] for start in range(0, len(seeds), _PORTION)]
    if len(portions) > 1:
        metafunc.fixturenames.append(_PORTION_NAME)
        ids = [f"seeds{portion.start}to{portion.stop - 1}" for portion in portions]
        metafunc.parametrize(_PORTION_NAME, portions, ids=ids)


def run_marked(item: pytest.Function, mark: pytest.Mark) -> None:
    """Run a marked test once per seed."""
    seeds, settings = _settings(item, mark)
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}  # noqa: SLF001  as pytest does
    sums: dict[str, float] = {}

    def test(given: Simulation) -> Any:
        return item.obj(**{**arguments, "simulation": given})

    calls = 0
    for seed in seeds:
        failed = None
        try:
            outcome = simulate(test, settings, seed)
        except Failure as failure:
            failed, outcome = failure, failure.outcome
        _add(sums, _figures(outcome))
        item.user_properties[:] = [(_PROPERTY, dict(sums))]
        calls += outcome.calls
        if failed is not None:
            _report(item, partial(simulate, test, settings, seed, keep_trace=True), settings, failed)
    if not calls:
        pytest.fail("the test never asked its cluster for anything, so it proves nothing", pytrace=False)


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
    callspec = getattr(item, "callspec", None)
    portion: range | None = callspec.params.get(_PORTION_NAME) if callspec is not None else None
    seeds = _seeds(item.config, given) if portion is None else portion
    given.pop("first_seed", None)
    given.pop("seeds", None)
    if not callable(given.get("machine")):
        raise pytest.UsageError(f"{where} needs machine=..., a state machine's class or a function that makes one")
    if not seeds:
        raise pytest.UsageError(f"{where}: {len(seeds)} seeds prove nothing")
    try:
        settings = Settings(**given)
    except TypeError as error:
        raise pytest.UsageError(f"{where}: {error}") from None
    return seeds, settings


def _seeds(config: pytest.Config, given: Mapping[str, Any]) -> range:
    """Return the seeds that the options say, else those of the mark."""
    one: int | None = config.getoption("--simulate-seed")
    if one is not None:
        return range(one, one + 1)
    chosen: int | None = config.getoption("--simulate-seeds")
    first: int = given.get("first_seed", 0)
    return range(first, first + (given.get("seeds", _SEEDS) if chosen is None else chosen))


def _report(item: pytest.Function, again: "partial[Outcome]", settings: Settings, failure: Failure) -> NoReturn:
    """Repeat a failing seed with its trace, write the files, and fail the test."""
    outcome, cause = failure.outcome, failure.__cause__
    try:
        again()
        note = "  it did not fail when it was repeated: the test uses time, chance or state from outside\n"
    except Failure as repeated:
        outcome = repeated.outcome
        note = ""
        if str(repeated) != str(failure):
            note = f"  repeated, it failed otherwise ({repeated}): the test uses time, chance or state from outside\n"
    name = re.sub(r"-?seeds\d+to\d+", "", item.nodeid).replace("[-", "[").replace("[]", "")
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")
    files = _write_files(item.config.getoption("--simulate-artifacts"), stem, outcome, settings, cause)
    faults = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()) if "message" not in name)
    pytest.fail(
        f"{failure}\n  again:   pytest '{name}' --simulate-seed {outcome.seed}\n{files}"
        f"  {outcome.size} nodes, {outcome.committed} entries committed, {outcome.elections} elections; {faults}\n"
        f"{note}"
        f"{_own_lines(cause)}",
        pytrace=False,
    )


def _write_files(directory: Path, stem: str, outcome: Outcome, settings: Settings, cause: BaseException | None) -> str:
    """Write the trace, the history if there is one, and its picture if it is the trouble; return their names."""
    files = {"trace": "\n".join(outcome.trace) + "\n"}
    model = settings.model
    if outcome.operations:
        files["jsonl"] = "".join(write_jsonl(History(tuple(outcome.operations), model.name if model else None)))
    if model is not None and isinstance(cause, LinearizabilityViolation):
        failing = check(outcome.operations, model, stop_at_first=True).failing()
        files["html"] = render(explain(failing[0], model), model)
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for suffix, text in files.items():
        path = directory / f"{stem}-seed{outcome.seed}.{suffix}"
        path.write_text(text, encoding="utf-8")
        lines.append(f"  {_WORDS[suffix]:<9}{path}\n")
    return "".join(lines)


_WORDS = {"trace": "trace:", "jsonl": "history:", "html": "picture:"}


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


def summarize(terminalreporter: pytest.TerminalReporter, properties: Iterable[Sequence[tuple[str, Any]]]) -> None:
    """Say what was simulated, in whatever processes; `properties` are those of each test's report."""
    sums: dict[str, float] = {}
    for pairs in properties:
        for name, figures in pairs:
            if name == _PROPERTY:
                _add(sums, figures)
    if not sums:
        return
    terminalreporter.write_sep("-", "simulated")
    terminalreporter.write_line(
        f"{sums['seeds']:,} seeds, {sums['virtual_s'] / 3600:.2f} virtual hours in {sums['cpu_s']:.1f} s of CPU, "
        f"{sums['faults']:,} faults, {sums['elections']:,} elections, {sums['committed']:,} entries committed"
    )
