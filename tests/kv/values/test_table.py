"""Tables: a dictionary whose parts follow from its members, and whose clones do not see each other's changes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.values.container import PART_MEMBERS_MAX
from raftline.kv.values.draws import Draws
from raftline.kv.values.table import Table

runs = st.lists(st.tuples(st.booleans(), st.integers(0, 3000), st.integers(1, 700)), max_size=8)


def changed(table: Table[int], twin: dict[bytes, int], *, adds: bool, start: int, count: int) -> None:
    """Add or remove a run of members, in the table and in a dictionary."""
    for number in range(start, start + count):
        member = b"m%d" % number
        if adds:
            assert table.put(member, count) == twin.get(member)
            twin[member] = count
        else:
            assert table.remove(member) == twin.pop(member, None)


@settings(max_examples=40, deadline=None)
@given(runs, runs)
def test_it_is_a_dictionary_and_so_is_its_clone(
    before: list[tuple[bool, int, int]], after: list[tuple[bool, int, int]]
) -> None:
    """Whatever is added and removed, before and after a clone, both hold what a dictionary holds."""
    table: Table[int] = Table()
    twin: dict[bytes, int] = {}
    for adds, start, count in before:
        changed(table, twin, adds=adds, start=start, count=count)
    clone, other = table.clone(), twin.copy()
    walked = list(clone.items())
    for position, (adds, start, count) in enumerate(after):
        if position % 2:
            changed(clone, other, adds=adds, start=start, count=count)
        else:
            changed(table, twin, adds=adds, start=start, count=count)
            if not position:
                assert list(clone.items()) == walked
    assert (dict(table.items()), table.count) == (twin, len(twin))
    assert (dict(clone.items()), clone.count) == (other, len(other))
    assert all(table.get(member) == value for member, value in twin.items())


@settings(max_examples=40, deadline=None)
@given(runs, runs)
def test_one_filled_in_its_order_is_equal_for_ever(
    before: list[tuple[bool, int, int]], after: list[tuple[bool, int, int]]
) -> None:
    """What a restored replica makes of a snapshot has the same parts and order, and keeps them."""
    table: Table[int] = Table()
    for adds, start, count in before:
        changed(table, dict(table.items()), adds=adds, start=start, count=count)
    restored: Table[int] = Table()
    for member, value in table.items():
        restored.put(member, value)
    for adds, start, count in ((True, 0, 0), *after):
        changed(table, dict(table.items()), adds=adds, start=start, count=count)
        changed(restored, dict(restored.items()), adds=adds, start=start, count=count)
        assert restored.parts() == table.parts()
        assert list(restored.items()) == list(table.items())


def test_parts_are_small_and_become_one_again() -> None:
    """No part has more than 512 members, and as many fit into one they are in one, in order of insertion when new."""
    table: Table[int] = Table()
    for number in range(20_000):
        table.put(b"m%d" % number, number)
    assert max(map(len, table.parts())) <= PART_MEMBERS_MAX
    for number in range(20_000 - 512):
        table.remove(b"m%d" % number)
    assert len(table.parts()) == 1
    small: Table[int] = Table()
    members = [b"m%d" % number for number in range(512)]
    for member in members:
        small.put(member, 0)
    assert list(small) == members


def test_a_walk_finds_what_is_there_all_the_time() -> None:
    """Members that are there from the first step to the last are returned, whatever comes and goes in between."""
    table: Table[int] = Table()
    for number in range(5000):
        table.put(b"stays%d" % number, number)
    found: set[bytes] = set()
    cursor, step = 0, 0
    while True:
        cursor, pairs = table.scan(cursor, 10)
        found.update(member for member, _ in pairs)
        if not cursor:
            break
        for number in range(step * 2000, step * 2000 + 2000):
            if step % 4 < 2:
                table.put(b"passes%d" % number, 0)
            else:
                table.remove(b"passes%d" % (number - 4000))
        step += 1
    assert {b"stays%d" % number for number in range(5000)} <= found


def test_draws_are_members_and_repeatable() -> None:
    """The same seed draws the same; each member of a large table is drawn at some time; counts are kept."""
    table: Table[int] = Table()
    for number in range(2000):
        table.put(b"m%d" % number, number)
    for count in (-50, 0, 5, 700, 1999, 2000, 5000):
        drawn = table.draw_many(Draws(7), count)
        assert drawn == table.draw_many(Draws(7), count)
        assert len(drawn) == (min(count, 2000) if count >= 0 else -count)
        assert all(table.get(member) == value for member, value in drawn)
        assert count < 0 or len(dict(drawn)) == len(drawn)
    assert len(dict(table.draw_many(Draws(1), -40_000))) == 2000
