"""A group that has nothing to do falls asleep: its leader sends no heartbeats, its followers run no election timer.

The leader asks in its AppendEntries once everybody who answers holds all there is; followers say that they sleep; when
all have, the leader sleeps too. Whatever happens wakes. Only timers rest, no promise is touched: but who sleeps notices
no failure by itself, so its driver must report `Woken` when the node of somebody it relies on may be down, or is back.
"""

from typing import Any

from raftline.core.events import (
    ChangeRequested,
    ClockDoubted,
    Proposed,
    ReadRequested,
    Received,
    TransferRequested,
    Woken,
)
from raftline.core.ids import Index, NodeId
from raftline.core.messages import AppendReply, AppendRequest, Message
from raftline.core.progress import Mode, PeerProgress
from raftline.core.quorum import has_quorum
from raftline.core.state import RaftState, Role

__all__ = [
    "asks_for_sleep",
    "conclude_sleep",
    "consider_sleep",
    "fall_asleep",
    "may_sleep",
    "note_event",
    "on_woken",
    "stir",
    "wake",
]

_STIRRING = frozenset({Proposed, ReadRequested, ChangeRequested, TransferRequested, ClockDoubted})
"""Events, beside messages, after which a group has something to do."""

_NEVER = float("inf")


def stir(state: RaftState) -> None:
    """Note that there is something to do: nobody sleeps now, and for a while nobody is asked to."""
    state.stirred_at = state.now
    state.drowsy_since = _NEVER
    if state.asleep:
        wake(state)


def wake(state: RaftState, suspected: NodeId | None = None) -> None:
    """Go on as if the group had heard of itself just now, unless it is the leader who is suspected.

    A leader speaks at once, and has an election timeout from now on to hear a quorum; a follower begins a new one.
    """
    assert state.asleep, "who is awake is not woken"
    state.asleep = False
    state.woken_at = state.stirred_at = state.now
    state.drowsy_since = _NEVER
    if state.role is Role.LEADER:
        for progress in state.progress.values():
            progress.on_woken(state.now)
    else:
        if suspected is None or suspected != state.leader:
            state.leader_heard_at = state.now
        state.restart_election_timer()


def on_woken(state: RaftState, event: Woken) -> str | None:
    """Wake because the driver says so; a leader sleeps on without a suspected follower if a quorum is left."""
    if not state.asleep:
        return "is awake"
    if event.suspected == state.leader and state.now < state.leader_heard_at + state.config.election_timeout_s[1]:
        return "heard it itself"
    if event.suspected is not None and state.role is Role.LEADER:
        others = [node for node in _sleepers(state) if node != event.suspected]
        if has_quorum(state.membership, [*others, state.me]):
            if event.suspected in state.progress:
                state.progress[event.suspected].asleep = False
            return "a quorum sleeps on"
    wake(state, event.suspected)
    return None


def note_event(state: RaftState, event: Any) -> None:
    """Let an event stir or wake, before anything looks at it."""
    kind = type(event)
    if kind is Received:
        if state.asleep and not _is_of_sleepers(state, event.sender, event.message):
            wake(state)
    elif kind in _STIRRING:
        stir(state)


def _is_of_sleepers(state: RaftState, sender: NodeId, message: Message) -> bool:
    """Say whether a message only says that others sleep too, or comes from the leader, who says what to do."""
    if state.role is Role.LEADER:
        return type(message) is AppendReply and message.asleep and message.term == message.request_term == state.term
    return type(message) is AppendRequest and sender == state.leader and message.term == state.term


# A follower.


def may_sleep(state: RaftState, request: AppendRequest, match_index: Index) -> bool:
    """Say whether a follower that took this request over has nothing to do: it holds and knows all there is."""
    reads = state.reads
    return (
        state.can_sleep
        and state.established
        and not state.is_restoring
        and request.commit == match_index == state.log.last_index == state.commit
        and (state.storing is None or state.storing[0] <= state.commit)
        and not (reads.asked or reads.waiting)
    )


def fall_asleep(state: RaftState) -> None:
    """Let timers rest until something wakes."""
    state.asleep = True
    if state.role is not Role.LEADER:
        state.election_deadline = _NEVER


# The leader.


def consider_sleep(state: RaftState) -> None:
    """Begin or cease to ask the others to sleep; with each heartbeat."""
    if state.role is not Role.LEADER or state.now < state.stirred_at + state.config.quiesce_after_s:
        return
    if not (_is_idle(state) and _everybody_is_level(state)):
        state.drowsy_since = _NEVER
    elif state.drowsy_since == _NEVER:
        state.drowsy_since = state.now
        for progress in state.progress.values():
            progress.asleep = False
    conclude_sleep(state)


def asks_for_sleep(state: RaftState) -> bool:
    """Say whether what a leader sends now asks to sleep."""
    return state.drowsy_since < _NEVER and state.commit == state.log.last_index


def conclude_sleep(state: RaftState) -> None:
    """Sleep once everybody does who answers, a quorum with this leader among them."""
    if not asks_for_sleep(state) or not _is_idle(state):
        return
    for progress in state.progress.values():
        if _is_gone(state, progress):
            progress.asleep = False  # it said so, and was silent since
        elif not progress.asleep:
            return
    if has_quorum(state.membership, [*_sleepers(state), state.me]):
        fall_asleep(state)


def _sleepers(state: RaftState) -> list[NodeId]:
    """Return the followers that sleep."""
    return [node for node, progress in state.progress.items() if progress.asleep]


def _is_idle(state: RaftState) -> bool:
    """Say whether this leader has nothing to do: all is committed, on disk and applied, and nobody waits."""
    log, reads, membership = state.log, state.reads, state.membership
    last = log.last_index
    return (
        state.commit == last == state.applied == state.persisted
        and log.term_at(last) == state.term == state.persisted_term
        and not state.unpersisted
        and not (reads.waiting or reads.confirming)
        and state.change is None
        and state.transfer is None
        and not state.departing
        and not (membership.is_joint or membership.promoting or membership.wanted)
        and membership.is_voter(state.me)
        and not _somebody_is_preferred(state)
    )


def _somebody_is_preferred(state: RaftState) -> bool:
    """Say whether a voter that answers is to lead instead of this one, as soon as it may (thesis 3.10)."""
    membership = state.membership
    if not membership.priorities:
        return False
    own = membership.priority_of(state.me)
    return any(
        node != state.me and membership.priority_of(node) > own and not _is_gone(state, state.progress[node])
        for node in membership.voters
    )


def _everybody_is_level(state: RaftState) -> bool:
    """Say whether everybody who answers holds the whole log."""
    return all(
        _is_gone(state, progress)
        or (
            progress.mode is Mode.REPLICATE
            and progress.match_index == state.log.last_index
            and not progress.inflight_messages
            and progress.is_trusted
        )
        for progress in state.progress.values()
    )


def _is_gone(state: RaftState, progress: PeerProgress) -> bool:
    """Say whether a follower did not answer for the longest election timeout: it does not keep the others awake."""
    return progress.heard_at < state.now - state.config.election_timeout_s[1]
