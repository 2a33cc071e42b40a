"""Values of many pieces on their way from group to group: each step costs what it carries, and nothing is half done."""

import sys
import tracemalloc
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kv.sharded.test_machine import restored

from raftline.errors import ConfigError
from raftline.kv.key_walks import alive_keys
from raftline.kv.machine import encode_command
from raftline.kv.pieces import Record, items_in
from raftline.kv.restore import ValueBuilder
from raftline.kv.sharded.chunks import START, Chunk, Cursor, Giving, Marks, next_chunk
from raftline.kv.sharded.machine import ShardMachine, arrive, decode_chunk, drop, fetch, release, take_configuration
from raftline.kv.slots import SLOT_COUNT, slot_of
from raftline.kv.values.container import Container
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import EMPTY, Join, changed
from raftline.sim.sharded.sizes import small_pieces

NODES = ("n1", "n2", "n3")
BEFORE = changed(EMPTY, Join({1: NODES}))
AFTER = changed(BEFORE, Join({2: NODES}))
TAG = next(b"{%d}" % number for number in range(99) if AFTER.owner(slot_of(b"%d" % number)) == 2)
KEY = TAG + b"large"
_STEP_CALLS = 200_000
"""More than any chunk of members takes, and less than any of the values here."""


def apply(machine: ShardMachine, *words: bytes, time_ms: int = 1000) -> bytes:
    """Carry out a command as if it were committed."""
    return machine.apply(encode_command(list(words)), 1, time_ms)


def fill(machine: ShardMachine, count: int, *options: bytes) -> None:
    """Fill the key with a sorted set."""
    for first in range(0, count, 1000):
        words = [part for number in range(first, first + 1000) for part in (b"%d" % (number % 97), b"m%d" % number)]
        apply(machine, b"ZADD", KEY, *words)
    if options:
        apply(machine, *options)


def groups() -> tuple[ShardMachine, ShardMachine]:
    """Return group 1, which has everything, and group 2, both before it gets half of the slots."""
    one, two = ShardMachine(1), ShardMachine(2)
    for machine in (one, two):
        machine.use_sessions(Sessions())
        machine.apply(take_configuration(BEFORE), 1, 1000)
    return one, two


def let_go(one: ShardMachine, two: ShardMachine) -> None:
    """Enter the configuration in which slots move, and release them all."""
    for machine in (one, two):
        machine.apply(take_configuration(AFTER), 1, 1000)
    one.apply(release(2, 2, 1 << 40, 1 << 40), 1, 1000)


def chunk_of(one: ShardMachine, two: ShardMachine) -> Chunk:
    """Ask for the chunk that is waited for."""
    chunk: Chunk | None = decode_chunk(one.read(fetch(2, 2, two.holdings.arrivals[1].cursor), 0))
    assert chunk is not None
    return chunk


def open_half(one: ShardMachine, two: ShardMachine, pieces: int = 20) -> None:
    """Carry over chunks until so many pieces of the value are there, and not all."""
    while len(two.holdings.arrivals[1].pieces) < pieces:
        two.apply(arrive(chunk_of(one, two)), 1, 1000)


class Work:
    """Counts the calls that a step makes, and how often it encodes something."""

    def __init__(self) -> None:
        self.calls = 0
        self.encoded = 0

    def __call__(self, step: Callable[[], bytes]) -> bytes:
        self.calls = self.encoded = 0
        sys.setprofile(self._on_call)
        try:
            return step()
        finally:
            sys.setprofile(None)

    def _on_call(self, _frame: object, event: str, called: object) -> None:
        self.calls += event in {"call", "c_call"}
        self.encoded += event == "c_call" and getattr(called, "__name__", "") == "encode"


@pytest.mark.parametrize(("count", "through_snapshots"), [(40_000, False), (10_000, True)])
def test_a_fetch_encodes_what_it_sends(count: int, through_snapshots: bool) -> None:  # noqa: FBT001
    """However large the value is; a replica that has not sent what came before looks at it, and encodes none of it."""
    one, two = groups()
    fill(one, count)
    let_go(one, two)
    work = Work()
    calls = []
    while two.holdings.arrivals:
        giver = restored(one) if through_snapshots else one
        question = fetch(2, 2, two.holdings.arrivals[1].cursor)
        chunk = decode_chunk(work(lambda giver=giver, question=question: giver.read(question, 0)))  # type: ignore[misc]
        assert chunk is not None
        assert work.encoded <= len(chunk.records) + 2, "the records, one that did not fit, and the answer"
        calls.append(work.calls)
        two.apply(arrive(chunk), 1, 1000)
    assert len(calls) > count // 2500
    if not through_snapshots:
        assert max(calls) < 8 * 4096


