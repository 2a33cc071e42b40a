"""The checks after each turn: a cluster that works passes them, and each fires when its promise is broken."""

from collections import deque
from collections.abc import Iterator

import pytest
import structlog

from raftline.core.entries import Entry
from raftline.core.pending import Departure
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.runtime.config import NodeConfig
from raftline.runtime.group_loop import GroupLoop
from raftline.sim.checkers import _Watched
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.loop import SimLoop


class _First(KvMachine):
    """Of the first version, so that no entry says that a later one may be used."""

    version = 1


class World:
    """Three nodes that have elected a leader and committed what it opened its term with."""

    def __init__(self) -> None:
        self.loop = SimLoop(3)
        self.cluster = SimCluster(
            self.loop,
            3,
            config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
            make_machine=_First,
        )
        self.checkers = self.cluster.checkers
        self.cluster.start()
        self.loop.run_for(2.0)

    @property
    def leader(self) -> Member:
        """Return the machine that leads."""
        return next(member for member in self.cluster.ready() if member.node is not None and member.node.is_leader)

    @property
    def followers(self) -> list[Member]:
        """Return the others."""
        return [member for member in self.cluster.members.values() if member is not self.leader]

    def watched(self, member: Member) -> _Watched:
        """Return what is known of a member's incarnation."""
        return self.checkers._watched[member.name]

    def group(self, member: Member) -> GroupLoop:
        """Return the member's group."""
        return self.watched(member).group

    def check(self, member: Member | None = None) -> None:
        """Check as after a turn; of the leader, if nobody is named."""
        member = member or self.leader
        self.checkers.check(member.name, self.watched(member))

    def propose(self, count: int = 3) -> None:
        """Commit some commands."""
        node = self.leader.node
        loop = self.leader.loop
        assert node is not None
        assert loop is not None
        for _ in range(count):
            done = loop.spawn(node.propose(b"*1\r\n$4\r\nPING\r\n"))
            done.add_done_callback(lambda outcome: outcome.exception())
        self.loop.run_for(1.0)


