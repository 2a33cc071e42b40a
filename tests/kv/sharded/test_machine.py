"""A group's share: what is served when, what travels with slots, and what is left behind."""

from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.errors import ChangeRefused, NotServed, StorageError
from raftline.kv.commands.transactions import encode_watched
from raftline.kv.key_walks import alive_keys
from raftline.kv.machine import encode_command
from raftline.kv.resp.replies import NULL_ARRAY
from raftline.kv.sharded.chunks import START, Chunk, Cursor
from raftline.kv.sharded.machine import (
    ShardMachine,
    arrive,
    decode_chunk,
    drop,
    fetch,
    flush,
    has_all,
    release,
    take_configuration,
    watch_query,
)
from raftline.kv.slots import SLOT_COUNT, slot_of
from raftline.replica.sessions import Sessions
from raftline.shards.configuration import EMPTY, Change, Configuration, Join, Leave, Move, changed

NODES = ("n1", "n2", "n3")
LAST = SLOT_COUNT - 1
KEYS = [b"key%d" % number for number in range(40)]


def configurations(*changes: Change) -> list[Configuration]:
    """Return what changes lead to, one after the other."""
    out = [EMPTY]
    for change in changes:
        out.append(changed(out[-1], change))
    return out[1:]


def apply(machine: ShardMachine, *words: bytes) -> bytes:
    """Carry out a command as if it were committed."""
    return machine.apply(encode_command(list(words)), 1, 1000)


def take(machine: ShardMachine, *wanted: Configuration) -> None:
    """Enter configurations."""
    for configuration in wanted:
        assert machine.apply(take_configuration(configuration), 1, 1000) == b"+OK\r\n"


def chunk_of(giver: ShardMachine, taker: ShardMachine) -> Chunk | None:
    """Ask for the next chunk of what `taker` waits for from `giver`."""
    holdings = taker.holdings
    arrival = holdings.arrivals[giver.holdings.group]
    answer = giver.read(fetch(holdings.configuration.number, holdings.group, arrival.cursor), 0)
    chunk: Chunk | None = decode_chunk(answer)
    return chunk


def let_go(giver: ShardMachine, target: int = 2) -> None:
    """Release everything that waits to go to `target`."""
    number = giver.holdings.configuration.number
    assert giver.apply(release(number, target, 1 << 40, 1 << 40), 1, 1000) == b"+OK\r\n"
    assert not giver.holdings.given[target].waiting


def carry(giver: ShardMachine, taker: ShardMachine, *, twice: bool = False) -> int:
    """Carry over everything that is released; return in how many chunks."""
    count = 0
    while giver.holdings.group in taker.holdings.arrivals:
        chunk = chunk_of(giver, taker)
        assert chunk is not None
        count += 1
        assert taker.apply(arrive(chunk), 1, 1000) == b"+OK\r\n"
        if twice:
            assert taker.apply(arrive(chunk), 1, 1000) == b"+OUTDATED\r\n"
    return count


def restored(machine: ShardMachine) -> ShardMachine:
    """Return a machine that has come from a snapshot."""
    other = ShardMachine(machine.holdings.group)
    other.restore_begin()
    for piece in machine.snapshot():
        other.restore_chunk(piece)
    other.restore_end()
    return other


@pytest.fixture
def pair() -> tuple[ShardMachine, ShardMachine, list[Configuration]]:
    """Group 1 with 40 keys and a session, group 2, and the configurations in which 2 joins and 1 leaves."""
    one, two = ShardMachine(1), ShardMachine(2)
    steps = configurations(Join({1: NODES}), Join({2: NODES}), Leave((1,)))
    for machine in (one, two):
        machine.use_sessions(Sessions())
        take(machine, steps[0])
    for key in KEYS:
        apply(one, b"SET", key, b"v" + key)
    return one, two, steps


Pair = tuple[ShardMachine, ShardMachine, list[Configuration]]


