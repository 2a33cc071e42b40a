"""Mutants of section F, the apply path and concurrency, in the order of docs/rules.md.

Locks and threads are not there to be forgotten; what is left are the same mistakes with turns and callbacks.
"""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_FOLLOWING = "raftline.core.following"
_GROUP_LOOP = "raftline.runtime.group_loop"
_LOG = "raftline.core.log"
_LOG_WRITER = "raftline.runtime.log_writer"
_RAFT = "raftline.core.raft"
_REPLICA = "raftline.replica.replica"
_REPLICATION = "raftline.core.replication"
_TRANSITIONS = "raftline.core.transitions"

_APPLIED_IN_ORDER = (
    '            assert entry.index == self.applied + 1, "entries are applied in order, each once (F8)"\n'
)
_TURN_WANTED = "            if self.replica.has_work or self.replica.has_proposed or self._core.has_more:\n"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="entries_before_their_term",
        rules=("F2", "C2"),
        does="Entries are written first and the term that they belong to in a second write.",
        patches=(
            Patch(
                _LOG_WRITER,
                "        self._disk.submit(lambda: wal.append(writes), self._on_written)\n",
                "        replace = __import__('msgspec').structs.replace\n"
                "        first = [replace(write, hard_state=None) for write in writes]\n"
                "        second = [replace(write, entries=(), reset=None) for write in writes if write.hard_state]\n"
                "        self._disk.submit(lambda: [wal.append(part) for part in (first, second) if part] and None, "
                "self._on_written)\n",
            ),
        ),
        bench="crashes",
    ),
    Mutant(
        name="any_other_term_is_adopted",
        rules=("F3", "A8"),
        does="A message's term is compared for being different, not for being higher.",
        patches=(
            Patch(
                _RAFT,
                "    elif message.term > state.term and not (kind is VoteRequest and message.pre_vote):\n",
                "    elif message.term != state.term and not (kind is VoteRequest and message.pre_vote):\n",
            ),
            Patch(
                _TRANSITIONS,
                '    if term < state.term:\n        raise SafetyViolation(f"{state.me} would go back from term '
                '{state.term} to {term}")\n',
                "",
            ),
            Patch(_TRANSITIONS, "    term_rose = term > state.term\n", "    term_rose = term != state.term\n"),
        ),
    ),
    Mutant(
        name="waits_for_the_disk",
        rules=("F4", "F20"),
        does="While a write is under way nothing else is done: no heartbeat, no answer.",
        patches=(
            Patch(
                _GROUP_LOOP,
                "        self._scheduled = False\n        if self._stopped:\n            return\n        try:\n",
                "        self._scheduled = False\n        if self._stopped:\n            return\n"
                "        if self.persistence._writing:\n"
                "            self._scheduled = True\n"
                "            self._loop.call_later(0.0005, self._turn)\n"
                "            return\n"
                "        try:\n",
            ),
        ),
        bench="slow_disks",
    ),
    Mutant(
        name="reads_outlive_the_leadership",
        rules=("F5", "G3"),
        does="Reads that wait for a quorum when the leader is deposed are confirmed when it leads again.",
        patches=(Patch(_TRANSITIONS, "    for read in state.reads.take_all():\n", "    for read in ():\n"),),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="two_appliers",
        rules=("F8",),
        does="What is committed is applied at once, and once more by whoever works off the queue.",
        patches=(
            Patch(
                _REPLICA,
                "                self._to_apply = queue\n",
                "                self._to_apply = queue\n"
                "            if len(ready.committed) == 1 and self.restoring is None:\n"
                "                self._apply(ready.committed[0])\n",
            ),
            Patch(_REPLICA, _APPLIED_IN_ORDER, ""),
        ),
    ),
    Mutant(
        name="applies_one_slice_and_stops",
        rules=("F10",),
        does="A turn applies one slice, and nobody asks for another turn.",
        patches=(
            Patch(
                "raftline.runtime.applying",
                "        while left > 0 and replica.has_work and began < now + for_s:\n",
                "        if left > 0 and replica.has_work and began < now + for_s:\n",
            ),
            Patch(
                _GROUP_LOOP,
                _TURN_WANTED,
                "            if self.replica.has_proposed:\n",
            ),
        ),
    ),
    Mutant(
        name="rest_of_the_backlog_lies",
        rules=("F10",),
        does="When all is applied that the core handed out, the rest that is committed waits for something to happen.",
        patches=(
            Patch(
                _GROUP_LOOP,
                _TURN_WANTED,
                "            if self.replica.has_work or self.replica.has_proposed:\n",
            ),
        ),
    ),
    Mutant(
        name="restored_snapshot_wakes_nobody",
        rules=("F10", "D11"),
        does="What waits behind a snapshot is applied when something else happens, not when it was restored.",
        patches=(
            Patch(
                _GROUP_LOOP,
                "            self.snapshotting.restore(ready.install, self._schedule)\n",
                "            self.snapshotting.restore(ready.install, lambda: None)\n",
            ),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="applied_index_comes_late",
        rules=("F11",),
        does="What was applied is noted after the entries behind it may have been, from what was known before.",
        patches=(
            Patch(
                _REPLICA,
                "            self._apply(entry)\n        if count:\n",
                "            self._apply(entry)\n        if count:\n            self.applied -= count // 2\n",
            ),
            Patch(_REPLICA, _APPLIED_IN_ORDER, ""),
        ),
    ),
    Mutant(
        name="waiter_comes_late",
        rules=("F13", "G13"),
        does="Whoever proposed is registered a moment after the entry is in the log.",
        patches=(
            Patch(
                _REPLICA,
                "        self.waiters.add(first, self.core.term, dones)\n",
                "        __import__('asyncio').get_running_loop().call_later(\n"
                "            0.0008, self.waiters.add, first, self.core.term, dones\n"
                "        )\n",
            ),
        ),
    ),
    Mutant(
        name="log_is_shared_with_messages",
        rules=("F17",),
        does="A message holds the leader's list of entries itself, and a follower with an empty log takes it over.",
        patches=(
            Patch(
                _REPLICATION,
                "        entries = log.batch(next_index, bytes_max, state.config.append_entries_max)\n",
                "        entries = log.batch(next_index, bytes_max, state.config.append_entries_max)\n"
                "        if next_index == log.base_index + 1:\n"
                "            entries = log._entries\n",
            ),
            Patch(
                _FOLLOWING,
                "        append_entries(state, list(entries))\n",
                "        append_entries(state, entries)\n",
            ),
            Patch(
                _LOG,
                "        self._entries.extend(entries)\n",
                "        if self._entries or type(entries) is tuple:\n"
                "            self._entries.extend(entries)\n"
                "        else:\n"
                "            self._entries = entries\n",
            ),
        ),
        bench="walk",
    ),
    Mutant(
        name="polls_without_pause",
        rules=("F19",),
        does="A node takes one turn after the other, whether there is anything to do or not.",
        patches=(
            Patch(
                _GROUP_LOOP,
                "            self._arm_timer(now)\n",
                "            self._arm_timer(now)\n            self._schedule()\n",
            ),
        ),
    ),
    Mutant(
        name="stopped_node_takes_turns",
        rules=("F22", "E8"),
        does="Nothing looks whether the node was stopped before it takes a turn.",
        patches=(
            Patch(
                _GROUP_LOOP,
                "        if not self._scheduled and not self._stopped:\n",
                "        if not self._scheduled:\n",
            ),
            Patch(
                _GROUP_LOOP,
                "        self._scheduled = False\n        if self._stopped:\n            return\n",
                "        self._scheduled = False\n",
            ),
        ),
        bench="failing_disks",
    ),
    Mutant(
        name="window_without_a_bound",
        rules=("F24",),
        does="However many messages to a follower are unanswered, another one is sent.",
        patches=(
            Patch(
                _REPLICATION,
                "progress.inflight_messages >= config.inflight_messages_max",
                "progress.inflight_messages >= 1 << 30",
            ),
        ),
        bench="cut_links",
    ),
    Mutant(
        name="entries_get_the_commit_index",
        rules=("F25",),
        does="An entry is applied under the index that is committed by then.",
        patches=(
            Patch(
                _REPLICA,
                "        index = entry.index\n",
                "        index = self.core.state.commit\n",
            ),
            Patch(_REPLICA, _APPLIED_IN_ORDER, ""),
        ),
    ),
)
