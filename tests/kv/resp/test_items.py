"""The items of an array reply."""

import pytest

from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import NULL, NULL_ARRAY, array, bulk, double, error, integer, mapping, pairs, verbatim

ITEMS = [
    bulk(b"a\r\n*3\r\n"),
    bulk(b""),
    integer(-1),
    NULL,
    NULL_ARRAY,
    b"$-1\r\n",
    b"#t\r\n",
    b"+OK\r\n",
    error("ERR x"),
    double(1.5),
    verbatim("text"),
    array([]),
    array([array([bulk(b"x")]), integer(1)]),
    mapping([(bulk(b"k"), array([integer(1)]))]),
    pairs([(bulk(b"m"), double(1.0))]),
    b"|1\r\n+a\r\n+b\r\n" + integer(5),
]


@pytest.mark.parametrize("item", ITEMS)
def test_each_kind_of_item_is_whole(item: bytes) -> None:
    """Whatever stands beside it, an item comes out as it went in."""
    assert items_of(array([item, integer(7), item])) == [item, integer(7), item]


def test_an_empty_array_has_none() -> None:
    """Nothing comes of nothing."""
    assert items_of(array([])) == []
