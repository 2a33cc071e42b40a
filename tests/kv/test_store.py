"""The store against a plain dictionary, its time, its counters and its walks."""

import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftline.kv import walking as walking_module
from raftline.kv.key_walks import alive_keys, scan_keys
from raftline.kv.restore import Restorer
from raftline.kv.slots import slot_of
from raftline.kv.store import _EMPTY, DEADLINE_BYTES, ENTRY_BYTES, ExpiryPending, Store
from raftline.kv.values import table as table_module

keys = st.sampled_from([b"a", b"b", b"{t}1", b"{t}2", b"{t}3", b""])
values = st.binary(max_size=5)


class StoreAgainstDictionary(RuleBasedStateMachine):
    """Random writes, time and snapshots; a dictionary says what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.model: dict[bytes, tuple[bytes, int | None]] = {}
        self.snapshots: list[tuple[list[bytes], list[bytes], object]] = []

    def forget_expired(self) -> None:
        """Drop from the model what is expired."""
        for key, (_, deadline_ms) in list(self.model.items()):
            if deadline_ms is not None and deadline_ms <= self.store.time_ms:
                del self.model[key]

    @rule(key=keys, value=values)
    def put(self, key: bytes, value: bytes) -> None:
        self.store.put(key, value)
        self.model[key] = (value, None)

    @rule(some=st.lists(st.tuples(st.just(b"SET"), keys, values), max_size=8))
    def put_all(self, some: list[tuple[bytes, bytes, bytes]]) -> None:
        self.store.put_all(some)
        self.model |= {key: (value, None) for _, key, value in some}

    @rule(key=keys, value=values)
    def replace(self, key: bytes, value: bytes) -> None:
        self.store.replace(key, value)
        self.model[key] = (value, self.model.get(key, (b"", None))[1])

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        assert self.store.delete(key) == (self.model.pop(key, None) is not None)

    @rule(key=keys, wait_ms=st.integers(-10, 2000))
    def expire(self, key: bytes, wait_ms: int) -> None:
        if key in self.model:
            deadline_ms = self.store.time_ms + wait_ms
            self.store.expire_at(key, deadline_ms)
            self.model[key] = (self.model[key][0], deadline_ms)
            self.forget_expired()

    @rule(key=keys)
    def persist(self, key: bytes) -> None:
        if key in self.model:
            value, deadline_ms = self.model[key]
            assert self.store.persist(key) == (deadline_ms is not None)
            self.model[key] = (value, None)

    @rule(step_ms=st.integers(1, 1000), count=st.integers(0, 3))
    def let_time_pass(self, step_ms: int, count: int) -> None:
        self.store.time_ms += step_ms
        self.store.remove_due(count)
        self.forget_expired()

    @rule()
    def flush(self) -> None:
        self.store.flush()
        self.model.clear()

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def begin_snapshot(self) -> None:
        """Begin one snapshot to be read slowly, and read a twin of it at once."""
        slow = self.store.snapshot()
        self.snapshots.append(([], list(self.store.snapshot()), slow))

    @rule()
    def read_on(self) -> None:
        for chunks, expected, slow in list(self.snapshots):
            chunk = next(slow, None)  # type: ignore[call-overload]
            if chunk is None:
                assert chunks == expected
                self.snapshots.remove((chunks, expected, slow))
            else:
                chunks.append(chunk)

    @invariant()
    def holds_what_it_should(self) -> None:
        store = self.store
        for key in [b"a", b"b", b"{t}1", b"{t}2", b"{t}3", b""]:
            value, deadline_ms = self.model.get(key, (None, None))
            assert store.get(key) == value
            assert store.read(key, 0) == value
            if value is not None:
                assert store.deadline_ms(key) == deadline_ms
        assert sorted(alive_keys(store, 0)) == sorted(self.model)

    @invariant()
    def counts_are_right(self) -> None:
        store = self.store
        held = [(key, value) for table in store._values for key, value in table.items()]
        deadlines = sum(map(len, store._deadlines))
        assert not _EMPTY, "what stands for all unused slots holds nothing"
        assert store.count == len(held)
        assert store.deadline_count == deadlines
        assert store.used_bytes == (
            sum(len(key) + len(value) + ENTRY_BYTES for key, value in held) + DEADLINE_BYTES * deadlines
        )

    def teardown(self) -> None:
        for _ in range(100):
            self.read_on()


StoreAgainstDictionary.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestStoreAgainstDictionary = StoreAgainstDictionary.TestCase


def test_a_read_does_not_decide_about_expiry_alone() -> None:
    """Between its clock and the log's a reader must ask: the key is neither there nor gone."""
    store = Store()
    store.time_ms = 1000
    store.put(b"k", b"v")
    store.expire_at(b"k", 2000)
    assert store.read(b"k", 1999) == b"v"
    with pytest.raises(ExpiryPending):
        store.read(b"k", 2000)
    with pytest.raises(ExpiryPending):
        list(alive_keys(store, 2000))
    assert store.get(b"k") == b"v"
    store.time_ms = 2000
    assert store.read(b"k", 0) is None
    assert store.get(b"k") is None


