"""Set commands where Redis is no help: draws and order; their replies are compared with Redis's elsewhere."""

from raftline.kv.commands import sets
from raftline.kv.store import Store


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
