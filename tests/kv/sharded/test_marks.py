"""Watched keys that are not there, whose slot was elsewhere between WATCH and EXEC."""

from tests.kv.sharded.test_machine import KEYS, Pair, apply, carried_out, exec_of, pair, restored

from raftline.kv.machine import encode_command
from raftline.kv.resp.replies import NULL_ARRAY
from raftline.kv.sharded.machine import LEFT_VERSION, ShardMachine
from raftline.kv.slots import slot_of
from raftline.shards.configuration import Move, changed

__all__ = ["pair"]

_MARK = 7 << 1
"""Of a key that was not there when entry 7 was applied."""


def there_and_back(pair: Pair, version: int) -> tuple[ShardMachine, bytes, int]:
    """Let a slot go to the other group from entry 8 on, a key be made and removed there, and the slot come back.

    Returns the first group's machine, the key and the next index.
    """
    one, two, steps = pair
    for machine in (one, two):
        machine.use_version(version)
    moving = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    back = changed(steps[1], Move(slot_of(moving), slot_of(moving) + 1, 1))
    apply(one, b"DEL", moving)
    index = carried_out(steps[1], one, two, 8)
    assert two.apply(encode_command([b"SET", moving, b"somebody's"]), index, 1000) == b"+OK\r\n"
    assert two.apply(encode_command([b"DEL", moving]), index, 1000) == b":1\r\n"
    index = carried_out(back, two, one, index)
    return one, moving, index + 1


def test_a_watched_key_that_was_made_and_removed_elsewhere_has_changed(pair: Pair) -> None:
    """Who watched that it is not there does nothing, as in one group: somebody had it meanwhile (G15)."""
    one, moving, index = there_and_back(pair, LEFT_VERSION)
    for machine in (one, restored(one)):
        machine.use_version(LEFT_VERSION)
        assert machine.apply(exec_of([(moving, _MARK)], [b"SET", moving, b"mine"]), index, 1000) == NULL_ARRAY


def test_what_is_watched_after_its_slot_is_back_counts(pair: Pair) -> None:
    """A mark is held against when the slot left, not for ever; and slots that never did are not in question."""
    one, moving, index = there_and_back(pair, LEFT_VERSION)
    assert one.apply(exec_of([(moving, index << 1)], [b"SET", moving, b"mine"]), index + 1, 1000) == b"*1\r\n+OK\r\n"
    staying = next(key for key in KEYS if not one.holdings.left_at(slot_of(key)) and one.serves(slot_of(key)))
    apply(one, b"DEL", staying)
    assert one.apply(exec_of([(staying, _MARK)], [b"SET", staying, b"mine"]), index + 2, 1000) == b"*1\r\n+OK\r\n"


def test_nothing_is_noted_before_all_members_do(pair: Pair) -> None:
    """A member of before carries such a transaction out, and so does everybody until it is upgraded (G1)."""
    one, moving, index = there_and_back(pair, LEFT_VERSION - 1)
    assert not one.holdings.left
    assert one.apply(exec_of([(moving, _MARK)], [b"SET", moving, b"mine"]), index, 1000) == b"*1\r\n+OK\r\n"
