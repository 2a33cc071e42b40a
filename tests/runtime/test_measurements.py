"""Whether a node is ready, and why not, in every state that it can be in."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.runtime.conftest import CALM

from raftline import Node
from raftline.core.entries import SnapshotMeta
from raftline.runtime.measurements import Measurements, measure
from raftline.runtime.status import Status


def _measured(node: Node, *, later_s: float = 0.0, **status: Any) -> Measurements:
    """Measure a node as if so much time had passed without a word, and as if its status were another."""
    assert node._group is not None
    changed: Status = msgspec.structs.replace(node.status(), **status)
    return measure(node._group, changed, {}, asyncio.get_running_loop().time() + later_s)


def _heard_s_ago(node: Node) -> float:
    """Return how long ago a follower knew that it lacks nothing; on a busy machine that may be long."""
    assert node._group is not None
    return asyncio.get_running_loop().time() - node._group.replica.core.level[0]


@pytest.fixture
def run(make_cluster: Any) -> Callable[..., None]:
    """Return a function that runs a scenario with a follower and a leader, or with a lone node, at work."""

    def run_scenario(scenario: Callable[[Node, Node], None], size: int = 3) -> None:
        async def main() -> None:
            async with make_cluster(size) as cluster:
                leader = await cluster.leader()
                follower = await cluster.follower() if size > 1 else leader
                await follower.propose(b"k=v")
                scenario(leader, follower)

        asyncio.run(main())

    return run_scenario


def test_leader_and_follower_at_work_are_ready(run: Callable[..., None]) -> None:
    """Both can serve every request."""

    def scenario(leader: Node, follower: Node) -> None:
        assert leader.measure().not_ready == ""
        assert _measured(follower, later_s=-_heard_s_ago(follower)).not_ready == ""

    run(scenario)


def test_a_follower_that_hears_nothing_is_not_ready_for_long(run: Callable[..., None]) -> None:
    """It may be far behind, and cannot know; a leader that hears nobody steps down by itself."""

    def scenario(leader: Node, follower: Node) -> None:
        long_s = 3 * CALM.election_timeout_s[1]
        assert f"has not held all that the leader had committed for more than {long_s:g} s" in (
            _measured(follower, later_s=long_s + 1.0).not_ready
        )
        assert _measured(leader, later_s=long_s + 1.0).not_ready == ""

    run(scenario)


def test_a_lone_node_without_work_stays_ready(run: Callable[..., None]) -> None:
    """It has nobody to hear, and nothing to do."""

    def scenario(leader: Node, _: Node) -> None:
        assert _measured(leader, later_s=3600.0).not_ready == ""

    run(scenario, size=1)


def test_who_belongs_to_no_group_says_so(run: Callable[..., None]) -> None:
    """Removed, never added, or a stranger."""

    def scenario(leader: Node, _: Node) -> None:
        for role in ("removed", "waiting", "stranger"):
            assert _measured(leader, role=role).not_ready == f"this node is no member of the group: {role}"

    run(scenario)


def test_a_node_that_restores_or_lags_or_has_no_leader_says_so(run: Callable[..., None]) -> None:
    """Each reason is found, the first one is told."""

    def scenario(_: Node, follower: Node) -> None:
        assert follower._group is not None
        replica = follower._group.replica
        replica.applied -= 10_001
        lagging = _measured(follower, later_s=-_heard_s_ago(follower))
        assert lagging.not_ready == "10001 committed entries are not applied yet"
        replica.applied += 10_001
        replica.restoring = SnapshotMeta(7, 1, replica.core.state.membership)
        assert _measured(follower).not_ready == "the snapshot up to 7 is being restored"
        replica.restoring = None
        replica.core.state.leader = None
        assert _measured(follower).not_ready == "no leader is known"

    run(scenario)
