"""Runs of the sharded store that torment one thing more than a drawn run does: where mutants of sharding are run."""

from typing import Any

import msgspec

from raftline.sim.acts import NemesisPlan
from raftline.sim.sharded.scenario import ShardChange, ShardScenario

__all__ = ["SHARDED"]

_LEADERS = NemesisPlan(
    kill_leader=20,
    pause_leader=25,
    isolate_leader=25,
    transfer=25,
    down_s_max=0.5,
    pause_s_max=0.8,
    cut_s_max=0.8,
    loss=0.05,
    delay=0.05,
)
_RESTARTS = NemesisPlan(kill_program=50, kill_all=8, lag=15, late_snapshot=20, down_s_max=0.6, cut_s_max=0.8, loss=0.05)
_LOSSES = NemesisPlan(isolate_leader=8, down_s_max=0.4, cut_s_max=0.5, loss=0.05)

_BACK_AND_FORTH = tuple(
    ShardChange(at_s=at_s, kind=kind, chance=chance)
    for at_s, kind, chance in ((1.5, "leave", 0.0), (3.0, "join", 0.0), (4.5, "leave", 0.9), (6.0, "join", 0.0))
)

_TO_AND_FRO = tuple(
    ShardChange(at_s=round(1.0 + 0.15 * number, 2), kind="move", chance=0.5 * (number % 2), slots=1)
    for number in range(52)
)

_CRASHES = NemesisPlan(kill_program=20, kill_all=15, lag=10, down_s_max=0.5, cut_s_max=0.8, loss=0.02)

_SWEEPS = tuple(
    ShardChange(at_s=round(1.0 + 0.4 * number, 2), kind="move", chance=0.5 * (number % 2), slots=4000)
    for number in range(12)
)

_THERE_AND_BACK = tuple(
    ShardChange(at_s=at_s, kind=kind, chance=chance, replicas=1)
    for at_s, kind, chance in (
        *((1.2, "away", 0.0), (2.1, "home", 0.0), (3.0, "away", 0.9), (3.9, "home", 0.0)),
        *((4.8, "away", 0.0), (5.7, "home", 0.0), (6.6, "away", 0.9), (7.5, "home", 0.0)),
    )
)

_COME_AND_GO = tuple(
    ShardChange(at_s=round(1.0 + 0.3 * number, 2), kind=kind, chance=0.17 * (number % 6))
    for number, kind in enumerate(("move", "place", "leave", "join", "place", "move", "move", "leave", "join", "place"))
)

_PLAIN = ShardScenario(
    journeys=(), wipes=0.0, snapshot_s=0.0, replicas=3, replaced=0, loses_disks=False, clocks_apart_s=0.0
)
"""All that is drawn for a few runs only is left out."""


def _plain(**fields: Any) -> ShardScenario:
    return msgspec.structs.replace(_PLAIN, **fields)


SHARDED: dict[str, ShardScenario] = {
    "sharded": ShardScenario(),
    # Leaders change while slots move, and old ones go on for a moment.
    "sharded_movers": _plain(
        groups=2,
        joined=2,
        plans=(NemesisPlan(), _LEADERS, _LEADERS),
        safety_s=9.0,
        lost_between=0.1,
        changes=_BACK_AND_FORTH,
        clients=8,
        tags=8,
        records_max=1,
        piece_bytes=24,
        bytes_per_second=3_000,
    ),
    # Groups share nodes whose links are bad, and slots go in batches of one key.
    "sharded_nodes": _plain(
        nodes=3,
        joined=2,
        plans=(_LEADERS,) * 5,
        safety_s=5.0,
        clients=4,
        visitors=4,
        tags=8,
        records_max=1,
        piece_bytes=24,
    ),
    # Answers are lost, so that clients repeat commands, while slots move all the time.
    "sharded_retries": _plain(
        groups=2,
        joined=2,
        plans=(NemesisPlan(), _LOSSES, _LOSSES),
        safety_s=9.0,
        lost_between=0.1,
        changes=_BACK_AND_FORTH,
        clients=8,
        tags=8,
        records_max=1,
        bytes_per_second=800,
    ),
    # Groups have room for few sessions, and commands are repeated through other nodes.
    "sharded_forgetting": _plain(
        nodes=3,
        groups=2,
        joined=2,
        plans=(NemesisPlan(), _LOSSES, _LOSSES),
        safety_s=9.0,
        changes=_TO_AND_FRO,
        clients=0,
        visitors=0,
        retriers=6,
        sessions_max=3,
        tags=4,
    ),
    # Four nodes, three of which hold each group; groups come, go and are placed elsewhere; clients ask any node.
    "sharded_servers": _plain(
        nodes=4,
        groups=4,
        joined=2,
        plans=(_LEADERS,) * 5,
        changes=_COME_AND_GO,
        clients=1,
        visitors=6,
        retriers=4,
        tags=6,
        snapshot_entries=6,
    ),
    # Snapshots after every few entries, and machines that begin with them.
    "sharded_snapshots": _plain(
        groups=2,
        joined=1,
        plans=(_RESTARTS, _RESTARTS, _RESTARTS),
        safety_s=5.0,
        snapshot_entries=8,
        clients=5,
        tags=8,
        records_max=1,
        piece_bytes=24,
    ),
    # Groups go to other nodes and come home, where they meet what they left, and snapshots are long on their way.
    "sharded_travellers": ShardScenario(
        nodes=4,
        groups=2,
        joined=2,
        plans=(_CRASHES,) * 3,
        safety_s=8.0,
        changes=_SWEEPS,
        journeys=_THERE_AND_BACK,
        snapshot_entries=6,
        snapshot_s=1.0,
        value_bytes_max=4000,
        wipes=0.0,
        replaced=0,
        loses_disks=False,
        clocks_apart_s=0.0,
        told_again=0.0,
        clients=4,
        tags=6,
    ),
    # Groups of few replicas, most of whose disks are emptied at the end.
    "sharded_lost_disks": ShardScenario(
        nodes=3,
        groups=2,
        joined=2,
        plans=(NemesisPlan(),) * 3,
        safety_s=1.0,
        changes=(),
        journeys=(),
        wipes=0.0,
        replicas=1,
        replaced=0,
        loses_disks=True,
        clocks_apart_s=0.0,
        told_again=0.0,
        clients=2,
        tags=3,
    ),
}
"""Name → scenario; the code as it is must pass them all."""
