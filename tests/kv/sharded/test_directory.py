"""Whom a group's leader asks about slots that move, where its own node holds no replica of the other group."""

from pathlib import Path

import msgspec
from tests.kv.sharded.test_keeper import FAST, Sharded, in_a_loop

from raftline.core.changes import AddLearner
from raftline.kv.sharded.requests import AddGroups

STAYS = msgspec.structs.replace(FAST, priority_handover_s=1000.0)
"""Nobody takes the leadership back."""


@in_a_loop
async def test_a_node_that_is_behind_is_passed_over(tmp_path: Path) -> None:
    """The first node of the group that gives says that nothing was released yet, and will for long: others know.

    It has a large snapshot to restore, so its leader's word that it has everything is there before what it has.
    """
    cluster = Sharded(tmp_path, 4, first_groups=1)
    cluster.core = STAYS
    try:
        await cluster.start()
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.fill()
        first, place = cluster.places["n1"], cluster.places["n4"]
        await first.node.group(1).transfer_leadership("n2")
        await cluster.wait(lambda: cluster.places["n2"].keeper.leader_of(1) == "n2", "led from the second node")
        copy = first.node.groups[1].driver.replica
        copy.restoring = copy.core.state.snapshot  # from here on it applies nothing
        number = await cluster.change(AddGroups(1, {"n4": cluster.addresses["n4"]}, replicas=1))
        await cluster.wait(lambda: place.keeper.leader_of(2) == "n4", "the new group is on the fourth node alone")
        await cluster.wait_given(number, "n2", "n4")
        assert copy.machine.holdings.configuration.number < number  # type: ignore[attr-defined]
    finally:
        await cluster.stop()