def test_a_slot_is_served_up_to_the_entry_that_gives_it(pair: Pair) -> None:
    """The same command is carried out just before and refused just after, whoever sent it when (G15)."""
    one, two, steps = pair
    moving = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    take(one, steps[1])
    assert apply(one, b"SET", moving, b"last") == b"+OK\r\n"
    let_go(one)
    with pytest.raises(NotServed, match=r"slot \d+ is not served by group 1 \(configuration 2\)"):
        apply(one, b"SET", moving, b"too late")
    take(two, steps[1])
    with pytest.raises(NotServed):
        two.read(encode_command([b"GET", moving]), 0)
    carry(one, two)
    assert two.read(encode_command([b"GET", moving]), 0) == b"$4\r\nlast\r\n"


def test_what_stays_is_served_throughout(pair: Pair) -> None:
    """Keys of slots that do not move never notice."""
    one, _, steps = pair
    staying = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 1)
    take(one, steps[1])
    assert apply(one, b"APPEND", staying, b"!") == b":%d\r\n" % (len(staying) + 2)


def test_configurations_come_in_order_and_one_at_a_time(pair: Pair) -> None:
    """One that is not the next, or comes while slots are on their way, changes nothing."""
    one, two, steps = pair
    assert one.apply(take_configuration(steps[2]), 1, 0) == b"+OUTDATED\r\n"
    take(two, steps[1])
    before = msgspec.msgpack.encode(two.holdings)
    assert two.apply(take_configuration(steps[2]), 1, 0) == b"+OUTDATED\r\n"
    assert msgspec.msgpack.encode(two.holdings) == before


def test_a_chunk_counts_once(pair: Pair) -> None:
    """Entries of two movers, or of one that repeats itself, are recognized; nothing arrives before it was given."""
    one, two, steps = pair
    take(two, steps[1])
    assert chunk_of(one, two) is None
    take(one, steps[1])
    assert chunk_of(one, two) is None
    let_go(one)
    carry(one, two, twice=True)
    moved = [key for key in KEYS if steps[1].owner(slot_of(key)) == 2]
    assert sorted(alive_keys(two.store, 0)) == sorted(moved)
    assert two.store.count == len(moved)


def test_given_slots_go_when_they_are_there(pair: Pair) -> None:
    """The other group knows whether it has all; then the keys are deleted, a bounded number with each entry."""
    one, two, steps = pair
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    assert two.read(has_all(2, 1, 16383), 0) == b"0"
    carry(one, two)
    assert two.read(has_all(2, 1, 16383), 0) == b"1"
    assert two.read(has_all(1, 1, 16383), 0) == b"1"
    assert two.read(has_all(3, 1, 16383), 0) == b"0"
    given = sum(steps[1].owner(slot_of(key)) == 2 for key in KEYS)
    for left in range(given - 3, -3, -3):
        assert not one.holdings.is_settled
        assert one.apply(drop(2, 2, LAST, 3), 1, 0) == b"+OK\r\n"
        assert one.store.count == len(KEYS) - given + max(0, left)
    assert one.holdings.is_settled
    assert one.apply(drop(2, 2, LAST, 3), 1, 0) == b"+OUTDATED\r\n"


def test_sessions_travel_first(pair: Pair) -> None:
    """Before any slot is served, what the giver remembers of clients is there: a retry is recognized (G16)."""
    one, two, steps = pair
    theirs, ours = Sessions(), Sessions()
    for session in range(600):
        theirs.open(session, 1000)
        theirs.remember(session, 7, failed=False, reply=b"reply %d" % session, time_ms=1000)
    ours.open(5, 1000)
    ours.remember(5, 9, failed=False, reply=b"newer", time_ms=1000)
    one.use_sessions(theirs)
    two.use_sessions(ours)
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    while two.holdings.arrivals[1].cursor.session is not None:
        chunk = chunk_of(one, two)
        assert chunk is not None
        assert not chunk.records
        two.apply(arrive(chunk), 1, 1000)
    assert len(ours) == 600
    found = [ours.find(session) for session in (0, 5, 599)]
    assert [(each.sequence, each.reply) for each in found if each] == [
        (7, b"reply 0"),
        (9, b"newer"),
        (7, b"reply 599"),
    ]


