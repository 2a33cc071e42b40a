"""Sorted sets where Redis is no help: large ones, memory; replies are compared with Redis's elsewhere."""

from raftline.kv.commands import algebra, ranges, sorted_sets
from raftline.kv.resp.downgrade import downgrade
from raftline.kv.store import Store
from raftline.kv.values.sorted_set import SortedSet


def filled(count: int) -> Store:
    """Return a store with a sorted set whose scores are 0, 1, 2 and so on."""
    store = Store()
    pairs = [text for number in range(count) for text in (b"%d" % number, b"m%d" % number)]
    sorted_sets.zadd(store, [b"ZADD", b"z", *pairs], 0)
    return store


def test_large_sets_are_found_by_rank_and_score() -> None:
    """Ranks, ranges and counts are right across parts."""
    store = filled(5000)
    assert sorted_sets.zrank(store, [b"ZRANK", b"z", b"m4321"], 0) == b":4321\r\n"
    assert sorted_sets.zrevrank(store, [b"ZREVRANK", b"z", b"m4321"], 0) == b":678\r\n"
    assert ranges.zcount(store, [b"ZCOUNT", b"z", b"(100", b"4100"], 0) == b":4000\r\n"
    found = ranges.zrange(store, [b"ZRANGE", b"z", b"3000", b"(1000", b"BYSCORE", b"REV", b"LIMIT", b"1998", b"5"], 0)
    assert found == b"*2\r\n$5\r\nm1002\r\n$5\r\nm1001\r\n"
    assert ranges.zremrangebyscore(store, [b"ZREMRANGEBYSCORE", b"z", b"10", b"+inf"], 0) == b":4990\r\n"
    assert sorted_sets.zcard(store, [b"ZCARD", b"z"], 0) == b":10\r\n"
    assert sorted_sets.zpopmin(store, [b"ZPOPMIN", b"z", b"10"], 0).count(b"$") == 10
    assert (store.count, store.used_bytes) == (0, 0)


def test_minus_zero_is_zero() -> None:
    """A score of -0 is stored as 0: what a reply says does not depend on how large the set once was."""
    store = Store()
    sorted_sets.zadd(store, [b"ZADD", b"z", b"-0", b"m"], 0)
    assert downgrade(sorted_sets.zscore(store, [b"ZSCORE", b"z", b"m"], 0)) == b"$1\r\n0\r\n"


def test_a_union_with_itself_is_made_before_it_is_stored() -> None:
    """The destination may be among the sources."""
    store = filled(3)
    assert algebra.zunionstore(store, [b"ZUNIONSTORE", b"z", b"2", b"z", b"z"], 0) == b":3\r\n"
    scores = ranges.zrange(store, [b"ZRANGE", b"z", b"0", b"-1", b"WITHSCORES"], 0)
    assert downgrade(scores) == b"*6\r\n$2\r\nm0\r\n$1\r\n0\r\n$2\r\nm1\r\n$1\r\n2\r\n$2\r\nm2\r\n$1\r\n4\r\n"


def test_the_order_is_kept_when_a_member_moves() -> None:
    """A new score takes a member to its new place and nowhere else."""
    store = filled(2000)
    for number in range(0, 2000, 3):
        sorted_sets.zincrby(store, [b"ZINCRBY", b"z", b"-5000", b"m%d" % number], 0)
    value = store.get(b"z")
    assert isinstance(value, SortedSet)
    assert list(value.order) == sorted((score, member) for member, score in value.scores.items())
