"""What fails by half: links and disks that are slow, clocks that crawl or race, messages of one kind that are lost.

A machine that is neither up nor down is harder to bear than a dead one (gray failures). Each fault has an end, and all
of them end with `heal`.
"""

from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from raftline.core.ids import NodeId
from raftline.core.messages import AppendRequest, Message, VoteRequest
from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.faults import Latency

__all__ = ["GrayActs"]

_LATE_RATE = 0.02
"""Seconds that pass for a late candidate per second."""
_LATE_AFTER_S = 2.0
"""For how long it must not hear of the term's leader by AppendEntries once it is back."""


class GrayActs:
    """Carries them out.

    Invariant: nothing of it happens any more after `heal`.
    """

    def __init__(self, cluster: SimCluster, counts: Counter[str]) -> None:
        self._cluster = cluster
        self._counts = counts
        self._world = cluster.world
        self._healed = False
        self._late_candidate: Act | None = None
        self._lost: list[tuple[NodeId, str]] = []

    def set_links(self, plan: NemesisPlan, random: Random) -> None:
        """Give each direction of each link what the plan says, and a pace of its own."""
        network, faults, names = self._cluster.network, plan.link_faults(), list(self._cluster.members)
        network.set_faults(faults)
        if plan.latency_s:
            self._counts["links of their own pace"] += 1
            for source in names:
                for target in names:
                    typical_s = plan.latency_s * (0.5 + 1.5 * random.random())
                    latency = Latency(typical_s / 4, typical_s, 8 * typical_s)
                    network.set_faults(msgspec.structs.replace(faults, latency=latency), source=source, target=target)

    def heal(self) -> None:
        """End everything that does not end with the links, disks and clocks themselves."""
        self._healed = True
        self._late_candidate = None
        self._lost.clear()
        self._cluster.network.loses = None

    def on_message_sent(self, source: NodeId, message: Message) -> None:
        """Delay a candidate, if one is waited for."""
        act = self._late_candidate
        if act is not None and type(message) is VoteRequest and not message.pre_vote:
            self._late_candidate = None
            self._world.call_soon(self._delay_candidate, source, act)

    def _undo_later(self, for_s: float, undo: Callable[[], None]) -> None:
        def end() -> None:
            if not self._healed:
                undo()

        self._world.call_later(for_s, end)

    def mislead(self, member: Member | None, act: Act) -> str | None:
        """Let a machine's monotonic clock run far too slowly or fast: its timers are late, or early."""
        if member is None or member.loop is None or self._cluster.relies_on_clocks:
            return None
        self._set_pace(member, act.amount)
        self._undo_later(act.for_s, lambda: self._set_pace(member, member.rate))
        return member.name

    def _set_pace(self, member: Member, rate: float) -> None:
        if member.loop is not None and member.is_up:
            member.loop.set_rate(rate)

    def lose_kind(self, act: Act) -> str:
        """Let all messages of a kind from one machine be lost."""
        lost = (act.node, act.points[0])
        self._lost.append(lost)
        self._cluster.network.loses = self._loses

        def undo() -> None:
            if lost in self._lost:
                self._lost.remove(lost)

        self._undo_later(act.for_s, undo)
        return act.node

    def _loses(self, source: NodeId, target: NodeId, message: Message) -> bool:
        """Say whether a message is of a kind that is lost, from its sender or, marked so, to its receiver."""
        kind = type(message).__name__
        return (source, kind) in self._lost or (f">{target}", kind) in self._lost

    def arm_late_candidate(self, act: Act) -> str | None:
        """Let the next candidate be late."""
        if self._cluster.relies_on_clocks:
            return None
        self._late_candidate = act
        return ""

    def _delay_candidate(self, name: NodeId, act: Act) -> None:
        """Cut a candidate off with time standing still for it; what it hears first of the term is no AppendEntries."""
        member, network = self._cluster.everybody[name], self._cluster.network
        loop = member.loop
        if loop is None or not member.is_up:
            return
        self._counts["candidates_delayed"] += 1
        loop.set_rate(_LATE_RATE)
        others = [other for other in self._cluster.members if other != name]
        network.cut_between([name], others)
        lost = (f">{name}", AppendRequest.__name__)
        self._lost.append(lost)
        network.loses = self._loses

        def come_back() -> None:
            for other in others:
                network.mend(name, other)
                network.mend(other, name)

        def end() -> None:
            if lost in self._lost:
                self._lost.remove(lost)
            if loop is member.loop:
                self._set_pace(member, member.rate)

        self._undo_later(act.for_s, come_back)
        self._undo_later(act.for_s + _LATE_AFTER_S, end)

    def slow_link(self, act: Act) -> str:
        """Let messages from one machine to another take long."""
        network = self._cluster.network
        usual = network.faults_of(act.node, act.other)
        slow = Latency(act.amount / 2, act.amount, 4 * act.amount)
        network.set_faults(msgspec.structs.replace(usual, latency=slow), source=act.node, target=act.other)
        self._undo_later(act.for_s, lambda: network.set_faults(usual, source=act.node, target=act.other))
        return f"{act.node}>{act.other}"

    def slow_disk(self, member: Member | None, act: Act) -> str | None:
        """Let every fsync of a machine take long."""
        if member is None:
            return None
        disk, usual = member.disk, member.disk.faults.sync_latency
        slow = Latency(act.amount / 4, act.amount, 2 * act.amount)
        disk.faults = msgspec.structs.replace(disk.faults, sync_latency=slow)

        def undo() -> None:
            disk.faults = msgspec.structs.replace(disk.faults, sync_latency=usual)

        self._undo_later(act.for_s, undo)
        return member.name
