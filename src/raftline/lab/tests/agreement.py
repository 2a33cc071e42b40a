"""Lab 2B: commands given to the leader are committed, in one order, on everybody, with few messages."""

import asyncio

from raftline.lab.cluster import ELECTION_S, Cluster
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests import agreement_scripts, late_scripts, repair_scripts
from raftline.lab.tests.case import LabTest

__all__ = ["TESTS"]

_HEARTBEATS_PER_S_MAX = 12
"""Ten, one more for where the second begins, and one for a commit that is announced."""


_SAVES_OF_NOTHING_MAX = 2
"""In an idle second; one for each heartbeat would be more."""


async def basic_agreement(cluster: Cluster) -> None:
    """Three commands get the indices 1, 2, 3, and nothing is delivered before it is submitted."""
    for index in (1, 2, 3):
        count, found = cluster.delivered(index)
        if count:
            seen = f"{count} servers delivered {found!r} at index {index} before any command was given for it"
            raise BrokenPromise("not early", seen, index=index)
        await _agree_at(cluster, index, b"%d" % (index * 100))


async def rpc_byte_count(cluster: Cluster) -> None:
    """Ten commands of 5,000 bytes each travel to each follower once."""
    await cluster.agree(b"99", cluster.count, retry=False)
    before = cluster.network.bytes_total
    sent = 0
    for index in range(2, 12):
        command = cluster.bench.random.randbytes(5000)
        await _agree_at(cluster, index, command)
        sent += len(command)
    used = cluster.network.bytes_total - before
    allowed = cluster.count * sent + 50_000
    if used > allowed:
        seen = (
            f"{used} bytes of RPCs for {sent} bytes of commands to {cluster.count - 1} followers; {allowed} are enough"
        )
        raise BrokenPromise("bytes", seen)


async def follower_reconnects(cluster: Cluster) -> None:
    """Two of three go on without the third, which gets everything when it is back."""
    await cluster.agree(b"101", cluster.count, retry=False)
    leader = await cluster.check_one_leader()
    away = (leader + 1) % cluster.count
    cluster.disconnect(away)
    await cluster.agree(b"102", cluster.count - 1, retry=False)
    await cluster.agree(b"103", cluster.count - 1, retry=False)
    await asyncio.sleep(ELECTION_S)
    await cluster.agree(b"104", cluster.count - 1, retry=False)
    await cluster.agree(b"105", cluster.count - 1, retry=False)
    cluster.connect(away)
    await cluster.agree(b"106", cluster.count, retry=True)
    await asyncio.sleep(ELECTION_S)
    await cluster.agree(b"107", cluster.count, retry=True)


async def too_many_disconnect(cluster: Cluster) -> None:
    """With three of five followers gone nothing commits; with them back work goes on."""
    await cluster.agree(b"10", cluster.count, retry=False)
    leader = await cluster.check_one_leader()
    away = [(leader + n) % cluster.count for n in (1, 2, 3)]
    cluster.disconnect(*away)
    index, term, leads = cluster.submit(leader, b"20")
    if not leads:
        raise BrokenPromise("agreement", f"server {leader} led just now and refused a command", server=leader)
    if index != 2:
        seen = f"server {leader} gave index {index} to the second command"
        raise BrokenPromise("index", seen, server=leader, index=index, term=term)
    await asyncio.sleep(2 * ELECTION_S)
    count, _ = cluster.delivered(index)
    if count:
        seen = f"{count} servers delivered index {index}, but only 2 of {cluster.count} could talk"
        raise BrokenPromise("minority", seen, server=leader, index=index, term=term)
    cluster.connect(*away)
    leader = await cluster.check_one_leader()
    index, term, leads = cluster.submit(leader, b"30")
    if not leads:
        raise BrokenPromise("agreement", f"server {leader} led just now and refused a command", server=leader)
    if index not in {2, 3}:
        seen = f"server {leader} gave index {index} to a command that must get 2 or 3"
        raise BrokenPromise("index", seen, server=leader, index=index, term=term)
    await cluster.agree(b"1000", cluster.count, retry=True)


