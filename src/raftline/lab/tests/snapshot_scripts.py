"""Exact schedules about snapshots: late ones, those of leaders of the past, and servers that hold nothing else."""

import asyncio

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.consumer import SNAPSHOT_INTERVAL
from raftline.lab.network import Held, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["LATE_SNAPSHOTS", "ONLY_A_SNAPSHOT"]

_COMMAND_BYTES = 1000
_SNAPSHOT_BYTES_MIN = 8000
"""A call with so many bytes, to a server that lacks commands of 1,000 each, carries a snapshot or as good as one."""
_PATIENCE_S = 5.0
_MOMENT_S = 0.02


async def _late_snapshot(bench: Bench, *, restarted: bool) -> bool:
    """A snapshot arrives, once more, when its receiver has a newer one, maybe in a new life: nothing happens (D9)."""
    async with Cluster(bench, 3, snapshots=True) as cluster:
        leader, away = await _one_away(cluster)
        snapshot = await _catch_snapshot(cluster, leader, away)
        if snapshot is None:
            return False
        cluster.network.discard(snapshot)
        index = 0
        for _ in range(10):
            index = await cluster.agree(bench.random.randbytes(_COMMAND_BYTES), 2, retry=True)
        if not await cluster.until(lambda: index in cluster.ledger.delivered[away], 2 * _PATIENCE_S):
            return False
        if cluster.state(away)[0] != cluster.state(leader)[0]:
            return False
        if restarted:
            cluster.start(away)
        await cluster.deliver_copy(snapshot)
        await asyncio.sleep(_MOMENT_S)
        cluster.connect(away)
        await cluster.agree(b"the end", 3, retry=True)
        return True


async def _snapshot_of_an_old_leader(bench: Bench) -> bool:
    """A snapshot arrives that a leader sent in a term that is over; its receiver knows the next one (D8)."""
    async with Cluster(bench, 3, snapshots=True) as cluster:
        leader, away = await _one_away(cluster)
        snapshot = await _catch_snapshot(cluster, leader, away)
        if snapshot is None:
            return False
        old_term = cluster.watch.term_of_call(snapshot.call.number) or 0
        cluster.network.discard(snapshot)
        other = next(server for server in range(3) if server not in {leader, away})
        cluster.set_requests(leader, (away,), Valve.DROP)
        cluster.start(leader)
        cluster.set_requests(other, (away,), Valve.HOLD)
        cluster.set_requests(away, (leader, other), Valve.DROP)
        if not await cluster.until(lambda: _asks_in_a_new_term(cluster, other, away, old_term), _PATIENCE_S):
            return False
        cluster.network.release(cluster.held("request", other, away)[-1])
        await asyncio.sleep(_MOMENT_S)
        term, _ = cluster.state(away)
        before = len(cluster.ledger.delivered[away])
        if term <= old_term:
            return False
        await cluster.deliver_copy(snapshot)
        await asyncio.sleep(_MOMENT_S)
        if len(cluster.ledger.delivered[away]) > before:
            seen = f"server {away}, in term {term}, installed a snapshot that the leader of term {old_term} had sent"
            raise BrokenPromise("old snapshot", seen, server=away, term=term)
        return True


async def _only_a_snapshot(bench: Bench) -> bool:
    """A server holds an installed snapshot and no entry behind it: that is a log good enough to be elected for (D5).

    Its voter has the same log.
    """
    async with Cluster(bench, 3, snapshots=True) as cluster:
        cluster.start_all()
        index = await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        holder, voter = bench.random.sample([server for server in range(3) if server != leader], 2)
        cluster.crash(holder)
        while index < SNAPSHOT_INTERVAL - 1:
            index = await cluster.agree(b"command %d" % index, 2, retry=True)
        cluster.start(holder)
        cluster.connect(holder)
        if not await cluster.until(lambda: index in cluster.ledger.delivered[holder], _PATIENCE_S):
            return False
        cluster.crash(leader)
        cluster.crash(voter)  # so that its timer takes no part
        cluster.set_requests(holder, (voter,), Valve.HOLD)
        old_term, _ = cluster.state(holder)
        if not await cluster.until(lambda: _asks_in_a_new_term(cluster, holder, voter, old_term), _PATIENCE_S):
            return False
        cluster.start(voter)
        cluster.connect(voter)
        term, _ = cluster.state(holder)
        for held in cluster.held("request", holder, voter, term=term)[-1:]:
            cluster.network.release(held)
        if not await cluster.until(lambda: cluster.leads(holder), _MOMENT_S) and cluster.state(holder)[0] == term:
            seen = (
                f"server {holder}, which holds a snapshot at index {index} and no entry, was refused by server {voter} "
                "in the same state"
            )
            raise BrokenPromise("leader", f"{seen}; {cluster.describe()}", server=holder, index=index, term=term)
        return True


async def _one_away(cluster: Cluster) -> tuple[int, int]:
    """Commit twelve commands while one server is down, so that it lacks a snapshot; return the leader and that one."""
    cluster.start_all()
    await cluster.agree(b"common", 3, retry=True)
    leader = await cluster.check_one_leader()
    away = (leader + 1) % 3
    cluster.crash(away)
    for _ in range(12):
        await cluster.agree(cluster.bench.random.randbytes(_COMMAND_BYTES), 2, retry=True)
    return await cluster.check_one_leader(), away


async def _catch_snapshot(cluster: Cluster, leader: int, away: int) -> Held | None:
    """Let a server come back, and hold what brings it the snapshot."""
    cluster.start(away)
    cluster.connect(away)
    return await cluster.catch(leader, away, _SNAPSHOT_BYTES_MIN, _PATIENCE_S)


def _asks_in_a_new_term(cluster: Cluster, source: int, target: int, old_term: int) -> bool:
    held = cluster.held("request", source, target)
    return bool(held) and (cluster.watch.term_of_call(held[-1].call.number) or 0) > old_term


LATE_SNAPSHOTS = (
    Script(
        "a snapshot arrives when a newer one is there",
        ("D9", "D11"),
        lambda bench: _late_snapshot(bench, restarted=False),
        virtual_only=True,
    ),
    Script(
        "a snapshot arrives when a newer one was there before a restart",
        ("D9", "C12"),
        lambda bench: _late_snapshot(bench, restarted=True),
        virtual_only=True,
    ),
    Script("a snapshot of an old leader arrives", ("D8", "E6"), _snapshot_of_an_old_leader, virtual_only=True),
)
ONLY_A_SNAPSHOT = (
    Script("a server that holds nothing but a snapshot stands for election", ("D5", "A13"), _only_a_snapshot),
)
