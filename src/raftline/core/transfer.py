"""Giving the leadership away (thesis 3.10): on request, to a preferred voter, by a leader that was removed or is slow.

The leader takes no proposals meanwhile, brings the target up to date, and sends TimeoutNow to a log as long as its
own, never to one that lags. If nobody has taken over within an election timeout it goes on.
"""

from raftline.core.entries import KIND_NOOP, Entry
from raftline.core.events import DiskBehind, TransferRequested
from raftline.core.ids import Index, NodeId
from raftline.core.messages import TimeoutNow
from raftline.core.pending import Transfer
from raftline.core.progress import Mode
from raftline.core.quiescence import stir
from raftline.core.ready import Answer, Outgoing, Verdict
from raftline.core.role_changes import Cause, Why
from raftline.core.state import RaftState, Role
from raftline.core.transitions import append_entries, become_follower

__all__ = [
    "conclude_transfer",
    "look_for_successor",
    "on_disk_behind",
    "on_transfer_requested",
    "on_transfer_timer",
    "retire",
    "tell_successor",
]


def on_transfer_requested(state: RaftState, event: TransferRequested) -> str | None:
    """Begin to hand over, or answer at once why not."""
    if state.role is not Role.LEADER:
        state.answers.append(Answer(event.request_id, Verdict.NOT_LEADER))
        return "does not lead"
    if event.to == state.me:
        state.answers.append(Answer(event.request_id, Verdict.DONE))
        return "leads already"
    to = event.to or _best_successor(state)
    reason = _why_not(state, to)
    if to is None or reason is not None:
        state.answers.append(Answer(event.request_id, Verdict.REFUSED, reason or ""))
        return reason
    _begin(state, to, event.request_id)
    return None


def conclude_transfer(state: RaftState) -> None:
    """The target is to be told to take over once its log is as long as this one's."""
    transfer = state.transfer
    if transfer is None or transfer.told_at is not None:
        return
    if transfer.is_for_disk and state.commit < state.log.last_index:
        return
    progress = state.progress[transfer.to]
    if progress.match_index == state.log.last_index and progress.is_trusted:
        transfer.must_tell = True


def on_transfer_timer(state: RaftState) -> None:
    """Give up after an election timeout; until then say again what may have been lost."""
    transfer = state.transfer
    if transfer is None:
        return
    if state.now >= transfer.deadline:
        _give_up(state, transfer)
    elif transfer.told_at is not None and state.now >= transfer.told_at + state.config.heartbeat_interval_s:
        transfer.must_tell = True


def tell_successor(state: RaftState) -> None:
    """Send TimeoutNow if it is due; from here on another leader may exist at any moment, however late it arrives.

    Called as a `Ready` is handed out, not before: of the events that are taken in together a later one may end the
    transfer, and then come entries that the target does not hold. It vouches for the target's disk, not for this
    leader's, and does not wait for a write here, which could take as long.
    """
    transfer = state.transfer
    if transfer is not None and transfer.must_tell:
        if transfer.is_for_disk and transfer.told_at is None:
            transfer.slow_s = state.slow_disks.on_own(state.now)
        transfer.must_tell = False
        transfer.told_at = state.now
        state.lease_is_fenced = True
        slow = state.slow_disks.all_left(state.now)
        if transfer.is_for_disk:
            slow = (*slow, (state.me, transfer.slow_s))
        state.early.append(Outgoing(transfer.to, TimeoutNow(state.term, slow)))


def look_for_successor(state: RaftState) -> None:
    """Hand over to a caught-up voter of higher priority after a while in which nothing else changed.

    Who leads and restores a snapshot does not wait so long, and takes anybody who is caught up: it can answer nobody.
    A busy leader, whose followers are sent something before a heartbeat is due, looks for one as often as an idle one.
    """
    state.sought_after = state.now + state.config.heartbeat_interval_s
    if state.now < state.handover_after or state.transfer is not None:
        return
    if state.membership.is_joint or state.configuration.index > state.commit:
        return
    if not state.is_restoring:
        _transfer_by_priority(state)
    elif (best := _best_successor(state, state.commit)) is not None:
        _begin(state, best, None)


def _transfer_by_priority(state: RaftState) -> None:
    membership = state.membership
    if not membership.priorities:
        return
    best = _best_successor(state)
    if best is None or membership.priority_of(best) <= membership.priority_of(state.me):
        return
    if state.slow_disks.counts(best, state.now):
        return
    if state.progress[best].match_index >= state.commit:
        _begin(state, best, None)


