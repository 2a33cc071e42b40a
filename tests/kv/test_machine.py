"""The state machine: deterministic, never raising, with the log's time as its only clock."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.commands.keys import TICK_KEYS_MAX
from raftline.kv.machine import TICK_COMMAND, KvMachine, encode_command

keys = st.sampled_from([b"a", b"b", b"c", b"{t}d"])
amounts = st.sampled_from([b"1", b"300", b"5000", b"0", b"-7", b"x"])
commands = st.one_of(
    st.tuples(st.just(b"SET"), keys, st.binary(max_size=3)),
    st.tuples(st.just(b"SET"), keys, st.just(b"v"), st.just(b"PX"), amounts),
    st.tuples(st.just(b"SET"), keys, st.just(b"w"), st.sampled_from([b"NX", b"XX", b"KEEPTTL", b"GET"])),
    st.tuples(st.just(b"GETEX"), keys, st.just(b"PX"), amounts),
    st.tuples(st.just(b"PEXPIRE"), keys, amounts, st.sampled_from([b"NX", b"XX", b"GT", b"LT"])),
    st.tuples(st.just(b"PERSIST"), keys),
    st.tuples(st.just(b"INCRBY"), keys, amounts),
    st.tuples(st.just(b"APPEND"), keys, st.binary(max_size=3)),
    st.tuples(st.sampled_from([b"DEL", b"INCR", b"GETDEL"]), keys),
    st.tuples(st.just(b"RAFTLINE.TICK")),
    st.tuples(st.just(b"FLUSHALL")),
).map(lambda args: encode_command(list(args)))
logs = st.lists(st.tuples(commands, st.integers(0, 700)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(logs, st.integers(0, 60))
def test_replicas_agree_and_so_does_one_that_was_restored(log: list[tuple[bytes, int]], cut: int) -> None:
    """The same entries give the same replies and the same state, on a replica that started from a snapshot too (G1)."""
    first, second = KvMachine(), KvMachine()
    time_ms = 1000
    for index, (command, step_ms) in enumerate(log):
        if index == cut:
            second = KvMachine()
            second.restore_begin()
            for chunk in first.snapshot():
                second.restore_chunk(chunk)
            second.restore_end()
        time_ms += step_ms
        assert first.apply(command, index, time_ms) == second.apply(command, index, time_ms)
    assert list(first.snapshot()) == list(second.snapshot())
    assert first.store.used_bytes == second.store.used_bytes


@given(st.binary(max_size=40))
def test_no_entry_makes_it_raise(data: bytes) -> None:
    """Whatever stands in the log is answered, the same on every replica."""
    reply = KvMachine().apply(data, 1, 1)
    assert reply.startswith(b"-ERR")
    assert KvMachine().apply(data, 1, 1) == reply


@pytest.mark.parametrize("args", [[b"GET", b"k"], [b"NOSUCH"], [b"PING"], [b"set", b"k", b"v"]])
def test_only_writes_are_carried_out(args: list[bytes]) -> None:
    """Reads, unknown names and names in lower case were never proposed by this version, and change nothing."""
    machine = KvMachine()
    assert machine.apply(encode_command(args), 1, 1).startswith(b"-ERR unknown command")
    assert machine.store.count == 0


def test_time_never_goes_back() -> None:
    """A later entry with an earlier stamp does not bring an expired key back."""
    machine = KvMachine()
    machine.apply(encode_command([b"SET", b"k", b"v", b"PX", b"100"]), 1, 1000)
    machine.apply(TICK_COMMAND, 2, 1100)
    machine.apply(TICK_COMMAND, 3, 500)
    assert machine.store.time_ms == 1100
    assert machine.apply(encode_command([b"SET", b"k", b"w", b"XX"]), 4, 600) == b"_\r\n"


def test_expired_keys_leave_a_few_at_a_time() -> None:
    """An ordinary command removes up to 20 keys in passing, a tick up to a thousand, and lookups need neither."""
    machine = KvMachine()
    for number in range(3000):
        machine.apply(encode_command([b"SET", b"%d" % number, b"v", b"PX", b"1000"]), number + 1, 0)
    assert machine.store.count == 3000
    assert machine.apply(encode_command([b"DEL", b"nosuch"]), 3001, 5000) == b":0\r\n"
    assert machine.store.count == 2980
    assert machine.apply(TICK_COMMAND, 3002, 5000) == b":%d\r\n" % TICK_KEYS_MAX
    assert machine.store.count == 2980 - 20 - TICK_KEYS_MAX
    assert all(machine.store.get(b"%d" % number) is None for number in range(3000))


def test_queries_are_answered_by_the_logs_time() -> None:
    """`read` answers reads, refuses anything else, and never runs ahead of the log."""
    machine = KvMachine()
    machine.apply(encode_command([b"SET", b"k", b"v", b"PX", b"100"]), 1, 1000)
    query = encode_command([b"get", b"k"])
    assert machine.read(query, 999_999) == b"$1\r\nv\r\n"
    machine.apply(TICK_COMMAND, 2, 1100)
    assert machine.read(query, 0) == b"_\r\n"
    assert machine.read(encode_command([b"SCAN", b"x"]), 0).startswith(b"-ERR invalid cursor")
    for wrong in ([b"SET", b"k", b"v"], [b"GET"], [b"NOSUCH"], []):
        assert machine.read(encode_command(wrong), 0).startswith(b"-ERR")
    assert machine.read(b"\xc1", 0).startswith(b"-ERR")


def test_the_form_in_the_log_is_messagepack() -> None:
    """An entry can be read by anything that knows MessagePack."""
    assert msgspec.msgpack.decode(encode_command([b"SET", b"k", b"v"])) == [b"SET", b"k", b"v"]