async def concurrent_starts(cluster: Cluster) -> None:
    """Five start() at once: five indices, and all five commands are delivered."""
    for attempt in range(5):
        if attempt:
            await asyncio.sleep(3)  # let a new leader settle
        leader = await cluster.check_one_leader()
        _, term, leads = cluster.submit(leader, b"1")
        if leads and await _concurrent_round(cluster, leader, term):
            return
    raise BrokenPromise("stable", "the term changed in each of five attempts, though nothing failed")


async def rejoin(cluster: Cluster) -> None:
    """A cut-off leader's own commands are replaced when it comes back."""
    await cluster.agree(b"101", cluster.count, retry=True)
    first = await cluster.check_one_leader()
    cluster.disconnect(first)
    for command in (b"102", b"103", b"104"):
        cluster.submit(first, command)
    await cluster.agree(b"103", 2, retry=True)
    second = await cluster.check_one_leader()
    cluster.disconnect(second)
    cluster.connect(first)
    await cluster.agree(b"104", 2, retry=True)
    cluster.connect(second)
    await cluster.agree(b"105", cluster.count, retry=True)


async def backs_up_quickly(cluster: Cluster) -> None:
    """Long wrong tails on several followers are replaced in a few steps, not entry by entry."""
    count = cluster.count
    await cluster.agree(_command(cluster), count, retry=True)
    first = await cluster.check_one_leader()
    others = [(first + n) % count for n in (2, 3, 4)]
    cluster.disconnect(*others)
    for _ in range(50):
        cluster.submit(first, _command(cluster))
    await asyncio.sleep(ELECTION_S / 2)
    cluster.disconnect(first, (first + 1) % count)
    cluster.connect(*others)
    for _ in range(50):
        await cluster.agree(_command(cluster), 3, retry=True)
    second = await cluster.check_one_leader()
    other = (first + 2) % count
    if second == other:
        other = (second + 1) % count
    cluster.disconnect(other)
    for _ in range(50):
        cluster.submit(second, _command(cluster))
    await asyncio.sleep(ELECTION_S / 2)
    cluster.disconnect(*range(count))
    cluster.connect(first, (first + 1) % count, other)
    for _ in range(50):
        await cluster.agree(_command(cluster), 3, retry=True)
    cluster.connect(*range(count))
    await cluster.agree(_command(cluster), count, retry=True)


async def rpc_counts(cluster: Cluster) -> None:
    """An election, ten commands and an idle second each take few RPCs."""
    await cluster.check_one_leader()
    used = cluster.network.rpcs_sent
    if not 1 <= used <= 30:
        raise BrokenPromise("rpcs", f"{used} RPCs until the first leader stood; 1 to 30 are right")
    for attempt in range(5):
        if attempt:
            await asyncio.sleep(3)
        if await _counted_round(cluster):
            break
    else:
        raise BrokenPromise("stable", "the term changed in each of five attempts, though nothing failed")
    await _idle_second(cluster)


async def _idle_second(cluster: Cluster) -> None:
    """Count while nothing is to be done: the course allows 60 RPCs, the text 10 heartbeats per follower (J1)."""
    before = cluster.network.rpcs_sent
    received = [cluster.network.rpcs_received(server) for server in range(cluster.count)]
    saved = [cluster.saves_of_nothing(server) for server in range(cluster.count)]
    await asyncio.sleep(ELECTION_S)
    used = cluster.network.rpcs_sent - before
    if used > 3 * 20:
        raise BrokenPromise("rpcs", f"{used} RPCs in an idle second; 60 are the limit, 20 are enough")
    for server in range(cluster.count):
        heard = cluster.network.rpcs_received(server) - received[server]
        if heard > _HEARTBEATS_PER_S_MAX:
            seen = f"server {server} was called {heard} times in an idle second; a leader sends at most 10 heartbeats"
            raise BrokenPromise("rpcs", seen, server=server, suspects=("J1", "A25"))
        times = cluster.saves_of_nothing(server) - saved[server]
        if times > _SAVES_OF_NOTHING_MAX:
            seen = f"server {server} saved the same state {times} times in an idle second"
            raise BrokenPromise("saves", seen, server=server)


