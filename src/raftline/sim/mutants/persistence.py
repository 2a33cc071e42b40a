"""Mutants of section C, persistence, in the order of docs/rules.md; the durable log's own last."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_ELECTION = "raftline.core.election"
_FOLLOWING = "raftline.core.following"
_COMPACTION = "raftline.runtime.compaction"
_GROUP = "raftline.runtime.group"
_GROUP_LOOP = "raftline.runtime.group_loop"
_PERSISTENCE = "raftline.runtime.persistence"
_RAFT = "raftline.core.raft"
_RECOVERY = "raftline.wal.recovery"
_REPLAY = "raftline.wal.replay"
_REPLICATION = "raftline.core.replication"
_SNAPSHOT_STORE = "raftline.wal.snapshot_store"
_STATE = "raftline.core.state"
_TRANSITIONS = "raftline.core.transitions"
_WAL = "raftline.wal.wal"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="position_in_the_log_is_not_saved",
        rules=("C1", "C11"),
        does="A new segment does not repeat where the log was begun anew, so that is lost with the segments before it.",
        patches=(Patch(_WAL, "            resets=self._resets,\n", "            resets={},\n"),),
        bench="log",
    ),
    Mutant(
        name="answers_leave_before_the_write",
        rules=("C2",),
        does="Acknowledgements and votes leave while the write that they depend on is under way.",
        patches=(
            Patch(
                _GROUP_LOOP,
                "        if self.persistence.persist(ready):\n"
                "            for outgoing in ready.messages_after_persist:\n",
                "        self.persistence.persist(ready)\n"
                "        if True:\n            for outgoing in ready.messages_after_persist:\n",
            ),
        ),
    ),
    Mutant(
        name="what_waits_is_taken_for_written",
        rules=("C2",),
        does="When a write ends, everything that came in meanwhile is acknowledged with it, and written afterwards.",
        patches=(
            Patch(
                _PERSISTENCE,
                "if not any(ready.must_persist for ready in self._waiting):\n            durable += self._waiting\n",
                "durable += self._waiting\n        if not any(ready.must_persist for ready in self._waiting):\n",
            ),
        ),
    ),
    Mutant(
        name="only_its_own_write_is_waited_for",
        rules=("C2",),
        does="What itself writes nothing leaves at once, although it rests on a write that is under way.",
        patches=(
            Patch(
                _PERSISTENCE,
                "        if not self._writing and not self._waiting:\n            if not ready.must_persist:\n"
                "                return True\n",
                "        if not ready.must_persist:\n            return True\n"
                "        if not self._writing and not self._waiting:\n",
            ),
        ),
    ),
    Mutant(
        name="vote_is_not_written",
        rules=("C3", "C1"),
        does="The vote is not among what is written with the term.",
        patches=(
            Patch(_RAFT, "HardState(state.term, state.vote, state.established, ", "HardState(state.term, None, True, "),
        ),
    ),
    Mutant(
        name="vote_is_not_read_back",
        rules=("C3",),
        does="A node that starts has forgotten its vote.",
        patches=(Patch(_STATE, "self.vote: NodeId | None = hard_state.vote", "self.vote: NodeId | None = None"),),
    ),
    Mutant(
        name="term_is_that_of_the_log",
        rules=("C4", "C1"),
        does="A node that starts takes the term of its last entry for its current one.",
        patches=(
            Patch(
                _STATE,
                "        self.snapshot = snapshot\n",
                "        self.term = self.log.last_term\n        self.snapshot = snapshot\n",
            ),
        ),
        bench="walk",
    ),
    Mutant(
        name="followers_do_not_write_entries",
        rules=("C5", "C1"),
        does="Only leaders hand their entries to the disk.",
        patches=(
            Patch(
                _RAFT,
                "        if state.handed_to_disk < state.log.last_index:\n",
                "        if leading and state.handed_to_disk < state.log.last_index:\n",
            ),
        ),
    ),
    Mutant(
        name="granting_saves_nothing",
        rules=("C6", "C3"),
        does="A vote is given and remembered, but not handed to the disk.",
        patches=(
            Patch(
                _ELECTION,
                "            state.established = True\n            state.hard_state_changed = True\n",
                "            state.established = True\n",
            ),
        ),
        bench="walk",
    ),
    Mutant(
        name="running_saves_nothing",
        rules=("C6",),
        does="A candidate's term and its vote for itself are not handed to the disk.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    state.established = state.established or bootstrap\n    state.hard_state_changed = True\n",
                "    state.established = state.established or bootstrap\n",
            ),
        ),
    ),
    Mutant(
        name="adopting_a_term_saves_nothing",
        rules=("C6", "C4"),
        does="A higher term is adopted and not handed to the disk.",
        patches=(
            Patch(
                _TRANSITIONS,
                "        state.vote = None\n        state.hard_state_changed = True\n",
                "        state.vote = None\n",
            ),
        ),
    ),
    Mutant(
        name="proposing_saves_nothing",
        rules=("C6", "B1"),
        does="What a leader appends for its clients is sent to the others and not handed to its own disk.",
        patches=(
            Patch(
                _RAFT,
                "for n, data in enumerate(event.commands)])\n        return first\n",
                "for n, data in enumerate(event.commands)])\n"
                "        state.handed_to_disk = state.log.last_index\n        return first\n",
            ),
        ),
    ),
    Mutant(
        name="cutting_saves_nothing",
        rules=("C6", "B7"),
        does="What replaces a conflicting tail is taken for being on disk, as the tail was.",
        patches=(
            Patch(
                _FOLLOWING,
                "    state.handed_to_disk = min(state.handed_to_disk, index - 1)\n"
                "    state.persisted = min(state.persisted, index - 1)\n",
                "",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="every_heartbeat_is_saved",
        rules=("C7",),
        does="Term and vote are written with every message of the leader, changed or not.",
        patches=(
            Patch(
                _TRANSITIONS,
                "    state.leader_heard_at = state.now\n",
                "    state.leader_heard_at = state.now\n    state.hard_state_changed = True\n",
            ),
        ),
    ),
    Mutant(
        name="begins_before_the_snapshot_is_restored",
        rules=("C8", "D17", "F23"),
        does="A node that starts takes messages and applies entries while its snapshot is still being read.",
        patches=(
            Patch(
                _GROUP,
                "            driver.replica.restoring = snapshot\n",
                "",
            ),
            Patch(
                _GROUP,
                "            await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)\n",
                "            outcomes.clear()\n",
            ),
        ),
    ),
    Mutant(
        name="damage_is_taken_for_a_torn_tail",
        rules=("C9",),
        does="A log that cannot be read to its end is cut where the damage begins, wherever that is.",
        patches=(
            Patch(
                _RECOVERY,
                "    return next(case for case in CASES if fits(case, finding))\n",
                "    case = next(case for case in CASES if fits(case, finding))\n"
                "    return case if finding.clean else CASES[-1]\n",
            ),
        ),
        bench="wrong_bits",
    ),
    Mutant(
        name="damaged_end_is_taken_for_a_torn_tail",
        rules=("C9",),
        does="A last frame that was written completely and has changed since is cut off.",
        patches=(
            Patch(
                _RECOVERY,
                "        verdict=Verdict.REFUSE,\n"
                '        reason="the last frame was written completely and changed afterwards",\n',
                "        verdict=Verdict.CUT_TAIL,\n"
                '        reason="the last frame was written completely and changed afterwards",\n',
            ),
        ),
        bench="log",
    ),
    Mutant(
        name="newest_snapshot_is_removed_with_the_old",
        rules=("C10",),
        does="The snapshot just made is removed with the ones that it replaces.",
        patches=(
            Patch(
                _SNAPSHOT_STORE,
                "if index < keep_index]",
                "if index <= keep_index]",
            ),
        ),
    ),
    Mutant(
        name="first_entry_is_counted_from_the_snapshot",
        rules=("C11",),
        does="At start-up the log's first entry is taken for the one behind the snapshot, whatever its index.",
        patches=(
            Patch(
                _REPLAY,
                "    return entries[position + 1 :] if",
                "    entries = [msgspec.structs.replace(e, index=snapshot.index + 1 + n) for n, e in "
                "enumerate(entries)]\n"
                "    return entries if",
            ),
        ),
    ),
    Mutant(
        name="log_goes_before_the_snapshot_is_there",
        rules=("C11", "D12"),
        does="Segments are removed as far as entries are applied, whatever the snapshots on disk cover.",
        patches=(
            Patch(
                _COMPACTION,
                "partial(self._wal.release, self._group, base)",
                "partial(self._wal.release, self._group, self._replica.applied)",
            ),
        ),
        bench="large_values",
    ),
    Mutant(
        name="everything_in_the_log_is_committed_at_start_up",
        rules=("C12",),
        does="A node that starts takes the end of its log for committed.",
        patches=(
            Patch(
                _STATE,
                "self.commit: Index = snapshot.index",
                "self.commit: Index = self.log.last_index",
            ),
        ),
    ),
    Mutant(
        name="nothing_is_committed_at_start_up",
        rules=("C12",),
        does="A node that starts takes nothing for committed, not even what its snapshot covers.",
        patches=(Patch(_STATE, "self.commit: Index = snapshot.index", "self.commit: Index = 0"),),
    ),
    Mutant(
        name="lost_disk_is_trusted",
        rules=("C14",),
        does="A node whose disk was lost gives its vote to anybody, as if it had all it ever acknowledged.",
        patches=(
            Patch(
                _ELECTION,
                "    may_vote = state.established or (request.bootstrap and not state.entries_elsewhere)\n",
                "    may_vote = True\n",
            ),
        ),
        bench="walk_lost_disks",
    ),
    Mutant(
        name="acknowledgements_of_a_lost_disk_count",
        rules=("C14",),
        does="A leader goes on counting what a follower acknowledged before it lost its disk.",
        patches=(Patch(_REPLICATION, "progress.on_log_lost(state.stamps.renew(state.now))", "pass"),),
        bench="walk_lost_disks",
    ),
    # The durable log itself.
    Mutant(
        name="write_without_fsync",
        rules=("C5", "C13"),
        does="A batch is written and not fsynced.",
        patches=(
            Patch(
                _WAL,
                "            self._file.write_at(self._end, data)\n            self._file.sync()\n",
                "            self._file.write_at(self._end, data)\n",
            ),
        ),
    ),
    Mutant(
        name="failed_fsync_is_tried_again",
        rules=("C13", "C5"),
        does="An fsync that failed is repeated, and believed when it succeeds.",
        patches=(
            Patch(
                _WAL,
                "        except OSError as error:\n"
                '            self._break("write", self._path(self._sequence), error)\n',
                "        except OSError:\n"
                '            self._file.write_at(self._end, b"")\n            self._file.sync()\n',
            ),
        ),
        bench="failing_disks",
    ),
    Mutant(
        name="new_segment_without_fsync",
        rules=("C13",),
        does="A new segment gets its name before its header is durable.",
        patches=(
            Patch(
                _WAL,
                "            file.sync()\n            self._files.rename(",
                "            self._files.rename(",
            ),
        ),
        bench="log",
    ),
    Mutant(
        name="new_segment_without_directory_fsync",
        rules=("C13",),
        does="A new segment is written to before its name is durable.",
        patches=(
            Patch(
                _WAL,
                '            self._files.rename(f"{path}.tmp", path)\n'
                "            self._files.sync_directory(self._directory)\n",
                '            self._files.rename(f"{path}.tmp", path)\n',
            ),
        ),
        bench="crashes",
    ),
    Mutant(
        name="new_segment_forgets_term_and_vote",
        rules=("C13", "C1"),
        does="A new segment does not repeat term and vote, so they are lost with the segments before it.",
        patches=(Patch(_WAL, "            hard_states=self._hard_states,\n", "            hard_states={},\n"),),
        bench="crashes",
    ),
    Mutant(
        name="old_segments_go_in_any_order",
        rules=("C13",),
        does="Old segments are removed newest first, with one fsync of the directory for all of them.",
        patches=(
            Patch(
                _WAL,
                "                self._files.remove(self._path(sequence))\n"
                "                self._files.sync_directory(self._directory)\n"
                "                del self._segments[sequence]\n",
                "                pass\n"
                "            gone = [old for old in sorted(self._segments)[:-1] if not holders or old < sequence]\n"
                "            for sequence in gone[::-1]:\n"
                "                self._files.remove(self._path(sequence))\n"
                "                del self._segments[sequence]\n"
                "            if gone:\n"
                "                self._files.sync_directory(self._directory)\n",
            ),
        ),
        bench="log",
    ),
    Mutant(
        name="snapshot_without_fsync",
        rules=("C13", "D12"),
        does="A snapshot gets its name before its content is durable.",
        patches=(
            Patch(
                _SNAPSHOT_STORE,
                "            file.sync()\n            file.close()\n",
                "            file.close()\n",
            ),
        ),
        bench="crashes",
    ),
    Mutant(
        name="snapshot_without_directory_fsync",
        rules=("C13", "D12"),
        does="The log goes before the name of the snapshot that covers it is durable.",
        patches=(
            Patch(
                _SNAPSHOT_STORE,
                "            self._files.rename(self.path, self._final_path)\n"
                "            self._files.sync_directory(self._directory)\n",
                "            self._files.rename(self.path, self._final_path)\n",
            ),
        ),
        bench="crashes",
    ),
    Mutant(
        name="snapshot_is_made_under_its_name",
        rules=("C13", "D12"),
        does="A snapshot is written under its final name, where a crash leaves half of it.",
        patches=(
            Patch(
                _SNAPSHOT_STORE,
                'self.path = f"{self._final_path}.{suffix}.tmp"',
                "self.path = self._final_path",
            ),
        ),
        bench="crashes",
    ),
    Mutant(
        name="torn_tail_is_cut_too_far",
        rules=("C13", "C5"),
        does="With a torn frame the good one before it is given up.",
        patches=(
            Patch(
                _WAL,
                "        self._end = self._zeroed_end = reader.end\n",
                "        self._end = self._zeroed_end = reader.end\n"
                "        if case.verdict is Verdict.CUT_TAIL and reader.last_offset:\n"
                "            self._end = reader.last_offset\n"
                "            self._next_number -= 1\n",
            ),
        ),
        bench="crashes",
    ),
    Mutant(
        name="torn_tail_is_left_standing",
        rules=("C13",),
        does="What an interrupted write left behind is overwritten by whatever comes next, and not zeroed first.",
        patches=(
            Patch(
                _WAL,
                "        if case.verdict is Verdict.CUT_TAIL:\n",
                "        if case.verdict is Verdict.REFUSE:\n",
            ),
        ),
        bench="log",
    ),
    Mutant(
        name="torn_tail_is_damage",
        rules=("C13",),
        does="A node refuses to start if its last write was interrupted.",
        patches=(Patch(_RECOVERY, "        verdict=Verdict.CUT_TAIL,\n", "        verdict=Verdict.REFUSE,\n"),),
        bench="crashes",
    ),
    Mutant(
        name="last_frame_is_not_written_again",
        rules=("C13",),
        does="A node that starts takes what it reads for durable, also what its failed fsync left in the page cache.",
        patches=(
            Patch(
                _WAL,
                "        if reader.last_offset:\n"
                "            self._file.write_at(reader.last_offset, reader.last_frame())\n"
                "        self._file.sync()\n",
                "",
            ),
        ),
        bench="failing_disks",
    ),
    Mutant(
        name="replay_keeps_the_old_tail",
        rules=("C13", "B7"),
        does="At start-up entries replace those at their own indices only, and what was cut behind them is back.",
        patches=(
            Patch(
                _REPLAY,
                "                    del known.entries[max(0, write.entries[0].index - known.entries[0].index) :]\n"
                "                known.entries.extend(self._held_of(write))\n",
                "                    at = max(0, write.entries[0].index - known.entries[0].index)\n"
                "                    known.entries[at : at + len(write.entries)] = self._held_of(write)\n"
                "                else:\n"
                "                    known.entries.extend(self._held_of(write))\n",
            ),
        ),
        bench="log",
    ),
)
