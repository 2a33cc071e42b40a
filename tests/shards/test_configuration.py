"""Configurations follow from one another by changes that are values."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.errors import ChangeRefused
from raftline.shards.balance import balance
from raftline.shards.configuration import (
    EMPTY,
    Change,
    Configuration,
    Join,
    Leave,
    Move,
    Moved,
    Place,
    Rebalance,
    changed,
    moves_between,
    placed_leaving,
    shared,
)
from raftline.shards.ranges import NOBODY, SLOT_COUNT, SlotRange, filled

NODES = ("n1", "n2", "n3")
HALF = SLOT_COUNT // 2


def after(*changes: Change) -> Configuration:
    """Return the configuration that changes of `EMPTY` lead to."""
    configuration = EMPTY
    for change in changes:
        configuration = changed(configuration, change)
    return configuration


ONE = after(Join({1: NODES}))
TWO = after(Join({1: NODES}), Join({2: NODES}))


def test_the_first_group_gets_everything() -> None:
    """Number 1 follows `EMPTY`, in which nobody serves."""
    assert EMPTY.owner(0) == NOBODY
    assert (ONE.number, ONE.ranges) == (1, (SlotRange(0, SLOT_COUNT, 1),))


def test_two_groups_have_a_half_each() -> None:
    """The newcomer takes the upper half, and nothing else moves."""
    assert TWO.ranges == (SlotRange(0, HALF, 1), SlotRange(HALF, SLOT_COUNT, 2))
    assert moves_between(ONE, TWO) == (Moved(HALF, SLOT_COUNT, 1, 2),)
    assert [TWO.owner(slot) for slot in (0, HALF - 1, HALF, SLOT_COUNT - 1)] == [1, 1, 2, 2]
    assert TWO.ranges_of(2) == (SlotRange(HALF, SLOT_COUNT, 2),)
    assert (TWO.nodes_of(2), TWO.nodes_of(3)) == (NODES, ())


def test_a_move_stands_until_the_next_balance() -> None:
    """Moved slots are cut out of what they were in; a rebalance brings the halves back."""
    moved = changed(TWO, Move(10, 20, 2))
    assert moved.ranges == (
        SlotRange(0, 10, 1),
        SlotRange(10, 20, 2),
        SlotRange(20, HALF, 1),
        SlotRange(HALF, SLOT_COUNT, 2),
    )
    balanced = changed(moved, Rebalance())
    assert sum(piece.size for piece in balanced.ranges_of(1)) == HALF
    assert sum(piece.high - piece.low for piece in moves_between(moved, balanced)) == 10


def test_a_move_may_cross_groups() -> None:
    """Slots of several groups go to one, whoever had them."""
    moved = changed(TWO, Move(HALF - 5, HALF + 5, 1))
    assert moves_between(TWO, moved) == (Moved(HALF, HALF + 5, 2, 1),)


def test_who_leaves_gives_everything_away() -> None:
    """The others take the slots of a group that leaves, and its nodes are forgotten."""
    left = changed(TWO, Leave((1,)))
    assert left.ranges == (SlotRange(0, SLOT_COUNT, 2),)
    assert left.group_ids == (2,)


def test_the_last_group_leaves_only_when_told_twice() -> None:
    """Nobody would hold the data, so it takes `abandon`."""
    with pytest.raises(ChangeRefused, match="nobody would hold the data"):
        changed(TWO, Leave((1, 2)))
    empty = changed(TWO, Leave((1, 2), abandon=True))
    assert (empty.number, empty.groups, empty.ranges) == (3, (), ())
    assert moves_between(TWO, empty) == (Moved(0, HALF, 1, NOBODY), Moved(HALF, SLOT_COUNT, 2, NOBODY))


def test_replicas_move_without_slots() -> None:
    """A group's replicas on other nodes change nothing about what it serves."""
    placed = changed(TWO, Place(2, ("n4", "n5")))
    assert placed.nodes_of(2) == ("n4", "n5")
    assert moves_between(TWO, placed) == ()


