"""The order of a sorted set, compared with a sorted list."""

from bisect import bisect_left, bisect_right
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.values.ordered import Ordered, Pair, score_of

pairs = st.lists(st.tuples(st.integers(-5, 5).map(float), st.integers(0, 3000).map(b"%d".__mod__)), unique=True)


@settings(max_examples=60, deadline=None)
@given(pairs, st.integers(0, 2000))
def test_it_is_sorted_at_all_times(drawn: list[Pair], more: int) -> None:
    """Additions and removals in any order leave it sorted, with the ranks and places of a sorted list."""
    ordered = Ordered()
    twin = sorted({*drawn, *((float(number % 7), b"more%d" % number) for number in range(more))})
    for pair in sorted(twin, key=lambda pair: crc32(pair[1])):
        ordered.add(pair)
    for pair in twin[::3]:
        ordered.remove(pair)
    twin = [pair for place, pair in enumerate(twin) if place % 3]
    assert list(ordered) == twin
    for place in range(0, len(twin), 17):
        assert ordered.rank(twin[place]) == place
    for score in range(-6, 8):
        assert ordered.position(float(score), score_of, after=False) == bisect_left(twin, score, key=score_of)
        assert ordered.position(float(score), score_of, after=True) == bisect_right(twin, score, key=score_of)
