"""The clients that people have, unchanged, with a sharded cluster of real servers, also while groups come and go."""

import asyncio
import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio.cluster
from redis.cluster import RedisCluster

from raftline.cli.local_cluster import ClusterTrouble, LocalCluster, plain_client
from raftline.kv.shards_view import ShardReport, decode_report

SETTINGS = {"sharded": "on", "groups": 4, "replicas": 2}
NODES = ("n1", "n2", "n3")
_SETTLE_S_MAX = 90.0


def tool(name: str) -> str:
    """Return the path of a Redis tool, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian and Ubuntu: apt-get install redis-tools)")
    return path


def report(cluster: LocalCluster, node: str = "n1") -> ShardReport:
    """Return what a node knows."""
    with plain_client(cluster.nodes[node].port) as client:
        found: ShardReport = decode_report(client.execute_command("RAFTLINE.SHARD STATUS"))
        return found


def is_settled(found: ShardReport) -> bool:
    """Say whether every group that the node hosts has a leader and has carried out the newest configuration."""
    number = found.configuration.number
    if not number or any(group.leaving for group in found.groups):
        return False
    hosted = [group for group in found.groups if found.node_id in group.nodes]
    return all(group.leader is not None and group.is_settled_at(number) for group in hosted)


def wait_until_settled(cluster: LocalCluster) -> ShardReport:
    """Return what is known once nothing moves any more, on any node."""
    deadline = time.monotonic() + _SETTLE_S_MAX
    while time.monotonic() < deadline:
        found = [report(cluster, node) for node in NODES if cluster.nodes[node].running]
        if all(map(is_settled, found)) and len({each.configuration.number for each in found}) == 1:
            return found[0]
        time.sleep(0.05)
    raise ClusterTrouble(f"slots are still moving: {report(cluster)}")


@pytest.fixture(scope="module")
def sharded(shared_cluster: LocalCluster) -> LocalCluster:
    """Return a cluster whose groups all have leaders."""
    wait_until_settled(shared_cluster)
    return shared_cluster


def admin(cluster: LocalCluster, *words: str | int) -> None:
    """Change the groups."""
    with plain_client(cluster.nodes["n1"].port) as client:
        client.execute_command("RAFTLINE.SHARD", *words)


@contextmanager
def load(cluster: LocalCluster, make: Any, keys: list[str]) -> Iterator[list[int]]:
    """Count on keys from another thread, as fast as it goes; yields how often, in a list. Any error fails."""
    counts, failures, is_over = [0], [], threading.Event()

    def count() -> None:
        try:
            with make(cluster) as client:
                for key in itertools.cycle(keys):
                    if is_over.is_set():
                        return
                    client.incr(key)
                    counts[0] += 1
        except Exception as failure:  # noqa: BLE001  it is shown by the test's own thread
            failures.append(failure)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        thread.join()
    assert failures == []


def cluster_client(cluster: LocalCluster, node: str = "n1") -> Any:
    """Return redis-py's cluster client as it comes."""
    return RedisCluster(host="127.0.0.1", port=cluster.nodes[node].port, decode_responses=True)


def any_node(cluster: LocalCluster, node: str = "n2") -> Any:
    """Return a plain client of one node, which retries nothing."""
    return plain_client(cluster.nodes[node].port, decode_responses=True)


@pytest.mark.parametrize("node", NODES)
def test_a_plain_client_at_any_node(sharded: LocalCluster, node: str) -> None:
    """Keys of every group, transactions, WATCH, waiting, channels: as with one group (G19)."""
    with any_node(sharded, node) as client, any_node(sharded, "n1") as other:
        names = [f"plain:{node}:{number}" for number in range(60)]
        for name in names:
            assert client.set(name, name)
        assert [client.get(name) for name in names] == names
        assert [client.incr(f"{name}:n") for name in names] == [1] * 60
        with client.pipeline(transaction=True) as pipe:
            for name in names[:10]:
                pipe.watch(name)
                pipe.multi()
                pipe.append(name, "!").strlen(name)
                assert pipe.execute() == [len(name) + 1, len(name) + 1]
        threading.Timer(0.1, lambda: other.rpush(f"{node}:queue", "job")).start()
        assert tuple(client.blpop(f"{node}:queue", timeout=10)) == (f"{node}:queue", "job")
        pubsub = client.pubsub()
        pubsub.subscribe(f"{node}:news")
        assert pubsub.get_message(timeout=60) is not None
        other.publish(f"{node}:news", "hello")
        message = pubsub.get_message(timeout=60)
        assert message is not None
        assert message["data"] == "hello"
        pubsub.close()
        with pytest.raises(redis.exceptions.ClusterCrossSlotError):
            client.mget("a", "b")


