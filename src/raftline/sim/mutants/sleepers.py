"""Mutants of groups that fall asleep (A30): who sleeps too early, and who does not wake."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_BEATS = "raftline.runtime.beats"
_FOLLOWING = "raftline.core.following"
_PROGRESS = "raftline.core.progress"
_QUIESCENCE = "raftline.core.quiescence"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="sleeps_without_the_last_commit",
        rules=("A30", "B27"),
        does="A follower that was asked to sleep does so although it does not know of the last commit.",
        patches=(
            Patch(
                _QUIESCENCE,
                "        and request.commit == match_index == state.log.last_index == state.commit\n",
                "        and match_index == state.log.last_index\n",
            ),
            Patch(
                _QUIESCENCE,
                "    return state.drowsy_since < _NEVER and state.commit == state.log.last_index\n",
                "    return state.drowsy_since < _NEVER\n",
            ),
            Patch(
                _QUIESCENCE,
                "frozenset({Proposed, ",
                "frozenset({",
            ),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="sleeps_and_does_not_say_so",
        rules=("A30",),
        does="A follower sleeps and answers as if it were awake.",
        patches=(Patch(_FOLLOWING, "msgspec.structs.replace(answer.message, asleep=True)", "answer.message"),),
        bench="sleepers",
    ),
    Mutant(
        name="leader_sleeps_while_a_voter_lags",
        rules=("A30", "B26"),
        does="A leader asks for sleep, and sleeps, as soon as a majority holds everything.",
        patches=(
            Patch(_QUIESCENCE, "    if not (_is_idle(state) and _everybody_is_level(state)):", "    if False:"),
            Patch(
                _QUIESCENCE,
                "        elif not progress.asleep:\n            return\n",
                "",
            ),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="leader_sleeps_with_work_left",
        rules=("A30",),
        does="A leader sleeps although a change, a transfer or a preferred successor waits.",
        patches=(
            Patch(_QUIESCENCE, "        and state.change is None\n        and state.transfer is None\n", ""),
            Patch(_QUIESCENCE, "        and not _somebody_is_preferred(state)\n", ""),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="nobody_ever_sleeps",
        rules=("A30",),
        does="A leader waits for followers that are gone, too.",
        patches=(
            Patch(
                _QUIESCENCE,
                "    return progress.heard_at < state.now - state.config.election_timeout_s[1]\n",
                "    return progress.heard_at < 0.0\n",
            ),
            Patch(
                _QUIESCENCE,
                "    if has_quorum(state.membership, [*_sleepers(state), state.me]):\n        fall_asleep",
                "    if len(state.progress) > 9:\n        fall_asleep",
            ),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="suspicion_wakes_nobody",
        rules=("A30",),
        does="The groups of a node that is suspected sleep on.",
        patches=(
            Patch(_BEATS, "        self._wake([group for group, sleeper in", "        ([group for group, sleeper in"),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="silence_is_not_counted",
        rules=("A30",),
        does="A node is suspected when its connection breaks, however long it is silent.",
        patches=(Patch(_BEATS, "0 if peer in heard else before + 1", "0"),),
        bench="sleepers",
    ),
    Mutant(
        name="restart_of_the_leader_wakes_nobody",
        rules=("A30",),
        does="A follower asleep is not woken when its leader's program is started again at once.",
        patches=(
            Patch(_BEATS, "        self._silent[peer] = self._silent_max\n        self._suspect(peer)\n", ""),
            Patch(
                _QUIESCENCE,
                "        if state.asleep and not _is_of_sleepers",
                "        if state.asleep and type(event.message).__name__ != 'VoteRequest' and not _is_of_sleepers",
            ),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="woken_leader_steps_down",
        rules=("A30", "A27"),
        does="A leader that wakes steps down at once: it heard nobody while all slept.",
        patches=(
            Patch(_PROGRESS, "            self.heard_at = now\n            self.sent_at", "            self.sent_at"),
        ),
        bench="woken_leader",
    ),
    Mutant(
        name="woken_leader_says_nothing",
        rules=("A30", "A22"),
        does="A leader that wakes waits for the next heartbeat.",
        patches=(Patch(_PROGRESS, "            self.sent_at = _NEVER\n", "            self.sent_at = now\n"),),
        bench="sleepers",
    ),
    Mutant(
        name="woken_follower_has_no_timer",
        rules=("A30", "A2"),
        does="A follower that wakes waits for its leader for ever.",
        patches=(
            Patch(
                _QUIESCENCE,
                "            state.leader_heard_at = state.now\n        state.restart_election_timer()\n",
                "            state.leader_heard_at = state.now\n        state.election_deadline = state.now + 1e9\n",
            ),
        ),
        bench="sleepers",
    ),
    Mutant(
        name="deposed_while_asleep",
        rules=("A30", "K2"),
        does="A follower that sleeps believes in no leader and votes for whoever asks.",
        patches=(
            Patch(
                _QUIESCENCE,
                "        if suspected is None or suspected != state.leader:\n",
                "        if suspected == 0:\n",
            ),
        ),
        bench="sleepers",
    ),
)
