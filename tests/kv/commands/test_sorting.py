"""SORT where Redis is no help; replies are compared with Redis's elsewhere."""

from raftline.kv.commands import sorting, strings
from raftline.kv.commands.lists import lrange, rpush
from raftline.kv.commands.table import COMMANDS
from raftline.kv.store import Store


def test_equal_weights_keep_an_order_that_every_replica_has() -> None:
    """By numbers equals are in the order of their bytes, by texts in the order in which they stood."""
    store = Store()
    rpush(store, [b"RPUSH", b"l", b"b", b"c", b"a"], 0)
    assert sorting.sort(store, [b"SORT", b"l", b"BY", b"w_*"], 0) == b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
    assert (
        sorting.sort(store, [b"SORT", b"l", b"BY", b"w_*", b"ALPHA"], 0) == b"*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n"
    )


def test_what_is_stored_replaces_what_was_there() -> None:
    """STORE may name the key that is sorted, and loses its deadline."""
    store = Store()
    rpush(store, [b"RPUSH", b"l", b"3", b"1", b"2"], 0)
    strings.set_(store, [b"SET", b"w_1", b"one"], 0)
    store.expire_at(b"l", 500)
    assert sorting.sort(store, [b"SORT", b"l", b"GET", b"w_*", b"GET", b"#", b"STORE", b"l"], 0) == b":6\r\n"
    assert lrange(store, [b"LRANGE", b"l", b"0", b"2"], 0) == b"*3\r\n$3\r\none\r\n$1\r\n1\r\n$0\r\n\r\n"
    assert store.deadline_ms(b"l") is None


def test_the_destination_is_a_key() -> None:
    """A limit on keys holds for the key behind STORE, too."""
    args = [b"SORT", b"l", b"GET", b"x", b"store", b"d"]
    assert COMMANDS[b"SORT"].keys_in(args) == [1, 5]
    assert COMMANDS[b"SORT_RO"].keys_in(args) == [1]
