"""Exact schedules about agreement: consumers that are slow, and logs that must not win an election."""

import asyncio

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["RESTRICTION", "SLOW_CONSUMER"]


async def _slow_consumer(bench: Bench) -> None:
    """Servers whose consumers take 0.2 s per command stay what they are, and deliver everything in order (F8, F9)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        leader = await cluster.check_one_leader()
        term, _ = cluster.state(leader)
        for server in range(3):
            cluster.delay_delivery(server, 0.2)
        last = 0
        for number in range(15):
            last = cluster.submit(leader, b"%d" % number)[0]
            await asyncio.sleep(0.02)
        await asyncio.sleep(2)
        if bench.virtual and cluster.state(leader) != (term, True):
            seen = f"server {leader} lost its office while consumers were slow; {cluster.describe()}"
            raise BrokenPromise("stable", seen, server=leader, term=term, suspects=("F9", "F12"))
        await cluster.wait(last, 3)


async def _old_but_long(bench: Bench) -> None:
    """A long log of an old term must not win against a short one with a committed entry of a later term (§5.4.1)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        old = await cluster.check_one_leader()
        cluster.disconnect(old)
        for number in range(8):
            cluster.submit(old, b"lost %d" % number)
        index = await cluster.agree(b"kept", 2, retry=True)
        await _check_refused(cluster, candidate=old, index=index)


async def _short_of_same_term(bench: Bench) -> None:
    """A log that ends earlier in the same term lacks what was committed since, and must not win (§5.4.1)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        behind = (leader + 1) % 3
        cluster.disconnect(behind)
        index = 0
        for number in range(3):
            index = await cluster.agree(b"kept %d" % number, 2, retry=True)
        await _check_refused(cluster, candidate=behind, index=index)


async def _old_tail(bench: Bench) -> None:
    """Of a deposed leader's long tail nothing stays behind the first conflict: a remainder spoils its votes (B7)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        old = await cluster.check_one_leader()
        cluster.disconnect(old)
        for number in range(8):
            cluster.submit(old, b"lost %d" % number)
        await cluster.agree(b"instead", 2, retry=True)
        leader = await cluster.check_one_leader()
        behind = next(server for server in range(3) if server not in {old, leader})
        cluster.disconnect(behind)
        cluster.connect(old)
        index = await cluster.agree(b"kept", 2, retry=True)
        await _check_refused(cluster, candidate=behind, index=index)


async def _check_refused(cluster: Cluster, *, candidate: int, index: int) -> None:
    """Let `candidate`, which lacks the committed `index`, ask one server that has it; it must not be elected."""
    leader = next(server for server in range(3) if server != candidate and cluster.leads(server))
    voter = next(server for server in range(3) if server not in {candidate, leader})
    cluster.disconnect(leader)
    term, _ = cluster.state(voter)
    cluster.set_requests(voter, (candidate,), Valve.DROP)
    cluster.connect(candidate)
    if await cluster.leader_among((candidate,), 4, above_term=term) is not None:
        term, _ = cluster.state(candidate)
        seen = (
            f"server {candidate} was elected in term {term} by server {voter}, though it lacks committed index {index}"
        )
        raise BrokenPromise("kept", seen, server=candidate, index=index, term=term)
    cluster.network.open_valves()
    cluster.connect(leader)
    await cluster.agree(b"the end", 3, retry=True)


SLOW_CONSUMER = (Script("consumers that take 0.2 s per command", ("F9", "F8"), _slow_consumer),)
RESTRICTION = (
    Script("a long log of an old term stands for election", ("A13",), _old_but_long),
    Script("a log that lacks an entry asks a server whose tail was replaced", ("B7", "A13"), _old_tail),
    Script("a short log of the same term stands for election", ("A13",), _short_of_same_term),
)
