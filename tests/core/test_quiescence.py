"""A group that has nothing to do falls asleep, and wakes for everything; nobody sleeps who lacks anything."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from raftline.core.changes import AddLearner, Move, SetPriority
from raftline.core.config import CoreConfig
from raftline.core.events import (
    ChangeRequested,
    ClockDoubted,
    DiskBehind,
    Event,
    Proposed,
    ReadRequested,
    Received,
    TimerDue,
    TransferRequested,
    Woken,
)
from raftline.core.messages import AppendReply, AppendRequest, ReadIndexRequest, VoteReply, VoteRequest
from raftline.errors import ConfigError
from raftline.sim.core_cluster import CoreCluster, CoreNode

NEVER = float("inf")
DROWSY = CoreConfig(quiesce_after_s=0.3, priority_handover_s=2.0)
HIGH_S = DROWSY.election_timeout_s[1]


def cluster_of(size: int = 3, *, spares: int = 0, **settings: Any) -> CoreCluster:
    """Return a started cluster."""
    cluster = CoreCluster(size, spares=spares, config=msgspec.structs.replace(DROWSY, **settings), seed=7)
    cluster.start()
    return cluster


def sleeps(cluster: CoreCluster) -> bool:
    """Say whether every member that runs sleeps."""
    return all(node.core.is_asleep for node in cluster.up() if node.state.membership.is_member(node.name))


def asleep(size: int = 3, *, spares: int = 0, **settings: Any) -> tuple[CoreCluster, CoreNode, list[CoreNode]]:
    """Return a cluster that sleeps, its leader and its followers."""
    cluster = cluster_of(size, spares=spares, **settings)
    assert cluster.run(5.0, until=lambda: bool(cluster.leaders()))
    cluster.leaders()[-1].propose(b"x")
    assert cluster.run(5.0, until=lambda: sleeps(cluster))
    leader = cluster.leaders()[-1]
    return cluster, leader, [node for node in cluster.up() if node is not leader and node.core.is_asleep]


def test_an_idle_group_falls_asleep_and_needs_no_timer_and_no_message() -> None:
    """Leader and followers ask for no timer, and nothing is sent, however long nothing happens (A30)."""
    cluster, leader, followers = asleep()
    assert cluster.next_deadline() == NEVER
    cluster.now += 3600.0
    assert not cluster.pool
    assert set(leader.core.sleeps_with) == {node.name for node in followers}
    assert [node.core.sleeps_with for node in followers] == [(leader.name,)] * 2
    assert leader.core.sleeps_without == ()


def test_a_group_does_not_sleep_unless_it_is_asked_to() -> None:
    """Without the setting heartbeats go on (A22)."""
    cluster = cluster_of(quiesce_after_s=NEVER)
    assert not cluster.run(10.0, until=lambda: any(node.core.is_asleep for node in cluster.up()))


def test_a_group_sleeps_only_after_it_was_idle_for_so_long() -> None:
    """Whatever is proposed puts sleep off (A30)."""
    cluster, leader, _ = asleep()
    for _ in range(5):
        leader.propose(b"y")
        assert not cluster.run(0.25, until=lambda: sleeps(cluster))
    assert cluster.run(1.0, until=lambda: sleeps(cluster))


WAKING: dict[str, Callable[[CoreNode, CoreNode], Event]] = {
    "a proposal": lambda _leader, _other: Proposed((b"z",)),
    "a read": lambda _leader, _other: ReadRequested(1),
    "a read on a lease": lambda _leader, _other: ReadRequested(1, lease=True),
    "a change": lambda _leader, other: ChangeRequested(1, Move(other.name, "n9:1")),
    "a transfer": lambda _leader, _other: TransferRequested(1),
    "a clock in doubt": lambda _leader, _other: ClockDoubted(),
    "the runtime's word": lambda _leader, _other: Woken(),
    "a follower's read": lambda leader, other: Received(other.name, ReadIndexRequest(leader.core.term, 1)),
    "a pre-vote": lambda leader, other: Received(other.name, VoteRequest(leader.core.term + 1, 1, 1, pre_vote=True)),
    "an answer of somebody who is awake": lambda leader, other: Received(
        other.name,
        AppendReply(leader.core.term, leader.core.term, success=True, prev_index=2, match_index=2),
    ),
    "an answer to an older term": lambda leader, other: Received(
        other.name, AppendReply(leader.core.term, 0, success=True, prev_index=2, match_index=2, asleep=True)
    ),
    "a disk that keeps it from proposals": lambda _, __: DiskBehind(),
}


@pytest.mark.parametrize("what", WAKING)
def test_everything_wakes_the_leader_which_speaks_to_all_at_once(what: str) -> None:
    """Each follower hears something in the same turn, and wakes (A30)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    leader.asked[1] = 0
    leader.step(WAKING[what](leader, followers[0]))
    leader.persist(10)
    assert not leader.core.is_asleep
    told = {flight.target for flight in cluster.pool if isinstance(flight.message, AppendRequest)}
    assert told == {node.name for node in followers}
    cluster.settle()
    assert not any(node.core.is_asleep for node in followers)
    assert leader.core.is_leader or what == "a transfer"
    assert cluster.run(10.0, until=lambda: sleeps(cluster)), "it sleeps again"


