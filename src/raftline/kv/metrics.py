"""The metrics of a node in Prometheus's words, gathered at the moment of a scrape.

Every family is named in one of the tables here, with a sentence that says what it is; nothing is kept between scrapes.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from raftline.kv.channels import CHANNEL, PATTERN
from raftline.kv.client import Statistics
from raftline.kv.service import Service
from raftline.kv.shards_view import GroupReport, ShardReport
from raftline.kv.version import RAFTLINE_VERSION
from raftline.runtime.histogram import BOUNDS_S, Histogram
from raftline.runtime.measurements import Measurements
from raftline.runtime.stages import STAGES

__all__ = ["NodeCollector"]

_ROLES = ("leader", "follower", "candidate", "learner", "removed", "waiting", "stranger")
_OUTSIDE = frozenset({"removed", "waiting", "stranger"})
"""Roles of nodes that are no members."""
_POSITIONS = ("compacted", "snapshot", "applied", "commit", "last", "persisted")

_GAUGES: dict[str, tuple[str, Callable[[Measurements], float]]] = {
    "raftline_ready": ("1 if this node can serve every request now.", lambda m: not m.not_ready),
    "raftline_term": ("The current term.", lambda m: m.status.term),
    "raftline_leader_known": ("1 if this node knows who leads its term.", lambda m: m.status.leader_id is not None),
    "raftline_log_bytes": ("Payload of the log behind what was compacted.", lambda m: m.status.log_bytes),
    "raftline_log_memory_bytes": ("How much of the log is in memory, of all groups.", lambda m: m.log_memory_bytes),
    "raftline_unwritten_bytes": (
        "Memory of what waits for the disk, the write under way included, of all groups.",
        lambda m: m.unwritten_bytes,
    ),
    "raftline_unwritten_bytes_limit": (
        "Where this node refuses writes as a leader: pending_bytes_max.",
        lambda m: m.unwritten_bytes_max,
    ),
    "raftline_unhosted_groups": (
        "Groups that the log holds and this node does not host: their part of the log stays.",
        lambda m: m.unhosted_groups,
    ),
    "raftline_sessions": ("Open sessions.", lambda m: m.status.sessions),
    "raftline_session_reply_bytes": ("Replies remembered for retries.", lambda m: m.status.session_reply_bytes),
    "raftline_snapshot_size_bytes": ("Size of the newest snapshot taken or restored here.", lambda m: m.snapshot_bytes),
    "raftline_snapshot_in_progress": ("1 while a snapshot is written.", lambda m: m.status.snapshot_in_progress),
    "raftline_restoring": ("1 while the state is replaced by a snapshot.", lambda m: m.restoring),
    "raftline_change_in_progress": ("1 while the membership changes.", lambda m: m.status.change is not None),
}
_COUNTERS: dict[str, tuple[str, Callable[[Measurements], float]]] = {
    "raftline_elections": ("Elections in which this node stood.", lambda m: m.elections),
    "raftline_pre_votes": ("Times this node asked whether it could win.", lambda m: m.pre_votes),
    "raftline_leader_changes": ("Leaders of new terms that this node came to know.", lambda m: m.leader_changes),
    "raftline_snapshots_taken": ("Snapshots taken by this node.", lambda m: m.status.snapshots_taken),
    "raftline_snapshots_installed": ("Snapshots restored by this node.", lambda m: m.status.snapshots_installed),
    "raftline_disk_batches": ("Batches written to the log.", lambda m: m.status.disk_batches),
    "raftline_apply_errors": ("Commands whose execution raised.", lambda m: m.status.apply_errors),
}
_PEER_COUNTERS = {
    "raftline_peer_sent_messages": "Messages sent to a peer.",
    "raftline_peer_sent_bytes": "Bytes sent to a peer.",
    "raftline_peer_received_messages": "Messages received from a peer.",
    "raftline_peer_received_bytes": "Bytes received from a peer.",
    "raftline_peer_dropped_messages": "Messages not sent to a peer: its queue was full or its link down.",
    "raftline_peer_reconnects": "Times the link to a peer was opened again.",
}
_CLIENT_COUNTERS: dict[str, tuple[str, Callable[[Statistics], float]]] = {
    "raftline_client_connections": (
        "Connections of clients, those above clients_max included.",
        lambda s: s.connections,
    ),
    "raftline_rejected_connections": (
        "Connections refused: too many clients, protected mode, or no agreement on TLS.",
        lambda s: s.rejected_connections,
    ),
    "raftline_client_input_bytes": ("Bytes received from clients.", lambda s: s.input_bytes),
    "raftline_client_output_bytes": ("Bytes sent to clients.", lambda s: s.output_bytes),
    "raftline_protocol_errors": ("Requests that were no RESP, or too large.", lambda s: s.protocol_errors),
    "raftline_slow_clients_closed": ("Clients closed because they were too slow.", lambda s: s.slow_clients_closed),
    "raftline_failed_requests": (
        "Commands without a result: refused, lost, or not answered in time by Raft.",
        lambda s: s.failed_requests,
    ),
}
_STORE_GAUGES: dict[str, tuple[str, Callable[[Service], float]]] = {
    "raftline_clients": ("Connected clients.", lambda s: len(s.clients)),
    "raftline_keys": ("Keys stored.", lambda s: s.keyspace().keys),
    "raftline_keys_with_expiry": ("Keys that will expire.", lambda s: s.keyspace().expires),
    "raftline_data_bytes": ("Estimated memory of the data.", lambda s: s.keyspace().used_bytes),
    "raftline_blocked_clients": (
        "Clients whose command waits for something to pop.",
        lambda s: sum(client.blocked is not None for client in s.clients.values()),
    ),
    "raftline_pubsub_channels": ("Channels that somebody listens to.", lambda s: len(s.channels.names(CHANNEL))),
    "raftline_pubsub_patterns": ("Patterns that somebody listens to.", lambda s: len(s.channels.names(PATTERN))),
    "raftline_slowlog_entries": ("Commands in SLOWLOG.", lambda s: len(s.slowlog)),
    "raftline_start_time_seconds": ("When this server started, since 1970.", lambda s: s.facts.started_ms / 1000),
}
_GROUP_GAUGES: dict[str, tuple[str, Callable[[GroupReport], float]]] = {
    "raftline_group_leader_known": ("1 if this node knows who leads the group.", lambda g: g.leader is not None),
    "raftline_group_term": ("The group's term.", lambda g: g.term),
    "raftline_group_commit_index": ("How far the group's log is committed, as known here.", lambda g: g.commit_index),
    "raftline_group_applied_index": ("How far it is applied here.", lambda g: g.applied_index),
    "raftline_group_keys": ("Keys that the group holds here.", lambda g: g.keys),
    "raftline_group_data_bytes": ("Estimated memory of its data.", lambda g: g.used_bytes),
    "raftline_group_slots": ("Slots of the group in the newest configuration.", lambda g: g.slots),
    "raftline_group_slots_arriving": ("Slots that are still to come.", lambda g: g.arriving),
    "raftline_group_slots_giving": ("Slots that are still to go.", lambda g: g.giving),
    "raftline_group_configuration": ("The configuration that the group has come to.", lambda g: g.configuration),
}
_GROUP_COUNTERS: dict[str, tuple[str, Callable[[GroupReport], float]]] = {
    "raftline_group_apply_errors": ("Commands of the group whose execution raised here.", lambda g: g.apply_errors),
}


class NodeCollector(Collector):
    """Reads a server and its node whenever it is asked; `service` gives None until the server has started."""

    def __init__(self, service: Callable[[], Service | None]) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield every family; none before the server has started."""
        service = self._service()
        if service is None:
            return
        measured = service.measure()
        yield from _raft(measured)
        yield from _peers(measured)
        yield _stages({**measured.stages, "reply": service.reply_latency})
        yield from _clients(service)
        if service.shards is not None:
            yield from _groups(service.shards.report(), is_outside=measured.status.role in _OUTSIDE)


