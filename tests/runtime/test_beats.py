"""Signs of life between nodes: who relies on whom, who is suspected, and who is woken for it."""

import asyncio
import gc
from collections.abc import Callable
from shutil import rmtree
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
from msgspec import structs
from tests.runtime.conftest import CALM, FAST, HANGS_S

from raftline import AddLearner
from raftline.core.config import CoreConfig
from raftline.core.events import Woken
from raftline.core.messages import Beat
from raftline.runtime.beats import Beats, Common

CONFIG = CoreConfig(quiesce_after_s=1.0)
INTERVAL_S = CONFIG.heartbeat_interval_s
SILENT_MAX = 11
"""Beats within the longest election timeout, rounded up."""


class Loop:
    """An event loop whose time is moved by hand."""

    def __init__(self) -> None:
        self.now = 5.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.ready: list[Callable[[], None]] = []
        self.turns = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, what: Callable[[], None]) -> Any:
        self.timers.append((self.now + delay_s, what))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def call_soon(self, what: Callable[[], None]) -> None:
        self.ready.append(what)

    def turn(self) -> None:
        """Run what is due now, and nothing that it schedules."""
        self.turns += 1
        ready, self.ready = self.ready, []
        for what in ready:
            what()

    def pass_beat(self) -> None:
        """Let one interval pass, and everything settle."""
        self.now += INTERVAL_S
        due, self.timers = [what for at, what in self.timers if at <= self.now + 1e-9], []
        for what in due:
            what()
        while self.ready:
            self.turn()