@pytest.mark.parametrize("what", ["a read", "the runtime's word", "a pre-vote", "a change"])
def test_everything_wakes_a_follower_which_counts_anew(what: str) -> None:
    """Its election timer runs from now on (A2, A30)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    follower = followers[0]
    event = (
        Received(followers[1].name, VoteRequest(leader.core.term + 1, 1, 1, pre_vote=True))
        if what == "a pre-vote"
        else WAKING[what](leader, followers[1])
    )
    follower.step(event)
    low, high = DROWSY.election_timeout_s
    assert low <= follower.state.election_deadline - cluster.now < high


def test_what_is_no_news_wakes_nobody() -> None:
    """A timer that was set before, and the same word said twice (A24)."""
    _, leader, followers = asleep()
    leader.step(TimerDue())
    followers[0].step(TimerDue())
    last, term = leader.state.log.last_index, leader.core.term
    leader.step(Received(followers[0].name, AppendReply(term, term, True, last, last, asleep=True)))  # noqa: FBT003
    followers[0].step(Received(leader.name, AppendRequest(term, last, term, (), last, quiesce=True)))
    assert leader.core.is_asleep
    assert followers[0].core.is_asleep


def test_a_woken_leader_has_a_whole_timeout_to_hear_a_quorum() -> None:
    """That nobody was heard while all slept is no reason to step down; that nobody is heard then is one (A27)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    for node in followers:
        node.crash()
    leader.step(Woken())
    cluster.advance(cluster.now + 0.9 * HIGH_S)
    assert leader.core.is_leader
    cluster.advance(cluster.now + HIGH_S)
    assert not leader.core.is_leader


def test_a_leader_sleeps_on_without_a_suspected_follower_as_long_as_a_quorum_is_left() -> None:
    """One node that fails wakes no leader; without a quorum it wakes, to step down if nobody answers (A27, A30)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    leader.step(Woken(followers[0].name))
    assert leader.core.is_asleep
    assert leader.core.sleeps_with == (followers[1].name,)
    assert leader.core.sleeps_without == (followers[0].name,)
    leader.step(Woken("n9"))
    assert leader.core.is_asleep
    leader.step(Woken(followers[1].name))
    assert not leader.core.is_asleep
    cluster.pool.clear()
    for node in followers:
        node.crash()
    cluster.advance(cluster.now + 2 * HIGH_S)
    assert not leader.core.is_leader


def test_a_leader_that_wakes_for_a_suspected_follower_gives_it_time_to_answer() -> None:
    """Its connection may have broken for a moment only: without its answer there was no quorum for long (A27, A30)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    for node in followers:
        leader.step(Woken(node.name))
    followers[0].crash()
    leader.step(TimerDue())
    assert leader.core.is_leader
    assert not cluster.run(2 * HIGH_S, until=lambda: not leader.core.is_leader), "a quorum answers"


def test_who_follows_a_suspected_node_believes_in_it_no_more() -> None:
    """It votes for another at once; whoever was woken for another reason keeps to its leader for a while (K2)."""
    for suspected in (True, False):
        cluster, leader, followers = asleep()
        cluster.now += 100.0
        voter, candidate = followers
        voter.step(Woken(leader.name if suspected else None))
        last = voter.state.log
        question = VoteRequest(leader.core.term + 1, last.last_index, last.last_term, pre_vote=True)
        voter.step(Received(candidate.name, question))
        voter.persist(10)
        replies = [flight.message for flight in cluster.pool if isinstance(flight.message, VoteReply)]
        assert [reply.granted for reply in replies] == [suspected]


def test_nobody_sleeps_while_a_voter_that_answers_lags() -> None:
    """It would never get the rest (A30)."""
    cluster = cluster_of()
    assert cluster.run(5.0, until=lambda: bool(cluster.leaders()))
    leader = cluster.leaders()[-1]
    slow = next(node for node in cluster.up() if node is not leader)
    leader.propose(b"x")
    cluster.settle()
    slow.held = True  # takes messages in, and carries nothing out
    leader.propose(b"y")
    assert not cluster.run(0.6, until=lambda: leader.core.is_asleep)
    slow.held = False
    slow.work()
    assert cluster.run(5.0, until=lambda: sleeps(cluster))


