"""Hash commands where Redis is no help: order, draws, limits; their replies are compared with Redis's elsewhere."""

import pytest

from raftline.kv.commands import hashes
from raftline.kv.commands.arguments import DRAWS_MAX
from raftline.kv.commands.command import Refused
from raftline.kv.resp.downgrade import as_resp3, downgrade
from raftline.kv.store import Store


def test_fields_come_in_the_order_in_which_they_were_set() -> None:
    """A hash of few fields keeps their order; a field that is set again keeps its place."""
    store = Store()
    hashes.hset(store, [b"HSET", b"k", b"b", b"1", b"a", b"2"], 0)
    hashes.hset(store, [b"HSET", b"k", b"c", b"3", b"b", b"4"], 0)
    assert hashes.hkeys(store, [b"HKEYS", b"k"], 0) == b"*3\r\n$1\r\nb\r\n$1\r\na\r\n$1\r\nc\r\n"


def test_the_deadline_stays_when_fields_change() -> None:
    """Only commands about the key as a whole touch its deadline."""
    store = Store()
    hashes.hset(store, [b"HSET", b"k", b"f", b"1"], 0)
    store.expire_at(b"k", 500)
    hashes.hset(store, [b"HSET", b"k", b"g", b"1"], 0)
    hashes.hdel(store, [b"HDEL", b"k", b"f"], 0)
    assert store.deadline_ms(b"k") == 500
    hashes.hdel(store, [b"HDEL", b"k", b"g"], 0)
    assert (store.count, store.deadline_count, store.used_bytes) == (0, 0, 0)


def test_a_draw_with_repetition_is_bounded() -> None:
    """Nobody can make a node draw for ever."""
    store = Store()
    hashes.hset(store, [b"HSET", b"k", b"f", b"1"], 0)
    reply = hashes.hrandfield(store, [b"HRANDFIELD", b"k", b"-3", b"WITHVALUES"], 0)
    assert as_resp3(reply) == b"*3\r\n" + b"*2\r\n$1\r\nf\r\n$1\r\n1\r\n" * 3
    assert downgrade(reply) == b"*6\r\n" + b"$1\r\nf\r\n$1\r\n1\r\n" * 3
    with pytest.raises(Refused, match="at most 65536 members"):
        hashes.hrandfield(store, [b"HRANDFIELD", b"k", b"-%d" % (DRAWS_MAX + 1)], 0)
