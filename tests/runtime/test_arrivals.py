"""What is remembered of the frames that came, against a set of all of them."""

import tracemalloc
from random import Random

from raftline.core.messages import ForwardRequest
from raftline.runtime.arrivals import Arrival, Arrivals
from raftline.runtime.forwarding import SeenFrames

FRAMES = 20_000


def test_each_number_is_new_once() -> None:
    """In whatever order they come: who is behind the newest was overtaken, and who came is repeated (G7)."""
    random = Random(5)
    for _ in range(200):
        arrivals, seen = Arrivals(), set[int]()
        for number in random.choices(range(1, 40), k=60):
            wanted = Arrival.OVERTAKEN if number < max(seen, default=0) else Arrival.NEW
            assert arrivals.arrive(number) is (Arrival.REPEATED if number in seen else wanted)
            seen.add(number)


def test_what_is_too_old_is_not_taken() -> None:
    """The oldest runs are given up where there are too many gaps; what came is never taken again."""
    arrivals = Arrivals(kept_max=10)
    for number in range(1, 200, 2):
        assert arrivals.arrive(number) is Arrival.NEW
    assert {arrivals.arrive(number) for number in range(1, 180)} == {Arrival.REPEATED}
    assert {arrivals.arrive(number) for number in range(182, 199, 2)} == {Arrival.OVERTAKEN}
    assert {arrivals.arrive(number) for number in range(181, 200)} == {Arrival.REPEATED}


def test_frames_that_come_in_order_take_no_memory() -> None:
    """Each leader remembers those of each follower, for each group: thousands of both are nothing special (E7)."""
    seen = SeenFrames()
    for number in range(900, 910):
        seen.arrive("n2", ForwardRequest(3, 9, number, ()))
    tracemalloc.start()
    try:
        for number in range(910, 910 + FRAMES):
            assert seen.arrive("n2", ForwardRequest(3, 9, number, ())) is Arrival.NEW
        assert tracemalloc.get_traced_memory()[0] < 4096
    finally:
        tracemalloc.stop()
    assert seen.arrive("n2", ForwardRequest(3, 9, 900, ())) is Arrival.REPEATED
    assert seen.arrive("n2", ForwardRequest(3, 9, 899, ())) is Arrival.OVERTAKEN
