"""Three real servers under kills, pauses and cut links: what real clients saw is linearizable, nothing is lost.

`CLUSTER_NEMESIS_S=300 CLUSTER_NEMESIS_SEED=7` runs longer, with other troubles; `CLUSTER_NEMESIS_DIR` keeps histories.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from raftline.cli.local_cluster import LocalCluster
from raftline.cli.ordered_load import OrderedLoad
from raftline.cli.output import say
from raftline.cli.process_nemesis import ProcessNemesis
from raftline.cli.recorded_load import RecordedLoad, judge

SECONDS = float(os.environ.get("CLUSTER_NEMESIS_S", "0"))
"""How long trouble comes; at least until every kind of it has come once."""

SEED = int(os.environ.get("CLUSTER_NEMESIS_SEED", "1"))
SETTINGS = {
    "request_timeout_s": 1.5,
    "snapshot_log_entries": 2000,
    "keep_log_entries": 200,
    "segment_bytes": 1 << 18,
    "log_level": "info",
}
LASTS_S = (0.2, 3.0) if SECONDS else (0.2, 1.0)
PROGRESS_S_MAX = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes with a proxy before each."""
    with LocalCluster(tmp_path, settings=SETTINGS) as three, three.link_proxies():
        three.start()
        three.wait_for_leader()
        yield three


def await_progress(cluster: LocalCluster) -> float:
    """Wait until a write through each node is acknowledged; return how long that took."""
    began = time.monotonic()
    for name in cluster.nodes:
        with cluster.client(name) as client:
            write = partial(client.set, f"healed:{name}", "1")
            cluster.wait_for(partial(succeeds, write), f"a write through {name} after healing", PROGRESS_S_MAX)
    return time.monotonic() - began


def succeeds(action: Callable[[], object]) -> bool:
    """Say whether a command was carried out."""
    try:
        return bool(action())
    except redis.RedisError:
        return False


@pytest.mark.timeout(300 + 4 * SECONDS)
def test_clients_see_one_store_through_kills_pauses_and_cuts(
    cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The history has an order, every acknowledged write stays, each connection's order holds, and all goes on."""
    assert cluster.proxies is not None
    ports = {name: node.port for name, node in cluster.nodes.items()}
    nemesis = ProcessNemesis(cluster, cluster.proxies, SEED, lasts_s=LASTS_S)
    load = RecordedLoad(ports, seed=SEED)
    ordered = OrderedLoad(ports, clients=2, seed=SEED)
    began = time.monotonic()
    load.start()
    ordered.start()
    strikes = 0
    while strikes < nemesis.kinds or time.monotonic() - began < SECONDS:
        nemesis.strike()
        strikes += 1
        assert nemesis.died() + load.faults + ordered.faults == [], nemesis.story()
    nemesis.heal()
    progress_s = await_progress(cluster)
    load.stop()
    ordered.stop()
    level = cluster.wait_until_level(30)
    assert len({info.digest for info in level.values()}) == 1, nemesis.story()
    for name in cluster.nodes:
        load.read_all(name)
        ordered.check_node(name)
    lasted_s = time.monotonic() - began
    path = Path(os.environ.get("CLUSTER_NEMESIS_DIR", tmp_path)) / f"nemesis-{SEED}.jsonl"
    verdict = judge(load.operations, path, limit_s=60 + SECONDS)
    with capsys.disabled():
        say(
            f"\nseed {SEED}: {lasted_s:.0f} s, {strikes} strikes {dict(nemesis.counts)}; {load.answered} operations"
            f" answered, {load.refused} refused, {load.unknown} unknown, slowest {load.slowest_s:.1f} s;"
            f" pipelined {ordered.sent}, acknowledged {ordered.acknowledged}, refused {ordered.refused};"
            f" progress after {progress_s:.2f} s, checked in {time.monotonic() - began - lasted_s:.1f} s"
        )
    assert verdict is None, f"{verdict}\n{nemesis.story()}"
    assert nemesis.died() + load.faults + ordered.faults == [], nemesis.story()
