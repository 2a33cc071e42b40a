"""What goes wrong and when: one Struct of named rates, and the list of acts that a seed makes of it.

Everything an act needs is drawn before the run, so a list of acts can be printed, kept as JSON, shortened and carried
out again. What it hits depends on the run only where it says so: the leader, or the next machine that is up.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, get_args

import msgspec

from raftline.core.ids import NodeId
from raftline.core.messages import Message
from raftline.sim.disk import CrashKind
from raftline.sim.faults import DiskFaults, Latency, LinkFaults

__all__ = ["ACTS", "RARE_POINTS", "Act", "NemesisPlan", "describe_act", "draw_acts"]

RARE_POINTS = (("segment tmp",), ("snapshot tmp",), ("rename",), ("remove",), ("directory",), ("lock",))
"""Parts of the names of persistence points that are passed seldom: a crash may wait for one of a kind."""

FREE_BYTES = 1000.0
"""What a full disk still takes."""

MESSAGE_KINDS = tuple(kind.__name__ for kind in get_args(Message))
"""Names of the messages that nodes send each other."""

SLOW_CLOCKS, FAST_CLOCKS = (0.05, 0.5), (2.0, 8.0)
"""Seconds per second of a clock that is badly wrong for a while."""


_REPLACED = 0.12
"""The share of runs in which all machines are replaced."""
_CHURNED = 0.25
"""The share of runs that have anything else of what operators do."""


class NemesisPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Mean number of each act per virtual minute, and the chances of mishaps that need no act."""

    kill_program: float = 0.0
    kill_machine: float = 0.0
    kill_leader: float = 0.0
    kill_all: float = 0.0
    crash_at_point: float = 0.0
    pause: float = 0.0
    pause_leader: float = 0.0
    partition: float = 0.0
    isolate_leader: float = 0.0
    one_way_cut: float = 0.0
    bridge: float = 0.0
    flap: float = 0.0
    reset: float = 0.0
    clock_jump: float = 0.0
    clock_drift: float = 0.0
    full_disk: float = 0.0
    disk_error: float = 0.0
    wipe: float = 0.0
    down_s_max: float = 5.0
    pause_s_max: float = 6.0
    cut_s_max: float = 8.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    slow_sync: float = 0.0
    slow_read: float = 0.0
    """Chance that a read of a snapshot takes as long as a slow fsync."""
    lag: float = 0.0
    """A follower is cut off until it needs a snapshot."""
    late_snapshot: float = 0.0
    """The messages of a snapshot that is on its way are held until roles have changed."""
    read_flip: float = 0.0
    """A machine crashes, and what it reads when it starts again has a wrong bit in it."""
    wrong_clock: float = 0.0
    """A machine's monotonic clock runs at a twentieth or at eight times its pace for a while."""
    lose_kind: float = 0.0
    """All messages of one kind from one machine are lost for a while."""
    late_candidate: float = 0.0
    """A candidate is cut off, time all but stops for it, and it comes back in a term that another one won."""
    slow_link: float = 0.0
    slow_disk: float = 0.0
    pause_all: float = 0.0
    """All machines stop, as those of one host do, and go on one after the other."""
    crash_loop: float = 0.0
    """A machine crashes again and again, each time soon after its start."""
    latency_s: float = 0.0
    """How long messages take typically; each direction of each link is up to twice as fast or slow."""
    transfer: float = 0.0
    """The leader is asked to hand over."""
    remove: float = 0.0
    """A voter is removed, perhaps the leader, and added again later."""
    replace: float = 0.0
    """All machines are replaced by new ones, one after the other."""
    move: float = 0.0
    """A machine starts again at another address."""
    priority: float = 0.0
    """A member is preferred as leader, or no longer."""
    stop_leader: float = 0.0
    """The leader is stopped as SIGTERM does, and started again."""
    rolling_restart: float = 0.0
    """All machines are stopped so, one after the other."""

    @staticmethod
    def draw(random: Random) -> "NemesisPlan":
        """Draw a plan: each kind of trouble is there or not, and more or less of it."""

        def some(most: float, chance: float = 0.5) -> float:
            present, amount = random.random() < chance, random.random()
            return round(most * amount, 4) if present else 0.0

        return NemesisPlan(
            kill_program=some(6),
            kill_machine=some(6),
            kill_leader=some(6),
            kill_all=some(1.5, 0.3),
            crash_at_point=some(8),
            pause=some(4),
            pause_leader=some(4, 0.4),
            partition=some(5),
            isolate_leader=some(4),
            one_way_cut=some(5, 0.4),
            bridge=some(2, 0.3),
            flap=some(2, 0.3),
            reset=some(10, 0.4),
            clock_jump=some(4, 0.4),
            clock_drift=some(4, 0.4),
            full_disk=some(1.5, 0.2),
            disk_error=some(1.5, 0.2),
            wipe=some(2.0, 0.3),
            loss=some(0.1, 0.4),
            duplicate=some(0.1, 0.4),
            reorder=some(0.2, 0.4),
            delay=some(0.02, 0.3),
            slow_sync=some(0.05, 0.3),
            lag=some(4, 0.4),
            late_snapshot=some(8, 0.4),
            read_flip=some(2, 0.2),
            wrong_clock=some(4, 0.3),
            lose_kind=some(5, 0.3),
            late_candidate=some(6, 0.3),
            slow_link=some(5, 0.3),
            slow_disk=some(4, 0.3),
            pause_all=some(1.5, 0.2),
            crash_loop=some(2, 0.2),
            latency_s=some(0.03, 0.3),
            transfer=some(8, 0.3),
            remove=some(6, 0.3),
        )

    def with_churn(self, duration_s: float, random: Random) -> "NemesisPlan":
        """Draw what operators do; a replacement takes long, so a run of `duration_s` begins early if it has one."""
        chance, amount = random.random(), random.random()

        def some(most: float) -> float:
            present, share = random.random() < _CHURNED, random.random()
            return round(most * share, 4) if present else 0.0

        return msgspec.structs.replace(
            self,
            replace=round(120.0 / (duration_s * (0.2 + 0.6 * amount)), 3) if chance < _REPLACED else 0.0,
            move=some(40),
            priority=some(30),
            stop_leader=some(20),
            rolling_restart=some(20),
        )

    def link_faults(self) -> LinkFaults:
        """Return what happens to messages during the safety phase."""
        return LinkFaults(
            loss=self.loss,
            duplicate=self.duplicate,
            reorder=self.reorder,
            delay=self.delay,
            delay_latency=Latency(0.1, 0.6, 5.0),
        )

    def disk_faults(self) -> DiskFaults:
        """Return how disks behave during the safety phase."""
        return DiskFaults(slow_sync=self.slow_sync, slow_read=self.slow_read, slow_sync_latency=Latency(0.02, 0.1, 1.5))


