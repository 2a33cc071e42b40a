"""Exact schedules about votes and terms: one voter and two candidates, leaders that must step down, late votes.

Each forces in every run what chance shows now and then. None of them looks into a message: they hold, drop and deliver
whole calls, and see only terms and roles.
"""

import asyncio
from collections.abc import Awaitable, Callable

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster
from raftline.lab.network import Held, NetworkEvent, Valve
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests.case import Script

__all__ = ["LATE_VOTES", "ONE_VOTE", "STEP_DOWN", "race_for_one_vote"]

_MOMENT_S = 0.01
"""Long enough for a message and its reply, short enough that no timer of a sane server fires."""

BetweenVotes = Callable[[Cluster, int, int], Awaitable[None]]
"""What happens between the two requests: (cluster, first candidate, voter)."""


AfterRace = Callable[[Cluster, int, int, int], Awaitable[bool]]
"""What happens instead of the second request: (cluster, winner, loser, term); False if nothing was learnt."""


async def race_for_one_vote(
    bench: Bench, between: BetweenVotes | None = None, *, instead: AfterRace | None = None
) -> bool:
    """Let two candidates of one term ask one voter, one after the other; both must not win.

    The candidates cannot talk with each other. The voter is started once both are candidates of one term, so that its
    own timer takes no part.
    """
    async with Cluster(bench, 3) as cluster:
        voter, first, second = bench.random.sample(range(3), 3)
        cluster.cut(first, second)
        for candidate in (first, second):
            cluster.set_requests(candidate, (voter,), Valve.HOLD)
            cluster.start(candidate)
            cluster.connect(candidate)
        term = await _wait_for_one_term(cluster, first, second, voter)
        if term is None:
            return False
        cluster.set_requests(first, (second,), Valve.HOLD)
        cluster.start(voter)
        cluster.connect(voter)
        _deliver(cluster, cluster.held("request", first, voter, term=term)[-1:])
        if not await cluster.until(lambda: cluster.leads(first), _MOMENT_S):
            return False
        if between is not None:
            await between(cluster, first, voter)
        if cluster.state(second)[0] != term:
            return False
        if instead is not None:
            return await instead(cluster, first, second, term)
        _deliver(cluster, cluster.held("request", second, voter, term=term)[-1:])
        await asyncio.sleep(_MOMENT_S)
        cluster.watch.look_at_all()
        return True


async def _first_heartbeat(cluster: Cluster, first: int, voter: int) -> None:
    """The voter hears the winner's heartbeat before it is asked again (A12)."""
    await cluster.until(lambda: bool(cluster.held("request", first, voter)), 0.15)
    _deliver(cluster, cluster.held("request", first, voter))
    await asyncio.sleep(_MOMENT_S)


async def _loser_follows(cluster: Cluster, winner: int, loser: int, term: int) -> bool:
    """The loser hears the winner, in whose term it is a candidate, and gives up (A20)."""
    await cluster.until(lambda: bool(cluster.held("request", winner, loser)), 0.15)
    if cluster.state(loser)[0] != term:
        return False
    for held in list(cluster.network.held):
        if held.source == loser:
            cluster.network.discard(held)
        else:
            cluster.network.release(held)
    cluster.network.open_valves()
    await asyncio.sleep(2)
    if cluster.state(winner) != (term, True):
        seen = f"server {winner} was elected in term {term} and lost its office within 2 s to server {loser}"
        raise BrokenPromise("followed", f"{seen}; {cluster.describe()}", server=loser, term=term)
    return True


async def _steps_down(bench: Bench, *, on_reply: bool) -> None:
    """A cut-off leader returns to a newer leader's world, and can only send, or only receive."""
    async with Cluster(bench, 3) as cluster:
        cluster.start_all()
        old = await cluster.check_one_leader()
        old_term, _ = cluster.state(old)
        cluster.disconnect(old)
        others = [server for server in range(3) if server != old]
        new = await cluster.leader_among(others, 5, above_term=old_term)
        if new is None:
            raise BrokenPromise("leader", f"nobody was elected within 5 s; {cluster.describe()}")
        if on_reply:
            for other in others:
                cluster.set_requests(other, (old,), Valve.DROP)
        else:
            cluster.set_requests(old, others, Valve.DROP)
        cluster.connect(old)
        if not await cluster.until(lambda: cluster.state(old) != (old_term, True), 1.5):
            heard = "get replies" if on_reply else "get requests"
            seen = (
                f"server {old} still leads term {old_term}, 1.5 s after it began to {heard} from servers "
                f"of a later term; {cluster.describe()}"
            )
            name = "steps down on reply" if on_reply else "steps down on request"
            raise BrokenPromise(name, seen, server=old, term=old_term)


