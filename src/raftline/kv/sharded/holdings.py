"""Which slots a group serves, which it waits for and which it gave: replicated state, changed by entries alone (G15).

Configurations are taken one by one, in order, each only when nothing of the one before is under way. Slots that are
given are released a few at a time: each is served up to the entry that releases it, and no further; one that arrives is
served from the entry with its last record on, whatever else is still to come. So none goes unserved for long.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import msgspec

from raftline.core.ids import GroupId
from raftline.kv.pieces import Record
from raftline.kv.sharded.chunks import START, Chunk, Cursor
from raftline.shards.configuration import EMPTY, Configuration, moves_between
from raftline.shards.ranges import NOBODY

__all__ = ["Arrival", "Departure", "Holdings", "Left"]


class Arrival(msgspec.Struct):
    """What is still to come from one group."""

    slots: list[int]
    cursor: Cursor = START
    pieces: list[tuple[int, Record]] = []
    """Records of a value that is not complete."""
    forgotten: int = -1
    """How far the other group has forgotten sessions, by all that it said of them so far."""
    lost: list[int] = []
    """Sessions of this group that the other one forgot, or may have, after it had gone further in them."""


class Departure(msgspec.Struct):
    """What goes to one group, in the order of the slots: what was released goes before what waits."""

    waiting: list[int]
    """Served here as before, until they are released."""
    released: list[int] = []
    """Not served here any more, and kept until they are there."""
    released_ms: int = 0
    """The log's time of the last release; 0 before the first."""
    since_ms: int = 0
    """That of the release before it: sessions that were not used since are there already."""


class Left(msgspec.Struct, frozen=True, array_like=True):
    """Slots [low, high) that were given in one configuration: they come back in a later one, or not at all."""

    low: int
    high: int
    number: int
    """Of the configuration."""
    index: int
    """Where the last of all that were given in it had been emptied: it is not later than any of them can be back."""


