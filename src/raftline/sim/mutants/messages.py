"""Mutants of section E, messages that are stale, repeated or reordered, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_FOLLOWING = "raftline.core.following"
_LOOP = "raftline.runtime.group_loop"
_PROGRESS = "raftline.core.progress"
_RAFT = "raftline.core.raft"
_REPLICATION = "raftline.core.replication"
_ROLES = "raftline.core.roles"
_SNAPSHOTS = "raftline.core.snapshots"
_TRANSITIONS = "raftline.core.transitions"

_GATE = "    elif message.term > state.term and not ("
_SENT_LATE = (
    "            for outgoing in ready.messages_after_persist:\n"
    "                self._transport.send(outgoing.to, self._group, outgoing.message)\n"
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="replies_of_an_old_term_count",
        rules=("E1",),
        does="An answer to AppendEntries counts while its receiver leads, whatever term was asked in.",
        patches=(
            Patch(
                _RAFT,
                "        if message.request_term != asked:\n",
                "        if kind is not AppendReply and message.request_term != asked:\n",
            ),
            Patch(  # what was sent before this leader led is taken for outdated, too
                _REPLICATION,
                "    if progress.is_outdated(reply.echo):\n",
                "    if reply.request_term == state.term and progress.is_outdated(reply.echo):\n",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="finished_write_of_a_cut_tail_counts",
        rules=("E2",),
        does="A finished write counts for the index it had, although the log was cut and filled anew meanwhile.",
        patches=(Patch(_RAFT, "        if epoch == state.log_epoch and last_index", "        if last_index"),),
        bench="walk_late_writes",
    ),
    Mutant(
        name="answers_of_a_former_self_count",
        rules=("E2", "C14"),
        does="An acknowledgement counts although its sender was removed and added since, or lost its disk.",
        patches=(
            Patch(
                _REPLICATION,
                "    if progress.is_outdated(reply.echo):\n",
                "    if progress.is_outdated(reply.echo) and not reply.success:\n",
            ),
        ),
        bench="answers_of_a_former_self",
    ),
    Mutant(
        name="snapshots_of_a_former_self_count",
        rules=("E2", "D15"),
        does="An installed snapshot counts although its sender was removed and added since, or lost its disk.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "    if progress.is_outdated(reply.echo):\n",
                "    if progress.is_outdated(reply.echo) and not reply.installed:\n",
            ),
        ),
        bench="answers_of_a_former_self",
    ),
    Mutant(
        name="a_newcomer_answers_old_numbers",
        rules=("E2",),
        does="A leader does not note from which number on the answers of a node are those of a newcomer.",
        patches=(
            Patch(
                _TRANSITIONS,
                "PeerProgress(state.log.last_index + 1, state.now, first_echo)",
                "PeerProgress(state.log.last_index + 1, state.now)",
            ),
        ),
        bench="answers_of_a_former_self",
    ),
    Mutant(
        name="a_lost_disk_answers_old_numbers",
        rules=("E2", "C14"),
        does="A leader does not note from which number on the answers are those of an emptied disk.",
        patches=(
            Patch(
                _PROGRESS,
                "        self.match_index = 0\n        self.first_echo = first_echo\n",
                "        self.match_index = 0\n",
            ),
        ),
        bench="answers_of_a_former_self",
    ),
    Mutant(
        name="last_reply_wins",
        rules=("E3",),
        does="A success sets the match index, also if it is lower than the one known.",
        patches=(
            Patch(_PROGRESS, "self.match_index = max(self.match_index, match_index)", "self.match_index = match_index"),
        ),
    ),
    Mutant(
        name="every_refusal_moves_next",
        rules=("E4",),
        does="A late refusal moves the next index, whatever was acknowledged since.",
        patches=(
            Patch(
                _REPLICATION,
                "    if progress.is_stale_refusal(reply.prev_index):\n",
                "    if progress.mode is Mode.SNAPSHOT:\n",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="silence_is_a_refusal",
        rules=("E5",),
        does="No answer within a heartbeat is taken for a conflict: everything not acknowledged is sent again.",
        patches=(
            Patch(
                _REPLICATION,
                "            progress.on_heartbeat_due()\n",
                "            if progress.mode is Mode.REPLICATE and progress.inflight_messages:\n"
                "                progress.on_refused(0)\n"
                "            progress.on_heartbeat_due()\n",
            ),
        ),
    ),
    Mutant(
        name="entries_of_an_old_leader_are_taken",
        rules=("E6",),
        does="The entries of an AppendEntries are appended before its term is looked at.",
        patches=(
            Patch(
                _FOLLOWING,
                "    reply = AppendReply(state.term, request.term, False, request.prev_index, 0",
                "    if not state.progress and state.log.term_at(request.prev_index) == request.prev_term:\n"
                "        _take_entries(state, request)\n"
                "    reply = AppendReply(state.term, request.term, False, request.prev_index, 0",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="latest_message_is_the_newest",
        rules=("E7",),
        does="What follows the entries of an AppendEntries is cut: messages are believed to come in order.",
        patches=(
            Patch(
                _FOLLOWING,
                "    _take_entries(state, request)\n    state.commit",
                "    _take_entries(state, request)\n"
                "    if request.entries and max(match_index, state.commit) < log.last_index:\n"
                "        _cut_from(state, max(match_index, state.commit) + 1)\n"
                "    state.commit",
            ),
        ),
    ),
    Mutant(
        name="failed_node_goes_on",
        rules=("E8",),
        does="A node whose disk failed goes on taking turns.",
        patches=(
            Patch(
                _LOOP,
                "        if not self._stopped:\n            self.stop(",
                '        if not self._stopped and type(error).__name__ == "SafetyViolation":\n            self.stop(',
            ),
        ),
        bench="slow_disks",
    ),
    Mutant(
        name="peers_are_awaited_in_turn",
        rules=("E9", "B13"),
        does="The next peer is spoken to once the one before it has answered.",
        patches=(
            Patch(
                _REPLICATION,
                "    state.must_announce = False\n    return planned\n",
                "        if progress.inflight_messages or progress.probing:\n"
                "            break\n"
                "    state.must_announce = False\n    return planned\n",
            ),
        ),
    ),
    Mutant(
        name="leader_ignores_other_leaders",
        rules=("E10", "A9"),
        does="A leader ignores AppendEntries, also of a higher term.",
        patches=(
            Patch(
                _RAFT,
                _GATE,
                "    elif kind is AppendRequest and state.role is Role.LEADER and message.term > state.term:\n"
                '        return "leads itself"\n' + _GATE,
            ),
        ),
    ),
    Mutant(
        name="term_is_read_when_the_request_leaves",
        rules=("E11",),
        does="A vote request carries the term of the moment when it is sent, not of the one when it was decided.",
        patches=(
            Patch(
                _LOOP,
                _SENT_LATE,
                "            for outgoing in ready.messages_after_persist:\n"
                "                message = outgoing.message\n"
                '                if type(message).__name__ == "VoteRequest" and not message.pre_vote:\n'
                '                    message = __import__("msgspec").structs.replace(message, term=self._core.term)\n'
                "                self._transport.send(outgoing.to, self._group, message)\n",
            ),
        ),
        bench="slow_disks",
    ),
    Mutant(
        name="request_rebuilt_after_the_defeat",
        rules=("E12", "A21"),
        does="A refusal that deposed the leader is retried, with the term that it has just adopted.",
        patches=(
            Patch(
                _RAFT,
                "        if message.request_term != asked:\n",
                "        if message.request_term != asked and (kind is not AppendReply or state.progress):\n",
            ),
            Patch(_ROLES, '    (_FOLLOWER, AppendReply): "no longer leads",\n', ""),
            Patch(
                _ROLES,
                "    (_LEADER, AppendReply): replication",
                "    (_FOLLOWER, AppendReply): replication.try_again,\n    (_LEADER, AppendReply): replication",
            ),
            Patch(
                _REPLICATION,
                "def plan_appends(",
                "def try_again(state, sender, reply):\n"
                "    at = min(reply.prev_index, state.log.last_index)\n"
                "    term = state.log.term_at(at)\n"
                "    if not reply.success and term is not None:\n"
                "        state.send(sender, AppendRequest(state.term, at, term, (), state.commit))\n"
                "\n\ndef plan_appends(",
            ),
        ),
        bench="elections",
    ),
)
