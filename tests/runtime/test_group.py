"""Many groups in a node: each has its own log, leader and state, over one directory and one set of connections."""

import asyncio
import errno
import gc
import threading
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import FAST, HANGS_S, free_addresses

from raftline import ConfigError, Group, GroupConfig, Node, NodeConfig, StateMachine, Stopped, StorageError
from raftline.kv.sharded.machine import ShardMachine
from raftline.runtime.node import Ports
from raftline.wal.files import OsFiles


class Count(StateMachine):
    """Counts its commands."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        self.count += 1
        return b"%d" % self.count

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        return b"%d" % self.count

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.count]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.count = int(b"".join(chunks))


async def add(cluster: Any, number: int, **settings: Any) -> list[Group]:
    """Let every node of a cluster host one more group."""
    config = GroupConfig(group=number, members=cluster.members, **settings)
    return [*await asyncio.gather(*(node.add_group(config, Count()) for node in cluster.nodes.values()))]


async def led(groups: list[Group]) -> Group:
    """Wait until one of these replicas leads, and return it."""
    async with asyncio.timeout(HANGS_S):
        while True:
            for group in groups:
                if group.is_leader:
                    return group
            await asyncio.sleep(0.01)


def test_groups_of_a_node_know_nothing_of_each_other(make_cluster: Any) -> None:
    """A command counts in its own group, on all its replicas, and nowhere else."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            orders = await add(cluster, 1, name="orders")
            users = await add(cluster, 2, name="users")
            for number in range(1, 11):
                assert await orders[number % 3].propose(b"one") == b"%d" % number
            assert await users[0].propose(b"one") == b"1"
            for node in cluster.nodes.values():
                assert await node.group("orders").read(b"") == b"10"
                assert await node.group(2).read(b"") == b"1"
                assert await node.read(b"k") == b""
                assert list(node.groups) == [0, 1, 2]
                assert node.group("0").status().term == node.status().term

    asyncio.run(scenario())


def test_every_group_comes_back_with_what_it_had(make_cluster: Any) -> None:
    """One directory holds all logs; after a restart a group is where it was as soon as it is added again (C13)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            for number in (1, 2, 3):
                groups = await add(cluster, number)
                await asyncio.gather(*(groups[0].propose(b"one") for _ in range(10 * number)))
                last = max(group.status().last_index for group in groups)
                await cluster.until(lambda: {group.status().persisted_index for group in groups} == {last})  # noqa: B023
            await cluster.stop()
            await cluster.start()
            assert {node.recovered_groups for node in cluster.nodes.values()} == {(1, 2, 3)}
            for number in (3, 1):
                groups = await add(cluster, number)
                assert await groups[1].read(b"") == b"%d" % (10 * number)
            assert {node.recovered_groups for node in cluster.nodes.values()} == {(2,)}

    asyncio.run(scenario())


def test_a_group_is_added_once(make_cluster: Any) -> None:
    """Whoever adds it again gets the same; two groups of one name, or no number of its own, are refused."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            (node,) = cluster.nodes.values()
            config = GroupConfig(group=1, members=cluster.members, name="orders")
            first, second = await asyncio.gather(node.add_group(config, Count()), node.add_group(config, Count()))
            assert first is second
            with pytest.raises(ConfigError, match="another group is called 'orders'"):
                await node.add_group(GroupConfig(group=2, members=cluster.members, name="orders"), Count())
            with pytest.raises(ConfigError, match="must be 1 or more"):
                await node.add_group(GroupConfig(group=0, members=cluster.members), Count())
            with pytest.raises(ConfigError, match="not hosted by n1, only 0, orders"):
                node.group("users")
            assert await first.propose(b"one") == b"1"

    asyncio.run(scenario())


def test_whoever_waits_for_a_group_that_goes_is_told(make_cluster: Any) -> None:
    """Nobody is left without an answer (G5), and the other groups go on."""

    async def scenario() -> None:
        async with make_cluster(3) as cluster:
            groups = await add(cluster, 1)
            leader = await led(groups)
            others = [group for group in groups if group is not leader]
            for node in cluster.nodes.values():
                if node.group(1) in others:
                    await node.remove_group(1)
            asked = asyncio.ensure_future(leader.propose(b"one"))
            await asyncio.sleep(0)
            for node in cluster.nodes.values():
                await node.remove_group(1)
                await node.remove_group(1)
            with pytest.raises(Stopped, match="group 1 was removed from this node"):
                await asked
            assert await (await cluster.leader()).propose(b"k=1") == b""

    asyncio.run(scenario())


