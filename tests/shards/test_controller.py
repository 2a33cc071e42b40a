"""The controller is a deterministic state machine that forgets nothing."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from raftline.shards.configuration import EMPTY, Change, Configuration, Join, Leave, Move, changed
from raftline.shards.controller import (
    LATEST,
    ControllerMachine,
    Decision,
    decode_configuration,
    decode_decision,
    encode_change,
    encode_query,
)

NODES = ("n1", "n2", "n3")


def decide(machine: ControllerMachine, change: Change) -> Decision:
    """Apply a change as if it were committed."""
    return decode_decision(machine.apply(encode_change(change), 1, 0))


def ask(machine: ControllerMachine, number: int = LATEST) -> Configuration:
    """Read a configuration."""
    return decode_configuration(machine.read(encode_query(number), 0))


def test_each_change_makes_the_next_number() -> None:
    """Every configuration stays readable by its number; later numbers give the newest."""
    machine = ControllerMachine()
    assert ask(machine) == EMPTY
    assert decide(machine, Join({1: NODES})) == Decision(1)
    assert decide(machine, Move(0, 5, 1)) == Decision(1, "nothing would change: configuration 1 is like that already")
    assert decide(machine, Join({2: NODES, 3: NODES})) == Decision(2)
    assert [ask(machine, number).group_ids for number in (0, 1, 2, 3, LATEST)] == [(), (1,), *[(1, 2, 3)] * 3]


def test_what_no_version_knows_changes_nothing() -> None:
    """Bytes that are no change are refused in words, the same on every replica."""
    machine = ControllerMachine()
    decision = decode_decision(machine.apply(msgspec.msgpack.encode(["Split", 5]), 1, 0))
    assert decision.number == 0
    assert "no change that this version knows" in decision.refusal
    with pytest.raises(ValueError, match="Expected"):
        machine.read(b"\xa1x", 0)


def test_a_snapshot_holds_every_configuration() -> None:
    """What a snapshot gives is what was there when it was begun, in several pieces if it is long (G14)."""
    machine = ControllerMachine()
    for group in range(1, 150):
        assert decide(machine, Join({group: NODES})).refusal == ""
    count = len(machine.history)
    taken = iter(machine.snapshot())
    chunks = [next(taken)]
    assert decide(machine, Leave((7,))).refusal == ""
    chunks += taken
    assert len(chunks) > 2
    assert max(map(len, chunks)) < 1 << 20
    restored = ControllerMachine()
    restored.restore_begin()
    for chunk in chunks:
        restored.restore_chunk(chunk)
    restored.restore_end()
    assert restored.history == machine.history[:count]
    assert decide(restored, Leave((7,))) == Decision(count)
    assert restored.history == machine.history


def test_replicas_in_any_process_decide_alike() -> None:
    """The bytes of the answers do not depend on how a process hashes (G17)."""
    program = (
        "import hashlib\n"
        "from tests.shards.test_controller import decided_bytes\n"
        "print(hashlib.sha256(decided_bytes()).hexdigest())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(told) == 1


def decided_bytes() -> bytes:
    """Return what a machine answers to some changes, and the configuration they lead to."""
    machine = ControllerMachine()
    changes: list[Change] = [Join({g: (f"n{g}", f"n{g + 1}")}) for g in (5, 3, 9, 1)]
    changes += [Leave((3, 9)), Join({3: NODES, 4: NODES})]
    answers = [machine.apply(encode_change(change), index, 0) for index, change in enumerate(changes, 1)]
    return b"".join([*answers, *machine.snapshot()])


def test_changed_is_what_the_controller_does() -> None:
    """A plan that is made from a configuration is what the controller makes of it."""
    machine = ControllerMachine()
    decide(machine, Join({1: NODES}))
    planned = changed(ask(machine), Join({2: NODES}))
    decide(machine, Join({2: NODES}))
    assert ask(machine) == planned
