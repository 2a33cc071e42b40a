"""The state machine of a group of the sharded store: the store, and a look at who serves a slot before each command.

The look is taken when a command is applied, because between its arrival and then the slot may have been given (G15).
A command that is refused for that was not carried out, here or in its session, so that it can be repeated elsewhere
under the same number (G16, G19). Slots arrive and leave by entries that the group's leader proposes (see `mover`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import chain, islice
from zlib import compress, decompress

import msgspec

from raftline.core.ids import GroupId
from raftline.errors import ConfigError, NotServed, StorageError
from raftline.kv.commands.command import Refused
from raftline.kv.commands.lookup import EXEC_NAME, TICK_NAME, WRITES, find_logged
from raftline.kv.commands.slots import read_slot
from raftline.kv.commands.table import COMMANDS
from raftline.kv.commands.transactions import decode_watched, mark_of, marks_last
from raftline.kv.machine import NOT_READABLE, KvMachine, readable, refuse
from raftline.kv.pieces import Record
from raftline.kv.resp.replies import NULL_ARRAY, array, integer
from raftline.kv.sharded.all_keys import ALL_KEYS_READS, scan_served
from raftline.kv.sharded.arriving import Arriving
from raftline.kv.sharded.chunks import Chunk, Cursor, Giving, Marks, next_chunk
from raftline.kv.sharded.holdings import Holdings
from raftline.kv.slots import slot_of
from raftline.kv.store import ExpiryPending
from raftline.kv.values.container import Container
from raftline.replica.commands import ID_END
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import Configuration, shared
from raftline.shards.ranges import NOBODY

__all__ = [
    "EXPIRY_PENDING",
    "LEFT_VERSION",
    "ShardMachine",
    "arrive",
    "asked_now",
    "decode_chunk",
    "drop",
    "fetch",
    "flush",
    "has_all",
    "keys_of",
    "release",
    "take_configuration",
    "was_done",
    "watch_query",
]

LEFT_VERSION = 6
"""The `KvMachine.version` that every member must know before it is noted which slots left."""
_FORMAT = 1
_TAKE = b"RAFTLINE.SHARD.TAKE"
_ARRIVE = b"RAFTLINE.SHARD.ARRIVE"
_RELEASE = b"RAFTLINE.SHARD.RELEASE"
_DROP = b"RAFTLINE.SHARD.DROP"
_OWN = frozenset((_TAKE, _ARRIVE, _RELEASE, _DROP))
_FLUSH = b"RAFTLINE.SHARD.FLUSH"
_FETCH = b"RAFTLINE.SHARD.FETCH"
_HAS_ALL = b"RAFTLINE.SHARD.HAS"
_WAS_DONE = b"RAFTLINE.SHARD.DONE"
_NOW = b"RAFTLINE.SHARD.NOW"
_MARKS = b"RAFTLINE.WATCH"
_CLUSTER = b"CLUSTER"
_ONE_KEY = frozenset(
    row.wire_name
    for command in COMMANDS.values()
    for row in (command, *command.subcommands)
    if row.keys == (1, 1, 1) and not (row.numkeys or row.destination_option)
)
"""Commands whose first argument is their only key."""
_SCAN, _LOCK, _LIST = b"SCAN", b"RAFTLINE.LOCK", b"LIST"
EXPIRY_PENDING = b"-EXPIRYPENDING\r\n"
"""Answers a question that cannot be answered before the log's time has advanced; no client sees it."""
_DONE = b"+OK\r\n"
_OUTDATED = b"+OUTDATED\r\n"

_encode = msgspec.msgpack.Encoder().encode
_decode_args = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_configuration = msgspec.msgpack.Decoder(Configuration).decode
_decode_cursor = msgspec.msgpack.Decoder(Cursor).decode
decode_chunk = msgspec.msgpack.Decoder(Chunk | None).decode
"""Return what `fetch` answered: None if the group has not given anything in that configuration, or not yet."""


class _Header(msgspec.Struct, array_like=True):
    """The first chunk of a snapshot; as many chunks follow as pieces are open, then those of the store."""

    format: int
    holdings: Holdings
    open_pieces: int


