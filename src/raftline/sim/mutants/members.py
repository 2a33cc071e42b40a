"""Mutants of section K: membership (§6, thesis 4), the sticky leader, transfers (thesis 3.10), leases, versions."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_CHANGING = "raftline.core.changing"
_CONFIGURATION = "raftline.core.configuration"
_ELECTION = "raftline.core.election"
_LEASE = "raftline.core.lease"
_QUORUM = "raftline.core.quorum"
_RAFT = "raftline.core.raft"
_REPLICA = "raftline.replica.replica"
_STATE = "raftline.core.state"
_TRANSFER = "raftline.core.transfer"
_VERSIONS = "raftline.replica.versions"

_BOTH_HALVES = (
    "    return _is_majority(membership.voters, nodes) and (\n"
    "        not membership.outgoing or _is_majority(membership.outgoing, nodes)\n"
    "    )\n"
)
_LOWER_HALF = (
    "    value = _agreed_half(membership.voters, values)\n"
    "    if membership.outgoing:\n"
    "        value = min(value, _agreed_half(membership.outgoing, values))\n"
    "    return value\n"
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="old_majority_alone_decides",
        rules=("K1", "A16"),
        does="In a joint configuration the old voters decide by themselves.",
        patches=(
            Patch(_QUORUM, _BOTH_HALVES, "    return _is_majority(membership.outgoing or membership.voters, nodes)\n"),
            Patch(_QUORUM, _LOWER_HALF, "    return _agreed_half(membership.outgoing or membership.voters, values)\n"),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="new_majority_alone_decides",
        rules=("K1", "A16"),
        does="In a joint configuration the new voters decide by themselves.",
        patches=(
            Patch(_QUORUM, _BOTH_HALVES, "    return _is_majority(membership.voters, nodes)\n"),
            Patch(_QUORUM, _LOWER_HALF, "    return _agreed_half(membership.voters, values)\n"),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="learners_are_counted",
        rules=("K1", "A16"),
        does="A majority is one of all members, those that do not vote included.",
        patches=(
            Patch(
                _QUORUM, _BOTH_HALVES, "    return _is_majority((*membership.voters, *membership.learners), nodes)\n"
            ),
            Patch(
                _QUORUM, _LOWER_HALF, "    return _agreed_half((*membership.voters, *membership.learners), values)\n"
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="second_change_before_the_first_is_committed",
        rules=("K1",),
        does="A change is taken while another one is in the log and not committed.",
        patches=(
            Patch(
                _CHANGING,
                "    if membership.is_joint or state.configuration.index > state.commit:\n        raise",
                "    if membership.is_joint:\n        raise",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="change_before_an_entry_of_its_term",
        rules=("K1", "B11"),
        does="A new leader changes the membership before it has committed anything in its own term.",
        patches=(
            Patch(
                _CHANGING,
                "    if state.log.term_at(state.commit) != state.term:\n        raise",
                "    if state.log.term_at(state.commit) is None:\n        raise",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="joint_configuration_is_passed_over",
        rules=("K1",),
        does="Voters change from the old ones to the new ones in one entry.",
        patches=(
            Patch(
                "raftline.core.changes",
                "now, voters=names, outgoing=now.voters, learners=learners",
                "now, voters=names, outgoing=(), learners=learners",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="joint_configuration_is_left_too_early",
        rules=("K1",),
        does="The final configuration is appended when the joint one stands in the log, committed or not.",
        patches=(
            Patch(
                _CHANGING,
                "    if state.configuration.index > state.commit:\n        return\n    _release_departed(state)\n",
                "    if state.configuration.index > state.commit and not state.membership.is_joint:\n        return\n"
                "    _release_departed(state)\n",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="joint_configuration_is_never_left",
        rules=("K1",),
        does="The final configuration is left to whoever asked for the change.",
        patches=(
            Patch(
                _CHANGING,
                "        _append_membership(state, leave_joint(membership))\n        return\n",
                "        assert leave_joint(membership).voters\n        return\n",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="uncommitted_change_is_not_rolled_back",
        rules=("K1", "B7"),
        does="A change whose entry was cut off stays in force.",
        patches=(
            Patch(
                _CONFIGURATION,
                "        while len(self._history) > 1 and self._history[-1][0] >= index:\n"
                "            self._history.pop()\n"
                "        return len(self._history) != before\n",
                "        cut = [pair for pair in self._history if pair[0] >= index]\n"
                "        del self._history[before - len(cut) :]\n"
                "        if cut and self._history:\n"
                "            self._history[-1] = (self._history[-1][0], cut[-1][1])\n"
                "        return bool(cut)\n",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="committed_change_takes_effect",
        rules=("K1",),
        does="A change takes effect when it is committed, not when it is appended.",
        patches=(
            Patch(
                _STATE,
                "        return self.configuration.current\n",
                "        return self.configuration.at(max(self.commit, self.log.base_index))\n",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="removed_leader_stays",
        rules=("K1",),
        does="A leader that was removed goes on leading.",
        patches=(
            Patch(
                _CHANGING,
                "    if not membership.is_voter(state.me):\n        retire(state)\n        return\n",
                "",
            ),
        ),
        bench="members",
    ),
    Mutant(
        name="removed_are_never_let_go",
        rules=("K1",),
        does="Whoever was removed hears from the leader as long as that one leads.",
        patches=(Patch(_CHANGING, "        return\n    _release_departed(state)\n", "        return\n"),),
        bench="members",
    ),
    Mutant(
        name="removed_server_runs",
        rules=("K1", "K2"),
        does="A server that was removed goes on asking for votes.",
        patches=(
            Patch(
                _STATE,
                "any(membership.is_voter(me) for membership in self.configuration.possible(self.commit))\n",
                "True\n",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="newcomer_votes_before_it_has_caught_up",
        rules=("K1",),
        does="A learner is promoted whatever it holds, even if it does not answer.",
        patches=(
            Patch(
                _CHANGING,
                "    ready = [node for node in membership.promoting if why_not_ready(state, node) is None]\n",
                "    ready = list(membership.promoting)\n",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="voters_that_cannot_elect",
        rules=("K1", "C14"),
        does="A change is carried out although those who vote afterwards lost too many disks to elect anybody.",
        patches=(
            Patch(
                _CHANGING,
                "        if not progress.is_trusted:\n            wrong[node] =",
                "        if False:\n            wrong[node] =",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="voters_that_are_down",
        rules=("K1",),
        does="A change is carried out although most of those who vote afterwards do not answer.",
        patches=(Patch(_CHANGING, "        elif progress.is_silent(silent_since):\n", "        elif False:\n"),),
        bench="removal_beside_one_that_is_down",
    ),
    Mutant(
        name="snapshot_carries_the_first_membership",
        rules=("K1", "D2"),
        does="A snapshot carries the membership that is in force now, not the one at its index.",
        patches=(
            Patch(
                _REPLICA,
                "self.core.state.configuration.at(self.applied))",
                "self.core.state.configuration._history[0][1])",
            ),
        ),
        bench="members",
    ),
    # The sticky leader.
    Mutant(
        name="vote_ignores_stickiness",
        rules=("K2", "A2"),
        does="A node answers every candidate, however recently it heard its leader.",
        patches=(
            Patch(
                _ELECTION,
                "    if not state.config.pre_vote:\n        return False\n    if state.role is Role.LEADER:\n",
                "    if state.term >= 0:\n        return False\n    if state.role is Role.LEADER:\n",
            ),
        ),
    ),
    Mutant(
        name="leader_answers_candidates",
        rules=("K2",),
        does="A leader that is asked for a vote in a higher term steps down at once.",
        patches=(
            Patch(
                _ELECTION,
                "    if state.role is Role.LEADER:\n        return True\n",
                "    if state.role is Role.LEADER:\n        return False\n",
            ),
        ),
    ),
    # Leases.
    Mutant(
        name="lease_without_a_bound_on_drift",
        rules=("K2", "G3"),
        does="A lease lasts for the whole election timeout, as if all clocks ran alike.",
        patches=(Patch(_LEASE, " / (1 + state.config.clock_drift_max)\n", "\n"),),
        bench="leases",
    ),
    Mutant(
        name="lease_counts_from_the_answer",
        rules=("K2", "G3"),
        does="A lease counts from when the answers came, not from when the round was sent.",
        patches=(
            Patch(
                _LEASE,
                "    return started[0][1] + state.config",
                "    return max(p.heard_at for p in state.progress.values()) + state.config"
                ".election_timeout_s[0] / 1.2 if state.progress else started[0][1] + state.config",
            ),
        ),
        bench="leases",
    ),
    Mutant(
        name="lease_outlives_a_transfer",
        rules=("K2", "G3"),
        does="A leader goes on reading on its lease while it hands over, and after it told somebody to take over.",
        patches=(
            Patch(
                _LEASE,
                "    if state.lease_is_fenced or state.transfer is not None or state.log.term_at",
                "    if state.log.term_at",
            ),
        ),
        bench="walk_members",
    ),
    Mutant(
        name="vote_breaks_the_lease",
        rules=("K2", "G3"),
        does="Whoever heard a leader that may read on a lease votes for another one all the same.",
        patches=(
            Patch(
                _ELECTION,
                "    if state.leader is None and not state.config.lease_reads:\n",
                "    if state.leader is None or state.config.lease_reads:\n",
            ),
        ),
        bench="leases",
    ),
    # Transfers.
    Mutant(
        name="transfer_to_a_node_that_lags",
        rules=("K2",),
        does="A leader tells its successor to take over, however much that one lacks.",
        patches=(
            Patch(
                _TRANSFER,
                "    if progress.match_index == state.log.last_index and progress.is_trusted:\n",
                "    if progress.is_trusted:\n",
            ),
        ),
        bench="members",
    ),
    Mutant(
        name="transfer_goes_on_for_ever",
        rules=("K2",),
        does="A leader whose successor does not take over takes no proposals any more.",
        patches=(
            Patch(
                _TRANSFER,
                "    if state.now >= transfer.deadline:\n        _give_up(state, transfer)\n    elif",
                "    if",
            ),
        ),
        bench="members",
    ),
    # Versions of commands.
    Mutant(
        name="version_is_used_before_all_know_it",
        rules=("K1", "G1"),
        does="A leader lets commands of its own newest version be used, whatever the others know.",
        patches=(Patch(_VERSIONS, "        return min(versions)\n", "        return max(versions)\n"),),
        bench="versions",
    ),
    Mutant(
        name="version_is_not_in_the_snapshot",
        rules=("K1", "G14"),
        does="A snapshot does not say which version of commands may be used.",
        patches=(Patch(_REPLICA, "self.sessions.dump(), self.version.in_force,", "self.sessions.dump(), 1,"),),
        bench="versions",
    ),
)
