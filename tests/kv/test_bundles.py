"""Small writes of one turn share an entry of the log: what is put together, and who is told what."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kv.conftest import Conversation

from raftline.errors import ApplyError, NotServed, Timeout
from raftline.kv.bundles import BUNDLED, BUNDLED_BYTES_MAX, Bundles, decode_bundle
from raftline.kv.commands.lookup import WRITES
from raftline.kv.commands.table import COMMANDS
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.resp.replies import integer
from raftline.kv.service import Service
from raftline.kv.sharded.machine import ShardMachine, take_configuration
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.slots import slot_of
from raftline.shards.configuration import EMPTY, Join, changed

if TYPE_CHECKING:
    from tests.kv.conftest import FakeClock, HeldNode

    from raftline.kv.store import Store

    Encode = Callable[..., bytes]

_decode_replies = msgspec.msgpack.Decoder(list[bytes]).decode


class Turns:
    """Calls what wants to be called before the next turn when the test says so."""

    def __init__(self, node: "HeldNode", monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = node
        self.calls: list[Callable[[], None]] = []
        monkeypatch.setattr(node, "before_turn", self.calls.append)

    def take(self) -> list[bytes | None]:
        """Let a turn begin; return what the node has been asked by then."""
        calls, self.calls[:] = [*self.calls], []
        for call in calls:
            call()
        return [command for command, _ in self.node.waiting]


@pytest.fixture
def turns(held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Return the turns of the node."""
    return Turns(held_node, monkeypatch)


def words(command: bytes | None) -> list[bytes]:
    """Return the commands of an entry, words joined."""
    assert command is not None
    if command[:1] == b"\xc1":
        return [b" ".join(args) for args in decode_bundle(command)]
    return [b" ".join(msgspec.msgpack.decode(command))]


def test_what_comes_in_one_turn_is_one_entry(turns: Turns) -> None:
    """Each command has its own reply, in the order in which they came."""
    bundles = Bundles(turns.node)
    told: list[tuple[int, bytes | Exception]] = []

    def teller(number: int) -> Callable[[bytes | Exception], None]:
        return lambda reply: told.append((number, reply))

    for number in range(3):
        bundles.add(encode_command([b"INCRBY", b"k", b"%d" % number]), teller(number))
    assert turns.node.waiting == []
    (entry,) = turns.take()
    assert words(entry) == [b"INCRBY k 0", b"INCRBY k 1", b"INCRBY k 2"]
    turns.node.answer()
    assert told == [(0, b":0\r\n"), (1, b":1\r\n"), (2, b":3\r\n")]
    assert turns.take() == []


def test_a_command_alone_stands_as_it_is(turns: Turns) -> None:
    """Nothing is wrapped around it."""
    bundles = Bundles(turns.node)
    command = encode_command([b"SET", b"k", b"v"])
    bundles.add(command, lambda _: None)
    assert turns.take() == [command]


def test_no_entry_has_more_than_32_commands(turns: Turns) -> None:
    """What is full leaves at once; what comes afterwards waits for the turn."""
    bundles = Bundles(turns.node)
    told: list[bytes | Exception] = []
    for _ in range(70):
        bundles.add(encode_command([b"INCR", b"k"]), told.append)
    assert [len(words(command)) for command, _ in turns.node.waiting] == [32, 32]
    assert [len(words(command)) for command in turns.take()] == [32, 32, 6]
    turns.node.answer_all()
    assert told == [integer(number) for number in range(1, 71)]


def test_a_failure_is_told_to_all(turns: Turns) -> None:
    """Nobody waits for an outcome that nobody knows (G5)."""
    bundles = Bundles(turns.node)
    told: list[bytes | Exception] = []
    for _ in range(3):
        bundles.add(encode_command([b"INCR", b"k"]), told.append)
    turns.take()
    failure = Timeout("no outcome in time")
    turns.node.answer(failure)
    assert told == [failure] * 3


def test_a_refusal_of_the_entry_is_told_to_all(turns: Turns) -> None:
    """As by a replica that cannot read it."""
    bundles = Bundles(turns.node)
    told: list[bytes | Exception] = []
    for _ in range(2):
        bundles.add(b"\xc0", told.append)
    turns.take()
    turns.node.answer()
    assert told == [b"-ERR malformed command in the log\r\n"] * 2


def test_an_outcome_that_cannot_be_read_leaves_nobody_waiting(turns: Turns) -> None:
    """Everybody is told that something is wrong."""
    told: list[bytes | Exception] = []
    for outcome in (b"\x91\xc0", b"\x90", b"+OK\r\n"):
        bundles = Bundles(turns.node)
        for _ in range(2):
            bundles.add(encode_command([b"INCR", b"k"]), told.append)
        turns.take()
        ((_, done),) = turns.node.waiting
        turns.node.waiting.clear()
        done(outcome)
    assert [type(each) for each in told] == [ApplyError] * 6


