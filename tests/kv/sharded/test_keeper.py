"""Nodes that host what the configuration gives them: real ones, in one event loop, on loopback."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import free_addresses

from raftline import CoreConfig, Node, NodeConfig
from raftline.core.changes import AddLearner
from raftline.errors import ChangeRefused, NotServed, RaftlineError
from raftline.kv.key_walks import alive_keys
from raftline.kv.machine import encode_command
from raftline.kv.sharded.directory import LocalDirectory
from raftline.kv.sharded.keeper import Keeper
from raftline.kv.sharded.machine import has_all
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.requests import AddGroups, Request, change_command
from raftline.kv.sharded.router import Away, Here, Router
from raftline.kv.sharded.settings import KeeperSettings
from raftline.kv.slots import slot_of
from raftline.shards.configuration import Leave, Place

FAST = CoreConfig(heartbeat_interval_s=0.05, election_timeout_s=(0.25, 0.5), priority_handover_s=0.1)
KEYS = [b"key%d" % number for number in range(60)]


def in_a_loop(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Let a test run in an event loop of its own."""

    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__doc__ = test.__doc__
    return run


class Member:
    """A node with its keeper."""

    def __init__(
        self,
        name: str,
        members: dict[str, str],
        address: str,
        directory: Path,
        settings: KeeperSettings,
        core: CoreConfig,
    ) -> None:
        self.name = name
        self.meta = MetaMachine()
        config = NodeConfig(
            node_id=name,
            members=members,
            address=address,
            data_dir=str(directory / name),
            core=core,
            request_timeout_s=3.0,
            drain_s_max=0.0,
        )
        self.node = Node(config, self.meta)
        self.keeper = Keeper(self.node, name, self.meta, settings)
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start both."""
        await self.node.start()
        self.work()

    def work(self) -> None:
        """Let the keeper go on."""
        self.task = asyncio.create_task(self.keeper.run())

    async def rest(self) -> None:
        """Stop the keeper; the node goes on with what it hosts."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def stop(self) -> None:
        """Stop both."""
        await self.rest()
        await self.node.stop()


