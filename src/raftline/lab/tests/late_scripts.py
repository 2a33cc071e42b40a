"""Exact schedules about messages that arrive when the world has changed: old entries, old acknowledgements."""

import asyncio

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import Held, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["ACKNOWLEDGEMENTS", "ENTRIES", "RETURN", "UNDER_A_SNAPSHOT"]


async def _stale_append(bench: Bench) -> bool:
    """A first AppendEntries hangs, later ones go through; then it arrives after all and must not cut the log (B6)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        base = await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        office = cluster.state(leader)
        follower, away = bench.random.sample([server for server in range(3) if server != leader], 2)
        cluster.disconnect(away)
        stale = await _hold_first_append(cluster, leader, follower, b"first")
        for command in (b"second", b"third"):
            cluster.submit(leader, command)
        if not await cluster.until(lambda: base + 3 in cluster.ledger.delivered[leader], 2):
            if cluster.state(leader) != office:
                return False
            seen = (
                f"server {leader} committed nothing for 2 s while {len(stale)} of its calls to server {follower} hung, "
                "though every later call would have got through"
            )
            raise BrokenPromise("no waiting", seen, server=leader, index=base + 1, suspects=("E9",))
        _deliver(cluster, stale)
        await asyncio.sleep(0.005)
        cluster.disconnect(leader)
        cluster.connect(away)
        index = await cluster.agree(b"fourth", 2, retry=True)
        if index <= base + 3:
            seen = f"a command got index {index}; index {base + 3} was committed by server {leader} before"
            raise BrokenPromise("kept", seen, server=follower, index=index)
        return bool(stale)


async def _append_below_snapshot(bench: Bench) -> bool:
    """An AppendEntries arrives when a snapshot covers all it carries: nothing in it is a conflict (D14)."""
    async with Cluster(bench, 3, snapshots=True) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        leader = await cluster.check_one_leader()
        office = cluster.state(leader)
        follower, other = bench.random.sample([server for server in range(3) if server != leader], 2)
        stale = await _hold_first_append(cluster, leader, follower, b"first")
        last = 0
        for number in range(25):
            last = await cluster.agree(b"command %d" % number, 3, retry=True)
        if not stale or cluster.state(leader) != office:
            return False
        _deliver(cluster, stale)
        await asyncio.sleep(0.005)
        cluster.disconnect(leader)
        index = await cluster.agree(b"without the leader", 2, retry=True)
        if index <= last:
            seen = f"a command got index {index}; index {last} was committed before"
            raise BrokenPromise("kept", seen, server=follower, index=index)
        cluster.disconnect(other)
        cluster.connect(leader)
        await cluster.agree(b"without the other", 2, retry=True)
        return True


async def _stale_acknowledgement(bench: Bench) -> bool:
    """A leader's first office, its fall, its second office; an acknowledgement of the first must not count then (E1).

    In the first, `leader` gives five entries to `follower`, whose acknowledgement hangs. The other three elect, commit
    something else, and `leader` takes it over. Leading again, it reaches only one server; the late acknowledgement
    would be the third of five.
    """
    async with Cluster(bench, 5) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 5, retry=True)
        leader = await cluster.check_one_leader()
        follower, *rest = bench.random.sample([server for server in range(5) if server != leader], 4)
        cluster.disconnect(*rest)
        cluster.set_replies(leader, (follower,), Valve.HOLD)
        for number in range(5):
            cluster.submit(leader, b"first office %d" % number)
        await asyncio.sleep(0.3)
        term, _ = cluster.state(leader)
        late = cluster.held("reply", leader, follower)
        cluster.disconnect(leader, follower)
        cluster.connect(*rest)
        index = await cluster.agree(b"meanwhile", 3, retry=True)
        second = await cluster.leader_among(rest, 5, above_term=term)
        cluster.connect(leader)
        caught_up = await cluster.until(lambda: index in cluster.ledger.delivered[leader], 5)
        voters = [server for server in rest if server != second]
        if second is None or not caught_up or not await _lead_again(cluster, leader, voters):
            return False
        cluster.set_requests(leader, (second, *voters[1:]), Valve.DROP)
        for number in range(5):
            cluster.submit(leader, b"second office %d" % number)
        await asyncio.sleep(0.3)
        cluster.connect(follower)
        cluster.set_requests(leader, (follower,), Valve.DROP)
        _deliver(cluster, late)
        await asyncio.sleep(0.2)
        return bool(late)


async def _lead_again(cluster: Cluster, leader: int, voters: list[int]) -> bool:
    """Have `leader` elected by `voters`, which are down until it asks, so that their own timers take no part."""
    cluster.disconnect(*(server for server in range(cluster.count) if server not in {leader, *voters}))
    for voter in voters:
        cluster.crash(voter)
        cluster.set_requests(voter, [other for other in range(cluster.count) if other != voter], Valve.DROP)
    cluster.set_requests(leader, voters, Valve.HOLD)
    before, _ = cluster.state(leader)

    def asks() -> bool:
        term, _ = cluster.state(leader)
        return term > before and all(cluster.held("request", leader, voter, term=term) for voter in voters)

    if not await cluster.until(asks, 5):
        return False
    term, _ = cluster.state(leader)
    cluster.set_requests(leader, voters, Valve.OPEN)
    for voter in voters:
        cluster.start(voter)
        cluster.connect(voter)
        _deliver(cluster, cluster.held("request", leader, voter, term=term)[-1:])
    return await cluster.until(lambda: cluster.state(leader) == (term, True), 0.1)


async def _away_for_long(bench: Bench) -> None:
    """A follower whose calls failed for 8 s is sent what it lacks, and not the whole log (E5)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        size = 2000
        for _ in range(30):
            await cluster.agree(bench.random.randbytes(size), 3, retry=True)
        leader = await cluster.check_one_leader()
        away = (leader + 1) % 3
        before = cluster.network.bytes_of(away)
        cluster.disconnect(away)
        await asyncio.sleep(8)
        cluster.connect(away)
        await cluster.agree(b"back", 3, retry=True)
        await asyncio.sleep(0.5)
        used = cluster.network.bytes_of(away) - before
        if used > 10 * size:
            seen = (
                f"server {away} was away for 8 s and lacked nothing, but was sent {used} bytes of a log of {30 * size}"
            )
            raise BrokenPromise("bytes", seen, server=away)


async def _hold_first_append(cluster: Cluster, leader: int, follower: int, command: bytes) -> list[Held]:
    """Submit a command and hold back the first call that the leader makes to its follower from then on."""
    cluster.set_requests(leader, (follower,), Valve.HOLD)
    cluster.submit(leader, command)
    await cluster.until(lambda: bool(cluster.held("request", leader, follower)), 0.2)
    cluster.set_requests(leader, (follower,), Valve.OPEN)
    return cluster.held("request", leader, follower)


def _deliver(cluster: Cluster, messages: list[Held]) -> None:
    for held in messages:
        cluster.bench.note(f"the held {held.what} #{held.call.number} is delivered")
        cluster.network.release(held)


ENTRIES = (Script("an AppendEntries arrives long after later ones", ("B6", "E7"), _stale_append),)
ACKNOWLEDGEMENTS = (
    Script("an acknowledgement arrives in its leader's second term of office", ("E1", "E2"), _stale_acknowledgement),
)
RETURN = (Script("a follower comes back after 8 s", ("E5", "B29"), _away_for_long, virtual_only=True),)
UNDER_A_SNAPSHOT = (
    Script("an AppendEntries arrives when a snapshot covers it", ("D14", "D4"), _append_below_snapshot),
)