def test_overwriting_an_expired_key_makes_a_new_one() -> None:
    """What replaces an expired value inherits nothing from it."""
    store = Store()
    store.put(b"k", b"old")
    store.expire_at(b"k", 10)
    store.time_ms = 20
    store.replace(b"k", b"new")
    assert store.deadline_ms(b"k") is None
    assert store.read(b"k", 1 << 60) == b"new"


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.booleans(), st.integers(0, 1200)), max_size=60),
    st.sampled_from([b"k%d", b"{one}k%d"]),
)
@settings(max_examples=25, deadline=None)
def test_a_scan_finds_whatever_stays(count: int, changes: list[tuple[bool, int]], form: bytes) -> None:
    """Keys that are there from beginning to end are returned, whatever comes and goes, in one slot or in many."""
    store = Store()
    stable = {form % number for number in range(0, 1200, 3)}
    for number in range(1200):
        store.put(form % number, b"")
    found: set[bytes] = set()
    cursor, steps = 0, 0
    waiting = list(changes)
    while True:
        cursor, part = scan_keys(store, cursor, count, 0)
        found |= set(part)
        steps += 1
        for _ in range(min(2, len(waiting))):
            add, number = waiting.pop()
            if add:
                store.put(form % (10_000 + number), b"")
            elif form % number not in stable:
                store.delete(form % number)
        if cursor == 0:
            break
    assert stable <= found
    assert steps <= 1400


def test_a_scan_step_over_one_large_slot_is_small() -> None:
    """Keys with one tag, thousands of them in a slot, still come in steps of about the count."""
    store = Store()
    for number in range(5000):
        store.put(b"{one}%d" % number, b"")
    assert {slot_of(key) for key in alive_keys(store, 0)} == {slot_of(b"one")}
    cursor, part = scan_keys(store, 0, 100, 0)
    assert len(part) <= 110
    assert cursor != 0


def calls_in_step(store: Store, cursor: int) -> int:
    """Return how many functions of C are called in a step of a walk."""
    count = 0

    def on_call(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event == "c_call"

    sys.setprofile(on_call)
    try:
        scan_keys(store, cursor, 10, 0)
    finally:
        sys.setprofile(None)
    return count


def test_a_scan_step_costs_what_it_returns() -> None:
    """However many keys a slot has, or had before most of them went, or came from a snapshot."""
    store, copy = Store(), Store()
    for number in range(20_000):
        store.put(b"{one}%d" % number, b"")
        copy.load(slot_of(b"one"), b"{one}%d" % number, b"", 0)
    loaded = Store()
    loaded.become(copy)
    for each in (store, loaded):
        first = slot_of(b"one") << 32
        cursor, _ = scan_keys(each, first, 10, 0)
        assert calls_in_step(each, first) < 3000
        assert calls_in_step(each, cursor) < 3000
    for number in range(19_000):
        store.delete(b"{one}%d" % number)
    assert calls_in_step(store, cursor) < 3000


def test_a_slot_that_shrank_and_grows_again_is_walked_whole() -> None:
    """A key that comes while the slot has fewer than it takes to have parts, and has them still, is in them, too."""
    store = Store()
    names = [b"{one}%d" % number for number in range(1100)]
    for name in names:
        store.put(name, b"")
    for end in (200, 588, 589, 600):
        for name in names[:end]:
            store.delete(name)
        for name in names[:end]:
            store.put(name, b"")
            slot = slot_of(b"one")
            assert sum(1 for _ in store.walks.ordered(slot, store.table(slot)[0], 0)) == store.count


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2500)), max_size=8), st.integers(20, 200))
@settings(max_examples=25, deadline=None)
def test_what_a_scan_step_returns_follows_from_the_keys_alone(changes: list[tuple[bool, int]], count: int) -> None:
    """A replica whose slot grew and shrank answers like one that was given the same keys once, in any order."""
    store = Store()
    for is_added, end in changes:
        for number in range(end):
            if is_added:
                store.put(b"{one}%d" % number, b"")
            else:
                store.delete(b"{one}%d" % number)
    other = Store()
    for key in sorted(alive_keys(store, 0)):
        other.put(key, b"")
    cursor = slot_of(b"one") << 32 | 1
    while cursor:
        step = scan_keys(store, cursor, count, 0)
        assert step == scan_keys(other, cursor, count, 0)
        cursor = step[0]