class Sharded:
    """Nodes n1, n2, ...; the first three found the cluster, the others wait to be added."""

    def __init__(self, directory: Path, size: int = 3, **settings: int) -> None:
        self.directory = directory
        self.core = FAST
        self.settings = KeeperSettings(**settings)
        self.addresses = {f"n{n}": address for n, address in enumerate(free_addresses(size), 1)}
        self.first = {name: self.addresses[name] for name in list(self.addresses)[:3]}
        self.places: dict[str, Member] = {}

    async def start(self, *names: str) -> None:
        """Start nodes, all unless named."""
        for name in names or self.addresses:
            members = self.first if name in self.first else {}
            place = Member(name, members, self.addresses[name], self.directory, self.settings, self.core)
            self.places[name] = place
            await place.start()

    async def stop(self) -> None:
        """Stop all that run."""
        places, self.places = self.places, {}
        await asyncio.gather(*(place.stop() for place in places.values()))

    async def wait(self, condition: Callable[[], object], what: str) -> None:
        """Look again and again until it is so."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110  a condition over several nodes has no event of its own
                await asyncio.sleep(0.02)
        assert condition(), what

    async def wait_settled(self, number: int) -> None:
        """Wait until every group, wherever it is hosted, has taken configuration `number` and finished with it."""

        def is_settled() -> bool:
            held = [each for place in self.places.values() for each in place.keeper.hosted_groups().values()]
            all_there = all(
                place.meta.configuration.number >= number and self.hosts(place.name) == self.wanted(place)
                for place in self.places.values()
            )
            return all_there and all(
                each.machine.holdings.configuration.number >= number and each.machine.holdings.is_settled
                for each in held
            )

        await self.wait(is_settled, f"configuration {number}")

    async def wait_given(self, number: int, giver: str, taker: str) -> None:
        """Wait until group 2 has at `taker` what the configuration says, and group 1 has it no more at `giver`."""
        given = self.places[giver].keeper.hosted_groups()[1].machine.holdings
        taken = self.places[taker].keeper.hosted_groups()[2].machine
        await self.wait(lambda: taken.holdings.configuration.number == number, "it knows what it gets")
        await self.wait(lambda: taken.holdings.is_settled and given.is_settled, "all slots are there")
        assert taken.store.count

    async def fill(self) -> None:
        """Wait until the first groups have begun, and write every key."""
        await self.wait_settled(1)
        meta = self.places["n2"].meta
        await self.wait(lambda: meta.begun == set(meta.configuration.group_ids), "begun")
        for key in KEYS:
            await self.ask(key, b"SET", b"v")

    def hosts(self, name: str) -> set[int]:
        """Return the groups that a node hosts."""
        return set(self.places[name].keeper.hosted_groups())

    def wanted(self, place: Member) -> set[int]:
        """Return the groups that a node is to host in the end."""
        return {group for group, nodes in place.meta.configuration.groups if place.name in nodes}

    async def change(self, request: Request) -> int:
        """Have a change made, asked on the last node."""
        reply = await list(self.places.values())[-1].keeper.change(request)
        assert reply[:1] == b":", reply
        return int(reply[1:].rstrip())

    async def ask(self, key: bytes, *words: bytes) -> bytes:
        """Carry out a command wherever its slot is served by then."""
        while True:
            for place in self.places.values():
                hosted = place.keeper.hosted(place.keeper.serving(slot_of(key)))
                if hosted is None:
                    continue
                try:
                    return await hosted.group.propose(encode_command([words[0], key, *words[1:]]))  # type: ignore[attr-defined,no-any-return]
                except (NotServed, RaftlineError):
                    continue
            await asyncio.sleep(0.01)


@asynccontextmanager
async def sharded(
    directory: Path, size: int = 3, *, names: Sequence[str] = (), **settings: int
) -> AsyncIterator[Sharded]:
    """Run a sharded cluster."""
    cluster = Sharded(directory, size, **settings)
    try:
        await cluster.start(*names)
        yield cluster
    finally:
        await cluster.stop()


@in_a_loop
async def test_groups_come_and_go_with_all_that_they_hold(tmp_path: Path) -> None:
    """The first groups are made once; one that joins gets its share, one that leaves is emptied and forgotten (G15)."""
    async with sharded(tmp_path, first_groups=2) as cluster:
        await cluster.wait_settled(1)
        one = cluster.places["n1"]
        assert one.meta.configuration.group_ids == (1, 2)
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"a") == b":1\r\n"
        await cluster.wait_settled(await cluster.change(AddGroups(1, cluster.first)))
        assert len(one.meta.configuration.group_ids) == 3
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"b") == b":2\r\n"
        number = await cluster.change(Leave((1,)))
        await cluster.wait_settled(number)
        await cluster.wait(lambda: all(place.meta.is_retired(1) for place in cluster.places.values()), "retired")
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"c") == b":3\r\n"
        kept = Counter(
            key for hosted in one.keeper.hosted_groups().values() for key in alive_keys(hosted.machine.store, 0)
        )
        assert kept == Counter(KEYS)


@in_a_loop
async def test_leaders_are_where_the_configuration_wants_them(tmp_path: Path) -> None:
    """The first of a group's nodes leads it, so leaders are spread as groups are."""
    async with sharded(tmp_path) as cluster:
        await cluster.wait_settled(1)
        keeper = cluster.places["n1"].keeper
        wanted = {group: nodes[0] for group, nodes in keeper.configuration.groups}
        assert sorted(wanted.values()) == ["n1", "n2", "n3"]
        await cluster.wait(lambda: {group: keeper.leader_of(group) for group in wanted} == wanted, "leaders")


@in_a_loop
async def test_a_report_tells_of_commands_that_raised(tmp_path: Path) -> None:
    """In an entry of their own or of several, in each group that is hosted; what is not served there is no fault."""
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.fill()
        place = cluster.places["n1"]
        group = place.node.groups[1]
        with pytest.raises(NotServed):
            await group.propose(encode_command([b"PING"]))
        group.driver.replica.apply_errors += 1
        place.keeper.hosted_groups()[1].machine.faults += 2
        assert [told.apply_errors for told in place.keeper.report().groups] == [3]


