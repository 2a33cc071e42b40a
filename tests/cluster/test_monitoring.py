"""The monitoring port, SLOWLOG and `raftline top` on real servers: what they tell while a group begins and changes."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.conftest import STEADY

from raftline.cli.local_cluster import LocalCluster, free_port
from raftline.runtime.stages import STAGES

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"


class _Watched:
    """Three servers, each with a monitoring port."""

    def __init__(self, directory: Path) -> None:
        self.cluster = LocalCluster(directory)
        self.ports = {name: free_port() for name in self.cluster.nodes}
        self.settings: Mapping[str, object] = {}

    def start(self, name: str) -> None:
        """Start one node and wait until it serves."""
        own = {"metrics": f"127.0.0.1:{self.ports[name]}", "slowlog_log_slower_than": 0}
        self.cluster.settings = {**self.settings, **own}
        self.cluster.start(name)

    def page(self, name: str, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def is_ready(self, name: str) -> bool:
        """Say whether a node says that clients can be sent to it."""
        return self.page(name, "/readyz") == (200, "ready\n")

    def value(self, name: str, sample_name: str, **labels: str) -> float:
        """Return one sample of a node's metrics; raises if there is none, or more than one."""
        families = text_string_to_metric_families(self.page(name, "/metrics")[1])
        (value,) = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == sample_name and labels.items() <= sample.labels.items()
        ]
        return value


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[_Watched]:
    """Return three servers that are not started yet; whatever runs at the end stops cleanly."""
    group = _Watched(tmp_path)
    try:
        yield group
        for name, node in group.cluster.nodes.items():
            if node.running:
                assert group.cluster.terminate(name) == 0
    finally:
        group.cluster.close()


def test_a_node_is_ready_when_a_majority_is_there(watched: _Watched) -> None:
    """Alone it lives and is not ready, and says why; with a second one both are; without it the rest is not again."""
    watched.start("n1")
    assert watched.page("n1", "/healthz") == (200, "alive\n")
    assert watched.page("n1", "/readyz") == (503, "no leader is known\n")
    assert watched.value("n1", "raftline_ready") == 0
    watched.start("n2")
    watched.start("n3")
    for name in watched.ports:
        watched.cluster.wait_for(partial(watched.is_ready, name), f"{name} is ready")
    leader = watched.cluster.wait_for_leader()
    others = [name for name in watched.ports if name != leader]
    watched.cluster.kill9(*others)
    watched.cluster.wait_for(lambda: watched.page(leader, "/readyz")[0] == 503, "the last one is not ready")
    assert watched.page(leader, "/healthz") == (200, "alive\n")
    log = watched.cluster.nodes[leader].log
    watched.cluster.wait_for(lambda: "no majority was heard for 0.8 s: " in log(), "its log says why")


def test_what_a_group_does_is_seen_in_its_metrics(watched: _Watched) -> None:
    """One leader, a write's way through all seven stages, followers without lag, and a frame of `raftline top`."""
    watched.settings = STEADY
    for name in watched.ports:
        watched.start(name)
    leader = watched.cluster.wait_for_leader()
    with watched.cluster.client(leader) as client:
        for number in range(50):
            client.set(f"key:{number}", "value")
        slow = client.slowlog_get(1)
    assert slow[0]["command"] == b"SET key:49 value"
    watched.cluster.wait_until_level()
    leads = {name: watched.value(name, "raftline_role", role="leader") for name in watched.ports}
    assert leads == {name: float(name == leader) for name in watched.ports}
    assert watched.value(leader, "raftline_commands_total", command="set") == 50
    assert watched.value(leader, "raftline_members", kind="voter") == 3
    for stage in STAGES:
        assert watched.value(leader, "raftline_stage_seconds_count", stage=stage) >= 1, stage
    for name in watched.ports:
        assert watched.value(name, "raftline_keys") == 50
        assert watched.value(name, "raftline_stage_seconds_count", stage="fsync") >= 1
        if name != leader:
            assert watched.value(leader, "raftline_peer_connected", peer=name) == 1
    target = f"127.0.0.1:{watched.cluster.nodes['n2'].port}"
    command = [sys.executable, "-m", "raftline", "top", target, "--once", "--timeout-s", "30"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"{leader} leads in term " in shown
    assert "3 of 3 nodes answer" in shown


def test_a_group_without_a_leader_raises_an_alarm_though_the_others_are_well(watched: _Watched) -> None:
    """Group 0 has a leader then; and it is noticed where no node that is up has a replica of the group."""
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    (alarm,) = (rule for rule in rules if rule["alert"] == "RaftlineGroupNoLeader")
    assert alarm["expr"] == "sum by (job, group) (raftline_group_leader) == 0"
    watched.settings = {"sharded": "on", "groups": 3, "replicas": 1}

    def is_raised_for(names: Iterable[str]) -> set[str]:
        leaders: Counter[str] = Counter()
        for name in names:
            families = text_string_to_metric_families(watched.page(name, "/metrics")[1])
            samples = (sample for family in families for sample in family.samples)
            found = {s.labels["group"]: int(s.value) for s in samples if s.name == "raftline_group_leader"}
            leaders.update(found)
        assert set(leaders) <= {"1", "2", "3"}
        return {group for group, count in leaders.items() if count == 0} if len(leaders) == 3 else {"unknown"}

    for name in watched.ports:
        watched.start(name)
    watched.cluster.wait_for(lambda: not is_raised_for(watched.ports), "every group has a leader")
    watched.cluster.kill9("n3")
    watched.cluster.wait_for(lambda: is_raised_for(("n1", "n2")) == {"3"}, "the alarm for the group of the lost node")
    watched.cluster.wait_for_leader()
