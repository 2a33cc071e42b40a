"""Where mutants are run: each bench turns a seed into one deterministic run under our checks.

`cluster` is the full simulator as campaigns use it. The others torment what some mutants are about more than a random
plan does; `walk` is a cluster of bare cores, in which the seed chooses every single delivery and write. The code as it
is must pass them all.
"""

import time
from collections.abc import Callable
from functools import partial

import msgspec

from raftline.errors import RaftlineError
from raftline.sim.acts import Act
from raftline.sim.blame import place_of
from raftline.sim.level import LevelPlan, run_level_seed
from raftline.sim.log_walks import LogWalk
from raftline.sim.mutants.scenes import SCENES
from raftline.sim.nemesis import NemesisPlan
from raftline.sim.run import Outcome, Scenario, run_seed
from raftline.sim.scenario import Settings
from raftline.sim.sharded.benches import SHARDED
from raftline.sim.sharded.run import run_sharded_seed
from raftline.sim.walks import Walk, Weights
from raftline.sim.workload import WorkloadPlan

__all__ = ["BENCHES", "Bench"]

_WALK_STEPS = 1500
_LOG_STEPS = 150
_LEVEL_MINUTES = 6.0

_RARELY = WorkloadPlan(clients=3, keys=3, session_clients=0, once_clients=0, expiry_clients=0, lull_s=2.0)

Bench = Callable[[int], Outcome]

_SLOW_RESTORES = Scenario(
    size=3,
    safety_s=12.0,
    heal_s=8.0,
    plan=NemesisPlan(lag=150, kill_leader=2, down_s_max=1.0, cut_s_max=2.0, slow_read=0.8),
    workload=WorkloadPlan(clients=16, think_s_max=0.1, read_share=0.1),
    snapshot_entries=8,
    chunk_bytes=1 << 16,
)

