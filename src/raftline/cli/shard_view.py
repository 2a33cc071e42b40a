"""A sharded cluster as people see it: its groups and nodes as tables, and what a change would move."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.table import Table

from raftline.core.ids import GroupId, NodeId
from raftline.kv.shards_view import GroupReport, ShardReport
from raftline.shards.configuration import Configuration, moves_between
from raftline.shards.ranges import NOBODY, SlotRange

__all__ = [
    "Plan",
    "group_table",
    "groups_only",
    "merged",
    "no_groups_known",
    "plan_of",
    "plan_table",
    "ranges_text",
    "shown_json",
    "state_of",
]

_RANGES_SHOWN = 4


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What goes from one group to another."""

    source: GroupId | None
    """None: nobody served them."""
    target: GroupId | None
    slots: int
    ranges: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a change comes to."""

    slots: int
    """That change hands."""
    moves: tuple[Moves, ...]
    new_groups: dict[GroupId, tuple[NodeId, ...]]
    gone_groups: tuple[GroupId, ...]
    placed_groups: dict[GroupId, tuple[NodeId, ...]]

    def summary(self) -> str:
        """Return it in one line."""
        parts = [f"group {group} on {', '.join(nodes)}" for group, nodes in self.new_groups.items()]
        parts += [f"group {group} goes" for group in self.gone_groups]
        parts += [f"group {group} on {', '.join(nodes)} from now on" for group, nodes in self.placed_groups.items()]
        parts.append(f"{self.slots} slots move" if self.slots else "no slot moves")
        return "; ".join(parts)


def plan_of(
    before: Configuration, after: Configuration, leaving: Mapping[GroupId, tuple[NodeId, ...]] | None = None
) -> Plan:
    """Return what changes from one configuration to the other, and of groups that are `leaving` and placed anew."""
    pieces: dict[tuple[GroupId, GroupId], list[SlotRange]] = {}
    for move in moves_between(before, after):
        pieces.setdefault((move.source, move.target), []).append(SlotRange(move.low, move.high, move.target))
    moves = tuple(
        Moves(
            source=None if source == NOBODY else source,
            target=None if target == NOBODY else target,
            slots=sum(piece.size for piece in found),
            ranges=tuple(_range(piece) for piece in found),
        )
        for (source, target), found in sorted(pieces.items())
    )
    old, new = dict(before.groups), dict(after.groups)
    return Plan(
        slots=sum(move.slots for move in moves if move.source is not None),
        moves=moves,
        new_groups={group: nodes for group, nodes in new.items() if group not in old},
        gone_groups=tuple(group for group in old if group not in new),
        placed_groups={group: nodes for group, nodes in new.items() if old.get(group, nodes) != nodes}
        | dict(leaving or {}),
    )


def plan_table(plan: Plan) -> Table:
    """Return the moves as a table."""
    table = Table("from", "to")
    table.add_column("slots", justify="right")
    table.add_column("ranges")
    for move in plan.moves:
        source = "nobody" if move.source is None else f"group {move.source}"
        target = "nobody" if move.target is None else f"group {move.target}"
        table.add_row(source, target, str(move.slots), _shown(move.ranges))
    return table


def merged(reports: Sequence[ShardReport]) -> ShardReport:
    """Return what several nodes tell as one report: the newest one's, each group as its leader has it if that tells."""
    newest = max(reports, key=lambda report: report.configuration.number)
    by_node = {report.node_id: report for report in reports}
    return msgspec.structs.replace(newest, groups=tuple(_best(group, by_node) for group in newest.groups))


def _best(group: GroupReport, reports: Mapping[NodeId, ShardReport]) -> GroupReport:
    told = {
        node: each
        for node, report in reports.items()
        for each in report.groups
        if each.group == group.group and each.hosted
    }
    by_leader = next((each for node, each in told.items() if each.leader == node), None)
    return by_leader or next(iter(told.values()), group)


