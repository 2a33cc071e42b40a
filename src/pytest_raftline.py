"""What pytest loads once raftline is installed: the hooks of `@pytest.mark.simulate`, without raftline itself.

A module beside the package, because pytest loads it before anything else: a test run that marks nothing pays nothing,
and whoever measures the coverage of raftline sees its modules imported in time. The work is in raftline.testing.plugin.
"""

from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_pyfunc_call",
    "pytest_terminal_summary",
    "simulation",
]

_MARK = (
    "simulate(machine, seeds=20, first_seed=0, size=None, faults=None, faulty_s=20.0, heal_s=15.0, timeout_s=4.0, "
    "model=None, compare_snapshots=True): run this async test as a client of a simulated cluster, once per seed, "
    "under virtual time and injected faults"
)


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Split a test with many seeds into several of some each."""
    mark = metafunc.definition.get_closest_marker("simulate")
    if mark is not None:
        from raftline.testing.plugin import split  # noqa: PLC0415  only for those who use it

        split(metafunc, mark)


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
    from raftline.testing.plugin import run_marked  # noqa: PLC0415  only for those who use it

    run_marked(pyfuncitem, mark)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was simulated, in whatever processes."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    properties = [report.user_properties for report in reports if getattr(report, "when", None) == "call"]
    if any(properties):
        from raftline.testing.plugin import summarize  # noqa: PLC0415  only for those who use it

        summarize(terminalreporter, properties)
