"""Mutants of section A that are about votes and roles, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_ELECTION = "raftline.core.election"
_LOG = "raftline.core.log"
_PROGRESS = "raftline.core.progress"
_QUORUM = "raftline.core.quorum"
_RAFT = "raftline.core.raft"
_REPLICATION = "raftline.core.replication"
_ROLES = "raftline.core.roles"
_RULES = "raftline.core.rules"
_TRANSITIONS = "raftline.core.transitions"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="candidate_keeps_its_vote",
        rules=("A1",),
        does="A candidate asks for votes and gives itself none.",
        patches=(Patch(_TRANSITIONS, "    state.vote = state.me\n", ""),),
    ),
    Mutant(
        name="own_vote_is_not_counted",
        rules=("A1",),
        does="A candidate votes for itself and waits for a majority of the others.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    state.hard_state_changed = True\n    state.votes = {state.me: True}\n",
                "    state.hard_state_changed = True\n    state.votes = {}\n",
            ),
        ),
    ),
    Mutant(
        name="second_attempt_in_the_same_term",
        rules=("A1",),
        does="A candidate whose election failed tries again without a new term.",
        patches=(Patch(_TRANSITIONS, "    state.term += 1\n", "    state.term += state.vote != state.me\n"),),
        bench="elections",
    ),
    Mutant(
        name="terms_of_replies_are_ignored",
        rules=("A8", "A9"),
        does="Only requests make a node adopt a higher term.",
        patches=(
            Patch(
                _RAFT,
                "    elif message.term > state.term and not (",
                '    elif message.term > state.term and not kind.__name__.endswith("Reply") and not (',
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="higher_term_keeps_the_vote",
        rules=("A8",),
        does="A higher term is adopted and the vote of the old one is kept.",
        patches=(Patch(_TRANSITIONS, "        state.vote = None\n", ""),),
    ),
    Mutant(
        name="vote_is_tested_before_the_term",
        rules=("A8",),
        does="A vote request of a higher term is refused because of the vote given in the old one.",
        patches=(
            Patch(
                _RAFT,
                "    elif message.term > state.term and not (",
                "    elif kind is VoteRequest and state.vote not in (None, sender) and not message.pre_vote:\n"
                "        state.send(sender, VoteReply(state.term, message.term, granted=False))\n"
                '        return "has voted"\n'
                "    elif message.term > state.term and not (",
            ),
        ),
    ),
    Mutant(
        name="leader_ignores_terms_of_acknowledgements",
        rules=("A9",),
        does="A leader does not step down when an answer to AppendEntries carries a higher term.",
        patches=(
            Patch(
                _RAFT,
                "    elif message.term > state.term and not (",
                "    elif message.term > state.term and not (kind is AppendReply and state.progress) and not (",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="vote_twice_in_a_term",
        rules=("A11",),
        does="The vote is given without looking whether it was given already.",
        patches=(Patch(_ELECTION, "state.vote in (None, sender) and up_to_date", "up_to_date"),),
        bench="elections",
    ),
    Mutant(
        name="vote_is_not_remembered",
        rules=("A11",),
        does="The vote is given and not written down.",
        patches=(Patch(_ELECTION, "            state.vote = sender\n", ""),),
    ),
    Mutant(
        name="append_clears_the_vote",
        rules=("A12",),
        does="An AppendEntries of this term clears the vote.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    state.leader_heard_at = state.now\n",
                "    state.leader_heard_at = state.now\n    state.vote = None\n",
            ),
        ),
    ),
    Mutant(
        name="longer_log_wins",
        rules=("A13",),
        does="The log check compares lengths only.",
        patches=(
            Patch(
                _LOG,
                "last_term > self.last_term or (last_term == self.last_term and last_index >= self.last_index)",
                "last_index >= self.last_index",
            ),
        ),
        bench="walk",
    ),
    Mutant(
        name="equal_log_loses",
        rules=("A13",),
        does="The log check demands a strictly longer log of the same last term.",
        patches=(Patch(_LOG, "last_index >= self.last_index)", "last_index > self.last_index)"),),
    ),
    Mutant(
        name="committed_log_wins",
        rules=("A13",),
        does="The log check compares with the commit index instead of the end of the log.",
        patches=(
            Patch(
                _ELECTION,
                "state.log.is_up_to_date(request.last_index, request.last_term)",
                "request.last_index >= state.commit",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="vote_in_an_old_term",
        rules=("A14",),
        does="A vote request of an older term is granted.",
        patches=(Patch(_RAFT, "message.term, granted=False, pre_vote", "message.term, granted=True, pre_vote"),),
        bench="elections",
    ),
    Mutant(
        name="refusal_without_the_term",
        rules=("A14",),
        does="A vote request of an older term is refused with the request's term.",
        patches=(Patch(_RAFT, "state.term, message.term, granted=False", "message.term, message.term, granted=False"),),
        bench="elections",
    ),
    Mutant(
        name="has_voted_so_refuses",
        rules=("A15",),
        does="The same candidate asking again in the same term is refused.",
        patches=(Patch(_ELECTION, "state.vote in (None, sender) and", "state.vote is None and"),),
        bench="elections",
    ),
    Mutant(
        name="half_is_a_majority",
        rules=("A16",),
        does="A majority is n // 2.",
        patches=(Patch(_QUORUM, "    return size // 2 + 1\n", "    return max(1, size // 2)\n"),),
    ),
    Mutant(
        name="majority_of_those_who_answered",
        rules=("A16",),
        does="An election is won by a majority of the votes that came in.",
        patches=(
            Patch(
                _RULES,
                "    return has_quorum(state.membership, granted)\n",
                "    return len(state.votes) >= 2 and 2 * len(granted) > len(state.votes)\n",
            ),
        ),
    ),
    Mutant(
        name="late_vote_counts",
        rules=("A17",),
        does="A vote counts while its receiver is a candidate, of whatever term.",
        patches=(
            Patch(
                _RAFT,
                "        if message.request_term != asked:\n",
                "        if kind is not VoteReply and message.request_term != asked:\n",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="late_vote_wins_again",
        rules=("A18",),
        does="A vote beyond the majority makes the leader take over once more.",
        patches=(
            Patch(_ROLES, '    (_LEADER, VoteReply): "the election is won already",\n', ""),
            Patch(
                _ROLES,
                "    (_LEADER, AppendReply): replication",
                "    (_LEADER, VoteReply): lambda state, _sender, _reply: transitions.become_leader(state),\n"
                "    (_LEADER, AppendReply): replication",
            ),
            Patch(_ROLES, "replication, snapshots\n", "replication, snapshots, transitions\n"),
            Patch(
                _TRANSITIONS,
                '    assert state.role is Role.CANDIDATE, "only a candidate wins',
                '    # "only a candidate wins',
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="winner_waits_before_it_speaks",
        rules=("A19",),
        does="A new leader waits for the first heartbeat interval before it sends anything.",
        patches=(
            Patch(_PROGRESS, '        self.sent_at = float("-inf")\n', "        self.sent_at = now\n"),
            Patch(
                _REPLICATION,
                "        must_say = (\n"
                "            state.must_announce\n            or state.now >= _silent_until(state, progress)\n",
                "        heartbeat = state.now >= _silent_until(state, progress)\n"
                "        if not heartbeat and not progress.match_index:\n"
                "            continue\n"
                "        must_say = (\n            heartbeat\n",
            ),
        ),
    ),
    Mutant(
        name="candidate_fights_the_leader_of_its_term",
        rules=("A20",),
        does="A candidate answers the AppendEntries of its own term's leader and stays a candidate.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    if state.role is not Role.FOLLOWER or state.leader != leader:\n",
                "    if state.role is Role.FOLLOWER and state.leader != leader:\n",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="heartbeats_outlive_the_leadership",
        rules=("A21",),
        does="A deposed leader goes on sending AppendEntries, in the term that it has adopted.",
        patches=(
            Patch(_TRANSITIONS, "        state.progress = {}\n", ""),
            Patch(_RAFT, "        leading = state.role is Role.LEADER\n", "        leading = bool(state.progress)\n"),
        ),
    ),
    Mutant(
        name="silence_is_consent",
        rules=("A27",),
        does="A voter that cannot be reached counts as having granted its vote.",
        patches=(
            Patch(
                _RULES,
                "    granted = [node for node, yes in state.votes.items() if yes]\n",
                "    granted = [node for node in state.membership.everyone() if state.votes.get(node, True)]\n",
            ),
        ),
    ),
    Mutant(
        name="leader_is_never_forgotten",
        rules=("A28",),
        does="A node whose timer expires goes on naming the leader that it lost.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    state.role = Role.PRE_CANDIDATE\n    state.leader = None\n",
                "    state.role = Role.PRE_CANDIDATE\n",
            ),
        ),
    ),
    Mutant(
        name="leader_is_not_recorded",
        rules=("A28",),
        does="An AppendEntries of this term does not name the leader.",
        patches=(
            Patch(
                _TRANSITIONS,
                "        become_follower(state, state.term, leader, why)\n",
                "        become_follower(state, state.term, None, why)\n",
            ),
        ),
    ),
)
