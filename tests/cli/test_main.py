"""The command line as people type it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from raftline.cli.main import app, main
from raftline.cli.output import DEBUG_VARIABLE
from raftline.cli.settings import settings_table
from raftline.errors import ConfigError

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
    assert "(default: 0.075)" in shown
    assert "(seconds; default: 0.4,0.8)" in shown


def test_all_of_a_help_text_is_shown() -> None:
    """What stands in square brackets would be taken for a style, and left out."""

    def texts(command: Any, path: str) -> Iterator[tuple[str, str]]:
        yield path, command.help or ""
        yield from ((f"{path} {each.name}", getattr(each, "help", None) or "") for each in command.params)
        for name, below in getattr(command, "commands", {}).items():
            yield from texts(below, f"{path} {name}")

    found = dict(texts(typer.main.get_command(app), "raftline"))
    assert "raftline shard add-group on" in found
    assert [path for path, text in found.items() if Text.from_markup(text).plain != text] == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            ZeroDivisionError("division by zero"),
            3,
            "raftline: ZeroDivisionError: division by zero\nThis is a mistake in",
        ),
        (KeyError(), 3, "raftline: KeyError\nThis is a mistake in"),
        (ConfigError("no such thing"), 2, "raftline: no such thing\n"),
        (PermissionError(13, "Permission denied", "/x"), 74, "raftline: [Errno 13] Permission denied: '/x'\n"),
    ],
)
def test_what_no_command_has_words_for_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, words: str
) -> None:
    """No traceback unless it is asked for, and an exit code that tells whose mistake it is."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delenv(DEBUG_VARIABLE, raising=False)
    monkeypatch.setattr("raftline.cli.status.run_status", fail)
    monkeypatch.setattr(sys, "argv", ["raftline", "status", "127.0.0.1:1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    told = capsys.readouterr().err
    assert told.startswith(words)
    assert "Traceback" not in told
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with pytest.raises(type(error)):
        main()


def test_debug_is_for_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`raftline --debug COMMAND` is the same as the variable."""
    monkeypatch.setenv(DEBUG_VARIABLE, "")
    runner.invoke(app, ["--debug", "wal", "--help"])
    assert os.environ[DEBUG_VARIABLE] == "1"


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


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--tls-ca", "gone.pem"],
            "raftline: authority gone.pem: cannot be read: No such file or directory; correct --tls-ca",
        ),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "raftline: certificate c.pem with key k.pem: cannot be read: "),
    ],
)
def test_a_file_that_a_client_cannot_use_is_named(flags: list[str], told: str) -> None:
    """Before anybody is asked: a connection that fails would not say which."""
    result = runner.invoke(app, ["status", "127.0.0.1:1", *flags])
    assert result.exit_code == 2
    assert result.stderr.startswith(told)


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
