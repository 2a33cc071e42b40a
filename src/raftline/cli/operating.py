"""Options and help of the commands for whoever runs a cluster: wal, backup, restore, recover.

Each hands its arguments to the file that does the work, imported when it runs, so that `raftline --help` answers at
once. It refuses to know what the work is.
"""

from typing import Annotated

import typer

__all__ = ["register"]

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 140}

wal_app = typer.Typer(help="Look into a data directory, changing nothing.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `raftline`."""
    app.add_typer(wal_app, name="wal", context_settings=_CONTEXT)


_Directory = Annotated[str, typer.Argument(metavar="DIR", help="A node's data directory.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@wal_app.command("inspect")
def _wal_inspect(
    directory: _Directory,
    *,
    as_json: _Json = False,
    records: Annotated[bool, typer.Option("--records", help="A line for every record of the log.")] = False,
) -> None:
    """Show whose directory it is, positions, members, segments, snapshots, and whatever start-up would refuse.

    Works beside a running node. Exit code 0: in order; 1: empty; 2: none, or of a newer format; 76: damaged.
    """
    from raftline.cli.wal import run_inspect  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_inspect(directory, as_json=as_json, records=records))


@wal_app.command("verify")
def _wal_verify(directory: _Directory) -> None:
    """Read every record and snapshot, and say whether a node could start from them.

    Works beside a running node. Exit code 0: in order; 1: empty; 2: none, or of a newer format; 76: damaged.
    """
    from raftline.cli.wal import run_verify  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_verify(directory))
