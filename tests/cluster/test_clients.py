"""The clients that people have, unchanged, against the leader and against a follower."""

import shutil
import subprocess

import pytest
import redis

from raftline.cli.local_cluster import LocalCluster

ROLES = ("leader", "follower")


def node_in_role(cluster: LocalCluster, role: str) -> str:
    """Return the name of a node with that role now."""
    return cluster.wait_for_leader() if role == "leader" else cluster.followers()[0]


def tool(name: str) -> str:
    """Return the path of a Redis tool, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian and Ubuntu: apt-get install redis-tools)")
    return path


@pytest.mark.parametrize("role", ROLES)
def test_redis_py_works_unchanged(shared_cluster: LocalCluster, role: str) -> None:
    """The client as it comes, with its defaults: strings, counters, expiry, scan, pipeline, INFO."""
    port = shared_cluster.nodes[node_in_role(shared_cluster, role)].port
    with redis.Redis(port=port, decode_responses=True) as client:
        prefix = f"py:{role}"
        assert client.ping()
        assert client.set(f"{prefix}:a", "1", px=60_000)
        assert client.get(f"{prefix}:a") == "1"
        assert 0 < client.pttl(f"{prefix}:a") <= 60_000
        assert client.set(f"{prefix}:a", "2", nx=True) is None
        assert client.incrby(f"{prefix}:n", 5) == 5
        assert client.mset({f"{prefix}:b": "x", f"{prefix}:c": "y"})
        assert client.mget(f"{prefix}:b", f"{prefix}:none", f"{prefix}:c") == ["x", None, "y"]
        assert client.append(f"{prefix}:b", "yz") == 3
        assert sorted(client.scan_iter(match=f"{prefix}:*")) == [f"{prefix}:{name}" for name in "abcn"]
        assert client.delete(f"{prefix}:b", f"{prefix}:c", f"{prefix}:none") == 2
        assert client.exists(f"{prefix}:b") == 0
        pipeline = client.pipeline(transaction=False)
        for _ in range(200):
            pipeline.incr(f"{prefix}:n")
        assert pipeline.execute() == list(range(6, 206))
        assert client.info("raft")["raft_role"] == role
        with pytest.raises(redis.ResponseError, match="not an integer"):
            client.incr(f"{prefix}:a:text") if client.set(f"{prefix}:a:text", "no number") else None


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("protocol", ["-2", "-3"])
def test_redis_cli_works_unchanged(shared_cluster: LocalCluster, role: str, protocol: str) -> None:
    """Interactive commands over RESP2 and RESP3."""
    path = tool("redis-cli")
    port = shared_cluster.nodes[node_in_role(shared_cluster, role)].port
    script = "SET cli:k hello\nGET cli:k\nSTRLEN cli:k\nGET cli:none\nDEL cli:k\nNOSUCH\nPING\n"
    done = subprocess.run(
        [path, protocol, "-p", str(port)], input=script.encode(), capture_output=True, timeout=60, check=True
    )
    lines = [line for line in done.stdout.decode().splitlines() if line]
    assert lines[:3] == ["OK", "hello", "5"]
    assert lines[3] == "1"
    assert lines[4].startswith("ERR unknown command")
    assert lines[5] == "PONG"


@pytest.mark.parametrize("role", ROLES)
def test_redis_benchmark_runs_without_an_error(shared_cluster: LocalCluster, role: str) -> None:
    """SET and GET with 64 clients; it stops at the first error reply, so a summary means that there was none."""
    path = tool("redis-benchmark")
    port = shared_cluster.nodes[node_in_role(shared_cluster, role)].port
    command = [path, "-p", str(port), "-t", "set,get", "-c", "64", "-d", "128", "-r", "100000", "-n", "6000", "--csv"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    rows = [line.split(",")[0] for line in done.stdout.decode().splitlines()]
    assert [row for row in rows if row in {'"SET"', '"GET"'}] == ['"SET"', '"GET"']
    assert b"rror" not in done.stdout + done.stderr


def test_what_one_client_writes_any_node_shows(shared_cluster: LocalCluster) -> None:
    """A write through one node is there for a read that follows, through every other."""
    clients = {name: shared_cluster.client(name) for name in shared_cluster.nodes}
    for number in range(60):
        for writer, writing in clients.items():
            writing.set("shown", f"{writer}:{number}")
            for reading in clients.values():
                assert reading.get("shown") == f"{writer}:{number}".encode()
    for client in clients.values():
        client.close()
