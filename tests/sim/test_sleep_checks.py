"""Who falls asleep too early is found, follower or leader (A30)."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from raftline.core.config import CoreConfig
from raftline.core.events import Event, Received, TimerDue
from raftline.core.messages import AppendReply, AppendRequest
from raftline.core.pending import Transfer
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation
from raftline.sim.core_cluster import CoreCluster
from raftline.sim.sleep_checks import check_follower_sleeps, check_leader_sleeps


@pytest.fixture
def cluster() -> CoreCluster:
    """A cluster that sleeps."""
    cluster = CoreCluster(3, config=CoreConfig(quiesce_after_s=0.3), seed=3)
    cluster.start()
    assert cluster.run(10.0, until=lambda: all(node.core.is_asleep for node in cluster.up()))
    return cluster


def test_a_follower_sleeps_only_when_asked_and_says_so(cluster: CoreCluster) -> None:
    """What its leader sent, what it answers and what it holds have to fit (A30)."""
    leader = cluster.leaders()[-1].state
    follower = next(node.state for node in cluster.up() if not node.core.is_leader)
    last, term = follower.log.last_index, follower.term
    request = AppendRequest(term, last, term, (), last, quiesce=True)
    reply = AppendReply(term, term, success=True, prev_index=last, match_index=last, asleep=True)
    check_follower_sleeps(follower, Received(leader.me, request), reply)
    replace = msgspec.structs.replace
    cases: list[tuple[Event, Any, str]] = [
        (TimerDue(), reply, "TimerDue made it sleep"),
        (Received("n9", request), reply, "not its leader"),
        (Received(leader.me, replace(request, quiesce=False)), reply, "not its leader"),
        (Received(leader.me, request), None, "does not say so"),
        (Received(leader.me, request), replace(reply, asleep=False), "does not say so"),
        (Received(leader.me, replace(request, commit=last - 1)), reply, "leader has committed"),
    ]
    for event, answer, words in cases:
        with pytest.raises(SafetyViolation, match=words):
            check_follower_sleeps(follower, event, answer)


def _lag(state: RaftState) -> None:
    next(iter(state.progress.values())).match_index -= 1


def _unapplied(state: RaftState) -> None:
    state.applied -= 1


def _hand_over(state: RaftState) -> None:
    state.transfer = Transfer("n2", 1.0)


def _nobody_answers(state: RaftState) -> None:
    for progress in state.progress.values():
        progress.heard_at = float("-inf")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_lag, "holds . of . entries"),
        (_unapplied, "applied"),
        (_hand_over, "in the middle of a change"),
        (_nobody_answers, "nobody but"),
    ],
)
def test_a_leader_sleeps_only_when_nothing_is_left_to_do(
    cluster: CoreCluster, damage: Callable[[Any], None], words: str
) -> None:
    """Who answers has all there is, and is a quorum with it (A30)."""
    state = cluster.leaders()[-1].state
    check_leader_sleeps(state, cluster.now)
    damage(state)
    with pytest.raises(SafetyViolation, match=words):
        check_leader_sleeps(state, cluster.now)
