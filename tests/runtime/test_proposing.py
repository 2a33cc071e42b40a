"""Proposals on their way into the log: what comes during a write goes together, and nobody waits for long."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from tests.runtime.conftest import HANGS_S

from raftline import Node, Stopped
from raftline.core.entries import Entry
from raftline.core.messages import AppendReply
from raftline.core.ready import Ready
from raftline.errors import ProposalError
from raftline.runtime import group_loop, proposing
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.requests import Proposal


def _loop_of(node: Node) -> GroupLoop:
    assert node._group is not None
    return node._group


def _batches(group: GroupLoop, monkeypatch: Any) -> list[int]:
    """Return how many commands are proposed at a time, kept up to date."""
    sizes: list[int] = []
    propose = group.replica.propose

    def watched(commands: Any, *rest: Any) -> bool:
        sizes.append(len(commands))
        return propose(commands, *rest)

    replica: Any = type(group.replica)
    monkeypatch.setattr(replica, "propose", lambda self, *rest: watched(*rest) if self is group.replica else None)
    return sizes


def test_what_comes_during_a_write_is_proposed_together(make_cluster: Any, stuck_disks: Any, monkeypatch: Any) -> None:
    """Group commit: however many turns the loop takes, they are one record and one message to each follower (K4)."""
    monkeypatch.setattr(proposing, "_UNCOMMITTED_S_MAX", 60.0)
    monkeypatch.setattr(proposing, "_COMMITTED_S_MAX", 60.0)  # the followers' disks may be done before the leader's

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=0")
            await cluster.written()
            group = _loop_of(leader)
            disks, sizes = stuck_disks(*cluster.nodes.values()), _batches(group, monkeypatch)
            left: list[int] = []
            on_durable = group.persistence.on_durable

            def watched(batch: list[Ready]) -> None:
                is_last = not group.persistence.is_writing  # not of what came before `first`
                on_durable(batch)  # takes a turn at once, or leaves it to one that is due already
                if is_last:
                    asyncio.get_running_loop().call_soon(lambda: left.append(group.queued_proposals))

            monkeypatch.setattr(group.persistence, "on_durable", watched)
            first = await disks.begin(leader)
            others = []
            for number in range(5):
                others.append(asyncio.ensure_future(leader.propose(b"k=%d" % number)))
                leader.before_turn(partial(_submit, leader, others))
                await asyncio.sleep(0.005)
            assert group.queued_proposals == 5, "those who want to propose are not asked before it is time"
            disks.may_go_on.set()
            await cluster.until(lambda: len(others) == 10)
            await asyncio.gather(first, *others)
            assert sizes == [1, 10]
            assert left[0] == 0, "the end of the write lets them go, and no timer"

    asyncio.run(scenario())


def _submit(node: Node, outcomes: list[Any]) -> None:
    outcome = asyncio.get_running_loop().create_future()
    outcomes.append(outcome)
    node.submit(b"k=called", outcome.set_result)


def _still(group: GroupLoop, monkeypatch: Any) -> None:
    """Let no timer of the replica and no sweep give it a turn."""
    monkeypatch.setattr(group_loop, "_SWEEP_S", 60.0)
    monkeypatch.setattr(group, "_arm_timer", lambda _now: None)
    if group._timer is not None:  # else it has just run out, and the turn that it gives arms no other
        group._timer.cancel()


def test_what_the_followers_do_without_the_leaders_disk_holds_nothing_back(
    make_cluster: Any, stuck_disks: Any, monkeypatch: Any
) -> None:
    """They are a majority without it (thesis 10.2.1): once they have committed, what comes waits hardly at all."""
    monkeypatch.setattr(proposing, "_UNCOMMITTED_S_MAX", 60.0)

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=0")
            await cluster.written()
            disk = stuck_disks(leader)
            _still(_loop_of(leader), monkeypatch)
            try:
                first = await disk.begin(leader)
                second = asyncio.get_running_loop().create_future()
                leader.submit(b"k=second", second.set_result)
                called: list[Any] = []
                leader.before_turn(partial(_submit, leader, called))
                async with asyncio.timeout(HANGS_S):
                    assert await first == b"0"
                    assert await second == b"first"
                    assert await called[0] == b"second"
                    assert await leader.propose(b"k=third") == b"called"
            finally:
                disk.may_go_on.set()

    asyncio.run(scenario())


def test_nothing_is_held_back_for_long(make_cluster: Any, stuck_disks: Any, monkeypatch: Any) -> None:
    """Where all disks are slow the followers have at least what came meanwhile."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=0")
            await cluster.written()
            group = _loop_of(leader)
            disks, sizes = stuck_disks(*cluster.nodes.values()), _batches(group, monkeypatch)
            _still(group, monkeypatch)
            try:
                outcomes = [await disks.begin(leader)]
                outcomes.append(asyncio.ensure_future(leader.propose(b"k=second")))
                await cluster.until(lambda: sizes == [1, 1])
                outcomes.append(asyncio.ensure_future(leader.propose(b"k=third")))
                await cluster.until(lambda: sizes == [1, 1, 1])
            finally:
                disks.may_go_on.set()
            assert await asyncio.gather(*outcomes) == [b"0", b"first", b"second"]

    asyncio.run(scenario())