@pytest.fixture
def world() -> Iterator[World]:
    """A cluster that works."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    created = World()
    yield created
    created.loop.close(raise_failures=False)
    structlog.configure(**before)


def test_a_cluster_that_works_passes(world: World) -> None:
    """Elections, commands and a restart; everything is on record."""
    world.propose()
    follower = world.followers[0]
    follower.crash(CrashKind.MACHINE)
    follower.start()
    world.loop.run_for(2.0)
    for member in world.cluster.members.values():
        world.check(member)
    assert world.checkers.elections == 1
    assert len(world.checkers.committed) == 4
    assert world.checkers.steps > 100
    world.checkers.check_equal_states()


def test_two_leaders_in_a_term_are_noticed(world: World) -> None:
    """Election safety (§5.2)."""
    term = world.watched(world.leader).core.term
    world.checkers.leaders[term] = "n9"
    world.watched(world.leader).leader_term = 0
    with pytest.raises(SafetyViolation, match=f"leads term {term}, which n9 led: election safety is broken"):
        world.check()


def test_a_leader_without_votes_is_noticed(world: World) -> None:
    """A majority of everybody, whose votes were really sent (A16, A17, A27)."""
    world.checkers._messages._cast.clear()
    world.watched(world.leader).leader_term = 0
    with pytest.raises(SafetyViolation, match=r"with the votes of \[\] only \(A16, A17, A27\)"):
        world.check()


def test_a_leader_that_keeps_quiet_is_noticed(world: World) -> None:
    """Whoever wins says so in the same turn (A19)."""
    world.checkers._messages.announced.clear()
    world.watched(world.leader).leader_term = 0
    with pytest.raises(SafetyViolation, match=r"did not tell \['n\d', 'n\d'\] at once \(A19\)"):
        world.check()


def test_a_leader_that_presumes_is_noticed(world: World) -> None:
    """Nobody matches before it answered (B19)."""
    world.watched(world.leader).leader_term = 0
    with pytest.raises(SafetyViolation, match=r"for matching before any answer \(B19\)"):
        world.check()


def test_a_leader_that_lacks_what_was_committed_is_noticed(world: World) -> None:
    """Leader completeness (§5.4)."""
    watched = world.watched(world.leader)
    watched.leader_term = 0
    for progress in watched.core.state.progress.values():
        progress.match_index = 0
    term, data, kind = world.checkers.committed[-1]
    world.checkers.committed[-1] = (term + 1, data, kind)
    with pytest.raises(SafetyViolation, match=r"without entry 1, committed in term .*leader completeness is broken"):
        world.check()


def test_two_commits_at_one_index_are_noticed(world: World) -> None:
    """State machine safety (§5.4.3)."""
    follower = world.watched(world.followers[0])
    follower.commit = 0
    world.checkers.committed[0] = (99, b"", 0)
    with pytest.raises(SafetyViolation, match=r"commits .* at index 1, where \(99, b'', 0\) was committed"):
        world.check(world.followers[0])


def test_a_commit_out_of_turn_is_noticed(world: World) -> None:
    """Nothing commits before everything in front of it did."""
    world.propose()
    world.checkers.committed.clear()
    world.watched(world.leader).commit = 2
    with pytest.raises(SafetyViolation, match="commits index 3, but 1 was never committed"):
        world.check()


def test_a_commit_without_a_majority_of_disks_is_noticed(world: World) -> None:
    """What is committed is on the disks of a quorum at that moment (B11, B13)."""
    for member in world.followers:
        durable = world.checkers._durable[member.name]
        durable.last_index, durable.term = 0, 99
    world.watched(world.leader).commit = 0
    with pytest.raises(SafetyViolation, match=r"commits index 1, which only \['n\d'\] have on disk \(B11, B13\)"):
        world.check()


def test_a_match_beyond_the_disk_is_noticed(world: World) -> None:
    """A leader takes nobody for further than it is (B19, B20)."""
    world.checkers._durable[world.followers[0].name].last_index = 0
    with pytest.raises(SafetyViolation, match="for matching up to 1, 0 is on its disk"):
        world.check()


def test_a_state_that_differs_is_noticed(world: World) -> None:
    """Equal positions, equal state machines (§5.4.3)."""
    watched = world.watched(world.leader)
    world.checkers.digests[watched.applied] ^= 1
    watched.applied -= 1
    with pytest.raises(SafetyViolation, match="state machine differs at index 1"):
        world.check()


def test_positions_that_are_out_of_order_are_noticed(world: World) -> None:
    """Applied moves forward and never passes the commit index; neither does the rest of a state (B32, D9)."""
    watched = world.watched(world.leader)
    watched.applied += 5
    with pytest.raises(SafetyViolation, match=r"applied index went back from 6 to 1 \(D9\)"):
        world.check()
    watched.applied = 1
    watched.replica.applied = 7
    with pytest.raises(SafetyViolation, match="has applied 7, but only 1 is committed"):
        world.check()
    watched.replica.applied = 1
    watched.core.state.commit = 0
    with pytest.raises(SafetyViolation):
        world.check()


def test_a_term_that_goes_back_is_noticed(world: World) -> None:
    """Two consecutive states are held against each other (A8)."""
    state = world.watched(world.followers[0]).core.state
    state.term += 1
    world.check(world.followers[0])
    state.term -= 1
    with pytest.raises(SafetyViolation, match="the current term increases monotonically"):
        world.check(world.followers[0])


def test_work_that_is_left_lying_is_noticed(world: World) -> None:
    """What is committed is applied without being asked again, and whoever waits for it is told (F10, F13, G5)."""
    watched = world.watched(world.leader)
    watched.replica._to_apply = deque([Entry(2, 1, b"")])
    with pytest.raises(SafetyViolation, match=r"leaves what is committed behind it lying \(F10\)"):
        world.check()
    watched.replica._to_apply = ()
    watched.replica.waiters.add(1, 1, [lambda _result: None])
    with pytest.raises(SafetyViolation, match=r"lets somebody wait for index 1, it has applied 1 \(F13, G5\)"):
        world.check()


def test_a_timer_that_fires_without_need_is_noticed(world: World) -> None:
    """One timer per node, set again when it has fired (A25, F19)."""
    group = world.group(world.leader)

    def fire_on() -> None:
        for _ in range(1000):
            group._on_timer()

    with pytest.raises(SafetyViolation, match=r"its timer fired \d+ times within a second \(A25, F19\)"):
        fire_on()


def test_whoever_leaves_is_a_reason_to_wake_up(world: World) -> None:
    """Those on their way out hear heartbeats, too, and may be gone before the second is over (A25, F19)."""
    group, state = world.group(world.leader), world.watched(world.leader).core.state

    def fire(times: float) -> None:
        for _ in range(round(times)):
            group._on_timer()

    state.departing = {name: Departure("", 1) for name in ("n4", "n5", "n6")}
    fire(1)
    state.departing = {}
    fire(3 / state.config.heartbeat_interval_s + 1)
    with pytest.raises(SafetyViolation, match=r"its timer fired 81 times within a second"):
        fire(3 / state.config.heartbeat_interval_s)


def test_a_start_that_forgot_is_noticed(world: World) -> None:
    """A new incarnation is held against what was on its disk, and against what was committed (C4, C12)."""
    follower = world.followers[0]
    world.checkers._durable[follower.name].term += 1
    follower.crash(CrashKind.PROGRAM)
    follower.start()
    with pytest.raises(SafetyViolation, match=r"term went back from \d to \d over a restart \(C4\)"):
        world.loop.run_for(1.0)


def test_a_lost_disk_may_forget(world: World) -> None:
    """Whoever lost its disk begins anew, and what was committed then is on record (C14)."""
    world.propose()
    follower = world.followers[0]
    follower.crash(CrashKind.MACHINE)
    follower.wipe()
    follower.start()
    world.loop.run_for(3.0)
    assert world.checkers._messages.lost == {follower.name: 4}
    assert world.watched(follower).replica.applied == 4


def test_what_a_lost_disk_acknowledged_counts_until_the_leader_hears_of_the_loss(world: World) -> None:
    """The acknowledgement was true when it was given; found by a seed that wiped a disk a moment behind it (C14)."""
    world.propose()
    follower, state = world.followers[0], world.watched(world.leader).core.state
    progress = state.progress[follower.name]
    world.checkers.on_wiped(follower)
    world.checkers._durable.pop(world.followers[1].name)
    index = progress.match_index
    state.commit = index
    world.checkers._check_quorum_stores(world.leader.name, state)
    progress.on_trust(trusted=False)
    with pytest.raises(SafetyViolation, match=rf"commits index {index}, which only \['{world.leader.name}'\] have"):
        world.checkers._check_quorum_stores(world.leader.name, state)


def test_a_failed_disk_is_on_record(world: World) -> None:
    """From the moment of the failure on the node is to be silent (E8)."""
    persistence = world.group(world.followers[0]).persistence
    persistence._on_failure(OSError("no"))
    assert world.checkers._messages.failed == {world.followers[0].name}