async def _agree_at(cluster: Cluster, index: int, command: bytes) -> None:
    """Have a command committed and check the index it got."""
    got = await cluster.agree(command, cluster.count, retry=False)
    if got != index:
        raise BrokenPromise("index", f"the command that must get index {index} got {got}", index=got)


async def _concurrent_round(cluster: Cluster, leader: int, term: int) -> bool:
    """Submit five commands from five tasks; return False if the term changed and the round says nothing."""

    async def submit(number: int) -> tuple[int, int, bool]:
        return cluster.submit(leader, b"%d" % (100 + number))

    results = await asyncio.gather(*(submit(number) for number in range(5)))
    if any(of_term != term or not leads for _, of_term, leads in results):
        return False
    if any(cluster.state(server)[0] != term for server in range(cluster.count)):
        return False
    indices = [index for index, _, _ in results]
    if len(set(indices)) != len(indices):
        seen = f"five start() at once got the indices {indices}"
        raise BrokenPromise("index", seen, server=leader, term=term)
    for number, index in enumerate(indices):
        command = await cluster.wait(index, cluster.count, term=term)
        if command is None:
            return False
        if command != b"%d" % (100 + number):
            seen = f"start() gave index {index} to {100 + number}, but {command!r} was delivered there"
            raise BrokenPromise("same command", seen, server=leader, index=index, term=term)
    return True


async def _counted_round(cluster: Cluster) -> bool:
    """Submit a batch and count; return False if the term changed and the round says nothing."""
    leader = await cluster.check_one_leader()
    before = cluster.network.rpcs_sent
    commands = [_command(cluster) for _ in range(12)]
    first, term, leads = cluster.submit(leader, commands[0])
    if not leads:
        return False
    for number, command in enumerate(commands[1:], start=1):
        index, of_term, leads = cluster.submit(leader, command)
        if not leads or of_term != term:
            return False
        if index != first + number:
            seen = f"start() gave index {index} where {first + number} comes next"
            raise BrokenPromise("index", seen, server=leader, index=index, term=term)
    for number, command in enumerate(commands):
        found = await cluster.wait(first + number, cluster.count, term=term)
        if found is None:
            return False
        if found != command:
            seen = f"start() gave index {first + number} to {command!r}, but {found!r} was delivered there"
            raise BrokenPromise("same command", seen, server=leader, index=first + number, term=term)
    if any(cluster.state(server)[0] != term for server in range(cluster.count)):
        return False
    used = cluster.network.rpcs_sent - before
    if used > (len(commands) + 1 + 1) * 3:
        raise BrokenPromise("rpcs", f"{used} RPCs for {len(commands)} commands given at once; 42 are the limit")
    return True


def _command(cluster: Cluster) -> bytes:
    return b"%d" % cluster.bench.random.getrandbits(63)


TESTS = (
    LabTest("2B", "basic agreement", 3, basic_agreement, scripts=agreement_scripts.SLOW_CONSUMER),
    LabTest("2B", "RPC byte count", 3, rpc_byte_count),
    LabTest(
        "2B",
        "agreement after follower reconnects",
        3,
        follower_reconnects,
        scripts=late_scripts.ENTRIES + late_scripts.RETURN + repair_scripts.SHORT_LOGS,
    ),
    LabTest("2B", "no agreement if too many followers disconnect", 5, too_many_disconnect),
    LabTest("2B", "concurrent Start()s", 3, concurrent_starts),
    LabTest("2B", "rejoin of partitioned leader", 3, rejoin, scripts=agreement_scripts.RESTRICTION),
    LabTest(
        "2B",
        "leader backs up quickly over incorrect follower logs",
        5,
        backs_up_quickly,
        scripts=repair_scripts.WRONG_TAILS,
    ),
    LabTest("2B", "RPC counts aren't too high", 3, rpc_counts),
)
