"""Scenes: short plays that lead straight to where some mutants show, which random plans hardly ever reach.

The seed says who plays whom and how much is said; everything else is fixed. The invariants and step checks watch.
"""

from collections.abc import Callable
from random import Random

from raftline.core.changes import Remove
from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.events import ChangeRequested, ChunkStored, Received
from raftline.core.ids import Index
from raftline.core.membership import Membership
from raftline.core.messages import AppendRequest, SnapshotRequest
from raftline.core.raft import Raft
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine, encode_command
from raftline.replica.commands import plain
from raftline.replica.replica import Replica
from raftline.sim.core_cluster import CoreCluster, CoreNode
from raftline.sim.mutants.feeding_scenes import bounded_window, fed_from_disk, two_histories, what_may_leave_memory
from raftline.sim.mutants.member_scenes import answers_of_a_former_self, group_beside_a_removal
from raftline.sim.mutants.sleeping_scenes import woken_leader
from raftline.sim.mutants.waiting_scenes import woken_by_a_snapshot, woken_in_order
from raftline.sim.step_checks import StepChecks, Timeouts

__all__ = ["SCENES"]

_MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
_PLAIN = CoreConfig(pre_vote=False, guard_lost_disk=False, check_quorum=False)


def _elect(cluster: CoreCluster, node: CoreNode) -> None:
    cluster.now = max(cluster.now, node.state.election_deadline)
    node.fire()
    cluster.settle()
    assert node.core.is_leader, f"{node.name} is elected"


def _conflict_at_the_base(seed: int) -> None:
    """A leader finds the term that a follower reports only at its base, where its snapshot ends (D19)."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    cluster = CoreCluster(3, config=_PLAIN, seed=seed)
    timeouts = Timeouts()
    cluster.on_started = lambda node: StepChecks(node.core, timeouts)
    cluster.start()
    first, second, third = chance.sample(list(cluster.nodes.values()), 3)
    _elect(cluster, first)
    first.propose(*(b"agreed",) * chance.randint(1, 5))
    cluster.run(0.2)
    cluster.cut = {(one, other) for one in cluster.nodes for other in cluster.nodes if first.name in (one, other)}
    first.propose(*(b"not agreed",) * chance.randint(2, 6))
    cluster.settle()
    _elect(cluster, second)
    third.take_snapshot()
    _elect(cluster, third)
    cluster.cut.clear()
    last = third.propose(b"after all")
    if not cluster.run(5.0, lambda: all(node.state.applied == last for node in cluster.nodes.values())):
        raise SafetyViolation(f"{first.name} does not get what the others have")


def _two_snapshots(seed: int) -> None:
    """A second snapshot is installed before the first is restored, with entries between them (D11)."""
    chance = Random(seed)  # noqa: S311  as above
    follower = Replica(Raft("n1", _MEMBERS, random=chance, now=0.0, config=_PLAIN), KvMachine())
    command = plain(encode_command([b"INCRBY", b"k", b"1"]))
    between, second = chance.randint(1, 5), 10 + chance.randint(6, 9)
    leader = Raft("n2", _MEMBERS, random=chance, now=0.0, config=_PLAIN, snapshot=SnapshotMeta(second, 1, _MEMBERS))
    source = Replica(leader, KvMachine())
    meta, chunks = source.snapshot()
    _install(follower, SnapshotMeta(10, 1, _MEMBERS))
    _append(follower, 10, between, command)
    _install(follower, meta)
    _append(follower, second, 2, command)
    follower.restore_begin(meta)
    follower.restore_header(next(chunks))
    for chunk in chunks:
        follower.machine.restore_chunk(chunk)
    follower.restore_end(0.0)
    while follower.has_work:
        follower.apply_some(1, 0.0)
    if follower.applied != second + 2:
        raise SafetyViolation(f"{follower.applied} is applied, {second + 2} is committed (D11)")


def _install(follower: Replica, meta: SnapshotMeta) -> None:
    request = SnapshotRequest(1, meta.index, meta.term, meta.membership, 0, b"", done=True)
    follower.step(Received("n2", request), 0.0)
    follower.step(ChunkStored(meta, 1, complete=True), 0.0)
    follower.take_ready()


def _append(follower: Replica, after: Index, count: int, command: bytes) -> None:
    entries = tuple(Entry(after + 1 + number, 1, command) for number in range(count))
    follower.step(Received("n2", AppendRequest(1, after, 1, entries, after + count)), 0.0)
    follower.take_ready()
    follower.apply_some(count, 0.0)


def _removal_beside_one_that_is_down(seed: int) -> None:
    """Of three one is down, and another is to be removed: the group goes on, and the change is made when all are up."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    cluster = CoreCluster(3, config=_PLAIN, seed=seed)
    cluster.start()
    leader, down, leaving = chance.sample(list(cluster.nodes.values()), 3)
    _elect(cluster, leader)
    leader.propose(b"begun")
    cluster.settle()
    down.crash()
    cluster.run(2.0 + 10.0 * chance.random())
    leader.step(ChangeRequested(1, Remove(leaving.name)))
    cluster.run(0.5)
    last = leader.propose(b"goes on")
    if not cluster.run(5.0, lambda: leader.state.applied >= last > 0):
        raise SafetyViolation(f"{leader.name} decides nothing any more, for {leaving.name} was to be removed (K1)")
    down.start()
    cluster.run(1.0)
    leader.step(ChangeRequested(2, Remove(leaving.name)))
    if not cluster.run(5.0, lambda: leader.state.membership.voters == tuple(sorted((leader.name, down.name)))):
        raise SafetyViolation(f"{leaving.name} cannot be removed though all are up (K1)")


SCENES: dict[str, Callable[[int], None]] = {
    "two_histories": two_histories,
    "fed_from_disk": fed_from_disk,
    "bounded_window": bounded_window,
    "what_may_leave_memory": what_may_leave_memory,
    "conflict_at_the_base": _conflict_at_the_base,
    "two_snapshots": _two_snapshots,
    "removal_beside_one_that_is_down": _removal_beside_one_that_is_down,
    "answers_of_a_former_self": answers_of_a_former_self,
    "group_beside_a_removal": group_beside_a_removal,
    "woken_leader": woken_leader,
    "woken_in_order": woken_in_order,
    "woken_by_a_snapshot": woken_by_a_snapshot,
}
"""Name → seed → nothing, or a complaint."""
