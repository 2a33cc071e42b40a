"""Exact schedules about what must be saved, and the paper's Figure 8, step by step."""

import asyncio

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import Held, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script
from raftline.lab.tests.election_scripts import race_for_one_vote

__all__ = ["FIGURE_8", "VOTER_CRASHES"]

_MOMENT_S = 0.005
_OLD, _NEW, _LAST = b"of the first leader", b"of the second leader", b"of the last leader"


async def _voter_restarts(cluster: Cluster, _first: int, voter: int) -> None:
    """The voter crashes right after its vote has left, and comes back."""
    cluster.crash(voter)
    cluster.start(voter)
    cluster.connect(voter)


async def _second_vote_of_a_known_term(bench: Bench) -> bool:
    """Voters that knew a term before they voted in it crash after their votes, and are asked by another (C3).

    They learn the term from a candidate whose log is too old, so that granting a vote is all that there is to save. Of
    five servers two are such voters; the two other candidates need both.
    """
    async with Cluster(bench, 5) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 5, retry=True)
        leader = await cluster.check_one_leader()
        outdated, first, second, voter = bench.random.sample([server for server in range(5) if server != leader], 4)
        voters = [leader, voter]
        _stand_alone(cluster, outdated)
        cluster.disconnect(outdated)
        await cluster.agree(b"newer", 4, retry=True)
        if not cluster.leads(leader):
            return False
        for server in voters:
            cluster.crash(server)
        for server in (first, second):
            _stand_alone(cluster, server)

        def requests(source: int, term: int) -> list[Held]:
            return [held for voter in voters for held in cluster.held("request", source, voter, term=term)[-1:]]

        def stand_together() -> bool:
            term, leads = cluster.state(first)
            together = not leads and cluster.state(second) == (term, False)
            return together and all(len(requests(source, term)) == 2 for source in (outdated, first, second))

        if not await cluster.until(stand_together, 5):
            return False
        term, _ = cluster.state(first)
        cluster.connect(outdated)
        if not await _ask_anew(cluster, first, requests(outdated, term), requests(first, term)):
            return False
        return await _ask_anew(cluster, first, requests(second, term))


async def _ask_anew(cluster: Cluster, first: int, *rounds: list[Held]) -> bool:
    """Start the voters, again if they live, and deliver requests; return whether only `first` was elected."""
    for voter in {held.target for held in rounds[0]}:
        cluster.start(voter)
        cluster.connect(voter)
    term = cluster.watch.term_of_call(rounds[0][0].call.number)
    for requests in rounds:
        for held in requests:
            cluster.network.release(held)
        await asyncio.sleep(_MOMENT_S)
    cluster.watch.look_at_all()
    return term is not None and cluster.watch.leaders.get(term) == first


def _stand_alone(cluster: Cluster, server: int) -> None:
    """Keep all that a server asks the others; it hears nobody but those who answer."""
    others = [other for other in range(cluster.count) if other != server]
    cluster.set_requests(server, others, Valve.HOLD)
    for other in others:
        cluster.set_requests(other, (server,), Valve.DROP)


