"""Changes of the membership on the leader (§6, thesis 4): what is refused, and the rules that carry them through.

A change is one entry, or two: the joint configuration, and the final one, which whoever leads appends by itself once
the joint one is committed. One change at a time, and none before this term has committed an entry.
"""

from raftline.core.catch_up import CatchUp
from raftline.core.changes import (
    MembershipChange,
    Promote,
    Remove,
    Replace,
    describe_change,
    enter_joint,
    leave_joint,
    newcomers,
    plan_change,
)
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.events import ChangeRequested
from raftline.core.ids import NodeId
from raftline.core.membership import Membership
from raftline.core.pending import Departure, PendingChange
from raftline.core.progress import Mode
from raftline.core.quorum import has_quorum
from raftline.core.ready import Answer, Verdict
from raftline.core.state import RaftState, Role
from raftline.core.transfer import retire
from raftline.core.transitions import append_entries
from raftline.errors import ChangeRefused

__all__ = [
    "ASK_AGAIN",
    "IN_PROGRESS",
    "conclude_membership",
    "describe_progress",
    "on_change_requested",
    "why_not_ready",
]

ASK_AGAIN = "ask again shortly"
"""In refusals for a reason that passes by itself in a moment."""
IN_PROGRESS = "a change is in progress"
"""In refusals because of a change that was asked for before, maybe of another leader."""


def on_change_requested(state: RaftState, event: ChangeRequested) -> str | None:
    """Append the entry that a change asks for, or answer at once why not."""
    if state.role is not Role.LEADER:
        state.answers.append(Answer(event.request_id, Verdict.NOT_LEADER))
        return "does not lead"
    try:
        _check_may_change(state, event.change)
        planned = plan_change(state.membership, event.change)
        _check_can_elect(state, planned)
    except ChangeRefused as refusal:
        state.answers.append(Answer(event.request_id, Verdict.REFUSED, str(refusal)))
        return str(refusal)
    what = describe_change(event.change)
    if state.change is not None:
        state.answers.append(Answer(state.change.request_id, Verdict.REFUSED, f"given up in favour of {what}"))
    state.change = PendingChange(event.request_id, what, isinstance(event.change, Replace))
    _append_membership(state, planned)
    return None


def conclude_membership(state: RaftState) -> None:
    """Draw every conclusion about the membership that the facts allow now; leader only.

    Joint and committed: append the final one (§6). Final and committed: answer, let the removed go, retire if this
    leader is one of them (thesis 4.2.2), promote who has caught up (thesis 4.2.1).
    """
    _observe_learners(state)
    if state.configuration.index > state.commit:
        return
    _release_departed(state)
    if state.transfer is not None:
        return  # the target would lag again
    membership = state.membership
    if membership.is_joint:
        _append_membership(state, leave_joint(membership))
        return
    if state.change is not None and not (state.change.replaces and membership.wanted):
        state.answers.append(Answer(state.change.request_id, Verdict.DONE))
        state.change = None
    if not membership.is_voter(state.me):
        retire(state)
        return
    voters = _next_voters(state)
    if voters:
        _append_membership(state, enter_joint(membership, voters))
        return
    state.must_watch = bool(membership.learners or state.departing or state.change)


def why_not_ready(state: RaftState, node: NodeId) -> str | None:
    """Return, in words, why a learner is not fit to vote yet; None if it is (thesis 4.2.1, C14)."""
    progress = state.progress.get(node)
    if progress is None or progress.catch_up is None:
        return f"{node} is no learner that this leader knows"
    if progress.is_silent(state.now - state.config.election_timeout_s[1]):
        return f"{node} does not answer"
    if progress.mode is Mode.SNAPSHOT:
        return f"{node} is not caught up: it is being sent a snapshot"
    if progress.is_restoring:
        return f"{node} is not caught up: it restores a snapshot"
    if not progress.catch_up.is_caught_up or not progress.is_trusted:
        return f"{node} is not caught up: it holds {progress.match_index} of {state.log.last_index} entries"
    return None


def describe_progress(state: RaftState) -> str | None:
    """Return the change that is under way, in words; None if there is none, as far as this replica knows."""
    membership = state.membership
    if state.change is not None:
        return state.change.what
    if membership.is_joint:
        return f"the voters {', '.join(membership.outgoing)} give way to {', '.join(membership.voters)}"
    if membership.wanted:
        waits_for = ", ".join(newcomers(membership))
        return f"replacing the voters by {', '.join(membership.wanted)}, which waits for {waits_for} to catch up"
    if state.configuration.index > state.commit:
        return f"the membership at index {state.configuration.index} is not committed yet"
    return None


