"""The cluster as it describes itself, byte for byte as a redis-server does that has all slots."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raftline.cli.local_cluster import free_port
from raftline.kv.sharded.topology import id_of
from raftline.shards.configuration import Move
from raftline.shards.ranges import SLOT_COUNT

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]

SAME = (
    "CLUSTER SLOTS",
    "CLUSTER SHARDS",
    "CLUSTER MYID",
    "CLUSTER KEYSLOT somekey",
    "CLUSTER KEYSLOT foo{hash_tag}",
    "CLUSTER KEYSLOT",
    "CLUSTER COUNTKEYSINSLOT 7000",
    "CLUSTER COUNTKEYSINSLOT 16384",
    "CLUSTER COUNTKEYSINSLOT -1",
    "CLUSTER COUNTKEYSINSLOT abc",
    "CLUSTER GETKEYSINSLOT 7000 5",
    "CLUSTER GETKEYSINSLOT 7000 -1",
    "CLUSTER GETKEYSINSLOT 99999 1",
    "CLUSTER REPLICAS 0123",
    "CLUSTER SLAVES 0123",
    "CLUSTER COUNT-FAILURE-REPORTS 0123",
    "CLUSTER NONSENSE",
    "CLUSTER",
    "ASKING",
    "READONLY",
    "READWRITE",
    "MGET a b",
    "MSET a 1 b 2",
    "DEL a b",
    "SUNION a b",
    "ZUNIONSTORE a 1 b",
    "ZUNION x a",
    "ZUNION 0 a",
    "LMPOP 2 a b LEFT",
    "SORT a BY nosort STORE b",
    "SORT a BY w_*",
    "SORT a BY nosort",
    "SORT_RO a GET w_*",
    "SORT a GET w_* LIMIT 0 1",
    "SORT a LIMIT 0 1 GET w_*",
    "SORT a nonsense BY w_*",
    "SORT a LIMIT x 1 BY w_*",
    "SORT a BY",
    "SORT a GET w_* BY",
    "SORT a BY {a}_* GET {a}_*",
    "SORT a BY nosort{b}",
    "SELECT 0",
    "SELECT 1",
    "INFO cluster",
    "MULTI",
    "SET a 1",
    "SET b 1",
    "EXEC",
    "GET a",
    "BLPOP a b 1",
)


@pytest.fixture
def redis_cluster_port(tmp_path: Path) -> Iterator[int]:
    """Start a redis-server that is a cluster of its own; skip if none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed, so there is nothing to compare with")
    port = next(port for port in iter(free_port, None) if port > SLOT_COUNT)  # no slot looks like it
    bus_port = free_port()
    settings = (
        f"--port {port} --cluster-port {bus_port} --bind 127.0.0.1 --cluster-enabled yes --save  --dir {tmp_path}"
    )
    more = ["--appendonly", "no", "--cluster-announce-ip", "127.0.0.1"]
    command = [program, *settings.split(" "), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        if not any(b"Ready to accept connections" in line for line in process.stdout):
            pytest.skip("redis-server did not start as a cluster")
        yield port
        process.terminate()
        process.stdout.read()


async def talk(port: int, protocol: int, lines: tuple[str, ...]) -> list[bytes]:
    """Return the raw reply to each command, ids and ports taken out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies: list[bytes] = []
    for line in (f"HELLO {protocol}", *lines):
        writer.write(line.encode() + b"\r\nPING end\r\n" if line != "MULTI" else b"MULTI\r\nPING end\r\n")
        text = b""
        while not text.endswith(b"$3\r\nend\r\n") and not text.endswith(b"+QUEUED\r\n"):
            text += await asyncio.wait_for(reader.read(65536), 60)
        text = re.sub(rb"[0-9a-f]{40}", b"ID", text)
        replies.append(re.sub(rb"\b%d\b" % port, b"PORT", text))
    writer.close()
    return replies[1:]


async def until_ok(port: int) -> None:
    """Give a redis-server all slots, and wait until it serves them."""
    await talk(port, 2, ("CLUSTER ADDSLOTSRANGE 0 16383",))
    async with asyncio.timeout(60):
        while b"cluster_state:ok" not in (await talk(port, 2, ("CLUSTER INFO",)))[0]:  # noqa: ASYNC110  no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_same_bytes_as_redis(run_sharded: Run, redis_cluster_port: int, protocol: int) -> None:
    """Every reply about slots, and every refusal, is the one of a redis-server with one node (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        await until_ok(redis_cluster_port)
        ours = await talk(cluster.port("n1"), protocol, SAME)
        theirs = await talk(redis_cluster_port, protocol, SAME)
        for line, mine, their in zip(SAME, ours, theirs, strict=True):
            assert (line, mine) == (line, their)

    run_sharded(scenario, groups={1: ("n1",)})


def test_the_names_in_cluster_info_are_those_of_redis(run_sharded: Run, redis_cluster_port: int) -> None:
    """CLUSTER INFO has the same lines."""

    async def scenario(cluster: "FakeCluster") -> None:
        await until_ok(redis_cluster_port)
        told = [(await talk(port, 2, ("CLUSTER INFO",)))[0] for port in (cluster.port("n1"), redis_cluster_port)]
        ours, theirs = ({line.partition(b":")[0] for line in text.split(b"\r\n") if b":" in line} for text in told)
        assert {name for name in theirs if b"messages_ping" not in name} <= ours
        assert b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384" in told[0]

    run_sharded(scenario)


def test_slots_of_a_group_without_a_leader_are_not_ok(run_sharded: Run) -> None:
    """A replica here knows that nobody leads; who has none takes the first node for the leader as long as it is up."""

    async def scenario(cluster: "FakeCluster") -> None:
        del cluster.leaders[1]
        told = [(await talk(cluster.port(node), 2, ("CLUSTER INFO",)))[0] for node in ("n1", "n3")]
        assert b"cluster_state:fail\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:8192\r\n" in told[0]
        assert b"cluster_slots_fail:8192\r\n" in told[0]
        assert b"cluster_state:ok\r\n" in told[1]

    run_sharded(scenario)


def test_nodes_and_replicas(run_sharded: Run) -> None:
    """A node that leads is a master with the slots of all its groups, one that leads nothing is a replica."""

    async def scenario(cluster: "FakeCluster") -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n3"))
        writer.write(b"CLUSTER NODES\r\n")
        await reader.readline()
        lines = [(await reader.readline()).decode().split() for _ in range(3)]
        ports = {node: cluster.port(node) for node in ("n1", "n2", "n3")}
        assert [line[0] for line in lines] == [id_of(node) for node in ports]
        assert [line[1] for line in lines] == [f"127.0.0.1:{port}@{port + 10000}" for port in ports.values()]
        assert [line[2] for line in lines] == ["master", "master", "myself,slave"]
        assert [line[3] for line in lines] == ["-", "-", id_of("n2")]
        assert [line[8:] for line in lines] == [["0-8191"], ["8192-16383"], []]
        await reader.readline()
        writer.write(b"CLUSTER REPLICAS " + id_of("n2").encode() + b"\r\n")
        assert await reader.readline() == b"*1\r\n"
        writer.close()

    run_sharded(scenario)


def test_a_node_with_several_ranges(run_sharded: Run) -> None:
    """A master's slots stand in one line, joined where they touch, a single slot by its number."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.change(Move(5, 6, 2))
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
        writer.write(b"CLUSTER NODES\r\n")
        await reader.readline()
        lines = [(await reader.readline()).decode().split() for _ in range(3)]
        assert [line[8:] for line in lines] == [["0-4", "6-8191"], ["5", "8192-16383"], []]
        writer.close()

    run_sharded(scenario)