class Holdings(msgspec.Struct):
    """Of one group.

    Invariants: a slot is in `arrivals` only if the configuration gives it to this group, in `given` only if it does
    not; while either is not empty no other configuration is taken.
    """

    group: GroupId
    configuration: Configuration = EMPTY
    arrivals: dict[GroupId, Arrival] = {}
    """By the group that has them."""
    given: dict[GroupId, Departure] = {}
    """By the group that gets them."""
    left: list[Left] = []
    """In the order of the slots; of each the last time that it was given."""

    @property
    def is_settled(self) -> bool:
        """Say whether everything that the configuration asks for is done."""
        return not (self.arrivals or self.given)

    @property
    def arriving_bytes(self) -> int:
        """Return how much those pieces take whose values are not complete: they are in no store yet."""
        pieces = [record for arrival in self.arrivals.values() for _, record in arrival.pieces]
        return sum(len(record.key) + len(record.value) for record in pieces)

    def serves(self, slot: int) -> bool:
        """Say whether a slot is served here now."""
        owner = self.configuration.owner(slot)
        if owner != self.group:
            departure = self.given.get(owner)
            return departure is not None and _holds(departure.waiting, slot)
        return not any(_holds(arrival.slots, slot) for arrival in self.arrivals.values())

    def take(self, configuration: Configuration) -> bool:
        """Enter the next configuration; return False, and change nothing, if it is not the next or cannot be yet."""
        if configuration.number != self.configuration.number + 1 or not self.is_settled:
            return False
        for move in moves_between(self.configuration, configuration):
            slots = range(move.low, move.high)
            if move.source == self.group:
                departure = self.given.setdefault(move.target, Departure([]))
                (departure.released if move.target == NOBODY else departure.waiting).extend(slots)
            elif move.target == self.group and move.source != NOBODY:
                self.arrivals.setdefault(move.source, Arrival([])).slots.extend(slots)
        self.configuration = configuration
        return True

    def is_next(self, chunk: Chunk) -> bool:
        """Say whether a chunk is the one that is waited for: not from another time, and not one that came before."""
        arrival = self.arrivals.get(chunk.source)
        return arrival is not None and chunk.number == self.configuration.number and chunk.cursor == arrival.cursor

    def on_arrived(self, chunk: Chunk) -> None:
        """Note what a chunk brought, and keep the records of a value that is not complete."""
        arrival = self.arrivals[chunk.source]
        key = chunk.open_key
        if arrival.pieces and arrival.pieces[0][1].key != key:
            arrival.pieces = []
        arrival.pieces += [item for item in chunk.records if item[1].key == key]
        arrival.cursor = chunk.next
        _remove(arrival.slots, chunk.finished)
        if not arrival.slots:
            del self.arrivals[chunk.source]

    def has_all_from(self, source: GroupId, number: int, through: int) -> bool:
        """Say whether all is here, up to slot `through`, that `source` gave to this group in configuration `number`."""
        if self.configuration.number != number:
            return self.configuration.number > number
        return source not in self.arrivals or self.arrivals[source].slots[0] > through

    def on_released(self, target: GroupId, count: int, time_ms: int) -> None:
        """Stop serving the first `count` of the slots that wait to go to `target`."""
        departure = self.given[target]
        departure.released, departure.waiting = departure.waiting[:count], departure.waiting[count:]
        departure.since_ms, departure.released_ms = departure.released_ms, time_ms

    def note_left(self, slots: Sequence[int], index: int) -> None:
        """Remember since when slots, ascending ones, are not here, for when they come back."""
        number, runs = self.configuration.number, list(_runs(slots))
        before = [Left(*each, number, index) for each in runs]  # so does whatever went with them: none of it is back
        before += [
            Left(low, high, each.number, index if each.number == number else each.index)
            for each, low, high in _outside(self.left, runs)
        ]
        self.left = _joined(sorted(before, key=lambda each: each.low))

    def left_at(self, slot: int) -> int:
        """Return an index by which a slot was gone that is back, or may be; 0: it never was."""
        at = bisect_right(self.left, slot, key=lambda each: each.low) - 1
        return self.left[at].index if at >= 0 and slot < self.left[at].high else 0

    def on_dropped(self, target: GroupId, slots: Sequence[int]) -> None:
        """Note that slots which were given are empty."""
        departure = self.given[target]
        _remove(departure.released, slots)
        if not (departure.released or departure.waiting):
            del self.given[target]


def _runs(slots: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ascending slots as ranges [low, high)."""
    low = high = -1
    for slot in slots:
        if slot != high:
            if low >= 0:
                yield low, high
            low = slot
        high = slot + 1
    if low >= 0:
        yield low, high


def _outside(ranges: Sequence[Left], runs: Sequence[tuple[int, int]]) -> Iterator[tuple[Left, int, int]]:
    """Yield the parts [low, high) of ranges that are in none of `runs`; both are in the order of the slots."""
    at = 0
    for each in ranges:
        low = each.low
        while at < len(runs) and runs[at][0] < each.high:
            if low < runs[at][0]:
                yield each, low, runs[at][0]
            low = max(low, runs[at][1])
            if runs[at][1] > each.high:
                break
            at += 1
        if low < each.high:
            yield each, low, each.high


def _joined(ranges: Sequence[Left]) -> list[Left]:
    """Return ranges with those made one that touch and are of one configuration."""
    joined: list[Left] = []
    for each in ranges:
        if joined and joined[-1].high == each.low and joined[-1].number == each.number:
            joined[-1] = Left(joined[-1].low, each.high, each.number, each.index)
        else:
            joined.append(each)
    return joined


def _holds(slots: list[int], slot: int) -> bool:
    at = bisect_left(slots, slot)
    return at < len(slots) and slots[at] == slot


def _remove(slots: list[int], gone: Sequence[int]) -> None:
    """Take some slots out; they go from the first on, so mostly nobody else has to be looked at."""
    count = len(gone)
    if slots[:count] == list(gone):
        del slots[:count]
        return
    without = set(gone)
    slots[:] = [slot for slot in slots if slot not in without]
