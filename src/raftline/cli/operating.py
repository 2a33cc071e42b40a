"""Options and help of the commands for whoever runs a cluster: member, transfer, wal, backup, restore, recover.

Each hands its arguments to the file that does the work, imported when it runs, so that `raftline --help` answers at
once. It refuses to know what the work is.
"""

from typing import Annotated

import typer

from raftline.cli.access import with_access

__all__ = ["register"]

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 140}

member_app = typer.Typer(help="See and change who is in the group.", no_args_is_help=True)
wal_app = typer.Typer(help="Look into a data directory, changing nothing.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `raftline`."""
    app.add_typer(member_app, name="member", context_settings=_CONTEXT)
    app.command("transfer")(with_access(_transfer))
    app.add_typer(wal_app, name="wal", context_settings=_CONTEXT)
    app.command("backup")(with_access(_backup))
    app.command("restore")(_restore)
    app.command("recover")(_recover)


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


def _backup(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT|verify", help="Client address of any node, or `verify`.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The backup; it must not be there yet.")],
    *,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout-s",
            min=0.05,
            help="Wait this long for each answer; the first comes once a snapshot is written, half a minute for a GiB.",
        ),
    ] = 600.0,
) -> None:
    """Write all data, as of one moment and with everything acknowledged before it, to a checked FILE.

    The cluster goes on meanwhile. `raftline backup verify FILE` reads every byte of one and says what it holds.
    Exit code 0: done; 1: refused; 2: cannot be used; 69: no answer; 74: not readable or writable; 76: damaged.
    """
    from raftline.cli.backup import run_backup, run_backup_verify  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_backup_verify(file) if target == "verify" else run_backup(target, file, timeout_s=timeout_s))


def _restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `raftline backup` made.")],
    *,
    data_dir: Annotated[str, typer.Option("--data-dir", help="Directory to make; it must not be there, or be empty.")],
    node_id: Annotated[str, typer.Option("--id", help="The node's name.")],
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="NAME=HOST:PORT,...", help="Every node of the new cluster.")
    ],
    cluster_id: Annotated[str, typer.Option("--cluster-id", help="Name of the new cluster; not that of the old one.")],
) -> None:
    """Make the data directory of one node of a new cluster from a backup; run it once for each node.

    Exit code 0: done; 2: an option cannot be used, or the directory is not empty; 74: not readable or writable; 76: the
    file is damaged.
    """
    from raftline.cli.restore import run_restore  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_restore(file, data_dir=data_dir, node_id=node_id, cluster=cluster, cluster_id=cluster_id))


def _recover(
    *,
    data_dir: Annotated[str, typer.Option("--data-dir", help="The survivor's data directory.")],
    node_id: Annotated[str, typer.Option("--id", help="The survivor's name.")],
    cluster: Annotated[
        str,
        typer.Option("--cluster", metavar="NAME=HOST:PORT,...", help="Its address; the others may stand there, too."),
    ],
    cluster_id: Annotated[
        str | None, typer.Option("--cluster-id", help="Name of the new cluster. (default: the old one and a number)")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """Make a cluster of one from the last disk of a cluster that lost its majority for good.

    Acknowledged writes may be lost: it says which, asks, and writes a record into the directory. The others join again
    with empty directories. Exit code 0: done; 2: not confirmed, or not possible; 74, 75, 76: as for the server.
    """
    from raftline.cli.recover import run_recover  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(
        run_recover(data_dir=data_dir, node_id=node_id, cluster=cluster, cluster_id=cluster_id, confirmed=yes)
    )


_Node = Annotated[str, typer.Option("--node", metavar="HOST:PORT", help="Client address of any node of the cluster.")]
_Name = Annotated[str, typer.Argument(metavar="ID", help="The member's name.")]
_Named = Annotated[str, typer.Argument(metavar="ID=HOST:PORT", help="Name and address, as in n4=10.0.0.4:7001.")]
_Timeout = Annotated[float, typer.Option("--timeout-s", min=0.05, help="Wait this long for the outcome.")]


@member_app.command("add")
@with_access
def _member_add(
    member: _Named,
    *,
    node: _Node,
    learner: Annotated[bool, typer.Option("--learner", help="It receives the log, and does not vote.")] = False,
    as_json: _Json = False,
    timeout_s: _Timeout = 600.0,
) -> None:
    """Add a node that was started with --join, and wait until it has caught up and votes.

    Exit code 0: done; 1: refused, or not in time; 2: cannot be used; 69: no answer.
    """
    from raftline.cli.member import run_add  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_add(member, node, learner=learner, timeout_s=timeout_s, as_json=as_json))


@member_app.command("remove")
@with_access
def _member_remove(member: _Name, *, node: _Node, as_json: _Json = False, timeout_s: _Timeout = 30.0) -> None:
    """Remove a voter or learner; its process can be stopped afterwards. Exit codes as for `add`.

    From a sharded cluster only after `raftline shard replace-node`: what its groups hold there does not go by itself.
    """
    from raftline.cli.member import run_change  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_change("remove", (member,), node, timeout_s=timeout_s, as_json=as_json))


@member_app.command("promote")
@with_access
def _member_promote(member: _Name, *, node: _Node, as_json: _Json = False, timeout_s: _Timeout = 30.0) -> None:
    """Let a learner vote that has caught up. Exit codes as for `add`."""
    from raftline.cli.member import run_change  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_change("promote", (member,), node, timeout_s=timeout_s, as_json=as_json))


@member_app.command("move")
@with_access
def _member_move(member: _Named, *, node: _Node, as_json: _Json = False, timeout_s: _Timeout = 30.0) -> None:
    """Tell everybody that a member is at another address from now on. Exit codes as for `add`."""
    from raftline.cli.member import run_move  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_move(member, node, timeout_s=timeout_s, as_json=as_json))


@member_app.command("priority")
@with_access
def _member_priority(
    member: _Name,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The highest leads; everybody starts with 0.")],
    *,
    node: _Node,
    as_json: _Json = False,
    timeout_s: _Timeout = 30.0,
) -> None:
    """Prefer a member as leader. Exit codes as for `add`."""
    from raftline.cli.member import run_change  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_change("priority", (member, str(number)), node, timeout_s=timeout_s, as_json=as_json))


@member_app.command("list")
@with_access
def _member_list(*, node: _Node, as_json: _Json = False, timeout_s: _Timeout = 2.0) -> None:
    """Show the members, and what each says of itself. Exit code 0: shown; 2: cannot be used; 69: no answer."""
    from raftline.cli.member import run_list  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_list(node, as_json=as_json, timeout_s=timeout_s))


def _transfer(
    *,
    node: _Node,
    to: Annotated[str | None, typer.Option("--to", metavar="ID", help="Who is to lead. (default: the fittest)")] = None,
    as_json: _Json = False,
    timeout_s: _Timeout = 30.0,
) -> None:
    """Have another voter lead; clients see no failed write. Exit codes as for `member add`."""
    from raftline.cli.member import run_transfer  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_transfer(to, node, timeout_s=timeout_s, as_json=as_json))
