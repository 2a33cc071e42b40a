"""The rules of membership changes (§6, thesis 4), worked out a second time from what logs hold and what is committed.

Voters change through a joint configuration only, one change is under way at a time and none before its leader has
committed an entry of its term, the last membership in a log is the one in force, snapshots carry theirs, a leader that
was removed goes, and lets go whoever else was. Knows nothing of how a change is asked for.
"""

from typing import NoReturn

from raftline.core.configuration import decode_membership
from raftline.core.entries import KIND_MEMBERSHIP, SnapshotMeta
from raftline.core.ids import Index, NodeId
from raftline.core.membership import Membership
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation

__all__ = ["MembershipChecks"]


_NOBODY = Membership.of({})


class MembershipChecks:
    """Follows the committed memberships, and what each node takes for the one in force.

    Invariant: `committed` holds the first membership at index 0 and every committed one behind it, in order.
    """

    def __init__(self, first: Membership) -> None:
        self.committed: list[tuple[Index, Membership]] = [(0, first)]
        self._seen: dict[NodeId, tuple[Index, int, Index, Role]] = {}
        self._removed_at: dict[NodeId, float] = {}
        self._departing: dict[NodeId, dict[tuple[NodeId, Index], float]] = {}
        """For each leader, whom it keeps up to date although an entry removed them, and since when it may stop."""
        self._newcomers: set[NodeId] = set()

    def at(self, index: Index) -> Membership:
        """Return the membership that was in force at a committed `index`."""
        return next(membership for position, membership in reversed(self.committed) if position <= index)

    def on_committed(self, name: NodeId, index: Index, data: bytes) -> None:
        """Hold a membership entry, committed for the first time, against the one before it (§6)."""
        before, after = self.committed[-1][1], decode_membership(data)
        if before.outgoing:
            follows = not after.outgoing and after.voters == before.voters
        else:
            follows = after.outgoing == before.voters if after.outgoing else after.voters == before.voters
        if not follows:
            self._violated(
                name, f"commits, at {index}, {_shown(after)} behind {_shown(before)}: that is no step of a change (K1)"
            )
        self.committed.append((index, after))

    def note_newcomer(self, name: NodeId) -> None:
        """A node knows nobody before its log, or a snapshot, names the members."""
        self._newcomers.add(name)

    def forget(self, name: NodeId) -> None:
        """An incarnation ended."""
        self._seen.pop(name, None)
        self._removed_at.pop(name, None)
        self._departing.pop(name, None)

    def on_turn(self, state: RaftState, committed_index: Index) -> None:
        """Look at a node after its turn; `committed_index` is the highest that anybody has committed."""
        seen = (state.configuration.index, state.log_epoch, state.snapshot.index, state.role)
        if seen != self._seen.get(state.me):
            self._seen[state.me] = seen
            self._check_in_force(state)
            self._check_one_at_a_time(state, committed_index)
            self._check_snapshot(state.me, state.snapshot)
        if state.role is Role.LEADER:
            self._check_removed(state)
            self._check_departing(state)
        else:
            self._removed_at.pop(state.me, None)
            self._departing.pop(state.me, None)

    def _check_in_force(self, state: RaftState) -> None:
        """The last membership in the log is in force, committed or not, else that of the snapshot (§6)."""
        log = state.log
        for index in range(log.last_index, log.base_index, -1):
            entry = log.entry(index)
            if entry.kind == KIND_MEMBERSHIP:
                expected, position = decode_membership(entry.data), index
                break
        else:
            is_blank = log.base_index == 0 and state.me in self._newcomers
            expected, position = _NOBODY if is_blank else self.at(log.base_index), log.base_index
        if state.membership != expected:
            self._violated(
                state.me,
                f"goes by {_shown(state.membership)}, but the last in its log is {_shown(expected)} at {position} (K1)",
            )

    def _check_one_at_a_time(self, state: RaftState, committed_index: Index) -> None:
        """No log holds two memberships that were never committed: the second could not be asked for yet (K1)."""
        log = state.log
        low = max(committed_index, log.base_index) + 1
        waiting = [n for n in range(low, log.last_index + 1) if log.entry(n).kind == KIND_MEMBERSHIP]
        if len(waiting) > 1:
            self._violated(state.me, f"holds changes at {waiting}, none of them committed: one at a time (K1)")
        if not waiting or state.role is not Role.LEADER or log.term_at(waiting[0]) != state.term:
            return
        ends_joint = bool(self.at(waiting[0] - 1).outgoing)
        if log.term_at(state.commit) != state.term and not ends_joint:
            self._violated(
                state.me, f"begins a change at {waiting[0]}, having committed nothing of its term {state.term} (K1)"
            )

    def _check_snapshot(self, name: NodeId, meta: SnapshotMeta) -> None:
        """A snapshot carries the membership that was in force where it ends (§7)."""
        expected = self.at(meta.index)
        if meta.index and meta.membership != expected:
            self._violated(
                name,
                f"has a snapshot at {meta.index} with {_shown(meta.membership)}, there it was {_shown(expected)} (D2)",
            )

    def _check_removed(self, state: RaftState) -> None:
        """A leader whose removal is committed hands over or steps down (thesis 4.2.2, K1)."""
        if state.configuration.index > state.commit or state.membership.is_voter(state.me):
            self._removed_at.pop(state.me, None)
            return
        since = self._removed_at.setdefault(state.me, state.now)
        allowed_s = 2 * state.config.election_timeout_s[1] + state.config.heartbeat_interval_s
        if state.now - since > allowed_s:
            self._violated(state.me, f"leads {state.now - since:.3f} s after its own removal was committed (K1)")

    def _check_departing(self, state: RaftState) -> None:
        """A leader lets those go that had an election timeout's time to learn of their removal (thesis 4.2.2, K1)."""
        if not state.departing:
            self._departing.pop(state.me, None)
        elif state.configuration.index <= state.commit:
            known = self._departing.get(state.me, {})
            departing = [(node, departure.index) for node, departure in state.departing.items()]
            self._departing[state.me] = since = {one: known.get(one, state.now) for one in departing}
            for (node, index), committed_at in since.items():
                if state.now > committed_at + state.config.election_timeout_s[1]:
                    passed_s = state.now - committed_at
                    self._violated(
                        state.me, f"keeps {node} {passed_s:.3f} s after its removal, at {index}, was committed (K1)"
                    )

    def _violated(self, name: NodeId, what: str) -> NoReturn:
        raise SafetyViolation(f"{name}: {what}")


def _shown(membership: Membership) -> str:
    outgoing = f" in place of {' '.join(membership.outgoing)}" if membership.outgoing else ""
    learners = f", learners {' '.join(membership.learners)}" if membership.learners else ""
    return f"[{' '.join(membership.voters)}{outgoing}{learners}]"
