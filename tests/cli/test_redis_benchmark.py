"""The real redis-benchmark as a load: clean runs are counted, and nothing that went wrong passes for one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftline.cli.local_cluster import LocalCluster
from raftline.cli.redis_benchmark import RedisBenchmark

pytestmark = pytest.mark.skipif(not RedisBenchmark.installed(), reason="redis-benchmark is not installed")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes with a leader, which refuse soon."""
    with LocalCluster(tmp_path, settings={"request_timeout_s": 0.5}) as three:
        three.start()
        three.wait_for_leader()
        yield three


def after_runs(benchmark: RedisBenchmark, cluster: LocalCluster, runs: int) -> list[str]:
    """Let it run so often; return the troubles."""
    benchmark.start()
    cluster.wait_for(lambda: benchmark.runs >= runs, "the runs", 60.0)
    benchmark.stop()
    return benchmark.troubles


def test_clean_runs_are_counted(tmp_path: Path) -> None:
    """Every request of every clean run, and no trouble: a node that is alone loses no lead, and refuses late."""
    with LocalCluster(tmp_path, size=1, settings={"request_timeout_s": 60.0}) as cluster:
        cluster.start()
        cluster.wait_for_leader()
        benchmark = RedisBenchmark(cluster.nodes["n1"].port, tests="set,get", requests=100)
        assert after_runs(benchmark, cluster, 2) == []
        assert benchmark.requests == 200 * benchmark.runs
        with cluster.client("n1") as client:
            assert client.dbsize() > 0


def test_an_error_reply_is_a_trouble(cluster: LocalCluster) -> None:
    """What the server said is in it; such a run counts for nothing."""
    cluster.kill9("n2", "n3")
    benchmark = RedisBenchmark(cluster.nodes["n1"].port, tests="set", requests=100)
    troubles = after_runs(benchmark, cluster, 1)
    assert troubles
    assert "CLUSTERDOWN" in troubles[0]
    assert benchmark.requests == 0


def test_a_node_that_is_not_there_is_a_trouble(cluster: LocalCluster) -> None:
    """It does not pass for a clean run, and does not hang."""
    cluster.kill9("n1")
    assert after_runs(RedisBenchmark(cluster.nodes["n1"].port, requests=100, limit_s=5.0), cluster, 1)


def test_a_server_that_never_answers_is_a_trouble(cluster: LocalCluster) -> None:
    """A run that does not end is ended."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        benchmark = RedisBenchmark(silent.getsockname()[1], requests=100, limit_s=0.5)
        assert "no end after 0.5 s" in after_runs(benchmark, cluster, 1)[0]
