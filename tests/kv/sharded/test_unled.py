"""What a node says of groups without a leader: a moment of that belongs to every change of leader."""

import asyncio
from pathlib import Path

from tests.kv.sharded.test_keeper import Member, in_a_loop, sharded

from raftline.kv.sharded.requests import AddGroups
from raftline.kv.sharded.topology import Topology
from raftline.shards.configuration import Place


def _state(place: Member) -> object:
    """Return what a node says in CLUSTER INFO."""
    return Topology(place.keeper, "auto").facts()["cluster_state"]


@in_a_loop
async def test_cluster_info_says_ok_while_a_group_begins_or_is_handed_over(tmp_path: Path) -> None:
    """Its slots are served by those that had them, or are again in an instant."""
    async with sharded(tmp_path, first_groups=2) as cluster:
        await cluster.fill()
        told: set[object] = set()

        async def look() -> None:
            while True:
                told.update(_state(place) for place in cluster.places.values())
                await asyncio.sleep(0)  # each turn of the loop: what lasts for milliseconds shows

        looking = asyncio.create_task(look())
        await cluster.wait_settled(await cluster.change(AddGroups(1, cluster.first)))
        leaders = cluster.places["n1"].keeper
        was = leaders.leader_of(1)
        nodes = [name for name in cluster.first if name != was]
        assert was is not None
        await cluster.change(Place(1, (*nodes, was)))
        await cluster.wait(lambda: leaders.leader_of(1) == nodes[0], "it is handed over")
        looking.cancel()
        assert told == {"ok"}


@in_a_loop
async def test_cluster_info_says_fail_when_groups_stay_without_a_leader(tmp_path: Path) -> None:
    """A node that has lost the others says so, of each of its groups."""
    async with sharded(tmp_path, first_groups=3) as cluster:
        await cluster.fill()
        assert _state(cluster.places["n1"]) == "ok"
        for name in ("n2", "n3"):
            await cluster.places.pop(name).stop()
        place = cluster.places["n1"]
        await cluster.wait(lambda: Topology(place.keeper, "auto").facts()["cluster_slots_ok"] == 0, "no slot is served")
        assert _state(place) == "fail"
