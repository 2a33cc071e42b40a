"""Lab 2A: a leader is elected, stays while nothing fails, and is replaced when it does."""

import asyncio

from raftline.lab.cluster import ELECTION_S, Cluster
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests import election_scripts, timer_scripts
from raftline.lab.tests.case import LabTest

__all__ = ["TESTS"]


async def initial_election(cluster: Cluster) -> None:
    """One leader, one term, and both stay as they are while nothing fails."""
    await cluster.check_one_leader()
    await asyncio.sleep(0.05)
    term = cluster.check_terms()
    if term < 1:
        raise BrokenPromise("same term", f"a leader stands in term {term}; the first election is of term 1", term=term)
    await asyncio.sleep(2 * ELECTION_S)
    later = cluster.check_terms()
    if later != term and cluster.bench.virtual:
        seen = f"the term went from {term} to {later} within 2 s in which nothing failed"
        raise BrokenPromise("stable", seen, term=later)
    await cluster.check_one_leader()


async def election_after_failure(cluster: Cluster) -> None:
    """A cut-off leader is replaced, comes back without disturbing, and no minority elects."""
    first = await cluster.check_one_leader()
    cluster.disconnect(first)
    await cluster.check_one_leader()
    cluster.connect(first)
    second = await cluster.check_one_leader()
    other = (second + 1) % cluster.count
    cluster.disconnect(second, other)
    await asyncio.sleep(2 * ELECTION_S)
    cluster.check_no_leader()
    cluster.connect(other)
    await cluster.check_one_leader()
    cluster.connect(second)
    await cluster.check_one_leader()


async def multiple_elections(cluster: Cluster) -> None:
    """Whichever three of seven are cut off, the other four have a leader."""
    await cluster.check_one_leader()
    for _ in range(9):
        cut_off = cluster.bench.random.sample(range(cluster.count), 3)
        cluster.disconnect(*cut_off)
        await cluster.check_one_leader()
        cluster.connect(*cut_off)
    await cluster.check_one_leader()


TESTS = (
    LabTest(
        "2A",
        "initial election",
        3,
        initial_election,
        scripts=election_scripts.ONE_VOTE + timer_scripts.ANNOUNCES + timer_scripts.LONELY,
    ),
    LabTest(
        "2A",
        "election after network failure",
        3,
        election_after_failure,
        scripts=election_scripts.STEP_DOWN + timer_scripts.PATIENCE,
    ),
    LabTest(
        "2A",
        "multiple elections",
        7,
        multiple_elections,
        scripts=election_scripts.LATE_VOTES + timer_scripts.QUIET_TIMERS,
    ),
)
