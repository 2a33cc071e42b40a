"""Memory of many small containers goes as that of one large one does: no step of the event loop frees all of it."""

import sys
from collections.abc import Callable

import pytest
from tests.kv.sharded.test_large_values import TAG, groups, let_go

from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.sharded.machine import drop
from raftline.kv.slots import SLOT_COUNT

COUNT, MEMBERS = 700, 300
FREED_MAX = 35_000
"""Objects that one step may free; the containers here have six times as many members."""


def freed_by(step: Callable[[], object]) -> int:
    """Return how many objects are gone after a step."""
    before = sys.getallocatedblocks()
    step()
    return before - sys.getallocatedblocks()


def apply(machine: KvMachine, *words: bytes) -> bytes:
    """Carry out a command as if it were committed."""
    return machine.apply(encode_command(list(words)), 1, 1000)


def fill(machine: KvMachine) -> list[bytes]:
    """Fill some keys of one slot with a list or a set each; return them."""
    keys = [TAG + b"%d" % number for number in range(COUNT)]
    for number, key in enumerate(keys):
        members = [b"%d of %d" % (member, number) for member in range(MEMBERS)]
        apply(machine, (b"RPUSH", b"SADD")[number % 2], key, *members)
    return keys


def check_given_back(machine: KvMachine, step: Callable[[], object]) -> None:
    """Carry a step out and give back what it left, slice by slice, in the end all of it."""
    freed = [freed_by(step)]
    while machine.store.has_garbage:
        freed.append(freed_by(machine.store.release_garbage))
    assert max(freed) <= FREED_MAX
    assert sum(freed) > COUNT * MEMBERS


def test_slots_that_were_given_are_dropped_in_slices() -> None:
    """Thousands of lists and sets that another group has now are removed by one entry (G15)."""
    one, two = groups()
    fill(one)
    let_go(one, two)
    command = drop(2, 2, SLOT_COUNT - 1, 2000)
    check_given_back(one, lambda: one.apply(command, 1, 1000))
    assert one.store.count == 0


@pytest.mark.parametrize("removal", [b"DEL", b"MSET", b"FLUSHALL"])
def test_many_containers_go_in_slices(removal: bytes) -> None:
    """Whatever one command removes: those it names, or all of one slot."""
    machine = KvMachine()
    keys = fill(machine)
    words = {b"DEL": keys, b"MSET": [word for key in keys for word in (key, b"")], b"FLUSHALL": []}[removal]
    command = encode_command([removal, *words])
    check_given_back(machine, lambda: machine.apply(command, 2, 1000))


def test_what_a_snapshot_kept_goes_in_slices() -> None:
    """Containers that changed, and then went, while a snapshot was written are given back after it."""
    machine = KvMachine()
    keys = fill(machine)
    snapshot = machine.snapshot()
    for index, key in enumerate(keys):
        apply(machine, (b"LPOP", b"SPOP")[index % 2], key)
        apply(machine, b"DEL", key)
        while machine.store.has_garbage:
            machine.store.release_garbage()
    check_given_back(machine, lambda: list(snapshot))


def test_lists_that_transactions_replace_do_not_pile_up() -> None:
    """What one entry removes goes as fast as such entries can fill it again, or memory would grow without end."""
    machine = KvMachine()
    values = [b"%d" % number for number in range(1000)]
    commands: list[bytes] = []
    for number in range(60):
        key = b"%d" % number
        commands += [encode_command([b"DEL", key]), encode_command([b"RPUSH", key, *values])]
    transaction = encode_command([b"RAFTLINE.EXEC", b"\x90", *commands])
    blocks: list[int] = []
    for index in range(1, 9):
        machine.apply(transaction, index, 1000)
        blocks.append(sys.getallocatedblocks())
    assert blocks[-1] - blocks[2] < len(values) * 60


@pytest.mark.parametrize("times", [1, 2])
def test_what_came_after_a_snapshot_had_begun_does_not_wait_for_it(times: int) -> None:
    """No snapshot has it, and what comes and goes while a large one is written would take more than all that stays."""
    machine = KvMachine()
    snapshots = [machine.snapshot() for _ in range(times)]
    keys = fill(machine)
    before = sys.getallocatedblocks()
    apply(machine, b"DEL", *keys)
    while machine.store.has_garbage:
        machine.store.release_garbage()
    assert before - sys.getallocatedblocks() > COUNT * MEMBERS
    assert all(len(list(snapshot)) == 1 for snapshot in snapshots)


@pytest.mark.parametrize("filling", [b"RPUSH", b"ZADD", b"ZUNIONSTORE"])
@pytest.mark.parametrize("sharded", [False, True])
def test_large_values_that_are_replaced_do_not_pile_up(filling: bytes, sharded: bool) -> None:  # noqa: FBT001
    """Whoever makes one by one command, with many arguments or few, gives back as much of those before it."""
    machine = groups()[0] if sharded else KvMachine()
    source, key = TAG + b"source", TAG + b"key"
    members = [b"%d" % number for number in range(10_000)]
    scored = [word for member in members for word in (b"1.5", member)]
    apply(machine, b"ZADD", source, *scored)
    words = {b"RPUSH": (key, *members), b"ZADD": (key, *scored), b"ZUNIONSTORE": (key, b"1", source, b"WEIGHTS", b"3")}
    blocks: list[int] = []
    for _ in range(12):
        assert apply(machine, filling, *words[filling]) == b":10000\r\n"
        apply(machine, b"DEL", key)
        blocks.append(sys.getallocatedblocks())
    assert blocks[-1] - blocks[4] < 2 * len(members)