@in_a_loop
async def test_a_group_moves_to_other_nodes(tmp_path: Path) -> None:
    """A new node catches up and votes before the old one goes, which then holds nothing of the group any more."""
    async with sharded(tmp_path, 4, first_groups=1) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.wait(lambda: len(cluster.places["n4"].keeper.node_ids) == 4, "four nodes")
        await cluster.wait(lambda: cluster.places["n4"].meta.begun == {1}, "the first group")
        for key in KEYS:
            await cluster.ask(key, b"APPEND", b"a")
        await cluster.change(Place(1, ("n4", "n2", "n3")))
        await cluster.wait(lambda: cluster.hosts("n4") == {1} and cluster.hosts("n1") == set(), "hosted elsewhere")
        await cluster.wait(lambda: cluster.places["n4"].keeper.leader_of(1) == "n4", "led from there")
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"b") == b":2\r\n"


@in_a_loop
async def test_a_replica_is_asked_once_it_votes(tmp_path: Path) -> None:
    """One that waits to be added, or to catch up, knows nothing: whoever asks at its node is answered by the group."""
    async with sharded(tmp_path, 4, first_groups=1) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.wait_settled(1)
        await cluster.ask(KEYS[0], b"SET", b"v")
        await cluster.wait(lambda: 1 in cluster.places["n2"].meta.begun, "begun")
        for name in cluster.first:
            await cluster.places[name].rest()  # nobody lets the new one in
        place = cluster.places["n4"]
        number = int((await place.node.propose(change_command(Place(1, ("n4", "n2", "n3")))))[1:])
        await cluster.wait(lambda: cluster.hosts("n4") == {1}, "a replica that nobody has added")
        assert place.keeper.hosted(1) is None
        router = Router(place.keeper, "auto", 1, lambda _place: None, lambda _place: None)
        found = router.find(slot_of(KEYS[0]))
        assert isinstance(found, Away)
        assert await found.group.ask(encode_command([b"GET", KEYS[0]])) == b"$1\r\nv\r\n"
        assert await LocalDirectory(place.keeper, place.meta).ask(1, has_all(1, 7, 0)) == b"1"
        for name in cluster.first:
            cluster.places[name].work()
        await cluster.wait_settled(number)
        await cluster.wait(lambda: isinstance(router.find(slot_of(KEYS[0])), Here), "it votes")


@in_a_loop
async def test_slots_arrive_though_the_copy_beside_their_leader_is_behind(tmp_path: Path) -> None:
    """What was released is served by nobody: whoever leads the group that gets it does not wait for its node's copy.

    That is the copy of the group that gives, which may have a large snapshot to restore.
    """
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.fill()
        place = cluster.places["n2"]
        await cluster.wait(lambda: place.keeper.leader_of(1) == "n1", "led from the first node")
        copy = place.node.groups[1].driver.replica
        copy.restoring = copy.core.state.snapshot  # from here on it applies nothing
        number = await cluster.change(AddGroups(1, cluster.first))
        await cluster.wait(lambda: place.keeper.leader_of(2) == "n2", "the new group is led from the second node")
        await cluster.wait_given(number, "n1", "n2")
        assert copy.machine.holdings.configuration.number < number  # type: ignore[attr-defined]


@in_a_loop
async def test_a_group_that_is_placed_and_leaves_at_once_gives_what_it_has(tmp_path: Path) -> None:
    """It is on its old nodes yet when it is to be given up: it is found there, and goes on to the new ones (G17)."""
    async with sharded(tmp_path, first_groups=3, replicas=1) as cluster:
        await cluster.fill()
        other = cluster.places["n2"]
        home = other.meta.configuration.nodes_of(1)[0]
        away = next(name for name in ("n3", "n2", "n1") if name != home)
        await other.node.propose(change_command(Place(1, (away,))))
        number = int((await other.node.propose(change_command(Leave((1,)))))[1:])
        await cluster.wait_settled(number)
        await cluster.wait(lambda: other.meta.is_retired(1), "retired")
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"!") == b":2\r\n"


