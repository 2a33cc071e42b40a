"""What goes wrong and when: one Struct of named rates, drawn from the seed and printed; then everything heals.

A run has a safety phase, in which the nemesis acts at random moments, and a liveness phase, in which all is well and
progress is demanded. A run that never crashed, cut or paused anything proves nothing, so what was done is counted.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from raftline.core.messages import SnapshotReply, SnapshotRequest
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.faults import DiskFaults, Latency, LinkFaults
from raftline.sim.loop import SimLoop

__all__ = ["RARE_POINTS", "Nemesis", "NemesisPlan"]

RARE_POINTS = (("segment tmp",), ("snapshot tmp",), ("rename",), ("remove",), ("directory",), ("lock",))
"""Parts of the names of persistence points that are passed seldom: a crash may wait for one of a kind."""


def _is_one_of(point: str, kinds: tuple[str, ...]) -> bool:
    return not kinds or any(kind in point for kind in kinds)


class NemesisPlan(msgspec.Struct, frozen=True, kw_only=True):
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
    lag: float = 0.0
    """A follower is cut off until it needs a snapshot."""
    late_snapshot: float = 0.0
    """The messages of a snapshot that is on its way are held until roles have changed."""
    read_flip: float = 0.0
    """A machine crashes, and what it reads when it starts again has a wrong bit in it."""

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
        return DiskFaults(slow_sync=self.slow_sync, slow_sync_latency=Latency(0.02, 0.1, 1.5))


class Nemesis:
    """Carries out a plan on a cluster.

    Invariants: at most a minority is wiped in a run, and never a machine whose data a quorum needs; whatever is down
    comes back; nothing happens any more after `heal`.
    """

    def __init__(self, cluster: SimCluster, plan: NemesisPlan, random: Random) -> None:
        self.cluster = cluster
        self.plan = plan
        self.random = random
        self.counts: Counter[str] = Counter()
        self._world: SimLoop = cluster.world
        self._healed = False
        self._armed: dict[str, int] = {}
        self._armed_at: dict[str, tuple[str, ...]] = {}
        self._late_snapshots = 0
        self._wiped = 0
        cluster.on_message_sent = self._on_message_sent
        cluster.on_down = self._restart_later
        for member in cluster.members.values():
            member.disk.on_point = self._point_hook(member)

    def start(self) -> None:
        """Begin to torment: every act has a clock of its own."""
        self.cluster.network.set_faults(self.plan.link_faults())
        for name, act in self._acts().items():
            rate = getattr(self.plan, name)
            if rate > 0:
                self._schedule(name, rate, act)

    def heal(self) -> None:
        """Undo everything and keep quiet: links, clocks, disks, pauses; what is down comes up."""
        self._healed = True
        cluster = self.cluster
        cluster.network.heal()
        cluster.network.set_faults(LinkFaults())
        for member in cluster.members.values():
            member.disk.faults = DiskFaults()
            member.disk.capacity_bytes = float("inf")
            self._armed.pop(member.name, None)
            self._late_snapshots = 0
            member.rate = 1.0
            if member.loop is not None and member.is_up:
                member.loop.resume()
                member.loop.set_rate(1.0)
            if not member.is_up:
                member.start()

    def _acts(self) -> dict[str, Callable[[], bool]]:
        return {
            "kill_program": lambda: self._kill(self._any(), CrashKind.PROGRAM),
            "kill_machine": lambda: self._kill(self._any(), CrashKind.MACHINE),
            "kill_leader": lambda: self._kill(self._leader(), self._kind()),
            "kill_all": self._kill_all,
            "crash_at_point": self._arm_point,
            "pause": lambda: self._pause(self._any()),
            "pause_leader": lambda: self._pause(self._leader()),
            "partition": self._partition,
            "isolate_leader": self._isolate_leader,
            "one_way_cut": self._one_way,
            "bridge": self._bridge,
            "flap": self._flap,
            "reset": self._reset,
            "clock_jump": self._jump,
            "clock_drift": self._drift,
            "full_disk": self._fill_disk,
            "disk_error": self._arm_error,
            "wipe": self._wipe,
            "lag": self._lag,
            "late_snapshot": self._arm_late_snapshot,
            "read_flip": self._flip_reads,
        }

    def _schedule(self, name: str, per_minute: float, act: Callable[[], bool]) -> None:
        """Let `act` happen after a random while, again and again (uniform, mean one minute / rate)."""
        delay = 120.0 / per_minute * self.random.random()

        def happen() -> None:
            if self._healed:
                return
            if act():
                self.counts[name] += 1
                self.cluster.note("", "nemesis", name)
            self._schedule(name, per_minute, act)

        self._world.call_later(delay, happen)

    # Whom to torment.

    def _any(self) -> Member | None:
        up = self.cluster.up()
        return up[int(self.random.random() * len(up))] if up else None

    def _leader(self) -> Member | None:
        leaders = [member for member in self.cluster.ready() if member.node is not None and member.node.is_leader]
        return leaders[0] if leaders else None

    def _kind(self) -> CrashKind:
        return CrashKind.MACHINE if self.random.random() < 0.5 else CrashKind.PROGRAM

    # Acts; each returns whether it did anything.

    def _kill(self, member: Member | None, kind: CrashKind) -> bool:
        if member is None:
            return False
        self.cluster.note(member.name, "kill", kind.value)
        member.crash(kind)
        self._restart_later(member)
        return True

    def _restart_later(self, member: Member) -> None:
        """Bring a machine back after a while."""
        delay = self.plan.down_s_max * self.random.random()

        def restart() -> None:
            if not member.is_up:
                member.disk.capacity_bytes = float("inf")
                member.start()

        if self._healed:
            self._world.call_soon(restart)
        else:
            self._world.call_later(delay, restart)

    def _kill_all(self) -> bool:
        kind = self._kind()
        up = self.cluster.up()
        for member in up:
            self._kill(member, kind)
        return bool(up)

    def _point_hook(self, member: Member) -> Callable[[str], CrashKind | None]:
        def hook(point: str) -> CrashKind | None:
            left = self._armed.get(member.name)
            if left is None or not _is_one_of(point, self._armed_at.get(member.name, ())):
                return None
            if left > 0:
                self._armed[member.name] = left - 1
                return None
            del self._armed[member.name]
            if left < 0:
                self.counts["disk_errors_hit"] += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO), point)
            self.counts["point_crashes_hit"] += 1
            return self._kind()

        return hook

    def _arm_point(self) -> bool:
        """Crash a machine at one of its next persistence points."""
        member = self._any()
        if member is None or member.name in self._armed:
            return False
        self._armed[member.name] = int(self.random.random() * 60)
        self._armed_at[member.name] = ()
        if self.random.random() < 0.5:
            # Most points are writes and fsyncs of the log: now and then one of the rare ones is waited for.
            self._armed_at[member.name] = RARE_POINTS[int(self.random.random() * len(RARE_POINTS))]
            self._armed[member.name] = int(self.random.random() * 3)
        return True

    def _arm_error(self) -> bool:
        """Let the next disk operation of a machine fail."""
        member = self._any()
        if member is None or member.name in self._armed:
            return False
        self._armed[member.name] = -1
        self._armed_at[member.name] = ()
        return True

    def _pause(self, member: Member | None) -> bool:
        if member is None or member.loop is None:
            return False
        loop = member.loop
        loop.pause()
        self.cluster.note(member.name, "pause")
        self._world.call_later(self.plan.pause_s_max * self.random.random(), loop.resume)
        return True

    def _for_a_while(self, undo: Callable[[], None]) -> bool:
        def end() -> None:
            if not self._healed:
                undo()

        self._world.call_later(self.plan.cut_s_max * self.random.random(), end)
        return True

    def _hold(self) -> bool:
        return self.random.random() < 0.3

    def _partition(self) -> bool:
        self.cluster.network.split_majority(hold=self._hold())
        return self._for_a_while(self.cluster.network.heal)

    def _isolate_leader(self) -> bool:
        leader = self._leader()
        if leader is None:
            return False
        self.cluster.network.isolate(leader.name, hold=self._hold())
        return self._for_a_while(self.cluster.network.heal)

    def _pair(self) -> tuple[str, str]:
        names = list(self.cluster.members)
        first = names.pop(int(self.random.random() * len(names)))
        return first, names[int(self.random.random() * len(names))]

    def _one_way(self) -> bool:
        source, target = self._pair()
        network = self.cluster.network
        network.cut(source, target, hold=self._hold())
        return self._for_a_while(lambda: network.mend(source, target))

    def _bridge(self) -> bool:
        names = list(self.cluster.members)
        self.random.shuffle(names)
        half = len(names) // 2
        self.cluster.network.bridge(names[1 : half + 1], names[0], names[half + 1 :])
        return self._for_a_while(self.cluster.network.heal)

    def _flap(self) -> bool:
        source, target = self._pair()
        self.cluster.network.flap(source, target, up_s=0.3, down_s=0.4)
        return self._for_a_while(self.cluster.network.heal)

    def _reset(self) -> bool:
        self.cluster.network.reset(*self._pair())
        return True

    def _jump(self) -> bool:
        member = self._any()
        if member is None:
            return False
        member.clock.jump(self.random.uniform(-5000.0, 5000.0))
        return True

    def _drift(self) -> bool:
        member = self._any()
        if member is None or member.loop is None:
            return False
        rate = self.random.uniform(0.9, 1.1)
        member.rate = rate
        member.clock.set_rate(rate)
        member.loop.set_rate(rate)
        return True

    def _fill_disk(self) -> bool:
        member = self._any()
        if member is None:
            return False
        member.disk.capacity_bytes = member.disk.used_bytes + 1000.0
        return True

    def _wipe(self) -> bool:
        """Lose the disk of one machine, once per run, while all others are up and hold everything."""
        if self._wiped or len(self.cluster.ready()) < len(self.cluster.members):
            return False
        leader, victim = self._leader(), self._any()
        if leader is None or victim is None or leader is victim or leader.node is None:
            return False
        matches = [member.match_index or 0 for member in leader.node.status().members if member.node_id != victim.name]
        if min(matches) < leader.node.status().commit_index:
            return False
        self._wiped += 1
        victim.crash(CrashKind.PROGRAM)
        victim.wipe()
        victim.start()
        return True

    def _lag(self) -> bool:
        """Cut a follower off until the leader has dropped what it needs, or for three times the longest cut."""
        leader, victim = self._leader(), self._any()
        if leader is None or victim is None or victim is leader or victim.node is None:
            return False
        last_index = victim.node.status().last_index
        network, name = self.cluster.network, victim.name
        others = [other for other in self.cluster.members if other != name]
        network.cut_between([name], others)
        until = self._world.now + 3 * self.plan.cut_s_max

        def look() -> None:
            if self._healed:
                return
            now_leading = self._leader()
            dropped = now_leading is not None and now_leading.node is not None and now_leading.name != name
            if dropped and now_leading is not None and now_leading.node is not None:
                dropped = now_leading.node.status().compacted_index > last_index
            if dropped or self._world.now >= until:
                for other in others:
                    network.mend(name, other)
                    network.mend(other, name)
            else:
                self._world.call_later(0.2, look)

        self._world.call_later(0.2, look)
        return True

    def _arm_late_snapshot(self) -> bool:
        """Let the messages of one of the next snapshots be late."""
        self._late_snapshots = 1
        return True

    def _on_message_sent(self, source: str, target: str, message: object) -> None:
        """Hold everything to and from one end of a snapshot's way, long enough for it to give the other up."""
        kind = type(message)
        if not self._late_snapshots or self._healed or (kind is not SnapshotRequest and kind is not SnapshotReply):
            return
        self._late_snapshots = 0
        self.counts["snapshots_held"] += 1
        network = self.cluster.network
        one = source if self.random.random() < 0.5 else target

        def hold() -> None:
            if not self._healed:
                network.isolate(one, hold=True)

        def let_go() -> None:
            if not self._healed:
                network.heal()

        delay_s = 0.02 * self.random.random()
        self._world.call_later(delay_s, hold)
        self._world.call_later(delay_s + 0.4 + 1.2 * self.random.random(), let_go)

    def _flip_reads(self) -> bool:
        """Crash a machine; when it starts again, some of what it reads is wrong, until it was refused or has begun."""
        member = self._any()
        if member is None or not member.ready:
            return False
        faults = member.disk.faults
        member.disk.faults = msgspec.structs.replace(faults, read_flip=0.3)
        self._kill(member, self._kind())

        def calm() -> None:
            member.disk.faults = msgspec.structs.replace(member.disk.faults, read_flip=0.0)

        self._world.call_later(self.plan.down_s_max + 0.5, calm)
        return True