def test_a_chunk_that_is_asked_for_again_costs_no_more() -> None:
    """Chunks are fetched ahead, and all of them again if one of them was lost."""
    one, two = groups()
    fill(one, 20_000)
    let_go(one, two)
    cursors = []
    cursor = START
    while cursor.slot <= slot_of(KEY):
        cursors.append(cursor)
        chunk = decode_chunk(one.read(fetch(2, 2, cursor), 0))
        assert chunk is not None
        cursor = chunk.next
    work = Work()
    for cursor in reversed(cursors[2:-1]):
        work(lambda cursor=cursor: one.read(fetch(2, 2, cursor), 0))  # type: ignore[misc]
        assert work.calls < 8 * 4096


def test_a_large_item_is_cut_where_it_lies() -> None:
    """An item of many pieces is not copied whole for any of them, and arrives whole."""
    one, two = groups()
    item = bytes(range(256)) * (32 << 10)
    apply(one, b"RPUSH", KEY, b"first", item, b"last")
    let_go(one, two)
    while two.holdings.arrivals:
        question = fetch(2, 2, two.holdings.arrivals[1].cursor)
        tracemalloc.start()
        try:
            answer = one.read(question, 0)
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()
        chunk = decode_chunk(answer)
        assert chunk is not None
        assert sum(len(record.value) for _, record in chunk.records) <= 512 << 10
        two.apply(arrive(chunk), 1, 1000)
    assert two.read(encode_command([b"LINDEX", KEY, b"1"]), 0) == b"$%d\r\n%b\r\n" % (len(item), item)
    assert two.read(encode_command([b"LLEN", KEY]), 0) == b":3\r\n"


@pytest.mark.parametrize("through_snapshots", [False, True])
def test_an_entry_costs_what_it_brings(through_snapshots: bool) -> None:  # noqa: FBT001
    """Also the one with the last piece, and on a replica that came from a snapshot in between."""
    one, two = groups()
    fill(one, 40_000)
    let_go(one, two)
    work = Work()
    while two.holdings.arrivals:
        command = arrive(chunk_of(one, two))
        work(lambda command=command, two=two: two.apply(command, 1, 1000))  # type: ignore[misc]
        assert work.calls < _STEP_CALLS
        if through_snapshots and two.holdings.arrivals and len(two.holdings.arrivals[1].pieces) in range(40, 60):
            steps = two.snapshot()
            two = ShardMachine(2)
            two.restore_begin()
            for piece in steps:
                work(lambda piece=piece, two=two: two.restore_chunk(piece) or b"")  # type: ignore[misc]
                assert work.calls < _STEP_CALLS
            work(lambda two=two: two.restore_end() or b"")  # type: ignore[misc]
            assert work.calls < _STEP_CALLS // 4
    assert two.read(encode_command([b"ZCARD", KEY]), 0) == b":40000\r\n"
    whole = encode_command([b"ZRANGE", KEY, b"0", b"-1", b"WITHSCORES"])
    assert two.store.read(KEY, 0) is not None
    assert one.store.get(KEY) is not None
    one.apply(drop(2, 2, SLOT_COUNT - 1, 1000), 1, 1000)
    assert one.store.get(KEY) is None
    again, _ = groups()
    fill(again, 40_000)
    assert two.read(whole, 0) == again.read(whole, 0)


def test_members_are_bounded_as_bytes_are() -> None:
    """A chunk of small members takes as long to put in their places as one of large members to travel."""
    one, two = groups()
    fill(one, 20_000)
    let_go(one, two)
    while two.holdings.arrivals:
        chunk = chunk_of(one, two)
        assert sum(items_in(record) for _, record in chunk.records) <= 4096
        two.apply(arrive(chunk), 1, 1000)


NEWER = "group 1 gives a value of kind 99, unknown to this raftline: upgrade every node"


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        (Record(TAG + b"new", 99, 0, b"?"), ConfigError, NEWER),
        (Record(KEY, 4, 0, b"?", more=True), msgspec.DecodeError, "Invalid|Expected|truncated"),
        (Record(KEY, 4, 0, msgspec.msgpack.encode(([1.0, 2.0], False)), more=True), AssertionError, "^$"),
    ],
)
def test_a_chunk_that_cannot_be_read_changes_nothing(bad: Record, error: type[Exception], said: str) -> None:
    """Neither what stands before the record that cannot be read: when every node can, the chunk comes again."""
    one, two = groups()
    fill(one, 10_000)
    apply(one, b"SET", TAG + b"z", b"small")
    let_go(one, two)
    open_half(one, two)
    chunk = chunk_of(one, two)
    slot = chunk.records[0][0]
    wrong = msgspec.structs.replace(
        chunk, records=[*chunk.records[:2], (slot, bad), *chunk.records[2:]], last_token=9, time_ms=1 << 40
    )
    before = msgspec.msgpack.encode(two.holdings), list(two.snapshot())
    for _ in range(2):
        with pytest.raises(error, match=said):
            two.apply(arrive(wrong), 1, 1000)
        assert (msgspec.msgpack.encode(two.holdings), list(two.snapshot())) == before
    while two.holdings.arrivals:
        assert two.apply(arrive(chunk_of(one, two)), 1, 1000) == b"+OK\r\n"
    assert two.read(encode_command([b"ZCARD", KEY]), 0) == b":10000\r\n"
    assert two.read(encode_command([b"GET", TAG + b"z"]), 0) == b"$5\r\nsmall\r\n"


