"""One batch is followed from its arrival to the state machine; every stage gets the time that it took."""

import asyncio
from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.core.events import Applied, Persisted, Proposed, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.runtime.stages import STAGES, Stages

NODES = {"n1": "a:1@2", "n2": "b:1@2", "n3": "c:1@2"}


class _Half:
    def random(self) -> float:
        return 0.5


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _leader(**members: str) -> Raft:
    config = CoreConfig(pre_vote=False, guard_lost_disk=False, noop=False)
    core = Raft("n1", Membership.of(members or NODES), random=_Half(), now=0.0, config=config)
    core.step(TimerDue(), 1.0)
    if not members:
        core.step(Received("n2", VoteReply(1, 1, granted=True)), 1.0)
    assert core.is_leader
    _persist(core)
    return core


def _persist(core: Raft) -> None:
    while (ready := core.take_ready()) is not None:
        if ready.must_persist:
            core.step(Persisted(ready.number), 1.0)


def _times(stages: Stages) -> dict[str, tuple[int, float]]:
    return {name: (each.count, round(each.sum_s, 6)) for name, each in stages.by_name().items() if each.count}


def _propose(core: Raft, stages: Stages, clock: _Clock, count: int) -> None:
    """Two seconds in the queue, then the append."""
    stages.on_queued()
    clock.now += 2
    taken_at = stages.on_taken(count, remaining=0)
    core.step(Proposed(tuple(b"x" for _ in range(count)), 0), 1.0)
    stages.on_appended(core.state, count, taken_at)


def test_a_batch_is_followed_through_all_stages() -> None:
    """Queue, replicate, commit and apply add up to the batch's way through the node, weighted by its commands."""
    core, clock = _leader(), _Clock()
    stages = Stages(clock)
    _propose(core, stages, clock, 3)
    core.take_ready()
    clock.now += 5
    core.step(Received("n2", AppendReply(1, 1, True, 0, 3)), 1.0)  # noqa: FBT003
    stages.look(core.state, 0)
    assert _times(stages) == {"queue": (3, 6.0), "replicate": (3, 15.0)}
    clock.now += 1
    core.step(Persisted(core.state.ready_number), 1.0)
    stages.look(core.state, 0)
    assert _times(stages)["commit"] == (3, 18.0)
    clock.now += 0.5
    core.take_ready()
    core.step(Applied(3, 0), 1.0)
    stages.look(core.state, 3)
    assert _times(stages) == {
        "queue": (3, 6.0), "replicate": (3, 15.0), "commit": (3, 18.0), "apply": (3, 1.5),
    }  # fmt: skip


def test_while_a_batch_is_followed_others_are_only_seen_in_the_queue() -> None:
    """The price does not rise with the load: the next batch is taken up when this one is done."""
    core, clock = _leader(), _Clock()
    stages = Stages(clock)
    _propose(core, stages, clock, 1)
    _propose(core, stages, clock, 10)
    core.take_ready()
    core.step(Received("n2", AppendReply(1, 1, True, 0, 11)), 1.0)  # noqa: FBT003
    core.step(Persisted(core.state.ready_number), 1.0)
    stages.look(core.state, 11)
    assert _times(stages)["queue"] == (11, 22.0)
    assert stages.commit.count == stages.apply.count == 1


def test_a_batch_of_a_deposed_leader_is_let_go() -> None:
    """What becomes of it is not known here; the next leadership is measured again."""
    core, clock = _leader(), _Clock()
    stages = Stages(clock)
    _propose(core, stages, clock, 1)
    core.step(Received("n2", VoteRequest(9, 9, 9, transfer=True)), 1.0)
    stages.look(core.state, 0)
    assert stages._index == 0
    assert stages.commit.count == 0


def test_a_lone_voter_replicates_to_nobody() -> None:
    """Its commits are measured, a replication that did not happen is not."""
    core, clock = _leader(n1="a:1@2"), _Clock()
    stages = Stages(clock)
    _propose(core, stages, clock, 1)
    core.take_ready()
    core.step(Persisted(core.state.ready_number), 1.0)
    stages.look(core.state, core.state.commit)
    assert (stages.replicate.count, stages.commit.count, stages.apply.count) == (0, 1, 1)


def test_what_stays_behind_in_the_queue_is_measured_from_then_on() -> None:
    """A queue that is not emptied in one turn counts what is left from that moment, not from its first command."""
    clock = _Clock()
    stages = Stages(clock)
    stages.on_queued()
    clock.now += 1
    stages.on_taken(2, remaining=7)
    clock.now += 3
    stages.on_taken(7, remaining=0)
    clock.now += 5
    stages.on_taken(1, remaining=0)
    assert stages.queue.sum_s == pytest.approx(2 * 1 + 7 * 3)


def test_real_nodes_measure_every_stage(make_cluster: Any) -> None:
    """A write through a real leader leaves a time in each stage that a node measures, and each stage is described."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            for number in range(20):
                await leader.propose(b"k=%d" % number)
            measured = leader.measure()
        assert [*measured.stages, "reply"] == list(STAGES)
        assert [name for name, histogram in measured.stages.items() if not histogram.count] == []
        # Followers may be ahead of the leader's own disk, which then takes several writes at once: no count of fsyncs.
        assert (measured.stages["queue"].count, measured.stages["commit"].count) == (20, 20)
        assert measured.not_ready == ""
        assert measured.elections == 1
        assert sorted(measured.peers) == sorted(set(cluster.members) - {leader.config.node_id})

    asyncio.run(scenario())