def test_a_scan_goes_on_even_if_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of one slot with the same hash are returned in one step, so that the cursor gets past them."""
    for module in (walking_module, table_module):
        monkeypatch.setattr(module, "crc32", lambda key: 5 if len(key) < 9 else 9)
    store = Store()
    expected = {b"{one}%d" % number for number in range(2000)}
    for key in expected:
        store.put(key, b"")
    found: list[bytes] = []
    cursor = 0
    for _ in range(10):
        cursor, part = scan_keys(store, cursor, 10, 0)
        found += part
        if cursor == 0:
            break
    assert cursor == 0
    assert set(found) == expected


def test_flushed_memory_is_given_back_in_slices() -> None:
    """FLUSHALL keeps no reference for long, and no single release frees everything."""
    store = Store()
    for number in range(20_000):
        store.put(b"%d" % number, b"")
    store.flush()
    assert store.count == store.used_bytes == 0
    steps = 0
    while store._garbage:
        store.release_garbage()
        steps += 1
    assert steps > 10


def test_a_restored_store_goes_on_as_the_original_does() -> None:
    """After a restore in the middle of removing expired keys, both remove the same keys at the same steps (F8)."""
    original = Store()
    for number in range(300):
        original.put(b"k%d" % number, b"v")
        original.expire_at(b"k%d" % number, 1000 + number % 7)
    original.time_ms = 5000
    original.remove_due(57)
    copy = Store()
    restorer = Restorer(copy)
    for chunk in original.snapshot():
        restorer.take(chunk)
    restorer.end()
    while original.count:
        assert original.remove_due(20) == copy.remove_due(20)
        assert list(alive_keys(original, 0)) == list(alive_keys(copy, 0))
        assert list(original.snapshot()) == list(copy.snapshot())
        assert original.used_bytes == copy.used_bytes
    assert copy.count == 0


def test_a_slot_without_keys_holds_nothing() -> None:
    """However many names came and went, deleted or expired, what is left of their slots is nothing (D16)."""
    store = Store()
    for number in range(5000):
        key = b"session %d" % number
        store.put(key, b"value")
        if number % 3:
            store.expire_at(key, 100)
        if number % 2:
            store.delete(key)
        elif number % 3 == 0:
            store.take(key)
    store.time_ms = 1000
    while store.remove_due(100):
        pass
    assert store.count == store.used_bytes == store.deadline_count == 0
    assert len({id(values) for values in (*store._values, *store._deadlines)}) == 1


def test_a_store_that_was_never_used_takes_little_memory() -> None:
    """A node may hold a thousand of them: tables are made for the first key, and only then."""
    tracemalloc.start()
    stores = [Store() for _ in range(20)]
    each = tracemalloc.get_traced_memory()[0] / len(stores)
    tracemalloc.stop()
    assert each < 5_000
    one, two = stores[:2]
    one.index = 7
    one.put(b"a", b"1")
    one.expire_at(b"a", 10)
    one.flush()
    one.put(b"b", b"2")
    assert (two.get(b"a"), two.get(b"b"), two.deadline_count) == (None, None, 0)
    assert max(one.changes) == 7
    assert max(two.changes) == 0
    restored = Store()
    restored.become(two)
    restored.index = 9
    restored.put(b"c", b"3")
    assert (max(restored.changes), max(two.changes), two.get(b"c")) == (9, 0, None)