@pytest.mark.parametrize("through_snapshots", [False, True])
def test_large_values_arrive_whole(pair: Pair, through_snapshots: bool) -> None:  # noqa: FBT001
    """Values of many pieces, of every type and with deadlines; the taker may begin from a snapshot at any chunk."""
    one, two, steps = pair
    tag = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    names = [b"{%b}%d" % (tag, number) for number in range(5)]
    apply(one, b"SET", names[0], bytes(range(256)) * 5000)
    apply(one, b"RPUSH", names[1], *[b"item%d" % n * 20 for n in range(6000)])
    apply(one, b"HSET", names[2], *[b"%d" % n for n in range(4000)])
    apply(one, b"ZADD", names[3], *[part for n in range(2000) for part in (b"%d" % (n % 7), b"m%d" % n)])
    apply(one, b"SADD", names[4], *[b"%d" % n for n in range(3000)])
    apply(one, b"PEXPIREAT", names[1], b"99999")
    asked = [[b"GET"], [b"LRANGE", b"0", b"-1"], [b"HGETALL"], [b"ZRANGE", b"0", b"-1", b"WITHSCORES"], [b"SMEMBERS"]]

    def answers(machine: ShardMachine) -> list[bytes]:
        return [
            machine.read(encode_command([words[0], name, *words[1:]]), 0)
            for name, words in zip(names, asked, strict=True)
        ]

    expected = answers(one)
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    count = 0
    while two.holdings.arrivals:
        chunk = chunk_of(restored(one), two) if through_snapshots else chunk_of(one, two)
        assert chunk is not None
        assert sum(len(record.value) for _, record in chunk.records) <= 600_000
        two.apply(arrive(chunk), 1, 1000)
        if through_snapshots:
            two = restored(two)
        count += 1
    assert count > 5
    assert answers(two) == expected
    assert two.store.deadline_ms(names[1]) == 99999


def test_a_value_that_expires_on_the_way_leaves_nothing(pair: Pair) -> None:
    """Half of a value arrived, then it expired where it came from: what is there is let go, the rest arrives."""
    one, two, steps = pair
    tag = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    large = b"{%b}large" % tag
    apply(one, b"SET", large, b"x" * 1_500_000, b"PXAT", b"5000")
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    while not two.holdings.arrivals[1].pieces:
        chunk = chunk_of(one, two)
        assert chunk is not None
        two.apply(arrive(chunk), 1, 1000)
    one.apply(encode_command([b"RAFTLINE.TICK"]), 2, 6000)
    carry(one, two)
    moved = [key for key in KEYS if steps[1].owner(slot_of(key)) == 2]
    assert sorted(alive_keys(two.store, 0)) == sorted(moved)
    assert two.store.time_ms == 1000


def test_commands_without_a_key_are_refused(pair: Pair) -> None:
    """No group could answer for all of the store; it counts what it serves, and is flushed when nothing moves."""
    one, two, steps = pair
    take(one, steps[1])
    take(two, steps[1])
    with pytest.raises(NotServed, match="PUBLISH names no key"):
        apply(one, b"PUBLISH", b"channel", b"message")
    held = one.read(encode_command([b"DBSIZE"]), 0), two.read(encode_command([b"DBSIZE"]), 0)
    assert sum(int(count[1:-2]) for count in held) == len(KEYS)
    number = one.holdings.configuration.number
    with pytest.raises(NotServed, match="gives or gets slots"):
        one.apply(flush(number, [b"FLUSHALL"]), 1, 1000)
    let_go(one)
    carry(one, two)
    assert one.apply(drop(number, 2, LAST, 1000), 1, 1000) == b"+OK\r\n"
    for other in (number - 1, number + 1):
        with pytest.raises(NotServed, match=f"at configuration {number}, asked of {other}"):
            one.apply(flush(other, [b"FLUSHALL"]), 1, 1000)
    assert one.apply(flush(number, [b"FLUSHALL", b"ASYNC"]), 1, 1000) == b"+OK\r\n"
    assert one.read(encode_command([b"DBSIZE"]), 0) == b":0\r\n"