async def _term_from_heartbeat(bench: Bench) -> None:
    """A server learns a term from a heartbeat, and nothing else; after a restart it still knows it (C6)."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        leader = await cluster.check_one_leader()
        first_term, _ = cluster.state(leader)
        learner = (leader + 1) % 3
        cluster.crash(learner)
        cluster.start(leader)
        cluster.connect(leader)
        others = [server for server in range(3) if server != learner]
        if await cluster.leader_among(others, 5, above_term=first_term) is None:
            raise BrokenPromise("leader", f"nobody was elected within 5 s; {cluster.describe()}")
        cluster.start(learner)
        cluster.connect(learner)
        await cluster.until(lambda: cluster.state(learner)[0] > first_term, 2)
        await asyncio.sleep(0.05)
        cluster.start(learner)
        cluster.connect(learner)
        await cluster.check_one_leader()


async def _dead_voter(bench: Bench) -> bool:
    """A killed server is asked for its vote: it must not record one, because nobody would remember it (E8)."""
    async with Cluster(bench, 3) as cluster:
        candidate, voter, _ = bench.random.sample(range(3), 3)
        cluster.set_requests(candidate, (voter,), Valve.HOLD)
        cluster.start(candidate)
        cluster.connect(candidate)
        if not await cluster.until(lambda: bool(cluster.held("request", candidate, voter)), 5):
            return False
        cluster.start(voter)
        request = cluster.held("request", candidate, voter)[-1].call
        await cluster.ask_the_dead(voter, request.method, request.args)
        return True


async def _figure_8(bench: Bench) -> None:
    """An entry of an old term is on a majority, its leader leads again, and then the other leader wins (§5.4.2).

    Servers: `first` leads and reaches only `partner`; `second` is elected by the others and takes a command alone;
    `first` or `partner` leads again and copies the old entry to `middle`: a majority has it, and it is not committed.
    Then `second`, whose last entry is of a later term, is elected by `middle` and `last`, and replaces it.
    """
    async with Cluster(bench, 5) as cluster:
        cluster.start_all()
        index = await cluster.agree(b"common", 5, retry=True) + 1
        first = await cluster.check_one_leader()
        partner, *others = bench.random.sample([server for server in range(5) if server != first], 4)
        cluster.disconnect(*others)
        _take(cluster, first, _OLD, index)
        await asyncio.sleep(0.5)
        cluster.disconnect(first, partner)

        old_term, _ = cluster.state(first)
        cluster.connect(*others)
        second = await _elected(cluster, others, old_term)
        cluster.disconnect(second)
        _take(cluster, second, _NEW, index)
        second_term, _ = cluster.state(second)
        middle, last = [server for server in others if server != second]

        cluster.disconnect(last)
        cluster.connect(first, partner)
        third = await _elected(cluster, (first, partner, middle), second_term)
        third_term, _ = cluster.state(third)
        await asyncio.sleep(1)
        early = [server for server in (first, partner, middle) if cluster.ledger.delivered[server].get(index) == _OLD]
        if early:
            seen = (
                f"server {third} committed index {index}, of term {old_term}, while it led term {third_term} and had "
                f"no entry of that term; delivered by servers {early}"
            )
            await _show_damage(cluster, second, (middle, last), (first, partner))
            raise BrokenPromise("own term", seen, server=third, index=index, term=third_term)

        cluster.disconnect(first, partner)
        cluster.connect(second, last)
        fourth = await _elected(cluster, (second, middle, last), third_term)
        _take(cluster, fourth, _LAST, None)
        cluster.connect(first, partner)
        await cluster.agree(b"the end", 5, retry=True)


async def _show_damage(cluster: Cluster, second: int, voters: tuple[int, int], away: tuple[int, int]) -> None:
    """Let the other leader replace what was committed, for the trace; the failure is certain already."""
    bench = cluster.bench
    bench.note("what was committed too early can still be replaced:")
    cluster.disconnect(*away)
    cluster.connect(second, voters[1])
    if await cluster.leader_among((second, *voters), 5) == second:
        cluster.submit(second, _LAST)
        await asyncio.sleep(0.5)
    cluster.set_requests(second, voters, Valve.DROP)


async def _elected(cluster: Cluster, servers: tuple[int, ...] | list[int], above_term: int) -> int:
    leader = await cluster.leader_among(servers, 10, above_term=above_term)
    if leader is None:
        seen = f"none of servers {list(servers)} was elected within 10 s, though they are a majority"
        raise BrokenPromise("leader", f"{seen}; {cluster.describe()}")
    return leader


def _take(cluster: Cluster, server: int, command: bytes, index: int | None) -> None:
    got, term, leads = cluster.submit(server, command)
    if not leads:
        seen = f"server {server} led just now and refused a command; {cluster.describe()}"
        raise BrokenPromise("stable", seen, server=server)
    if index is not None and got != index:
        raise BrokenPromise(
            "index", f"server {server} gave index {got} where {index} comes next", server=server, term=term
        )


VOTER_CRASHES = (
    Script(
        "a voter crashes after its vote, restarts, and is asked by another candidate of that term",
        ("C3", "C2"),
        lambda bench: race_for_one_vote(bench, _voter_restarts),
    ),
    Script(
        "voters that knew the term crash after their votes, restart, and are asked by another candidate",
        ("C3", "C6"),
        _second_vote_of_a_known_term,
    ),
    Script("a server learns a term from a heartbeat and restarts", ("C6", "C4"), _term_from_heartbeat),
    Script("a killed server is asked for its vote", ("E8",), _dead_voter),
)
FIGURE_8 = (Script("Figure 8 of the paper, step by step", ("B11",), _figure_8),)