def _raft(measured: Measurements) -> Iterator[Metric]:
    status = measured.status
    labels = {"node": status.node_id, "cluster": status.cluster_id, "version": RAFTLINE_VERSION}
    yield _labelled(GaugeMetricFamily, "raftline_node_info", "Always 1; says who this is.", labels, 1)
    for name, (text, value) in _GAUGES.items():
        yield GaugeMetricFamily(name, text, value=float(value(measured)))
    for name, (text, value) in _COUNTERS.items():
        yield CounterMetricFamily(name, text, value=float(value(measured)))
    yield _by(GaugeMetricFamily, "raftline_role", "1 for the role this node has.", "role",
              {role: role == status.role for role in _ROLES})  # fmt: skip
    yield _by(GaugeMetricFamily, "raftline_log_index", "Positions in the log.", "position",
              {position: getattr(status, f"{position}_index") for position in _POSITIONS})  # fmt: skip
    voters = sum(member.voter for member in status.members)
    yield _by(GaugeMetricFamily, "raftline_members", "Members as this node knows them.", "kind",
              {"voter": voters, "learner": len(status.members) - voters})  # fmt: skip
    queues = {
        "proposals": measured.proposals_queued,
        "messages": measured.messages_queued,
        "apply": measured.apply_queued,
        "disk": measured.writes_queued,
        "requests": measured.requests_waiting,
    }
    yield _by(GaugeMetricFamily, "raftline_queue_length", "What waits: see docs/operations.md.", "queue", queues)
    changes = CounterMetricFamily("raftline_role_changes", "Changes of role or leader.", labels=("role", "cause"))
    for (role, cause), count in sorted(measured.role_changes.items()):
        changes.add_metric((role, cause), count)
    yield changes


