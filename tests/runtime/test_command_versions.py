"""An upgrade of a state machine, one node at a time: new commands are used when the last node knows them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from raftline.errors import ConfigError, TooNew

if TYPE_CHECKING:
    from tests.runtime.conftest import Cluster

MakeCluster = Callable[..., Any]


def upgraded(cluster: "Cluster", *names: str) -> None:
    """Let the named nodes know version 2 from their next start."""
    make = cluster.make_machine

    def make_machine(name: str) -> Any:
        machine = make(name)
        machine.version = 2 if name in names else machine.version
        return machine

    cluster.make_machine = make_machine


def test_new_commands_are_used_when_the_last_node_is_upgraded(make_cluster: MakeCluster) -> None:
    """Before that they are refused on every node; afterwards they are taken on every node, also after a restart."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            for count, name in enumerate(("n1", "n2", "n3"), 1):
                assert {node.command_version for node in cluster.nodes.values()} == {1}
                for node in cluster.nodes.values():
                    with pytest.raises(TooNew, match="those up to 1 only; upgrade the others first"):
                        await node.propose(b"a=new", version=2)
                await cluster.stop(name)
                upgraded(cluster, *("n1", "n2", "n3")[:count])
                await cluster.start(name)
                await (await cluster.leader()).propose(b"a=old")
            await cluster.until(lambda: all(node.command_version == 2 for node in cluster.nodes.values()))
            for node in cluster.nodes.values():
                await node.propose(b"a=new", version=2)
                assert node.status().command_version == 2
            await cluster.stop()
            await cluster.start()
            leader = await cluster.leader()
            await leader.read(b"a")
            await cluster.until(lambda: all(node.command_version == 2 for node in cluster.nodes.values()))

    asyncio.run(scenario())


def test_an_old_node_stops_rather_than_misunderstand(make_cluster: MakeCluster) -> None:
    """Started again with the old software it says what it lacks; the others go on."""

    async def scenario() -> None:
        async with make_cluster(started=False) as cluster:
            upgraded(cluster, "n1", "n2", "n3")
            await cluster.start()
            await cluster.until(lambda: all(node.command_version == 2 for node in cluster.nodes.values()))
            follower = (await cluster.follower()).config.node_id
            await cluster.stop(follower)
            make = cluster.make_machine
            cluster.make_machine = lambda name: _old(make(name))
            await cluster.start(follower)
            failure = await cluster.nodes[follower].wait_failed()
            assert isinstance(failure, ConfigError)
            assert "start it with the newer software" in str(failure)
            await (await cluster.leader()).propose(b"a=1", version=2)

    asyncio.run(scenario())


def test_a_node_alone_uses_what_it_knows(make_cluster: MakeCluster) -> None:
    """There is nobody to wait for, and nobody who would wake it."""

    async def scenario() -> None:
        async with make_cluster(1, started=False) as cluster:
            upgraded(cluster, "n1")
            await cluster.start()
            await cluster.until(lambda: cluster.nodes["n1"].command_version == 2)

    asyncio.run(scenario())


def _old(machine: Any) -> Any:
    machine.version = 1
    return machine
