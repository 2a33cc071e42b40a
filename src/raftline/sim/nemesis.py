"""Carries out what a list of acts says, in the safety phase; then everything heals.

A run has a safety phase, in which the nemesis acts, and a liveness phase, in which all is well and progress is
demanded. A run that never crashed, cut or paused anything proves nothing, so what was done is counted.
"""

import errno
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from raftline.core.ids import NodeId
from raftline.core.messages import Message, SnapshotReply, SnapshotRequest
from raftline.sim.acts import RARE_POINTS, Act, NemesisPlan, draw_acts
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.faults import DiskFaults, LinkFaults
from raftline.sim.gray_acts import GrayActs
from raftline.sim.loop import SimLoop
from raftline.sim.member_acts import MemberActs
from raftline.sim.restarts import Restarts

__all__ = ["RARE_POINTS", "Nemesis", "NemesisPlan"]

_DRAWN_S = 600.0
"""Without a list of acts, so many seconds of them are drawn."""
_WIPED_OF_MIN = 3


class _Armed:
    """What waits for a machine at one of its persistence points: a crash, or an error of its disk."""

    __slots__ = ("act", "left")

    def __init__(self, act: Act) -> None:
        self.act = act
        self.left = act.after

    def is_due(self, point: str) -> bool:
        """Count a point of the kind that is waited for; say whether it is the one."""
        if self.act.points and not any(part in point for part in self.act.points):
            return False
        self.left -= 1
        return self.left < 0