def test_a_snapshot_that_is_cut_is_refused(pair: Pair) -> None:
    """Nothing of it takes effect."""
    one, _, _ = pair
    pieces = list(one.snapshot())
    other = ShardMachine(1)
    other.restore_begin()
    with pytest.raises(StorageError, match="not complete"):
        other.restore_end()
    other.restore_begin()
    with pytest.raises(StorageError, match="cannot be read"):
        other.restore_chunk(pieces[0][:-1])


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=40), max_size=60),
    st.lists(st.tuples(st.integers(0, 16000), st.integers(1, 384), st.integers(1, 3)), min_size=1, max_size=6),
)
def test_no_key_is_lost_or_doubled(values: dict[bytes, bytes], moves: list[tuple[int, int, int]]) -> None:
    """Whatever slots go wherever, each key is with the group that serves it, with its value, and nowhere else."""
    machines = {group: ShardMachine(group) for group in (1, 2, 3)}
    steps = [changed(EMPTY, Join(dict.fromkeys((1, 2, 3), NODES)))]
    for low, size, group in moves:
        with suppress(ChangeRefused):
            steps.append(changed(steps[-1], Move(low, low + size, group)))
    for machine in machines.values():
        take(machine, steps[0])
    for key, value in values.items():
        apply(machines[steps[0].owner(slot_of(key))], b"SET", key, value)
    for step in steps[1:]:
        enter(machines, step)
    found = {(group, *item[:2]) for group, machine in machines.items() for item in items_of(machine)}
    assert found == {(steps[-1].owner(slot_of(key)), key, value) for key, value in values.items()}
    assert sum(machine.store.count for machine in machines.values()) == len(values)


def enter(machines: dict[int, ShardMachine], step: Configuration) -> None:
    """Let all groups enter a configuration and finish with it."""
    for machine in machines.values():
        take(machine, step)
    for taker in machines.values():
        for source in list(taker.holdings.arrivals):
            let_go(machines[source], taker.holdings.group)
            carry(machines[source], taker)
    for giver in machines.values():
        for target in list(giver.holdings.given):
            assert machines[target].read(has_all(step.number, giver.holdings.group, 16383), 0) == b"1"
            giver.apply(drop(step.number, target, LAST, 1000), 1, 1000)


def items_of(machine: ShardMachine) -> list[tuple[bytes, object, int]]:
    """Return everything that a machine holds."""
    tables = [machine.store.table(slot) for slot in range(SLOT_COUNT)]
    items = [(key, value, deadlines.get(key, 0)) for values, deadlines in tables for key, value in values.items()]
    return [item for item in sorted(items, key=itemgetter(0)) if not 0 < item[2] <= machine.store.time_ms]


def test_a_cursor_needs_no_memory(pair: Pair) -> None:
    """Any replica goes on where another stopped: the chunk depends on the cursor and the state alone."""
    one, two, steps = pair
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    ask: Callable[[Cursor], bytes] = lambda cursor: fetch(2, 2, cursor)  # noqa: E731
    assert one.read(ask(START), 0) == restored(one).read(ask(START), 0)
    later = Cursor(session=None, slot=9000)
    assert one.read(ask(later), 0) == restored(one).read(ask(later), 0)


def exec_of(watched: list[tuple[bytes, int]], *commands: list[bytes]) -> bytes:
    """Return a transaction as it stands in the log."""
    inner = [encode_command(words) for words in commands]
    return encode_command([b"RAFTLINE.EXEC", encode_watched(watched), *inner])


def test_a_transaction_is_refused_as_its_keys_are(pair: Pair) -> None:
    """Every key inside counts, watched ones too: all of them are served here, or nothing is done (G15)."""
    one, _, steps = pair
    moving = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    staying = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 1)
    take(one, steps[1])
    let_go(one)
    with pytest.raises(NotServed, match="not served by group 1"):
        one.apply(exec_of([], [b"SET", staying, b"new"], [b"SET", moving, b"new"]), 2, 1000)
    with pytest.raises(NotServed, match="not served by group 1"):
        one.apply(exec_of([(moving, 3)], [b"SET", staying, b"new"]), 2, 1000)
    assert one.store.get(staying) == b"v" + staying
    assert one.apply(exec_of([], [b"SET", staying, b"new"]), 2, 1000) == b"*1\r\n+OK\r\n"


