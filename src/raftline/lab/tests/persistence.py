"""Lab 2C: crashes and restarts, on networks that lose and reorder, lose nothing that was committed."""

import asyncio
from collections.abc import Awaitable

from raftline.lab.cluster import ELECTION_S, Cluster
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests import late_scripts, persistence_scripts
from raftline.lab.tests.case import LabTest

__all__ = ["TESTS"]

_MAJORITY_OF_FIVE = 3


async def basic_persistence(cluster: Cluster) -> None:
    """All, the leader, and one follower after the other crash and come back."""
    await cluster.agree(b"11", cluster.count, retry=True)
    for server in range(cluster.count):
        cluster.start(server)
    for server in range(cluster.count):
        cluster.connect(server)
    await cluster.agree(b"12", cluster.count, retry=True)
    leader = await cluster.check_one_leader()
    cluster.start(leader)
    cluster.connect(leader)
    await cluster.agree(b"13", cluster.count, retry=True)
    leader = await cluster.check_one_leader()
    cluster.disconnect(leader)
    await cluster.agree(b"14", cluster.count - 1, retry=True)
    cluster.start(leader)
    cluster.connect(leader)
    await cluster.wait(4, cluster.count)  # the one that was away has caught up
    other = ((await cluster.check_one_leader()) + 1) % cluster.count
    cluster.disconnect(other)
    await cluster.agree(b"15", cluster.count - 1, retry=True)
    cluster.start(other)
    cluster.connect(other)
    await cluster.agree(b"16", cluster.count, retry=True)


async def more_persistence(cluster: Cluster) -> None:
    """Five times over: minorities and majorities of five go away and restart."""
    index = 1
    for _ in range(5):
        await cluster.agree(b"%d" % (10 + index), cluster.count, retry=True)
        index += 1
        leader = await cluster.check_one_leader()
        ring = [(leader + n) % cluster.count for n in range(cluster.count)]
        cluster.disconnect(ring[1], ring[2])
        await cluster.agree(b"%d" % (10 + index), cluster.count - 2, retry=True)
        index += 1
        cluster.disconnect(ring[0], ring[3], ring[4])
        for server in (ring[1], ring[2]):
            cluster.start(server)
            cluster.connect(server)
        await asyncio.sleep(ELECTION_S)
        cluster.start(ring[3])
        cluster.connect(ring[3])
        await cluster.agree(b"%d" % (10 + index), cluster.count - 2, retry=True)
        index += 1
        cluster.connect(ring[4], ring[0])
    await cluster.agree(b"1000", cluster.count, retry=True)


async def leader_restarts(cluster: Cluster) -> None:
    """One is cut off, the other two crash; the old leader and the one cut off go on with what was committed."""
    await cluster.agree(b"101", 3, retry=True)
    leader = await cluster.check_one_leader()
    second, third = (leader + 1) % 3, (leader + 2) % 3
    cluster.disconnect(third)
    await cluster.agree(b"102", 2, retry=True)
    cluster.crash(leader)
    cluster.crash(second)
    cluster.connect(third)
    cluster.start(leader)
    cluster.connect(leader)
    await cluster.agree(b"103", 2, retry=True)
    cluster.start(second)
    cluster.connect(second)
    await cluster.agree(b"104", 3, retry=True)


async def figure_8(cluster: Cluster) -> None:
    """A thousand rounds of commands whose leaders crash before or after they replicate; then all must agree."""
    random = cluster.bench.random
    await cluster.agree(_command(cluster), 1, retry=True)
    up = cluster.count
    for _ in range(1000):
        leader = _submit_everywhere(cluster)
        await asyncio.sleep(_figure_8_pause_s(cluster))
        if leader is not None:
            cluster.crash(leader)
            up -= 1
        if up < _MAJORITY_OF_FIVE:
            server = random.randrange(cluster.count)
            if not cluster.is_up(server):
                cluster.start(server)
                cluster.connect(server)
                up += 1
    for server in range(cluster.count):
        if not cluster.is_up(server):
            cluster.start(server)
            cluster.connect(server)
    await cluster.agree(_command(cluster), cluster.count, retry=True)


async def unreliable_agreement(cluster: Cluster) -> None:
    """Many commands at once on a network that loses one message in ten."""
    others: list[Awaitable[int]] = []
    for number in range(1, 50):
        others += [
            asyncio.create_task(cluster.agree(b"%d" % (100 * number + n), 1, retry=True), name=f"agree {number}.{n}")
            for n in range(4)
        ]
        await cluster.agree(b"%d" % number, 1, retry=True)
    cluster.network.reliable = True
    await asyncio.gather(*others)
    await cluster.agree(b"100", cluster.count, retry=True)