def test_a_dead_voter_keeps_nobody_awake_and_is_told_of() -> None:
    """The others sleep without it once it was silent for the longest timeout; its return wakes them (A30)."""
    cluster = cluster_of()
    assert cluster.run(5.0, until=lambda: bool(cluster.leaders()))
    leader = cluster.leaders()[-1]
    dead = next(node for node in cluster.up() if node is not leader)
    dead.crash()
    leader.propose(b"x")
    assert not cluster.run(0.5 * HIGH_S, until=lambda: leader.core.is_asleep)
    assert cluster.run(5.0, until=lambda: sleeps(cluster))
    assert list(leader.core.sleeps_without) == [dead.name]
    dead.start()
    leader.step(Woken())
    assert cluster.run(5.0, until=lambda: sleeps(cluster))
    assert dead.state.commit == leader.state.commit
    assert not leader.core.sleeps_without


def test_a_voter_that_comes_back_wakes_the_leader_by_asking_for_votes() -> None:
    """Even if nobody else noticed that it was away (A30)."""
    cluster, leader, followers = asleep()
    followers[0].crash()
    followers[0].start()
    assert cluster.run(2 * HIGH_S, until=lambda: not leader.core.is_asleep)
    assert cluster.run(5.0, until=lambda: sleeps(cluster))
    assert cluster.leaders() == [leader]


def test_a_lost_answer_is_asked_for_again() -> None:
    """The follower sleeps, the leader does not know and goes on asking; neither deposes the other (A30)."""
    cluster = cluster_of()
    assert cluster.run(5.0, until=lambda: bool(cluster.leaders()))
    leader = cluster.leaders()[-1]
    deaf = next(node for node in cluster.up() if node is not leader)
    leader.propose(b"x")
    cluster.settle()
    term = leader.core.term
    cluster.cut = {(deaf.name, leader.name)}
    assert cluster.run(5.0, until=lambda: deaf.core.is_asleep)
    assert not leader.core.is_asleep
    cluster.cut = set()
    assert cluster.run(5.0, until=lambda: sleeps(cluster))
    assert cluster.leaders() == [leader]
    assert leader.core.term == term


def test_an_answer_from_before_counts_for_nothing() -> None:
    """Who said that it slept, and was woken since, has to say it again (A30)."""
    cluster, leader, followers = asleep()
    stamp = leader.state.stamps.use(cluster.now)
    cluster.now += 1.0
    leader.step(Woken())
    cluster.pool.clear()
    last, term = leader.state.log.last_index, leader.core.term
    cluster.cut = {(leader.name, node.name) for node in followers}
    for _ in range(6):
        for node in followers:
            old = AppendReply(term, term, True, last, last, asleep=True, echo=stamp)  # noqa: FBT003
            leader.step(Received(node.name, old))
        cluster.advance(cluster.now + 0.1)
    assert not leader.core.is_asleep


def test_a_follower_that_may_not_sleep_keeps_the_leader_awake() -> None:
    """An older member, or one that was set up otherwise, does not say that it sleeps (K2)."""
    cluster = cluster_of()
    awake = cluster.nodes["n2"]
    awake.crash()
    config, cluster.config = cluster.config, CoreConfig()
    awake.start()
    cluster.config = config
    assert cluster.run(5.0, until=lambda: bool(cluster.leaders()))
    assert not cluster.run(5.0, until=lambda: awake.core.is_asleep)
    assert not any(node.core.is_asleep for node in cluster.leaders())


def test_a_follower_that_does_not_know_of_the_last_commit_stays_awake(bench: Any) -> None:
    """Nor one that holds more or less than its leader says there is, nor one that was not asked (A30)."""
    one = bench(terms=[1, 1], quiesce_after_s=1.0, pre_vote=True)
    cases = [(2, 1, True, False), (1, 1, True, False), (2, 2, False, False), (2, 2, True, True)]
    for prev, commit, quiesce, expected in cases:
        one.others_committed(2)
        reply = one.answer("n2", AppendRequest(1, prev, 1, (), commit, quiesce=quiesce))
        assert reply.success
        assert (reply.asleep, one.core.is_asleep) == (expected, expected)


def test_the_group_stays_awake_until_the_preferred_voter_leads() -> None:
    """The leadership goes to who is preferred first; then all sleep (A30)."""
    cluster, leader, followers = asleep()
    preferred = followers[0]
    leader.step(ChangeRequested(1, SetPriority(preferred.name, 5)))
    assert not cluster.run(1.5, until=lambda: sleeps(cluster))
    assert cluster.run(10.0, until=lambda: sleeps(cluster))
    assert cluster.leaders() == [preferred]


