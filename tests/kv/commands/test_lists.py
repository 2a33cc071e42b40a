"""List commands where Redis is no help: deadlines, memory, long lists; replies are compared with Redis's elsewhere."""

import pytest

from raftline.kv.commands import lists
from raftline.kv.store import Store


def test_moving_the_only_item_of_a_list_to_itself_keeps_the_key() -> None:
    """The list is not empty in between: its deadline stays."""
    store = Store()
    lists.rpush(store, [b"RPUSH", b"k", b"a"], 0)
    store.expire_at(b"k", 500)
    assert lists.lmove(store, [b"LMOVE", b"k", b"k", b"LEFT", b"RIGHT"], 0) == b"$1\r\na\r\n"
    assert store.deadline_ms(b"k") == 500
    assert lists.lmove(store, [b"LMOVE", b"k", b"l", b"LEFT", b"RIGHT"], 0) == b"$1\r\na\r\n"
    assert (store.count, store.deadline_count) == (1, 0)


def test_a_long_list_is_cut_at_both_ends() -> None:
    """LTRIM and LPOP with a count work across parts, and give memory back."""
    store = Store()
    lists.rpush(store, [b"RPUSH", b"k", *[b"%d" % number for number in range(5000)]], 0)
    lists.ltrim(store, [b"LTRIM", b"k", b"1000", b"-1001"], 0)
    assert lists.llen(store, [b"LLEN", b"k"], 0) == b":3000\r\n"
    assert lists.lindex(store, [b"LINDEX", b"k", b"-1"], 0) == b"$4\r\n3999\r\n"
    assert lists.lpop(store, [b"LPOP", b"k", b"2999"], 0).endswith(b"\r\n3998\r\n")
    assert lists.lpop(store, [b"LPOP", b"k"], 0) == b"$4\r\n3999\r\n"
    assert (store.count, store.used_bytes) == (0, 0)


def test_many_items_leave_a_long_list_at_once() -> None:
    """LREM of every second of thousands leaves the others in their order, and counts the memory."""
    store = Store()
    items = [item for number in range(3000) for item in (b"same", b"%d" % number)]
    lists.rpush(store, [b"RPUSH", b"k", *items], 0)
    lists.rpush(store, [b"RPUSH", b"l", *items[1::2]], 0)
    assert lists.lrem(store, [b"LREM", b"k", b"-2999", b"same"], 0) == b":2999\r\n"
    assert lists.lindex(store, [b"LINDEX", b"k", b"0"], 0) == b"$4\r\nsame\r\n"
    assert lists.lrem(store, [b"LREM", b"k", b"0", b"same"], 0) == b":1\r\n"
    whole = [lists.lrange(store, [b"LRANGE", key, b"0", b"-1"], 0) for key in (b"k", b"l")]
    assert whole[0] == whole[1]
    before = store.used_bytes
    store.delete(b"k")
    assert store.used_bytes * 2 == before


@pytest.mark.parametrize(
    ("start", "last", "found"),
    [
        (0, -1, (0, 5)),
        (-2, -1, (3, 5)),
        (-9, 1, (0, 2)),
        (2, 1, (0, 0)),
        (5, 9, (0, 0)),
        (1, 99, (1, 5)),
        (0, -6, (0, 0)),
    ],
)
def test_ranges_are_cut_to_what_is_there(start: int, last: int, found: tuple[int, int]) -> None:
    """Both ends count, negative ones from the end."""
    assert lists.span(start, last, 5) == found
