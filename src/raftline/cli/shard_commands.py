"""Options and help of `raftline shard`: status, add-group, remove-group, move, rebalance, place, replace-node.

Each hands its arguments to `raftline.cli.shard`, imported when it runs, so that `raftline --help` answers at once.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from raftline.cli.access import with_access
from raftline.cli.exit_codes import ExitCode
from raftline.cli.output import complain
from raftline.errors import ConfigError

if TYPE_CHECKING:
    from raftline.kv.sharded.requests import Request
    from raftline.kv.shards_view import ShardReport

__all__ = ["register"]

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 140}

shard_app = typer.Typer(help="See and change which group of a sharded cluster serves what.", no_args_is_help=True)

_Node = Annotated[str, typer.Option("--node", metavar="HOST:PORT", help="Client address of any node of the cluster.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
_Dry = Annotated[bool, typer.Option("--dry-run", help="Show what would move, and change nothing.")]
_Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Wait until every group has carried it out, or end once the change is made, which then goes on by itself.",
    ),
]
_Timeout = Annotated[float, typer.Option("--timeout-s", min=0.05, help="Wait this long for the outcome.")]
_Groups = Annotated[list[int], typer.Argument(metavar="GROUP...", help="Numbers of groups.")]
_Group = Annotated[int, typer.Argument(metavar="GROUP", help="The group's number.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `raftline`."""
    app.add_typer(shard_app, name="shard", context_settings=_CONTEXT)


@shard_app.command("status")
@with_access
def _status(*, node: _Node, as_json: _Json = False, timeout_s: _Timeout = 2.0) -> None:
    """Show nodes and groups: who leads, which slots, how many keys, and what is on its way.

    Exit code 0: in order; 1: a node is down or a group has no leader, the node asked knows no groups, or the server is
    not sharded; 2: cannot be used; 69: no answer.
    """
    from raftline.cli.shard import run_status  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_status(node, as_json=as_json, timeout_s=timeout_s))


@shard_app.command("add-group")
@with_access
def _add_group(
    *,
    node: _Node,
    count: Annotated[int, typer.Option("--count", min=1, help="How many groups.")] = 1,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="ID,...",
            help="Nodes to choose from, which are up. (default: all that are, if enough for all replicas)",
        ),
    ] = None,
    dry_run: _Dry = False,
    wait: _Wait = True,
    as_json: _Json = False,
    timeout_s: _Timeout = 3600.0,
) -> None:
    """Add groups on the least loaded nodes, and balance the slots anew with as few moves as can be.

    Exit code 0: done; 1: refused, or not in time; 2: cannot be used; 69: no answer.
    """
    from raftline.kv.sharded.requests import AddGroups  # noqa: PLC0415  see the module's docstring

    def make(report: "ShardReport") -> "Request":
        wanted = on.split(",") if on else report.founders()
        addresses = {each.node_id: each.address for each in report.nodes}
        unknown = [name for name in wanted if name not in addresses]
        if unknown:
            raise ConfigError(f"--on: {', '.join(map(repr, unknown))}: no such node; there are {', '.join(addresses)}")
        report.check_founders(wanted)
        return AddGroups(count, {name: addresses[name] for name in wanted}, report.replicas)

    from raftline.cli.shard import run_change  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(
        run_change("add-group", make, node, dry_run=dry_run, wait=wait, as_json=as_json, timeout_s=timeout_s)
    )


@shard_app.command("remove-group")
@with_access
def _remove_group(
    groups: _Groups,
    *,
    node: _Node,
    dry_run: _Dry = False,
    wait: _Wait = True,
    as_json: _Json = False,
    timeout_s: _Timeout = 3600.0,
) -> None:
    """Let groups give their slots to the others; each is gone once it is empty. Exit codes as for `add-group`."""
    from raftline.cli.shard import run_change  # noqa: PLC0415  see the module's docstring
    from raftline.shards.configuration import Leave  # noqa: PLC0415

    request = Leave(tuple(groups))
    raise typer.Exit(
        run_change(
            "remove-group", lambda _: request, node, dry_run=dry_run, wait=wait, as_json=as_json, timeout_s=timeout_s
        )
    )


@shard_app.command("move")
@with_access
def _move(
    slots: Annotated[str, typer.Argument(metavar="FIRST-LAST", help="Slots, both ends included, or a single one.")],
    group: _Group,
    *,
    node: _Node,
    dry_run: _Dry = False,
    wait: _Wait = True,
    as_json: _Json = False,
    timeout_s: _Timeout = 3600.0,
) -> None:
    """Move slots to a group, whatever the balance, until the next change that balances. Exit codes: `add-group`."""
    from raftline.cli.shard import parse_slots, run_change  # noqa: PLC0415  see the module's docstring
    from raftline.shards.configuration import Move, check_slots  # noqa: PLC0415

    try:
        low, high = parse_slots(slots)
    except ConfigError as error:
        complain(f"raftline shard move: {error}")
        raise typer.Exit(ExitCode.CONFIG) from None

    def make(_: "ShardReport") -> "Request":
        check_slots(low, high - 1)
        return Move(low, high, group)

    raise typer.Exit(run_change("move", make, node, dry_run=dry_run, wait=wait, as_json=as_json, timeout_s=timeout_s))


@shard_app.command("rebalance")
@with_access
def _rebalance(
    *, node: _Node, dry_run: _Dry = False, wait: _Wait = True, as_json: _Json = False, timeout_s: _Timeout = 3600.0
) -> None:
    """Balance the slots anew, with as few moves as can be. Exit codes as for `add-group`."""
    from raftline.cli.shard import run_change  # noqa: PLC0415  see the module's docstring
    from raftline.shards.configuration import Rebalance  # noqa: PLC0415

    raise typer.Exit(
        run_change(
            "rebalance", lambda _: Rebalance(), node, dry_run=dry_run, wait=wait, as_json=as_json, timeout_s=timeout_s
        )
    )


@shard_app.command("place")
@with_access
def _place(
    group: _Group,
    nodes: Annotated[str, typer.Argument(metavar="ID,...", help="The nodes of its replicas; the first is to lead.")],
    *,
    node: _Node,
    dry_run: _Dry = False,
    wait: _Wait = True,
    as_json: _Json = False,
    timeout_s: _Timeout = 3600.0,
) -> None:
    """Have a group's replicas on these nodes: new ones catch up before old ones go. Exit codes as for `add-group`."""
    from raftline.cli.shard import run_change  # noqa: PLC0415  see the module's docstring
    from raftline.shards.configuration import Place  # noqa: PLC0415

    def make(report: "ShardReport") -> "Request":
        request = Place(group, tuple(nodes.split(",")))
        report.check_place(request)
        return request

    raise typer.Exit(run_change("place", make, node, dry_run=dry_run, wait=wait, as_json=as_json, timeout_s=timeout_s))


@shard_app.command("replace-node")
@with_access
def _replace_node(
    gone: Annotated[str, typer.Argument(metavar="ID", help="The node that is given up.")],
    *,
    node: _Node,
    dry_run: _Dry = False,
    wait: _Wait = True,
    as_json: _Json = False,
    timeout_s: _Timeout = 3600.0,
) -> None:
    """Make a node's replicas anew on other nodes, wherever there is room. Exit codes as for `add-group`."""
    from raftline.cli.shard import run_replace_node  # noqa: PLC0415  see the module's docstring

    raise typer.Exit(run_replace_node(gone, node, dry_run=dry_run, wait=wait, as_json=as_json, timeout_s=timeout_s))