def test_what_is_there_of_a_value_that_expired_is_let_go_little_by_little() -> None:
    """The rest of it will not come: with the chunk that goes on behind it, also if that brings nothing."""
    one, two = groups()
    fill(one, 10_000, b"PEXPIREAT", KEY, b"5000")
    let_go(one, two)
    open_half(one, two)
    one.apply(encode_command([b"RAFTLINE.TICK"]), 2, 6000)
    chunk = chunk_of(one, two)
    assert not chunk.records
    assert not two.store.has_garbage
    two.apply(arrive(chunk), 1, 1000)
    assert two.store.has_garbage
    assert not [piece for arrival in two.holdings.arrivals.values() for piece in arrival.pieces]
    assert two.store.count == 0


def test_what_is_there_of_a_value_takes_memory() -> None:
    """A container that is being filled counts as it will when it is complete, and on a restored replica, too."""
    one, two = groups()
    fill(one, 10_000)
    let_go(one, two)
    open_half(one, two)
    per_member = one.store.used_bytes // 10_000
    assert two.used_bytes > per_member * 256 * 20
    assert restored(two).used_bytes == two.used_bytes
    while two.holdings.arrivals:
        two.apply(arrive(chunk_of(one, two)), 1, 1000)
    assert two.used_bytes == two.store.used_bytes


def test_a_restore_lets_go_of_what_was_arriving() -> None:
    """A replica that is given a newer state goes on with the value as it is there."""
    one, two = groups()
    fill(one, 10_000)
    let_go(one, two)
    open_half(one, two, 8)
    behind = restored(two)
    open_half(one, two, 30)
    behind.restore_begin()
    for piece in two.snapshot():
        behind.restore_chunk(piece)
    behind.restore_end()
    assert behind.store.has_garbage
    while behind.holdings.arrivals:
        behind.apply(arrive(chunk_of(one, behind)), 1, 1000)
    assert behind.read(encode_command([b"ZCARD", KEY]), 0) == b":10000\r\n"


texts = st.one_of(st.binary(max_size=6), st.binary(min_size=30, max_size=90))
values = st.one_of(
    st.binary(min_size=1, max_size=300).map(lambda value: [b"SET", value]),
    st.lists(texts, min_size=1, max_size=40).map(lambda items: [b"RPUSH", *items]),
    st.lists(texts, min_size=1, max_size=40).map(lambda items: [b"SADD", *items]),
    st.lists(texts, min_size=1, max_size=20).map(
        lambda items: [b"HSET", *(part for item in items for part in (item, b"v" + item))]
    ),
    st.lists(texts, min_size=1, max_size=20).map(
        lambda items: [b"ZADD", *(part for number, item in enumerate(items) for part in (b"%d" % number, item))]
    ),
)
walks = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.booleans()), max_size=60)
"""Of each step: back by so many chunks, the time that passes, and whether it is another target that asks."""


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(values, st.integers(0, 400)), min_size=1, max_size=4), walks)
def test_a_chunk_is_the_same_whatever_was_asked_before(
    held: list[tuple[list[bytes], int]], steps: list[tuple[int, int, bool]]
) -> None:
    """What a replica keeps of earlier questions makes no difference, and neither does who asks (G15)."""
    one, _ = groups()
    for number, (words, deadline_ms) in enumerate(held):
        key = TAG + b"%d" % number
        apply(one, words[0], key, *words[1:])
        if deadline_ms:
            apply(one, b"PEXPIREAT", key, b"%d" % (1000 + deadline_ms))
    store, slots = one.store, [slot_of(TAG)]
    kept = {False: Marks(), True: Marks()}
    asked: dict[bool, list[Cursor]] = {False: [START], True: [START]}
    with small_pieces(3, 40):
        for back, passed_ms, target in steps:
            cursors = asked[target]
            del cursors[max(1, len(cursors) - back) :]
            store.begin(1, store.time_ms + passed_ms)
            chunk = next_chunk(Giving(2, 1, slots, store, kept[target], []), cursors[-1])
            assert chunk == next_chunk(Giving(2, 1, slots, store, Marks(), []), cursors[-1])
            if chunk is not None:
                cursors.append(chunk.next)
        records = list(rest_of(Giving(2, 1, slots, store, Marks(), [])))
    builder = ValueBuilder()
    found = {record.key: value for record in records if (value := builder.add(record)) is not None}
    assert found.keys() == set(alive_keys(store, 0))
    for key, value in found.items():
        old = store.get(key)
        assert old is not None
        if isinstance(value, Container):
            assert isinstance(old, Container)
            assert [item for part in value.pieces() for item in part] == [
                item for part in old.pieces() for item in part
            ]
        else:
            assert value == old


def rest_of(giving: Giving) -> Iterator[Record]:
    """Yield every record that is given."""
    chunk = next_chunk(giving, START)
    while chunk is not None:
        yield from (record for _, record in chunk.records)
        chunk = next_chunk(giving, chunk.next)
