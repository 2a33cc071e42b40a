"""A node of a sharded cluster that was removed, running or down: its clients hear of it as soon as it does."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ClusterDownError
from tests.cluster.conftest import STEADY
from tests.cluster.test_membership import add, member, peers_of
from tests.cluster.test_sharded_clients import report, wait_until_settled

from raftline.cli.local_cluster import LocalCluster

WORDS = "n4 was removed from the group: ask n1 at"


def role_of(cluster: LocalCluster, node: str) -> str:
    """Return what a node says that it is."""
    told = cluster.info(node, 30)
    return "" if told is None else told.role


COMMANDS: list[Callable[[Any], object]] = [
    lambda client: client.set("key", 1),
    lambda client: client.get("key"),
    lambda client: client.hset("hash", "field", 1),
    lambda client: client.scan(0),
    lambda client: client.blpop("list", 0),
    lambda client: client.keys(),
    lambda client: client.dbsize(),
]


def test_a_sharded_node_that_was_removed_while_it_was_down_says_so_of_keys(start_cluster: Any) -> None:
    """Not that it has not learned yet which groups there are, after five seconds; added again, it serves (K1, K2)."""
    cluster = start_cluster(settings={"sharded": "on"} | STEADY)
    wait_until_settled(cluster)
    add(cluster, "n4", "n1")
    cluster.wait_for(lambda: report(cluster, "n4").configuration.number == 1, "n4 knows the groups")
    cluster.kill9("n4")
    member(cluster, "n1", "remove", "n4")
    leader = cluster.nodes[cluster.wait_for_leader()]
    cluster.wait_for(lambda: "'n4'" not in peers_of(leader), "the leader lets n4 go")
    cluster.start("n4")
    for command in COMMANDS:
        with cluster.client("n4", timeout_s=30) as client, pytest.raises(ClusterDownError, match=WORDS):
            command(client)
    member(cluster, "n1", "add", f"n4={cluster.nodes['n4'].address}")
    cluster.wait_for(lambda: report(cluster, "n4").configuration.number == 1, "n4 knows the groups again")
    with cluster.client("n4") as client:
        assert client.set("key", 2)


def test_a_sharded_node_that_is_removed_while_it_runs_says_so_of_keys(start_cluster: Any) -> None:
    """It knows the groups still, and passes nothing on to them: members would take nothing, and say nothing (K2)."""
    cluster = start_cluster(settings={"sharded": "on"} | STEADY)
    wait_until_settled(cluster)
    add(cluster, "n4", "n1")
    cluster.wait_for(lambda: report(cluster, "n4").configuration.number == 1, "n4 knows the groups")
    with cluster.client("n4") as client:
        assert client.set("key", 1)
    member(cluster, "n1", "remove", "n4")
    cluster.wait_for(lambda: role_of(cluster, "n4") == "removed", "n4 knows that it was removed")
    for command in COMMANDS:
        with cluster.client("n4", timeout_s=30) as client, pytest.raises(ClusterDownError, match=WORDS):
            command(client)
    assert report(cluster, "n4").configuration.number == 1
