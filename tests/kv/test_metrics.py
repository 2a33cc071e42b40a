"""Everything a node measures, in Prometheus's words: names, types, units, and numbers that are the node's own."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from raftline.kv.metrics import NodeCollector
from raftline.kv.service import Service
from raftline.kv.shards_view import GroupReport, ShardReport
from raftline.runtime.stages import STAGES
from raftline.runtime.status import MemberStatus
from raftline.shards.configuration import Configuration
from raftline.transport.status import PeerStatus

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, HeldNode

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _scrape(service: Service | None) -> Samples:
    """Scrape and read back, as Prometheus does."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(lambda: service))
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_nothing_is_told_before_the_server_has_started() -> None:
    """A scrape while a node recovers is empty, not wrong."""
    assert _scrape(None) == {}


def test_positions_role_and_term_are_the_node_s(service: Service) -> None:
    """Each position of the log is a label of one family; exactly one role is 1."""
    samples = _scrape(service)
    assert _of(samples, "raftline_term") == 1
    assert _of(samples, "raftline_leader_known") == 1
    assert _of(samples, "raftline_log_index", position="last") == 6
    assert _of(samples, "raftline_log_index", position="commit") == 5
    roles = {labels[0][1]: value for (name, labels), value in samples.items() if name == "raftline_role"}
    assert {role for role, value in roles.items() if value} == {"leader"}
    assert len(roles) == 7
    assert _of(samples, "raftline_node_info", node="n1", cluster="test", version="0.1.0") == 1


def test_commands_are_counted_by_name(conversation: "Conversation", service: Service) -> None:
    """Names come from the table, so whatever clients send makes no new label."""
    for _ in range(3):
        conversation.ask(b"SET", b"k", b"v")
    conversation.ask(b"get", b"k")
    conversation.ask(b"NOSUCH", b"k")
    conversation.ask(b"CLIENT", b"GETNAME")
    samples = _scrape(service)
    assert _of(samples, "raftline_commands_total", command="set") == 3
    assert _of(samples, "raftline_commands_total", command="get") == 1
    assert _of(samples, "raftline_commands_total", command="client|getname") == 1
    names = {labels for name, labels in samples if name == "raftline_commands_total"}
    assert len(names) == 3
    assert _of(samples, "raftline_keys") == 1
    assert _of(samples, "raftline_clients") == 1


