"""Values of every type in the store: what a snapshot stands for, what a restore gives, what memory is counted."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.deadlines import NEVER_MS
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.snapshot import decode_records
from raftline.kv.store import DEADLINE_BYTES, ENTRY_BYTES
from raftline.kv.values.container import CONTAINER_BYTES
from raftline.kv.values.hash import FIELD_BYTES, Hash
from raftline.kv.values.list import ITEM_BYTES, List
from raftline.kv.values.set import MEMBER_BYTES, Set
from raftline.kv.values.sorted_set import SCORED_BYTES, SortedSet

Args = list[bytes]

KEYS = (b"h", b"l", b"s", b"z", b"t", b"{h}2")


def many(name: bytes, key: bytes, start: int, count: int) -> Args:
    """Return a command with many members."""
    members = [b"m%d" % number for number in range(start, start + count)]
    if name == b"HSET":
        return [name, key, *[arg for member in members for arg in (member, member[1:])]]
    if name == b"ZADD":
        return [name, key, *[arg for member in members for arg in (b"%d" % (int(member[1:]) % 7), member)]]
    return [name, key, *members]


pools = {b"h": [b"HSET", b"HDEL"], b"l": [b"RPUSH", b"LPUSH"], b"s": [b"SADD", b"SREM"], b"z": [b"ZADD", b"ZREM"]}
batches = st.sampled_from([(key, name) for key, names in pools.items() for name in names]).flatmap(
    lambda drawn: st.builds(many, st.just(drawn[1]), st.just(drawn[0]), st.integers(0, 1200), st.integers(1, 700))
)
key = st.sampled_from(KEYS)
small = st.one_of(
    st.tuples(st.sampled_from([b"DEL", b"UNLINK", b"PERSIST"]), key),
    st.tuples(st.just(b"PEXPIRE"), key, st.sampled_from([b"3", b"40"])),
    st.tuples(st.just(b"HINCRBYFLOAT"), st.just(b"h"), st.just(b"m5"), st.just(b"0.5")),
    st.tuples(st.just(b"SET"), key, st.binary(max_size=4)),
    st.tuples(st.sampled_from([b"RENAME", b"RENAMENX", b"COPY"]), key, key),
    st.tuples(st.just(b"SPOP"), st.just(b"s"), st.sampled_from([b"1", b"100"])),
    st.tuples(st.just(b"LTRIM"), st.just(b"l"), st.just(b"5"), st.sampled_from([b"-300", b"10"])),
    st.tuples(st.just(b"LINSERT"), st.just(b"l"), st.just(b"AFTER"), st.just(b"m5"), st.just(b"new")),
    st.tuples(st.just(b"LREM"), st.just(b"l"), st.just(b"0"), st.sampled_from([b"m5", b"m600"])),
    st.tuples(st.just(b"LSET"), st.just(b"l"), st.just(b"3"), st.just(b"set")),
    st.tuples(st.just(b"LMOVE"), st.just(b"l"), st.just(b"l"), st.just(b"LEFT"), st.just(b"RIGHT")),
    st.tuples(st.just(b"ZPOPMIN"), st.just(b"z"), st.sampled_from([b"1", b"200"])),
    st.tuples(st.just(b"ZINCRBY"), st.just(b"z"), st.just(b"2.5"), st.just(b"m7")),
    st.tuples(st.just(b"ZREMRANGEBYSCORE"), st.just(b"z"), st.just(b"2"), st.just(b"(4")),
    st.tuples(st.just(b"ZUNIONSTORE"), st.just(b"z"), st.just(b"2"), st.just(b"z"), st.just(b"s")),
    st.tuples(st.just(b"SDIFFSTORE"), st.just(b"{h}2"), st.just(b"s"), st.just(b"t")),
    st.tuples(st.just(b"FLUSHALL")),
).map(list)
logs = st.lists(st.one_of(batches, batches, small, small), max_size=40)


def run(machine: KvMachine, args: Args) -> bytes:
    """Apply one command; a millisecond passes with each."""
    return machine.apply(encode_command(args), machine.store.index + 1, 1001 + machine.store.index)


def restored(chunks: Iterable[bytes], index: int) -> KvMachine:
    """Return a machine that was made of a snapshot."""
    machine = KvMachine()
    machine.restore_begin()
    for chunk in chunks:
        machine.restore_chunk(chunk)
    machine.restore_end()
    machine.store.index = index
    return machine


def content(machine: KvMachine) -> list[object]:
    """Return everything a replica holds, in its order."""
    store = machine.store
    found: list[object] = [store.time_ms, store.count, store.used_bytes]
    for slot, values in enumerate(store._values):
        for name, value in values.items():
            items = value if isinstance(value, bytes) else [item for piece in value.pieces() for item in piece]
            found.append((slot, name, type(value), items, store.deadline_ms(name)))
            if isinstance(value, SortedSet):
                assert list(value.order) == sorted((score, member) for member, score in value.scores.items())
    return found


def recount(machine: KvMachine) -> int:
    """Return the memory of everything, counted anew."""
    total = 0
    for values in machine.store._values:
        for name, value in values.items():
            total += len(name) + ENTRY_BYTES
            if machine.store.deadline_ms(name) is not None:
                total += DEADLINE_BYTES
            if isinstance(value, bytes):
                total += len(value)
            elif isinstance(value, Hash):
                total += sum(len(field) + len(text) + FIELD_BYTES for field, text in value.fields.items())
            elif isinstance(value, List):
                total += sum(len(item) + ITEM_BYTES for item in value.items)
            elif isinstance(value, Set):
                total += sum(len(member) + MEMBER_BYTES for member in value)
            elif isinstance(value, SortedSet):
                total += sum(len(member) + SCORED_BYTES for member in value.scores)
            if not isinstance(value, bytes):
                assert value.count, "no key holds an empty container"
                total += CONTAINER_BYTES
    return total


@settings(max_examples=60, deadline=None)
@given(logs, logs, st.integers(0, 3))
def test_a_snapshot_is_of_one_moment_whatever_is_written_meanwhile(
    before: list[Args], after: list[Args], pace: int
) -> None:
    """Restored, it is the state as of the call, and goes on as the original does; memory is what a recount gives."""
    machine, still = KvMachine(), KvMachine()
    for args in before:
        assert run(machine, args) == run(still, args)
    index = machine.store.index
    snapshot = machine.snapshot()
    chunks = []
    for position, args in enumerate(after):
        if pace and position % pace == 0:
            chunks += [chunk for chunk in [next(snapshot, None)] if chunk is not None]
        run(machine, args)
    copy = restored([*chunks, *snapshot], index)
    assert content(copy) == content(still)
    assert list(copy.snapshot()) == list(still.snapshot())
    replies = [(run(copy, args), run(still, args)) for args in after]
    assert all(mine == theirs for mine, theirs in replies)
    assert content(copy) == content(still) == content(machine)
    assert copy.store.used_bytes == recount(copy)
    while machine.store.has_garbage:
        machine.store.release_garbage()
    assert content(machine) == content(still)
    assert machine.store.first_due_ms() <= NEVER_MS


def test_chunks_are_small_whatever_the_members() -> None:
    """A value of many members, or of few that are very large, comes in chunks of at most 1 MiB and 1,024 members."""
    machine = KvMachine()
    large = bytes(range(256)) * 9_000
    run(machine, [b"HSET", b"large", b"f", large, large[:600_000], b"v", b"g", b"", b"h", large[:1_000_000]])
    run(machine, many(b"HSET", b"many", 0, 5000))
    run(machine, many(b"ZADD", b"{many}z", 0, 5000))
    chunks = list(machine.snapshot())
    assert max(map(len, chunks)) <= 1 << 20
    assert all(sum(len(records) for _, records in decode_records(chunk)) <= 1024 for chunk in chunks[1:])
    assert content(restored(chunks, 0)) == content(machine)


def test_memory_of_a_large_value_is_given_back_little_by_little() -> None:
    """Deleted, overwritten, expired or flushed, a value of many members leaves in slices, after its snapshots."""
    machine = KvMachine()
    for removal in ([b"DEL", b"k"], [b"SET", b"k", b"v"], [b"FLUSHALL"], [b"PEXPIRE", b"k", b"0"]):
        run(machine, [b"FLUSHALL"])
        while machine.store.has_garbage:
            machine.store.release_garbage()
        run(machine, many(b"HSET", b"k", 0, 20_000))
        expected = content(machine)
        snapshot = machine.snapshot()
        chunks = [next(snapshot)]
        run(machine, removal)
        while machine.store.has_garbage:
            machine.store.release_garbage()
        copy = restored([*chunks, *snapshot], 0)
        assert content(copy) == expected
        steps = 0
        while machine.store.has_garbage:
            machine.store.release_garbage()
            steps += 1
        assert steps >= 10
