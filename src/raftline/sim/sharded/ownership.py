"""Who serves which slot, by the logs of all groups: noted at the first replica that applies an entry, held for ever.

Groups are asynchronous, so "at one time" is by cause: what any replica has applied is committed, and what another
group does because of it comes later. The most that was ever applied of each group's log is therefore a state of the
whole store that may be looked at, even if the replica that had come so far died at once.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import msgspec

from raftline.core.ids import GroupId
from raftline.errors import NotServed, SafetyViolation
from raftline.kv.bundles import BUNDLE, NOT_SERVED, decode_bundle
from raftline.kv.commands.lookup import find_logged
from raftline.kv.commands.transactions import decode_watched
from raftline.kv.sharded.holdings import Holdings
from raftline.kv.sharded.machine import ShardMachine
from raftline.kv.slots import slot_of
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import Configuration
from raftline.shards.controller import ControllerMachine

__all__ = ["Ownership", "WatchedController", "WatchedShard"]

_encode = msgspec.msgpack.Encoder().encode
_decode_args = msgspec.msgpack.Decoder(list[bytes]).decode
_OWN = b"RAFTLINE.SHARD."
_NOW = b"RAFTLINE.SHARD.NOW"
_LONG_S = 0.1


class _State(NamedTuple):
    """What a group holds from an entry on."""

    since: int
    """The index of that entry."""
    number: int
    """The configuration that it has taken."""
    serves: frozenset[int]
    """Of the slots that are looked at."""
    holdings: bytes
    """Everything, encoded."""


class Ownership:
    """What the groups hold, as far as anybody has applied their logs; raises `SafetyViolation` for what must not be.

    Invariant: `_states[group]` rises by index and begins with nothing at index 0.
    """

    def __init__(
        self,
        slots: Sequence[int],
        note: Callable[[GroupId, str], None],
        fail: Callable[[SafetyViolation], object],
        now: Callable[[], float],
    ) -> None:
        """Look at `slots`; `note` hears of everything that changes, for the trace.

        `fail` gets what must not be: in the middle of `apply` an exception would be a result like any other.
        """
        self.slots = tuple(sorted(set(slots)))
        self.counts: Counter[str] = Counter()
        self.configurations: list[Configuration] = []
        """The controller's, in order, as the first of its replicas made them."""
        self._note = note
        self.fail = fail
        self.now = now
        self._states: dict[GroupId, list[_State]] = {}
        self._times: dict[GroupId, int] = {}
        """By group: the latest time in an entry of its log."""

    def states(self, group: GroupId) -> list[_State]:
        """Return what a group held from which entry on."""
        known = self._states.get(group)
        if known is None:
            nothing = _State(0, 0, frozenset(), _encode(Holdings(group)))
            known = self._states[group] = [nothing]
        return known

    def number(self, group: GroupId) -> int:
        """Return the newest configuration that anybody has seen a group take."""
        return self.states(group)[-1].number

    def served_by(self, slot: int) -> GroupId | None:
        """Return who serves a slot now, by the most that was applied of each log."""
        return next((group for group, states in self._states.items() if slot in states[-1].serves), None)

    def on_time(self, group: GroupId, entry_ms: int, store_ms: int) -> None:
        """A replica whose time is `store_ms` gets an entry with a time: only such entries may have brought it there."""
        latest_ms = self._times[group] = max(entry_ms, self._times.get(group, 0))
        if store_ms > latest_ms:
            self.violated(group, f"its time is {store_ms - latest_ms} ms ahead of its whole log (decision 15)")

    def time_of(self, slot: int) -> int:
        """Return the latest time of any group that ever served a slot."""
        served = [group for group, states in self._states.items() if any(slot in state.serves for state in states)]
        return max((self._times.get(group, 0) for group in served), default=0)

    def before(self, group: GroupId, index: int) -> _State:
        """Return what a group held before the entry at `index`."""
        states = self.states(group)
        return states[bisect_right(states, index - 1, key=lambda state: state.since) - 1]

    def on_configuration(self, configuration: Configuration) -> None:
        """The controller has made one: every replica makes the same (G17)."""
        at = configuration.number
        if at == len(self.configurations):
            self.configurations.append(configuration)
            self._note(0, f"configuration {at}: {_shown(configuration)}")
        elif self.configurations[at] != configuration:
            self.violated(0, f"replicas of the controller have different configurations {at} (G17)")

    def on_entry(self, index: int, holdings: Holdings, what: str) -> None:
        """A replica has applied an entry that may have changed what its group holds."""
        group = holdings.group
        states = self.states(group)
        encoded = _encode(holdings)
        if index <= states[-1].since:
            known = self.before(group, index + 1)
            if known.holdings != encoded:
                self.violated(group, f"replicas hold different things behind entry {index} ({what})")
            return
        if states[-1].holdings == encoded:
            return
        serves = frozenset(slot for slot in self.slots if holdings.serves(slot))
        state = _State(index, holdings.configuration.number, serves, encoded)
        self._check_step(holdings, states[-1], state)
        states.append(state)
        self.counts[f"entries {what.lower()}"] += 1
        gained, lost = sorted(serves - states[-2].serves), sorted(states[-2].serves - serves)
        self._note(
            group,
            f"{index} {what}: configuration {state.number}, "
            f"{sum(len(arrival.slots) for arrival in holdings.arrivals.values())} slots to come, "
            f"{sum(len(departure.waiting) for departure in holdings.given.values())} to go"
            + (f", serves {gained}" if gained else "")
            + (f", serves no more {lost}" if lost else ""),
        )

    def _check_step(self, holdings: Holdings, before: _State, after: _State) -> None:
        group = holdings.group
        if after.number != before.number:
            if after.number != before.number + 1:
                self.violated(group, f"took configuration {after.number} after {before.number} (G15)")
            held = msgspec.msgpack.decode(before.holdings, type=Holdings)
            if held.arrivals or held.given:
                self.violated(group, f"took configuration {after.number} before it was done with the last one (G15)")
            if self.configurations[after.number] != holdings.configuration:
                self.violated(group, f"its configuration {after.number} is not the controller's")
        for slot in sorted(after.serves - before.serves):
            for other, states in self._states.items():
                if other != group and slot in states[-1].serves:
                    self.violated(group, f"serves slot {slot}, which group {other} serves, too (G15)")

    def check_served(self, group: GroupId, state: _State, keys: Sequence[bytes], what: str) -> None:
        """A command was carried out: its group has to serve every slot of it, by what it held just then (G15)."""
        for key in keys:
            if slot_of(key) not in state.serves:
                self.violated(group, f"{what} of {key.decode()}, whose slot {slot_of(key)} it does not serve (G15)")

    def check_refused(self, group: GroupId, state: _State, keys: Sequence[bytes], what: str) -> None:
        """A command was refused: its group must not serve all of it."""
        if keys and all(slot_of(key) in state.serves for key in keys):
            self.violated(group, f"refuses {what} of {keys[0].decode()}, whose slot {slot_of(keys[0])} it serves")

    def check_gone(self, group: GroupId, key: bytes, number: int, target: GroupId) -> None:
        """A key was dropped: the group that its slot was given to has to have it (G15)."""
        state = self.states(target)[-1]
        if state.number < number or (state.number == number and slot_of(key) not in state.serves):
            self.violated(group, f"dropped {key.decode()} before group {target} had it (G15)")

    def violated(self, group: GroupId, what: str) -> NoReturn:
        """Say that a promise is broken."""
        violation = SafetyViolation(f"group {group}: {what}")
        self.fail(violation)
        raise violation


