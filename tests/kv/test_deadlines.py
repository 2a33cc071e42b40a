"""The queue of deadlines: what is due comes out, nothing else, in an order that depends on the content alone."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.deadlines import NEVER_MS, Deadlines

entries = st.dictionaries(st.binary(max_size=3), st.tuples(st.integers(0, 16383), st.integers(1, 5000)), max_size=30)


def filled(content: dict[bytes, tuple[int, int]]) -> Deadlines:
    """Return a queue of keys with slots and deadlines."""
    queue = Deadlines()
    for key, (slot, deadline_ms) in content.items():
        queue.add(key, slot, deadline_ms)
    return queue


@given(entries, st.integers(0, 6000))
def test_what_is_due_comes_out_and_nothing_else(content: dict[bytes, tuple[int, int]], time_ms: int) -> None:
    """Everything whose deadline is a bucket's width ago comes out, and nothing before its deadline."""
    due = set(filled(content).take_due(time_ms, 1000))
    assert {key for key, (_, deadline_ms) in content.items() if deadline_ms <= time_ms - 256} <= due
    assert due <= {key for key, (_, deadline_ms) in content.items() if deadline_ms <= time_ms}


@given(entries, st.randoms(use_true_random=False), st.lists(st.integers(1, 7), max_size=10))
def test_the_order_depends_on_the_content_alone(
    content: dict[bytes, tuple[int, int]], random: Random, counts: list[int]
) -> None:
    """Two queues that were filled in another order, one rebuilt half way, give out the same keys."""
    shuffled = list(content.items())
    random.shuffle(shuffled)
    one, other = filled(content), filled(dict(shuffled))
    left = dict(content)
    for count in counts:
        due = one.take_due(6000, count)
        assert due == other.take_due(6000, count)
        assert len(due) == min(count, len(left))
        for key in due:
            del left[key]
        other = filled(left)
    assert one.count == other.count == len(left)


def test_discarded_keys_do_not_come_out() -> None:
    """A key that is discarded, even from a bucket that was opened already, is not given out."""
    queue = filled({b"a": (0, 10), b"b": (0, 10), b"c": (0, 10)})
    assert queue.take_due(1000, 1) == [b"a"]
    queue.discard(b"b", 0, 10)
    assert queue.take_due(1000, 10) == [b"c"]
    assert queue.first_due_ms() == NEVER_MS
    assert queue.take_due(1 << 62, 10) == []


def test_a_key_that_was_not_added_cannot_be_discarded() -> None:
    """The store and the queue must not drift apart in silence."""
    queue = filled({b"a": (0, 10)})
    with pytest.raises(KeyError):
        queue.discard(b"b", 0, 10)


def test_a_deadline_that_is_renewed_again_and_again_leaves_nothing_behind() -> None:
    """Renewing one key's deadline a hundred thousand times costs no memory."""
    queue = Deadlines()
    for step in range(100_000):
        queue.add(b"lock", 7, 30_000 + 300 * step)
        queue.discard(b"lock", 7, 30_000 + 300 * step)
    assert len(queue._ids) < 200
    assert queue.count == 0
    assert queue.first_due_ms() == NEVER_MS


def test_the_next_moment_is_never_late() -> None:
    """`next_due_ms` is not after the first bucket, and `first_due_ms` is exact."""
    queue = filled({b"a": (0, 5000), b"b": (9000, 300)})
    assert queue.next_due_ms == queue.first_due_ms() == 512
    queue.discard(b"b", 9000, 300)
    assert queue.next_due_ms <= queue.first_due_ms() == 5120


def test_a_queue_that_is_no_longer_used_is_let_go_of_in_small_parts() -> None:
    """Each release frees one bucket, until nothing is left."""
    queue = filled({b"a": (0, 5000), b"b": (9000, 300), b"c": (9000, 300)})
    assert sorted([queue.release(), queue.release()]) == [1, 2]
    assert queue.release() == 0


def test_empty_queues_have_nothing_in_common() -> None:
    """A queue that never held a key needs no memory for it, and sees nothing of what is added to another."""
    queue, other = Deadlines(), Deadlines()
    queue.add(b"key", 3, 1000)
    assert other.first_due_ms() == Deadlines().first_due_ms() == NEVER_MS
    assert other.take_due(5000, 9) == []
    assert queue.take_due(5000, 9) == [b"key"]