@in_a_loop
async def test_a_group_is_found_where_it_is_until_it_has_moved(tmp_path: Path) -> None:
    """Its new nodes wait to be let in: who has no replica asks the old ones."""
    async with sharded(tmp_path, first_groups=1, replicas=1) as cluster:
        await cluster.wait_settled(1)
        await cluster.wait(lambda: 1 in cluster.places["n2"].meta.begun, "begun")
        await cluster.ask(KEYS[0], b"SET", b"v")
        home = cluster.places["n2"].meta.configuration.nodes_of(1)[0]
        there, asker = (name for name in ("n1", "n2", "n3") if name != home)
        await cluster.places[home].rest()  # nobody lets the new node in
        await cluster.places[asker].node.propose(change_command(Place(1, (there,))))
        await cluster.wait(lambda: cluster.hosts(there) == {1}, "a replica that nobody has added")
        for name in (asker, there):
            answer = await cluster.places[name].keeper.remote(1).ask(encode_command([b"GET", KEYS[0]]))
            assert answer == b"$1\r\nv\r\n"


@in_a_loop
async def test_after_a_restart_everything_goes_on(tmp_path: Path) -> None:
    """All nodes stop amid a change of configuration and come back: it is carried through, nothing is lost."""
    async with sharded(tmp_path, first_groups=2) as cluster:
        await cluster.wait_settled(1)
        for key in KEYS:
            await cluster.ask(key, b"APPEND", b"a")
        number = await cluster.change(AddGroups(2, cluster.first))
        await cluster.stop()
        await cluster.start()
        await cluster.wait_settled(number)
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"b") == b":2\r\n"


@in_a_loop
async def test_groups_are_reached_from_nodes_that_host_none_of_them(tmp_path: Path) -> None:
    """With more nodes than replicas, slots move between groups that have no node in common, both ways (G15)."""
    async with sharded(tmp_path, 4, first_groups=1, replicas=1) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.wait(lambda: cluster.places["n4"].meta.last_group == 1, "the first group")
        home = cluster.places["n4"].meta.configuration.nodes_of(1)[0]
        other = next(name for name in ("n2", "n3", "n4") if name != home)
        for key in KEYS:
            await cluster.ask(key, b"APPEND", b"a")
        await cluster.wait_settled(await cluster.change(AddGroups(1, {other: cluster.addresses[other]}, 1)))
        assert (cluster.hosts(home), cluster.hosts(other)) == ({1}, {2})
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"b") == b":2\r\n"
        await cluster.wait_settled(await cluster.change(Leave((1,))))
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"c") == b":3\r\n"
        remote = cluster.places[home].keeper.remote(2)
        answer = await remote.ask(encode_command([b"GET", KEYS[0]]))
        assert answer == b"$3\r\nabc\r\n"


@in_a_loop
async def test_no_group_is_founded_where_nobody_is(tmp_path: Path) -> None:
    """Slots would be promised to a group that cannot begin, and no later configuration would be carried out."""
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.wait_settled(1)
        await cluster.places.pop("n3").stop()
        keeper = cluster.places["n1"].keeper
        await cluster.wait(lambda: not keeper.is_up("n3"), "n3 is missed")
        with pytest.raises(ChangeRefused, match=r"n3: down, so a group there might never begin; name nodes"):
            keeper.report().check_founders(("n1", "n3"))
        assert set(keeper.adding(1).nodes) == {"n1", "n2"}


@in_a_loop
async def test_a_dead_nodes_replicas_are_made_anew_where_there_is_room(tmp_path: Path) -> None:
    """If the operator allows it: after so long, on a node that holds none yet; the group serves throughout."""
    async with sharded(tmp_path, 4, first_groups=1, replace_dead_after_s=1) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.wait_settled(1)
        await cluster.ask(KEYS[0], b"SET", b"v")
        await cluster.places.pop("n3").stop()
        await cluster.wait(lambda: cluster.hosts("n4") == {1}, "hosted by n4")
        place = cluster.places["n4"].keeper
        await cluster.wait(lambda: set(place.report().groups[0].members) == {"n1", "n2", "n4"}, "a voter")
        assert await cluster.ask(KEYS[0], b"APPEND", b"!") == b":2\r\n"
