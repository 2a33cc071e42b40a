"""Mutants of section D, snapshots and log compaction, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_ELECTION = "raftline.core.election"
_FOLLOWING = "raftline.core.following"
_COMPACTION = "raftline.runtime.compaction"
_LOG = "raftline.core.log"
_GROUP = "raftline.runtime.group"
_PROGRESS = "raftline.core.progress"
_RAFT = "raftline.core.raft"
_REPLICA = "raftline.replica.replica"
_REPLICATION = "raftline.core.replication"
_RULES = "raftline.core.rules"
_SNAPSHOTS = "raftline.core.snapshots"
_SNAPSHOTTING = "raftline.runtime.snapshotting"
_STATE = "raftline.core.state"
_STORE = "raftline.kv.store"
_TRANSFER = "raftline.core.transfer"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="only_leaders_take_snapshots",
        rules=("D1", "D18"),
        does="A follower leaves compaction to its leader, and its log grows.",
        patches=(
            Patch(
                _COMPACTION,
                "        if (is_due or is_wanted or",
                "        if self._replica.core.is_leader and (is_due or is_wanted or",
            ),
        ),
    ),
    Mutant(
        name="one_entry_too_many_is_compacted",
        rules=("D1",),
        does="Compaction drops the entry behind the given index, too.",
        patches=(
            Patch(
                _LOG,
                "        position = index - self.base_index\n        self.size_bytes -=",
                "        position = index - self.base_index + (index < self.last_index)\n"
                "        index = self.base_index + position\n        self.size_bytes -=",
            ),
        ),
    ),
    Mutant(
        name="term_of_the_base_is_forgotten",
        rules=("D1", "D5"),
        does="Compaction forgets the term of the last entry that it drops.",
        patches=(
            Patch(
                _LOG,
                "        self.base_index = index\n        self.base_term = term\n",
                "        self.base_index = index\n        self.base_term = 0\n",
            ),
        ),
    ),
    Mutant(
        name="state_changes_under_the_snapshot",
        rules=("D2",),
        does="A snapshot is written piece by piece from a state that goes on changing.",
        patches=(
            Patch(
                _STORE,
                "        slot = slot_of(key) if BRACE in key else cell & 0x3FFF\n"
                "        if self._frozen:\n            self._keep(slot)\n",
                "        slot = slot_of(key) if BRACE in key else cell & 0x3FFF\n",
            ),
        ),
        bench="busy_snapshots",
    ),
    Mutant(
        name="state_is_captured_when_it_is_written",
        rules=("D2",),
        does="A snapshot's index is noted at once, its state when the file is there to take it.",
        patches=(
            Patch(
                _REPLICA,
                "iter(self.machine.snapshot())",
                "(chunk for capture in (self.machine.snapshot,) for chunk in capture())",
            ),
            Patch(_REPLICA, "chain((header,), list(islice(chunks, 1)), chunks)", "chain((header,), chunks)"),
        ),
        bench="busy_snapshots",
    ),
    Mutant(
        name="useless_snapshot_is_taken_over",
        rules=("D3",),
        does="A snapshot of this node's that ends after a newer one was installed takes its place.",
        patches=(
            Patch(
                _SNAPSHOTS,
                '    if event.meta.index <= state.snapshot.index:\n        return "older than the snapshot at hand"\n',
                "",
            ),
            Patch(
                _SNAPSHOTTING,
                "        if self._replica.restoring is not None:\n"
                "            # The state it was taken of is being replaced by a newer one.\n"
                "            self._close_chunks()\n"
                "            self._on_disk(writer.abort, lambda _: self._on_given_up())\n"
                "            return\n",
                "",
            ),
        ),
        bench="slow_restores",
    ),
    Mutant(
        name="offset_forgotten_in_the_slice",
        rules=("D4",),
        does="The end of a range of entries is looked up as if nothing had been compacted.",
        patches=(
            Patch(
                _LOG,
                "        return self._entries[low - self.base_index - 1 : high - self.base_index - 1]\n",
                "        return self._entries[low - self.base_index - 1 : high - 1]\n",
            ),
        ),
    ),
    Mutant(
        name="installed_log_ends_in_term_0",
        rules=("D5",),
        does="A log that consists of a snapshot only is taken for one that ends in term 0.",
        patches=(
            Patch(
                _LOG,
                "        self.base_term = self.last_term = term\n",
                "        self.base_term = term\n        self.last_term = 0\n",
            ),
        ),
    ),
    Mutant(
        name="follower_is_sent_what_is_left",
        rules=("D6",),
        does="To a follower that needs what was compacted the leader sends what it still has.",
        patches=(
            Patch(
                _REPLICATION,
                "            progress.become_snapshot(state.snapshot.index)\n",
                "            progress.next_index = state.log.base_index + 1\n",
            ),
        ),
    ),
    Mutant(
        name="first_chunk_is_the_whole_snapshot",
        rules=("D7",),
        does="Every chunk says that it is the last one.",
        patches=(
            Patch(
                _SNAPSHOTTING,
                "        done = offset + len(data) >= reader.size\n",
                "        done = True\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="chunks_are_stored_as_they_come",
        rules=("D7", "E7"),
        does="A chunk is written wherever the file ends, whichever chunk it is.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "    if request.offset != expected[2]:\n"
                "        _reply(state, sender, request, expected[2], installed=False)\n"
                '        return "not the chunk that is wanted next"\n',
                "",
            ),
            Patch(_SNAPSHOTTING, "receiver.write_at(request.offset, ", "receiver.write_at(receiver.next_offset, "),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="snapshot_leaves_the_timer",
        rules=("D8", "A2"),
        does="A snapshot's chunk does not count as a message of the leader.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "    hear_leader(state, sender)\n    if request.index <= state.commit:\n",
                "    if request.index <= state.commit:\n",
            ),
        ),
    ),
    Mutant(
        name="snapshot_of_an_old_leader_is_taken",
        rules=("D8",),
        does="A snapshot is taken from a leader of an older term.",
        patches=(
            Patch(
                _RAFT,
                "    elif message.term < state.term:\n        return _refuse_old_term(",
                "    elif message.term < state.term and kind is not SnapshotRequest:\n        return _refuse_old_term(",
            ),
            Patch(
                _SNAPSHOTS,
                '    assert request.term == state.term, "the term rule comes first"\n'
                "    hear_leader(state, sender)\n    if request.index <= state.commit:\n",
                "    if request.term == state.term:\n"
                "        hear_leader(state, sender)\n    if request.index <= state.commit:\n",
            ),
        ),
        bench="walk_snapshots",
    ),
    Mutant(
        name="snapshot_moves_the_state_back",
        rules=("D9",),
        does="A snapshot is installed whenever its last chunk comes, however much was committed meanwhile.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "    if request.index <= state.commit:\n"
                "        _reply(state, sender, request, request.offset, installed=True)\n"
                '        return "everything in it is committed here already"\n',
                "",
            ),
            Patch(
                _SNAPSHOTS,
                "    if event.complete and meta.index > state.commit:\n",
                "    if event.complete:\n",
            ),
        ),
        bench="walk_snapshots",
    ),
    Mutant(
        name="log_is_always_cleared",
        rules=("D10",),
        does="A snapshot replaces the whole log, also what agrees with it and goes on behind it.",
        patches=(Patch(_SNAPSHOTS, "    agrees = log.term_at(meta.index) == meta.term\n", "    agrees = False\n"),),
        bench="walk_snapshots",
    ),
    Mutant(
        name="log_is_always_kept",
        rules=("D10",),
        does="What lies behind a snapshot's index stays, whether the log agrees with the snapshot or not.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "    agrees = log.term_at(meta.index) == meta.term\n",
                "    agrees = log.last_index >= meta.index\n",
            ),
        ),
        bench="walk_snapshots",
    ),
    Mutant(
        name="entries_overtake_the_snapshot",
        rules=("D11", "F11"),
        does="Entries are applied while the snapshot before them is still on its way into the state machine.",
        patches=(
            Patch(
                _REPLICA,
                "                self._to_apply = ()\n                self.restoring = ready.install\n",
                "                self._to_apply = ()\n",
            ),
        ),
        bench="slow_restores",
    ),
    Mutant(
        name="old_entries_follow_the_snapshot",
        rules=("D11", "F11"),
        does="What waited to be applied when a snapshot was installed is applied behind it.",
        patches=(
            Patch(
                _REPLICA,
                "                self._to_apply = ()\n                self.restoring = ready.install\n",
                "                self.restoring = ready.install\n",
            ),
            Patch(
                _REPLICA, " for entry in self._to_apply if entry.index > meta.index]", " for entry in self._to_apply]"
            ),
        ),
        bench="two_snapshots",
    ),
    Mutant(
        name="two_restores_into_one_state",
        rules=("D11",),
        does="A restore that is under way goes on beside the one of a newer snapshot.",
        patches=(
            Patch(
                _SNAPSHOTTING,
                "            if chunk is None or number != self._restores:\n",
                "            if chunk is None:\n",
            ),
            Patch(
                _SNAPSHOTTING, "                if number == self._restores:\n", "                if self._restores:\n"
            ),
            Patch(
                _SNAPSHOTTING,
                "        if number == self._restores:\n            self._replica.restore_begin(",
                "        if self._restores:\n            self._replica.restore_begin(",
            ),
        ),
        bench="slow_restores",
    ),
    Mutant(
        name="install_is_not_written_to_the_log",
        rules=("D12", "C6"),
        does="A snapshot is stored and installed, and the log on disk does not learn that it begins behind it.",
        patches=(Patch(_SNAPSHOTS, "        state.reset = meta\n", ""),),
        bench="late_snapshots",
    ),
    Mutant(
        name="acceptance_waits_for_the_state_machine",
        rules=("D13",),
        does="AppendEntries are refused until the installed snapshot has reached the state machine.",
        patches=(
            Patch(
                _FOLLOWING,
                "    if request.prev_index >= log.base_index and log.term_at(request.prev_index) != "
                "request.prev_term:\n",
                "    behind = state.applied < state.snapshot.index\n"
                "    if request.prev_index >= log.base_index and (\n"
                "        behind or log.term_at(request.prev_index) != request.prev_term\n"
                "    ):\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="positions_below_the_base",
        rules=("D14", "D4"),
        does="The entry before the new ones is looked up below the log's base, which finds one from its end.",
        patches=(
            Patch(
                _LOG,
                "        if self.base_index < index <= self.last_index:\n",
                "        if index <= self.last_index:\n",
            ),
            Patch(_FOLLOWING, "    if request.prev_index >= log.base_index and log", "    if log"),
            Patch(
                _FOLLOWING,
                "        conflict_term = log.entry(request.prev_index).term if request.prev_index > "
                "log.base_index else 0\n",
                "        conflict_term = 0\n",
            ),
        ),
    ),
    Mutant(
        name="below_the_base_is_a_conflict",
        rules=("D14",),
        does="AppendEntries that begin below the log's base are refused, and the leader is sent further back.",
        patches=(
            Patch(
                _FOLLOWING,
                "    if request.prev_index >= log.base_index and log.term_at",
                "    if log.term_at",
            ),
            Patch(_FOLLOWING, "else log.base_index + 1\n", "else request.prev_index\n"),
        ),
    ),
    Mutant(
        name="match_index_from_the_newest_snapshot",
        rules=("D15",),
        does="A follower that installed a snapshot is taken for matching up to the leader's newest one.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "        progress.on_installed(reply.index, state.log.base_index)\n",
                "        progress.on_installed(state.snapshot.index, state.log.base_index)\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="compacted_entries_are_kept",
        rules=("D16", "D18"),
        does="The log in memory is never let go, whatever snapshots cover.",
        patches=(
            Patch(
                _COMPACTION,
                "        if base < self._target:\n",
                "        if base < self._target and base < 0:\n",
            ),
        ),
    ),
    Mutant(
        name="log_behind_a_snapshot_under_way_goes",
        rules=("D16", "D6"),
        does="The log behind a snapshot that a follower is just being sent goes as soon as the next one is there.",
        patches=(
            Patch(
                _SNAPSHOTS,
                "held = progress.snapshot_index if progress.mode is Mode.SNAPSHOT else",
                "held = state.log.last_index if progress.mode is Mode.SNAPSHOT else",
            ),
        ),
        bench="long_snapshots",
    ),
    Mutant(
        name="snapshot_is_not_loaded_at_start_up",
        rules=("D17", "G14"),
        does="A node that starts goes on behind its snapshot with an empty state machine.",
        patches=(Patch(_GROUP, "        if snapshot.index:\n", "        if snapshot.index < 0:\n"),),
    ),
    Mutant(
        name="old_segments_stay",
        rules=("D18",),
        does="The log is let go in memory and stays on disk.",
        patches=(
            Patch(
                _COMPACTION,
                "            self._log_disk.submit(partial(self._wal.release, self._group, base), self._on_released)\n",
                "            assert self._on_released is not None and partial is not None\n",
            ),
        ),
        bench="large_values",
    ),
    Mutant(
        name="old_snapshots_stay",
        rules=("D18",),
        does="A new snapshot is stored beside the old ones.",
        patches=(
            Patch(
                "raftline.wal.snapshot_store",
                "if index < keep_index]\n",
                "if index < keep_index][:0]\n",
            ),
        ),
    ),
    Mutant(
        name="leaders_search_ends_before_the_base",
        rules=("D19", "B24"),
        does="The leader looks for the conflict's term in the entries it holds and not at the base before them.",
        patches=(
            Patch(
                _LOG,
                "        if self.base_term == term and self.base_index:\n            return self.base_index\n",
                "",
            ),
        ),
        bench="conflict_at_the_base",
    ),
    Mutant(
        name="finished_snapshot_goes_on",
        rules=("D15", "D6"),
        does="A follower that has installed the snapshot it was sent is sent it again.",
        patches=(
            Patch(
                _PROGRESS,
                "            self.mode is Mode.SNAPSHOT and self.match_index >= min(base_index, self.snapshot_index)\n",
                "            self.mode is Mode.SNAPSHOT and self.match_index > max(base_index, self.snapshot_index)\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="snapshot_forgets_the_digest",
        rules=("D2", "G14"),
        does="A snapshot does not carry the state machine's digest.",
        patches=(
            Patch(
                _REPLICA,
                "own = _Header(self.digest.value, ",
                "own = _Header(0, ",
            ),
        ),
    ),
    Mutant(
        name="handed_out_again_from_the_start",
        rules=("D17", "C12"),
        does="A node that starts hands everything in its log out to be applied, what its snapshot covers included.",
        patches=(Patch(_STATE, "self.handed_out: Index = snapshot.index", "self.handed_out: Index = 0"),),
    ),
    Mutant(
        name="who_restores_runs_like_anybody",
        rules=("D21",),
        does="A replica whose timer runs out stands for election, whether its state machine is there or not.",
        patches=(Patch(_RULES, "    return state.is_restoring and state.now", "    return False and state.now"),),
        bench="slow_restores",
    ),
    Mutant(
        name="who_restores_takes_over",
        rules=("D21", "K2"),
        does="The leadership goes to a log that is long enough, whether a state machine stands behind it or not.",
        patches=(
            Patch(_TRANSFER, "    if progress.is_restoring:\n", "    if False:\n"),
            Patch(_ELECTION, "    if state.is_restoring:\n", "    if False:\n"),
        ),
        bench="slow_successors",
    ),
)