def test_a_follower_passes_on_at_once_what_its_disk_has_nothing_to_do_with(
    make_cluster: Any, stuck_disks: Any, monkeypatch: Any
) -> None:
    """Only who appends waits for its own write."""
    monkeypatch.setattr(proposing, "_UNCOMMITTED_S_MAX", 60.0)

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await leader.propose(b"k=0")
            await cluster.written()
            disk = stuck_disks(follower)
            try:
                assert await (await disk.begin(leader)) == b"0"
                assert await follower.propose(b"k=1") == b"first"
            finally:
                disk.may_go_on.set()

    asyncio.run(scenario())


def test_who_wants_to_propose_is_called_before_the_turn(make_cluster: Any, monkeypatch: Any) -> None:
    """What they submit goes with it, in the same turn; what one of them raises is nobody else's trouble."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=0")
            await cluster.written()
            sizes = _batches(_loop_of(leader), monkeypatch)
            loop, faults = asyncio.get_running_loop(), []
            loop.set_exception_handler(lambda _, context: faults.append(context["message"]))
            outcomes = [loop.create_future() for _ in range(3)]

            def fail() -> None:
                raise RuntimeError("mine")

            leader.before_turn(fail)
            for number, outcome in enumerate(outcomes):
                leader.before_turn(
                    lambda command=b"k=%d" % (number + 1), done=outcome.set_result: leader.submit(command, done)
                )
            assert await asyncio.gather(*outcomes) == [b"0", b"1", b"2"]
            assert faults == ["a call before a turn raised"]
            assert sizes == [3]
            again = loop.create_future()
            leader.before_turn(lambda: leader.before_turn(lambda: leader.submit(b"k=9", again.set_result)))
            async with asyncio.timeout(HANGS_S):
                assert await again == b"3"

    asyncio.run(scenario())


def test_who_wants_to_propose_to_a_node_that_stops_hears_of_it(
    make_cluster: Any, stuck_disks: Any, monkeypatch: Any
) -> None:
    """Those who waited for a write, and those who come later: nobody is left without an answer."""
    monkeypatch.setattr(proposing, "_UNCOMMITTED_S_MAX", 60.0)

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=0")
            await cluster.written()
            group = _loop_of(leader)
            disks = stuck_disks(*cluster.nodes.values())
            try:
                first = await disks.begin(leader)
                loop = asyncio.get_running_loop()
                outcomes = [loop.create_future() for _ in range(2)]
                leader.before_turn(lambda: group.submit(b"\x00k=1", outcomes[0].set_result))
                await asyncio.sleep(0)
                group.stop(Stopped("for the test"))
                leader.before_turn(lambda: group.submit(b"\x00k=2", outcomes[1].set_result))
                async with asyncio.timeout(HANGS_S):
                    assert [type(outcome) for outcome in await asyncio.gather(*outcomes)] == [Stopped, Stopped]
                with pytest.raises(ProposalError):
                    await first
            finally:
                disks.may_go_on.set()

    asyncio.run(scenario())


def test_what_nobody_waits_for_is_taken_note_of_in_the_next_turn(make_cluster: Any) -> None:
    """The last follower's acknowledgement, and a follower's own disk, cost no turn of their own, and are not lost."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await leader.propose(b"k=0")
            await cluster.written()
            group, name = _loop_of(leader), follower.config.node_id
            state = group.replica.core.state
            await cluster.until(lambda: all(peer.match_index == state.commit for peer in state.progress.values()))
            await cluster.until(lambda: not group._scheduled)
            noted = group.queued_messages
            reply = AppendReply(state.term, state.term, True, state.commit - 1, state.commit, echo=7)  # noqa: FBT003
            group.on_message(name, reply)
            assert (group.queued_messages, group._scheduled) == (noted + 1, False)
            await leader.propose(b"k=1")
            assert not any(message is reply for _, message in group._messages)

            own = _loop_of(follower)
            await cluster.until(lambda: not own._scheduled and not own.persistence.is_writing)
            noted = len(own._events)
            own._on_durable([Ready(0, entries=(Entry(1, 1, b""),))])
            assert (len(own._events), own._scheduled) == (noted + 1, False)
            await leader.propose(b"k=2")
            await cluster.until(lambda: not own._events)

    asyncio.run(scenario())


