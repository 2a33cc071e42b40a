"""A node that is stopped waits for exactly what can still come."""

import asyncio
from types import SimpleNamespace
from typing import Any

from raftline.core.config import CoreConfig
from raftline.core.events import TransferRequested
from raftline.core.ready import Answer, Verdict
from raftline.runtime.draining import Drain

CONFIG = CoreConfig()
LOST_S = CONFIG.election_timeout_s[1]


def _fake(**facts: object) -> Any:
    """Stand for an object of which only these facts are looked at."""
    return SimpleNamespace(**facts)


class _Bench:
    def __init__(self, *, leads: bool, voters: tuple[str, ...] = ("n1", "n2", "n3")) -> None:
        state = _fake(me="n1", membership=_fake(voters=voters))
        self.core: Any = _fake(state=state, is_leader=leads, takes_proposals=leads, leader="n1" if leads else "n2")
        self.posted: list[Any] = []
        self.drain = Drain(self.core, CONFIG)

    def begin(self) -> "asyncio.Future[None]":
        loop = asyncio.new_event_loop()
        try:
            return self.drain.begin(7, loop, self.posted.append)
        finally:
            loop.close()

    def deposed(self, leader: str | None) -> None:
        self.core.is_leader, self.core.leader = False, leader


def test_a_leader_asks_for_a_successor_and_lingers_for_a_heartbeat() -> None:
    """What others sent before they heard of the new one is still under way (thesis 3.10)."""
    bench = _Bench(leads=True)
    bench.begin()
    assert bench.posted == [TransferRequested(7)]
    assert not bench.drain.is_over(0.0, is_idle=True)
    bench.deposed("n2")
    assert not bench.drain.is_over(1.0, is_idle=True)
    assert bench.drain.is_over(1.0 + CONFIG.heartbeat_interval_s, is_idle=True)


def test_whoever_waits_here_is_answered_first() -> None:
    """And the time of quiet counts from the last answer."""
    bench = _Bench(leads=True)
    bench.begin()
    bench.deposed("n2")
    assert not bench.drain.is_over(1.0, is_idle=True)
    assert not bench.drain.is_over(1.0 + CONFIG.heartbeat_interval_s, is_idle=False)
    assert not bench.drain.is_over(2.0, is_idle=True)
    assert bench.drain.is_over(2.0 + CONFIG.heartbeat_interval_s, is_idle=True)


def test_a_follower_goes_as_soon_as_nobody_waits() -> None:
    """It has nothing to hand over."""
    bench = _Bench(leads=False)
    bench.begin()
    assert not bench.posted
    assert not bench.drain.is_over(0.0, is_idle=False)
    assert bench.drain.is_over(0.0, is_idle=True)


def test_a_transfer_that_is_refused_leaves_it_leading_to_its_end() -> None:
    """Nobody can take over: it stops as soon as everybody here has an answer; other answers are not its own."""
    bench = _Bench(leads=True)
    bench.begin()
    bench.drain.on_answer(Answer(8, Verdict.REFUSED))
    assert not bench.drain.is_over(0.0, is_idle=True)
    bench.drain.on_answer(Answer(7, Verdict.REFUSED))
    assert bench.drain.is_over(0.0, is_idle=True)


def test_a_single_voter_has_nobody_to_wait_for() -> None:
    """It leads until it stops."""
    bench = _Bench(leads=True, voters=("n1",))
    bench.begin()
    assert bench.drain.is_over(0.0, is_idle=True)


def test_without_any_leader_it_does_not_wait_for_ever() -> None:
    """After an election timeout nothing more can come, whoever waits."""
    bench = _Bench(leads=False)
    bench.deposed(None)
    bench.begin()
    assert not bench.drain.is_over(5.0, is_idle=False)
    bench.core.leader = "n3"
    assert not bench.drain.is_over(5.0 + LOST_S / 2, is_idle=False)
    bench.core.leader = None
    assert not bench.drain.is_over(6.0, is_idle=False)
    assert bench.drain.is_over(6.0 + LOST_S, is_idle=False)


def test_the_end_is_told_once() -> None:
    """Also if it is reached twice."""
    bench = _Bench(leads=False)

    async def scenario() -> None:
        over = bench.drain.begin(1, asyncio.get_running_loop(), bench.posted.append)
        assert bench.drain.is_under_way
        bench.drain.end()
        bench.drain.end()
        await over
        assert not bench.drain.is_under_way

    asyncio.run(scenario())
