"""Slots are those of Redis Cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from raftline.kv.slots import SLOT_COUNT, slot_of


@given(st.one_of(st.binary(max_size=20), st.text("{}ab", max_size=8).map(str.encode)))
def test_slots_are_those_of_redis_cluster(key: bytes) -> None:
    """Any key, with or without braces, is in the slot where a cluster client would look for it."""
    assert slot_of(key) == key_slot(key)
    assert 0 <= slot_of(key) < SLOT_COUNT


@pytest.mark.parametrize(
    ("key", "same_as"), [(b"{user}.a", b"user"), (b"x{user}y{z}", b"user"), (b"{}x", b"{}x"), (b"{{a}}", b"{a")]
)
def test_a_tag_decides(key: bytes, same_as: bytes) -> None:
    """The first non-empty `{tag}` alone decides; an empty one does not."""
    if b"}" in same_as:
        assert slot_of(key) != slot_of(b"x")
    else:
        assert slot_of(key) == slot_of(same_as)