def carried_out(step: Configuration, giver: ShardMachine, taker: ShardMachine, index: int) -> int:
    """Take a configuration from an entry on, and carry out what one group gives to the other; return the last entry."""
    for machine in (giver, taker):
        machine.apply(take_configuration(step), index, 1000)
    let_go(giver, taker.holdings.group)
    while giver.holdings.group in taker.holdings.arrivals:
        chunk = chunk_of(giver, taker)
        assert chunk is not None
        index += 1
        taker.apply(arrive(chunk), index, 1000)
    index += 1
    giver.apply(drop(step.number, taker.holdings.group, LAST, 1000), index, 1000)
    return index


def test_a_watched_key_that_was_away_has_changed(pair: Pair) -> None:
    """What arrives is noted at the entry that brings it: whoever watched the key before it went does nothing."""
    one, two, steps = pair
    for machine in (one, two):
        machine.use_version(2)
    moving = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    back = changed(steps[1], Move(slot_of(moving), slot_of(moving) + 1, 1))
    assert one.apply(encode_command([b"SET", moving, b"watched"]), 7, 1000) == b"+OK\r\n"
    mark = 7 << 1 | 1
    index = carried_out(steps[1], one, two, 8)
    apply(two, b"SET", moving, b"changed")
    index = carried_out(back, two, one, index)
    assert one.apply(exec_of([(moving, mark)], [b"SET", moving, b"mine"]), index + 1, 1000) == NULL_ARRAY


def test_a_mark_is_told_only_once_changes_are_noted_for_good() -> None:
    """A new group forgets what it noted when all its members know of transactions: no mark may be older than that."""
    machine = ShardMachine(1)
    machine.use_sessions(Sessions())
    take(machine, *configurations(Join({1: NODES})))
    machine.apply(encode_command([b"SET", b"k", b"watched"]), 5, 1000)
    with pytest.raises(NotServed, match="not every member"):
        machine.read(watch_query([b"k"]), 0)
    machine.use_version(2)
    machine.apply(encode_command([b"SET", b"k", b"changed"]), 6, 1000)
    assert machine.read(watch_query([b"k"]), 0) == b"*1\r\n:%d\r\n" % (6 << 1 | 1)


