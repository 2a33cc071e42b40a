"""Exact schedules about followers whose logs must be repaired: each is sent what it lacks, soon, and little else."""

import asyncio

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.consumer import SNAPSHOT_INTERVAL
from raftline.lab.network import Held, NetworkEvent, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["SHORT_LOGS", "WRONG_TAILS"]

_BIG_BYTES = 30_000
"""An entry that is not to be sent again."""
_PATIENCE_S = 5.0
_SLOW_S = 2.0
"""What a slow consumer takes for a command."""
_PROMPT_S = 0.15
"""From the first refusal to the end of the repair; a heartbeat interval is longer, if it is to allow for this."""


async def _short_log(bench: Bench) -> bool:
    """A follower was down while a few entries were committed, and meets a new leader: only those are sent (B23)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await _agree_big(cluster, 3, 3)
        leader = await cluster.check_one_leader()
        behind = (leader + 1) % 3
        cluster.crash(behind)
        for number in range(3):
            await cluster.agree(b"missed %d" % number, 2, retry=True)
        if not await _new_leader(cluster, leader):
            return False
        index = await cluster.agree(b"of the new leader", 2, retry=True)
        await asyncio.sleep(0.3)
        before = cluster.network.bytes_of(behind)
        cluster.start(behind)
        cluster.connect(behind)
        await _check_repair(cluster, behind, index, before, ("B23", "B24"))
        return True


async def _late_refusal(bench: Bench) -> bool:
    """A follower refuses, is repaired by later calls, and then its refusal arrives: nothing is sent again (E4)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        late = await _refused_and_repaired(cluster)
        if late is None:
            return False
        behind = late[0].target
        await asyncio.sleep(0.3)
        before = cluster.network.bytes_of(behind)
        for held in late:
            bench.note(f"the held reply #{held.call.number} is delivered")
            cluster.network.release(held)
        await asyncio.sleep(0.5)
        _check_bytes(cluster, behind, before, ("E4", "B24"))
        return True


async def _late_refusal_while_sending(bench: Bench) -> bool:
    """A refusal arrives while an entry that was sent since waits for its answer: it is not sent once more (E4)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 3, retry=True)
        late = await _refused_and_repaired(cluster)
        if late is None:
            return False
        leader, behind = late[0].source, late[0].target
        calls: list[int] = []

        def on_event(event: NetworkEvent) -> None:
            if (event.what, event.source, event.target) == ("request", leader, behind):
                calls.append(event.number)

        cluster.set_replies(leader, (behind,), Valve.HOLD)
        cluster.also_on_event = on_event
        cluster.submit(leader, bench.random.randbytes(_BIG_BYTES))
        if not await cluster.until(lambda: bool(calls), 0.1):
            return False
        await asyncio.sleep(0.01)  # the next heartbeat is far away
        before = cluster.network.bytes_of(behind)
        for held in late:
            bench.note(f"the held reply #{held.call.number} is delivered")
            cluster.network.release(held)
        await asyncio.sleep(0.02)
        _check_bytes(cluster, behind, before, ("E4", "B25"))
        return True


async def _refused_and_repaired(cluster: Cluster) -> list[Held] | None:
    """Let a follower refuse a new leader, and be repaired; return its refusal, which is held; None if all went well."""
    leader = await cluster.check_one_leader()
    behind = (leader + 1) % 3
    cluster.crash(behind)
    await _agree_big(cluster, 3, 2)
    if not await _new_leader(cluster, leader):
        return None
    index = await cluster.agree(b"of the new leader", 2, retry=True)
    leader = await cluster.check_one_leader()
    await asyncio.sleep(0.3)
    cluster.set_replies(leader, (behind,), Valve.HOLD)
    cluster.start(behind)
    cluster.connect(behind)
    if not await cluster.until(lambda: bool(cluster.held("reply", leader, behind)), 2):
        return None
    late = cluster.held("reply", leader, behind)
    cluster.set_replies(leader, (behind,), Valve.OPEN)
    if not await cluster.until(lambda: index in cluster.ledger.delivered[behind], _PATIENCE_S):
        return None
    return late


async def _tail_of_a_known_term(bench: Bench) -> bool:
    """A deposed leader's tail of a term of which the others hold entries, too, behind a snapshot (B24, D4)."""
    async with Cluster(bench, 3, snapshots=True) as cluster:
        cluster.start_all()
        for number in range(9):
            await cluster.agree(b"small %d" % number, 3, retry=True)
        await _agree_big(cluster, 3, 3)
        old = await cluster.check_one_leader()
        return await _replace_tail(cluster, old, ("B24", "D4"))


async def _tail_behind_a_base(bench: Bench) -> bool:
    """The leader's only entry of the tail's term is the last one of its snapshot; it sends none for that (D19).

    The consumer of the server with the tail is slow, so that this one has no snapshot, and a longer log.
    """
    async with Cluster(bench, 3, snapshots=True) as cluster:
        cluster.start_all()
        old = await cluster.check_one_leader()
        cluster.delay_delivery(old, _SLOW_S)
        for number in range(SNAPSHOT_INTERVAL - 4):
            await cluster.agree(b"small %d" % number, 2, retry=True)
        await _agree_big(cluster, 3, 2)
        if not cluster.leads(old):
            return False
        await asyncio.sleep(0.1)
        cluster.disconnect(old)
        for number in range(3):
            cluster.submit(old, b"lost %d" % number)
            await cluster.agree(b"kept %d" % number, 2, retry=True)
        if not await _new_leader(cluster, await cluster.check_one_leader()):
            return False
        index = await cluster.agree(b"of the new leader", 2, retry=True)
        await asyncio.sleep(0.3)
        before = cluster.network.bytes_of(old)
        cluster.delay_delivery(old, 0)
        cluster.connect(old)
        await _check_repair(cluster, old, index, before, ("D19", "B24"))
        return True