_decode_header = msgspec.msgpack.Decoder(_Header).decode
_decode_piece = msgspec.msgpack.Decoder(tuple[GroupId, int, Record]).decode


def take_configuration(configuration: Configuration) -> bytes:
    """Return the command that enters the next configuration; it stands in every group's log, so it is kept small."""
    return _encode([_TAKE, compress(_encode(configuration), 1)])


def arrive(chunk: Chunk) -> bytes:
    """Return the command that takes in what another group gave."""
    return _encode([_ARRIVE, _encode(chunk)])


def release(number: int, target: GroupId, bytes_max: int, keys_max: int) -> bytes:
    """Return the command from which on the next slots are not served that `target` gets in configuration `number`.

    As many as hold `bytes_max` of keys and values, or `keys_max` keys, but one at least; none while others are under
    way.
    """
    return _encode([_RELEASE, b"%d" % number, b"%d" % target, b"%d" % bytes_max, b"%d" % keys_max])


def drop(number: int, target: GroupId, through: int, keys_max: int) -> bytes:
    """Return the command that removes up to `keys_max` released keys, of configuration `number`, which `target` has.

    It has all up to slot `through`: a command that comes late, when others are released, leaves those alone.
    """
    return _encode([_DROP, b"%d" % number, b"%d" % target, b"%d" % through, b"%d" % keys_max])


def flush(number: int, args: list[bytes]) -> bytes:
    """Return the command that flushes a group which is done with configuration `number`, and with none after it.

    Then each slot is flushed by its owner of that configuration, wherever it was before and goes afterwards (G15).
    """
    return _encode([_FLUSH, b"%d" % number, *args])


def fetch(number: int, target: GroupId, cursor: Cursor) -> bytes:
    """Return the question for the next chunk of what `target` gets in configuration `number`."""
    return _encode([_FETCH, b"%d" % number, b"%d" % target, _encode(cursor)])


def has_all(number: int, source: GroupId, through: int) -> bytes:
    """Return the question whether all has arrived that `source` gave in configuration `number`: 1 or 0.

    All up to and with slot `through`, that is.
    """
    return _encode([_HAS_ALL, b"%d" % number, b"%d" % source, b"%d" % through])