_SCENARIOS: dict[str, Scenario] = {
    "cluster": Scenario(),
    # Elections that fail: the leader goes every few seconds, and votes are lost, doubled and late.
    "elections": Scenario(
        size=5,
        plan=NemesisPlan(
            kill_leader=6,
            isolate_leader=12,
            pause_leader=8,
            partition=6,
            one_way_cut=6,
            down_s_max=2.0,
            cut_s_max=2.0,
            pause_s_max=2.0,
            loss=0.2,
            duplicate=0.2,
            reorder=0.2,
            delay=0.2,
        ),
        workload=WorkloadPlan(clients=3),
    ),
    # A leader that is cut off goes on for a moment, and busy clients ask just then.
    "cut_off_leaders": Scenario(
        safety_s=15.0,
        plan=NemesisPlan(isolate_leader=25, pause_leader=10, cut_s_max=2.5, pause_s_max=2.5),
        workload=WorkloadPlan(clients=12, keys=3, think_s_max=0.1, timeout_s=2.0),
    ),
    # Programs and machines die all the time, half of them in the middle of a disk operation.
    "crashes": Scenario(
        plan=NemesisPlan(kill_program=6, kill_machine=15, kill_all=2, crash_at_point=40, down_s_max=1.0)
    ),
    # The log soon fills one file after the other, and what snapshots cover is let go all the time.
    "large_values": Scenario(
        safety_s=15.0,
        plan=NemesisPlan(lag=4, kill_program=15, kill_machine=15, crash_at_point=10, down_s_max=1.0, cut_s_max=2.0),
        workload=WorkloadPlan(think_s_max=0.2, read_share=0.1, value_bytes_max=20_000),
        snapshot_entries=20,
    ),
    # Disk operations fail, and machines lose power.
    "failing_disks": Scenario(
        plan=NemesisPlan(
            kill_program=6,
            kill_machine=15,
            crash_at_point=10,
            disk_error=30,
            full_disk=3,
            slow_sync=0.1,
            down_s_max=1.0,
        ),
    ),
    # What is read at start-up is often not what was written.
    "wrong_bits": Scenario(plan=NemesisPlan(read_flip=30, kill_program=6, kill_machine=6, down_s_max=1.0)),
    # A disk is lost while leaders come and go.
    "lost_disks": Scenario(
        plan=NemesisPlan(
            wipe=12,
            kill_leader=2,
            isolate_leader=3,
            partition=2,
            down_s_max=2.0,
            cut_s_max=2.0,
            slow_sync=0.05,
        ),
    ),
    # Followers fall behind until they need a snapshot, and those are late, repeated and interrupted.
    "late_snapshots": Scenario(
        plan=NemesisPlan(
            lag=15,
            late_snapshot=20,
            kill_leader=4,
            kill_machine=4,
            isolate_leader=4,
            down_s_max=2.0,
            cut_s_max=3.0,
            duplicate=0.1,
            reorder=0.1,
            delay=0.02,
        ),
        snapshot_entries=15,
        chunk_bytes=300,
    ),
    # A snapshot takes longer to reach a follower than the others take to write the next one, but not four of them:
    # beyond that the log waits for nobody.
    "long_snapshots": Scenario(
        size=3,
        safety_s=4.0,
        heal_s=8.0,
        plan=NemesisPlan(),
        acts=(Act(at_s=1.0, name="kill_machine", node="n3", for_s=2.0),),
        workload=WorkloadPlan(clients=6, keys=8, think_s_max=0.5, read_share=0.2, value_bytes_max=40_000),
        snapshot_entries=16,
        chunk_bytes=128,
    ),
    # What is read of a snapshot comes late: others follow before it is restored.
    "slow_restores": _SLOW_RESTORES,
    # The same, and leaders hand over.
    "slow_successors": msgspec.structs.replace(
        _SLOW_RESTORES,
        plan=NemesisPlan(lag=100, transfer=100, down_s_max=1.0, cut_s_max=2.0, slow_read=0.8),
    ),
    # Snapshots are taken all the time while clients write.
    "busy_snapshots": Scenario(
        safety_s=5.0,
        plan=NemesisPlan(lag=10, kill_program=10, kill_machine=10, down_s_max=1.0, cut_s_max=2.0),
        workload=WorkloadPlan(clients=16, think_s_max=0.05, read_share=0.1, keys=12),
        snapshot_entries=40,
    ),
    # Links break in one direction, and connections begin anew.
    "cut_links": Scenario(
        plan=NemesisPlan(one_way_cut=20, bridge=4, flap=4, reset=20, cut_s_max=4.0, loss=0.05, delay=0.02),
        workload=WorkloadPlan(clients=12, think_s_max=0.1),
    ),
    # Messages are held for seconds and arrive all the same, while leaders are cut off, some with a follower.
    "held_messages": Scenario(
        size=5,
        safety_s=15.0,
        plan=NemesisPlan(
            isolate_leader=15, partition=15, one_way_cut=10, pause_leader=5, cut_s_max=1.5, pause_s_max=1.0, delay=0.15
        ),
        workload=WorkloadPlan(clients=12, think_s_max=0.05, keys=3),
    ),
    # Keys expire while leaders, and their clocks, come and go.
    "expiry": Scenario(
        plan=NemesisPlan(
            kill_leader=8, isolate_leader=8, lag=6, clock_jump=6, down_s_max=1.0, cut_s_max=2.0, kill_machine=4
        ),
        workload=WorkloadPlan(clients=4, expiry_clients=8),
    ),
    # Locks change hands while leaders, and their clocks, come and go.
    "locks": Scenario(
        safety_s=20.0,
        plan=NemesisPlan(
            kill_leader=8, isolate_leader=8, lag=10, clock_jump=10, down_s_max=1.0, cut_s_max=2.0, kill_machine=6
        ),
        workload=WorkloadPlan(clients=2, expiry_clients=0, lock_clients=8),
        snapshot_entries=40,
    ),
    # All machines are replaced, some move, and nobody remembers the log for those who lag: only the disk does.
    "churn": Scenario(
        size=3,
        safety_s=10.0,
        plan=NemesisPlan(
            replace=30, move=20, transfer=5, stop_leader=5, isolate_leader=5, lag=10, down_s_max=1.0, cut_s_max=1.0
        ),
        snapshot_entries=150,
        settings=Settings(log_memory_bytes=0),
    ),
    # The log leaves memory at once, while disks are slow and leaders and followers come and go.
    "little_memory": Scenario(
        size=3,
        safety_s=10.0,
        plan=NemesisPlan(
            slow_disk=20, kill_program=10, isolate_leader=10, partition=10, down_s_max=1.0, cut_s_max=2.0, loss=0.02
        ),
        workload=WorkloadPlan(think_s_max=0.1, read_share=0.1),
        snapshot_entries=200,
        settings=Settings(log_memory_bytes=0, append_entries_max=5),
    ),
    # Programs are killed until each has come back with a newer state machine.
    "versions": Scenario(
        size=3,
        safety_s=20.0,
        plan=NemesisPlan(kill_program=25, kill_machine=10, isolate_leader=5, lag=5, down_s_max=1.0, cut_s_max=2.0),
        snapshot_entries=40,
        upgraded=True,
    ),
    # More sessions than there is room for, and replies that have to make room, while leaders come and go.
    "evictions": Scenario(
        safety_s=20.0,
        plan=NemesisPlan(
            kill_leader=6,
            isolate_leader=10,
            lag=4,
            kill_machine=4,
            down_s_max=1.5,
            cut_s_max=2.5,
            loss=0.1,
            delay=0.1,
            slow_sync=0.1,
        ),
        workload=WorkloadPlan(clients=2, once_clients=7, expiry_clients=0),
        settings=Settings(sessions_max=3, session_reply_bytes_max=10),
        snapshot_entries=25,
    ),
    # Transactions of many clients, while leaders change and followers come back from snapshots.
    "transactions": Scenario(
        size=3,
        safety_s=15.0,
        plan=NemesisPlan(
            kill_leader=6, isolate_leader=8, lag=10, kill_machine=6, down_s_max=1.5, cut_s_max=2.0, delay=0.02
        ),
        workload=WorkloadPlan(clients=2, expiry_clients=0, once_clients=0, transaction_clients=12),
        snapshot_entries=25,
    ),
    # Voters are removed and come back, and the leadership is handed over.
    "members": Scenario(
        safety_s=20.0,
        plan=NemesisPlan(
            remove=25,
            transfer=20,
            isolate_leader=5,
            kill_program=5,
            lag=4,
            slow_disk=4,
            down_s_max=1.5,
            cut_s_max=2.5,
            delay=0.02,
        ),
    ),
    # Reads on leases, by clocks that drift apart, while leaders are cut off and stop for a while.
    "leases": Scenario(
        safety_s=20.0,
        plan=NemesisPlan(
            isolate_leader=25,
            pause_leader=8,
            transfer=8,
            clock_drift=20,
            cut_s_max=2.0,
            pause_s_max=2.0,
            one_way_cut=6,
            delay=0.02,
        ),
        workload=WorkloadPlan(clients=12, keys=3, think_s_max=0.1, timeout_s=2.0),
        settings=Settings(lease_reads=True),
    ),
    # A group has time to fall asleep, again and again, and leaders come and go meanwhile.
    "sleepers": Scenario(
        safety_s=15.0,
        heal_s=8.0,
        plan=NemesisPlan(
            kill_leader=6,
            isolate_leader=6,
            pause_leader=4,
            kill_program=6,
            one_way_cut=6,
            partition=4,
            lag=4,
            transfer=4,
            down_s_max=2.0,
            cut_s_max=3.0,
            pause_s_max=2.0,
            loss=0.02,
            delay=0.02,
        ),
        workload=_RARELY,
        settings=Settings(quiesce_after_s=0.2),
    ),
    # Consumers wait for what producers push, and hang up, while leaders come and go and followers are restored.
    "queues": Scenario(
        safety_s=8.0,
        heal_s=8.0,
        plan=NemesisPlan(
            kill_leader=4, isolate_leader=6, lag=6, kill_program=4, down_s_max=1.0, cut_s_max=1.5, delay=0.02
        ),
        workload=WorkloadPlan(clients=2, once_clients=0, session_clients=0, expiry_clients=0, queue_clients=6),
        snapshot_entries=40,
    ),
    # Writes that take long, and fail, while leaders come and go.
    "slow_disks": Scenario(
        plan=NemesisPlan(
            kill_leader=6,
            isolate_leader=12,
            partition=6,
            down_s_max=2.0,
            cut_s_max=2.0,
            disk_error=10,
            delay=0.05,
            slow_sync=0.3,
        ),
    ),
}


