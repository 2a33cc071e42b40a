"""The members of a group in the words of a status: roles, positions, what is changing.

Reads a replica's state and nothing else; positions of others are known to the leader only.
"""

from collections.abc import Iterable, Mapping

from raftline.core.changing import describe_progress, why_not_ready
from raftline.core.ids import NodeId
from raftline.core.raft import Raft
from raftline.core.state import RaftState, Role
from raftline.errors import ConfigError, NotMember
from raftline.runtime.status import MemberStatus
from raftline.transport.address import parse_address

__all__ = ["STOPPED", "ask_members", "change_under_way", "members_of", "misnamed", "misplaced", "not_member", "role_of"]

STOPPED = "stopped"
"""The role of who takes no turn any more."""


def role_of(core: Raft) -> str:
    """Return what a replica is: leader, candidate, follower, learner, removed, or waiting to be added."""
    state = core.state
    if state.role is Role.PRE_CANDIDATE:
        return Role.CANDIDATE.value
    if state.role is not Role.FOLLOWER or state.membership.is_voter(state.me):
        role: str = state.role.value
        return role
    if not state.membership.voters:
        return "waiting"
    return "learner" if state.me in state.membership.learners else "removed"


def members_of(core: Raft, now: float, *, has_ended: bool) -> tuple[MemberStatus, ...]:
    """Return every member of the membership in force, sorted by name; who has ended knows the roles of no others."""
    state = core.state
    role = _role_at_the_end if has_ended else _role
    return tuple(_member(state, node, now, role(core, state, node)) for node in state.membership.everyone())


def change_under_way(state: RaftState) -> str | None:
    """Return the change of the membership under way, in words; None if there is none."""
    return describe_progress(state)


def not_member(state: RaftState) -> NotMember:
    """Return what to tell whoever asks something of a node that belongs to no group."""
    members = ask_members(state.membership.addresses)
    text = f"was removed from the group: ask {members}" if members else "waits to be added to a group"
    return NotMember(f"{state.me} {text}")


def ask_members(addresses: Iterable[tuple[NodeId, str]]) -> str:
    """Return who can be asked instead, in words."""
    return ", ".join(f"{node} at {address}" for node, address in addresses)


def misplaced(state: RaftState, own_address: str) -> str | None:
    """Return why no leader may be heard: the group has this node at another address than it was started with."""
    listed = state.membership.address_of(state.me)
    if state.leader is not None or not listed or _is_same(listed, own_address):
        return None
    return (
        f"no leader is heard, and the group has {state.me} at {listed}, while it was started at {own_address}: "
        f"if that is not the same place, start it with --listen {listed}, or give the group the right address by "
        "`raftline member move` on another node"
    )


def misnamed(state: RaftState, given: Mapping[NodeId, str]) -> str | None:
    """Return what is wrong with the members that a node was started with, beside those of its log; None if nothing.

    The voters alone may be given, or all members. Until the log names any, those that were given count.
    """
    membership = state.membership
    if not given and state.log.last_index and not membership.voters:
        return (
            "neither the log nor the settings name any members: this node waits for a leader to tell it; if it was one "
            "of the first voters, start it with the members of its first start"
        )
    listed = dict(membership.addresses)
    left_out = [node for node in membership.voters if node not in given]
    if not given or not (left_out or any(not _is_same(listed.get(node, ""), at) for node, at in given.items())):
        return None
    return (
        "the log names other members than the settings do, and counts: correct the settings, or this node begins with "
        "the wrong ones if its directory is ever lost"
    )


def _is_same(one: str, other: str) -> bool:
    try:
        return parse_address(one) == parse_address(other)
    except ConfigError:
        return one == other


def _member(state: RaftState, node: NodeId, now: float, role: str | None) -> MemberStatus:
    membership = state.membership
    progress = state.progress.get(node)
    match_index = progress.match_index if progress is not None else None
    if node == state.me:
        match_index = state.persisted
    is_learner = node in membership.learners
    heard_s_ago = None
    if progress is not None:  # the node of who sleeps is watched over
        heard_s_ago = 0.0 if progress.asleep else round(now - progress.heard_at, 3)
    return MemberStatus(
        node_id=node,
        address=membership.address_of(node) or "",
        voter=membership.is_voter(node),
        role=role,
        match_index=match_index,
        lag_entries=None if match_index is None else max(0, state.log.last_index - match_index),
        heard_s_ago=heard_s_ago,
        mode=progress.mode.name.lower() if progress is not None else None,
        leaving=membership.is_joint and node not in membership.voters,
        promoting=node in membership.promoting or (is_learner and node in membership.wanted),
        priority=membership.priority_of(node),
        caught_up=(why_not_ready(state, node) or "") if is_learner and state.role is Role.LEADER else None,
    )


def _role(core: Raft, state: RaftState, node: NodeId) -> str | None:
    """Return a member's role as far as this replica knows."""
    if node == state.me:
        return role_of(core)
    if node == state.leader:
        return Role.LEADER.value
    if state.leader is None:
        return None
    return Role.FOLLOWER.value if state.membership.is_voter(node) else "learner"


def _role_at_the_end(_core: Raft, state: RaftState, node: NodeId) -> str | None:
    return STOPPED if node == state.me else None
