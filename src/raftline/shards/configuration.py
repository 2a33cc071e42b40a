"""A configuration: who serves which slots from one number on. A value; each change of it is a pure function.

So a plan can be shown before it is carried out (`changed` on anybody's copy), and every replica of the controller
comes to the same (G17).
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.errors import ChangeRefused
from raftline.shards.balance import balance
from raftline.shards.ranges import NOBODY, SLOT_COUNT, SlotRange, filled, joined

__all__ = [
    "EMPTY",
    "NOTHING_WOULD_CHANGE",
    "Change",
    "Configuration",
    "Join",
    "Leave",
    "Move",
    "Moved",
    "Place",
    "Rebalance",
    "changed",
    "check_slots",
    "moves_between",
    "numbered",
    "placed_leaving",
    "shared",
]

CONTROLLER: GroupId = 0
"""The group of the controller itself, which serves no slots."""
NOTHING_WOULD_CHANGE = "nothing would change"
"""How the refusal of a change begins that asks for what is so already; a colon and how it is follow."""
_SHOWN_MAX = 10


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """Numbered; `EMPTY` is number 0, and each change makes the next.

    Invariants: `groups` is sorted by id; `ranges` are sorted, disjoint, joined, and of groups that are there; if there
    are groups, every slot is in a range.
    """

    number: int = 0
    groups: tuple[tuple[GroupId, tuple[NodeId, ...]], ...] = ()
    """Each group with the nodes that hold its replicas; the first is the one that should lead it."""
    ranges: tuple[SlotRange, ...] = ()

    @property
    def group_ids(self) -> tuple[GroupId, ...]:
        """Return the groups, in order."""
        return tuple(group for group, _ in self.groups)

    def nodes_of(self, group: GroupId) -> tuple[NodeId, ...]:
        """Return the nodes of a group; none for a group that is not there."""
        return next((nodes for other, nodes in self.groups if other == group), ())

    def owner(self, slot: int) -> GroupId:
        """Return the group that serves a slot, or `NOBODY`."""
        at = bisect_right(self.ranges, slot, key=lambda piece: piece.low) - 1
        return self.ranges[at].group if at >= 0 and slot < self.ranges[at].high else NOBODY

    def ranges_of(self, group: GroupId) -> tuple[SlotRange, ...]:
        """Return what a group serves."""
        return tuple(piece for piece in self.ranges if piece.group == group)


EMPTY = Configuration()
_SHARED_MAX = 8
_shared: dict[int, Configuration] = {}


def shared(configuration: Configuration) -> Configuration:
    """Return an equal configuration, the same for all of this process's groups that came to it: there may be many."""
    known = _shared.get(configuration.number)
    if known != configuration:
        _shared[configuration.number] = known = configuration
        for number in list(_shared)[:-_SHARED_MAX]:
            del _shared[number]
    assert known is not None, "it was put there"
    return known


