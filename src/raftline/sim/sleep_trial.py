"""The end of a run whose group may sleep (A30): it does fall asleep, and whatever happens to it then, it wakes in time.

All clients have ended and all is healed. Once everybody sleeps, the seed chooses what befalls the leader; nobody asks
anything, and within a few election timeouts those that can see a majority must have a leader that answers. Then all is
healed again, and all fall asleep in the same state.
"""

from collections import Counter
from random import Random

from raftline.core.ids import NodeId
from raftline.core.raft import Raft
from raftline.sim.aftermath import LivenessViolation
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.kv_door import KvDoor
from raftline.sim.workload import Answer

__all__ = ["SLEEP_FAULTS", "SleepTrial"]

_FALLS_ASLEEP_S_MAX = 40.0
"""A handover to a preferred leader, which takes its time, may come first."""
_TIMEOUTS_MAX = 8.0
"""Longest election timeouts until there is a leader: one of silence, and elections, of which some may fail."""
_ANSWER_S_MAX = 3.0
_STEP_S = 0.25

SLEEP_FAULTS = ("restart", "crash", "isolate", "deaf", "mute", "pause", "reset", "follower crash", "majority crash")
"""What befalls a sleeping group: its leader is started again at once or stays down, is cut off, hears or tells nothing,
stands still, or loses its connections; or one or all of its followers crash."""


class SleepTrial:
    """One sleeping group, one fault."""

    def __init__(self, cluster: SimCluster, random: Random, quiesce_after_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._world = cluster.world
        self._random = random
        self._quiesce_after_s = quiesce_after_s
        self._door = KvDoor(cluster)

    def run(self) -> None:
        """Carry it out; raise `LivenessViolation` if somebody does not fall asleep, wake or answer in time."""
        if len(self._cluster.members) == 1:
            return  # it has nobody to be silent to
        self._wait_until_asleep()
        leader = self._leader()
        fault = SLEEP_FAULTS[int(self._random.random() * len(SLEEP_FAULTS))]
        self._world.run_for(20.0 * self._random.random())
        self._cluster.note(leader.name, "asleep", fault)
        self.counts[f"asleep: {fault}"] += 1
        judges = self._befall(leader, fault)
        self._world.run_for(_TIMEOUTS_MAX * self._timeout_s())
        if len(judges) > len(self._cluster.members) // 2:
            self._check_led(judges, fault)
            for name in judges:
                self._ask(name, fault)
        self._undo(leader)
        self._wait_until_asleep()
        for member in self._cluster.members.values():
            self._ask(member.name, f"{fault}, which is over")
        self._world.run_for(1.0)
        self._check_equal(fault)

    def _befall(self, leader: Member, fault: str) -> list[NodeId]:
        """Let it happen; return who is to have a leader among them afterwards."""
        cluster = self._cluster
        others = [name for name in cluster.members if name != leader.name]
        if fault == "restart":
            leader.crash(CrashKind.PROGRAM)
            leader.start()
            return [leader.name, *others]
        if fault == "crash":
            leader.crash(CrashKind.MACHINE)
        elif fault == "isolate":
            cluster.network.cut_between([leader.name], others)
        elif fault in ("deaf", "mute"):
            if fault == "deaf" and not _core_of(leader).state.config.check_quorum:
                return []  # it is heard, and goes on for ever
            for other in others:
                cut = (other, leader.name) if fault == "deaf" else (leader.name, other)
                cluster.network.cut(*cut)
        elif fault == "pause":
            assert leader.loop is not None, "up"
            leader.loop.pause()
        elif fault == "reset":
            cluster.network.reset_node(leader.name)
            return [leader.name, *others]
        else:
            down = others if fault == "majority crash" else others[:1]
            for name in down:
                cluster.members[name].crash(CrashKind.PROGRAM)
            others = [leader.name, *(name for name in others if name not in down)]
        return others

    def _undo(self, leader: Member) -> None:
        self._cluster.network.heal()
        if leader.loop is not None:
            leader.loop.resume()
        for member in self._cluster.members.values():
            if not member.is_up:
                member.start()

    def _wait_until_asleep(self) -> None:
        """Let time pass until everybody sleeps."""
        end = self._world.now + _FALLS_ASLEEP_S_MAX + 4 * self._quiesce_after_s
        awake = self._awake()
        while awake and self._world.now < end:
            self._world.run_for(_STEP_S)
            awake = self._awake()
        if awake:
            raise LivenessViolation(f"nothing is to be done, and {', '.join(awake)} does not fall asleep (A30)")

    def _awake(self) -> list[NodeId]:
        return [
            member.name
            for member in self._cluster.members.values()
            if not member.ready or not _core_of(member).is_asleep
        ]

    def _leader(self) -> Member:
        leaders = [member for member in self._cluster.members.values() if _core_of(member).is_leader]
        if len(leaders) != 1:
            raise LivenessViolation(f"all sleep, and {[member.name for member in leaders]} lead (A30)")
        return leaders[0]

    def _timeout_s(self) -> float:
        return max(_core_of(member).state.config.election_timeout_s[1] for member in self._cluster.ready())

    def _check_led(self, judges: list[NodeId], fault: str) -> None:
        """Whoever sees a majority has a leader there, though nobody asked."""
        members = [self._cluster.members[name] for name in judges]
        if not any(member.ready and _core_of(member).is_leader for member in members):
            waited_s = _TIMEOUTS_MAX * self._timeout_s()
            raise LivenessViolation(f"{fault}: {', '.join(judges)} have no leader after {waited_s:.1f} s (A30)")

    def _ask(self, name: NodeId, when: str) -> None:
        """Let a node carry out a write: it must answer in time, asleep or not."""
        answers: list[Answer] = []
        self._door.ask(self._cluster.members[name], [b"SET", f"asked of {name}".encode(), b"1"], answers.append)
        end = self._world.now + _ANSWER_S_MAX
        while not answers and self._world.now < end:
            self._world.run_for(_STEP_S)
        if not answers or answers[0].error is not None:
            said = answers[0].error if answers else "nothing"
            raise LivenessViolation(f"{when}: {name} was asked for a write and says {said} (A30)")

    def _check_equal(self, fault: str) -> None:
        statuses = [member.node.status() for member in self._cluster.members.values() if member.node is not None]
        if len({(status.commit_index, status.applied_index, status.digest) for status in statuses}) != 1:
            raise LivenessViolation(f"{fault}: the replicas do not agree afterwards: {statuses} (A30)")


def _core_of(member: Member) -> Raft:
    assert member.node is not None, "up"
    return member.node.groups[0].driver.replica.core