class Bench:
    """The beats of node n1."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.sent: list[tuple[str, Beat]] = []
        self.woken: list[tuple[int, str | None]] = []
        self.reached: set[str] = set()
        self.beats = Beats(CONFIG, self.loop, self, lambda: 7)  # type: ignore[arg-type]

    def send(self, to: str, group: int, message: Any) -> None:
        assert group == -1
        self.sent.append((to, message))

    def reaches(self, to: str) -> bool:
        return to in self.reached

    def flush(self) -> None:
        """Everything has been handed over."""

    def sleep(self, group: int, *relies_on: str, without: tuple[str, ...] = ()) -> None:
        """Let a group fall asleep; it wakes when it is told to."""

        def post(event: Any) -> None:
            assert isinstance(event, Woken)
            self.woken.append((group, event.suspected))
            self.beats.note_awake(group)

        self.beats.note_asleep(group, post, relies_on, without)

    def hear(self, *peers: str, beats: int = 1) -> None:
        """Let intervals pass in which these nodes said something."""
        for _ in range(beats):
            for peer in peers:
                self.beats.on_beat(peer, Beat(1))
            self.loop.pass_beat()


@pytest.fixture
def bench() -> Bench:
    """A node on which nothing sleeps yet."""
    return Bench()


def test_beats_go_to_whom_a_sleeping_group_relies_on_and_to_nobody_else(bench: Bench) -> None:
    """One per node and interval, however many groups; none before anybody sleeps, none after all are awake (A30)."""
    bench.hear("n2", beats=3)
    assert not bench.sent
    for group in range(100):
        bench.sleep(group, "n2" if group % 2 else "n3")
    bench.hear("n2", "n3", beats=2)
    assert sorted(bench.sent) == [("n2", Beat(7))] * 2 + [("n3", Beat(7))] * 2
    for group in range(100):
        bench.beats.note_awake(group)
    bench.hear(beats=3)
    assert len(bench.sent) == 4
    assert not bench.loop.timers
    assert not bench.beats.sleepers


def test_who_is_silent_for_the_longest_election_timeout_is_suspected(bench: Bench) -> None:
    """The groups that rely on it wake, the others sleep on; anything that it says begins the count anew (A30)."""
    bench.sleep(1, "n2")
    bench.sleep(2, "n3")
    bench.hear("n3", beats=SILENT_MAX - 1)
    bench.hear("n2", "n3")
    bench.hear("n3", beats=SILENT_MAX - 1)
    assert not bench.woken
    bench.hear("n3")
    assert bench.woken == [(1, "n2")]
    bench.hear("n3", beats=20)
    assert bench.woken == [(1, "n2")]


def test_who_falls_asleep_on_a_silent_node_is_woken_as_well(bench: Bench) -> None:
    """It may have been asked to by a message that took long (A30)."""
    bench.sleep(1, "n2")
    bench.sleep(2, "n3")
    bench.hear("n3", beats=SILENT_MAX)
    bench.sleep(1, "n2")
    bench.hear("n3", beats=SILENT_MAX)
    assert bench.woken == [(1, "n2")] * 2


def test_a_lost_connection_wakes_at_once(bench: Bench) -> None:
    """Nobody waits for silence to be noticed (A30)."""
    bench.sleep(1, "n2")
    bench.sleep(2, "n3")
    bench.beats.on_lost("n2")
    bench.loop.turn()
    assert bench.woken == [(1, "n2")]


def test_another_life_of_a_node_is_as_good_as_a_lost_connection(bench: Bench) -> None:
    """It was restarted so fast that nobody noticed; what slept there has forgotten it (A30)."""
    bench.sleep(1, "n2")
    for life in (3, 3, 4):
        assert not bench.woken
        bench.beats.on_beat("n2", Beat(life))
        bench.loop.turn()
    assert bench.woken == [(1, "n2")]


def test_a_thousand_groups_do_not_wake_in_one_turn(bench: Bench) -> None:
    """The event loop gets its turn in between, and those that woke by themselves are left alone (A30)."""
    for group in range(1000):
        bench.sleep(group, "n2")
    bench.beats.on_lost("n2")
    bench.loop.turn()
    assert len(bench.woken) == 16
    bench.beats.note_awake(999)
    while bench.loop.ready:
        bench.loop.turn()
    assert sorted(group for group, _ in bench.woken) == list(range(999))
    assert bench.loop.turns >= 60


def test_the_return_of_a_node_wakes_who_fell_asleep_without_it(bench: Bench) -> None:
    """It has to catch up (A30)."""
    bench.sleep(1, "n2", without=("n3",))
    bench.sleep(2, "n2")
    bench.hear("n2", beats=SILENT_MAX)
    assert not bench.woken
    bench.hear("n2", "n3")
    assert bench.woken == [(1, None)]


def test_a_member_that_did_not_answer_though_its_node_lives_is_tried_again_later(bench: Bench) -> None:
    """Not at once, or the group would never sleep; not never, or the member would lag for ever (A30)."""
    bench.sleep(1, "n2", without=("n3",))
    bench.hear("n2", "n3", beats=100)
    assert not bench.woken
    bench.hear("n2", "n3", beats=20)
    assert bench.woken == [(1, None)]


def test_a_node_that_is_within_reach_again_wakes_who_fell_asleep_without_it(bench: Bench) -> None:
    """Its disk may be new: it knows nobody whom it could answer, and has to be spoken to first (A30)."""
    bench.sleep(1, "n2", without=("n3",))
    bench.sleep(2, "n2")
    bench.hear("n2", beats=3)
    bench.reached = {"n2", "n3"}
    bench.hear("n2")
    assert bench.woken == [(1, None)]


def test_a_member_that_says_nothing_though_it_is_within_reach_is_tried_again_later(bench: Bench) -> None:
    """It may have come within reach just before the group slept; if it is stuck, the group sleeps meanwhile (A30)."""
    bench.reached = {"n2", "n3"}
    bench.sleep(1, "n2", without=("n3",))
    bench.hear("n2", beats=100)
    assert not bench.woken
    bench.hear("n2", beats=20)
    assert bench.woken == [(1, None)]
    bench.sleep(1, "n2", without=("n3",))
    bench.hear("n2", beats=100)
    assert bench.woken == [(1, None)]


def test_nodes_on_which_nothing_relies_are_asked_now_and_then(bench: Bench) -> None:
    """They would have no reason to say anything; who is asked answers at once, and asks nothing back (A30)."""
    bench.sleep(1, "n2", without=("n3",))
    bench.hear("n2", beats=10)
    assert [message for to, message in bench.sent if to == "n3"] == [Beat(7, asks=True)]
    bench.sent.clear()
    bench.beats.on_beat("n3", Beat(1, asks=True))
    bench.beats.on_beat("n2", Beat(1))
    assert bench.sent == [("n3", Beat(7))]


def test_a_sleeper_that_sleeps_otherwise_is_watched_otherwise(bench: Bench) -> None:
    """A leader that sleeps on without a follower relies on the others only (A30)."""
    bench.sleep(1, "n2", "n3")
    bench.sleep(1, "n3", without=("n2",))
    bench.hear("n3", beats=SILENT_MAX + 1)
    assert not bench.woken
    assert list(bench.beats.sleepers) == [1]


def test_nothing_is_said_once_the_node_stops(bench: Bench) -> None:
    """Nor is anybody woken, and no timer is left (E8)."""
    bench.sleep(1, "n2")
    bench.beats.on_lost("n2")
    bench.beats.stop()
    bench.hear(beats=3)
    bench.sleep(2, "n2")
    bench.hear(beats=3)
    assert not bench.sent
    assert not bench.woken


async def asleep(cluster: Any) -> Any:
    """Wait until all nodes of a cluster sleep; return the leader."""
    await cluster.until(lambda: all(node.groups[0].driver.replica.core.is_asleep for node in cluster.nodes.values()))
    return await cluster.leader()


SLEEPY = structs.replace(CALM, quiesce_after_s=0.1)


def test_a_sleeping_cluster_answers_as_any_other(make_cluster: Any) -> None:
    """Writes and reads of every kind on every node, over real connections (A30, G3)."""

    async def scenario() -> None:
        async with make_cluster(core=SLEEPY) as cluster:
            for name, node in list(cluster.nodes.items()):
                await asleep(cluster)
                assert await node.propose(b"%s=1" % name.encode()) is not None
                await asleep(cluster)
                assert await node.read(name.encode()) == b"1"
                await asleep(cluster)
                assert await node.read(name.encode(), consistency="bounded", staleness_s_max=HANGS_S) == b"1"
                assert node.measure().not_ready == ""

    asyncio.run(scenario())


def test_bounded_reads_in_a_row_are_answered_while_a_group_wakes(make_cluster: Any, monkeypatch: Any) -> None:
    """The first wakes the group; the next come before a leader has vouched for the copy again (G3, A30)."""

    async def scenario() -> None:
        async with make_cluster(core=SLEEPY) as cluster:
            await asleep(cluster)
            for node in cluster.nodes.values():
                core, loop = node.groups[0].driver.replica.core, asyncio.get_running_loop()
                await cluster.until(lambda core=core: core.is_asleep)
                now = loop.time
                monkeypatch.setattr(loop, "time", lambda now=now: now() + HANGS_S + 1.0)
                for _ in range(20):
                    assert await node.read(b"x", consistency="bounded", staleness_s_max=HANGS_S) == b""

    asyncio.run(scenario())


def test_a_sleeping_leader_hands_over_when_it_stops(make_cluster: Any) -> None:
    """A clean stop finds a successor, as if nobody slept (thesis 3.10, A30)."""

    async def scenario() -> None:
        async with make_cluster(core=SLEEPY) as cluster:
            leader = await asleep(cluster)
            term = leader.status().term
            await cluster.stop(leader.config.node_id)
            (one, _) = cluster.nodes.values()
            await one.propose(b"k=1")
            assert one.status().term > term

    asyncio.run(scenario())


def test_a_leader_that_is_gone_while_all_sleep_is_replaced(make_cluster: Any) -> None:
    """Its connections break, nobody asks anything, and the others elect (A30)."""

    async def scenario() -> None:
        async with make_cluster(core=structs.replace(FAST, quiesce_after_s=0.1)) as cluster:
            leader = await asleep(cluster)
            await leader.groups[0].driver.host.transport.stop()
            others = [node for node in cluster.nodes.values() if node is not leader]
            await cluster.until(lambda: any(node.is_leader for node in others))

    asyncio.run(scenario())


def test_a_node_with_a_new_disk_catches_up_while_the_others_sleep(make_cluster: Any) -> None:
    """It knows no member, so that it can ask nobody and answer nobody until a leader speaks to it (A30)."""

    async def scenario() -> None:
        async with make_cluster(core=SLEEPY) as cluster:
            address = await cluster.join("n4")
            leader = await cluster.leader()
            await leader.change_membership(AddLearner("n4", address))
            await leader.propose(b"k=1")
            await asleep(cluster)
            await cluster.stop("n4")
            rmtree(cluster.directory / "n4")
            core = leader.groups[0].driver.replica.core
            await cluster.until(lambda: core.sleeps_without == ("n4",))
            await cluster.join("n4", address)
            await cluster.until(lambda: cluster.machines["n4"].values == {b"k": b"1"})

    asyncio.run(scenario())


def test_what_sleeping_groups_have_in_common_is_held_once() -> None:
    """Equal data becomes one object, if it is neither small nor large, for the latest sixteen."""
    common = Common()
    texts = [b"%d" % number * 200 for number in range(10, 30)]
    first = [common.same(text) for text in texts]
    assert first == texts
    again = [common.same(bytes(bytearray(text))) for text in texts[-16:]]
    assert all(one is other for one, other in zip(again, first[-16:], strict=True))
    forgotten, small, large = bytes(bytearray(texts[0])), b"small" * 2, bytes(1 << 17)
    assert common.same(forgotten) is forgotten
    for data in (small, large):
        common.same(data)
        assert common.same(copy := bytes(bytearray(data))) is copy


@pytest.mark.parametrize("is_asleep", [True, False])
def test_a_group_that_falls_asleep_shares_its_log(*, is_asleep: bool) -> None:
    """What stands in the logs of many groups takes the memory of one; a group that works is left alone."""
    bench = Bench()
    shared: list[int] = []
    for group in (1, 2, 2):
        core: Any = SimpleNamespace(
            is_asleep=is_asleep, sleeps_with=("n2",), sleeps_without=(),
            state=SimpleNamespace(log=SimpleNamespace(share=lambda _same, group=group: shared.append(group))),
        )  # fmt: skip
        bench.beats.follow(group, core, lambda _event: None)
    assert shared == ([1, 2] if is_asleep else [])


def test_a_node_that_is_given_up_is_freed_with_its_sleepers() -> None:
    """Who sleeps leads back to its node by what wakes it: the garbage collector sees that nobody needs either."""
    bench = Bench()
    bench.sleep(3, "n2")
    assert bench.beats.sleepers
    given_up = ref(bench)
    del bench
    gc.collect()
    assert given_up() is None
