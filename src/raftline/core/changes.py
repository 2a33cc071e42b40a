"""What can be changed about a membership, and what the membership is then: pure functions, no state.

Whoever votes changes only through a joint configuration (§6), whatever the change; learners, addresses and priorities
change in one entry, because no majority depends on them. It refuses to know who asks, who leads and who has caught up.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from raftline.core.ids import NodeId
from raftline.core.membership import Membership
from raftline.errors import ChangeRefused

__all__ = [
    "AddLearner",
    "MembershipChange",
    "Move",
    "Promote",
    "Remove",
    "Replace",
    "SetPriority",
    "decode_change",
    "describe_change",
    "encode_change",
    "enter_joint",
    "is_step",
    "leave_joint",
    "newcomers",
    "plan_change",
]


class AddLearner(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="add"):
    """A new node, which receives the log and does not vote; with `promote` it votes once it has caught up."""

    node: NodeId
    address: str
    """`host:port@busport`."""
    promote: bool = True


class Promote(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="promote"):
    """A learner that has caught up becomes a voter."""

    node: NodeId


class Remove(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="remove"):
    """A voter or learner leaves the group; a leader may remove itself."""

    node: NodeId


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="move"):
    """A member is reached at another address from now on."""

    node: NodeId
    address: str


class SetPriority(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="priority"):
    """How much a member is preferred as leader; 0 is what everybody starts with."""

    node: NodeId
    priority: int


class Replace(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="replace"):
    """Exactly these nodes vote afterwards, changed over in one step once the new ones among them have caught up."""

    addresses: tuple[tuple[NodeId, str], ...]

    @staticmethod
    def by(addresses: dict[NodeId, str]) -> "Replace":
        """Return the change to the voters `addresses` (id → `host:port@busport`)."""
        return Replace(tuple(sorted(addresses.items())))


MembershipChange: TypeAlias = AddLearner | Promote | Remove | Move | SetPriority | Replace
"""One change of the membership, as it is asked for and as it travels to the leader."""

encode_change = msgspec.msgpack.Encoder().encode
decode_change = msgspec.msgpack.Decoder(MembershipChange).decode


def plan_change(now: Membership, change: MembershipChange) -> Membership:
    """Return the membership that the entry for `change` has to carry.

    Raises `ChangeRefused` for an unknown or a duplicate node, an address that is taken, or a group without voters.
    """
    assert not now.is_joint, "one change at a time"
    planned = _PLANS[type(change)](now, change)
    assert planned.problem() is None, f"a change leads to a membership that is sound: {planned.problem()}"
    return planned


def enter_joint(now: Membership, voters: Iterable[NodeId]) -> Membership:
    """Return the joint configuration on the way from `now` to `voters` (§6)."""
    names = tuple(sorted(set(voters)))
    learners = tuple(node for node in now.learners if node not in names)
    promoting = tuple(node for node in now.promoting if node not in names)
    return msgspec.structs.replace(
        now, voters=names, outgoing=now.voters, learners=learners, promoting=promoting, wanted=()
    )


def leave_joint(now: Membership) -> Membership:
    """Return the final configuration behind the joint one `now`; whoever votes no longer is gone."""
    return _without_strangers(msgspec.structs.replace(now, outgoing=()))


def is_step(before: Membership, after: Membership) -> bool:
    """Say whether `after` may follow `before` in the log: voters change through a joint configuration only (§6)."""
    if before.is_joint:
        return after == leave_joint(before)
    return after.outgoing == before.voters if after.is_joint else after.voters == before.voters


def newcomers(membership: Membership) -> list[NodeId]:
    """Return the learners that a waiting replacement waits for."""
    return [node for node in membership.wanted if node not in membership.voters]


def describe_change(change: MembershipChange) -> str:
    """Return the change in a few words, for refusals and logs."""
    if isinstance(change, AddLearner):
        return f"adding {change.node} as a learner{', to be promoted' if change.promote else ''}"
    if isinstance(change, Promote):
        return f"promoting {change.node}"
    if isinstance(change, Remove):
        return f"removing {change.node}"
    if isinstance(change, Move):
        return f"moving {change.node} to {change.address}"
    if isinstance(change, SetPriority):
        return f"giving {change.node} priority {change.priority}"
    return f"replacing the voters by {', '.join(node for node, _ in change.addresses)}"


def _add_learner(now: Membership, change: AddLearner) -> Membership:
    if now.is_member(change.node):
        kind = "votes" if now.is_voter(change.node) else "is a learner"
        raise ChangeRefused(f"{change.node} {kind} already, at {now.address_of(change.node)}")
    if not change.node:
        raise ChangeRefused("a node without a name cannot be added")
    added = _with_address(now, change.node, change.address)
    learners = _with(now.learners, change.node)
    promoting = _with(now.promoting, change.node) if change.promote else now.promoting
    return msgspec.structs.replace(added, learners=learners, promoting=promoting)


def _promote(now: Membership, change: Promote) -> Membership:
    _check_known(now, change.node)
    if now.is_voter(change.node):
        raise ChangeRefused(f"{change.node} votes already")
    return enter_joint(now, (*now.voters, change.node))


def _remove(now: Membership, change: Remove) -> Membership:
    _check_known(now, change.node)
    if now.voters == (change.node,):
        raise ChangeRefused(f"{change.node} is the only voter: without it nobody could decide anything")
    if now.is_voter(change.node):
        return enter_joint(now, [node for node in now.voters if node != change.node])
    learners = tuple(node for node in now.learners if node != change.node)
    promoting = tuple(node for node in now.promoting if node != change.node)
    wanted = () if change.node in now.wanted else now.wanted
    return _without_strangers(
        msgspec.structs.replace(now, learners=learners, promoting=promoting, wanted=wanted),
    )


def _move(now: Membership, change: Move) -> Membership:
    _check_known(now, change.node)
    return _with_address(now, change.node, change.address)


def _set_priority(now: Membership, change: SetPriority) -> Membership:
    _check_known(now, change.node)
    others = [(node, priority) for node, priority in now.priorities if node != change.node]
    own = [(change.node, change.priority)] if change.priority else []
    return msgspec.structs.replace(now, priorities=tuple(sorted(others + own)))


def _replace(now: Membership, change: Replace) -> Membership:
    """Add who is missing as learners, and name the new voters; without newcomers the joint change begins at once."""
    names = [node for node, _ in change.addresses]
    if not names or "" in names:
        raise ChangeRefused("a group needs at least one voter, and every voter a name")
    if len(set(names)) != len(names):
        raise ChangeRefused(f"a node is named twice among the new voters {', '.join(names)}")
    planned = now
    for node, address in change.addresses:
        if planned.address_of(node) != address:
            planned = _with_address(planned, node, address)
    new = [node for node in names if node not in now.voters]
    if not new:
        planned = msgspec.structs.replace(planned, wanted=())
        return planned if sorted(names) == list(now.voters) else enter_joint(planned, names)
    learners = tuple(sorted({*now.learners, *new}))
    return msgspec.structs.replace(planned, learners=learners, wanted=tuple(sorted(names)))


_PLANS: dict[type, Callable[[Membership, Any], Membership]] = {
    AddLearner: _add_learner,
    Promote: _promote,
    Remove: _remove,
    Move: _move,
    SetPriority: _set_priority,
    Replace: _replace,
}


def _check_known(now: Membership, node: NodeId) -> None:
    if not now.is_member(node):
        raise ChangeRefused(f"{node} is no member; there are {', '.join(now.everyone())}")


def _with_address(now: Membership, node: NodeId, address: str) -> Membership:
    if not address:
        raise ChangeRefused(f"{node} needs an address: host:port or host:port@busport")
    for name, taken in now.addresses:
        if taken == address and name != node:
            raise ChangeRefused(f"{address} is the address of {name} already")
    others = [(name, known) for name, known in now.addresses if name != node]
    return msgspec.structs.replace(now, addresses=tuple(sorted([*others, (node, address)])))


def _with(names: tuple[NodeId, ...], node: NodeId) -> tuple[NodeId, ...]:
    return tuple(sorted({*names, node}))


def _without_strangers(now: Membership) -> Membership:
    """Forget addresses and priorities of who is no member any more."""
    members = {*now.voters, *now.learners}
    return msgspec.structs.replace(
        now,
        addresses=tuple(pair for pair in now.addresses if pair[0] in members),
        priorities=tuple(pair for pair in now.priorities if pair[0] in members),
    )
