"""The history keeps equal parts once, knows who had a slot, and is cut into chunks the same way everywhere."""

from random import Random

import msgspec
import pytest

from raftline.errors import ChangeRefused
from raftline.shards.configuration import EMPTY, Change, Configuration, Join, Leave, Move, Place, Rebalance, changed
from raftline.shards.history import History
from raftline.shards.ranges import SLOT_COUNT

NODES = ("n1", "n2", "n3")
SLOTS = (0, 1, 5000, SLOT_COUNT - 1)


def grown(count: int) -> History:
    """Return a history of so many changes of all kinds."""
    chance = Random(7)
    history = History()
    history.append(EMPTY)
    history.append(changed(EMPTY, Join(dict.fromkeys(range(1, 60), NODES))))
    while len(history.configurations) < count:
        group, slot = chance.randrange(1, 80), chance.choice(SLOTS)
        changes: list[Change] = [Move(slot, slot + 1, group), Place(group, chance.choice([NODES, NODES[:2]]))]
        changes += [Leave((group,)), Join({group: NODES}), Rebalance()]
        try:
            history.append(changed(history.newest, chance.choice(changes)))
        except ChangeRefused:
            continue
    return history


def restored(history: History) -> History:
    """Return what comes from the chunks of a history."""
    other = History()
    for chunk in list(history.chunks()):
        other.append_chunk(chunk)
    return other


@pytest.mark.parametrize("is_restored", [False, True])
def test_equal_parts_are_kept_once(*, is_restored: bool) -> None:
    """However many configurations there are, what did not change is there once, after a restore, too."""
    history = grown(200)
    if is_restored:
        history = restored(history)
    for before, after in zip(history.configurations, history.configurations[1:], strict=False):
        entries = {entry: id(entry) for entry in before.groups}
        assert all(entries.get(entry, id(entry)) == id(entry) for entry in after.groups)
        ranges = {piece: id(piece) for piece in before.ranges}
        assert all(ranges.get(piece, id(piece)) == id(piece) for piece in after.ranges)


def test_who_had_a_slot_is_what_a_walk_over_all_configurations_finds() -> None:
    """Each former owner once, the latest first, the owner left out; the same after a restore."""
    history = grown(150)
    other = restored(history)
    for slot in (*SLOTS, *range(0, SLOT_COUNT, 97)):
        owners = [configuration.owner(slot) for configuration in reversed(history.configurations[1:])]
        assert history.formers(slot) == other.formers(slot) == tuple(dict.fromkeys(owners))[1:]
    there = history.newest.group_ids
    history.append(changed(history.newest, Leave(there, abandon=True)))
    assert history.formers(0) == ()


def test_chunks_are_the_same_wherever_the_history_came_from() -> None:
    """Restored and grown on alike: equal chunks, none of them large, and as many as the cuts say (G17)."""
    history = grown(150)
    other = restored(history)
    assert other.configurations == history.configurations
    for made in (history, other):
        for group in range(100, 300):
            made.append(changed(made.newest, Join({group: NODES})))
    chunks = list(history.chunks())
    assert chunks == list(other.chunks())
    assert len(chunks) == len(history.cuts()) - 1 > 5
    assert max(map(len, chunks)) < 1 << 19
    assert [piece for chunk in chunks for piece in msgspec.msgpack.decode(chunk, type=list[Configuration])] == (
        history.configurations
    )


def test_what_is_there_when_chunks_are_asked_for_is_what_they_hold() -> None:
    """Configurations that are added behind are not in them (G14)."""
    history = grown(70)
    chunks = history.chunks()
    count = len(history.configurations)
    history.append(changed(history.newest, Join({500: NODES})))
    other = History()
    for chunk in chunks:
        other.append_chunk(chunk)
    assert other.configurations == history.configurations[:count]