def test_a_group_that_is_leaving_is_placed_by_itself() -> None:
    """The others that are leaving stay; what makes no sense is refused as for any group."""
    leaving = {3: NODES, 4: NODES}
    assert placed_leaving(leaving, Place(3, ("n4",))) == {3: ("n4",), 4: NODES}
    assert leaving == {3: NODES, 4: NODES}
    for place, words in (
        (Place(5, NODES), "there is no group 5; there are: 3, 4"),
        (Place(3, ()), "has no nodes"),
        (Place(3, ("n1", "n1")), "names a node twice"),
        (Place(3, NODES), "nothing would change: group 3 is leaving, and on n1, n2, n3"),
    ):
        with pytest.raises(ChangeRefused, match=words):
            placed_leaving(leaving, place)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Join({}), "no group is named"),
        (Join({0: NODES}), "numbered from 1"),
        (Join({2: NODES}), "is there already"),
        (Join({3: ()}), "has no nodes"),
        (Join({3: ("n1", "n1")}), "names a node twice: n1, n1"),
        (Leave(()), "no group is named"),
        (Leave((3,)), "there is no group 3; there are: 1, 2"),
        (Move(5, 5, 1), r"slots \[5, 5\) are none"),
        (Move(-1, 5, 1), "are none"),
        (Move(0, SLOT_COUNT + 1, 1), "are none"),
        (Move(0, 5, 9), "there is no group 9"),
        (Move(0, 5, 1), "nothing would change"),
        (Place(9, NODES), "there is no group 9"),
        (Place(1, ()), "has no nodes"),
        (Place(1, NODES), "nothing would change"),
        (Rebalance(), "nothing would change"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change: Change, words: str) -> None:
    """A change that makes no sense says why, and what there is."""
    with pytest.raises(ChangeRefused, match=words):
        changed(TWO, change)


CHANGES = st.one_of(
    st.builds(lambda group: Join({group: NODES}), st.integers(1, 5)),
    st.builds(lambda group: Leave((group,), abandon=True), st.integers(1, 5)),
    st.builds(lambda low, size, group: Move(low, low + size, group), *[st.integers(1, 8000)] * 2, st.integers(1, 5)),
    st.just(Rebalance()),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHANGES, max_size=12))
def test_every_configuration_is_whole(changes: list[Change]) -> None:
    """Whatever is asked in whatever order: ranges are those of groups that are there, and all slots are served."""
    configuration = EMPTY
    for change in changes:
        try:
            after_it = changed(configuration, change)
        except ChangeRefused:
            continue
        assert after_it.number == configuration.number + 1
        assert {piece.group for piece in after_it.ranges} <= set(after_it.group_ids)
        assert all(piece.group != NOBODY for piece in filled(after_it.ranges)) == bool(after_it.groups)
        assert all(low.high <= high.low for low, high in pairwise(after_it.ranges))
        was_even = balance(configuration.ranges, configuration.group_ids) == configuration.ranges
        moved = {(piece.source, piece.target) for piece in moves_between(configuration, after_it)}
        if isinstance(change, Join) and was_even:
            assert {target for _, target in moved} <= set(change.groups)
        elif isinstance(change, Leave) and was_even:
            assert {source for source, _ in moved} <= set(change.groups)
        configuration = after_it


def test_groups_of_a_process_share_what_is_equal() -> None:
    """A thousand groups that came to the same configuration keep one copy of it; another is never mistaken for it."""
    one = changed(EMPTY, Join({1: NODES}))
    copies = [msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Configuration) for _ in range(3)]
    first = shared(copies[0])
    assert all(shared(copy) is first for copy in copies)
    other = changed(EMPTY, Join({2: NODES}))
    assert shared(other) == other
    for number in range(2, 30):
        assert shared(Configuration(number)).number == number
