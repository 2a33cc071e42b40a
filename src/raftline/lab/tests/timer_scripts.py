"""Exact schedules about when a server starts an election, and how soon a winner says so."""

import asyncio
from itertools import pairwise

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import NetworkEvent, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["ANNOUNCES", "LONELY", "PATIENCE", "QUIET_TIMERS"]

_PATIENCE_S = 5.0
_ELECTIONS = 20
_SAME_S = 0.003
"""Lengths that differ by less were drawn once."""
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


async def _granted_votes(bench: Bench) -> bool:
    """Elections of a lonely candidate differ in length (A6); a voter that grants them one by one stays a voter (A4)."""
    async with Cluster(bench, 3) as cluster:
        voter, candidate, third = bench.random.sample(range(3), 3)
        began_at_s: dict[int, float] = {}

        def on_event(event: NetworkEvent) -> None:
            term = cluster.watch.term_of_call(event.number)
            if (event.what, event.source) == ("request", candidate) and term is not None:
                began_at_s.setdefault(term, event.time_s)

        cluster.also_on_event = on_event
        cluster.set_requests(candidate, (voter, third), Valve.HOLD)
        cluster.start(candidate)
        cluster.connect(candidate)
        await cluster.until(lambda: len(began_at_s) >= _ELECTIONS, 30)
        _check_lengths(candidate, list(began_at_s.values()))
        cluster.set_replies(candidate, (voter,), Valve.DROP)
        cluster.set_requests(voter, (candidate, third), Valve.DROP)
        cluster.start(voter)
        cluster.connect(voter)
        for term in list(began_at_s):
            requests = cluster.held("request", candidate, voter, term=term)[-1:]
            for request in requests:
                cluster.network.release(request)
            await asyncio.sleep(0.1)
            if cluster.state(voter)[0] > term:
                seen = (
                    f"server {voter} started an election of term {cluster.state(voter)[0]} within 0.1 s of having "
                    f"given its vote for term {term}"
                )
                raise BrokenPromise("granted", seen, server=voter, term=term)
        return True


def _check_lengths(candidate: int, began_at_s: list[float]) -> None:
    lengths_s = [later - earlier for earlier, later in pairwise(began_at_s)]
    if len(lengths_s) >= _ELECTIONS // 2 and max(lengths_s) - min(lengths_s) < _SAME_S:
        seen = f"{len(lengths_s)} elections of server {candidate} in a row took {lengths_s[0]:.3f} s each"
        raise BrokenPromise("drawn anew", seen, server=candidate)


async def _one_heartbeat_lost(bench: Bench) -> bool:
    """Of a leader's heartbeats one gets lost, now and then: no follower gives it up for that (A7)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        leader = await cluster.check_one_leader()
        term, _ = cluster.state(leader)
        follower = (leader + 1) % 3
        lost: list[int] = []

        def on_event(event: NetworkEvent) -> None:
            if (event.what, event.source, event.target) == ("request lost", leader, follower):
                lost.append(event.number)
                cluster.set_requests(leader, (follower,), Valve.OPEN)

        cluster.also_on_event = on_event
        for count in range(1, 4):
            await asyncio.sleep(1)
            cluster.set_requests(leader, (follower,), Valve.DROP)
            await cluster.until(lambda count=count: len(lost) >= count, 2)  # type: ignore[misc]
        await asyncio.sleep(1)
        if cluster.state(follower)[0] > term:
            seen = (
                f"server {follower} started an election of term {cluster.state(follower)[0]} because one call was lost"
            )
            raise BrokenPromise("patience", seen, server=follower, term=term)
        return len(lost) == 3


async def _refused_and_patient(bench: Bench) -> bool:
    """A follower that refuses what the leader of its term sends, for its log's sake, has heard its leader (A2)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        term, _ = cluster.state(leader)
        follower = (leader + 1) % 3
        others = [server for server in range(3) if server != follower]
        cluster.crash(follower)
        await cluster.agree(b"missed", 2, retry=True)
        cluster.start(leader)
        cluster.connect(leader)
        new = await cluster.leader_among(others, _PATIENCE_S, above_term=term)
        if new is None:
            return False
        cluster.set_replies(new, (follower,), Valve.DROP)
        cluster.set_requests(follower, others, Valve.DROP)
        cluster.start(follower)
        cluster.connect(follower)
        term, _ = cluster.state(new)
        if not await cluster.until(lambda: cluster.state(follower)[0] == term, 2):
            return False
        if await cluster.until(lambda: cluster.state(follower)[0] > term, 3) and cluster.leads(new):
            seen = (
                f"server {follower} started an election of term {cluster.state(follower)[0]}, though server {new}, "
                f"the leader of term {term}, called it all the time; its log lacks what those calls build on"
            )
            raise BrokenPromise("patience", seen, server=follower, term=term, suspects=("A2", "B3"))
        return True


async def _deposed_and_alone(bench: Bench) -> bool:
    """A leader that steps down has a fresh timer: it stands for election neither at once nor never (A10)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        term, _ = cluster.state(leader)
        candidate = (leader + 1) % 3
        cluster.set_requests(candidate, [server for server in range(3) if server != candidate], Valve.HOLD)
        cluster.disconnect(candidate)
        await cluster.agree(b"newer", 2, retry=True)
        if not await cluster.until(lambda: bool(cluster.held("request", candidate, leader)), 10):
            return False
        cluster.disconnect((leader + 2) % 3)
        cluster.connect(candidate)
        cluster.set_requests(leader, (candidate,), Valve.DROP)
        [request] = cluster.held("request", candidate, leader)[-1:]
        learnt = cluster.watch.term_of_call(request.call.number) or 0
        cluster.network.release(request)
        if not await cluster.until(lambda: cluster.state(leader)[0] > term, 0.1):
            return False
        await asyncio.sleep(0.05)
        term, leads = cluster.state(leader)
        if bench.virtual and term > learnt:
            seen = f"server {leader} stepped down, learning of term {learnt}, and stood for election within 50 ms"
            raise BrokenPromise("elects", seen, server=leader, term=term, suspects=("A10", "A9"))
        if not leads and not await cluster.until(lambda: cluster.state(leader)[0] > term, _PATIENCE_S):
            seen = f"server {leader} stepped down in term {term}, heard nobody for {_PATIENCE_S:.0f} s, and waits still"
            raise BrokenPromise("elects", seen, server=leader, term=term, suspects=("A10", "A9"))
        return True


ANNOUNCES = (Script("who wins an election says so", ("A19",), _announces, virtual_only=True),)
PATIENCE = (
    Script("one heartbeat gets lost", ("A7",), _one_heartbeat_lost, virtual_only=True),
    Script("a follower refuses what its leader sends", ("A2", "B3"), _refused_and_patient, virtual_only=True),
    Script("a leader steps down and hears nothing more", ("A10", "A9"), _deposed_and_alone),
)
LONELY = (Script("a voter grants one election after the other", ("A4", "A6"), _granted_votes, virtual_only=True),)
QUIET_TIMERS = (
    Script("a candidate that cannot win keeps asking", ("A2", "A10", "A13"), _hopeless_candidate, virtual_only=True),
    Script("an old leader that hears nothing keeps sending", ("A3",), _old_leader),
)