class Join(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """New groups, each with the nodes of its replicas; the slots are balanced anew."""

    groups: dict[GroupId, tuple[NodeId, ...]]


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Groups that give up their slots to the others; the slots are balanced anew.

    With `abandon` all groups may leave, and what they hold with them.
    """

    groups: tuple[GroupId, ...]
    abandon: bool = False


class Move(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The slots [low, high) to one group, whatever the balance; until the next join, leave or rebalance."""

    low: int
    high: int
    group: GroupId


class Place(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A group's replicas on these nodes from now on; no slot moves."""

    group: GroupId
    nodes: tuple[NodeId, ...]


class Rebalance(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The slots balanced anew, after moves by hand."""


Change = Join | Leave | Move | Place | Rebalance


class Moved(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Slots [low, high) that change hands; `NOBODY` on one side if nobody served them, or does from now on."""

    low: int
    high: int
    source: GroupId
    target: GroupId


def changed(configuration: Configuration, change: Change) -> Configuration:
    """Return the next configuration; raise `ChangeRefused` in words if the change cannot be made."""
    groups = dict(configuration.groups)
    ranges: Sequence[SlotRange] = configuration.ranges
    match change:
        case Join():
            _check_new(groups, change)
            groups |= change.groups
            ranges = balance(ranges, groups)
        case Leave():
            _check_leaving(groups, change)
            groups = {group: nodes for group, nodes in groups.items() if group not in change.groups}
            ranges = balance(ranges, groups)
        case Move():
            _check_move(groups, change)
            ranges = joined(_with_moved(ranges, change))
        case Place():
            groups = _placed(groups, change)
        case Rebalance():
            ranges = balance(ranges, groups)
    after = Configuration(configuration.number + 1, tuple(sorted(groups.items())), tuple(ranges))
    if (after.groups, after.ranges) == (configuration.groups, configuration.ranges):
        raise ChangeRefused(f"{NOTHING_WOULD_CHANGE}: configuration {configuration.number} is like that already")
    return after


def placed_leaving(leaving: Mapping[GroupId, tuple[NodeId, ...]], place: Place) -> dict[GroupId, tuple[NodeId, ...]]:
    """Return where groups are that left and still hold something, one of them placed anew.

    They are in no configuration, and this makes none. Raises `ChangeRefused` in words if it cannot be.
    """
    after = _placed(leaving, place)
    if after == leaving:
        raise ChangeRefused(f"{NOTHING_WOULD_CHANGE}: group {place.group} is leaving, and on {', '.join(place.nodes)}")
    return after


def moves_between(before: Configuration, after: Configuration) -> tuple[Moved, ...]:
    """Return the slots that change hands from one configuration to another, in order, in as few pieces as can be."""
    out: list[Moved] = []
    for low, high, source, target in _side_by_side(before.ranges, after.ranges):
        if source == target:
            continue
        if out and (out[-1].high, out[-1].source, out[-1].target) == (low, source, target):
            out[-1] = Moved(out[-1].low, high, source, target)
        else:
            out.append(Moved(low, high, source, target))
    return tuple(out)


def _side_by_side(
    before: Sequence[SlotRange], after: Sequence[SlotRange]
) -> Iterator[tuple[int, int, GroupId, GroupId]]:
    """Yield pieces of slots that have one owner before and one after: all slots, in order."""
    old, new = list(filled(before)), list(filled(after))
    at = here = there = 0
    while at < SLOT_COUNT:
        end = min(old[here].high, new[there].high)
        yield at, end, old[here].group, new[there].group
        here += old[here].high == end
        there += new[there].high == end
        at = end


def _with_moved(ranges: Sequence[SlotRange], move: Move) -> Iterator[SlotRange]:
    yield SlotRange(move.low, move.high, move.group)
    for piece in ranges:
        if piece.low < move.low:
            yield SlotRange(piece.low, min(piece.high, move.low), piece.group)
        if piece.high > move.high:
            yield SlotRange(max(piece.low, move.high), piece.high, piece.group)


def _check_new(groups: dict[GroupId, tuple[NodeId, ...]], join: Join) -> None:
    if not join.groups:
        raise ChangeRefused("no group is named that should join")
    for group, nodes in sorted(join.groups.items()):
        if group <= CONTROLLER:
            raise ChangeRefused(f"group {group} cannot serve slots: groups are numbered from 1 on")
        if group in groups:
            raise ChangeRefused(f"group {group} is there already: name one that is not, or place it on other nodes")
        _check_nodes(group, nodes)


def _check_leaving(groups: dict[GroupId, tuple[NodeId, ...]], leave: Leave) -> None:
    if not leave.groups:
        raise ChangeRefused("no group is named that should leave")
    _check_known(groups, leave.groups)
    if not leave.abandon and groups.keys() <= set(leave.groups):
        raise ChangeRefused("all groups would leave, and nobody would hold the data: let another one join first")


def check_slots(first: int, last: int) -> None:
    """Raise `ChangeRefused` unless all from `first` to `last`, both included, are slots: for whoever asks.

    What the log refuses keeps its own words: replicas of several versions compare them.
    """
    if not 0 <= first <= last < SLOT_COUNT:
        raise ChangeRefused(f"slots {first}-{last} are none: they go from 0 to {SLOT_COUNT - 1}, the lower one first")


def _check_move(groups: dict[GroupId, tuple[NodeId, ...]], move: Move) -> None:
    if not 0 <= move.low < move.high <= SLOT_COUNT:
        raise ChangeRefused(f"slots [{move.low}, {move.high}) are none: they go from 0 to {SLOT_COUNT}")
    _check_known(groups, [move.group])


def numbered(groups: Sequence[GroupId]) -> str:
    """Return groups by their numbers, as in `groups 1, 2`."""
    return f"group{'s' if len(groups) > 1 else ''} {', '.join(map(str, groups))}"


def _placed(groups: Mapping[GroupId, tuple[NodeId, ...]], place: Place) -> dict[GroupId, tuple[NodeId, ...]]:
    _check_known(groups, [place.group])
    _check_nodes(place.group, place.nodes)
    return {**groups, place.group: place.nodes}


def _check_known(groups: Mapping[GroupId, tuple[NodeId, ...]], named: Sequence[GroupId]) -> None:
    for group in named:
        if group not in groups:
            known = ", ".join(str(other) for other in sorted(groups)[:_SHOWN_MAX]) or "none"
            raise ChangeRefused(f"there is no group {group}; there are: {known}")


def _check_nodes(group: GroupId, nodes: Sequence[NodeId]) -> None:
    if not nodes:
        raise ChangeRefused(f"group {group} has no nodes: name at least one, three to survive the loss of one")
    if len(set(nodes)) < len(nodes):
        raise ChangeRefused(f"group {group} names a node twice: {', '.join(nodes)}")
