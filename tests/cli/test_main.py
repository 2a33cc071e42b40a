"""The command line as people type it."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from raftline.cli.main import app
from raftline.cli.settings import settings_table

runner = CliRunner()


def test_help_lists_every_command() -> None:
    """Without arguments the commands are shown."""
    shown = runner.invoke(app, ["--help"]).output
    words = "server status demo check sim lab wal member transfer backup restore recover"
    for command in words.split():
        assert command in shown


def test_the_version_is_that_of_the_package() -> None:
    """`raftline --version` is one line."""
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"raftline {version('raftline')}\n")


def test_server_help_has_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags come from the table."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    shown = runner.invoke(app, ["server", "--help"], color=False).output
    for row in settings_table():
        assert (row.flag in shown) is not row.is_secret


NEEDED_BY_FEW = (
    "raftline.sim",
    "raftline.lab",
    "raftline.linearizability",
    "raftline.client",
    "redis",
    "rich.progress",
)
NEEDED_BY_NODES = ("raftline.runtime.node", "raftline.kv.store", "raftline.wal", "structlog")


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("raftline", (*NEEDED_BY_FEW, *NEEDED_BY_NODES, "asyncio", "rich")),
        ("raftline.cli.main", (*NEEDED_BY_FEW, *NEEDED_BY_NODES)),
        ("raftline.cli.server", NEEDED_BY_FEW),
    ],
)
def test_what_few_need_is_loaded_by_them(module: str, unneeded: tuple[str, ...]) -> None:
    """A server starts without the simulator, and other commands without a server: sooner, and smaller."""
    script = f"import sys, {module}; print([name for name in {unneeded} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_wrong_setting_ends_with_code_2_and_says_where() -> None:
    """Nothing is started."""
    result = runner.invoke(
        app, ["server", "--id", "n1", "--cluster", "n1=h:1", "--data-dir", "d", "--clients-max", "x"]
    )
    assert result.exit_code == 2
    assert result.stderr == ("raftline server: --clients-max: 'x' is no whole number: write digits, as in 1000\n")
    assert result.stdout == ""


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read, and blamed by name."""
    monkeypatch.setenv("RAFTLINE_LOG_LEVEL", "loud")
    result = runner.invoke(app, ["server", "--id", "n1", "--cluster", "n1=h:1", "--data-dir", "d"])
    assert result.exit_code == 2
    assert "variable RAFTLINE_LOG_LEVEL: 'loud' cannot be used" in result.stderr


def test_an_unknown_flag_is_refused() -> None:
    """A misspelt flag is not ignored."""
    result = runner.invoke(app, ["server", "--data-dirs", "x"])
    assert result.exit_code == 2
    assert "--data-dirs" in result.stderr


def test_status_passes_its_exit_code_on() -> None:
    """A bad address is the caller's mistake."""
    assert runner.invoke(app, ["status", "nowhere"]).exit_code == 2


def test_the_module_can_be_run() -> None:
    """`python -m raftline.cli.main` is `raftline`; that is how local clusters start their nodes."""
    done = subprocess.run([sys.executable, "-m", "raftline.cli.main", "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"raftline {version('raftline')}\n"


def test_the_package_can_be_run_as_a_module() -> None:
    """`python -m raftline` is `raftline`, for environments without its script."""
    command = [sys.executable, "-m", "raftline", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("raftline ")
