"""Set commands where Redis is no help: draws and order; their replies are compared with Redis's elsewhere."""

from collections.abc import Callable, Iterator

import pytest

from raftline.kv.commands import algebra, sets
from raftline.kv.store import Store
from raftline.kv.values.set import Set


def filled(count: int) -> Store:
    """Return a store with a set of members."""
    store = Store()
    sets.sadd(store, [b"SADD", b"k", *[b"m%d" % number for number in range(count)]], 0)
    return store


def test_what_is_popped_follows_from_the_entry() -> None:
    """The same index and time draw the same members on every replica, another index draws others."""
    replies = set()
    for index in (5, 5, 6):
        store = filled(2000)
        store.index = index
        replies.add(sets.spop(store, [b"SPOP", b"k", b"20"], 77_000))
        assert sets.scard(store, [b"SCARD", b"k"], 0) == b":1980\r\n"
    assert len(replies) == 2


def test_a_popped_member_is_one_of_them() -> None:
    """One after the other leaves, until the key is gone."""
    store = filled(30)
    popped = set()
    for index in range(30):
        store.index = index
        popped.add(sets.spop(store, [b"SPOP", b"k"], 0))
    assert popped == {b"$%d\r\nm%d\r\n" % (len(b"m%d" % number), number) for number in range(30)}
    assert (store.count, store.used_bytes) == (0, 0)


def test_members_come_in_the_order_in_which_they_were_added() -> None:
    """A set of few members keeps their order, and so does what is made of sets."""
    store = Store()
    sets.sadd(store, [b"SADD", b"k", b"c", b"a"], 0)
    sets.sadd(store, [b"SADD", b"l", b"b", b"a"], 0)
    assert sets.smembers(store, [b"SMEMBERS", b"k"], 0) == b"~2\r\n$1\r\nc\r\n$1\r\na\r\n"
    assert sets.sunion(store, [b"SUNION", b"k", b"l"], 0) == b"~3\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nb\r\n"


@pytest.mark.parametrize(
    ("function", "words", "looks_max", "reply"),
    [
        (sets.sunion, b"SUNION" + b" k" * 5000, 200, 100),
        (sets.sunionstore, b"SUNIONSTORE d" + b" k" * 5000, 200, 100),
        (sets.sinter, b"SINTER" + b" k" * 5000, 200, 100),
        (sets.sinterstore, b"SINTERSTORE d" + b" k" * 5000, 200, 100),
        (sets.sintercard, b"SINTERCARD 5000" + b" k" * 5000, 200, 100),
        (sets.sdiff, b"SDIFF k" + b" few" * 5000, 300, 98),
        (sets.sdiffstore, b"SDIFFSTORE d k" + b" few" * 5000, 400, 98),
        (sets.sdiff, b"SDIFF k" + b"".join(b" s%d" % number for number in range(50)), 400, 50),
        (algebra.zdiff, b"ZDIFF 5001 k" + b" few" * 5000, 300, 98),
        (algebra.zdiffstore, b"ZDIFFSTORE d 51 k" + b"".join(b" s%d" % number for number in range(50)), 400, 50),
        (algebra.zintercard, b"ZINTERCARD 5000" + b" k" * 5000, 100, 100),
    ],
)
def test_a_set_that_is_named_again_costs_nothing(
    function: Callable[[Store, list[bytes], int], bytes],
    words: bytes,
    looks_max: int,
    reply: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a command of many keys looks at is bounded by the members of the sets that there are."""
    store = filled(100)
    sets.sadd(store, [b"SADD", b"few", b"m1", b"m2"], 0)
    for number in range(50):
        sets.sadd(store, [b"SADD", b"s%d" % number, b"m%d" % number], 0)
    looks = 0
    members, contains = Set.__iter__, Set.__contains__

    def counted(set_: Set) -> Iterator[bytes]:
        nonlocal looks
        for member in members(set_):
            looks += 1
            yield member

    def asked(set_: Set, member: bytes) -> bool:
        nonlocal looks
        looks += 1
        return contains(set_, member)

    monkeypatch.setattr(Set, "__iter__", counted)
    monkeypatch.setattr(Set, "__contains__", asked)
    assert function(store, words.split(), 0).split(b"\r\n")[0].lstrip(b"~*:") == b"%d" % reply
    assert looks <= looks_max
