"""What a run of the sharded store looks like apart from its seed; what is left open is drawn from it."""

from random import Random
from typing import Any

import msgspec

from raftline.core.ids import GroupId
from raftline.sim.acts import NemesisPlan
from raftline.sim.loop import derive_seed
from raftline.sim.scenario import Settings

__all__ = ["FAST_SNAPSHOTS", "MINUTES_APART_S", "ShardChange", "ShardScenario", "resolve_sharded"]

_GROUPS_MIN, _GROUPS_MAX = 2, 4
_CALM = 0.35
"""The share of groups whose machines are left alone."""
_WATCHED = 0.1
"""The share of runs in which Raft's own promises are checked at every step, too."""
_OWN_MACHINES = 0.5
_THREE_NODES = 0.7
_WIPED, _WIPES = 0.3, 120.0
"""The share of runs in which disks are emptied, and how often it is tried: not if that could cost what is committed."""
_LOSES_DISKS = 0.3
_TOLD_AGAIN = 0.3
_CLOCKS_AGREE, _CLOCKS_NEAR = 0.65, 0.85
"""The share of runs whose clocks are right, and of those in which they are minutes apart at most."""
MINUTES_APART_S, _A_DAY_S = 600.0, 86_400.0
"""Nothing that clients of a run expect to be there for its time runs out by clocks so far apart."""
_THREE_REPLICAS, _TWO_REPLICAS = 0.75, 0.85
_FAST_SNAPSHOTS = 0.6
"""The share of runs whose snapshots take no time."""
FAST_SNAPSHOTS = 32 << 20
_NONE_REPLACED, _ONE_REPLACED = 0.75, 0.95
"""The share of runs whose machines all stay, and of those in which one is replaced at most."""
_JOURNEYS = 0.5
"""The share of runs in which groups that share nodes go away and come home."""
_SLEEPY = 0.4
"""The share of runs whose groups fall asleep when nothing happens."""
_TAGS_MAX = 10
_OFTEN = 9.0
"""Runs are short: what happens to machines happens so many times as often as in those of one group."""


