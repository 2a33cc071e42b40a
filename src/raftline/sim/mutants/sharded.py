"""Mutants of the sharded store (rules G15 to G17): slots with two owners, sessions and values that do not travel whole.

The patched code is that of a group's state machine, of what it holds, of the chunks that travel, and of the mover.
"""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_MACHINE = "raftline.kv.sharded.machine"
_HOLDINGS = "raftline.kv.sharded.holdings"
_ARRIVING = "raftline.kv.sharded.arriving"
_CHUNKS = "raftline.kv.sharded.chunks"
_MOVER = "raftline.kv.sharded.mover"
_SESSIONS = "raftline.replica.sessions"
_REPLICA = "raftline.replica.replica"
_HANDLE = "raftline.runtime.handle"
_CONTROLLER = "raftline.shards.controller"
_HISTORY = "raftline.shards.history"

_CHECKED = "        elif name != TICK_NAME:\n            self.check_served(args)\n"
_STEP = "            if await self._try(step):\n"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="ownership_is_checked_on_arrival",
        rules=("G15",),
        does="Whether a slot is served is looked at when a command arrives, and not when it is applied.",
        patches=(
            Patch(_MACHINE, _CHECKED, ""),
            Patch(
                _HANDLE,
                "        return await self._propose(wrapped(command, session, sequence))\n",
                "        if hasattr(self.machine, 'holdings'):\n"
                "            import msgspec\n"
                "            args = msgspec.msgpack.decode(command, type=list[bytes])\n"
                "            if not args[0].startswith(b'RAFTLINE.SHARD.'):\n"
                "                self.machine.check_served(args)\n"
                "        return await self._propose(wrapped(command, session, sequence))\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="reads_are_not_checked",
        rules=("G15",),
        does="A read is answered from what is left of a slot that was given away.",
        patches=(
            Patch(
                _MACHINE,
                "        self.check_served(args)\n        command = readable(args)\n",
                "        command = readable(args)\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="given_slots_are_served_on",
        rules=("G15",),
        does="A group serves what it has released until it is told that the other one has it.",
        patches=(
            Patch(
                _HOLDINGS,
                "departure is not None and _holds(departure.waiting, slot)\n",
                "departure is not None and _holds(sorted(departure.waiting + departure.released), slot)\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="served_before_it_arrived",
        rules=("G15",),
        does="A group serves what a configuration gives it at once.",
        patches=(
            Patch(
                _HOLDINGS,
                "        return not any(_holds(arrival.slots, slot) for arrival in self.arrivals.values())\n",
                "        return True\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="sent_before_it_was_released",
        rules=("G15",),
        does="Slots that are still served travel, too; what is written to them afterwards does not.",
        patches=(
            Patch(
                _MACHINE,
                "        released, forgotten = departure.released, table",
                "        released, forgotten = departure.released + departure.waiting, table",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="configuration_is_skipped",
        rules=("G15",),
        does="A group that is behind takes the newest configuration at once.",
        patches=(
            Patch(
                _HOLDINGS,
                "configuration.number != self.configuration.number + 1 or",
                "configuration.number <= self.configuration.number or",
            ),
            Patch(_MOVER, "self._directory.configuration(number)\n", "self._directory.configuration(-1)\n"),
            Patch(_MOVER, "        if found.number != number:\n", "        if found.number < number:\n"),
        ),
        bench="sharded",
    ),
    Mutant(
        name="two_configurations_at_once",
        rules=("G15",),
        does="The next configuration is taken while slots of the one before are still on their way.",
        patches=(
            Patch(
                _HOLDINGS,
                "self.configuration.number + 1 or not self.is_settled:\n",
                "self.configuration.number + 1:\n",
            ),
            Patch(
                _MOVER,
                _STEP,
                "            number = self._machine.holdings.configuration.number + 1\n"
                "            await self._try(partial(self._take_next, number))\n" + _STEP,
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="deleted_before_the_other_has_it",
        rules=("G15",),
        does="Keys are dropped as soon as the other group answers, whatever it says.",
        patches=(
            Patch(
                _MOVER,
                'has_all(number, self._machine.holdings.group, through)) == b"1"\n',
                'has_all(number, self._machine.holdings.group, through)) in (b"0", b"1")\n',
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="the_other_has_it_once_it_has_begun",
        rules=("G15",),
        does="A group says that all has arrived as soon as it has taken the configuration.",
        patches=(
            Patch(
                _HOLDINGS,
                "        if self.configuration.number != number:\n",
                "        if self.configuration.number >= number:\n            return True\n"
                "        if self.configuration.number != number:\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="dropped_for_every_target",
        rules=("G15",),
        does="When one group has what it got, what others get is dropped, too.",
        patches=(
            Patch(
                _MACHINE,
                "        for slot in store.filled(departure.released):\n",
                "        for slot in store.filled(\n"
                "            [slot for each in self.holdings.given.values() for slot in each.released]\n"
                "        ):\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="late_drops_take_the_next_batch",
        rules=("G15", "G16"),
        does="A drop that was proposed twice removes what was released in between, which nobody else has.",
        patches=(
            Patch(
                _MACHINE,
                "        if departure.released and departure.released[-1] > through:\n            return _OUTDATED\n",
                "",
            ),
        ),
        bench="sharded_movers",
    ),
    Mutant(
        name="dropped_in_part",
        rules=("G15",),
        does="A slot counts as empty although more keys are left than one entry may remove.",
        patches=(
            Patch(
                _MACHINE,
                "[slot for slot in departure.released if slot not in left]",
                "[slot for slot in departure.released if left is not None]",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="chunks_are_taken_at_any_cursor",
        rules=("G15", "G16"),
        does="A chunk is taken in wherever it begins, so one that comes again undoes what was written since.",
        patches=(Patch(_HOLDINGS, " and chunk.cursor == arrival.cursor\n", "\n"),),
        bench="sharded_movers",
    ),
    Mutant(
        name="value_is_taken_in_pieces",
        rules=("G15",),
        does="Every piece of a large value takes the place of the one before.",
        patches=(Patch(_ARRIVING, "        opened = self._open.get(source)\n", "        opened = None\n"),),
        bench="sharded",
    ),
    Mutant(
        name="deadlines_do_not_travel",
        rules=("G15",),
        does="A key that moves to another group never expires.",
        patches=(
            Patch(
                _MACHINE,
                "            if record.deadline_ms:\n                store.expire_at(record.key, record.deadline_ms)\n",
                "",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="fencing_tokens_begin_again",
        rules=("G16",),
        does="A lock that has moved is given with a token that it may have had before.",
        patches=(Patch(_MACHINE, "        store.last_token = max(store.last_token, chunk.last_token)\n", ""),),
        bench="sharded",
    ),
    Mutant(
        name="session_table_is_left_behind",
        rules=("G16",),
        does="Keys travel without what the group remembers of its clients' commands.",
        patches=(Patch(_MACHINE, "        sessions.merge(chunk.sessions, self.store.time_ms)\n", ""),),
        bench="sharded_retries",
    ),
    Mutant(
        name="forgotten_sessions_are_opened_anew",
        rules=("G16",),
        does="A group that has forgotten a session opens it again when a command in it is repeated.",
        patches=(Patch(_SESSIONS, " or self._was_forgotten(session_id, born)):\n", "):\n"),),
        bench="sharded_forgetting",
    ),
    Mutant(
        name="sessions_travel_before_the_first_batch_only",
        rules=("G16",),
        does="What was used since does not travel before the later batches.",
        patches=(
            Patch(
                _CHUNKS, "end = Cursor(session=0, slot=slots[-1] + 1)", "end = Cursor(session=None, slot=slots[-1] + 1)"
            ),
        ),
        bench="sharded_retries",
    ),
    Mutant(
        name="older_reply_wins",
        rules=("G16",),
        does="What arrives of a session takes the place of what is known of it, even if that is newer.",
        patches=(
            Patch(
                _SESSIONS,
                "            elif known is None or known.sequence < session.sequence:\n",
                "            elif known is None or known.sequence != session.sequence:\n",
            ),
        ),
        bench="sharded_retries",
    ),
    Mutant(
        name="refused_commands_are_remembered",
        rules=("G16", "G19"),
        does="A session remembers a command that was refused because its slot is served elsewhere.",
        patches=(
            Patch(
                _REPLICA,
                "            except NotServed:\n                raise  #",
                "            except NotServed:\n"
                '                self.sessions.remember(session_id, sequence, failed=False, reply=b"+OK\\r\\n", '
                "time_ms=self.time_ms)\n"
                "                raise  #",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="holdings_are_not_in_the_snapshot",
        rules=("G15", "G14"),
        does="A replica that is restored has the keys of the snapshot, and holds what it held before.",
        patches=(Patch(_MACHINE, "        self.holdings = self._restored.holdings\n", ""),),
        bench="sharded_snapshots",
    ),
    Mutant(
        name="open_pieces_are_not_in_the_snapshot",
        rules=("G14",),
        does="A snapshot in the middle of an arrival lacks the pieces of the value that is not complete.",
        patches=(
            Patch(
                _MACHINE,
                "            for slot, record in arrival.pieces\n        ]\n        bare",
                "            for slot, record in arrival.pieces[:0]\n        ]\n        bare",
            ),
        ),
        bench="sharded_snapshots",
    ),
    Mutant(
        name="controller_forgets_its_history",
        rules=("G17",),
        does="A replica of the controller that comes from a snapshot knows its last configurations only.",
        patches=(
            Patch(
                _HISTORY,
                "        for encoded in _split(chunk):\n",
                "        for encoded in _split(chunk)[-1:]:\n",
            ),
        ),
        bench="sharded_snapshots",
    ),
    Mutant(
        name="balance_depends_on_the_replica",
        rules=("G17",),
        does="Who gets an odd slot is decided by each replica of the controller by itself.",
        patches=(
            Patch(
                _CONTROLLER,
                "        self.kept = History()\n",
                "        self.kept = History()\n"
                "        self.number = ControllerMachine.made = getattr(ControllerMachine, 'made', 0) + 1\n",
            ),
            Patch(
                _CONTROLLER,
                "            self.kept.append(changed(self.newest, _decode_change(command)))\n",
                "            made = changed(self.newest, _decode_change(command))\n"
                "            from raftline.shards.ranges import SlotRange, joined\n"
                "            if made.ranges and self.number % 3 == 0:\n"
                "                first, last = made.ranges[0], made.ranges[-1]\n"
                "                odd = SlotRange(first.low, first.low + 1, last.group)\n"
                "                rest = SlotRange(first.low + 1, first.high, first.group)\n"
                "                ranges = joined([odd, rest, *made.ranges[1:]])\n"
                "                made = type(made)(made.number, made.groups, ranges)\n"
                "            self.kept.append(made)\n",
            ),
        ),
        bench="sharded",
    ),
    Mutant(
        name="clocks_spread_with_slots",
        rules=("G15",),
        does="With the slots that a group gives goes its time, and with that a clock that is ahead.",
        patches=(
            Patch(_CHUNKS, "cursor, place, 0, [], records", "cursor, place, store.time_ms, [], records"),
            Patch(_CHUNKS, "cursor, end, 0, [], records", "cursor, end, store.time_ms, [], records"),
        ),
        bench="sharded",
    ),
)