def test_every_stage_is_a_histogram_whose_buckets_add_up(
    service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cumulative buckets, the last one equal to the count, for each of the seven stages."""
    measured = held_node.measure()
    measured.stages["fsync"].observe(0.003, count=2)
    measured.stages["fsync"].observe(99.0)
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    service.reply_latency.observe(0.5)
    samples = _scrape(service)
    for stage in STAGES:
        count = _of(samples, "raftline_stage_seconds_count", stage=stage)
        assert _of(samples, "raftline_stage_seconds_bucket", stage=stage, le="+Inf") == count
        assert count == {"fsync": 3, "reply": 1}.get(stage, 0)
    assert _of(samples, "raftline_stage_seconds_bucket", stage="fsync", le="0.002") == 0
    assert _of(samples, "raftline_stage_seconds_bucket", stage="fsync", le="0.005") == 2
    assert _of(samples, "raftline_stage_seconds_bucket", stage="fsync", le="10.0") == 2
    assert _of(samples, "raftline_stage_seconds_sum", stage="fsync") == pytest.approx(99.006)


def test_what_waits_for_the_disk_is_told_with_its_limit(
    service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm needs both: from the limit on the node refuses writes (F24)."""
    measured = msgspec.structs.replace(held_node.measure(), unwritten_bytes=3000, unwritten_bytes_max=4000)
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    samples = _scrape(service)
    assert _of(samples, "raftline_unwritten_bytes") == 3000
    assert _of(samples, "raftline_unwritten_bytes_limit") == 4000


def test_groups_that_nobody_hosts_are_told(
    service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep the log from being compacted, and nothing else shows it (K2)."""
    measured = msgspec.structs.replace(held_node.measure(), unhosted_groups=2)
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    assert _of(_scrape(service), "raftline_unhosted_groups") == 2


def test_peers_are_told_by_name(service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch) -> None:
    """Lag where this node knows it, links wherever there are any, never this node itself."""
    status = msgspec.structs.replace(
        held_node.status(), members=(_member("n1", lag=0), _member("n2", lag=7), _member("n3", lag=None))
    )
    link = PeerStatus(
        connected=True, version=3, address="b:1", queued_bytes=10, dropped_messages=1, reconnects=2, sent_messages=3,
        sent_bytes=4, received_messages=5, received_bytes=6, last_trouble="",
    )  # fmt: skip
    measured = msgspec.structs.replace(
        held_node.measure(), status=status, peers={"n2": link}, role_changes={("leader", "votes"): 4}
    )
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    samples = _scrape(service)
    lags = {labels[0][1]: value for (name, labels), value in samples.items() if name == "raftline_peer_lag_entries"}
    assert lags == {"n2": 7}
    assert _of(samples, "raftline_peer_connected", peer="n2") == 1
    assert _of(samples, "raftline_peer_reconnects_total", peer="n2") == 2
    assert _of(samples, "raftline_peer_received_bytes_total", peer="n2") == 6
    assert _of(samples, "raftline_members", kind="voter") == 3
    assert _of(samples, "raftline_role_changes_total", role="leader", cause="votes") == 4


def _member(name: str, *, lag: int | None) -> MemberStatus:
    return MemberStatus(
        node_id=name, address="h:1@2", voter=True, role=None, match_index=None, lag_entries=lag, heard_s_ago=None,
        mode=None,
    )  # fmt: skip


def test_names_keep_to_prometheus_s_rules(service: Service) -> None:
    """One prefix, and base units: nothing ends in _ms or _us; each family has a sentence that ends with a full stop."""
    families: Iterator[Any] = NodeCollector(lambda: service).collect()
    seen = set()
    for family in families:
        assert family.name.startswith("raftline_")
        assert not family.name.endswith(("_ms", "_us", "_kb"))
        assert family.documentation.endswith("."), family.name
        assert family.name not in seen
        seen.add(family.name)
    assert len(seen) > 40


def test_every_group_that_is_hosted_has_its_own_figures(service: Service) -> None:
    """The label `group` says which; of groups hosted elsewhere it is told that this node does not lead them."""
    figures: dict[str, Any] = {"configuration": 3, "arriving": 4, "giving": 5, "keys": 6, "term": 7, "apply_errors": 8}
    one = GroupReport(group=1, nodes=("n1",), members=("n1",), leader="n1", slots=9, hosted=True, **figures)
    two = GroupReport(group=2, nodes=("n2",), leader="n2", slots=8)
    report = ShardReport(
        node_id="n1", configuration=Configuration(3), last_group=2, replicas=1, nodes=(), groups=(one, two)
    )
    service.shards = SimpleNamespace(report=lambda: report)
    samples = _scrape(service)
    assert _of(samples, "raftline_configuration") == 3
    assert _of(samples, "raftline_group_leader", group="1") == 1
    names = ("slots", "configuration", "slots_arriving", "slots_giving", "keys", "term", "apply_errors_total")
    assert [_of(samples, f"raftline_group_{name}", group="1") for name in names] == [9, 3, 4, 5, 6, 7, 8]
    assert [(name, value) for (name, labels), value in samples.items() if ("group", "2") in labels] == [
        ("raftline_group_leader", 0)
    ]


@pytest.mark.parametrize("role", ["removed", "stranger"])
def test_a_node_that_was_removed_tells_only_of_groups_that_it_leads(
    service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Of the others it hears nothing any more: one that is gone since would stay without a leader for ever (K2)."""
    led = GroupReport(group=1, nodes=("n1",), members=("n1",), leader="n1", slots=9, hosted=True)
    gone = GroupReport(group=2, nodes=("n2",), leader="n2", slots=8)
    old = GroupReport(group=3, nodes=("n1", "n2"), members=("n1", "n2"), leader=None, slots=8, hosted=True)
    report = ShardReport(
        node_id="n1", configuration=Configuration(3), last_group=3, replicas=1, nodes=(), groups=(led, gone, old)
    )
    service.shards = SimpleNamespace(report=lambda: report)
    status = msgspec.structs.replace(held_node.status(), role=role)
    measured = msgspec.structs.replace(held_node.measure(), status=status)
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    told = {labels: value for (name, labels), value in _scrape(service).items() if name == "raftline_group_leader"}
    assert told == {(("group", "1"),): 1}


def test_a_node_that_is_only_meant_to_lead_a_group_does_not(service: Service) -> None:
    """It has no vote yet, or no replica: until it has, who leads is what the placement wishes, not what is so."""
    new = GroupReport(group=1, nodes=("n1", "n2"), members=("n2",), leader="n1", slots=9, hosted=True)
    none = GroupReport(group=2, nodes=("n1", "n2"), leader="n1", slots=9)
    report = ShardReport(
        node_id="n1", configuration=Configuration(3), last_group=2, replicas=1, nodes=(), groups=(new, none)
    )
    service.shards = SimpleNamespace(report=lambda: report)
    samples = _scrape(service)
    assert [_of(samples, "raftline_group_leader", group=group) for group in ("1", "2")] == [0, 0]
