"""Random walks of a cluster of bare cores: each step is one delivery, loss, write, tick, crash or request.

All invariants hold after every step; afterwards everything heals and progress is demanded. `RAFTLINE_WALKS` sets how
many seeds are tried, `RAFTLINE_WALKS_FROM` the first one; a failure names its seed.
"""

import os

import pytest

from raftline.sim.mutants.benches import BENCHES
from raftline.sim.walks import Walk

WALKS = int(os.environ.get("RAFTLINE_WALKS", "60"))
FIRST = int(os.environ.get("RAFTLINE_WALKS_FROM", "0"))
STEPS = int(os.environ.get("RAFTLINE_WALK_STEPS", "1500"))

FOUND = (1094, 1154)
"""Seeds that found something: a change that left nobody who could lead, a refused first start that span."""


def _walk(seed: int, *, wipes: bool = False) -> Walk:
    walk = Walk(seed, wipes=wipes)
    try:
        walk.run(STEPS)
        walk.heal()
    except BaseException as error:
        error.add_note(
            f"seed {seed}, wipes {wipes}, size {len(walk.cluster.nodes)}\n{walk.weights}\n{walk.cluster.config}"
        )
        raise
    return walk


@pytest.mark.parametrize("part", range(4))
def test_raft_keeps_its_promises_whatever_happens(part: int) -> None:
    """Loss, repetition, reordering, crashes, slow disks, snapshots, memberships: safe always, live afterwards."""
    for seed in range(FIRST + part, FIRST + WALKS, 4):
        _walk(seed)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_mended(seed: int) -> None:
    """Seeds that once broke a promise keep it (§6, C14)."""
    _walk(seed)


def test_a_leader_that_is_to_leave_gets_a_command_to_go_by() -> None:
    """Where terms begin without an entry, a leader that is no voter any more commits its removal with the next one."""
    assert BENCHES["walk_members"](9100738).error is None


def test_a_lost_disk_loses_nothing_committed() -> None:
    """One disk at a time may vanish, as long as the others hold something: nothing committed is lost (C14)."""
    for seed in range(FIRST, FIRST + WALKS // 2):
        _walk(seed, wipes=True)