def test_messages_for_a_group_that_is_not_hosted_are_counted(make_cluster: Any) -> None:
    """And nothing else happens to them."""

    async def scenario() -> None:
        async with make_cluster(3, core=FAST) as cluster:
            one: Node = cluster.nodes["n1"]
            await one.add_group(GroupConfig(group=7, members=cluster.members), Count())
            other: Node = cluster.nodes["n2"]
            await cluster.until(lambda: other.unhosted_messages > 0)
            assert list(other.groups) == [0]

    asyncio.run(scenario())


def test_who_is_preferred_leads(make_cluster: Any) -> None:
    """The first membership says who should lead (thesis 3.10)."""

    async def scenario() -> None:
        async with make_cluster(3) as cluster:
            groups = await add(cluster, 1, prefers="n2")
            preferred = cluster.nodes["n2"].group(1)
            await cluster.until(lambda: preferred.is_leader)
            assert await groups[0].propose(b"one") == b"1"

    asyncio.run(scenario())


def test_a_group_that_was_removed_is_forgotten_for_good(make_cluster: Any) -> None:
    """Its log and its snapshots are gone, after a restart too; added again it begins with nothing."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_entries=50, keep_log_entries=1) as cluster:
            node = cluster.nodes["n1"]
            (group,) = await add(cluster, 1)
            await asyncio.gather(*(group.propose(b"one") for _ in range(200)))
            await cluster.until(lambda: group.status().snapshot_index > 0)
            taken = asyncio.gather(*(group.propose(b"one") for _ in range(100)))
            await node.remove_group(1)
            await asyncio.gather(taken, return_exceptions=True)
            assert not list((cluster.directory / "n1").glob("snapshot-1-*"))
            (group,) = await add(cluster, 1)
            assert await group.propose(b"one") == b"1"
            await node.remove_group(1)
            await cluster.stop()
            await cluster.start()
            node = cluster.nodes["n1"]
            assert node.recovered_groups == ()
            (group,) = await add(cluster, 1)
            assert await group.read(b"") == b"0"

    asyncio.run(scenario())


class _Failing(OsFiles):
    """Removes nothing once it is told to fail."""

    fails = False

    def remove(self, path: str) -> None:
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        super().remove(path)


def test_a_disk_that_fails_while_a_group_is_forgotten_stops_the_node(tmp_path: Path) -> None:
    """A snapshot that is left over would come back, without the vote, once the log has let go of the removal."""

    async def scenario() -> None:
        members = {"n1": free_addresses(1)[0]}
        config = NodeConfig(node_id="n1", members=members, data_dir=str(tmp_path / "n1"), snapshot_log_entries=10)
        ports = Ports.real(config)
        ports.files = files = _Failing()
        async with Node(config, Count(), ports=ports) as node:
            group = await node.add_group(GroupConfig(group=1, members=members), Count())
            await asyncio.gather(*(group.propose(b"one") for _ in range(50)))
            async with asyncio.timeout(HANGS_S):
                while not group.status().snapshot_index:
                    await group.propose(b"one")
            files.fails = True
            with pytest.raises(StorageError) as caught:
                await node.remove_group(1)
            assert node.failure is caught.value
        async with Node(config, Count()) as node:
            assert node.recovered_groups == ()
            assert not list((tmp_path / "n1").glob("snapshot-1-*"))

    asyncio.run(scenario())


async def _not_added_again(cluster: Any) -> Any:
    """Return a node that has started again on the log of a group that it does not host yet."""
    (group,) = await add(cluster, 1)
    await group.propose(b"one")
    await cluster.stop()
    await cluster.start()
    return cluster.nodes["n1"]


def test_a_group_that_nobody_added_again_can_be_removed(make_cluster: Any) -> None:
    """What the log still holds of it goes, and the group comes back no more."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await _not_added_again(cluster)
            assert node.recovered_groups == (1,)
            await node.remove_group(1)
            assert node.recovered_groups == ()
            await cluster.stop()
            await cluster.start()
            assert cluster.nodes["n1"].recovered_groups == ()

    asyncio.run(scenario())