def _simulate(scenario: Scenario) -> Bench:
    return lambda seed: run_seed(seed, scenario)


_LATE_WRITES = Weights(
    deliver=40,
    reorder=5,
    duplicate=1,
    drop=1,
    tick=10,
    time_out=3,
    propose=10,
    read=0,
    member=0,
    snapshot=0,
    snapshot_work=0,
    persist=2,
    slow_disk=5,
    hold=0,
    release=0,
    crash=0.1,
    restart=1,
    cut=2,
    heal=1,
    wipe=0,
)
"""Disks that finish long after the log has changed again."""


_SNAPSHOTS = Weights(
    deliver=40,
    reorder=5,
    duplicate=2,
    drop=5,
    tick=5,
    time_out=3,
    propose=15,
    read=0,
    member=0,
    snapshot=5,
    snapshot_work=10,
    persist=10,
    slow_disk=0.5,
    hold=0,
    release=0,
    crash=0.3,
    restart=2,
    cut=1,
    heal=0.3,
    wipe=0,
)
"""Logs that are cut short while others hold what the rest has let go."""

_READS = Weights(
    deliver=30,
    reorder=0,
    duplicate=0,
    drop=1,
    tick=3,
    time_out=4,
    propose=10,
    read=10,
    member=0,
    snapshot=0,
    snapshot_work=0,
    persist=10,
    slow_disk=0,
    hold=0,
    release=0,
    crash=0,
    restart=1,
    cut=1,
    heal=0.5,
    wipe=0,
)
"""Reads of whoever takes itself for leader, while others are elected and answers are late."""