def test_a_preferred_voter_that_is_dead_does_not_keep_the_others_awake() -> None:
    """It is handed the leadership when it is back (A30)."""
    cluster, leader, followers = asleep()
    preferred = followers[0]
    preferred.crash()
    leader.step(ChangeRequested(1, SetPriority(preferred.name, 5)))
    assert cluster.run(10.0, until=lambda: sleeps(cluster))
    preferred.start()
    assert cluster.run(10.0, until=lambda: cluster.leaders() == [preferred] and sleeps(cluster))


def test_a_learner_sleeps_too_and_a_promotion_keeps_awake() -> None:
    """A group with something to change has something to do (thesis 4.2.1)."""
    cluster, leader, _ = asleep(spares=1)
    leader.step(ChangeRequested(1, AddLearner("n4", "n4:1", promote=False)))
    assert cluster.run(10.0, until=lambda: sleeps(cluster))
    assert cluster.nodes["n4"].core.sleeps_with == (leader.name,)


def test_a_sleeping_leader_that_was_deposed_learns_of_it_from_any_word() -> None:
    """It wakes, and follows the higher term (A9)."""
    cluster, leader, followers = asleep()
    cluster.now += 10.0
    isolated = {(leader.name, node.name) for node in followers} | {(node.name, leader.name) for node in followers}
    cluster.cut = isolated
    for node in followers:
        node.step(Woken(leader.name))
    assert cluster.run(5.0, until=lambda: len(cluster.leaders()) == 2)
    assert leader.core.is_asleep
    newer = cluster.leaders()[-1]
    assert cluster.run(5.0, until=lambda: newer.core.is_asleep)
    cluster.cut = set()
    newer.step(Woken())  # the node of the old leader is heard again
    assert cluster.run(5.0, until=lambda: sleeps(cluster))
    assert cluster.leaders() == [newer]


def test_a_lease_does_not_outlive_the_rounds_that_prove_it() -> None:
    """A leader that wakes has none until a quorum has answered again (A29)."""
    cluster, leader, _ = asleep(lease_reads=True)
    cluster.now += 10.0
    leader.ask(5, ReadRequested(5, lease=True))
    assert 5 not in leader.outcomes
    cluster.settle()
    assert leader.outcomes[5] is not None


def test_a_copy_grows_old_while_all_sleep() -> None:
    """That the leader's node is alive says nothing about who leads (G3, A30)."""
    cluster, leader, followers = asleep()
    fresh_at = [node.core.freshness(cluster.now)[0] for node in (leader, *followers)]
    cluster.now += 100.0
    assert [node.core.freshness(cluster.now)[0] for node in (leader, *followers)] == fresh_at
    assert max(fresh_at) <= cluster.now - 100.0


@pytest.mark.parametrize("of_leader", [True, False])
def test_who_was_just_woken_is_told_from_who_is_cut_off(of_leader: bool) -> None:  # noqa: FBT001
    """A copy is as old as the sleep until a leader vouches for it again: for so long it can be asked (G3, A30)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    assert all(node.core.slept(cluster.now) for node in (leader, *followers))
    node = leader if of_leader else followers[0]
    node.ask(5, ReadRequested(5))
    assert not node.core.is_asleep
    assert node.core.slept(cluster.now)
    assert cluster.now - node.core.freshness(cluster.now)[0] > 90.0
    cluster.settle()
    assert node.outcomes[5] is not None
    cluster.now += HIGH_S
    assert not node.core.slept(cluster.now)


def test_a_follower_that_the_leader_woke_is_told_from_one_that_is_cut_off() -> None:
    """It has slept as long as the leader has, whose first word may vouch for nothing yet (G3, A30)."""
    cluster, leader, followers = asleep()
    cluster.now += 100.0
    leader.propose(b"y")
    for flight in list(cluster.pool):
        cluster.deliver(flight)
    assert not any(node.core.is_asleep for node in followers)
    assert all(node.core.slept(cluster.now) for node in followers)


def test_sleeping_needs_pre_vote() -> None:
    """Whoever wakes and hears nobody must not depose the leader, which may only be asleep (K2)."""
    with pytest.raises(ConfigError, match="needs pre_vote"):
        CoreConfig(quiesce_after_s=1.0, pre_vote=False, guard_lost_disk=False).check()
    with pytest.raises(ConfigError, match="at least heartbeat_interval_s"):
        CoreConfig(quiesce_after_s=0.05).check()


def test_an_older_node_reads_the_messages_without_the_new_fields() -> None:
    """Whoever knows neither field is not asked to sleep, and never says that it does."""
    assert not AppendRequest(1, 0, 0, (), 0).quiesce
    assert not AppendReply(1, 1, success=True, prev_index=0, match_index=0).asleep
