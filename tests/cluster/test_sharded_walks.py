"""Walks over all keys of a sharded cluster of real servers: none is left out, however old the client's map of it is."""

import asyncio
import subprocess
from typing import Any

import pytest
import redis.asyncio.cluster
from redis.cluster import LoadBalancingStrategy, RedisCluster
from tests.cluster.conftest import STEADY
from tests.cluster.test_sharded import change
from tests.cluster.test_sharded_clients import report, tool, wait_until_settled

from raftline.cli.asking import NodeRefusal
from raftline.cli.local_cluster import LocalCluster, plain_client

NAMES = {f"k{number}" for number in range(60)}
ROUND = LoadBalancingStrategy.ROUND_ROBIN


def place(cluster: LocalCluster, group: int, *nodes: str) -> None:
    """Have a group led by the first of these nodes, as every node knows it."""

    def is_placed() -> bool:
        try:
            change(cluster, "n1", "PLACE", group, *nodes, groups=2)
        except NodeRefusal as refused:
            if "has not begun yet: place it in a moment" not in str(refused):
                raise
            return False
        return True

    cluster.wait_for(is_placed, f"group {group} has begun, and is placed")

    def is_led_there() -> bool:
        found = [report(cluster, node) for node in cluster.nodes]
        return all(each.leader == nodes[0] for one in found for each in one.groups if each.group == group)

    cluster.wait_for(is_led_there, f"group {group} led by {nodes[0]}")


def with_cli(cluster: LocalCluster, *words: str) -> set[str]:
    """Return which of the names a redis-cli prints, at each of the nodes; the same at all of them."""
    found = set()
    for node in cluster.nodes.values():
        command = [word.replace("NODE", str(node.port)) for word in words]
        out = subprocess.run([tool("redis-cli"), *command], capture_output=True, text=True, check=True, timeout=60)
        found.add(frozenset(NAMES & set(out.stdout.replace('"', " ").split())))
    (same,) = found
    return set(same)


@pytest.mark.parametrize(
    "redirects", ["auto", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("always", "never"))]
)
def test_no_walk_leaves_a_key_out(start_cluster: Any, redirects: str) -> None:
    """By redis-py's cluster clients with maps of before a group went to a node that led none, and after MOVED (G19).

    Nor by one that reads from replicas, which says READONLY on each connection, nor by redis-cli at any node.
    """
    cluster = start_cluster(settings=STEADY | {"sharded": "on", "groups": 2, "redirects": redirects})
    wait_until_settled(cluster)
    place(cluster, 2, "n1", "n3", "n2")  # group 1 is already, so that two nodes lead none
    where = {"host": "127.0.0.1", "port": cluster.nodes["n1"].port, "decode_responses": True}

    async def walk_with_old_maps() -> None:
        async with redis.asyncio.cluster.RedisCluster(**where) as looped:
            with RedisCluster(**where) as client, RedisCluster(**where, load_balancing_strategy=ROUND) as reader:
                await looped.initialize()
                for name in NAMES:
                    client.set(name, 1)
                assert set(client.scan_iter()) == set(reader.scan_iter()) == NAMES
                place(cluster, 1, "n2", "n1", "n3")
                for attempt in ("old maps", "after MOVED"):
                    assert set(client.scan_iter()) == NAMES, attempt
                    assert set(reader.scan_iter()) == NAMES, attempt
                    assert {name async for name in looped.scan_iter(count=7)} == NAMES, attempt
                    assert set(client.keys(target_nodes=RedisCluster.PRIMARIES)) == NAMES, attempt
                    assert [client.get(name) for name in NAMES] == ["1"] * 60
                    assert [reader.get(name) for name in NAMES] == ["1"] * 60
                    assert [await looped.get(name) for name in NAMES] == ["1"] * 60
                once = [*client.scan_iter(target_nodes=RedisCluster.RANDOM, count=7)]
                assert sorted(once) == sorted(NAMES)

    asyncio.run(walk_with_old_maps())
    assert with_cli(cluster, "-c", "-p", "NODE", "--scan") == NAMES
    assert with_cli(cluster, "-c", "-p", "NODE", "KEYS", "*") == NAMES
    assert with_cli(cluster, "--cluster", "call", "127.0.0.1:NODE", "KEYS", "*") == NAMES
    with plain_client(cluster.nodes["n3"].port, decode_responses=True) as idle, RedisCluster(**where) as client:
        assert idle.randomkey() in NAMES
        counted = client.dbsize(target_nodes=RedisCluster.ALL_NODES) if redirects == "always" else client.dbsize()
        assert counted == 60
    if redirects != "never":
        words = (tool("redis-cli"), "--cluster", "info", f"127.0.0.1:{where['port']}")
        out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
        assert "[OK] 60 keys in 2 masters." in out.stdout
