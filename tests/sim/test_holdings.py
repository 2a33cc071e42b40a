"""What an object owns is found wherever it hangs."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from raftline.sim.holdings import weigh


class _Record(msgspec.Struct, gc=False):
    data: bytes
    number: int


class _Slotted:
    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records: deque[_Record] = deque()


class _Root:
    def __init__(self) -> None:
        self.inner = _Slotted()
        self.table: dict[str, list[bytes]] = {}
        self.callbacks: list[Callable[[], object]] = []
        self.world: object = None


def everything(_item: object) -> bool:
    """Leave nothing out."""
    return False


def test_everything_counts_once_where_it_hangs() -> None:
    """Attributes give the path; what containers hold, records that the collector does not see too, is one place."""
    root = _Root()
    for number in range(300, 310):
        root.inner.records.append(_Record(b"%d" % number * 20, number))
        root.table[f"key {number}"] = [b"%d" % number * 30]
    found = weigh({"root": root}, everything)
    assert found["root"].objects == found["root.inner.records"].objects == 1
    assert found["root.inner.records[]"].objects == 10 * 3
    assert found["root.table[]"].objects == 10 * 3
    assert found["root.table[]"].size_bytes > 10 * 90


def test_callbacks_hold_what_they_close_over() -> None:
    """Closures, partial functions and bound methods are looked into, their modules are not."""
    root = _Root()
    data = [b"%d" % number * 9 for number in range(50)]
    root.callbacks = [lambda: data, partial(print, *(b"%d" % number * 7 for number in range(70)))]
    found = weigh({"root": root}, everything)
    assert 120 < found["root.callbacks[]"].objects < 150


def test_what_is_foreign_is_not_looked_into() -> None:
    """Neither a foreign object nor anything behind it counts."""
    root = _Root()
    root.world = asyncio.Event()
    assert "root.world" in weigh({"root": root}, everything)
    assert not any(path.startswith("root.world") for path in weigh({"root": root}, lambda item: item is root.world))


def test_growth_shows_at_its_path() -> None:
    """One thousand things more are seen where they are, and nowhere else."""
    root = _Root()
    before = weigh({"root": root}, everything)
    root.inner.records.extend(_Record(b"x" * 100, 1) for _ in range(1000))
    after = weigh({"root": root}, everything)
    grown = {path for path, holding in after.items() if path not in before or holding.objects > before[path].objects}
    assert grown == {"root.inner.records[]"}


def test_a_queue_with_a_bound_says_so() -> None:
    """What hangs in a queue that drops its oldest is told apart from what may grow for ever."""
    root = _Root()
    root.world = deque([b"one", b"two"], maxlen=64)
    assert weigh({"root": root}, everything)["root.world[max 64]"].objects == 2