def test_redis_py_cluster_works_unchanged(sharded: LocalCluster) -> None:
    """The synchronous client: values, counters, pipelines, tags, scan."""
    with cluster_client(sharded) as client:
        names = [f"sync:{number}" for number in range(60)]
        pipe = client.pipeline()
        for name in names:
            pipe.set(name, 1)
            pipe.incr(name)
        assert pipe.execute() == [True, 2] * 60
        assert client.mget_nonatomic(names) == ["2"] * 60
        assert client.mset({"{tag}a": 1, "{tag}b": 2})
        assert client.mget("{tag}a", "{tag}b") == ["1", "2"]
        assert set(client.scan_iter(match="sync:*")) == set(names)
        assert client.delete(*names) == 60


def test_redis_py_cluster_for_asyncio_works_unchanged(sharded: LocalCluster) -> None:
    """The asynchronous client, many commands at a time."""

    async def main() -> None:
        port = sharded.nodes["n3"].port
        async with redis.asyncio.cluster.RedisCluster(host="127.0.0.1", port=port) as client:
            names = [f"async:{number}" for number in range(60)]
            await asyncio.gather(*(client.set(name, name) for name in names))
            assert await asyncio.gather(*(client.get(name) for name in names)) == [name.encode() for name in names]
            async with client.pipeline() as pipe:
                for name in names:
                    pipe.delete(name)
                assert await pipe.execute() == [1] * 60

    asyncio.run(main())


def test_redis_cli_and_redis_benchmark_work_unchanged(sharded: LocalCluster) -> None:
    """`redis-cli -c` follows, and `redis-benchmark --cluster` finds all nodes, and neither sees an error (G19)."""
    cli, benchmark = tool("redis-cli"), tool("redis-benchmark")
    port = str(sharded.nodes["n2"].port)
    script = "".join(f"SET cli:{number} v{number}\nGET cli:{number}\n" for number in range(20))
    for protocol in ("-2", "-3"):
        out = subprocess.run(
            [cli, "-c", protocol, "-p", port], input=script, capture_output=True, text=True, check=True
        )
        lines = [line for line in out.stdout.splitlines() if "Redirected" not in line]
        assert lines == [word for number in range(20) for word in ("OK", f"v{number}")]
    words = [benchmark, "--cluster", "-p", port, "-n", "1500", "-c", "10", "-t", "set,get", "-r", "1000", "-q"]
    out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert "SET: " in out.stdout
    assert "GET: " in out.stdout
    assert "rror" not in out.stdout + out.stderr


@pytest.mark.parametrize("make", [cluster_client, any_node])
def test_groups_come_and_go_and_nobody_notices(sharded: LocalCluster, make: Any) -> None:
    """While a group is added and removed, every command is answered, and takes effect exactly once (G16, G18, G19)."""
    keys = [f"{make.__name__}:{number}" for number in range(40)]
    before = {group.group for group in wait_until_settled(sharded).groups}
    with load(sharded, make, keys) as counts:
        admin(sharded, "ADDGROUP", 1)
        added = {group.group for group in wait_until_settled(sharded).groups} - before
        assert len(added) == 1
        admin(sharded, "REMOVEGROUP", *added)
        wait_until_settled(sharded)
    assert counts[0] > 0
    with any_node(sharded, "n3") as client:
        assert sum(int(client.get(key) or 0) for key in keys) == counts[0]
