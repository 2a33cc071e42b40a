"""A sharded cluster of real processes, under real clients, while it is changed and a node dies."""

import re
import threading
import time
from typing import Any

import pytest
from tests.cluster.conftest import STEADY

from raftline.cli.asking import Asker
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.redis_benchmark import RedisBenchmark
from raftline.cli.shard import ask_shards
from raftline.cli.sharded_load import ShardedLoad

LOST = re.compile(
    r"Server closed|Connection reset|Connection refused|Could not connect|Broken pipe|no end after", re.IGNORECASE
)
"""How redis-benchmark ends that has lost a node; refused a connection, it waits for ever."""


def change(cluster: LocalCluster, name: str, *words: object, groups: int) -> None:
    """Have a node make a change and wait until every group has carried it out."""
    target = f"127.0.0.1:{cluster.nodes[name].port}"
    with Asker(target, 10.0) as asker:
        number = int(asker.ask("RAFTLINE.SHARD", *words))
    wait_settled(cluster, name, number, groups)


def wait_settled(cluster: LocalCluster, name: str, number: int, groups: int) -> None:
    """Wait until there are so many groups, and each has carried out configuration `number`."""
    target = f"127.0.0.1:{cluster.nodes[name].port}"

    def is_settled() -> bool:
        report = ask_shards(target)
        return len(report.groups) == groups and all(group.is_settled_at(number) for group in report.groups)

    cluster.wait_for(is_settled, f"configuration {number}", 60)


def is_led_without(cluster: LocalCluster, gone: str) -> bool:
    """Say whether every group has another leader, as clients are told."""
    return all(group.leader not in (None, gone) for group in ask_shards(f"127.0.0.1:{cluster.nodes['n1'].port}").groups)


def benchmark(port: int, tests: str, requests: int) -> RedisBenchmark:
    """Return a running one that finds its way by itself.

    It is not begun before clients are told of living nodes only: one that is refused a connection waits for ever.
    """
    bench = RedisBenchmark(port, tests=tests, requests=requests, clients=3, cluster=True, limit_s=15.0)
    bench.start()
    return bench


@pytest.mark.skipif(not RedisBenchmark.installed(), reason="needs redis-benchmark")
def test_groups_come_and_go_and_a_node_dies_under_cluster_clients(start_cluster: Any) -> None:
    """No error but a lost connection to the node that was killed, no stale read, no acknowledged write lost (G15, G16).

    Three nodes and eight groups, with redis-benchmark --cluster, redis-py's RedisCluster and plain clients on every
    node, while a group is added, one is removed, a node is killed with SIGKILL and started again.
    """
    cluster = start_cluster(settings=STEADY | {"sharded": "on", "groups": 8})
    wait_settled(cluster, "n1", 1, 8)
    ports = [node.port for node in cluster.nodes.values()]
    load = ShardedLoad(ports, writers=3, readers=1, prefix="sharded")
    load.start()
    first = benchmark(ports[0], "set", 1500)
    change(cluster, "n1", "ADDGROUP", groups=9)
    change(cluster, "n3", "REMOVEGROUP", 2, groups=8)
    cluster.wait_for(lambda: first.requests > 0, "a whole run", 60)
    assert load.refusals == {}
    enough = load.writes + 200
    cluster.wait_for(lambda: load.writes >= enough, "the next run is in full swing", 30)
    ending = threading.Thread(target=first.stop)
    ending.start()
    killed_at = time.monotonic()
    cluster.kill9("n2")
    ending.join()
    assert len(first.troubles) <= 1
    assert [trouble for trouble in first.troubles if not LOST.search(trouble)] == []
    cluster.wait_for(lambda: is_led_without(cluster, "n2"), "leaders elsewhere", 60)
    load.wait_acknowledged_after(killed_at, 30.0)
    second = benchmark(ports[0], "set,get", 300)
    change(cluster, "n1", "ADDGROUP", 1, "ON", "n1", "n3", groups=9)
    cluster.start("n2")
    wait_settled(cluster, "n2", 4, 9)
    change(cluster, "n2", "REMOVEGROUP", 1, groups=8)
    second.stop()
    load.stop()
    assert second.troubles == []
    assert second.requests > 0
    assert load.wrong == []
    # What was passed on to the node that was killed has an unknown outcome: whoever asked is told so, and nothing else.
    expected = ("TRYAGAIN", "ConnectionError", "the command may have been applied, or may still be (the leader changed")
    assert [text for text in load.refusals if not any(words in text for words in expected)] == [], load.refusals
    for port in ports:
        assert load.check_node(port) == []
    for node in cluster.nodes.values():
        assert node.running