class ShardMachine(KvMachine):
    """One group's share."""

    is_sharded = True

    def __init__(self, group: GroupId) -> None:
        super().__init__()
        self.holdings = Holdings(group)
        self._sessions = Sessions()
        self._restored: _Header | None = None
        self._pieces_left = 0
        self._arriving = Arriving(self.store.discard)
        self._restored_arriving = self._arriving
        self._marks: dict[GroupId, Marks] = {}
        """By the group that gets what is released."""
        self._bounds_of: Configuration | None = None
        self._bounds: list[int] = []
        """Where what the group serves in that configuration begins and ends, in turns."""

    def use_sessions(self, sessions: Sessions) -> None:
        """Remember the group's sessions: they travel with slots."""
        self._sessions = sessions
        sessions.are_guests = True
        sessions.forgotten_elsewhere = self._is_missing

    @property
    def used_bytes(self) -> int:
        """Return how much keys and values take here, those on their way to this group included."""
        return self.store.used_bytes + self.holdings.arriving_bytes + self._arriving.container_bytes

    def knows_session(self, session: int) -> bool:
        """Say whether a session is open here, as far as this replica has come."""
        return self._sessions.find(session) is not None

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Carry out a command on slots that are served here; raises `NotServed` for any other."""
        try:
            args = _decode_args(command)
            name = args[0]
        except (msgspec.MsgspecError, IndexError):
            return super().apply(command, index, time_ms)
        if name in _OWN:
            self.store.begin(index, time_ms)
            return self._change_holdings(name, args, time_ms)
        if name == _FLUSH:
            self._check_done_with(int(args[1]))
            del args[:2]
        elif name != TICK_NAME:
            self.check_served(args)
        self.store.begin(index, time_ms)
        if name == EXEC_NAME and self._was_elsewhere(args):
            return NULL_ARRAY
        write = WRITES.get(args[0])
        return refuse(command) if write is None else self.carry_out(write, args)

    def _was_elsewhere(self, args: list[bytes]) -> bool:
        """Say whether the slot of a watched key left after its mark: what was done elsewhere is not noted here."""
        holdings = self.holdings
        return bool(holdings.left) and any(
            holdings.left_at(slot_of(key)) > mark >> 1 for key, mark in decode_watched(args[1])
        )

    def _change_holdings(self, name: bytes, args: list[bytes], time_ms: int) -> bytes:
        if name == _TAKE:
            self._marks = {}
            return _DONE if self.holdings.take(shared(_decode_configuration(decompress(args[1])))) else _OUTDATED
        if name == _ARRIVE:
            return self._arrive(args[1])
        if name == _RELEASE:
            return self._release(*map(int, args[1:]), time_ms=time_ms)
        return self._drop(*map(int, args[1:]))

    def read(self, query: bytes, time_ms: int) -> bytes:
        """Answer a question about slots that are served here, or one of another group's; raises `NotServed`."""
        args = _decode_args(query)
        if args[0] == _FETCH:
            return _encode(self._next_chunk(int(args[1]), int(args[2]), _decode_cursor(args[3])))
        if args[0] == _HAS_ALL:
            return b"%d" % self.holdings.has_all_from(int(args[2]), int(args[1]), int(args[3]))
        if args[0] == _WAS_DONE:
            known = self._sessions.find(int(args[1]))
            return b"%d" % (known is not None and known.sequence >= int(args[2]))
        now_ms = 0
        if args[0] == _NOW:
            del args[0]
            now_ms = time_ms
        try:
            return self._read(args, now_ms)
        except ExpiryPending:
            return EXPIRY_PENDING
        except Refused as refused:
            return refused.reply

    def _read(self, args: list[bytes], now_ms: int) -> bytes:
        """Answer what a client asks; raises `ExpiryPending`, `NotServed` and `Refused`."""
        store = self.store
        if args[0] in ALL_KEYS_READS:
            return ALL_KEYS_READS[args[0]](self.holdings, store, args, now_ms)
        if args[0].upper() == _SCAN or (args[0].upper() == _LOCK and args[1:2] and args[1].upper() == _LIST):
            return scan_served(self.holdings, store, args, now_ms)
        if args[0] == _MARKS:
            self._check_slots(args[1:])
            if not marks_last(self.store):
                raise NotServed(f"not every member of group {self.holdings.group} is known to note changes of keys yet")
            return array([integer(mark_of(store, key, now_ms)) for key in args[1:]])
        if args[0].upper() == _CLUSTER:
            return self._read_slot(args)
        self.check_served(args)
        command = readable(args)
        return NOT_READABLE if command is None else command(store, args, now_ms or store.time_ms)

    def _read_slot(self, args: list[bytes]) -> bytes:
        """Answer CLUSTER COUNTKEYSINSLOT or GETKEYSINSLOT."""
        slot = int(args[2])
        self._check_slot(slot)
        return read_slot(self.store, slot, int(args[3]) if len(args) > 3 else None)

    def serves(self, slot: int) -> bool:
        """Say whether a slot is served here now, as `Holdings.serves` does, and faster while nothing moves."""
        holdings = self.holdings
        configuration = holdings.configuration
        if holdings.arrivals or holdings.given:
            return holdings.serves(slot)
        if configuration is not self._bounds_of:
            self._bounds_of = configuration
            self._bounds = [end for piece in configuration.ranges_of(holdings.group) for end in (piece.low, piece.high)]
        return bisect_right(self._bounds, slot) & 1 == 1

    def check_served(self, args: list[bytes]) -> None:
        """Raise `NotServed` unless every key of a command is in a slot that is served here."""
        if args[0] in _ONE_KEY and len(args) > 1:
            holdings, slot = self.holdings, slot_of(args[1])
            is_quick = holdings.configuration is self._bounds_of and not (holdings.arrivals or holdings.given)
            if not (is_quick and bisect_right(self._bounds, slot) & 1):
                self._check_slot(slot)
            return
        keys = keys_of(args)
        if not keys:
            raise NotServed(f"{args[0].decode('ascii', 'replace')} names no key, which a sharded store needs")
        self._check_slots(keys)

    def _check_done_with(self, number: int) -> None:
        """Raise `NotServed` unless a configuration is carried out here, and nothing of a newer one."""
        holdings = self.holdings
        if holdings.configuration.number != number:
            raise NotServed(
                f"group {holdings.group} is at configuration {holdings.configuration.number}, asked of {number}"
            )
        if not holdings.is_settled:
            raise NotServed(f"group {holdings.group} gives or gets slots, which would not all be flushed")

    def _check_slots(self, keys: list[bytes]) -> None:
        for key in keys:
            self._check_slot(slot_of(key))

    def _check_slot(self, slot: int) -> None:
        if not self.serves(slot):
            number = self.holdings.configuration.number
            raise NotServed(f"slot {slot} is not served by group {self.holdings.group} (configuration {number})")

    def _arrive(self, encoded: bytes) -> bytes:
        chunk = decode_chunk(encoded)
        if chunk is None or not self.holdings.is_next(chunk):
            return _OUTDATED
        values = self._arriving.take(chunk, self.holdings.arrivals[chunk.source].pieces)  # from here on nothing fails
        store = self.store
        store.time_ms = max(store.time_ms, chunk.time_ms)
        store.last_token = max(store.last_token, chunk.last_token)
        if chunk.cursor.session is not None:
            self._merge_sessions(chunk)
        self.holdings.on_arrived(chunk)
        for record, value in values:
            if isinstance(value, Container):
                store.put_new(record.key, value)
            else:
                store.put(record.key, value)
            if record.deadline_ms:
                store.expire_at(record.key, record.deadline_ms)
        return _DONE

    def _merge_sessions(self, chunk: Chunk) -> None:
        """Take in what another group remembers of its clients, and when it has told all, what it has forgotten (G16).

        Not before: it would keep out those that are still to come; until then `_is_missing` keeps out whom it has not
        told. The slots are served after that.
        """
        sessions, cursor, arrival = self._sessions, chunk.cursor, self.holdings.arrivals[chunk.source]
        assert cursor.session is not None, "it is about sessions"
        arrival.forgotten = max(arrival.forgotten, chunk.forgotten)
        if chunk.is_whole and chunk.forgotten >= 0:
            told = [session for session, _ in chunk.sessions]
            end = ID_END if chunk.next.session is None else chunk.next.session
            arrival.lost += sessions.lost_to(told, cursor.session, end, chunk.forgotten)
        sessions.merge(chunk.sessions, self.store.time_ms)
        if chunk.next.session is None:
            sessions.forget(arrival.lost, arrival.forgotten)
            arrival.lost = []

    def _is_missing(self, session: int, born: int) -> bool:
        """Say whether a group that tells of its sessions has passed this number, and forgot some of that age (G16)."""
        return any(
            arrival.cursor.session is not None and session < arrival.cursor.session and born <= arrival.forgotten
            for arrival in self.holdings.arrivals.values()
        )

    def _release(self, number: int, target: GroupId, bytes_max: int, keys_max: int, *, time_ms: int) -> bytes:
        """Release slots; `time_ms` is the time that sessions go by, which that of the keys may be ahead of."""
        departure = self.holdings.given.get(target)
        if departure is None or number != self.holdings.configuration.number:
            return _OUTDATED
        if departure.released or not departure.waiting:
            return _OUTDATED
        waiting = departure.waiting
        count = len(waiting)
        for slot in self.store.filled(waiting):
            values, _ = self.store.table(slot)
            keys_max -= len(values)
            if keys_max >= 0:
                bytes_max -= sum(len(key) + len(value) for key, value in values.items())
            if (bytes_max < 0 or keys_max < 0) and slot != waiting[0]:
                count = bisect_left(waiting, slot)
                break
        self.holdings.on_released(target, count, time_ms)
        return _DONE

    def _drop(self, number: int, target: GroupId, through: int, keys_max: int) -> bytes:
        departure = self.holdings.given.get(target)
        if departure is None or number != self.holdings.configuration.number:
            return _OUTDATED
        if departure.released and departure.released[-1] > through:
            return _OUTDATED
        self._marks.pop(target, None)
        store = self.store
        for slot in store.filled(departure.released):
            keys = list(islice(store.table(slot)[0], keys_max))
            for key in keys:
                store.delete(key)
            keys_max -= len(keys)
            if not keys_max:
                break
        left = set(store.filled(departure.released))
        dropped = [slot for slot in departure.released if slot not in left]
        if store.version >= LEFT_VERSION:
            self.holdings.note_left(dropped, store.index)
        self.holdings.on_dropped(target, dropped)
        return _DONE

    def _next_chunk(self, number: int, target: GroupId, cursor: Cursor) -> Chunk | None:
        holdings = self.holdings
        departure = holdings.given.get(target)
        if number != holdings.configuration.number or target == NOBODY or departure is None:
            return None
        table, since_ms = self._sessions, departure.since_ms
        is_whole = not since_ms or table.forgotten.used_ms >= since_ms
        sessions = (item for item in table.dump() if is_whole or item[1].used_ms >= since_ms)
        released, forgotten = departure.released, table.forgotten.born
        marks = self._marks.setdefault(target, Marks())
        giving = Giving(number, holdings.group, released, self.store, marks, sessions, forgotten, is_whole)
        return next_chunk(giving, cursor)

    # Snapshots.

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as of this call."""
        pieces = [
            (source, slot, record)
            for source, arrival in self.holdings.arrivals.items()
            for slot, record in arrival.pieces
        ]
        bare = {
            source: msgspec.structs.replace(arrival, pieces=[]) for source, arrival in self.holdings.arrivals.items()
        }
        header = _encode(_Header(_FORMAT, msgspec.structs.replace(self.holdings, arrivals=bare), len(pieces)))
        return chain((header,), map(_encode, pieces), super().snapshot())

    def restore_begin(self) -> None:
        """Begin to load what takes the place of everything here."""
        super().restore_begin()
        self._restored = None

    def restore_chunk(self, chunk: bytes) -> None:
        """Take the next chunk in; raises `StorageError` if it cannot be read."""
        try:
            if self._restored is None:
                self._restored = _decode_header(chunk)
                self._restored_arriving = Arriving(self.store.discard)
                self._pieces_left = self._restored.open_pieces
                if self._restored.format != _FORMAT:
                    raise ConfigError(f"a shard's snapshot of format {self._restored.format}: use a newer raftline")
            elif self._pieces_left:
                source, slot, record = _decode_piece(chunk)
                self._restored.holdings.arrivals[source].pieces.append((slot, record))
                self._restored_arriving.resume(source, record)
                self._pieces_left -= 1
            else:
                super().restore_chunk(chunk)
        except (msgspec.MsgspecError, KeyError, AssertionError, IndexError) as error:
            raise StorageError(f"a chunk of a shard's snapshot cannot be read: {error}") from error

    def restore_end(self) -> None:
        """Replace everything in one step; raises `StorageError` if something is missing."""
        if self._restored is None or self._pieces_left:
            raise StorageError("a shard's snapshot is not complete")
        super().restore_end()
        self.holdings = self._restored.holdings
        self.holdings.configuration = shared(self.holdings.configuration)
        self._arriving.clear()
        self._arriving, self._marks = self._restored_arriving, {}
        self._restored = None


def asked_now(query: bytes) -> bytes:
    """Return a question that is to be answered by the clock of who is asked: `EXPIRY_PENDING` if the log's is behind.

    A key that expired is then removed by RAFTLINE.TICK first, so that nobody who asks later still sees it.
    """
    return _encode([_NOW, *_decode_args(query)])


def was_done(session: int, sequence: int) -> bytes:
    """Return the question whether a session's command, or a later one, was carried out; answered by 1 or 0."""
    return _encode([_WAS_DONE, b"%d" % session, b"%d" % sequence])


def watch_query(keys: list[bytes]) -> bytes:
    """Return the question for the marks of keys, which `read` answers with an array of numbers."""
    return _encode([_MARKS, *keys])


def keys_of(args: list[bytes]) -> list[bytes]:
    """Return the keys of a command as it stands in the log, those of a transaction's commands and watches included."""
    command = find_logged(args)
    if command is None:
        return []
    if command.execute is None:
        return [args[position] for position in command.keys_in(args)]
    try:
        keys = [key for key, _ in decode_watched(args[1])]
        for inner in args[2:]:
            keys += keys_of(_decode_args(inner))
    except (msgspec.MsgspecError, IndexError):
        return []
    return keys
