"""Slots are spread evenly, with as few moves as can be."""

from itertools import combinations, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.shards.balance import balance
from raftline.shards.ranges import NOBODY, SLOT_COUNT, SlotRange, filled, joined


def owners(ranges: tuple[SlotRange, ...]) -> list[int]:
    """Return the owner of each slot."""
    out: list[int] = []
    for piece in filled(ranges):
        out += [piece.group] * piece.size
    return out


def counts(ranges: tuple[SlotRange, ...]) -> dict[int, int]:
    """Return how many slots each group has."""
    out: dict[int, int] = {}
    for piece in ranges:
        out[piece.group] = out.get(piece.group, 0) + piece.size
    return out


def fewest_moves(ranges: tuple[SlotRange, ...], groups: list[int]) -> int:
    """Try every choice of who gets the odd slots: what leaves its group, or comes from nobody, counts."""
    held = counts(ranges)
    least, odd = divmod(SLOT_COUNT, len(groups))
    return min(
        sum(max(0, least + (group in lucky) - held.get(group, 0)) for group in groups)
        for lucky in combinations(groups, odd)
    )


@st.composite
def layouts(draw: st.DrawFn) -> tuple[SlotRange, ...]:
    """Slots in any order, of up to seven groups and of nobody."""
    cuts = sorted(draw(st.sets(st.integers(1, SLOT_COUNT - 1), max_size=20)))
    edges = [0, *cuts, SLOT_COUNT]
    who = st.integers(NOBODY, 7).filter(bool)
    return joined(SlotRange(low, high, draw(who)) for low, high in pairwise(edges))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layouts(), st.sets(st.integers(1, 7), min_size=1))
def test_any_layout_is_balanced_with_the_fewest_moves(ranges: tuple[SlotRange, ...], groups: set[int]) -> None:
    """No two groups differ by more than one slot, all slots are served, and no other way moves fewer (G17)."""
    after = balance(ranges, groups)
    held = counts(after)
    assert sum(held.values()) == SLOT_COUNT
    assert held.keys() == groups
    assert max(held.values()) - min(held.values()) <= 1
    assert joined(after) == after
    moved = sum(old != new for old, new in zip(owners(ranges), owners(after), strict=True))
    assert moved == fewest_moves(ranges, sorted(groups))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layouts(), st.sets(st.integers(1, 7), min_size=1))
def test_what_is_balanced_stays(ranges: tuple[SlotRange, ...], groups: set[int]) -> None:
    """Balancing again moves nothing, and the order in which groups are named does not matter (G17)."""
    after = balance(ranges, sorted(groups))
    assert balance(after, sorted(groups, reverse=True)) == after


def test_without_groups_nobody_serves() -> None:
    """The last group to leave takes its slots with it."""
    assert balance((SlotRange(0, SLOT_COUNT, 1),), ()) == ()


def test_more_groups_than_slots_each_get_one_at_most() -> None:
    """A group without slots is allowed; all slots are served."""
    held = counts(balance((), range(1, SLOT_COUNT + 10)))
    assert set(held.values()) == {1}
    assert len(held) == SLOT_COUNT
