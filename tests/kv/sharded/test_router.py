"""Where a slot is looked for, and who is told to ask elsewhere."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from raftline.errors import NotServed
from raftline.kv.sharded.router import Away, Here, Router
from raftline.shards.configuration import EMPTY, Configuration, Leave, Move
from raftline.shards.ranges import NOBODY

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
SLOT = 5


def router_of(cluster: "FakeCluster", node: str) -> Router:
    """Return the router of a node."""
    service: Any = cluster.servers[node].service
    router: Router = service.router
    return router


def test_a_slot_without_a_group(run_sharded: Run) -> None:
    """Without a configuration nobody serves anything, and who asks is held until there is one."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.configuration = EMPTY
        del cluster.groups[1], cluster.groups[2]
        router = router_of(cluster, "n1")
        assert router.owner(SLOT) == NOBODY
        nowhere = router.find(SLOT)
        assert isinstance(nowhere, Away)
        assert nowhere.id == NOBODY
        with pytest.raises(NotServed):
            await nowhere.group.ask(b"")
        with pytest.raises(NotServed):
            await nowhere.group.open_session(1)
        cluster.configuration = Configuration(number=1)
        assert router.find(SLOT) is None

    run_sharded(scenario)


def test_a_slot_is_looked_for_where_it_was(run_sharded: Run) -> None:
    """Who hosts the giving group asks it while it serves; who hosts neither finds it in turns, and remembers (G18)."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.change(Move(SLOT, SLOT + 1, 2))
        cluster.take()
        giver, taker = router_of(cluster, "n1"), router_of(cluster, "n3")
        assert giver.group_for(SLOT, 0) == 1
        assert [taker.group_for(SLOT, tries) for tries in range(4)] == [2, 1, 2, 1]
        taker.note_served(SLOT, 1)
        assert taker.group_for(SLOT, 0) == 1
        cluster.release(1, 2)
        cluster.carry(1, 2)
        assert taker.group_for(SLOT, 0) == 2
        place = giver.find(SLOT)
        assert place is not None
        assert (place.id, isinstance(place, Here)) == (2, False)

    run_sharded(scenario)


def test_nobody_is_sent_to_a_group_that_gives_the_slot(run_sharded: Run) -> None:
    """A redirect names the leader of the slot's new group, or there is none."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.change(Move(SLOT, SLOT + 1, 2))
        cluster.take()
        router = router_of(cluster, "n3")
        assert router.redirect(SLOT, 1, finds_slots=True) is None
        moved = f"-MOVED {SLOT} 127.0.0.1:{cluster.port('n2')}\r\n".encode()
        assert router.redirect(SLOT, 2, finds_slots=True) == moved
        assert router.redirect(SLOT, 2, finds_slots=False) is None
        assert router_of(cluster, "n2").redirect(SLOT, 2, finds_slots=True) is None
        cluster.leaders.pop(2)
        assert router.redirect(SLOT, 2, finds_slots=True) is None

    run_sharded(scenario)


def test_places_begin_and_end_with_the_replicas(run_sharded: Run) -> None:
    """A group that leaves is looked after until it is gone, and nothing of it is kept then."""

    async def scenario(cluster: "FakeCluster") -> None:
        router = router_of(cluster, "n2")
        assert [place.id for place in router.all_here()] == [1, 2]
        cluster.change(Leave((1,)))
        assert [place.id for place in router.all_here()] == [1, 2]
        del cluster.groups[1]
        assert [place.id for place in router.all_here()] == [2]
        assert [place.id for place in router.known_here()] == [2]

    run_sharded(scenario)


@pytest.mark.parametrize(("node", "is_master"), [("n1", True), ("n2", True), ("n3", False)])
def test_a_node_that_leads_any_group_is_a_master(run_sharded: Run, node: str, is_master: bool) -> None:  # noqa: FBT001
    """INFO and HELLO say of a node what CLUSTER NODES does."""

    async def scenario(cluster: "FakeCluster") -> None:
        service: Any = cluster.servers[node].service
        assert service.is_master == is_master

    run_sharded(scenario)