async def _late_votes(bench: Bench) -> bool:
    """A vote of term T arrives when its candidate asks for votes in term T + 1: it must not count (A17)."""
    async with Cluster(bench, 3) as cluster:
        candidate, *voters = bench.random.sample(range(3), 3)
        cluster.set_requests(candidate, voters, Valve.HOLD)
        cluster.start(candidate)
        cluster.connect(candidate)
        if not await cluster.until(lambda: _has_asked(cluster, candidate, voters), 5):
            return False
        term, _ = cluster.state(candidate)
        voter = voters[0]
        cluster.set_replies(candidate, (voter,), Valve.HOLD)
        cluster.set_requests(voter, (candidate,), Valve.DROP)
        cluster.start(voter)
        cluster.connect(voter)
        _deliver(cluster, cluster.held("request", candidate, voter, term=term)[-1:])

        def asks_again() -> bool:
            return cluster.state(candidate)[0] > term and _has_asked(cluster, candidate, voters)

        if not await cluster.until(asks_again, 5):
            return False
        late = cluster.held("reply", candidate, voter, term=term)
        if not late or cluster.state(candidate)[0] != term + 1:
            return False
        _deliver(cluster, late)
        await asyncio.sleep(_MOMENT_S)
        cluster.watch.look_at_all()
        return True


async def _old_candidate(bench: Bench) -> bool:
    """A candidate of term T asks servers that know of a later term and voted for nobody in it: all refuse (A14).

    They learn of the later term from a server that was away and whose log is too old for a vote.
    """
    async with Cluster(bench, 5) as cluster:
        cluster.start_all()
        await cluster.agree(b"common", 5, retry=True)
        leader = await cluster.check_one_leader()
        away, candidate, *voters = bench.random.sample([server for server in range(5) if server != leader], 4)
        everybody = range(5)
        _isolate(cluster, away)
        await cluster.agree(b"newer", 4, retry=True)
        term, _ = cluster.state(leader)
        await cluster.until(lambda: cluster.state(away)[0] > term + 5, 30)
        _isolate(cluster, candidate)
        await cluster.until(lambda: _has_asked(cluster, candidate, voters), 10)
        if not cluster.state(leader)[0] < cluster.state(candidate)[0] < cluster.state(away)[0]:
            return False
        for server in everybody:
            cluster.set_requests(server, [other for other in (away, candidate) if other != server], Valve.DROP)
        cluster.connect(away, candidate)
        for asking in (away, candidate):
            for voter in voters:
                _deliver(cluster, cluster.held("request", asking, voter)[-1:])
            await asyncio.sleep(_MOMENT_S)
        cluster.watch.look_at_all()
        _check_told(cluster, candidate, voters)
        if cluster.leads(candidate):
            old, _ = cluster.state(candidate)
            seen = f"server {candidate} was elected in term {old} by servers {voters}, which knew of a later term"
            raise BrokenPromise("elected", f"{seen}; {cluster.describe()}", server=candidate, term=old)
        return True


def _check_told(cluster: Cluster, candidate: int, voters: list[int]) -> None:
    term, _ = cluster.state(candidate)
    known = min(cluster.state(voter)[0] for voter in voters)
    if cluster.bench.virtual and term < known:
        seen = f"servers {voters}, in term {known}, refused server {candidate} their votes; it is still in term {term}"
        raise BrokenPromise("told", seen, server=candidate, term=term)


async def _vote_asked_twice(bench: Bench) -> bool:
    """A voter hears the same request twice, and only its second answer arrives: it is a vote, too (A15)."""
    async with Cluster(bench, 3) as cluster:
        candidate, voter, _ = bench.random.sample(range(3), 3)
        cluster.set_requests(candidate, (voter,), Valve.HOLD)
        cluster.start(candidate)
        cluster.connect(candidate)
        if not await cluster.until(lambda: _has_asked(cluster, candidate, [voter]), 5):
            return False
        term, _ = cluster.state(candidate)
        [request] = cluster.held("request", candidate, voter, term=term)[-1:]
        cluster.start(voter)
        cluster.connect(voter)
        await cluster.deliver_copy(request)
        _deliver(cluster, [request])
        if await cluster.until(lambda: cluster.leads(candidate), _MOMENT_S):
            return True
        if cluster.state(candidate)[0] != term or cluster.state(voter)[0] != term:
            return False
        seen = f"server {voter} gave server {candidate} its vote in term {term}, and refused it when asked again"
        raise BrokenPromise("asked twice", seen, server=voter, term=term)


