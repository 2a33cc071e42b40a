"""`raftline status HOST:PORT`: one node is asked who is in the group, then every member what it says of itself.

Members that do not answer are shown as such. The exit code tells a script whether the group is in order.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raftline.cli.exit_codes import ExitCode
from raftline.cli.node_info import NodeInfo, Unreachable, ask_node
from raftline.cli.output import complain, make_console, say
from raftline.errors import ConfigError
from raftline.transport.address import parse_address, parse_client_address

__all__ = ["GroupStatus", "Row", "ask_group", "group_table", "run_status"]

_WATCH_S = 1.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One member: who it is for the others, and what it says of itself (None: it did not answer)."""

    node_id: str
    address: str
    voter: bool
    reachable: bool
    trouble: str
    role: str | None = None
    leader_id: str | None = None
    term: int | None = None
    snapshot_index: int | None = None
    applied_index: int | None = None
    commit_index: int | None = None
    last_index: int | None = None
    lag_entries: int | None = None
    """How far its applied index is behind the highest commit index that anybody told."""
    digest: str = ""


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The group as its members tell it."""

    asked: str
    leader_id: str | None
    term: int
    in_order: bool
    """There is one leader, and every member answers and follows it."""
    summary: str
    members: tuple[Row, ...]


def ask_group(host: str, port: int, timeout_s: float = 2.0) -> GroupStatus:
    """Ask one node, then all the members it names, side by side; raise Unreachable if the first does not answer."""
    first = ask_node(host, port, timeout_s)
    others = [member for member in first.members if member.node_id != first.node_id]
    answers: dict[str, NodeInfo | Unreachable] = {first.node_id: first}
    if others:
        with ThreadPoolExecutor(len(others)) as pool:
            asked = [(member.node_id, pool.submit(_ask, member.address, timeout_s)) for member in others]
            answers |= {node_id: future.result() for node_id, future in asked}
    known = [answer for answer in answers.values() if isinstance(answer, NodeInfo)]
    committed = max(info.commit_index for info in known)
    addresses = {member.node_id: (member.address, member.voter) for member in first.members}
    addresses.setdefault(first.node_id, (f"{host}:{port}", True))
    rows = tuple(_row(name, *addresses[name], answers[name], committed) for name in sorted(addresses))
    term = max(info.term for info in known)
    leading = [info.node_id for info in known if info.role == "leader" and info.term == term]
    leader = leading[0] if len(leading) == 1 else None
    leads = next((info for info in known if info.node_id == leader), None)
    if leads is not None:
        rows = tuple(_placed(row, leads) for row in rows)
    in_order, summary = _judge(rows, leader, term)
    return GroupStatus(
        asked=f"{host}:{port}", leader_id=leader, term=term, in_order=in_order, summary=summary, members=rows
    )


def run_status(target: str, *, as_json: bool, watch: bool, timeout_s: float) -> ExitCode:
    """Show the group that the node at `target` belongs to; return the exit code."""
    address = parse_client_address(target)
    if address is None:
        complain(f"raftline status: {target!r} is no address: write HOST:PORT, as in 127.0.0.1:7001")
        return ExitCode.CONFIG
    if watch:
        return _watch(address.host, address.port, timeout_s, as_json=as_json)
    try:
        group = ask_group(address.host, address.port, timeout_s)
    except Unreachable as error:
        complain(f"raftline status: {error}")
        return ExitCode.UNAVAILABLE
    _show(group, as_json=as_json)
    return ExitCode.OK if group.in_order else ExitCode.TROUBLE


def group_table(group: GroupStatus) -> Table:
    """Draw the group."""
    table = Table(title=group.summary, title_justify="left", title_style="bold" if group.in_order else "bold red")
    for column in ("node", "address", "role", "term"):
        table.add_column(column)
    for column in ("snapshot", "applied", "commit", "last", "lag"):
        table.add_column(column, justify="right")
    for row in group.members:
        if not row.reachable:
            table.add_row(row.node_id, row.address, "unreachable", *["-"] * 6, style="red")
            continue
        numbers = (row.snapshot_index, row.applied_index, row.commit_index, row.last_index, row.lag_entries)
        style = "green" if row.role == "leader" else ""
        table.add_row(
            row.node_id, row.address, row.role, str(row.term), *[f"{number}" for number in numbers], style=style
        )
    return table


def _ask(address: str, timeout_s: float) -> NodeInfo | Unreachable:
    try:
        parsed = parse_address(address)
        return ask_node(parsed.host, parsed.port, timeout_s)
    except Unreachable as error:
        return error
    except ConfigError as error:
        return Unreachable(str(error))


def _placed(row: Row, leader: NodeInfo) -> Row:
    """Say it if a node that hears no leader is not where the leader has it: it was moved while it was away."""
    listed = next((member.address for member in leader.members if member.node_id == row.node_id), row.address)
    if not row.reachable or row.leader_id is not None or row.trouble or listed == row.address:
        return row
    words = f"it answers at {row.address}, and {leader.node_id}, the leader, has it at {listed}: start it with --listen"
    return msgspec.structs.replace(row, trouble=f"{words} {listed}, or give its address by `raftline member move`")


def _row(node_id: str, address: str, voter: bool, answer: NodeInfo | Unreachable, committed: int) -> Row:  # noqa: FBT001  built from pairs
    if isinstance(answer, Unreachable):
        return Row(node_id=node_id, address=address, voter=voter, reachable=False, trouble=str(answer))
    if answer.node_id != node_id:
        trouble = f"{address} answers as {answer.node_id!r}, not as {node_id!r}"
        return Row(node_id=node_id, address=address, voter=voter, reachable=False, trouble=trouble)
    return Row(
        node_id=node_id,
        address=address,
        voter=voter,
        reachable=True,
        trouble=answer.fields.get("trouble", ""),
        role=answer.role,
        leader_id=answer.leader_id,
        term=answer.term,
        snapshot_index=answer.snapshot_index,
        applied_index=answer.applied_index,
        commit_index=answer.commit_index,
        last_index=answer.last_index,
        lag_entries=max(0, committed - answer.applied_index),
        digest=answer.digest,
    )


def _judge(rows: tuple[Row, ...], leader: str | None, term: int) -> tuple[bool, str]:
    """Say whether the group is in order, and put it in one line."""
    away = [row.node_id for row in rows if not row.reachable]
    lost = [row.node_id for row in rows if row.reachable and row.leader_id != leader]
    if leader is None:
        answer = f"no leader in term {term}"
        return False, f"{answer}; unreachable: {', '.join(away)}" if away else answer
    text = f"{leader} leads {len(rows)} members in term {term}"
    if away:
        text += f"; unreachable: {', '.join(away)}"
    if lost:
        text += f"; not following it: {', '.join(lost)}"
    return not away and not lost, text


def _show(group: GroupStatus, *, as_json: bool) -> None:
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(group), indent=2).decode())
        return
    console = make_console()
    console.print(group_table(group))
    for row in group.members:
        if row.trouble:
            console.print(f"{row.node_id}: {row.trouble}", style="red", highlight=False)


def _watch(host: str, port: int, timeout_s: float, *, as_json: bool) -> ExitCode:
    """Ask again every second until Ctrl-C; a node that does not answer is said to, and asked again."""
    console = make_console()
    live = not as_json and console.is_terminal
    display = Live(console=console, auto_refresh=False) if live else None
    try:
        if display is not None:
            display.start()
        while True:
            try:
                group = ask_group(host, port, timeout_s)
                if display is not None:
                    display.update(group_table(group), refresh=True)
                elif not _show_line(group, as_json=as_json):
                    return ExitCode.OK
            except Unreachable as error:
                if display is not None:
                    display.update(Text(str(error), style="red"), refresh=True)
                else:
                    complain(f"raftline status: {error}")
            time.sleep(_WATCH_S)
    except KeyboardInterrupt:
        return ExitCode.OK
    finally:
        if display is not None:
            display.stop()


def _show_line(group: GroupStatus, *, as_json: bool) -> bool:
    """Print one line per look, so that the output can be piped; return whether there is still a reader."""
    if as_json:
        return say(msgspec.json.encode(group).decode())
    _show(group, as_json=False)
    return True
