"""Mutants of section G, services on top of the log, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_BUNDLES = "raftline.kv.bundles"
_CONNECTION = "raftline.kv.connection"
_FORWARDING = "raftline.runtime.forwarding"
_GROUP_LOOP = "raftline.runtime.group_loop"
_PROGRESS = "raftline.core.progress"
_PROPOSING = "raftline.runtime.proposing"
_MACHINE = "raftline.kv.machine"
_READING = "raftline.runtime.reading"
_READ_INDEX = "raftline.core.read_index"
_REFUSALS = "raftline.kv.refusals"
_REPLICA = "raftline.replica.replica"
_REQUESTS = "raftline.runtime.requests"
_RESTORE = "raftline.kv.restore"
_SNAPSHOT = "raftline.kv.snapshot"
_STORE = "raftline.kv.store"
_WAITERS = "raftline.replica.waiters"

_LOCAL_READ = (
    "    if state.leader is None:\n"
    "        state.read_outcomes.append(ReadOutcome(event.read_id, None))\n"
    '        return "no leader is known"\n'
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="leader_carries_out_what_it_proposes",
        rules=("G1",),
        does="A leader changes its state when it proposes, not only when the entry is applied.",
        patches=(
            Patch(
                _REPLICA,
                "        self.waiters.add(first, self.core.term, dones)\n",
                "        self.waiters.add(first, self.core.term, dones)\n"
                "        for command in commands:\n"
                "            if command[0] == PLAIN:\n"
                "                self.machine.apply(command[1:], first, self.time_ms)\n",
            ),
        ),
    ),
    Mutant(
        name="time_of_whoever_applies",
        rules=("G1",),
        does="A command is carried out with the time of the node that applies it, not with the one in its entry.",
        patches=(
            Patch(
                _REPLICA,
                "            self._apply(entry)\n",
                "            self._apply(msgspec.structs.replace(entry, time_ms=int(now * 1000)))\n",
            ),
        ),
    ),
    Mutant(
        name="reply_is_read_after_the_wake_up",
        rules=("G2",),
        does="The reply to INCRBY is what the local store holds when the client's handler gets its turn.",
        patches=(
            Patch(
                _CONNECTION,
                "            self._bundles.add(command, slot.done)\n",
                "            store = self.client.server.store\n"
                "            loop = asyncio.get_running_loop()\n\n"
                "            def later(outcome: object) -> None:\n"
                "                value = store.get(args[1])\n"
                '                if args[0] == b"INCRBY" and isinstance(outcome, bytes) and value is not None:\n'
                '                    outcome = b":" + value + b"\\r\\n"\n'
                "                slot.done(outcome)\n\n"
                "            late = lambda outcome: loop.call_later(0.001, later, outcome)\n"
                "            self._bundles.add(command, late)\n",
            ),
        ),
    ),
    Mutant(
        name="replies_of_a_bundle_move_on",
        rules=("G2",),
        does="Of several commands in one entry each is told the reply of the one before it.",
        patches=(
            Patch(
                _BUNDLES,
                "        outcomes = _replies_of(outcome, count)\n",
                "        outcomes = _replies_of(outcome, count)\n        outcomes = [*outcomes[-1:], *outcomes[:-1]]\n",
            ),
        ),
    ),
    Mutant(
        name="bundle_ends_with_its_first_command",
        rules=("G2",),
        does="Of several commands in one entry only the first is carried out; all are told that theirs was.",
        patches=(
            Patch(
                _MACHINE,
                "        for args in requests:\n            try:\n",
                "        for args in requests[:1]:\n            try:\n",
            ),
            Patch(
                _MACHINE,
                "        return encode_replies(replies)\n",
                "        return encode_replies(replies * len(requests))\n",
            ),
        ),
    ),
    Mutant(
        name="bundle_that_failed_is_told_to_its_first",
        rules=("G5",),
        does="When an entry of several commands has no outcome, only the first of those who wait is told.",
        patches=(
            Patch(
                _BUNDLES,
                "        outcomes: Sequence[bytes | Exception] = [outcome] * count\n",
                "        outcomes: Sequence[bytes | Exception] = [outcome]\n        dones = dones[:1]\n",
            ),
        ),
    ),
    Mutant(
        name="leader_reads_without_asking",
        rules=("G3", "G11"),
        does="A leader answers reads at once, without looking whether it still leads.",
        patches=(
            Patch(
                _READ_INDEX,
                _LOCAL_READ,
                _LOCAL_READ + "    if state.role is Role.LEADER:\n"
                "        state.read_outcomes.append(ReadOutcome(event.read_id, state.commit))\n"
                "        return None\n",
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="new_leader_reads_too_early",
        rules=("G3",),
        does="A new leader confirms reads before it has committed anything in its own term.",
        patches=(
            Patch(
                _READ_INDEX,
                "    if not reads.waiting or reads.confirming or state.log.term_at(state.commit) != state.term:\n",
                "    if not reads.waiting or reads.confirming:\n",
            ),
        ),
        bench="walk_reads",
    ),
    Mutant(
        name="read_does_not_wait_to_be_applied",
        rules=("G3",),
        does="A read is answered when the leader has named its index, whatever is applied here.",
        patches=(
            Patch(
                _READING,
                "self._confirmed[0][0] <= replica.applied and",
                "self._confirmed[0][0] and",
            ),
        ),
    ),
    Mutant(
        name="any_answer_confirms_the_newest_round",
        rules=("G3", "G11"),
        does="An answer to whichever message counts for the round that was begun last.",
        patches=(
            Patch(
                _PROGRESS,
                "        self.acked_round = max(self.acked_round, round_)\n",
                "        self.acked_round = self.sent_round\n",
            ),
        ),
    ),
    Mutant(
        name="waiter_is_known_by_its_index",
        rules=("G4", "G6"),
        does="Whoever waits for an index gets the result of whatever is applied there.",
        patches=(
            Patch(_WAITERS, "result if self._term == term else", "result if self._term else"),
            Patch(_WAITERS, "result if proposed_term == term else", "result if proposed_term else"),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="nobody_waits_in_vain",
        rules=("G5",),
        does="A request without an outcome waits for ever.",
        patches=(
            Patch(
                _REQUESTS,
                "if request.done is not None and request.deadline > now:",
                "if request.done is not None:",
            ),
        ),
    ),
    Mutant(
        name="lost_proposals_are_not_told",
        rules=("G5", "G4"),
        does="Whoever waits for an index that went to another entry goes on waiting.",
        patches=(
            Patch(
                _WAITERS,
                "done(result if self._term == term else _lost(index, term, self._term))",
                "done(result) if self._term == term else self._waiting.setdefault(index, done)",
            ),
            Patch(
                _WAITERS,
                "other(result if proposed_term == term else _lost(index, term, proposed_term))",
                "other(result) if proposed_term == term else self._waiting.setdefault(index, done)",
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="deposed_leader_calls_its_proposals_lost",
        rules=("G6", "G19"),
        does="A leader that is deposed tells everybody who waits that the command did not take effect.",
        patches=(
            Patch(
                _GROUP_LOOP,
                "            self.snapshotting.close_readers()\n",
                "            self.snapshotting.close_readers()\n"
                "            from raftline.errors import ProposalLost\n"
                '            self.replica.waiters.fail_all(ProposalLost("the leadership was lost"))\n',
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="duplicates_are_carried_out_again",
        rules=("G7",),
        does="A session's command is carried out as often as it stands in the log.",
        patches=(Patch(_REPLICA, "        if sequence > session.sequence:\n", "        if sequence:\n"),),
    ),
    Mutant(
        name="duplicates_are_sought_before_the_log",
        rules=("G7",),
        does="A leader passes over a session's command that it has proposed already; what is applied is not looked at.",
        patches=(
            Patch(_REPLICA, "        if sequence > session.sequence:\n", "        if sequence:\n"),
            Patch(
                _PROPOSING,
                "        batch = [proposal for proposal in batch if proposal.done is not None]\n"
                "        # Lists and not any()",
                "        batch = [proposal for proposal in batch if proposal.done is not None]\n"
                "        known = {p.command for p in batch if p.command[:1] == b'\\1'}\n"
                "        proposed = self.controls.__dict__.setdefault('proposed', set())\n"
                "        batch = [p for p in batch if p.command not in proposed]\n"
                "        proposed |= known\n"
                "        # Lists and not any()",
            ),
        ),
    ),
    Mutant(
        name="duplicate_gets_an_empty_reply",
        rules=("G8",),
        does="A repeated command is not carried out again, and not answered with its first reply either.",
        patches=(
            Patch(
                _REPLICA,
                "            failed, reply = session.failed, session.reply\n",
                '            failed, reply = session.failed, b""\n',
            ),
        ),
    ),
    Mutant(
        name="sequence_is_not_remembered",
        rules=("G8",),
        does="A session remembers its last reply and not the number of the command.",
        patches=(
            Patch(
                _REPLICA,
                "            self.sessions.remember(session_id, sequence, ",
                "            self.sessions.remember(session_id, max(0, sequence - 1), ",
            ),
        ),
    ),
    Mutant(
        name="sessions_are_not_in_the_snapshot",
        rules=("G9", "G14"),
        does="A snapshot does not hold the sessions.",
        patches=(Patch(_REPLICA, "self.time_ms, self.sessions.dump()", "self.time_ms, []"),),
    ),
    Mutant(
        name="sessions_are_not_restored",
        rules=("G9", "D17"),
        does="A restore leaves the sessions as they were.",
        patches=(Patch(_REPLICA, "        self.sessions.load(header.sessions, header.forgotten)\n", ""),),
    ),
    Mutant(
        name="only_the_leader_remembers",
        rules=("G9",),
        does="Only the leader notes which commands of sessions were carried out.",
        patches=(
            Patch(
                _REPLICA,
                "            self.sessions.remember(session_id, sequence, failed",
                "            if not self.core.is_leader:\n"
                "                sequence = session.sequence\n"
                "            self.sessions.remember(session_id, sequence, failed",
            ),
        ),
    ),
    Mutant(
        name="follower_keeps_what_it_is_asked",
        rules=("G10",),
        does="A follower keeps its clients' commands until it leads.",
        patches=(
            Patch(
                _PROPOSING,
                "        if batch:\n            self._forwarding.forward(leader, self._core.term, batch)\n",
                "        self._held.extend(batch)\n",
            ),
        ),
    ),
    Mutant(
        name="answers_on_append",
        rules=("G11", "G20"),
        does="A leader answers SET as soon as the entry is in its log.",
        patches=(
            Patch(
                _PROPOSING,
                "        dones = [proposal.finish for proposal in batch]\n",
                "        for proposal in batch:\n"
                '            if b"\\xc4\\x03SET" in proposal.command[:8]:\n'
                '                proposal.finish(b"+OK\\r\\n")\n'
                "        dones = [proposal.finish for proposal in batch]\n",
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="follower_reads_its_own_state",
        rules=("G12", "G3"),
        does="A follower answers reads from what it has, as if that were current.",
        patches=(
            Patch(
                _READ_INDEX,
                _LOCAL_READ,
                _LOCAL_READ + "    if state.role is Role.FOLLOWER:\n"
                "        state.read_outcomes.append(ReadOutcome(event.read_id, state.commit))\n"
                "        return None\n",
            ),
        ),
    ),
    Mutant(
        name="wakes_whoever_waits_longest",
        rules=("G13", "G4"),
        does="A result goes to whoever waits longest.",
        patches=(
            Patch(
                _WAITERS,
                "        done = self._waiting.pop(index, None)\n",
                "        done = self._waiting.pop(min(self._waiting, default=index), None)\n",
            ),
        ),
    ),
    Mutant(
        name="deadlines_are_not_in_the_snapshot",
        rules=("G14",),
        does="A snapshot holds keys and values, and not when they expire.",
        patches=(Patch(_SNAPSHOT, "deadlines.get(key, 0)", "0"),),
        bench="expiry",
    ),
    Mutant(
        name="restore_leaves_old_keys",
        rules=("G14", "D17"),
        does="A restore adds the snapshot's keys to those that are there.",
        patches=(
            Patch(
                _RESTORE,
                "        self._store = Store()\n",
                "        self._store = store\n        store.count = store.used_bytes = 0\n",
            ),
            Patch(_RESTORE, "        self._replaced.become(self._store)\n", ""),
        ),
        bench="late_snapshots",
    ),
    Mutant(
        name="last_key_is_not_in_the_snapshot",
        rules=("G14",),
        does="A snapshot ends one key too early.",
        patches=(
            Patch(
                _SNAPSHOT,
                "    if groups:\n        yield _encode(groups)\n",
                "    if groups and (len(groups) > 1 or len(groups[-1][1]) > 1):\n"
                "        groups[-1][1].pop()\n"
                "        yield _encode(groups)\n",
            ),
            Patch(_RESTORE, " or self._store.count != expected:\n", ":\n"),
        ),
    ),
    Mutant(
        name="unknown_outcome_is_called_a_failure",
        rules=("G19",),
        does="A client whose command has no outcome in time is told that it did not take effect.",
        patches=(
            Patch(
                _REFUSALS,
                '    return error(f"CLUSTERDOWN no outcome in time: the command may have been applied, or may still be '
                '({reason})")\n',
                '    return error(f"CLUSTERDOWN no outcome in time: the command did not take effect ({reason})")\n',
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="forwarded_commands_are_sent_again",
        rules=("G19", "G7"),
        does="What was passed on to a leader that is replaced is passed on to the next one as well.",
        patches=(
            Patch(
                _FORWARDING,
                "            self._late |= {number: (until, proposals) for number, proposals in asked.items()}\n",
                "            self._held |= {number: list(proposals) for number, proposals in asked.items()}\n",
            ),
        ),
        bench="cut_off_leaders",
    ),
    Mutant(
        name="forwarded_frames_are_taken_again",
        rules=("G7",),
        does="A leader takes every copy of a frame that a follower passed on.",
        patches=(
            Patch(
                _FORWARDING,
                "        return seen.arrive(request.number)\n",
                "        arrival = seen.arrive(request.number)\n"
                "        return Arrival.NEW if arrival is Arrival.REPEATED else arrival\n",
            ),
        ),
        bench="elections",
    ),
    Mutant(
        name="expiry_by_the_readers_clock",
        rules=("G1", "G3"),
        does="Whether a key is expired is decided by the clock of the node that is asked.",
        patches=(
            Patch(
                _STORE,
                "                if deadline_ms <= now_ms:\n                    raise ExpiryPending\n",
                "                if deadline_ms <= now_ms:\n                    return None\n",
            ),
        ),
        bench="expiry",
    ),
    Mutant(
        name="log_time_goes_back",
        rules=("G1",),
        does="The log's time is that of the last entry, also where a leader's clock is behind its predecessor's.",
        patches=(
            Patch(
                _REPLICA,
                "            self.time_ms = entry.time_ms if entry.time_ms > self.time_ms else self.time_ms  # noqa",
                "            self.time_ms = entry.time_ms  # noqa",
            ),
            Patch("raftline.kv.store", "        if time_ms > self.time_ms:  # noqa", "        if time_ms:  # noqa"),
        ),
        bench="expiry",
    ),
)