async def _probe_below_a_base(bench: Bench) -> bool:
    """A leader whose calls succeed, unknown to it, calls from below its follower's snapshot: no conflict (D14).

    Its own consumer is slow, so that it holds all entries, and has no snapshot to send.
    """
    async with Cluster(bench, 3, snapshots=True) as cluster:
        cluster.start_all()
        await _agree_big(cluster, 3, 3)
        index = 0
        while index < SNAPSHOT_INTERVAL + 2:
            index = await cluster.agree(b"small", 3, retry=True)
        old = await cluster.check_one_leader()
        follower = (old + 1) % 3
        others = [server for server in range(3) if server != follower]
        for server in others:
            cluster.set_replies(server, (follower,), Valve.DROP)
        cluster.set_requests(follower, others, Valve.DROP)
        if not await _new_leader(cluster, old):
            return False
        leader = await cluster.check_one_leader()
        cluster.delay_delivery(leader, _SLOW_S)
        while index < 2 * SNAPSHOT_INTERVAL:
            index = await cluster.agree(b"small, too", 2, retry=True)
        await cluster.until(lambda: index in cluster.ledger.delivered[follower], 1)
        before = cluster.network.bytes_of(follower)
        for server in others:
            cluster.set_replies(server, (follower,), Valve.OPEN)
        await asyncio.sleep(0.5)
        if not cluster.leads(leader):
            return False
        _check_bytes(cluster, follower, before, ("D14", "D4"))
        return True


async def _tail_of_an_unknown_term(bench: Bench) -> bool:
    """A leader is cut off as soon as it leads: its tail is of a term of which nobody else holds an entry (B23)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        await _agree_big(cluster, 3, 3)
        if not await _new_leader(cluster, await cluster.check_one_leader()):
            return False
        old = await cluster.check_one_leader()
        return await _replace_tail(cluster, old, ("B23", "B24"))


async def _replace_tail(cluster: Cluster, old: int, suspects: tuple[str, ...]) -> bool:
    """Cut a leader off, give it commands that are lost, and let it come back; check what it is sent, and how soon."""
    cluster.disconnect(old)
    for number in range(3):
        cluster.submit(old, b"lost %d" % number)
    for number in range(3):
        await cluster.agree(b"kept %d" % number, 2, retry=True)
    if not await _new_leader(cluster, await cluster.check_one_leader()):
        return False
    index = await cluster.agree(b"of the new leader", 2, retry=True)
    leader = await cluster.check_one_leader()
    await asyncio.sleep(0.3)
    answered_at_s: list[float] = []

    def on_event(event: NetworkEvent) -> None:
        if (event.what, event.source, event.target) == ("reply", leader, old):
            answered_at_s.append(event.time_s)

    cluster.also_on_event = on_event
    before = cluster.network.bytes_of(old)
    cluster.connect(old)
    await _check_repair(cluster, old, index, before, suspects)
    took_s = cluster.bench.now() - answered_at_s[0] if answered_at_s else 0.0
    if cluster.bench.virtual and cluster.leads(leader) and took_s > _PROMPT_S:
        seen = f"server {old} refused, and had what it lacked only {took_s:.3f} s later; {_PROMPT_S} s are enough"
        raise BrokenPromise("prompt", seen, server=leader)
    return True


async def _new_leader(cluster: Cluster, leader: int) -> bool:
    """Restart the leader, so that somebody has to be elected who guesses what the others hold."""
    term, _ = cluster.state(leader)
    cluster.start(leader)
    cluster.connect(leader)
    servers = [server for server in range(cluster.count) if cluster.is_up(server)]
    return await cluster.leader_among(servers, _PATIENCE_S, above_term=term) is not None


async def _agree_big(cluster: Cluster, count: int, servers: int) -> None:
    for _ in range(count):
        await cluster.agree(cluster.bench.random.randbytes(_BIG_BYTES), servers, retry=True)


async def _check_repair(cluster: Cluster, server: int, index: int, before: int, suspects: tuple[str, ...]) -> None:
    if not await cluster.until(lambda: index in cluster.ledger.delivered[server], _PATIENCE_S):
        seen = f"server {server} came back and did not get index {index} within {_PATIENCE_S:.0f} s"
        raise BrokenPromise("agreement", f"{seen}; {cluster.describe()}", server=server, index=index)
    _check_bytes(cluster, server, before, suspects)


def _check_bytes(cluster: Cluster, server: int, before: int, suspects: tuple[str, ...]) -> None:
    used = cluster.network.bytes_of(server) - before
    if used >= _BIG_BYTES:
        seen = (
            f"server {server} was sent {used} bytes to repair its log, entries of {_BIG_BYTES} that it has among them"
        )
        raise BrokenPromise("bytes", seen, server=server, suspects=suspects)


SHORT_LOGS = (
    Script("a log that is too short meets a new leader", ("B23", "B24", "B29"), _short_log),
    Script("a refusal arrives when the log is repaired", ("E4", "B24"), _late_refusal),
    Script("a refusal arrives while entries are under way", ("E4",), _late_refusal_while_sending, virtual_only=True),
)
WRONG_TAILS = (
    Script("a tail of a term that the leader knows is replaced", ("B24", "B23", "B22"), _tail_of_a_known_term),
    Script("a tail of the term that a snapshot ends with is replaced", ("D19", "B24"), _tail_behind_a_base),
    Script("a leader calls from below its follower's snapshot", ("D14", "D4"), _probe_below_a_base),
    Script("a tail of a term that nobody else knows is replaced", ("B23", "B24", "B22"), _tail_of_an_unknown_term),
)