class Nemesis:
    """Carries out acts on a cluster.

    Invariants: at most a minority is wiped in a run, and never a machine whose data a quorum needs; whatever is down
    comes back; nothing happens any more after `heal`.
    """

    def __init__(
        self, cluster: SimCluster, plan: NemesisPlan, random: Random, acts: Sequence[Act] | None = None
    ) -> None:
        """`random` decides what no act foresees: how long a machine is down whose disk failed."""
        self.cluster = cluster
        self.plan = plan
        self.random = random
        self.acts = draw_acts(plan, list(cluster.members), _DRAWN_S, random) if acts is None else tuple(acts)
        """In the order of time."""
        self.counts: Counter[str] = Counter()
        self.done: list[tuple[Act, str]] = []
        """The acts that did something, each with whom it hit."""
        self._names = list(cluster.members)
        """Who stands now where the machines stood that acts name; replacements change it."""
        self._places = {name: place for place, name in enumerate(self._names)}
        self._first = tuple(self._names)
        self._world: SimLoop = cluster.world
        self._waiting = deque(sorted(self.acts, key=lambda act: act.at_s))
        self._healed = False
        self._armed: dict[NodeId, _Armed] = {}
        self._down_s: dict[NodeId, float] = {}
        self._full_until: dict[NodeId, float] = {}
        self._late_snapshot: Act | None = None
        self._wiped = 0
        self.may_wipe: Callable[[Member], bool] = lambda _member: True
        """Says whether whatever else is on a machine's disk is safe without it."""
        self._members = MemberActs(cluster, self.counts)
        self._gray = GrayActs(cluster, self.counts)
        self._restarts = Restarts(
            cluster, self.counts, lambda member, down_s: self._kill(member, CrashKind.PROGRAM, down_s)
        )
        cluster.on_message_sent = self._on_message_sent
        cluster.on_down = self._restart_later
        for member in cluster.members.values():
            member.disk.on_point = self._point_hook(member)
        self._members.replacement.on_joined = self.on_joined
        self._members.replacement.on_gone = self.on_gone

    def start(self) -> None:
        """Begin to torment."""
        self._gray.set_links(self.plan, self.random)
        self._wait_for_next()

    def heal(self) -> None:
        """Undo everything and keep quiet: links, clocks, disks, pauses; what is down comes up."""
        self._healed = True
        cluster = self.cluster
        cluster.network.heal()
        cluster.network.set_faults(LinkFaults())
        self._armed.clear()
        self._late_snapshot = None
        self._gray.heal()
        self._restarts.heal()
        for member in cluster.members.values():
            member.disk.faults = DiskFaults()
            member.disk.capacity_bytes = float("inf")
            member.rate = 1.0
            if member.loop is not None and member.is_up:
                member.loop.resume()
                member.loop.set_rate(1.0)
            if not member.is_up:
                member.start()
        self._members.restore()

    def everybody_votes(self) -> bool:
        """Say whether a leader knows every machine as a voter for good."""
        return self._members.everybody_votes()

    def _wait_for_next(self) -> None:
        if self._waiting:
            self._world.call_at(self._waiting[0].at_s, self._act)

    def _act(self) -> None:
        """Carry out the next act, and wait for the one after it."""
        if self._healed:
            return
        act = self._waiting.popleft()
        hit = self._acts()[act.name](self._at_present(act))
        if hit is not None:
            self.counts[act.name] += 1
            self.done.append((act, hit))
            self.cluster.note("", "nemesis", f"{act.name} {hit}".rstrip())
        self._wait_for_next()

    def _acts(self) -> dict[str, Callable[[Act], str | None]]:
        return {
            "kill_program": lambda act: self._kill(self._machine(act), act.kind, act.for_s),
            "kill_machine": lambda act: self._kill(self._machine(act), act.kind, act.for_s),
            "kill_leader": lambda act: self._kill(self._leader(), act.kind, act.for_s),
            "kill_all": self._kill_all,
            "crash_at_point": self._arm,
            "pause": lambda act: self._pause(self._machine(act), act.for_s),
            "pause_leader": lambda act: self._pause(self._leader(), act.for_s),
            "partition": self._partition,
            "isolate_leader": self._isolate_leader,
            "one_way_cut": self._one_way,
            "bridge": self._bridge,
            "flap": self._flap,
            "reset": self._reset,
            "clock_jump": self._jump,
            "clock_drift": self._drift,
            "full_disk": self._fill_disk,
            "disk_error": self._fail_disk,
            "wipe": self._wipe,
            "lag": self._lag,
            "late_snapshot": self._arm_late_snapshot,
            "read_flip": self._flip_reads,
            "wrong_clock": lambda act: self._gray.mislead(self._machine(act), act),
            "lose_kind": self._gray.lose_kind,
            "late_candidate": self._gray.arm_late_candidate,
            "slow_link": self._gray.slow_link,
            "slow_disk": lambda act: self._gray.slow_disk(self._machine(act), act),
            "pause_all": self._pause_all,
            "crash_loop": self._crash_loop,
            "transfer": lambda act: self._members.transfer(self._machine(act)),
            "remove": lambda act: self._members.remove_for(self._machine(act), act.for_s),
            "replace": self._replace,
            "move": self._move,
            "priority": lambda act: self._members.set_priority(self._machine(act), int(act.amount)),
            "stop_leader": lambda act: self._restarts.stop(self._leader(), act.for_s),
            "rolling_restart": lambda act: self._restarts.restart_all(self._in_turn(act), act),
        }

    # Whom to torment.

    def _at_present(self, act: Act) -> Act:
        """Return the act with the machines that stand now where those stood that it names."""
        if self._first == tuple(self._names):
            return act
        now = dict(zip(self._first, self._names, strict=True))
        node, other = now.get(act.node, act.node), now.get(act.other, act.other)
        return msgspec.structs.replace(act, node=node, other=other, side=tuple(now[name] for name in act.side))

    def _each_s(self, act: Act, member: Member) -> float:
        return act.each_s[self._places[member.name]]

    def on_joined(self, new: Member, old: NodeId) -> None:
        """Torment a new machine as the one whose place it is to take."""
        self._places[new.name] = self._places[old]
        new.disk.on_point = self._point_hook(new)
        if self._healed:
            new.disk.faults = DiskFaults()

    def on_gone(self, old: NodeId, new: NodeId) -> None:
        """Let a new machine stand where one stood that was switched off."""
        self._names[self._places[old]] = new
        self._armed.pop(old, None)
        self.cluster.note("", "nemesis", f"replaced {old} by {new}")

    def _machine(self, act: Act) -> Member | None:
        """Return the machine that an act names, or the next in line that is up and not paused."""
        first = self._names.index(act.node)
        up = {member.name: member for member in self.cluster.up()}
        return next((up[name] for name in self._names[first:] + self._names[:first] if name in up), None)

    def _leader(self) -> Member | None:
        leaders = [member for member in self.cluster.ready() if member.node is not None and member.node.is_leader]
        return leaders[0] if leaders else None

    # Acts; each returns whom it hit, None if it did nothing.

    def _kill(self, member: Member | None, kind: CrashKind, down_s: float) -> str | None:
        if member is None:
            return None
        self.cluster.note(member.name, "kill", kind.value)
        member.crash(kind)
        self._down_s[member.name] = down_s
        self._restart_later(member)
        return member.name

    def _restart_later(self, member: Member) -> None:
        """Bring a machine back after the time that its act said, or else some time."""
        down_s = self._down_s.pop(member.name, None)
        if down_s is None:
            down_s = self.plan.down_s_max * self.random.random()

        def restart() -> None:
            if not member.is_up and member.name in self.cluster.members:
                if not self._world.now < self._full_until.get(member.name, 0.0):
                    member.disk.capacity_bytes = float("inf")
                member.disk.faults = msgspec.structs.replace(member.disk.faults, write_error=0.0, sync_error=0.0)
                member.start()

        if self._healed:
            self._world.call_soon(restart)
        else:
            self._world.call_later(down_s, restart)

    def _kill_all(self, act: Act) -> str | None:
        up = self.cluster.up()
        for member in up:
            self._kill(member, act.kind, self._each_s(act, member))
        return " ".join(member.name for member in up) or None

    def _point_hook(self, member: Member) -> Callable[[str], CrashKind | None]:
        def hook(point: str) -> CrashKind | None:
            armed = self._armed.get(member.name)
            if armed is None or not armed.is_due(point):
                return None
            del self._armed[member.name]
            if armed.act.name == "disk_error":
                self.counts["disk_errors_hit"] += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO), point)
            self.counts["point_crashes_hit"] += 1
            self._down_s[member.name] = armed.act.for_s
            return armed.act.kind

        return hook

    def _arm(self, act: Act) -> str | None:
        """Crash a machine at one of its next persistence points, or let its next disk operation fail."""
        member = self._machine(act)
        if member is None or member.name in self._armed:
            return None
        self._armed[member.name] = _Armed(act)
        return member.name

    def _fail_disk(self, act: Act) -> str | None:
        """Let an operation of a disk fail: any of the next ones, or a write or fsync that has done a part."""
        if not act.points:
            return self._arm(act)
        member = self._machine(act)
        if member is None:
            return None
        broken = {f"{act.points[0]}_error": 1.0}
        member.disk.faults = msgspec.structs.replace(member.disk.faults, **broken)
        return member.name

    def _pause(self, member: Member | None, for_s: float) -> str | None:
        if member is None or member.loop is None:
            return None
        loop = member.loop
        loop.pause()
        self.cluster.note(member.name, "pause")
        self._world.call_later(for_s, loop.resume)
        return member.name

    def _undo_later(self, for_s: float, undo: Callable[[], None]) -> None:
        def end() -> None:
            if not self._healed:
                undo()

        self._world.call_later(for_s, end)

    def _partition(self, act: Act) -> str:
        self.cluster.network.partition(act.side, hold=act.hold)
        self._undo_later(act.for_s, self.cluster.network.heal)
        return " ".join(act.side)

    def _isolate_leader(self, act: Act) -> str | None:
        leader = self._leader()
        if leader is None:
            return None
        self.cluster.network.isolate(leader.name, hold=act.hold)
        self._undo_later(act.for_s, self.cluster.network.heal)
        return leader.name

    def _one_way(self, act: Act) -> str:
        network = self.cluster.network
        network.cut(act.node, act.other, hold=act.hold)
        self._undo_later(act.for_s, lambda: network.mend(act.node, act.other))
        return f"{act.node}>{act.other}"

    def _bridge(self, act: Act) -> str:
        right = [name for name in self.cluster.members if name != act.node and name not in act.side]
        self.cluster.network.bridge(act.side, act.node, right)
        self._undo_later(act.for_s, self.cluster.network.heal)
        return act.node

    def _flap(self, act: Act) -> str:
        self.cluster.network.flap(act.node, act.other, up_s=0.3, down_s=0.4)
        self._undo_later(act.for_s, self.cluster.network.heal)
        return f"{act.node}>{act.other}"

    def _reset(self, act: Act) -> str:
        self.cluster.network.reset(act.node, act.other)
        return f"{act.node}<>{act.other}"

    def _jump(self, act: Act) -> str | None:
        member = self._machine(act)
        if member is None:
            return None
        member.clock.jump(act.amount)
        return member.name

    def _drift(self, act: Act) -> str | None:
        member = self._machine(act)
        if member is None or member.loop is None:
            return None
        member.rate = act.amount
        member.clock.set_rate(act.amount)
        member.loop.set_rate(act.amount)
        return member.name

    def _fill_disk(self, act: Act) -> str | None:
        member = self._machine(act)
        if member is None:
            return None
        member.disk.capacity_bytes = member.disk.used_bytes + act.amount
        self._full_until[member.name] = self._world.now + act.for_s
        return member.name

    def _pause_all(self, act: Act) -> str | None:
        up = self.cluster.up()
        for member in up:
            self._pause(member, self._each_s(act, member))
        return " ".join(member.name for member in up) or None

    def _crash_loop(self, act: Act) -> str | None:
        """Crash a machine, and then whenever it has been up again for a moment."""
        member = self._machine(act)
        if member is None:
            return None
        left = act.after

        def again() -> None:
            nonlocal left
            if self._healed or not left:
                return
            if member.is_up:
                left -= 1
                self._kill(member, act.kind, 0.0)
            self._world.call_later(act.amount, again)

        self._kill(member, act.kind, 0.0)
        self._world.call_later(act.amount, again)
        return member.name

    def _wipe(self, act: Act) -> str | None:
        """Lose the disk of one machine, once per run, while all others are up, vote and hold everything.

        One of two is no minority: if the other one stopped before it was made up for, no leader could be elected (C14).
        """
        if not self.cluster.guards_lost_disks or len(self.cluster.members) < _WIPED_OF_MIN:
            return None
        leader, victim = self._leader(), self._machine(act)
        if self._wiped or victim is None or leader is victim or not self._members.all_but_one_are_level(victim):
            return None
        if not self.may_wipe(victim):
            return None
        self._wiped += 1
        victim.crash(CrashKind.PROGRAM)
        victim.wipe()
        victim.start()
        return victim.name

    def _move(self, act: Act) -> str | None:
        """Start a machine again at another address, and tell the others; not while that could cost the majority."""
        member = self._machine(act)
        if member is None or not self._members.may_move(member):
            return None
        self._kill(member, CrashKind.PROGRAM, act.for_s)
        self._members.move(member)
        return member.name

    def _replace(self, act: Act) -> str | None:
        """Replace all machines, beginning with the one that the act names."""
        return self._members.replacement.start(self._in_turn(act), act)

    def _in_turn(self, act: Act) -> list[NodeId]:
        """Return all machines, the one that the act names first."""
        first = self._names.index(act.node)
        return self._names[first:] + self._names[:first]

    def _lag(self, act: Act) -> str | None:
        """Cut a follower off until the leader has dropped what it needs, at most for the time that the act says."""
        leader, victim = self._leader(), self._machine(act)
        if leader is None or victim is None or victim is leader or victim.node is None or not victim.ready:
            return None
        last_index = victim.node.status().last_index
        network, name = self.cluster.network, victim.name
        others = [other for other in self.cluster.members if other != name]
        network.cut_between([name], others)
        until = self._world.now + act.for_s

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
        return name

    def _arm_late_snapshot(self, act: Act) -> str:
        """Let the messages of one of the next snapshots be late."""
        self._late_snapshot = act
        return ""

    def _on_message_sent(self, source: NodeId, target: NodeId, message: Message) -> None:
        """Hold everything to and from one end of a snapshot's way, long enough for it to give the other up."""
        self._gray.on_message_sent(source, message)
        kind, act = type(message), self._late_snapshot
        if act is None or self._healed or (kind is not SnapshotRequest and kind is not SnapshotReply):
            return
        self._late_snapshot = None
        self.counts["snapshots_held"] += 1
        network = self.cluster.network
        one = source if act.node == "source" else target

        def hold() -> None:
            if not self._healed:
                network.isolate(one, hold=True)

        self._world.call_later(act.amount, hold)
        self._undo_later(act.amount + act.for_s, network.heal)

    def _flip_reads(self, act: Act) -> str | None:
        """Crash a machine; when it starts again, some of what it reads is wrong, until it was refused or has begun."""
        member = self._machine(act)
        if member is None or not member.ready:
            return None
        faults = member.disk.faults
        member.disk.faults = msgspec.structs.replace(faults, read_flip=0.3)
        self._kill(member, act.kind, act.for_s)

        def calm() -> None:
            member.disk.faults = msgspec.structs.replace(member.disk.faults, read_flip=0.0)

        self._world.call_later(self.plan.down_s_max + 0.5, calm)
        return member.name