def test_fencing_tokens_go_on_where_they_were(pair: Pair) -> None:
    """A lock that moved is given with a higher token than it had where it came from (G16)."""
    one, two, steps = pair
    moving = next(key for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    apply(one, b"DEL", moving)
    for _ in range(5):
        apply(one, b"RAFTLINE.LOCK|ACQUIRE", b"ACQUIRE", moving, b"me", b"60000")
        apply(one, b"DEL", moving)
    assert one.store.last_token == 5
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    carry(one, two)
    apply(two, b"RAFTLINE.LOCK|ACQUIRE", b"ACQUIRE", moving, b"me", b"60000")
    assert two.store.last_token == 6


def test_slots_go_in_small_batches_and_are_served_until_then(pair: Pair) -> None:
    """A batch is released at one entry, the next only when it is there and removed: no slot is unserved for long."""
    one, two, steps = pair
    take(one, steps[1])
    take(two, steps[1])
    moving = sorted((key for key in KEYS if steps[1].owner(slot_of(key)) == 2), key=slot_of)
    batches = 0
    while one.holdings.given:
        assert one.apply(release(2, 2, 1 << 20, 3), 1, 1000 + batches) == b"+OK\r\n"
        assert one.apply(release(2, 2, 1 << 20, 3), 1, 1000 + batches) == b"+OUTDATED\r\n"
        batches += 1
        released = one.holdings.given[2].released
        assert sum(slot_of(key) in released for key in KEYS) <= 3
        for key in moving:
            served = [machine.holdings.serves(slot_of(key)) for machine in (one, two)]
            assert served == [slot_of(key) > released[-1], slot_of(key) < released[0]]
        while (chunk := chunk_of(one, two) if two.holdings.arrivals else None) is not None:
            two.apply(arrive(chunk), 1, 1000)
        assert two.read(has_all(2, 1, released[-1]), 0) == b"1"
        assert two.read(has_all(2, 1, 16383), 0) == (b"1" if not one.holdings.given[2].waiting else b"0")
        one.apply(drop(2, 2, LAST, 1000), 1, 1000)
    assert batches == -(-len(moving) // 3)
    assert sorted(alive_keys(two.store, 0)) == sorted(moving)


def test_a_slot_that_is_larger_than_a_batch_goes_alone(pair: Pair) -> None:
    """One slot at least is released, however much it holds."""
    one, _, steps = pair
    take(one, steps[1])
    assert one.apply(release(2, 2, 1, 0), 1, 1000) == b"+OK\r\n"
    first = min(slot_of(key) for key in KEYS if steps[1].owner(slot_of(key)) == 2)
    assert one.holdings.given[2].released[-1] == first - 1
    one.apply(drop(2, 2, LAST, 1000), 1, 1000)
    assert one.apply(release(2, 2, 1, 0), 1, 1000) == b"+OK\r\n"
    assert one.holdings.given[2].released[0] == first


def test_every_batch_brings_the_sessions_that_were_used_since_the_one_before(pair: Pair) -> None:
    """A retry is recognized wherever its slot is by then (G16); who was not heard of since does not travel again."""
    one, two, steps = pair
    theirs = Sessions()
    one.use_sessions(theirs)
    for session in range(3):
        theirs.open(session, 500)
    one.store.time_ms = 1 << 40  # an older version brought the time of a group whose clock is ahead
    take(one, steps[1])
    take(two, steps[1])
    sent: list[list[int]] = []
    for batch in range(3):
        theirs.remember(batch, 7, failed=False, reply=b"", time_ms=1000 * batch + 900)
        one.apply(release(2, 2, 1 << 20, 4), 1, 1000 * batch + 1000)
        chunk = chunk_of(one, two)
        assert chunk is not None
        assert chunk.cursor.session == 0
        sent.append([session for session, _ in chunk.sessions])
        while chunk is not None:
            two.apply(arrive(chunk), 1, 1000)
            chunk = chunk_of(one, two)
        one.apply(drop(2, 2, LAST, 1000), 1, 1000)
    assert sent == [[0, 1, 2], [1], [2]]


def test_what_is_forgotten_travels_with_the_slots(pair: Pair) -> None:
    """Who made room at the giver is not opened at the taker, nor known by an older state of its own (G16)."""
    one, two, steps = pair
    theirs, ours = Sessions(count_max=3), Sessions()
    one.use_sessions(theirs)
    two.use_sessions(ours)
    for session in (11, 12):
        assert ours.open(session, 500, session)
    for session in (11, 10, 12, 13):
        assert theirs.open(session, 500, session)
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    carry(one, two)
    assert sorted(session for session, _ in ours.dump()) == [10, 12, 13], "11 may have gone further at the giver"
    assert [ours.open(session, 600, session) for session in (9, 11, 14)] == [False, False, True]


def test_what_is_forgotten_between_two_batches_is_forgotten_there_too(pair: Pair) -> None:
    """It was used since the batch before, so what the taker was told of it is not all (G16)."""
    one, two, steps = pair
    theirs, ours = Sessions(count_max=2), Sessions()
    one.use_sessions(theirs)
    two.use_sessions(ours)
    for session in (3, 4):
        theirs.open(session, 500, session)
    take(one, steps[1])
    take(two, steps[1])
    for batch in range(2):
        one.apply(release(2, 2, 1 << 20, 4), 1, 1000 * batch + 1000)
        while (chunk := chunk_of(one, two)) is not None:
            two.apply(arrive(chunk), 1, 1000)
        one.apply(drop(2, 2, LAST, 1000), 1, 1000)
        if not batch:
            assert ours.find(3) is not None
            theirs.remember(3, 8, failed=False, reply=b"", time_ms=1500)
            theirs.remember(4, 8, failed=False, reply=b"", time_ms=1600)
            theirs.open(5, 1700, 5)
    assert ours.find(3) is None
    assert not ours.open(3, 2500, 3)
    found = ours.find(4)
    assert found is not None
    assert found.sequence == 8


@pytest.mark.parametrize("through_snapshots", [False, True])
def test_a_session_that_comes_between_two_chunks_is_forgotten_too(pair: Pair, through_snapshots: bool) -> None:  # noqa: FBT001
    """Whom the giver has not told, and may have forgotten, is kept out before all is told; nobody else is (G16)."""
    one, two, steps = pair
    theirs, ours = Sessions(count_max=600), Sessions()
    one.use_sessions(theirs)
    two.use_sessions(ours)
    for session in (5, *range(1000, 1600)):
        assert theirs.open(session, 500, session)
    theirs.remember(1599, 3, failed=False, reply=b"three", time_ms=600)
    take(one, steps[1])
    let_go(one)
    take(two, steps[1])
    first = chunk_of(one, two)
    assert first is not None
    assert first.next.session is not None
    two.apply(arrive(first), 1, 1000)
    if through_snapshots:
        two = restored(two)
        two.use_sessions(ours)
    assert not ours.open(5, 1000, 5), "a retry of what was carried out at the giver"
    assert ours.open(6, 1000, 1600), "too young to have been forgotten there"
    assert ours.open(1599, 1000, 1599), "it is still to be told"
    carry(one, two)
    assert ours.find(5) is None
    assert ours.find(6) is not None
    found = ours.find(1599)
    assert found is not None
    assert found.sequence == 3


def test_one_giver_does_not_bring_back_what_another_has_forgotten() -> None:
    """Between two chunks of a group that went further and forgot comes what one knows that did not go as far (G16)."""
    steps = configurations(Join({1: NODES, 3: NODES}), Join({2: NODES}))
    forgetful, behind, taker = ShardMachine(1), ShardMachine(3), ShardMachine(2)
    tables = [Sessions(count_max=600), Sessions(), Sessions()]
    for machine, table in zip((forgetful, behind, taker), tables, strict=True):
        machine.use_sessions(table)
        take(machine, *steps)
    tables[1].open(5, 500, 5)
    tables[1].remember(5, 6, failed=False, reply=b"six", time_ms=500)
    tables[1].open(7, 500, 1600)
    for session in (5, *range(1000, 1600)):
        tables[0].open(session, 500, session)
    let_go(forgetful)
    let_go(behind)
    first = chunk_of(forgetful, taker)
    assert first is not None
    assert first.next.session is not None
    taker.apply(arrive(first), 1, 1000)
    carry(behind, taker)
    assert tables[2].find(5) is None, "slots of the one are served before the other has told all"
    assert tables[2].find(7) is not None
    carry(forgetful, taker)
    assert tables[2].find(5) is None
    assert not tables[2].open(5, 1000, 5)
    assert tables[2].find(7) is not None


def test_abandoned_slots_are_released_at_once() -> None:
    """What goes to nobody is not served any more, and nobody is waited for."""
    one = ShardMachine(1)
    take(one, *configurations(Join({1: NODES})))
    apply(one, b"SET", b"a", b"b")
    take(one, Configuration(2))
    with pytest.raises(NotServed):
        apply(one, b"SET", b"a", b"c")
    one.apply(drop(2, -1, LAST, 1000), 1, 1000)
    assert one.holdings.is_settled
    assert one.store.count == 0


def test_a_drop_that_comes_late_leaves_the_next_batch_alone(pair: Pair) -> None:
    """It was proposed again after a timeout, and stands in the log behind the next release: that batch is not there.

    Found by the simulator (511 on three nodes).
    """
    one, two, steps = pair
    take(one, steps[1])
    take(two, steps[1])
    one.apply(release(2, 2, 1 << 40, 1), 1, 1000)
    through = one.holdings.given[2].released[-1]
    one.apply(drop(2, 2, through, 1000), 1, 1000)
    one.apply(release(2, 2, 1 << 40, 1), 1, 1000)
    before = list(one.holdings.given[2].released)
    count = one.store.count
    assert one.apply(drop(2, 2, through, 1000), 1, 1000) == b"+OUTDATED\r\n"
    assert one.store.count == count
    assert one.holdings.given[2].released == before