_MEMBERS = Weights(
    deliver=40,
    reorder=2,
    duplicate=1,
    drop=2,
    tick=8,
    time_out=1,
    propose=5,
    read=3,
    member=3,
    snapshot=1,
    snapshot_work=5,
    persist=15,
    slow_disk=0.5,
    hold=0.5,
    release=3,
    crash=0.5,
    restart=2,
    cut=1,
    heal=0.6,
    wipe=0,
)
"""Changes of the membership, one after the other, while leaders come and go."""


def _watched(seed: int, play: Callable[[Outcome], None]) -> Outcome:
    """Return what came of something smaller than a run."""
    started = time.process_time()
    outcome = Outcome(seed=seed)
    try:
        play(outcome)
    except (RaftlineError, AssertionError) as error:
        outcome.error = str(error) or repr(error)
        outcome.check = type(error).__name__
        outcome.where = place_of(error)
    outcome.cpu_s = time.process_time() - started
    return outcome


def _walk(seed: int, weights: Weights | None = None, *, wipes: bool = False) -> Outcome:
    """Walk at random through single deliveries, writes and crashes of bare cores, then heal."""
    walk = Walk(seed, weights=weights, wipes=wipes)

    def play(outcome: Outcome) -> None:
        outcome.size = len(walk.cluster.nodes)
        try:
            walk.run(_WALK_STEPS)
            walk.heal()
        finally:
            outcome.virtual_s = walk.cluster.now

    return _watched(seed, play)


def _walk_log(seed: int) -> Outcome:
    """Walk at random through writes, snapshots, failures and crashes of one durable log."""

    def play(outcome: Outcome) -> None:
        walk = LogWalk(seed)
        try:
            walk.run(_LOG_STEPS)
        finally:
            outcome.virtual_s = walk.now

    return _watched(seed, play)


def _scene(name: str) -> Bench:
    """Play a scene; what little virtual time passes in it is not counted."""
    return lambda seed: _watched(seed, lambda _outcome: SCENES[name](seed))


def _level(seed: int) -> Outcome:
    """Look whether anything grows over six virtual minutes."""
    found = run_level_seed(seed, LevelPlan.of(_LEVEL_MINUTES))
    return Outcome(
        seed=seed,
        error=found.error,
        check=found.check,
        where=found.where,
        virtual_s=found.virtual_s,
        cpu_s=found.cpu_s,
    )


BENCHES: dict[str, Bench] = {
    **{name: _simulate(scenario) for name, scenario in _SCENARIOS.items()},
    **{name: partial(run_sharded_seed, scenario=scenario) for name, scenario in SHARDED.items()},
    "walk": _walk,
    "walk_late_writes": lambda seed: _walk(seed, _LATE_WRITES),
    "walk_snapshots": lambda seed: _walk(seed, _SNAPSHOTS),
    "walk_reads": lambda seed: _walk(seed, _READS),
    "walk_members": lambda seed: _walk(seed, _MEMBERS),
    "walk_lost_disks": lambda seed: _walk(seed, wipes=True),
    "log": _walk_log,
    "level": _level,
    **{name: _scene(name) for name in SCENES},
}
"""Name → seed → what came of it."""