class ShardChange(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator asks of the controller, and when; `chance` decides whom it hits among those who are there."""

    at_s: float
    kind: str
    """join, leave, move, rebalance, place (one node for another), away (none of them stays if others do) or home (where
    it was before)"""
    chance: float
    slots: int = 1
    """How many slots a move is about, from that of a key on."""
    replicas: int = 3
    """On how many nodes a group is to be that goes away."""


class ShardScenario(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run; what is -1 or None is drawn from the seed."""

    safety_s: float = 3.0
    heal_s: float = 25.0
    """Virtual seconds within which every configuration has to be reached once all is well."""
    nodes: int = -1
    """Machines that all groups share; 0: each group has machines of its own."""
    groups: int = -1
    joined: int = -1
    """Groups that join first."""
    plans: tuple[NemesisPlan, ...] | None = None
    """What is done to the controller's machines, and to those of each group."""
    wipes: float = -1.0
    """How often per minute it is tried to empty a disk: at most one of those that groups share, or of each group."""
    changes: tuple[ShardChange, ...] | None = None
    journeys: tuple[ShardChange, ...] | None = None
    """Changes of another operator, who has groups go to other nodes and come home, where groups share nodes."""
    cuts_per_s: float = -1.0
    """How often two groups are cut off from each other."""
    lost_between: float = -1.0
    """Of requests between groups and from clients."""
    snapshot_entries: int = -1
    chunk_bytes: int = -1
    snapshot_s: float = -1.0
    """How long a snapshot of usual size is on its way, and half as long is restored; 0: no time."""
    clients: int = -1
    visitors: int = -1
    """Clients that speak RESP with any node, where groups share nodes."""
    retriers: int = -1
    """Clients that speak RESP in a session and repeat commands through any node, where groups share nodes."""
    replicas: int = -1
    """On how many nodes a new group is, where groups share nodes."""
    replaced: int = -1
    """Machines that give way to new ones, one after the other, where groups share nodes."""
    told_again: float = -1.0
    """How often a change that was asked for is asked for again, by a request that was long on its way."""
    clocks_apart_s: float = -1.0
    """How wrong wall clocks are, either way."""
    loses_disks: bool | None = None
    """Whether most disks of a group are emptied at the end, where groups share nodes: it has no leader then."""
    sessions_max: int = 0
    """How many sessions a group has room for, where groups share nodes; 0: as many as ever."""
    tags: int = -1
    """Hash tags, each with a key of every kind."""
    settings: Settings | None = None
    is_watched: bool | None = None
    """Whether Raft's own promises are checked at every step, too, which takes twice as long."""
    records_max: int = -1
    """Most records in a chunk that moves, and most keys that are released or dropped at once."""
    bytes_per_second: int = -1
    """How much may arrive in a group: what is slow is interrupted."""
    piece_bytes: int = -1
    """Most bytes in a piece of a value."""
    value_bytes_max: int = -1

    def plan_of(self, group: GroupId) -> NemesisPlan:
        """Return what is done to a group's machines."""
        assert self.plans is not None, "resolved"
        return msgspec.structs.replace(self.plans[group], wipe=self.wipes)

    @property
    def snapshot_bytes_per_second(self) -> int:
        """Return how fast snapshots go."""
        usual = max(_SNAPSHOT_BYTES, self.chunk_bytes)
        return int(usual / self.snapshot_s) if self.snapshot_s > 0 else FAST_SNAPSHOTS


_WINDOW_BYTES = 300
"""A few entries: a group of one voter writes as fast as its disk, and who is to hold it instead has to catch up."""
_SNAPSHOT_BYTES = 20_000
"""What a snapshot may have: it has to arrive while the log waits for it, for a few times `snapshot_entries`."""


def resolve_sharded(seed: int, scenario: ShardScenario) -> ShardScenario:
    """Return the scenario with everything drawn that it leaves open."""

    def stream(name: str) -> Random:
        return Random(derive_seed(seed, f"sharded {name}"))  # noqa: S311  reproducible on purpose

    draw = stream("scenario").random
    groups = scenario.groups if scenario.groups > 0 else _GROUPS_MIN + int(draw() * (_GROUPS_MAX - _GROUPS_MIN + 1))
    draw = stream("sizes").random
    plans = stream("plans")
    drawn: dict[str, Any] = {
        "nodes": _draw_nodes(stream("nodes")),
        "groups": groups,
        "joined": 1 + int(draw() * 2),
        "plans": tuple(_draw_plan(plans, _CALM if group else _CALM / 2) for group in range(groups + 1)),
        "changes": _draw_changes(scenario.safety_s, stream("changes")),
        "journeys": _draw_journeys(scenario.safety_s, stream("journeys")),
        "cuts_per_s": 1.5 * draw() if draw() < 0.5 else 0.0,
        "lost_between": 0.1 * draw() if draw() < 0.5 else 0.0,
        "snapshot_entries": 1_000_000 if draw() < 0.3 else 6 + int(120 * draw() ** 2),
        "chunk_bytes": 64 + int(20_000 * draw() ** 3),
        "clients": 3 + int(draw() * 4),
        "visitors": int(stream("visitors").random() * 5),
        "retriers": int(stream("retriers").random() * 4),
        "wipes": _WIPES if stream("wipes").random() < _WIPED else 0.0,
        "snapshot_s": _draw_snapshot_s(stream("snapshots")),
        "replicas": _draw_replicas(stream("replicas")),
        "replaced": _draw_replaced(stream("replaced")),
        "told_again": 0.5 if stream("told again").random() < _TOLD_AGAIN else 0.0,
        "clocks_apart_s": _draw_clocks(stream("clocks")),
        "loses_disks": stream("lost disks").random() < _LOSES_DISKS,
        "tags": 3 + int(draw() * (_TAGS_MAX - 2)),
        "settings": _draw_settings(stream("settings")),
        "is_watched": draw() < _WATCHED,
        "records_max": (1, 2, 5, 20, 512)[int(draw() * 5)],
        "bytes_per_second": (2_000, 20_000, 64 << 20)[int(draw() * 3)],
        "piece_bytes": (24, 60, 300, 256 << 10)[int(draw() * 4)],
        "value_bytes_max": 40 if draw() < 0.8 else 4000,
    }
    drawn["chunk_bytes"] = max(drawn["chunk_bytes"], _SNAPSHOT_BYTES // drawn["snapshot_entries"])
    still_open = {name: value for name, value in drawn.items() if getattr(scenario, name) in (-1, None)}
    return msgspec.structs.replace(scenario, **still_open)


def _draw_nodes(random: Random) -> int:
    """Draw whether groups share machines, and how many."""
    chance = random.random()
    return 0 if chance < _OWN_MACHINES else 3 if chance < _THREE_NODES else 4 if random.random() < 0.5 else 5


def _draw_snapshot_s(random: Random) -> float:
    chance = random.random()
    return 0.0 if chance < _FAST_SNAPSHOTS else round(0.1 + 2.0 * random.random() ** 2, 3)


def _draw_clocks(random: Random) -> float:
    chance = random.random()
    return 0.0 if chance < _CLOCKS_AGREE else MINUTES_APART_S if chance < _CLOCKS_NEAR else _A_DAY_S


def _draw_replicas(random: Random) -> int:
    chance = random.random()
    return 3 if chance < _THREE_REPLICAS else 2 if chance < _TWO_REPLICAS else 1


def _draw_replaced(random: Random) -> int:
    chance = random.random()
    return 0 if chance < _NONE_REPLACED else 1 if chance < _ONE_REPLACED else 2


def _draw_settings(random: Random) -> Settings:
    drawn = Settings.draw(random)
    window = max(drawn.inflight_bytes_max, _WINDOW_BYTES)
    drawn = msgspec.structs.replace(drawn, lease_reads=False, pace=min(drawn.pace, 1.2), inflight_bytes_max=window)
    return drawn.with_sleep(random) if random.random() < _SLEEPY and drawn.pre_vote else drawn


def _draw_plan(random: Random, calm: float) -> NemesisPlan:
    """Draw what happens to one group: nothing, or a few kinds of trouble, all of it short."""
    drawn = NemesisPlan.draw(random)
    if random.random() < calm:
        return NemesisPlan()
    kept = {
        name: round(rate * _OFTEN, 4)
        for name, rate in msgspec.structs.asdict(drawn).items()
        if name in _ACTS and random.random() < 0.5
    }
    chances = {name: getattr(drawn, name) for name in _CHANCES if random.random() < 0.5}
    return NemesisPlan(**kept, **chances, down_s_max=1.2, pause_s_max=1.0, cut_s_max=1.2)


_ACTS = frozenset(
    (
        *("kill_program", "kill_machine", "kill_leader", "kill_all", "crash_at_point", "pause", "pause_leader"),
        *("partition", "isolate_leader", "one_way_cut", "bridge", "reset", "clock_jump", "clock_drift"),
        *("disk_error", "lag", "late_snapshot", "slow_disk", "pause_all", "crash_loop", "transfer"),
    )
)
_CHANCES = ("loss", "duplicate", "reorder", "delay", "slow_sync", "slow_read")


def _draw_changes(safety_s: float, random: Random) -> tuple[ShardChange, ...]:
    """Draw changes: some come while the one before is under way, some in bursts."""
    changes: list[ShardChange] = []
    pause_s = 0.08 + 0.56 * random.random()
    at_s = 0.4 + 0.3 * random.random()
    while at_s < safety_s:
        kind = ("join", "join", "leave", "move", "move", "move", "rebalance", "place")[int(random.random() * 8)]
        slots = 1 if random.random() < 0.7 else 1 + int(3000 * random.random() ** 3)
        changes.append(ShardChange(at_s=round(at_s, 3), kind=kind, chance=round(random.random(), 4), slots=slots))
        at_s += 0.02 if random.random() < 0.25 else 2 * pause_s * random.random()
    return tuple(changes)


def _draw_journeys(safety_s: float, random: Random) -> tuple[ShardChange, ...]:
    """Draw groups that go to other nodes and soon come home, to nodes that may still hold what they held before."""
    if random.random() >= _JOURNEYS:
        return ()
    changes: list[ShardChange] = []
    at_s = 0.5 + 0.4 * random.random()
    while at_s < safety_s:
        chance, replicas = round(random.random(), 4), 1 + int(3 * random.random())
        home_s = at_s + 0.1 + 1.8 * random.random()
        changes.append(ShardChange(at_s=round(at_s, 3), kind="away", chance=chance, replicas=replicas))
        changes.append(ShardChange(at_s=round(home_s, 3), kind="home", chance=chance))
        at_s = home_s + 0.6 * random.random()
    return tuple(changes)
