"""What a node finds on its disk, or does not: restarts with many keys, and a directory that was wiped."""

import os
import time
from collections.abc import Callable

import pytest
from tests.cluster.conftest import STEADY

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.output import say

KEYS = int(os.environ.get("CLUSTER_KEYS", "20000"))
"""How many keys a restart has to bring back; `CLUSTER_KEYS=1000000` for the full number."""

BATCH = 2000
COMPACTING = STEADY | {"snapshot_log_entries": 50, "keep_log_entries": 5, "segment_bytes": 1 << 17}


def fill(cluster: LocalCluster, count: int, prefix: str = "key") -> None:
    """Write `count` keys, in pipelines, through the leader; some thirty of them share an entry of the log."""
    with cluster.client(cluster.wait_for_leader(), timeout_s=30) as client:
        for start in range(0, count, BATCH):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + BATCH, count)):
                pipeline.set(f"{prefix}:{number}", f"value {number}")
            assert all(pipeline.execute())


def check_keys(cluster: LocalCluster, name: str, count: int, prefix: str = "key") -> None:
    """Read every key back through one node."""
    with cluster.client(name, timeout_s=30) as client:
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            values = client.mget([f"{prefix}:{number}" for number in numbers])
            assert values == [b"value %d" % number for number in numbers]


def all_have_compacted(cluster: LocalCluster, index: int) -> bool:
    """Say whether no node that runs has an entry up to this index in its log: whoever leads sends a snapshot."""
    infos = [cluster.info(name) for name, node in cluster.nodes.items() if node.running]
    return all(info is not None and info.compacted_index > index for info in infos)


def test_a_wiped_node_catches_up_from_the_log(start_cluster: Callable[..., LocalCluster]) -> None:
    """Its directory is gone, the others' logs reach back: it comes back as it was, while clients go on writing."""
    cluster = start_cluster(settings=STEADY)
    fill(cluster, 3000)
    victim = cluster.followers()[0]
    others = [node.port for name, node in cluster.nodes.items() if name != victim]
    reached = max(info.applied_index for info in cluster.wait_until_level().values())
    load = Load(others, writers=2, readers=1)
    load.start()
    cluster.kill9(victim)
    cluster.wipe(victim)
    cluster.start(victim)
    cluster.wait_for(
        lambda: (info := cluster.info(victim)) and info.applied_index >= reached, "the wiped node catches up"
    )
    load.stop()
    assert load.wrong == []
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    assert level[victim].snapshot_index == 0
    check_keys(cluster, victim, 3000)
    assert load.check_node(cluster.nodes[victim].port) == []


def test_a_wiped_node_gets_a_snapshot_where_the_log_is_compacted(start_cluster: Callable[..., LocalCluster]) -> None:
    """The others' logs no longer reach back to the first entry: it is sent a snapshot and then the rest."""
    cluster = start_cluster(settings=COMPACTING)
    fill(cluster, 6000)
    victim = cluster.wait_for_leader()
    cluster.kill9(victim)
    cluster.wipe(victim)
    leader = cluster.wait_for_leader()
    cluster.wait_for(lambda: all_have_compacted(cluster, 50), "the others compact their logs")
    cluster.start(victim)
    level = cluster.wait_until_level()
    assert level[victim].snapshot_index > 50
    assert int(level[victim].fields["snapshots_installed"]) >= 1
    assert len({info.digest for info in level.values()}) == 1
    check_keys(cluster, victim, 6000)
    cluster.kill9(*(name for name in cluster.nodes if name not in {victim, leader}))
    fill(cluster, 500, "later")  # the wiped node counts again: with it two of three are a quorum
    check_keys(cluster, victim, 500, "later")


def test_a_node_that_was_away_gets_a_snapshot(start_cluster: Callable[..., LocalCluster]) -> None:
    """Its own directory is older than what the others still have: the snapshot replaces it, across a restart too."""
    cluster = start_cluster(settings=COMPACTING)
    fill(cluster, 500, "early")
    victim = cluster.followers()[0]
    cluster.kill9(victim)
    reached = max(info.last_index for info in cluster.infos().values())
    fill(cluster, 5000)
    cluster.wait_for(lambda: all_have_compacted(cluster, reached), "the others compact their logs")
    cluster.start(victim)
    level = cluster.wait_until_level()
    assert int(level[victim].fields["snapshots_installed"]) >= 1
    cluster.kill9(victim)
    cluster.start(victim)
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    check_keys(cluster, victim, 500, "early")
    check_keys(cluster, victim, 5000)


@pytest.mark.timeout(120 + KEYS // 1000)
def test_a_restart_brings_every_key_back(
    start_cluster: Callable[..., LocalCluster], capsys: pytest.CaptureFixture[str]
) -> None:
    """Many keys, all nodes killed: each serves again within the bound, with everything there."""
    cluster = start_cluster(settings=STEADY)
    fill(cluster, KEYS)
    cluster.wait_until_level(60)
    cluster.kill9()
    began = time.monotonic()
    cluster.start(wait=False)
    for name in cluster.nodes:
        cluster.wait_until_serving(name, 60)
    leader = cluster.wait_for_leader(30)
    with cluster.client(leader, timeout_s=30) as client:
        assert client.dbsize() == KEYS
    took = time.monotonic() - began
    with capsys.disabled():
        say(f"\n{KEYS} keys: three nodes, restarted together, served after {took:.2f} s")
    cluster.wait_until_level(60)
    for name in cluster.nodes:
        check_keys(cluster, name, KEYS)
