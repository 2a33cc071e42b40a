"""What a group remembers of slots that it gave: as ranges, which are a few however many slots there are."""

from random import Random

import msgspec
import pytest

from raftline.kv.sharded.holdings import Holdings, Left
from raftline.shards.configuration import EMPTY
from raftline.shards.ranges import SLOT_COUNT


def _at(number: int, left: list[Left] | None = None) -> Holdings:
    return Holdings(1, msgspec.structs.replace(EMPTY, number=number), left=left or [])


def test_slots_that_went_in_one_configuration_are_one_range() -> None:
    """A group that gave everything, batch by batch, holds no more for it than for one slot."""
    holdings = _at(3)
    for low in range(0, SLOT_COUNT, 16):
        holdings.note_left(range(low, low + 16), 100 + low)
    assert holdings.left == [Left(0, SLOT_COUNT, 3, 100 + SLOT_COUNT - 16)]
    assert len(msgspec.msgpack.encode(holdings)) < 200


@pytest.mark.parametrize("seed", range(5))
def test_each_slot_was_gone_by_the_last_index_of_its_configuration(seed: int) -> None:
    """Whatever went before, in whatever pieces: the last time counts, and the end of all that went with it."""
    random = Random(seed)
    holdings = _at(0)
    gave: dict[int, int] = {}  # by slot, in which configuration
    ended: dict[int, int] = {}
    index = 0
    for number in range(1, 12):
        holdings = _at(number, holdings.left)
        for _ in range(random.randint(1, 4)):
            index += random.randint(1, 9)
            slots = sorted(random.sample(range(60), random.randint(1, 30)))
            holdings.note_left(slots, index)
            gave.update(dict.fromkeys(slots, number))
            ended[number] = index
    assert [holdings.left_at(slot) for slot in range(70)] == [ended.get(gave.get(slot, 0), 0) for slot in range(70)]
    assert all(one.high <= other.low for one, other in zip(holdings.left, holdings.left[1:], strict=False))