def test_no_entry_is_long(turns: Turns) -> None:
    """It leaves when it has 64 KiB."""
    bundles = Bundles(turns.node)
    command = encode_command([b"SET", b"k", b"v" * 8000])
    for _ in range(20):
        bundles.add(command, lambda _: None)
    sizes = [len(command or b"") for command in turns.take()]
    assert len(sizes) == 3
    assert max(sizes) < (64 << 10) + len(command) + 8


def test_who_keeps_no_keys_takes_no_bundles() -> None:
    """The controller of a sharded cluster looks at each command by itself (G15)."""
    machine = MetaMachine()
    entry = b"\xc1\xdc\0\2" + encode_command([b"SET", b"k", b"v"]) * 2
    assert machine.apply(entry, 1, 1) == b"-ERR malformed command in the log\r\n"
    assert machine.store.count == 0


def test_each_command_of_an_entry_is_looked_at_by_itself(turns: Turns) -> None:
    """Those whose slot a group does not serve are refused and go elsewhere; the others are carried out (G15)."""
    here, there = b"{b}k", b"{a}k"
    machine = turns.node.machine = ShardMachine(1)
    configuration = changed(EMPTY, Join({1: ("n1",), 2: ("n1",)}))
    machine.apply(take_configuration(configuration), 1, 1)
    assert [machine.serves(slot_of(key)) for key in (here, there)] == [True, False]
    bundles = Bundles(turns.node)
    told: list[bytes | Exception] = []
    for words in ([b"SET", here, b"1"], [b"SET", there, b"2"], [b"MSET", here, b"3", there, b"4"], [b"INCR", here]):
        bundles.add(encode_command(words), told.append)
    assert len(turns.take()) == 1
    turns.node.answer()
    assert [told[0], told[3]] == [b"+OK\r\n", b":2\r\n"]
    assert [type(outcome) for outcome in told[1:3]] == [NotServed, NotServed]
    assert [machine.store.count, machine.faults] == [1, 0]


def test_memory_is_given_back_as_by_single_commands() -> None:
    """What was deleted is freed a little with each command, not with each entry."""
    machine = KvMachine()
    commands = []
    for number in range(600):
        key = b"s%d" % number
        commands += [
            encode_command([b"SADD", key, *(b"%d" % n for n in range(p * 300, p * 300 + 300))]) for p in range(4)
        ]
        commands.append(encode_command([b"DEL", key]))
    for start in range(0, len(commands), 32):
        part = commands[start : start + 32]
        machine.apply(b"\xc1\xdc\0" + bytes((len(part),)) + b"".join(part), start + 1, 1)
    garbage: Any = machine.store._garbage
    assert sum(len(part) for each in garbage if isinstance(each, list) for part in each) < 50_000


def test_faults_are_counted_where_operators_look(
    turns: Turns, machine: KvMachine, clock: "FakeClock", monkeypatch: pytest.MonkeyPatch
) -> None:
    """As commands whose execution raised."""
    service = Service(turns.node, machine, Limits(), clock, "127.0.0.1", 7001)
    before = service.measure().status.apply_errors
    monkeypatch.setattr(machine, "faults", 3)
    assert service.measure().status.apply_errors == before + 3


def test_not_before_every_member_knows_of_it(turns: Turns) -> None:
    """While the cluster is upgraded each command has an entry of its own; what was known once stays known."""
    bundles = Bundles(turns.node)
    commands = [encode_command([b"INCR", b"%d" % number]) for number in range(2)]

    def add() -> list[bytes | None]:
        for command in commands:
            bundles.add(command, lambda _: None)
        asked = turns.take()
        turns.node.answer()
        return asked

    turns.node.command_version = 2
    assert add() == commands
    turns.node.command_version = 3
    assert len(add()) == 1


def test_a_callback_that_raises_keeps_no_reply_from_others(turns: Turns) -> None:
    """The loop's handler hears of it."""
    heard: list[Any] = []

    def fail(_: object) -> None:
        raise RuntimeError("mine")

    async def scenario() -> list[bytes | Exception]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(str(context["exception"])))
        told: list[bytes | Exception] = []
        bundles = Bundles(turns.node)
        bundles.add(encode_command([b"INCR", b"k"]), fail)
        bundles.add(encode_command([b"INCR", b"k"]), told.append)
        turns.take()
        turns.node.answer()
        return told

    assert asyncio.run(scenario()) == [b":2\r\n"]
    assert heard == ["mine"]