async def figure_8_unreliable(cluster: Cluster) -> None:
    """A thousand rounds with leaders cut off at random, messages lost, and replies up to 2 s late."""
    random = cluster.bench.random
    await cluster.agree(_command(cluster), 1, retry=True)
    up = cluster.count
    for number in range(1000):
        if number == 200:
            cluster.network.long_reordering = True
        leader = _submit_everywhere(cluster, connected_only=True)
        await asyncio.sleep(_figure_8_pause_s(cluster))
        if leader is not None and random.random() < 0.5:
            cluster.disconnect(leader)
            up -= 1
        if up < _MAJORITY_OF_FIVE:
            server = random.randrange(cluster.count)
            if not cluster.is_connected(server):
                cluster.connect(server)
                up += 1
    for server in range(cluster.count):
        if not cluster.is_connected(server):
            cluster.connect(server)
    await cluster.agree(_command(cluster), cluster.count, retry=True)


async def churn(cluster: Cluster) -> None:
    """Three clients, servers that crash, restart and lose touch; what a client saw committed stays in the log."""
    over = asyncio.Event()
    clients = [asyncio.create_task(_churn_client(cluster, n, over), name=f"churn client {n}") for n in range(3)]
    for _ in range(20):
        _disturb(cluster)
        await asyncio.sleep(0.7 * ELECTION_S)
    await asyncio.sleep(ELECTION_S)
    cluster.network.reliable = True
    for server in range(cluster.count):
        if not cluster.is_up(server):
            cluster.start(server)
        cluster.connect(server)
    over.set()
    seen_committed = [pair for client in clients for pair in await client]
    await asyncio.sleep(ELECTION_S)
    last = await cluster.agree(_command(cluster), cluster.count, retry=True)
    log = {await cluster.wait(index, cluster.count) for index in range(1, last + 1)}
    for index, command in seen_committed:
        if command not in log:
            seen = f"{command!r} was seen committed at index {index}, but no server has it in the end"
            raise BrokenPromise("kept", seen, index=index)


def _disturb(cluster: Cluster) -> None:
    """Maybe cut one server off, maybe bring one back, maybe crash one."""
    random = cluster.bench.random
    if random.random() < 0.2:
        cluster.disconnect(random.randrange(cluster.count))
    if random.random() < 0.5:
        server = random.randrange(cluster.count)
        if not cluster.is_up(server):
            cluster.start(server)
        cluster.connect(server)
    if random.random() < 0.2:
        server = random.randrange(cluster.count)
        if cluster.is_up(server):
            cluster.crash(server)


async def _churn_client(cluster: Cluster, number: int, over: asyncio.Event) -> list[tuple[int, bytes]]:
    """Submit commands until told to stop; return those seen committed."""
    committed: list[tuple[int, bytes]] = []
    while not over.is_set():
        command = _command(cluster)
        index = -1
        for server in range(cluster.count):
            at, _, leads = cluster.submit(server, command)
            if leads:
                index = at
        if index < 0:
            await asyncio.sleep(0.079 + 0.017 * number)
            continue
        for pause_s in (0.01, 0.02, 0.05, 0.1, 0.2):
            count, found = cluster.delivered(index)
            if count:
                if found == command:
                    committed.append((index, command))
                break
            await asyncio.sleep(pause_s)
    return committed


def _submit_everywhere(cluster: Cluster, *, connected_only: bool = False) -> int | None:
    """Offer a command to every server; return the last that took it."""
    leader = None
    for server in range(cluster.count):
        if cluster.submit(server, _command(cluster))[2] and (not connected_only or cluster.is_connected(server)):
            leader = server
    return leader


def _figure_8_pause_s(cluster: Cluster) -> float:
    random = cluster.bench.random
    return random.random() * 0.5 if random.random() < 0.1 else random.random() * 0.013


def _command(cluster: Cluster) -> bytes:
    return b"%d" % cluster.bench.random.getrandbits(63)


TESTS = (
    LabTest("2C", "basic persistence", 3, basic_persistence, scripts=persistence_scripts.VOTER_CRASHES),
    LabTest("2C", "more persistence", 5, more_persistence),
    LabTest("2C", "partitioned leader and one follower crash, leader restarts", 3, leader_restarts),
    LabTest("2C", "Figure 8", 5, figure_8, scripts=persistence_scripts.FIGURE_8),
    LabTest(
        "2C", "unreliable agreement", 5, unreliable_agreement, reliable=False, scripts=late_scripts.ACKNOWLEDGEMENTS
    ),
    LabTest("2C", "Figure 8 (unreliable)", 5, figure_8_unreliable, reliable=False),
    LabTest("2C", "churn", 5, churn),
    LabTest("2C", "unreliable churn", 5, churn, reliable=False),
)