def on_disk_behind(state: RaftState, _event: DiskBehind) -> str | None:
    """Hand over to a voter whose disk keeps up, if a quorum goes on without this leader's (B13); not again for a while.

    What is committed and not on this disk proves that there was such a quorum, that all is committed before anybody is
    told to take over, that there still is. A group with nothing to write, whose proposals are refused for what others
    have to, proves it with an entry without a command, or does not: then this is not asked again for a while, either.
    """
    if state.role is not Role.LEADER or state.transfer is not None:
        return "does not lead, or hands over already"
    if state.now < state.handover_after or state.membership.is_joint or state.configuration.index > state.commit:
        return "too soon after something changed"
    if state.commit == state.persisted == state.log.last_index and state.membership.voters != (state.me,):
        if not state.slow_disks.may_ask(state.now):
            return "a quorum needed this disk a while ago"
        stir(state)
        append_entries(state, [Entry(state.log.last_index + 1, state.term, b"", KIND_NOOP)])
        return "asks who goes on without this disk"
    best = _best_successor(state, state.commit)
    if state.commit <= state.persisted or best is None:
        return "nobody goes on without this disk"
    _begin(state, best, None, is_for_disk=True)
    return None


def retire(state: RaftState) -> None:
    """Leave a group that this leader is no voter of any more: hand over, or just step down (thesis 4.2.2)."""
    to = _best_successor(state)
    if to is None or state.retired:
        handed = "the chosen successor did not take over" if state.retired else "no voter is fit to take over"
        why = Why(Cause.REMOVED, f"this leader votes no more: it was removed or made a learner; {handed}")
        become_follower(state, state.term, None, why)
        return
    state.retired = True
    _begin(state, to, None)


def _begin(state: RaftState, to: NodeId, request_id: int | None, *, is_for_disk: bool = False) -> None:
    deadline = state.now + state.config.election_timeout_s[1]
    state.transfer = Transfer(to, deadline, request_id, is_for_disk=is_for_disk)
    state.handover_after = deadline + state.config.priority_handover_s
    state.must_watch = True
    conclude_transfer(state)


def _give_up(state: RaftState, transfer: Transfer) -> None:
    """Go on leading; a leader that was removed has nothing to go on with."""
    state.transfer = None
    if transfer.request_id is not None:
        seconds = state.config.election_timeout_s[1]
        reason = f"{transfer.to} did not take over within {seconds} s, {state.me} leads on"
        state.answers.append(Answer(transfer.request_id, Verdict.REFUSED, reason))
    state.must_watch = True


def _best_successor(state: RaftState, index_min: Index = 0) -> NodeId | None:
    """Return the voter most fit to lead that holds the log up to there; None if nobody is.

    First whose disk kept up, then by priority, then by how much of the log it holds.
    """
    membership, slow = state.membership, state.slow_disks
    fit = [
        (not slow.counts(node, state.now), membership.priority_of(node), state.progress[node].match_index, node)
        for node in membership.voters
        if node != state.me and state.progress[node].match_index >= index_min and _why_unfit(state, node) is None
    ]
    return max(fit)[-1] if fit else None


def _why_not(state: RaftState, to: NodeId | None) -> str | None:
    """Return, in words, why the leadership cannot go to `to` now; None if it can."""
    if state.transfer is not None:
        return f"the leadership is on its way to {state.transfer.to} already"
    if to is None:
        return "no other voter is fit to take over"
    membership = state.membership
    if to not in membership.voters:
        what = "a learner" if to in membership.learners else "leaving" if membership.is_voter(to) else "no member"
        return f"{to} is {what}: only a voter can lead"
    return _why_unfit(state, to)


def _why_unfit(state: RaftState, node: NodeId) -> str | None:
    """Return why a voter could not take over within an election timeout."""
    progress = state.progress[node]
    if progress.is_silent(state.now - state.config.election_timeout_s[0]):
        return f"{node} was not heard for {state.config.election_timeout_s[0]} s"
    if progress.mode is not Mode.REPLICATE:
        return f"{node} lags behind: its log is not known to match this leader's"
    if not progress.is_trusted:
        return f"{node} cannot lead: its disk may have been lost, and it has not caught up yet"
    if progress.is_restoring:
        return f"{node} could answer nobody yet: it restores a snapshot"
    return None
