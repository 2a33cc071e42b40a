"""Mutants of section B, replication and commit, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_FOLLOWING = "raftline.core.following"
_LOG = "raftline.core.log"
_PROGRESS = "raftline.core.progress"
_QUORUM = "raftline.core.quorum"
_RAFT = "raftline.core.raft"
_REPLICA = "raftline.replica.replica"
_REPLICATION = "raftline.core.replication"
_RULES = "raftline.core.rules"
_TRANSITIONS = "raftline.core.transitions"

_FOLLOWER_COMMIT = "    state.commit = max(state.commit, min(request.commit, match_index))\n"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="leader_counts_what_is_not_on_its_disk",
        rules=("B1", "C5"),
        does="A leader counts itself for an entry as soon as it is in its log in memory.",
        patches=(Patch(_RULES, "stored[state.me] = state.persisted", "stored[state.me] = state.log.last_index"),),
    ),
    Mutant(
        name="leader_does_not_count_itself",
        rules=("B1",),
        does="A leader commits what a majority of the voters, itself not among them, stores.",
        patches=(Patch(_RULES, "    stored[state.me] = state.persisted\n", ""),),
    ),
    Mutant(
        name="log_check_by_index_only",
        rules=("B2",),
        does="A follower accepts entries behind any entry at prevLogIndex, whatever its term.",
        patches=(
            Patch(
                _FOLLOWING,
                "log.term_at(request.prev_index) != request.prev_term:\n",
                "request.prev_index > log.last_index:\n",
            ),
        ),
    ),
    Mutant(
        name="heartbeat_without_log_check",
        rules=("B3",),
        does="An AppendEntries without entries is answered with success at once.",
        patches=(
            Patch(
                _FOLLOWING,
                "    hear_leader(state, sender)\n",
                "    hear_leader(state, sender)\n"
                "    if not request.entries:\n"
                "        at = request.prev_index\n"
                "        ok = AppendReply(state.term, request.term, True, at, at, round=request.round)\n"
                "        state.send(sender, ok)\n"
                "        return None\n",
            ),
        ),
    ),
    Mutant(
        name="beyond_the_end_is_a_match",
        rules=("B4",),
        does="A prevLogIndex beyond the end of the log passes the log check.",
        patches=(
            Patch(
                _FOLLOWING,
                "log.term_at(request.prev_index) != request.prev_term:\n",
                "log.term_at(request.prev_index) not in (request.prev_term, None):\n",
            ),
        ),
    ),
    Mutant(
        name="refuses_and_goes_on",
        rules=("B5",),
        does="After a failed log check the follower still takes over the commit index.",
        patches=(
            Patch(
                _FOLLOWING,
                "        _refuse_conflict(state, sender, request)\n",
                "        _refuse_conflict(state, sender, request)\n"
                "        state.commit = max(state.commit, min(request.commit, log.last_index))\n",
            ),
        ),
    ),
    Mutant(
        name="truncates_each_time",
        rules=("B6",),
        does="A follower cuts its log behind prevLogIndex and appends, whether there is a conflict or not.",
        patches=(
            Patch(
                _FOLLOWING,
                "    for position, entry in enumerate(entries):\n",
                "    if (start := max(request.prev_index, state.commit)) < log.last_index:\n"
                "        _cut_from(state, start + 1)\n"
                "    for position, entry in enumerate(entries):\n",
            ),
        ),
    ),
    Mutant(
        name="old_tail_stays",
        rules=("B7",),
        does="At a conflict entries are overwritten one by one, and what follows them stays.",
        patches=(
            Patch(
                _FOLLOWING,
                "            _cut_from(state, entry.index)\n",
                "            log._entries[entry.index - log.base_index - 1] = entry\n            continue\n",
            ),
        ),
    ),
    Mutant(
        name="entries_are_added_again",
        rules=("B8",),
        does="An entry that is present already is added once more at the end.",
        patches=(
            Patch(
                _FOLLOWING,
                "        if term == entry.term:\n            continue\n",
                "        if term == entry.term:\n"
                "            again = type(entry)(log.last_index + 1, entry.term, entry.data, entry.kind)\n"
                "            append_entries(state, [again])\n"
                "            continue\n",
            ),
        ),
    ),
    Mutant(
        name="commit_to_the_end_of_the_log",
        rules=("B9",),
        does="A follower's commit index becomes min(leaderCommit, end of its log).",
        patches=(
            Patch(
                _FOLLOWING,
                _FOLLOWER_COMMIT,
                "    state.commit = max(state.commit, min(request.commit, log.last_index))\n",
            ),
        ),
    ),
    Mutant(
        name="commit_without_a_bound",
        rules=("B9",),
        does="A follower's commit index becomes leaderCommit.",
        patches=(Patch(_FOLLOWING, _FOLLOWER_COMMIT, "    state.commit = max(state.commit, request.commit)\n"),),
    ),
    Mutant(
        name="commit_on_receipt",
        rules=("B10",),
        does="A follower commits what it appends.",
        patches=(Patch(_FOLLOWING, _FOLLOWER_COMMIT, "    state.commit = max(state.commit, match_index)\n"),),
    ),
    Mutant(
        name="commit_by_counting_an_older_term",
        rules=("B11", "B18"),
        does="A leader commits, and answers, what a majority stores, of whatever term.",
        patches=(Patch(_RULES, " and state.log.term_at(index) == state.term:\n", ":\n"),),
    ),
    Mutant(
        name="new_leader_drops_old_entries",
        rules=("B12",),
        does="A new leader drops the uncommitted entries of older terms.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    if state.config.noop:\n",
                "    if state.log.last_index > state.commit:\n"
                "        state.log.cut_from(state.commit + 1, state.commit)\n"
                "        state.handed_to_disk = state.persisted = state.commit\n"
                "        sync_progress(state)\n"
                "    if state.config.noop:\n",
            ),
        ),
    ),
    Mutant(
        name="waits_for_everybody",
        rules=("B13",),
        does="An entry is committed once every voter stores it.",
        patches=(Patch(_QUORUM, "    return reached[majority(len(voters)) - 1]\n", "    return reached[-1]\n"),),
    ),
    Mutant(
        name="nobody_cares_once_the_client_is_answered",
        rules=("B14",),
        does="Entries that are committed are not sent again to those that lack them.",
        patches=(
            Patch(
                _REPLICATION,
                "    if progress.next_index > state.log.last_index:\n",
                "    if progress.next_index > state.log.last_index or progress.next_index <= state.commit:\n",
            ),
        ),
    ),
    Mutant(
        name="repair_waits_for_a_command",
        rules=("B15",),
        does="Entries are sent only in the turn in which the leader's log grew; heartbeats are always empty.",
        patches=(
            Patch(
                _REPLICATION,
                "            wanted = _bytes_allowed(state, progress)\n",
                "            grown = state.handed_to_disk < state.log.last_index\n"
                "            wanted = _bytes_allowed(state, progress) if grown else 0\n",
            ),
        ),
    ),
    Mutant(
        name="leader_truncates_on_a_refusal",
        rules=("B16",),
        does="A leader cuts its own log where a follower reports a conflict.",
        patches=(
            Patch(
                _REPLICATION,
                "    progress.on_refused(_next_index_after(state, reply))\n",
                "    if state.commit < reply.conflict_index <= state.log.last_index:\n"
                "        state.log.cut_from(reply.conflict_index, state.commit)\n"
                "        state.handed_to_disk = min(state.handed_to_disk, state.log.last_index)\n"
                "        state.persisted = min(state.persisted, state.log.last_index)\n"
                "    progress.on_refused(_next_index_after(state, reply))\n",
            ),
        ),
    ),
    Mutant(
        name="committed_entries_are_cut",
        rules=("B17", "B6"),
        does="A follower cuts its log behind prevLogIndex each time, committed or not.",
        patches=(
            Patch(_LOG, "        if index <= committed:\n", "        if index <= self.base_index:\n"),
            Patch(
                _FOLLOWING,
                "    for position, entry in enumerate(entries):\n",
                "    if (start := max(request.prev_index, log.base_index)) < log.last_index:\n"
                "        _cut_from(state, start + 1)\n"
                "    for position, entry in enumerate(entries):\n",
            ),
        ),
    ),
    Mutant(
        name="match_index_from_next_index",
        rules=("B19",),
        does="A new leader takes everybody for matching up to where it will send next.",
        patches=(
            Patch(
                _PROGRESS, "        self.match_index: Index = 0\n", "        self.match_index: Index = next_index - 1\n"
            ),
        ),
    ),
    Mutant(
        name="match_index_of_an_earlier_leadership",
        rules=("B19",),
        does="A leader goes on with what it knew of its followers when it led before.",
        patches=(
            Patch(
                _TRANSITIONS,
                "        state.progress = {}\n",
                "        state.random.kept, state.progress = state.progress, {}\n",
            ),
            Patch(
                _TRANSITIONS,
                "\n    state.progress = {}\n",
                '\n    state.progress = getattr(state.random, "kept", {})\n',
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="match_index_from_the_end_of_the_log",
        rules=("B20",),
        does="An acknowledgement is taken for everything that the leader's log holds by now.",
        patches=(
            Patch(
                _REPLICATION,
                "progress.on_accepted(reply.match_index, state",
                "progress.on_accepted(state.log.last_index, state",
            ),
        ),
    ),
    Mutant(
        name="match_index_from_what_was_sent_since",
        rules=("B20",),
        does="An acknowledgement is taken for everything sent by now.",
        patches=(
            Patch(
                _REPLICATION,
                "progress.on_accepted(reply.match_index, state",
                "progress.on_accepted(progress.next_index - 1, state",
            ),
        ),
    ),
    Mutant(
        name="deposed_is_taken_for_a_conflict",
        rules=("B21",),
        does="A refusal that carries a higher term makes the leader go back in the log instead of stepping down.",
        patches=(
            Patch(
                _RAFT,
                "    elif message.term > state.term and not (",
                "    elif kind is AppendReply and not message.success and state.role is Role.LEADER:\n"
                "        pass\n"
                "    elif message.term > state.term and not (",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="back_by_one",
        rules=("B22",),
        does="After a conflict the leader goes back one entry per round trip.",
        patches=(
            Patch(
                _REPLICATION,
                "    progress.on_refused(_next_index_after(state, reply))\n",
                "    progress.on_refused(max(1, reply.prev_index))\n",
            ),
        ),
    ),
    Mutant(
        name="conflict_fields_are_left_at_zero",
        rules=("B23",),
        does="A refusal does not say where the logs differ.",
        patches=(
            Patch(_FOLLOWING, "            conflict_index=conflict_index,\n", ""),
            Patch(_FOLLOWING, "            conflict_term=conflict_term,\n", ""),
        ),
    ),
    Mutant(
        name="scan_runs_into_the_sentinel",
        rules=("B23",),
        does="The first index of the conflicting term is searched one too far.",
        patches=(Patch(_LOG, "return self.base_index + 1 + bisect_left(", "return self.base_index + bisect_left("),),
    ),
    Mutant(
        name="short_log_reports_its_last_index",
        rules=("B23",),
        does="A log that is too short reports its last index instead of the one behind it.",
        patches=(Patch(_FOLLOWING, "= log.last_index + 1, 0\n", "= max(1, log.last_index), 0\n"),),
    ),
    Mutant(
        name="offset_forgotten_in_the_leaders_search",
        rules=("B24",),
        does="The leader searches the conflict's term by position and forgets the log's offset.",
        patches=(Patch(_LOG, "            return self.base_index + position\n", "            return position\n"),),
    ),
    Mutant(
        name="leaders_search_is_off_by_one",
        rules=("B24",),
        does="The leader goes on at its last entry of the conflict's term instead of behind it.",
        patches=(Patch(_REPLICATION, "return min(last + 1, reply.prev_index)", "return max(1, last)"),),
    ),
    Mutant(
        name="next_index_below_the_match_index",
        rules=("B24", "E4"),
        does="After a conflict the next index may fall to what the follower is known to store.",
        patches=(
            Patch(
                _PROGRESS,
                "self.next_index = max(min(next_index, self.next_index), self.match_index + 1)",
                "self.next_index = next_index",
            ),
            Patch(_PROGRESS, " or prev_index <= self.match_index:\n", ":\n"),
            Patch(_PROGRESS, "return prev_index != self.next_index - 1 if self.mode is Mode.PROBE else", "return"),
        ),
    ),
    Mutant(
        name="retry_waits_for_the_heartbeat",
        rules=("B25",),
        does="After a conflict the leader tries again with the next heartbeat, not at once.",
        patches=(
            Patch(
                _PROGRESS,
                "        self.mode = Mode.PROBE\n        self.probing = False\n        self.next_index = max(",
                "        self.mode = Mode.PROBE\n        self.probing = True\n        self.next_index = max(",
            ),
        ),
    ),
    Mutant(
        name="every_answer_asks_again",
        rules=("B25",),
        does="Every answer makes the leader speak to everybody again: a storm of requests.",
        patches=(
            Patch(
                _REPLICATION,
                "    state.must_recount = True\n",
                "    state.must_recount = state.must_announce = True\n",
            ),
        ),
    ),
    Mutant(
        name="commit_is_noticed_one_send_late",
        rules=("B26",),
        does="The commit rule does not run when an acknowledgement comes in.",
        patches=(Patch(_REPLICATION, "    state.must_recount = True\n", ""),),
    ),
    Mutant(
        name="commit_index_only_beside_entries",
        rules=("B27",),
        does="Heartbeats do not carry the commit index: the last command is applied by the leader alone.",
        patches=(
            Patch(
                _REPLICATION,
                "        commit=state.commit,\n        round=",
                "        commit=state.commit if entries else 0,\n        round=",
            ),
        ),
    ),
    Mutant(
        name="commit_over_reachable_peers",
        rules=("B28",),
        does="A majority is counted over the peers that answered lately.",
        patches=(
            Patch(
                _RULES,
                "    index = agreed(state.membership, stored)\n",
                "    oldest = state.now - state.config.election_timeout_s[0]\n"
                "    near = [p.match_index for p in state.progress.values() if p.heard_at >= oldest]\n"
                "    near = sorted([*near, state.persisted], reverse=True)\n"
                "    index = near[len(near) // 2]\n",
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="whole_tail_with_every_command",
        rules=("B29",),
        does="Each message carries everything that is not acknowledged yet.",
        patches=(
            Patch(
                _REPLICATION,
                "        must_say = (\n",
                "        if state.handed_to_disk < state.log.last_index and progress.mode is Mode.REPLICATE:\n"
                "            progress.next_index = progress.match_index + 1\n"
                "        must_say = (\n",
            ),
        ),
    ),
    Mutant(
        name="index_0_is_an_entry",
        rules=("B30",),
        does="The first command gets index 0: positions that callers hear are one too low.",
        patches=(Patch("raftline.replica.waiters", "enumerate(dones, first)", "enumerate(dones, first - 1)"),),
    ),
    Mutant(
        name="previous_term_from_another_moment",
        rules=("B31",),
        does="The prevLogTerm is that of the end of the log, not of the entry before the ones sent.",
        patches=(
            Patch(
                _REPLICATION,
                "    prev_term = log.term_at(next_index - 1)\n",
                "    prev_term = log.last_term if next_index > log.base_index + 1 else log.base_term\n",
            ),
        ),
    ),
    Mutant(
        name="previous_index_is_off_by_one",
        rules=("B31",),
        does="The prevLogIndex is one too low for the entries that follow it.",
        patches=(
            Patch(
                _REPLICATION,
                "            planned.append(Outgoing(node, request))\n",
                "            low = max(state.log.base_index, request.prev_index - bool(request.entries))\n"
                '            off = {"prev_index": low, "prev_term": state.log.term_at(low)}\n'
                '            planned.append(Outgoing(node, __import__("msgspec").structs.replace(request, **off)))\n',
            ),
        ),
    ),
    Mutant(
        name="commit_index_follows_any_message",
        rules=("B32", "E7"),
        does="A follower assigns its commit index without looking whether it rises.",
        patches=(Patch(_FOLLOWING, _FOLLOWER_COMMIT, "    state.commit = min(request.commit, match_index)\n"),),
    ),
    Mutant(
        name="one_index_for_concurrent_proposals",
        rules=("B33",),
        does="Proposals that come together are all told the first one's index.",
        patches=(Patch("raftline.replica.waiters", "enumerate(dones, first)", "((first, done) for done in dones)"),),
    ),
    Mutant(
        name="leader_gives_up_on_the_silent",
        rules=("B34",),
        does="A leader stops sending to a peer that has not answered for two seconds.",
        patches=(
            Patch(
                _REPLICATION,
                "    for node, progress in state.progress.items():\n        if progress.mode is not Mode.SNAPSHOT and",
                "    for node, progress in state.progress.items():\n"
                "        if state.now > progress.heard_at + 2.0:\n"
                "            progress.sent_at = state.now\n"
                "            continue\n"
                "        if progress.mode is not Mode.SNAPSHOT and",
            ),
        ),
    ),
)