def no_groups_known(node: NodeId) -> str:
    """Return in words that a node knows of no groups, and what to do."""
    return f"{node} has not learned yet which groups there are: ask a member that `raftline status` shows"


def group_table(report: ShardReport) -> Iterator[Table | str]:
    """Yield the nodes, the groups, and a line about what is under way."""
    nodes = Table("node", "address", "state")
    for column in ("replicas", "to lead"):
        nodes.add_column(column, justify="right")
    for node in report.nodes:
        state = "up" if node.up else "down"
        style = "" if node.up else "red"
        nodes.add_row(node.node_id, node.address, state, str(node.replicas), str(node.first_of), style=style)
    if not report.configuration.number:
        yield no_groups_known(report.node_id)
        return
    yield nodes
    yield groups_only(report)
    moving = max(sum(group.arriving for group in report.groups), sum(group.giving for group in report.groups))
    under_way = f"{moving} slots are on their way" if moving else "no slot is on its way"
    yield f"configuration {report.configuration.number}: {len(report.groups)} groups; {under_way}"


def groups_only(report: ShardReport) -> Table:
    """Return a row for each group."""
    groups = Table("group", "leader", "nodes")
    for column in ("slots", "keys", "MiB"):
        groups.add_column(column, justify="right")
    groups.add_column("ranges")
    groups.add_column("state")
    for group in report.groups:
        state = state_of(report, group)
        groups.add_row(
            str(group.group),
            group.leader or "-",
            ", ".join(group.nodes),
            str(group.slots),
            str(group.keys) if group.hosted else "?",
            f"{group.used_bytes / (1 << 20):.1f}" if group.hosted else "?",
            ranges_text(report.configuration, group.group),
            state,
            style="" if state == "serving" else "yellow",
        )
    return groups


def state_of(report: ShardReport, group: GroupReport) -> str:
    """Return what a group is doing, in words."""
    parts = []
    if group.leader is None:
        parts.append("no leader")
    if group.leaving:
        parts.append("leaving")
    if not group.hosted:
        return ", ".join([*parts, "not asked"])
    if not group.members:
        parts.append("its nodes wait for those that had it before")
    if group.arriving:
        parts.append(f"{group.arriving} slots to come")
    if group.giving:
        parts.append(f"{group.giving} slots to go")
    if group.change:
        parts.append(group.change)
    elif group.members and set(group.members) != set(group.nodes) and not group.leaving:
        parts.append(_replaced_later(report, group))
    if group.configuration < report.configuration.number and not parts:
        parts.append(f"at configuration {group.configuration}")
    return ", ".join(parts) or "serving"


def _replaced_later(report: ShardReport, group: GroupReport) -> str:
    """Return in words that others vote than are to, and which of those that are to are down."""
    down = [each.node_id for each in report.nodes if not each.up and each.node_id in group.nodes]
    waits = f"; {', '.join(down)}: down" if down else ""
    return f"{', '.join(group.members)} vote until its nodes can{waits}"


def ranges_text(configuration: Configuration, group: GroupId) -> str:
    """Return the slots of a group as people write them."""
    return _shown(tuple(_range(piece) for piece in configuration.ranges_of(group)))


def shown_json(report: ShardReport) -> str:
    """Return a report for programs: names for all fields, slots as [first, last]."""
    document = msgspec.to_builtins(report)
    configuration = report.configuration
    document["configuration"] = configuration.number
    for group in document["groups"]:
        pieces = configuration.ranges_of(group["group"])
        group["ranges"] = [[piece.low, piece.high - 1] for piece in pieces]
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _range(piece: SlotRange) -> str:
    return f"{piece.low}-{piece.high - 1}" if piece.size > 1 else str(piece.low)


def _shown(ranges: tuple[str, ...]) -> str:
    more = len(ranges) - _RANGES_SHOWN
    return " ".join(ranges[:_RANGES_SHOWN]) + (f" and {more} more" if more > 0 else "")
