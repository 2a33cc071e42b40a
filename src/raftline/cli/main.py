"""`raftline`: the commands people type, one file each; this one only registers them.

What a long-running command needs is imported when it runs, so that `raftline --help` answers at once.
"""

import inspect
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from raftline.cli.access import with_access
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.operating import register as register_operating
from raftline.cli.output import DEBUG_VARIABLE, complain, say
from raftline.cli.proving import register as register_proving
from raftline.cli.shard_commands import register as register_shards
from raftline.errors import ConfigError, RaftlineError

__all__ = ["app", "main"]

app = typer.Typer(
    name="raftline",
    help="Raft for Python: a linearizable store for Redis clients, and the bench that tests it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 140},
)


def main() -> None:
    """Run the command line; the entry point `raftline`."""
    sys.argv[1:] = _spelled_out(sys.argv[1:])
    try:
        app()
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        sys.exit(_on_unexpected(error))


def _spelled_out(words: list[str]) -> list[str]:
    """Return a command line in which a setting that was only named has its value: `--sharded` means `--sharded on`."""
    if next((word for word in words if not word.startswith("-")), "") != "server":
        return words
    out = []
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        out += [word, "on"] if word == "--sharded" and after.startswith("-") else [word]
    return out


def _on_unexpected(error: Exception) -> ExitCode:
    """Say in one line what no command has words for, and return the exit code."""
    is_known = isinstance(error, RaftlineError | OSError)
    what = str(error) if is_known and str(error) else f"{type(error).__name__}: {error}".removesuffix(": ")
    complain(f"raftline: {what}")
    if is_known:
        return exit_code_of(error)
    complain(
        f"This is a mistake in raftline {version('raftline')}, not yours. The same with `raftline --debug ...`, or "
        f"{DEBUG_VARIABLE}=1, shows where it happened: please report that"
    )
    return ExitCode.FAULT


@app.callback(invoke_without_command=True)
def _version(
    *,
    show: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", help=f"Show where an error came from. [{DEBUG_VARIABLE}]")] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    if show:
        say(f"raftline {version('raftline')}")
        raise typer.Exit


def _server(*, config: str | None, **flags: str | None) -> None:
    """Run one node of the cluster and serve Redis clients.

    Each setting is looked for as a flag, then as a variable RAFTLINE_NAME, then as a key of the --config file.
    """
    from raftline.cli.settings_loading import load_settings  # noqa: PLC0415  see the module's docstring

    try:
        loaded = load_settings(flags, os.environ, config)
    except ConfigError as error:
        complain(f"raftline server: {error}")
        raise typer.Exit(ExitCode.CONFIG) from None
    from raftline.cli.server import run_server  # noqa: PLC0415

    raise typer.Exit(run_server(loaded))


def _register_server() -> None:
    """Give `_server` one option per row of the settings table, as text: our own messages say what is wrong with it."""
    from raftline.cli.settings import CONFIG_VARIABLE, settings_table  # noqa: PLC0415  see the module's docstring

    keyword = inspect.Parameter.KEYWORD_ONLY
    config = typer.Option("--config", metavar="FILE", help=f"TOML file of settings; or the variable {CONFIG_VARIABLE}.")
    options: list[tuple[str, Any]] = [("config", config)]
    for row in settings_table():
        if row.is_secret:
            continue
        notes = [row.unit] if row.unit and row.unit.upper() != row.metavar else []
        notes += [f"default: {row.default_text}"] if row.default_text else []
        text = f"{row.help} ({'; '.join(notes)})" if notes else row.help
        options.append((row.name, typer.Option(row.flag, metavar=row.metavar, help=text)))
    parameters = [
        inspect.Parameter(name, keyword, default=None, annotation=Annotated[str | None, option])
        for name, option in options
    ]
    _server.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    _server.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("server")(_server)


_register_server()
register_operating(app)
register_shards(app)


@app.command("status")
@with_access
def _status(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Client address of any node.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second until Ctrl-C.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout-s", min=0.05, help="Wait this long for a node.")] = 2.0,
) -> None:
    """Show the members of a cluster: roles, term, log positions, lag.

    Exit code 0: in order; 1: a member is away or there is no leader; 69: the node asked does not answer.
    """
    from raftline.cli.status import run_status  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_status(target, as_json=as_json, watch=watch, timeout_s=timeout_s))


@app.command("top")
@with_access
def _top(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Client address of any node.")],
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave; so, too, into a pipe.")] = False,
    interval_s: Annotated[float, typer.Option("--interval-s", min=0.1, help="Look again after this long.")] = 1.0,
    timeout_s: Annotated[float, typer.Option("--timeout-s", min=0.05, help="Wait this long for a node.")] = 1.0,
) -> None:
    """Watch a cluster live: roles, positions, commands per second, latency by stage, snapshots; q quits.

    Exit code 0; with --once 1 if a member does not answer; 69: the node asked does not answer.
    """
    from raftline.cli.top import run_top  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_top(target, once=once, interval_s=interval_s, timeout_s=timeout_s))


@app.command("demo")
def _demo(
    *,
    sharded: Annotated[bool, typer.Option("--sharded", help="Many groups: one is added and one removed.")] = False,
) -> None:
    """Start three servers, write, kill one with SIGKILL, and prove that nothing acknowledged is lost."""
    from raftline.cli.demo import run_demo  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_demo(sharded=sharded))


register_proving(app)

if __name__ == "__main__":
    main()