def keys_of(args: list[bytes]) -> list[bytes]:
    """Return the keys of a command, those of the commands in a transaction included."""
    command = find_logged(args)
    if command is None:
        return []
    if command.execute is None:
        return [args[place] for place in command.keys_in(args)]
    inner = [key for words in args[2:] for key in keys_of(_decode_args(words))]
    return [key for key, _ in decode_watched(args[1])] + inner


class WatchedShard(ShardMachine):
    """A group's machine that lets `Ownership` see every entry and every read."""

    def __init__(self, group: GroupId, ownership: Ownership, sessions_max: int = 0) -> None:
        super().__init__(group)
        self._ownership = ownership
        self._sessions_max = sessions_max
        """How many sessions the group has room for; 0: as many as ever."""
        self._applied = 0
        """The last entry that was applied here; 0 after a restore, which does not say."""
        self._restoring_since = 0.0

    def use_sessions(self, sessions: Sessions) -> None:
        """Remember the group's sessions, and give them the room that they have."""
        super().use_sessions(sessions)
        if self._sessions_max:
            sessions.count_max = self._sessions_max

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Carry the command out, and look whether that was right."""
        self._ownership.on_time(self.holdings.group, time_ms, self.store.time_ms)
        if not self._applied:
            self._check_restored(index)
        self._applied = index
        if command[:1] == BUNDLE:
            return self._apply_several(command, index, time_ms)
        args = _decode_args(command)
        if args[0].startswith(_OWN):
            return self._change(args, command, index, time_ms)
        keys = keys_of(args)
        try:
            reply = super().apply(command, index, time_ms)
        except NotServed:
            self._ownership.counts["commands refused by the log"] += 1
            self._ownership.check_refused(self.holdings.group, self._before(index), keys, args[0].decode())
            raise
        self._ownership.check_served(self.holdings.group, self._before(index), keys, args[0].decode())
        return reply

    def _apply_several(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Look at each command that shares the entry."""
        ownership, group, state = self._ownership, self.holdings.group, self._before(index)
        reply = super().apply(command, index, time_ms)
        for args, own in zip(decode_bundle(command), _decode_args(reply), strict=True):
            if own == NOT_SERVED:
                ownership.counts["commands refused by the log beside others"] += 1
                ownership.check_refused(group, state, keys_of(args), args[0].decode())
            else:
                ownership.check_served(group, state, keys_of(args), args[0].decode())
        return reply

    def _before(self, index: int) -> _State:
        return self._ownership.before(self.holdings.group, index)

    def _change(self, args: list[bytes], command: bytes, index: int, time_ms: int) -> bytes:
        ownership, what = self._ownership, args[0].removeprefix(_OWN).decode()
        if what == "DROP":  # what is overdue by the entry's time goes for that reason
            self.store.time_ms = max(self.store.time_ms, time_ms)
        held = self._keys() if what == "DROP" else set()
        reply = super().apply(command, index, time_ms)
        state = self._before(index)
        for key in sorted(held - self._keys()) if held else ():
            if int(args[2]) >= 0 and slot_of(key) not in state.serves:
                ownership.check_gone(self.holdings.group, key, int(args[1]), int(args[2]))
            ownership.counts["keys dropped"] += 1
        ownership.on_entry(index, self.holdings, what)
        return reply

    def _keys(self) -> set[bytes]:
        """Return every key that is alive in the slots that are looked at."""
        store = self.store
        return {key for slot in self._ownership.slots for key in store.table(slot)[0] if not store.is_overdue(key)}

    def _check_restored(self, index: int) -> None:
        """What a snapshot brought has to be what the group held there."""
        state = self._before(index)
        if _encode(self.holdings) != state.holdings:
            self._ownership.violated(
                self.holdings.group,
                f"a replica that goes on with entry {index} holds something else than its group held there (G14)",
            )

    def read(self, query: bytes, time_ms: int) -> bytes:
        """Answer, and look whether that was right."""
        args = _decode_args(query)
        if args[0] == _NOW:
            del args[0]
        if args[0].startswith(_OWN) or not self._applied:
            return super().read(query, time_ms)
        state = self._before(self._applied + 1)
        keys = keys_of(args)
        try:
            reply = super().read(query, time_ms)
        except NotServed:
            self._ownership.counts["reads refused"] += 1
            raise
        self._ownership.check_served(self.holdings.group, state, keys, args[0].decode())
        return reply

    def restore_begin(self) -> None:
        """Begin to load what takes the place of everything here."""
        super().restore_begin()
        self._restoring_since = self._ownership.now()

    def restore_end(self) -> None:
        """Replace everything; what is held is looked at with the next entry."""
        super().restore_end()
        took_s = self._ownership.now() - self._restoring_since
        self._ownership.counts["snapshots that took long to restore"] += took_s > _LONG_S
        self._applied = 0
        self._ownership.counts["snapshots restored"] += 1
        if self.holdings.arrivals:
            self._ownership.counts["snapshots restored in the middle of arrivals"] += 1


class WatchedController(ControllerMachine):
    """The controller's machine, whose configurations `Ownership` gets to know."""

    def __init__(self, ownership: Ownership) -> None:
        super().__init__()
        self._ownership = ownership
        ownership.on_configuration(self.newest)

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Make a change."""
        reply = super().apply(command, index, time_ms)
        self._ownership.on_configuration(self.newest)
        return reply


def _shown(configuration: Configuration) -> str:
    counts = {group: sum(piece.size for piece in configuration.ranges_of(group)) for group in configuration.group_ids}
    return ", ".join(f"group {group} has {count}" for group, count in counts.items()) or "nobody has anything"
