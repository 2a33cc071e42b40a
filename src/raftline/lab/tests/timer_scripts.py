"""Exact schedules about when a server starts an election, and how soon a winner says so."""

import asyncio

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import NetworkEvent, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["ANNOUNCES", "QUIET_TIMERS"]

_PATIENCE_S = 5.0
_ANNOUNCED_WITHIN_S = 0.06
"""Less than any sane heartbeat interval, more than a loop that polls its timers every 50 ms needs."""


async def _announces(bench: Bench) -> None:
    """A new leader calls everybody at once, not after the first heartbeat interval."""
    async with Cluster(bench, 3) as cluster:
        called: set[tuple[int, int]] = set()

        def on_event(event: NetworkEvent) -> None:
            if event.what == "request" and cluster.leads(event.source):
                called.add((event.source, event.target))

        cluster.also_on_event = on_event
        cluster.start_all()
        leader = await cluster.leader_among(range(3), _PATIENCE_S)
        if leader is None:
            raise BrokenPromise("leader", f"nobody was elected within 5 s; {cluster.describe()}")
        await asyncio.sleep(_ANNOUNCED_WITHIN_S)
        term, _ = cluster.state(leader)
        missing = [other for other in range(3) if other != leader and (leader, other) not in called]
        if missing and cluster.leads(leader):
            seen = (
                f"{_ANNOUNCED_WITHIN_S * 1000:.0f} ms after server {leader} won term {term} it had not called {missing}"
            )
            raise BrokenPromise("announced", seen, server=leader, term=term)


async def _hopeless_candidate(bench: Bench) -> None:
    """A candidate whose log is too old asks again and again, each time in a higher term; nobody waits for it (A2, A10).

    Its requests are collected beforehand and delivered every 100 ms, so that a timer that they restart never fires.
    """
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        voter, candidate = bench.random.sample([server for server in range(3) if server != leader], 2)
        cluster.disconnect(candidate)
        cluster.set_requests(candidate, (voter,), Valve.HOLD)
        await cluster.agree(b"newer", 2, retry=True)
        await cluster.until(lambda: len(cluster.held("request", candidate, voter)) >= 10 * _PATIENCE_S, 120)
        requests = cluster.held("request", candidate, voter)
        cluster.disconnect(leader)
        cluster.set_requests(voter, (candidate,), Valve.DROP)
        cluster.set_requests(candidate, (voter,), Valve.DROP)
        cluster.connect(candidate)
        for request in requests[: int(10 * _PATIENCE_S)]:
            asked = max(cluster.watch.term_of_call(request.call.number) or 0, cluster.state(voter)[0])
            cluster.network.release(request)
            await asyncio.sleep(0.1)
            if cluster.state(voter)[0] > asked:
                return
        seen = (
            f"server {voter} started no election for {_PATIENCE_S:.0f} s after its leader was gone: "
            f"server {candidate}, whose log is too old to win, kept asking for its vote"
        )
        raise BrokenPromise("elects", seen, server=voter)


async def _old_leader(bench: Bench) -> None:
    """A deposed leader that hears nothing keeps sending heartbeats of its old term; they keep nobody quiet (A3)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        old = await cluster.check_one_leader()
        old_term, _ = cluster.state(old)
        others = [server for server in range(3) if server != old]
        cluster.disconnect(old)
        new = await cluster.leader_among(others, _PATIENCE_S, above_term=old_term)
        if new is None:
            raise BrokenPromise("leader", f"nobody was elected within 5 s; {cluster.describe()}")
        await asyncio.sleep(0.2)
        follower = next(server for server in others if server != new)
        cluster.set_replies(old, others, Valve.DROP)
        cluster.set_requests(follower, (old,), Valve.DROP)
        cluster.disconnect(new)
        cluster.connect(old)
        term, _ = cluster.state(follower)
        if not await cluster.until(lambda: cluster.state(follower)[0] > term, _PATIENCE_S):
            seen = (
                f"server {follower} started no election for {_PATIENCE_S:.0f} s after the leader of its term {term} "
                f"was gone; all it heard were heartbeats of server {old}, of term {old_term}"
            )
            raise BrokenPromise("elects", seen, server=follower, term=term)


ANNOUNCES = (Script("who wins an election says so", ("A19",), _announces, virtual_only=True),)
QUIET_TIMERS = (
    Script("a candidate that cannot win keeps asking", ("A2", "A10", "A13"), _hopeless_candidate, virtual_only=True),
    Script("an old leader that hears nothing keeps sending", ("A3",), _old_leader),
)
