"""Values of every type in the store: what a snapshot stands for, what a restore gives, what memory is counted."""

from collections.abc import Iterable
from random import Random

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


POOLS = {b"h": [b"HSET", b"HDEL"], b"l": [b"RPUSH", b"LPUSH"], b"s": [b"SADD", b"SREM"], b"z": [b"ZADD", b"ZREM"]}
SMALL = [
    line.encode().split()
    for line in (
        *("DEL KEY", "PERSIST KEY", "PEXPIRE KEY 3", "PEXPIRE KEY 40", "SET KEY v", "RENAME KEY KEY", "COPY KEY KEY"),
        *("RENAMENX KEY KEY", "COPY KEY KEY REPLACE", "HINCRBYFLOAT h m5 0.5", "HSETNX h new 1", "HINCRBY h n 1"),
        *("SPOP s", "SPOP s 100", "SMOVE s t m7", "SDIFFSTORE {h}2 s t", "SUNIONSTORE t s t"),
        *("LTRIM l 5 -300", "LTRIM l 0 10", "LINSERT l AFTER m5 new", "LREM l 0 m5", "LREM l -1 m600", "LSET l 3 set"),
        *("LPOP l 100", "RPOP l", "LMOVE l l LEFT RIGHT", "LMPOP 1 l RIGHT COUNT 600", "SORT l ALPHA STORE l"),
        *("ZPOPMIN z 200", "ZINCRBY z 2.5 m7", "ZREMRANGEBYSCORE z 2 (4", "ZREMRANGEBYRANK z 100 300"),
        *("ZUNIONSTORE z 2 z s", "ZRANGESTORE {h}2 z 5 400", "FLUSHALL"),
    )
]


def drawn_log(seed: int) -> list[Args]:
    """Return commands that fill and change a few keys, now and then a command that removes much."""
    random = Random(seed)
    log = []
    for _ in range(random.randrange(30)):
        if random.random() < 0.6:
            key = random.choice(list(POOLS))
            log.append(many(random.choice(POOLS[key]), key, random.randrange(900), random.randrange(1, 700)))
        else:
            args = random.choice(SMALL)
            if args != [b"FLUSHALL"] or random.random() < 0.3:
                log.append([random.choice(KEYS) if arg == b"KEY" else arg for arg in args])
    return log


logs = st.integers(0, 2**32).map(drawn_log)


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