def test_a_group_that_could_not_be_made_keeps_what_the_log_holds(make_cluster: Any) -> None:
    """Its state machine may fail at the first try: the next one goes on where the group was, not with nothing (C8)."""

    class Broken(Count):
        def use_sessions(self, sessions: Any) -> None:  # noqa: ARG002
            raise ValueError("not today")

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await _not_added_again(cluster)
            config = GroupConfig(group=1, members=cluster.members)
            with pytest.raises(ValueError, match="not today"):
                await node.add_group(config, Broken())
            assert node.recovered_groups == (1,)
            group = await node.add_group(config, Count())
            assert await group.read(b"") == b"1"

    asyncio.run(scenario())


def test_a_node_stops_while_groups_come_and_go(make_cluster: Any) -> None:
    """Whoever waits for that is told, and nothing is left hanging."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = cluster.nodes["n1"]
            await add(cluster, 1)
            removal = asyncio.ensure_future(node.remove_group(1))
            await asyncio.sleep(0)
            adding = asyncio.ensure_future(node.add_group(GroupConfig(group=1, members=cluster.members), Count()))
            await cluster.stop()
            outcomes = await asyncio.gather(removal, adding, return_exceptions=True)
            assert outcomes[0] is None or isinstance(outcomes[0], Stopped)
            assert isinstance(outcomes[1], Stopped | ConfigError | Group)

    asyncio.run(scenario())


def test_an_idle_group_takes_little_memory(make_cluster: Any) -> None:
    """What most groups never need is made when it is first needed, or once for all: a node may hold a thousand.

    11 KB, and some more where there are followers; it was twice that once.
    """

    async def scenario() -> float:
        async with make_cluster(1) as cluster:
            node = await cluster.leader()

            async def add_all(first: int, count: int) -> int:
                for number in range(first, first + count):
                    await node.add_group(GroupConfig(group=number, members=cluster.members), ShardMachine(number))
                groups = list(node.groups.values())
                await cluster.until(lambda: all(group.driver.replica.applied > 0 for group in groups))
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                before = await add_all(1, 5)
                return (await add_all(6, 40) - before) / 40
            finally:
                tracemalloc.stop()

    assert asyncio.run(scenario()) < 14_000


async def _being_restored(cluster: Any, may_go_on: threading.Event) -> tuple[Node, asyncio.Future[Group]]:
    """Return a node that adds a group of 20 commands, whose snapshot is not read before that may go on."""
    (group,) = await add(cluster, 1)
    for _ in range(20):
        await group.propose(b"one")
    await cluster.until(lambda: group.status().snapshots_taken)
    await cluster.stop()
    await cluster.start()
    node = cluster.nodes["n1"]
    node._host.snapshot_disk.submit(lambda: may_go_on.wait(HANGS_S), lambda _: None)
    adding = asyncio.ensure_future(node.add_group(GroupConfig(group=1, members=cluster.members), Count()))
    await cluster.until(lambda: 1 in node.groups)
    return node, adding


@pytest.mark.parametrize("consistency", ["stale", "linearizable"])
def test_a_group_that_is_being_restored_answers_when_it_is(make_cluster: Any, consistency: Any) -> None:
    """It is there for whoever looks for it: what it is asked waits, and is not answered from nothing (D11)."""

    async def scenario() -> None:
        may_go_on = threading.Event()
        async with make_cluster(1, snapshot_log_entries=10) as cluster:
            try:
                node, adding = await _being_restored(cluster, may_go_on)
                asked = asyncio.ensure_future(node.group(1).read(b"", consistency=consistency))
                proposed = asyncio.ensure_future(node.group(1).propose(b"one"))
                for _ in range(10):
                    await asyncio.sleep(0)
            finally:
                may_go_on.set()
            await adding
            assert int(await asked) >= 9  # what the snapshot holds, at least
            assert await proposed == b"21"

    asyncio.run(scenario())


def test_what_waits_for_a_group_that_is_not_added_is_told(make_cluster: Any) -> None:
    """Nothing of it can take effect (G5)."""

    async def scenario() -> None:
        may_go_on = threading.Event()
        async with make_cluster(1, snapshot_log_entries=10) as cluster:
            try:
                node, adding = await _being_restored(cluster, may_go_on)
                proposed = asyncio.ensure_future(node.group(1).propose(b"one"))
                await asyncio.sleep(0)
                adding.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await adding
                with pytest.raises(Stopped, match="the group was not added") as caught:
                    await proposed
                assert not caught.value.may_take_effect
            finally:
                may_go_on.set()

    asyncio.run(scenario())
