"""Replicas that are hosted and wait to be added to their group, or catch up with it, as the keeper sees them."""

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.kv.sharded.test_keeper import KEYS, in_a_loop, sharded

from raftline.core.changes import AddLearner
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.events import Received
from raftline.core.membership import Membership
from raftline.core.messages import AppendRequest
from raftline.core.raft import Raft
from raftline.kv.machine import encode_command
from raftline.kv.sharded.requests import change_command
from raftline.kv.sharded.router import Away, Router
from raftline.kv.slots import slot_of
from raftline.shards.configuration import Place


def members(*voters: str, learners: tuple[str, ...] = ()) -> Membership:
    """Return a membership."""
    everyone = sorted({*voters, *learners})
    return Membership(voters=voters, learners=learners, addresses=tuple((node, "127.0.0.1:1") for node in everyone))


class Newcomer:
    """A replica on n1 without a log, to which n2 sends the group's, entry by entry."""

    def __init__(self, keeper: Any) -> None:
        self.keeper = keeper
        self.core = Raft("n1", Membership(), random=Random(1), now=0.0)
        strangers = SimpleNamespace(role=lambda: None, error=lambda: None)
        driver = SimpleNamespace(replica=SimpleNamespace(core=self.core), strangers=strangers)
        self.group: Any = SimpleNamespace(driver=driver)

    def hear(self, membership: Membership, commit: int) -> None:
        """Take the next entry in; up to `commit` all is committed, as far as the leader knows."""
        last = self.core.state.log.last_index
        entry = Entry(last + 1, 1, encode_membership(membership), KIND_MEMBERSHIP)
        self.core.step(Received("n2", AppendRequest(1, last, min(last, 1), (entry,), commit)), 0.0)
        assert self.core.state.membership == membership
        self.keeper._note_vote(1)

    def is_to_go(self, *, is_wanted: bool = True) -> bool:
        """Say whether the keeper gives it up."""
        found: bool = self.keeper._is_to_go(1, self.group, is_wanted=is_wanted)
        return found


@in_a_loop
async def test_a_newcomer_is_not_out_by_what_was_decided_before_it_was_added(tmp_path: Path) -> None:
    """It goes through the log, in which this node was a member long ago, and was removed (thesis 4.1).

    Given up there, it would begin anew, while its leader knows how far it had come, and come there again. Nor is it
    asked there: the vote that it had then says nothing of what it knows now.
    """
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.wait_settled(1)
        keeper: Any = cluster.places["n1"].keeper
        replica = keeper.running(1)
        await cluster.places["n1"].rest()
        newcomer = Newcomer(keeper)
        try:
            keeper._joined.clear()
            keeper._groups[1] = newcomer.group
            newcomer.hear(members("n1", "n2", "n3"), commit=4)
            assert keeper.hosted(1) is None
            newcomer.hear(members("n2", "n3"), commit=4)
            assert not newcomer.is_to_go()
            assert newcomer.is_to_go(is_wanted=False)
            newcomer.hear(members("n2", "n3", learners=("n1",)), commit=4)
            newcomer.hear(members("n1", "n2", "n3"), commit=4)
            assert not newcomer.is_to_go()
            assert keeper.hosted(1) is not None
            newcomer.hear(members("n2", "n3"), commit=5)
            assert newcomer.is_to_go(), "now it was removed"
        finally:
            keeper._groups[1] = replica


@in_a_loop
async def test_who_was_removed_is_out_whatever_comes_behind_its_removal(tmp_path: Path) -> None:
    """The leader tells it of the next change, and lets it go, or hands over, before that is committed (G15).

    Nobody speaks to it any more then. But if it is in one of the memberships that may be taken back to, it is not out.
    """
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.wait_settled(1)
        keeper: Any = cluster.places["n1"].keeper
        replica = keeper.running(1)
        await cluster.places["n1"].rest()
        removed, added_again = Newcomer(keeper), Newcomer(keeper)
        try:
            for newcomer in (removed, added_again):
                keeper._joined.clear()
                keeper._groups[1] = newcomer.group
                newcomer.hear(members("n1", "n2", "n3"), commit=1)
                newcomer.hear(members("n2", "n3"), commit=1)
                assert not newcomer.is_to_go(is_wanted=False), "its removal is not committed"
            removed.hear(members("n2", "n3", learners=("n4",)), commit=2)
            assert removed.is_to_go(is_wanted=False)
            added_again.hear(members("n2", "n3", learners=("n1",)), commit=2)
            added_again.hear(members("n2", "n3"), commit=2)
            assert not added_again.is_to_go(is_wanted=False)
        finally:
            keeper._groups[1] = replica


@in_a_loop
async def test_newcomers_send_nobody_to_each_other(tmp_path: Path) -> None:
    """They wait to be let in, and none of them leads: a cluster client would go to and fro between them (G18)."""
    async with sharded(tmp_path, 4, first_groups=1, replicas=1) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.fill()
        (home,) = cluster.places["n4"].meta.configuration.nodes_of(1)
        first, second, other = (name for name in cluster.places if name != home)
        await cluster.places[home].rest()  # nobody lets the new ones in
        number = int((await cluster.places[first].node.propose(change_command(Place(1, (first, second)))))[1:])
        keepers = {name: cluster.places[name].keeper for name in (first, second, other)}
        await cluster.wait(lambda: cluster.hosts(first) == cluster.hosts(second) == {1}, "replicas nobody has added")
        await cluster.wait(lambda: keepers[other].configuration.number == number, "known everywhere")
        slot = slot_of(KEYS[0])
        for asked in keepers:
            way = [asked]
            while (leader := keepers[way[-1]].leader_of(1)) in keepers and leader != way[-1]:
                assert leader not in way, f"in a circle: {way}"
                way.append(leader)
        for name in (first, second):
            router = Router(keepers[name], "always", 1, lambda _place: None, lambda _place: None)
            assert router.redirect(slot, 1, finds_slots=True) is None
            place = router.find(slot)
            assert isinstance(place, Away)
            assert await place.group.ask(encode_command([b"GET", KEYS[0]])) == b"$1\r\nv\r\n"
        cluster.places[home].work()
        await cluster.wait(lambda: [keepers[name].leader_of(1) for name in (first, second)] == [first] * 2, "led there")
