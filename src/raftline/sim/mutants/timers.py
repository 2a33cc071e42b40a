"""Mutants of section A that are about time, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_ELECTION = "raftline.core.election"
_FOLLOWING = "raftline.core.following"
_LOOP = "raftline.runtime.group_loop"
_REPLICATION = "raftline.core.replication"
_RULES = "raftline.core.rules"
_STATE = "raftline.core.state"
_TRANSITIONS = "raftline.core.transitions"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="vote_request_restarts_the_timer",
        rules=("A2",),
        does="Every vote request restarts the election timer, granted or not.",
        patches=(
            Patch(
                _ELECTION,
                "    granted = state.vote in",
                "    state.restart_election_timer()\n    granted = state.vote in",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="heartbeat_leaves_the_timer",
        rules=("A2",),
        does="An AppendEntries without entries does not restart the election timer.",
        patches=(
            Patch(
                _FOLLOWING,
                "    hear_leader(state, sender)\n",
                "    due = state.election_deadline\n    hear_leader(state, sender)\n"
                "    if not request.entries:\n        state.election_deadline = due\n",
            ),
        ),
    ),
    Mutant(
        name="failed_log_check_leaves_the_timer",
        rules=("A2",),
        does="An AppendEntries of this term restarts the election timer only if its log check passes.",
        patches=(
            Patch(
                _FOLLOWING,
                "    hear_leader(state, sender)\n",
                "    due = state.election_deadline\n    hear_leader(state, sender)\n"
                "    if state.log.term_at(request.prev_index) != request.prev_term:\n"
                "        state.election_deadline = due\n",
            ),
        ),
    ),
    Mutant(
        name="old_leader_restarts_the_timer",
        rules=("A3",),
        does="An AppendEntries of an older term restarts the election timer.",
        patches=(
            Patch(
                _FOLLOWING,
                "    reply = AppendReply(state.term, request.term, False, request.prev_index, 0",
                "    state.restart_election_timer()\n"
                "    reply = AppendReply(state.term, request.term, False, request.prev_index, 0",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="old_leader_is_not_told_the_term",
        rules=("A3",),
        does="An AppendEntries of an older term is answered with the request's term.",
        patches=(
            Patch(
                _FOLLOWING,
                "AppendReply(state.term, request.term, False, request.prev_index, 0",
                "AppendReply(request.term, request.term, False, request.prev_index, 0",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="granting_leaves_the_timer",
        rules=("A4",),
        does="Granting a vote does not restart the election timer.",
        patches=(Patch(_ELECTION, "        state.restart_election_timer()  # the third", "        # the third"),),
    ),
    Mutant(
        name="only_followers_act_on_the_timer",
        rules=("A5",),
        does="A candidate whose timer fires does nothing: one split vote freezes the cluster.",
        patches=(
            Patch(
                _RULES,
                "    elif state.now >= state.election_deadline and",
                "    elif state.role is Role.FOLLOWER and state.now >= state.election_deadline and",
            ),
        ),
    ),
    Mutant(
        name="timeout_is_constant",
        rules=("A6",),
        does="Every election timeout is the middle of the range.",
        patches=(Patch(_STATE, "(high - low) * self.random.random()", "(high - low) / 2"),),
    ),
    Mutant(
        name="timeout_is_drawn_once",
        rules=("A6",),
        does="A node draws its election timeout when it starts and keeps it.",
        patches=(
            Patch(
                _STATE,
                "(high - low) * self.random.random()",
                "(high - low) * self.__class__.drawn.setdefault(id(self), self.random.random())",
            ),
            Patch(_STATE, "    __slots__ = (", "    drawn: dict[int, float] = {}\n    __slots__ = ("),
        ),
    ),
    Mutant(
        name="same_seed_on_every_node",
        rules=("A6",),
        does="All nodes draw their timeouts from generators with the same seed.",
        patches=(
            Patch(_STATE, "        self.random = random\n", '        self.random = __import__("random").Random(1)\n'),
        ),
    ),
    Mutant(
        name="heartbeats_too_rare",
        rules=("A7",),
        does="The heartbeat interval is about as long as the election timeout.",
        patches=(
            Patch(
                _REPLICATION,
                "    return progress.sent_at + state.config.heartbeat_interval_s\n",
                "    return progress.sent_at + state.config.election_timeout_s[0]\n",
            ),
        ),
    ),
    Mutant(
        name="heartbeats_too_often",
        rules=("A7",),
        does="A leader sends four times as many heartbeats as it was asked for.",
        patches=(
            Patch(
                _REPLICATION,
                "    return progress.sent_at + state.config.heartbeat_interval_s\n",
                "    return progress.sent_at + state.config.heartbeat_interval_s / 4\n",
            ),
        ),
    ),
    Mutant(
        name="timeout_below_the_range",
        rules=("A7",),
        does="The election timeout is drawn from [0, high) instead of [low, high).",
        patches=(Patch(_STATE, "self.now + low + (high - low)", "self.now + high"),),
    ),
    Mutant(
        name="higher_term_restarts_the_timer",
        rules=("A10",),
        does="Every change to follower restarts the election timer.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    state.role = Role.FOLLOWER\n",
                "    state.role = Role.FOLLOWER\n    state.restart_election_timer()\n",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="deposed_leader_has_no_timer",
        rules=("A10",),
        does="A leader that steps down does not start an election timer.",
        patches=(Patch(_TRANSITIONS, "        state.restart_election_timer()  # a leader", "        # a leader"),),
        bench="elections",
    ),
    Mutant(
        name="heartbeats_only_with_work",
        rules=("A22",),
        does="A follower that has everything hears nothing until there is something to send.",
        patches=(
            Patch(
                _REPLICATION,
                "    return progress.sent_at + state.config.heartbeat_interval_s\n",
                "    if progress.match_index == state.log.last_index:\n"
                '        return float("inf")\n'
                "    return progress.sent_at + state.config.heartbeat_interval_s\n",
            ),
        ),
    ),
    Mutant(
        name="timer_runs_on_the_leader",
        rules=("A23",),
        does="The election timer runs on the leader too.",
        patches=(
            Patch(
                _RULES,
                "        consider_sleep(state)\n    elif state.now",
                "        consider_sleep(state)\n    if state.now",
            ),
        ),
    ),
    Mutant(
        name="expiry_is_not_checked_again",
        rules=("A24", "A26"),
        does="A timer that was under way starts an election although the deadline was moved.",
        patches=(Patch(_RULES, "    elif state.now >= state.election_deadline and", "    elif"),),
    ),
    Mutant(
        name="old_timers_stay",
        rules=("A25",),
        does="A new timer is set and the old one is not cancelled.",
        patches=(Patch(_LOOP, "            self._timer.cancel()\n            self._timer = None\n", ""),),
    ),
    Mutant(
        name="timers_on_the_wall_clock",
        rules=("A26",),
        does="Time is measured on a clock that can jump.",
        patches=(
            Patch(
                _LOOP,
                "            now = self._loop.time()\n            self._drain(now)\n",
                "            now = self._skew + self._clock.wall_ms() / 1000\n            self._drain(now)\n",
            ),
            Patch(
                _LOOP,
                "        self._stopped = False\n        self.ended_by",
                "        self._stopped = False\n"
                "        self._skew = loop.time() - self._clock.wall_ms() / 1000\n        self.ended_by",
            ),
        ),
    ),
    Mutant(
        name="reads_on_a_lease",
        rules=("A29", "G3"),
        does="A leader answers reads if it heard from a majority within an election timeout, by its own clock.",
        patches=(
            Patch(
                _RULES,
                "    conclude_reads(state, agreed(state.membership, answered))\n",
                "    oldest = state.now - state.config.election_timeout_s[1]\n"
                "    heard = [node for node, progress in state.progress.items() if progress.heard_at >= oldest]\n"
                "    if has_quorum(state.membership, [*heard, state.me]):\n"
                "        conclude_reads(state, state.reads.round)\n",
            ),
        ),
        bench="cut_off_leaders",
    ),
)
