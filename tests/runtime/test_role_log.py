"""One line a change, with its cause; candidacies are counted, repeated ones are not told again."""

import asyncio
from typing import Any

from structlog.testing import capture_logs

from raftline import CoreConfig
from raftline.core.events import TimerDue
from raftline.core.membership import Membership
from raftline.core.raft import Raft
from raftline.runtime.role_log import RoleLog


class _Half:
    def random(self) -> float:
        return 0.5


def _raft() -> Raft:
    members = Membership.of({"n1": "a:1@2", "n2": "b:1@2", "n3": "c:1@2"})
    return Raft("n1", members, random=_Half(), now=0.0, config=CoreConfig(guard_lost_disk=False))


def test_a_line_says_why_and_a_repeated_candidacy_is_only_counted() -> None:
    """Somebody cut off does not fill the log with attempts, and they are seen in the counters."""
    core = _raft()
    roles = RoleLog(3, core)
    with capture_logs() as lines:
        for second in range(1, 6):
            core.step(TimerDue(), float(second))
            roles.follow()
    (line,) = lines
    assert (line["event"], line["group"], line["role"], line["was"]) == ("role", 3, "pre-candidate", "follower")
    assert (line["cause"], line["why"]) == ("election-timeout", "no leader was heard since the start")
    assert (roles.pre_votes, roles.elections, roles.leader_changes) == (5, 0, 0)
    assert roles.changes == {("pre-candidate", "election-timeout"): 1}


def test_every_role_on_the_way_is_told_even_within_one_turn() -> None:
    """A lone voter stands and wins in one step: both are told."""
    core = Raft("n1", Membership.of({"n1": "a:1@2"}), random=_Half(), now=0.0)
    roles = RoleLog(3, core)
    with capture_logs() as lines:
        core.step(TimerDue(), 1.0)
        roles.follow()
    assert [(line["role"], line["why"]) for line in lines] == [
        ("pre-candidate", "the only voter"),
        ("candidate", "pre-votes of n1"),
        ("leader", "votes of n1"),
    ]
    assert (roles.elections, roles.leader_changes) == (1, 1)


def test_real_nodes_log_how_the_leader_won(make_cluster: Any) -> None:
    """The node that leads has said whose votes made it so."""

    async def scenario() -> None:
        with capture_logs() as lines:
            async with make_cluster() as cluster:
                leader = await cluster.leader()
                name = leader.config.node_id
        won = [line for line in lines if line["event"] == "role" and line["role"] == "leader" and line["node"] == name]
        assert won
        assert won[0]["why"].startswith("votes of ")
        assert won[0]["why"].count(", ") >= 1

    asyncio.run(scenario())