def test_connections_share_an_entry(turns: Turns, machine: KvMachine, clock: "FakeClock", request_of: "Encode") -> None:
    """Writes of several clients, and the pipeline of one, are one entry; a read behind them waits for them."""
    service = Service(turns.node, machine, Limits(), clock, "127.0.0.1", 7001)
    first, second = Conversation(service, turns.node), Conversation(service, turns.node)
    assert first.send(request_of(b"SET", b"a", b"1") + request_of(b"INCR", b"a") + request_of(b"GET", b"a")) == b""
    assert second.send(request_of(b"HSET", b"h", b"f", b"v")) == b""
    (entry,) = turns.take()
    assert words(entry) == [b"SET a 1", b"INCR a", b"HSET h f v"]
    turns.node.answer()
    assert first.take() == b"+OK\r\n:2\r\n"
    assert second.take() == b":1\r\n"
    turns.node.answer()
    assert first.take() == b"$1\r\n2\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        (b"SET", b"k", b"v", b"GET"),
        (b"SET", b"k", b"v", b"nx", b"get"),
        (b"GETDEL", b"k"),
        (b"APPEND", b"k", b"v"),
        (b"INCRBYFLOAT", b"k", b"1"),
        (b"SADD", b"s", *(b"%d" % n for n in range(7))),
        (b"RAFTLINE.ONCE", b"7", b"1", b"SET", b"k", b"v"),
        (b"SET", b"k", b"v" * BUNDLED_BYTES_MAX),
    ],
)
def test_what_has_an_entry_of_its_own(
    turns: Turns, conversation: Conversation, request_of: "Encode", request_: tuple[bytes, ...]
) -> None:
    """Long replies, long work, sessions and long commands; what came before on the connection goes before."""
    conversation.send(request_of(b"INCR", b"k") + request_of(*request_) + request_of(b"INCR", b"k"))
    asked = [words(command) for command in turns.take()]
    assert [len(entry) for entry in asked] == [1, 1, 1]
    assert asked[0] == asked[2] == [b"INCR k"]
    assert turns.node.once[1][0] == (7 if request_[0] == b"RAFTLINE.ONCE" else None)


def test_options_of_set_that_share(turns: Turns, conversation: Conversation, request_of: "Encode") -> None:
    """A SET that returns nothing may share an entry, whatever its options."""
    conversation.send(request_of(b"SET", b"k", b"GET", b"EX", b"10") + request_of(b"set", b"l", b"v", b"NX"))
    (entry,) = turns.take()
    assert words(entry) == [b"SET k GET EX 10", b"SET l v NX"]


def test_a_transaction_goes_behind_what_came_before(
    turns: Turns, conversation: Conversation, request_of: "Encode"
) -> None:
    """EXEC is an entry of its own, in its place."""
    words_ = [(b"SET", b"k", b"1"), (b"MULTI",), (b"INCR", b"k"), (b"EXEC",), (b"INCR", b"k")]
    conversation.send(b"".join(request_of(*each) for each in words_))
    entries = turns.take()
    assert [entry is not None and b"EXEC" in entry for entry in entries] == [False, True, False]
    turns.node.answer_all()
    assert conversation.take() == b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n:3\r\n"


def test_the_commands_that_share_are_writes() -> None:
    """All are in the table, go through the log, and wait for nothing."""
    assert all(name.upper().encode() in COMMANDS and name.upper().encode() in WRITES for name in BUNDLED)
    assert not any("blocking" in COMMANDS[name.upper().encode()].flags for name in BUNDLED)


SOME = st.lists(
    st.sampled_from(
        [
            [b"SET", b"k", b"5"],
            [b"SET", b"k", b"5", b"EX", b"1"],
            [b"INCR", b"k"],
            [b"LPUSH", b"k", b"v"],
            [b"HSET", b"h", b"f", b"v"],
            [b"DEL", b"k", b"h"],
            [b"EXPIRE", b"k", b"0"],
            [b"ZADD", b"z", b"1", b"m"],
            [b"INCR", b"z"],
        ]
    ),
    min_size=2,
    max_size=32,
)


@settings(max_examples=150, deadline=None)
@given(SOME)
def test_a_bundle_comes_to_what_its_commands_come_to(requests: list[list[bytes]]) -> None:
    """One after the other, refusals included."""
    alone, together = KvMachine(), KvMachine()
    for machine in (alone, together):
        machine.use_version(3)
        machine.apply(encode_command([b"SET", b"gone", b"1", b"PX", b"1"]), 1, 1_000)
    expected = [alone.apply(encode_command(args), 2, 2_000) for args in requests]
    entry = b"\xc1\xdc\0" + bytes((len(requests),)) + b"".join(map(encode_command, requests))
    assert _decode_replies(together.apply(entry, 2, 2_000)) == expected
    assert list(together.snapshot()) == list(alone.snapshot())


