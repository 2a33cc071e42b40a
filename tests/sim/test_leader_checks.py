"""A leader that is silent, slow or chatty is noticed; one that is none of these is not."""

import random

import pytest

from raftline.core.config import CoreConfig
from raftline.core.events import Persisted, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, VoteReply
from raftline.core.pending import Departure
from raftline.core.raft import Raft
from raftline.errors import SafetyViolation
from raftline.sim.leader_checks import LeaderChecks

CONFIG = CoreConfig(pre_vote=False, guard_lost_disk=False, check_quorum=False)
PEERS = ("n2", "n3")


class World:
    """A leader of three, its clock, and the checks that watch it."""

    def __init__(self) -> None:
        self.now = 0.0
        membership = Membership.of({name: f"{name}:1" for name in ("n1", *PEERS)})
        self.core = Raft("n1", membership, random=random.Random(1), now=0.0, config=CONFIG)
        self.checks = LeaderChecks(lambda _name: self.now, lambda _name: self.core.state)
        self.now = self.core.next_deadline
        self.core.step(TimerDue(), self.now)
        self.turn()
        self.core.step(Received("n2", VoteReply(1, 1, granted=True)), self.now)

    def turn(self, *, deaf: str = "", refusals: tuple[str, ...] = ()) -> list[AppendRequest]:
        """Take a turn, everything on disk at once; `deaf` is not told anything. Return what was said."""
        said = []
        while (ready := self.core.take_ready()) is not None:
            for outgoing in (*ready.messages, *ready.messages_after_persist):
                if isinstance(outgoing.message, AppendRequest) and outgoing.to != deaf:
                    said.append(outgoing.message)
                    self.checks.on_append_request("n1", outgoing.to, outgoing.message)
            if ready.must_persist:
                self.core.step(Persisted(ready.number), self.now)
        if self.core.is_leader:
            self.checks.check_turn(self.core, set(refusals))
        return said

    def answer(self, peer: str, *, success: bool = True) -> None:
        """Let a follower answer what it was sent first."""
        reply = AppendReply(1, 1, success, 0, 1 if success else 0, conflict_index=1)
        self.core.step(Received(peer, reply), self.now)

    def beat(self) -> None:
        """Wait for the next heartbeat."""
        self.now = self.core.next_deadline
        self.core.step(TimerDue(), self.now)


def test_a_leader_that_does_its_duty_is_not_noticed() -> None:
    """It speaks at once, commits with the first acknowledgement, and sends its heartbeats in time."""
    world = World()
    assert len(world.turn()) == 2
    world.answer("n2")
    world.turn()
    assert world.core.state.commit == 1
    for _ in range(5):
        world.beat()
        world.turn()


def test_silence_is_noticed() -> None:
    """A peer that was never told anything, or nothing for too long, betrays the leader (A22, E9)."""
    with pytest.raises(SafetyViolation, match="told n3 nothing for inf s"):
        World().turn(deaf="n3")
    world = World()
    world.turn()
    world.beat()
    world.turn(deaf="n2")
    world.beat()
    with pytest.raises(SafetyViolation, match=r"told n2 nothing for 0\.150 s"):
        world.turn(deaf="n2")


def test_silence_towards_a_predecessor_that_nobody_can_find() -> None:
    """It was removed, and handed over to a node that had just started, which cannot know its address (K1)."""
    world = World()
    world.turn()
    state = world.core.state
    state.progress["n9"] = state.progress["n3"]
    world.checks._since.clear()
    with pytest.raises(SafetyViolation, match="told n9 nothing for inf s"):
        world.checks.check_turn(world.core, set())
    state.departing["n9"] = Departure("", 1)
    world.checks.check_turn(world.core, set())
    world.checks.on_append_request("n1", "n9", AppendRequest(1, 1, 1, (), 0))
    world.now += 1.0
    with pytest.raises(SafetyViolation, match=r"told n\d nothing for 1\.000 s"):
        world.checks.check_turn(world.core, set())


def test_chatter_is_noticed() -> None:
    """The same heartbeat twice within one interval is too many (A7, A25)."""
    world = World()
    world.turn()
    heartbeat = AppendRequest(1, 1, 1, (), 0)
    world.checks.on_append_request("n1", "n2", heartbeat)
    world.now += CONFIG.heartbeat_interval_s
    world.checks.on_append_request("n1", "n2", heartbeat)
    world.now += CONFIG.heartbeat_interval_s / 2
    world.checks.on_append_request("n1", "n2", AppendRequest(1, 1, 1, (), 1))
    with pytest.raises(SafetyViolation, match="repeats its heartbeat to n2"):
        world.checks.on_append_request("n1", "n2", AppendRequest(1, 1, 1, (), 1))


def test_a_refusal_is_answered_in_the_same_turn() -> None:
    """Whoever refused the probe is sent the next one at once (B25)."""
    world = World()
    world.turn()
    world.now += 0.01
    with pytest.raises(SafetyViolation, match="was refused by n2 and does not try again"):
        world.turn(refusals=("n2",))


def test_a_commit_that_is_due_is_noticed() -> None:
    """What a majority stores is committed in the same turn (B26)."""
    world = World()
    world.turn()
    world.answer("n2")
    world.turn()
    world.core.state.commit = 0
    with pytest.raises(SafetyViolation, match="a majority stores 1 and has committed 0"):
        world.checks.check_turn(world.core, set())


def test_a_late_wake_up_is_noticed() -> None:
    """The next heartbeat is never further off than an interval (A7, A22)."""
    world = World()
    world.turn()
    for progress in world.core.state.progress.values():
        progress.sent_at += 1.0
    with pytest.raises(SafetyViolation, match="wants to be woken in"):
        world.checks.check_turn(world.core, set())


def test_a_new_incarnation_owes_nothing_yet() -> None:
    """After a crash nothing that was said before counts."""
    world = World()
    world.turn()
    world.checks.forget("n1")
    with pytest.raises(SafetyViolation, match="nothing for inf s"):
        world.checks.check_turn(world.core, set())