class Act(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that the nemesis does: when, what (a name of `ACTS`), and to whom; it uses what `ACTS` says of it."""

    at_s: float
    """Virtual seconds since the run began."""
    name: str
    node: NodeId = ""
    """The machine that is hit; one that is down or paused stands for the next in line that is not."""
    other: NodeId = ""
    side: tuple[NodeId, ...] = ()
    """The nodes on one side of a cut."""
    for_s: float = 0.0
    """How long it lasts: down, paused, cut."""
    each_s: tuple[float, ...] = ()
    """How long each machine is down, in the order of the machines."""
    kind: CrashKind = CrashKind.PROGRAM
    hold: bool = False
    """Whether a cut keeps messages back instead of losing them."""
    points: tuple[str, ...] = ()
    """Parts of the names of persistence points that count, none: all do; or the kind of message that is lost."""
    after: int = 0
    """How many of those points are passed before the one that counts; how many crashes more."""
    amount: float = 0.0
    """Milliseconds of a jump, rate of a clock, seconds before a snapshot is held, of a latency, until a crash."""


Draw = Callable[["_Chance"], dict[str, Any]]


class _Chance:
    """Draws what acts need; every draw is uniform and exact, so that all machines and Pythons agree."""

    def __init__(self, plan: NemesisPlan, names: Sequence[NodeId], random: Random) -> None:
        self.plan = plan
        self.names = names
        self.random = random

    def below(self, stop: float) -> float:
        """Return seconds in [0, stop), to the microsecond."""
        return round(stop * self.random.random(), 6)

    def node(self) -> NodeId:
        return self.names[int(self.random.random() * len(self.names))]

    def pair(self) -> dict[str, Any]:
        first = self.node()
        others = [name for name in self.names if name != first] or [first]
        return {"node": first, "other": others[int(self.random.random() * len(others))]}

    def shuffled(self) -> list[NodeId]:
        waiting = list(self.names)
        return [waiting.pop(int(self.random.random() * len(waiting))) for _ in range(len(waiting))]

    def kind(self) -> CrashKind:
        return CrashKind.MACHINE if self.random.random() < 0.5 else CrashKind.PROGRAM

    def hold(self) -> bool:
        return self.random.random() < 0.3

    def down_s(self) -> float:
        return self.below(self.plan.down_s_max)

    def cut_s(self) -> float:
        return self.below(self.plan.cut_s_max)


def _crash_at_point(chance: _Chance) -> dict[str, Any]:
    """Most points are writes and fsyncs of the log: now and then one of the rare ones is waited for."""
    drawn = {"node": chance.node(), "kind": chance.kind(), "for_s": chance.down_s()}
    if chance.random.random() < 0.5:
        points = RARE_POINTS[int(chance.random.random() * len(RARE_POINTS))]
        return {**drawn, "points": points, "after": int(chance.random.random() * 3)}
    return {**drawn, "after": int(chance.random.random() * 60)}


def _partition(chance: _Chance) -> dict[str, Any]:
    shuffled = chance.shuffled()
    minority = sorted(shuffled[len(shuffled) // 2 + 1 :])
    return {"side": tuple(minority), "hold": chance.hold(), "for_s": chance.cut_s()}


def _bridge(chance: _Chance) -> dict[str, Any]:
    shuffled = chance.shuffled()
    half = len(shuffled) // 2
    return {"node": shuffled[0], "side": tuple(sorted(shuffled[1 : half + 1])), "for_s": chance.cut_s()}


def _disk_error(chance: _Chance) -> dict[str, Any]:
    """Let an operation fail before it does anything, or a write after a part of it, or an fsync with who knows what."""
    kind = ("", "write", "sync")[int(chance.random.random() * 3)]
    return {"node": chance.node(), "points": (kind,) if kind else ()}


def _full_disk(chance: _Chance) -> dict[str, Any]:
    """Half of the disks are emptied before their node starts again."""
    stays = chance.random.random() < 0.5
    return {"node": chance.node(), "amount": FREE_BYTES, "for_s": chance.down_s() if stays else 0.0}


def _wrong_clock(chance: _Chance) -> dict[str, Any]:
    low, high = SLOW_CLOCKS if chance.random.random() < 0.7 else FAST_CLOCKS
    rate = round(chance.random.uniform(low, high), 6)
    return {"node": chance.node(), "amount": rate, "for_s": chance.below(chance.plan.pause_s_max)}


def _lose_kind(chance: _Chance) -> dict[str, Any]:
    kind = MESSAGE_KINDS[int(chance.random.random() * len(MESSAGE_KINDS))]
    return {"node": chance.node(), "points": (kind,), "for_s": chance.cut_s()}


def _crash_loop(chance: _Chance) -> dict[str, Any]:
    """Most crashes come while the node starts: what it does first takes milliseconds."""
    up_s = round(0.5 * chance.random.random() ** 4, 6)
    return {"node": chance.node(), "kind": chance.kind(), "after": 1 + int(chance.random.random() * 5), "amount": up_s}


def _late_snapshot(chance: _Chance) -> dict[str, Any]:
    end = "source" if chance.random.random() < 0.5 else "target"
    return {"node": end, "amount": chance.below(0.02), "for_s": round(0.4 + chance.below(1.2), 6)}


ACTS: dict[str, Draw] = {
    "kill_program": lambda chance: {"node": chance.node(), "for_s": chance.down_s()},
    "kill_machine": lambda chance: {"node": chance.node(), "for_s": chance.down_s(), "kind": CrashKind.MACHINE},
    "kill_leader": lambda chance: {"kind": chance.kind(), "for_s": chance.down_s()},
    "kill_all": lambda chance: {"kind": chance.kind(), "each_s": tuple(chance.down_s() for _ in chance.names)},
    "crash_at_point": _crash_at_point,
    "pause": lambda chance: {"node": chance.node(), "for_s": chance.below(chance.plan.pause_s_max)},
    "pause_leader": lambda chance: {"for_s": chance.below(chance.plan.pause_s_max)},
    "partition": _partition,
    "isolate_leader": lambda chance: {"hold": chance.hold(), "for_s": chance.cut_s()},
    "one_way_cut": lambda chance: {**chance.pair(), "hold": chance.hold(), "for_s": chance.cut_s()},
    "bridge": _bridge,
    "flap": lambda chance: {**chance.pair(), "for_s": chance.cut_s()},
    "reset": lambda chance: chance.pair(),
    "clock_jump": lambda chance: {"node": chance.node(), "amount": round(chance.random.uniform(-5000.0, 5000.0), 3)},
    "clock_drift": lambda chance: {"node": chance.node(), "amount": round(chance.random.uniform(0.9, 1.1), 6)},
    "full_disk": _full_disk,
    "disk_error": _disk_error,
    "wipe": lambda chance: {"node": chance.node()},
    "lag": lambda chance: {"node": chance.node(), "for_s": 3 * chance.plan.cut_s_max},
    "late_snapshot": _late_snapshot,
    "read_flip": lambda chance: {"node": chance.node(), "kind": chance.kind(), "for_s": chance.down_s()},
    "wrong_clock": _wrong_clock,
    "lose_kind": _lose_kind,
    "late_candidate": lambda chance: {"for_s": chance.cut_s()},
    "slow_link": lambda chance: {**chance.pair(), "amount": chance.below(0.4), "for_s": chance.cut_s()},
    "slow_disk": lambda chance: {"node": chance.node(), "amount": chance.below(1.0), "for_s": chance.cut_s()},
    "pause_all": lambda chance: {"each_s": tuple(chance.below(chance.plan.pause_s_max) for _ in chance.names)},
    "crash_loop": _crash_loop,
    "transfer": lambda chance: {"node": chance.node()},
    "remove": lambda chance: {"node": chance.node(), "for_s": chance.cut_s()},
    "replace": lambda chance: {"node": chance.node(), "amount": chance.below(0.3), "for_s": chance.below(0.5)},
    "move": lambda chance: {"node": chance.node(), "for_s": chance.below(1.0)},
    "priority": lambda chance: {"node": chance.node(), "amount": float(int(chance.random.random() * 3))},
    "stop_leader": lambda chance: {"for_s": chance.down_s()},
    "rolling_restart": lambda chance: {
        "node": chance.node(),
        "amount": 0.2 + chance.below(0.6),
        "for_s": chance.below(0.2),
    },
}
"""Every act, and what is drawn for it; the names are those of the plan's rates."""


def draw_acts(plan: NemesisPlan, names: Sequence[NodeId], duration_s: float, random: Random) -> tuple[Act, ...]:
    """Draw all acts of a run in order of time: each kind by itself, at gaps uniform in [0, 2 minutes / rate)."""
    chance = _Chance(plan, names, random)
    acts: list[Act] = []
    for name, draw in ACTS.items():
        per_minute = getattr(plan, name)
        if per_minute <= 0:
            continue
        at_s = 120.0 / per_minute * random.random()
        while at_s < duration_s:
            acts.append(Act(at_s=round(at_s, 6), name=name, **draw(chance)))
            at_s += 120.0 / per_minute * random.random()
    return tuple(sorted(acts, key=lambda act: act.at_s))


def describe_act(act: Act) -> str:
    """Return one line for people: `12.034 s  kill_machine n2, down for 3.2 s`."""
    words = [act.name, *([act.node] if act.node else []), *([f"to {act.other}"] if act.other else [])]
    fields = [" ".join(words)]
    if act.side:
        fields.append(f"{' '.join(act.side)} on one side")
    if act.name in ("kill_leader", "kill_all", "crash_at_point", "read_flip"):
        fields.append(f"the {act.kind.value} stops")
    if act.name == "crash_at_point":
        fields.append(f"at a point of {act.points[0]!r}" if act.points else "at any point")
        fields.append(f"after {act.after} of them")
    elif act.points:
        fields.append(f"each {act.points[0]}")
    if act.name == "crash_loop":
        fields.append(f"the {act.kind.value} stops {act.after} times more")
    if act.amount:
        fields.append(f"{act.amount:g} {_UNITS[act.name]}")
    if act.hold:
        fields.append("messages wait")
    if act.for_s:
        fields.append(f"for {act.for_s:.3f} s")
    if act.each_s:
        fields.append("for " + ", ".join(f"{each_s:.3f}" for each_s in act.each_s) + " s")
    return f"{act.at_s:10.6f} s  {', '.join(fields)}"


_UNITS = {
    "clock_jump": "ms",
    "clock_drift": "s per s",
    "full_disk": "bytes are left",
    "late_snapshot": "s after it set out",
    "wrong_clock": "s per s",
    "slow_link": "s on the way",
    "slow_disk": "s for an fsync",
    "crash_loop": "s after each start",
    "replace": "s between two steps",
    "priority": "is its priority",
    "rolling_restart": "s between two of them",
}