class _Clockwork:
    """A loop on virtual time, as far as proposals need one."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Any:
        entry = (when, next(self._order), call)
        heappush(self._due, entry)
        return SimpleNamespace(cancel=lambda: self._due.remove(entry) or heapify(self._due))  # type: ignore[func-returns-value]

    def run_until(self, when: float) -> None:
        while self._due and self._due[0][0] <= when:
            self.now, _, call = heappop(self._due)
            call()


@pytest.mark.parametrize("is_steady", [True, False])
def test_two_ms_are_two_ms_also_for_what_came_before_the_commit(is_steady: bool) -> None:  # noqa: FBT001
    """Nobody looks again before the alarm, so it is brought forward when the followers have committed (10.2.1)."""
    loop = _Clockwork()
    state = SimpleNamespace(commit=0, log=SimpleNamespace(last_index=1))
    taken: list[tuple[float, int]] = []

    def propose(commands: Sequence[bytes], *_rest: object) -> None:
        taken.append((round(1000 * loop.now, 1), len(commands)))
        state.log.last_index += len(commands)

    host: Any = SimpleNamespace(
        loop=loop,
        turns=SimpleNamespace(share_of=lambda whole, _least: whole),
        transport=None,
        clock=SimpleNamespace(wall_ms=lambda: 0),
    )
    core = SimpleNamespace(state=state, is_leader=True, leader="n1", takes_proposals=True, term=1)
    replica: Any = SimpleNamespace(core=core, propose=propose)
    writing: Any = SimpleNamespace(is_writing=True, write_began_at=0.0)
    forwarding: Any = SimpleNamespace(is_holding=False, on_appended_here=lambda: None)
    stages: Any = SimpleNamespace(on_queued=lambda: None, on_taken=lambda *_, **__: 0.0, on_appended=lambda *_: None)

    def turn() -> None:
        waiting.fetch()
        waiting.route(loop.now)

    def wake() -> None:
        loop.call_at(loop.now, turn)

    disk: Any = SimpleNamespace(is_full=False)
    waiting = proposing.Proposing(host, replica, writing, disk, forwarding, stages, wake)

    def submit() -> None:
        if waiting.add(Proposal(b"\0x", lambda _: None, 1e9)):
            wake()

    def commit() -> None:
        state.commit = 1
        wake()

    for number in range(1, 20 if is_steady else 2):
        loop.call_at(0.0005 * number + 0.0001, submit)
    loop.call_at(0.001, commit)
    loop.run_until(0.009)
    assert taken[0] == (2.0, 3 if is_steady else 1)