async def _vote_for_a_leader(bench: Bench) -> bool:
    """A vote arrives when its candidate leads already: it does not begin to lead once more (A18)."""
    async with Cluster(bench, 3) as cluster:
        candidate, *voters = bench.random.sample(range(3), 3)
        slow = voters[0]
        cluster.set_requests(candidate, voters, Valve.HOLD)
        cluster.start(candidate)
        cluster.connect(candidate)
        if not await cluster.until(lambda: _has_asked(cluster, candidate, voters), 5):
            return False
        term, _ = cluster.state(candidate)
        cluster.set_requests(candidate, voters, Valve.OPEN)
        cluster.set_replies(candidate, (slow,), Valve.HOLD)
        for voter in voters:
            cluster.start(voter)
            cluster.connect(voter)
            _deliver(cluster, cluster.held("request", candidate, voter, term=term)[-1:])
        if not await cluster.until(lambda: cluster.leads(candidate), _MOMENT_S):
            return False
        await cluster.until(lambda: bool(cluster.held("reply", candidate, slow)), _MOMENT_S)
        cluster.set_replies(candidate, (slow,), Valve.OPEN)
        late = cluster.held("reply", candidate, slow, term=term)[:1]
        await asyncio.sleep(0.5)
        calls: list[int] = []

        def on_event(event: NetworkEvent) -> None:
            if (event.what, event.source, event.target) == ("request", candidate, slow):
                calls.append(event.number)

        cluster.also_on_event = on_event
        await cluster.until(lambda: bool(calls), 2)  # the next heartbeat is far away then
        await asyncio.sleep(_MOMENT_S)
        before = len(calls)
        if not late or cluster.state(candidate) != (term, True):
            return False
        _deliver(cluster, late)
        await asyncio.sleep(2 * _MOMENT_S)
        if len(calls) > before:
            seen = (
                f"server {candidate} led term {term}, got one more vote, and called server {slow} as if it had just won"
            )
            raise BrokenPromise("once", seen, server=candidate, term=term)
        return True


def _isolate(cluster: Cluster, server: int) -> None:
    """Cut a server off and keep what it asks the others."""
    cluster.disconnect(server)
    cluster.set_requests(server, [other for other in range(cluster.count) if other != server], Valve.HOLD)


async def _wait_for_one_term(cluster: Cluster, first: int, second: int, voter: int) -> int | None:
    """Wait until two servers stand for election in one term and have asked the voter; return the term."""

    def stand_together() -> bool:
        term, _ = cluster.state(first)
        return (
            term > 0
            and cluster.state(second)[0] == term
            and all(cluster.held("request", candidate, voter, term=term) for candidate in (first, second))
        )

    return cluster.state(first)[0] if await cluster.until(stand_together, 20) else None


def _has_asked(cluster: Cluster, candidate: int, voters: list[int]) -> bool:
    term, _ = cluster.state(candidate)
    return term > 0 and all(cluster.held("request", candidate, voter, term=term) for voter in voters)


def _deliver(cluster: Cluster, messages: list[Held]) -> None:
    for held in messages:
        cluster.bench.note(f"the held {held.what} #{held.call.number} is delivered")
        cluster.network.release(held)


ONE_VOTE = (
    Script(
        "two candidates of one term ask the same server for its vote",
        ("A11",),
        race_for_one_vote,
    ),
    Script(
        "a voter hears the leader it elected, then another candidate of that term",
        ("A12", "A11"),
        lambda bench: race_for_one_vote(bench, _first_heartbeat),
    ),
    Script(
        "a candidate hears the winner of its own term",
        ("A20", "A19"),
        lambda bench: race_for_one_vote(bench, instead=_loser_follows),
        virtual_only=True,
    ),
    Script("a candidate asks the same voter twice", ("A15", "E7"), _vote_asked_twice),
)
STEP_DOWN = (
    Script(
        "an old leader learns of a higher term from replies only",
        ("A9",),
        lambda bench: _steps_down(bench, on_reply=True),
    ),
    Script(
        "an old leader learns of a higher term from requests only",
        ("A9",),
        lambda bench: _steps_down(bench, on_reply=False),
    ),
)
LATE_VOTES = (
    Script("a vote arrives one term late", ("A17", "E1"), _late_votes),
    Script("a vote arrives when its candidate leads already", ("A18", "A25"), _vote_for_a_leader, virtual_only=True),
    Script("a candidate of an old term asks for votes", ("A14", "A8"), _old_candidate),
)
