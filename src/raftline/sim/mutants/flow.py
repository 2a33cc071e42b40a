"""Mutants of what has no section of its own: two histories, windows, followers fed from the disk, chunks, addresses."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_DEFERRAL = "raftline.core.deferral"
_FEEDING = "raftline.runtime.feeding"
_FRESHNESS = "raftline.core.freshness"
_HISTORY = "raftline.core.history"
_PEERS = "raftline.runtime.peers"
_PROGRESS = "raftline.core.progress"
_RAFT = "raftline.core.raft"
_READING = "raftline.runtime.reading"
_REPLICATION = "raftline.core.replication"
_SNAPSHOTS = "raftline.core.snapshots"
_STATE = "raftline.core.state"

_OTHER_LEADER = "(kind is AppendRequest or kind is SnapshotRequest) or message.history in (0, state.history)"

_ARRIVED = "            at = state.now\n"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="leader_of_another_history_is_followed",
        rules=("C14",),
        does="A node that holds what is committed follows a leader of emptied disks, if index and term agree.",
        patches=(Patch(_HISTORY, f"    if not {_OTHER_LEADER}:\n", "    if True:\n"),),
        bench="two_histories",
    ),
    Mutant(
        name="candidate_of_another_history_is_heard",
        rules=("C14",),
        does="A node votes for whoever has the longer log, of whatever history that is.",
        patches=(
            Patch(_HISTORY, "        return message.history not in (0, state.history)\n", "        return False\n"),
        ),
        bench="two_histories",
    ),
    Mutant(
        name="history_is_not_on_disk",
        rules=("C14",),
        does="A node forgets with its process which history its log belongs to.",
        patches=(Patch(_RAFT, "state.established, state.history)", "state.established)"),),
        bench="two_histories",
    ),
    Mutant(
        name="history_is_never_adopted",
        rules=("C14",),
        does="The number of a log is sent around and kept by nobody.",
        patches=(
            Patch(
                _HISTORY,
                "        state.history = history\n        state.hard_state_changed = True\n",
                "        return\n",
            ),
        ),
        bench="two_histories",
    ),
    Mutant(
        name="what_was_read_is_not_compared",
        rules=("B2",),
        does="What a disk gives for a slow follower is sent without a look at its index and term.",
        patches=(
            Patch(
                _REPLICATION,
                "(entry.index != index or entry.term != log.term_at(index))",
                "entry.index < 0",
            ),
        ),
        bench="fed_from_disk",
    ),
    Mutant(
        name="term_of_what_was_read_is_not_compared",
        rules=("B2",),
        does="What a disk gives for a slow follower is taken if the index is right.",
        patches=(
            Patch(_REPLICATION, "(entry.index != index or entry.term != log.term_at(index))", "entry.index != index"),
        ),
        bench="fed_from_disk",
    ),
    Mutant(
        name="late_reading_is_sent",
        rules=("B2", "B20"),
        does="What was read from the disk goes out although the follower needs something else by now.",
        patches=(
            Patch(
                _PROGRESS,
                "        if low != self.fetching_index:\n            return False\n        self.fetching_index = 0\n"
                "        if low != self.next_index:\n            return False\n",
                "        self.fetching_index = 0\n",
            ),
        ),
        bench="fed_from_disk",
    ),
    Mutant(
        name="reads_the_disk_again_and_again",
        rules=("B2",),
        does="As long as a reading for a slow follower is under way, each turn begins another one.",
        patches=(Patch(_REPLICATION, "    if not progress.fetching_index:\n        low", "    if True:\n        low"),),
        bench="fed_from_disk",
    ),
    Mutant(
        name="nothing_is_read_for_who_lags",
        rules=("B2", "G10"),
        does="Entries that are not in memory any more are sent to nobody.",
        patches=(
            Patch(
                _REPLICATION,
                "        state.entries_wanted.append(EntriesWanted(node, low, high, bytes_max))\n",
                "        assert EntriesWanted(node, low, high, bytes_max)\n",
            ),
        ),
        bench="little_memory",
    ),
    Mutant(
        name="entries_leave_memory_before_they_are_on_disk",
        rules=("B2", "C1"),
        does="What was handed out to be applied leaves memory, written or not.",
        patches=(
            Patch(_STATE, "        return min(self.persisted, self.handed_out)\n", "        return self.handed_out\n"),
        ),
        bench="what_may_leave_memory",
    ),
    Mutant(
        name="entries_leave_memory_before_they_are_applied",
        rules=("B2", "F8"),
        does="What is on disk leaves memory, handed out to be applied or not.",
        patches=(
            Patch(_STATE, "        return min(self.persisted, self.handed_out)\n", "        return self.persisted\n"),
        ),
        bench="what_may_leave_memory",
    ),
    Mutant(
        name="reading_begins_one_entry_late",
        rules=("B2",),
        does="A reading for a slow follower leaves out the first entry that it needs.",
        patches=(Patch(_FEEDING, "        entries = result[: wanted", "        entries = result[1 : wanted"),),
        bench="little_memory",
    ),
    Mutant(
        name="window_counts_no_bytes",
        rules=("F24",),
        does="However many bytes are unanswered, another message is sent as long as their number is small.",
        patches=(
            Patch(
                _REPLICATION,
                "min(config.append_bytes_max, config.inflight_bytes_max - progress.inflight_bytes)",
                "config.append_bytes_max",
            ),
        ),
        bench="bounded_window",
    ),
    Mutant(
        name="window_never_closes",
        rules=("F24",),
        does="What is sent to a follower is not noted as unanswered.",
        patches=(
            Patch(
                _PROGRESS,
                "            self._inflight.append((last_index, size_bytes))\n"
                "            self.inflight_bytes += size_bytes\n",
                "",
            ),
        ),
        bench="bounded_window",
    ),
    Mutant(
        name="window_never_opens",
        rules=("F24", "G10"),
        does="Answers do not open the window of a follower again.",
        patches=(
            Patch(
                _PROGRESS,
                "        while self._inflight and self._inflight[0][0] <= self.match_index:\n",
                "        while self._inflight and self._inflight[0][0] < 0:\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="chunks_of_two_snapshots_are_mixed",
        rules=("D8",),
        does="A follower goes on with a newer snapshot where the one before was interrupted.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "    if expected is None or expected[:2] != (request.index, request.snapshot_term):\n",
                "    if expected is None or expected[0] < 0:\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="lost_chunk_is_not_asked_for_again",
        rules=("D8", "G10"),
        does="A chunk, or its answer, that is lost ends the snapshot: the leader waits for ever.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "state.now >= progress.chunk_due_at(state.config.snapshot_retry_s)",
                "progress.snapshot_asked_at < 0",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="chunks_go_on_by_the_leaders_count",
        rules=("D8",),
        does="The leader sends the chunk behind the last one, whatever the follower says that it wants.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "on_chunk_accepted(reply.next_offset,",
                "on_chunk_accepted(progress.snapshot_offset + state.config.snapshot_chunk_bytes,",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="bound_is_not_looked_at",
        rules=("G3",),
        does="A bounded read is answered from what is here, however long ago a leader was heard.",
        patches=(
            Patch(
                _READING,
                "index = self._core.freshness(now)\n        if now - read.fresh_at > read.staleness_s_max:\n",
                "index = self._core.freshness(now)\n        if read.fresh_at > now:\n",
            ),
            Patch(
                _READING,
                "                if now - read.fresh_at > read.staleness_s_max:\n",
                "                if read.staleness_s_max < 0:\n",
            ),
            Patch(_READING, "if read.fresh_at + read.staleness_s_max < now:\n", "if read.staleness_s_max < 0:\n"),
        ),
        bench="cut_links",
    ),
    Mutant(
        name="fresh_since_a_message_arrived",
        rules=("G3",),
        does="A copy counts as fresh from when the leader's message arrived, however long that was held on its way.",
        patches=(
            Patch(_FRESHNESS, "            at = state.stamps.used_at(number) - request.age_ms / 1000\n", _ARRIVED),
        ),
        bench="held_messages",
    ),
    Mutant(
        name="fresh_whoever_follows_the_leader",
        rules=("G3",),
        does="What a leader says makes a copy fresh, however long ago a quorum followed that leader.",
        patches=(Patch(_FRESHNESS, " - request.age_ms / 1000\n", "\n"),),
        bench="held_messages",
    ),
    Mutant(
        name="leaders_address_is_not_taken_over",
        rules=("K1",),
        does="A node goes by the addresses in its own log only, and a new one has none to answer to.",
        patches=(
            Patch(
                _PEERS,
                "        if state.directory is not None and state.directory.index > state.configuration.index:\n",
                "        if state.directory is not None and state.directory.index < 0:\n",
            ),
        ),
        bench="churn",
    ),
    Mutant(
        name="old_address_is_kept",
        rules=("K1",),
        does="Who is known already is sent to where it always was.",
        patches=(
            Patch(
                _PEERS,
                "        addresses |= dict(state.membership.addresses)\n",
                "        addresses |= dict(state.membership.addresses) | known\n",
            ),
        ),
        bench="churn",
    ),
    Mutant(
        name="what_commits_may_wait",
        rules=("K4", "B13"),
        does="The acknowledgement that makes a majority is put off until something else comes.",
        patches=(Patch(_DEFERRAL, "reply.match_index <= state.commit", "reply.match_index"),),
        bench="walk",
    ),
    Mutant(
        name="what_confirms_a_read_may_wait",
        rules=("K4", "B13", "G3"),
        does="An acknowledgement that confirms a read is put off until something else comes.",
        patches=(Patch(_DEFERRAL, "        and not (state.reads.waiting or state.reads.confirming)\n", ""),),
        bench="walk_reads",
    ),
    Mutant(
        name="follower_with_a_full_window_may_wait",
        rules=("K4", "B13", "B14"),
        does="An acknowledgement of a follower that lacks entries is put off until something else comes.",
        patches=(Patch(_DEFERRAL, "        and progress.next_index > state.log.last_index\n", ""),),
        bench="walk",
    ),
    Mutant(
        name="who_is_to_hear_of_the_commit_may_wait",
        rules=("K4", "B27"),
        does="An acknowledgement is put off although its sender is to be told soon that the entry is committed.",
        patches=(
            Patch(
                _DEFERRAL,
                "        and (progress.sent_commit >= state.commit or not _has_commit_notices(state))\n",
                "",
            ),
        ),
        bench="walk",
    ),
    Mutant(
        name="own_disk_may_wait_for_its_followers",
        rules=("K4", "B13"),
        does="A leader puts off that its own write is done although followers have the entry.",
        patches=(
            Patch(
                _DEFERRAL,
                "        if progress.match_index > state.commit:\n            return False\n",
                "        pass\n",
            ),
        ),
        bench="walk_late_writes",
    ),
    Mutant(
        name="a_lone_voter_waits_for_somebody",
        rules=("K4", "B13"),
        does="A leader puts off that its own write is done although it is a majority by itself.",
        patches=(Patch(_DEFERRAL, " and not has_quorum(state.membership, (state.me,))", ""),),
        bench="walk_members",
    ),
    Mutant(
        name="a_read_waits_for_a_round_that_nobody_began",
        rules=("K4", "G3"),
        does="A leader puts off a read although no round is under way.",
        patches=(Patch(_DEFERRAL, "return bool(state.reads.confirming)", "return True"),),
        bench="walk_reads",
    ),
    Mutant(
        name="a_read_waits_for_a_question_that_nobody_asked",
        rules=("K4", "G3"),
        does="A follower puts off a read although it asks its leader nothing.",
        patches=(Patch(_DEFERRAL, " and state.reads.asked != 0", ""),),
        bench="walk_reads",
    ),
)