BEFORE = st.sampled_from(
    [
        [b"SET", b"k", b"longer"],
        [b"SET", b"k", b"v", b"PX", b"100"],
        [b"SET", b"{k}", b"v", b"PX", b"1000000"],
        [b"RPUSH", b"l", *[b"%d" % number for number in range(2000)]],
        [b"SADD", b"l", b"m"],
        [b"DEL", b"l", b"k"],
        [b"FLUSHALL"],
    ]
)
SETS = st.lists(
    st.tuples(st.just(b"SET"), st.sampled_from([b"k", b"{k}", b"{}k", b"l", b"m"]), st.binary(max_size=9)), min_size=1
)


@settings(max_examples=150, deadline=None)
@given(st.lists(BEFORE, max_size=4), SETS, SETS, st.booleans(), st.booleans())
def test_plain_sets_come_to_the_same_in_one_go(
    before: list[list[bytes]],
    first: list[tuple[bytes, ...]],
    second: list[tuple[bytes, ...]],
    is_new: bool,  # noqa: FBT001
    is_frozen: bool,  # noqa: FBT001
) -> None:
    """Over strings and lists, keys with deadlines and none; a snapshot under way sees none of it."""
    alone, together = KvMachine(), KvMachine()
    for machine in (alone, together):
        for number, command in enumerate(before, 1):
            machine.apply(encode_command(command), number, 1_000)
        if not is_new:
            machine.use_version(3)  # all marks are forgotten then
    under_way = together.snapshot() if is_frozen else iter(())
    expected = list(together.snapshot()) if is_frozen else []
    for index, sets in ((10, first), (11, second)):
        for args in sets:
            assert alone.apply(encode_command(list(args)), index, 2_000) == b"+OK\r\n"
        entry = b"\xc1\xdc\0" + bytes((len(sets),)) + b"".join(encode_command(list(args)) for args in sets)
        assert _decode_replies(together.apply(entry, index, 2_000)) == [b"+OK\r\n"] * len(sets)
        assert (together.store.used_bytes, together.store.count) == (alone.store.used_bytes, alone.store.count)
    assert list(under_way) == expected
    assert list(together.snapshot()) == list(alone.snapshot())


def test_a_large_value_in_whose_place_a_string_comes_goes_little_by_little() -> None:
    """Freeing it at once would hold the loop."""
    machine = KvMachine()
    members = [b"%d" % number for number in range(100_000)]
    machine.apply(encode_command([b"RPUSH", b"l", *members]), 1, 1_000)
    sets = [[b"SET", b"l", b"v"], [b"SET", b"k", b"v"]]
    machine.apply(b"\xc1\xdc\0\2" + b"".join(map(encode_command, sets)), 2, 1_000)
    assert machine.store.has_garbage


def test_a_faulty_command_is_refused_and_the_others_are_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every replica, whatever the text of the exception is."""

    def faulty(_store: "Store", _args: list[bytes], _now_ms: int) -> bytes:
        raise RuntimeError(object())

    monkeypatch.setitem(WRITES, b"PERSIST", faulty)
    machine = KvMachine()
    monkeypatch.setitem(WRITES, b"EXPIRE", lambda *_: None)
    requests = [[b"INCR", b"k"], [b"PERSIST", b"k"], [b"NOSUCH"], [], [b"EXPIRE", b"k"], [b"INCR", b"k"]]
    entry = b"\xc1\xdc\0" + bytes((len(requests),)) + b"".join(map(encode_command, requests))
    fault = b"-ERR internal error: the nodes' logs say more\r\n"
    assert _decode_replies(machine.apply(entry, 1, 1)) == [b":1\r\n", *[fault] * 4, b":2\r\n"]
    assert machine.faults == 4


def test_what_goes_its_own_way_to_the_log_goes_after_what_came_before_it(
    turns: Turns, service: Service, request_of: "Encode"
) -> None:
    """CONFIG SET of what holds on every node is a task: a write before it in the pipeline is proposed first."""

    async def scenario() -> None:
        conversation = Conversation(service, turns.node)
        config_set = request_of(b"CONFIG", b"SET", b"notify-keyspace-events", b"KEA")
        conversation.send(request_of(b"SET", b"k", b"1") + config_set)
        await asyncio.sleep(0)
        asked = [words(command)[0].split()[0] for command in turns.take()]
        assert asked[0] == b"SET"
        assert len(asked) == 2
        turns.node.answer_all()

    asyncio.run(scenario())