def _check_may_change(state: RaftState, change: MembershipChange) -> None:
    """Raise `ChangeRefused` if this is not the moment for any change, or not for this one."""
    membership = state.membership
    if state.log.term_at(state.commit) != state.term:
        raise ChangeRefused(f"this leader has committed no entry of its term yet: {ASK_AGAIN} (thesis 4.1)")
    if state.transfer is not None:
        raise ChangeRefused(f"the leadership is on its way to {state.transfer.to}: {ASK_AGAIN}")
    under_way = describe_progress(state)
    if membership.is_joint or state.configuration.index > state.commit:
        raise ChangeRefused(f"{IN_PROGRESS}: {under_way}; one at a time")
    if membership.wanted and not _ends_replacement(membership, change):
        raise ChangeRefused(f"{IN_PROGRESS}: {under_way}; remove who does not catch up, or replace again, to end it")
    if isinstance(change, Promote) and change.node in membership.learners:
        reason = why_not_ready(state, change.node)
        if reason is not None:
            raise ChangeRefused(reason)


def _check_can_elect(state: RaftState, planned: Membership) -> None:
    """Raise `ChangeRefused` if the new voters might never elect anybody, or could not now."""
    wrong = _what_is_wrong(state, planned.voters) if planned.is_joint else []
    if wrong:
        voters = ", ".join(planned.voters)
        raise ChangeRefused(f"of the voters {voters} too few could elect a leader: {'; '.join(wrong)}")


def _what_is_wrong(state: RaftState, voters: tuple[NodeId, ...]) -> list[str]:
    """Return what is wrong with those of `voters` who are no help now, if they leave the rest too few to elect (C14).

    A joint configuration that its incoming half cannot commit is in force all the same: nothing can be decided in it,
    not even another change, until more of that half answer.
    """
    silent_since = state.now - state.config.election_timeout_s[1]
    wrong: dict[NodeId, str] = {}
    for node in voters:
        progress = state.progress.get(node)
        if progress is None:
            continue  # this leader itself
        if not progress.is_trusted:
            wrong[node] = (
                f"{node} did not answer yet, or lost what it had on disk and has not caught up: "
                "start it, if it is down, or remove it first"
            )
        elif progress.is_silent(silent_since):
            wrong[node] = f"{node} does not answer: start it, or remove it first"
    fit = [node for node in voters if node not in wrong]
    return [] if has_quorum(Membership(voters=voters), fit) else list(wrong.values())


def _ends_replacement(membership: Membership, change: MembershipChange) -> bool:
    return isinstance(change, Replace) or (isinstance(change, Remove) and change.node in newcomers(membership))


def _next_voters(state: RaftState) -> tuple[NodeId, ...]:
    """Return who is to vote next by itself: a replacement whose newcomers are ready, or voters and ready learners."""
    membership = state.membership
    if state.log.term_at(state.commit) != state.term:
        return ()
    if membership.wanted:
        waits = any(why_not_ready(state, node) for node in newcomers(membership))
        return () if waits or _what_is_wrong(state, membership.wanted) else membership.wanted
    ready = [node for node in membership.promoting if why_not_ready(state, node) is None]
    return (*membership.voters, *ready) if ready else ()


def _append_membership(state: RaftState, planned: Membership) -> None:
    """Put `planned` in force (§6); who leaves with it is kept up to date for a while."""
    now = state.membership
    index = state.log.last_index + 1
    staying = {*planned.everyone(), state.me}
    for node in planned.everyone():
        if state.departing.pop(node, None) is not None:
            state.progress.pop(node, None)  # it may come back with another disk
    for node in now.everyone():
        if node not in staying:
            state.departing[node] = Departure(now.address_of(node) or "", index)
    append_entries(state, [Entry(index, state.term, encode_membership(planned), KIND_MEMBERSHIP)])


def _observe_learners(state: RaftState) -> None:
    """Follow the rounds of every learner."""
    timeout_s = state.config.election_timeout_s[0]
    last_index = state.log.last_index
    for node in state.membership.learners:
        progress = state.progress.get(node)
        if progress is None:
            continue
        if progress.catch_up is None:
            progress.catch_up = CatchUp(last_index, state.now)
        progress.catch_up.observe(progress.match_index, last_index, state.now, timeout_s)


def _release_departed(state: RaftState) -> None:
    """Let those go who had an election timeout's time to learn that their removal is committed."""
    for node, departure in list(state.departing.items()):
        if departure.until == float("inf"):
            departure.until = state.now + state.config.election_timeout_s[1]
        elif state.now >= departure.until:
            del state.departing[node]
            del state.progress[node]
