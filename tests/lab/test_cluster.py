"""The cluster under test: lives, disks and links of servers, and the questions that tests ask about them."""

from collections.abc import Awaitable, Callable

import pytest

from raftline.lab import make
from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import Valve
from raftline.lab.promises import BrokenPromise
from raftline.sim.loop import SimLoop

Body = Callable[[Cluster], Awaitable[None]]


def _run(loop: SimLoop, body: Body, *, start: bool = True, snapshots: bool = False) -> Bench:
    async def main() -> Bench:
        bench = Bench(make, 1, virtual=True)
        async with Cluster(bench, 3, snapshots=snapshots) as cluster:
            if start:
                cluster.start_all()
            await body(cluster)
        return bench

    return loop.run_until_complete(main())


def test_a_healthy_cluster_answers_every_question(sim_loop: SimLoop) -> None:
    """One leader, one term, agreement at 1 and 2, and nothing broken in the end."""

    async def body(cluster: Cluster) -> None:
        leader = await cluster.check_one_leader()
        term = cluster.check_terms()
        assert cluster.state(leader) == (term, True)
        assert await cluster.agree(b"a", 3, retry=False) == 1
        assert await cluster.agree(b"b", 3, retry=True) == 2
        assert await cluster.wait(2, 3, term=term) == b"b"
        assert cluster.delivered(1) == (3, b"a")
        assert cluster.describe().count("leads") == 1

    assert not _run(sim_loop, body).failed.done()


def test_a_crash_keeps_what_was_saved_and_loses_the_rest(sim_loop: SimLoop) -> None:
    """A restarted server delivers again from its own disk, and the dead one's disk is not written any more (H7)."""

    async def body(cluster: Cluster) -> None:
        await cluster.agree(b"a", 3, retry=True)
        cluster.crash(1)
        assert not cluster.is_up(1)
        assert cluster.delivered(1) == (2, b"a")
        assert cluster.submit(1, b"nobody") == (-1, 0, False)
        cluster.start(1)
        cluster.connect(1)
        await cluster.agree(b"b", 3, retry=True)
        assert cluster.delivered(1) == (3, b"a")

    assert not _run(sim_loop, body).failed.done()


def test_a_restart_goes_on_from_a_snapshot(sim_loop: SimLoop) -> None:
    """With snapshots every ten commands, a server restarted at 25 delivers from its snapshot on (D17)."""

    async def body(cluster: Cluster) -> None:
        for number in range(25):
            await cluster.agree(b"%d" % number, 3, retry=True)
        assert cluster.state_size(0) < 500
        cluster.start(0)
        cluster.connect(0)
        await cluster.agree(b"after", 3, retry=True)
        assert cluster.delivered(3) == (3, b"2")

    assert not _run(sim_loop, body, snapshots=True).failed.done()


def test_no_majority_means_no_leader_and_no_agreement(sim_loop: SimLoop) -> None:
    """A lone connected server does not lead, and agreement fails after 10 s with a description (A27, B34)."""

    async def body(cluster: Cluster) -> None:
        leader = await cluster.check_one_leader()
        cluster.disconnect(leader, (leader + 1) % 3)
        cluster.check_no_leader()
        with pytest.raises(BrokenPromise, match=r"was not delivered by 1 servers within 10 s; .*\(disconnected\)"):
            await cluster.agree(b"x", 1, retry=True)

    assert not _run(sim_loop, body).failed.done()


def test_a_leader_of_a_minority_is_reported_when_nobody_may_lead(sim_loop: SimLoop) -> None:
    """check_no_leader() names the server that leads though it is connected to a minority."""

    async def body(cluster: Cluster) -> None:
        leader = await cluster.check_one_leader()
        with pytest.raises(BrokenPromise, match=f"server {leader} leads term"):
            cluster.check_no_leader()

    assert not _run(sim_loop, body).failed.done()


def test_servers_of_different_terms_are_reported(sim_loop: SimLoop) -> None:
    """check_terms() fails when a connected server is in another term than the others."""

    async def body(cluster: Cluster) -> None:
        leader = await cluster.check_one_leader()
        away = (leader + 1) % 3
        cluster.disconnect(away)
        await cluster.until(lambda: cluster.state(away)[0] > cluster.state(leader)[0] + 1, 10)
        cluster.connect(away)
        with pytest.raises(BrokenPromise, match="the servers disagree"):
            cluster.check_terms()

    assert not _run(sim_loop, body).failed.done()


def test_held_messages_are_told_by_link_and_term(sim_loop: SimLoop) -> None:
    """A candidate's requests that are held can be picked out by the term it asked in."""

    async def body(cluster: Cluster) -> None:
        cluster.set_requests(0, (1,), Valve.HOLD)
        cluster.start(0)
        cluster.connect(0)
        await cluster.until(lambda: cluster.state(0)[0] == 3, 10)
        await cluster.until(lambda: len(cluster.held("request", 0, 1)) == 3, 1)
        assert [len(cluster.held("request", 0, 1, term=term)) for term in (1, 2, 3, 4)] == [1, 1, 1, 0]
        assert cluster.held("request", 1, 0) == cluster.held("reply", 0, 1) == []

    assert not _run(sim_loop, body, start=False).failed.done()


def test_the_trace_shows_roles_and_links(sim_loop: SimLoop) -> None:
    """Columns say who leads which term, who is disconnected and who is down."""

    async def body(cluster: Cluster) -> None:
        leader = await cluster.check_one_leader()
        cluster.disconnect(leader)
        cluster.crash((leader + 1) % 3)
        cluster.bench.note("here")
        columns = next(line for line in cluster.bench.trace.lines() if line.endswith("here")).split()[1:4]
        assert columns[leader] == "L1!"
        assert columns[(leader + 1) % 3] == "--"
        assert columns[(leader + 2) % 3] == "f1"

    _run(sim_loop, body)