def _peers(measured: Measurements) -> Iterator[Metric]:
    """Yield what is known of the others: positions on the leader only, links everywhere."""
    status = measured.status
    others = {member.node_id: member for member in status.members if member.node_id != status.node_id}
    lag = {name: member.lag_entries for name, member in others.items() if member.lag_entries is not None}
    heard = {name: member.heard_s_ago for name, member in others.items() if member.heard_s_ago is not None}
    yield _by(GaugeMetricFamily, "raftline_peer_lag_entries", "Entries that a peer lacks on disk, as its leader knows.",
              "peer", lag)  # fmt: skip
    yield _by(GaugeMetricFamily, "raftline_peer_heard_seconds", "Time since this leader heard a peer.", "peer", heard)
    yield _by(GaugeMetricFamily, "raftline_peer_connected", "1 while the link to a peer is open.", "peer",
              {name: peer.connected for name, peer in measured.peers.items()})  # fmt: skip
    yield _by(GaugeMetricFamily, "raftline_peer_queued_bytes", "Bytes that wait for a peer.", "peer",
              {name: peer.queued_bytes for name, peer in measured.peers.items()})  # fmt: skip
    for family, text in _PEER_COUNTERS.items():
        field = family.removeprefix("raftline_peer_")
        yield _by(CounterMetricFamily, family, text, "peer",
                  {name: getattr(peer, field) for name, peer in measured.peers.items()})  # fmt: skip


def _stages(stages: Mapping[str, Histogram]) -> Metric:
    text = (
        "Time that writes spend in each stage; the stages after `queue` are a sample, `append` and `fsync` per batch."
    )
    family = HistogramMetricFamily("raftline_stage_seconds", text, labels=("stage",))
    for name in STAGES:
        histogram = stages[name]
        buckets = []
        total = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric((name,), buckets, histogram.sum_s)
    return family


def _clients(service: Service) -> Iterator[Metric]:
    statistics = service.statistics
    for name, (text, value) in _STORE_GAUGES.items():
        yield GaugeMetricFamily(name, text, value=value(service))
    for name, (text, count) in _CLIENT_COUNTERS.items():
        yield CounterMetricFamily(name, text, value=count(statistics))
    yield CounterMetricFamily(
        "raftline_pubsub_messages", "Messages handed to clients that listen.", value=service.channels.messages
    )
    yield CounterMetricFamily("raftline_expired_keys", "Keys that expired.", value=service.keyspace().expired)
    yield _by(CounterMetricFamily, "raftline_commands", "Commands begun, by name.", "command", statistics.calls)


def _groups(report: ShardReport, *, is_outside: bool) -> Iterator[Metric]:
    """Yield what is known of each group that is hosted here; of the others, too, that this node does not lead them.

    So it can be seen that nobody leads a group of which no node has a replica that is up. A node that is no member of
    the cluster does not hear which groups there are: it tells of those that it leads.
    """
    number = report.configuration.number
    yield GaugeMetricFamily("raftline_configuration", "The newest configuration of slots that is known.", value=number)
    hosted = [group for group in report.groups if group.hosted]
    yield _by(GaugeMetricFamily, "raftline_group_leader", "1 if this node leads the group.", "group",
              {str(each.group): leads for each in report.groups
               if (leads := _leads(report, each)) or not is_outside})  # fmt: skip
    for name, (text, value) in _GROUP_GAUGES.items():
        yield _by(GaugeMetricFamily, name, text, "group", {str(group.group): value(group) for group in hosted})
    for name, (text, value) in _GROUP_COUNTERS.items():
        yield _by(CounterMetricFamily, name, text, "group", {str(group.group): value(group) for group in hosted})


def _leads(report: ShardReport, group: GroupReport) -> bool:
    """Say whether the node does; where it has no vote, `leader` is who is meant to."""
    return group.hosted and group.leader == report.node_id and report.node_id in group.members


def _by(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Mapping[str, float],
) -> Metric:
    """Return a family with one label."""
    family = kind(name, text, labels=(label,))
    for key, value in sorted(values.items()):
        family.add_metric((key,), float(value))
    return family


def _labelled(kind: type[GaugeMetricFamily], name: str, text: str, labels: Mapping[str, str], value: float) -> Metric:
    """Return a family of one sample with several labels."""
    family = kind(name, text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family
