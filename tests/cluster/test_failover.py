"""A leader killed with SIGKILL under load, and all nodes at once: nothing acknowledged is lost, no read is wrong."""

import os
import statistics
import time
from collections.abc import Callable

import pytest
import redis

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.output import say

KILLS = int(os.environ.get("CLUSTER_KILLS", "2"))
"""How often the leader is killed; `CLUSTER_KILLS=20` for the full number."""

RESUME_S_MAX = 30.0


def check_everywhere(cluster: LocalCluster, load: Load) -> None:
    """Everything acknowledged is on every node, and all have applied the same."""
    assert load.wrong == []
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    assert [fault for node in cluster.nodes.values() for fault in load.check_node(node.port)] == []
    contents = [load.contents(node.port) for node in cluster.nodes.values()]
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.timeout(60 + 20 * KILLS)
def test_killing_the_leader_loses_nothing_that_was_acknowledged(
    start_cluster: Callable[..., LocalCluster], capsys: pytest.CaptureFixture[str]
) -> None:
    """Again and again the leader dies in the middle of writes: they resume, and everything acknowledged is there."""
    cluster = start_cluster()
    load = Load([node.port for node in cluster.nodes.values()])
    load.start()
    resumed = []
    for _ in range(KILLS):
        time.sleep(0.7)
        leader = cluster.wait_for_leader()
        killed_at = time.monotonic()
        cluster.kill9(leader)
        resumed.append(load.wait_acknowledged_after(killed_at, RESUME_S_MAX) - killed_at)
        cluster.start(leader)
    load.stop()
    with capsys.disabled():
        median_s, max_s = statistics.median(resumed), max(resumed)
        say(f"\n{KILLS} kills of the leader: writes resumed after {median_s:.2f} s (median), {max_s:.2f} s (max)")
    check_everywhere(cluster, load)


def test_all_nodes_killed_at_once_come_back_with_everything(start_cluster: Callable[..., LocalCluster]) -> None:
    """SIGKILL to all in the middle of writes, as in a power cut: everything acknowledged is there after the restart."""
    cluster = start_cluster()
    load = Load([node.port for node in cluster.nodes.values()])
    load.start()
    cluster.wait_for(lambda: load.writes > 500, "500 writes")
    cluster.kill9()
    written = load.writes
    cluster.start()
    cluster.wait_for_leader()
    cluster.wait_for(lambda: load.writes > written + 200, "200 more writes")
    load.stop()
    check_everywhere(cluster, load)


def test_without_a_quorum_there_is_an_error_in_bounded_time(start_cluster: Callable[..., LocalCluster]) -> None:
    """One node of three: reads and writes fail with an error after the timeout, and work again with a second node."""
    cluster = start_cluster(settings={"request_timeout_s": 3})
    with cluster.client("n1") as client:
        client.set("key", "before")
    cluster.kill9("n2", "n3")
    with cluster.client("n1") as client:
        for command in (["GET", "key"], ["SET", "key", "after"]):
            with pytest.raises(redis.exceptions.ClusterDownError):  # and no time-out of the client
                client.execute_command(*command)
    cluster.settings = {}
    cluster.start("n2")
    cluster.wait_for_leader()
    with cluster.client("n2") as client:
        assert client.get("key") in {b"before", b"after"}
        assert client.set("key", "again")
        assert client.get("key") == b"again"
