"""A real node that was away for long gets the state as a snapshot: what its clients read meanwhile."""

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from tests.cluster.conftest import STEADY

from raftline.cli.local_cluster import plain_client
from raftline.cli.node_info import NodeInfo

if TYPE_CHECKING:
    from raftline.cli.local_cluster import LocalCluster

    StartCluster = Callable[..., LocalCluster]

SETTINGS = STEADY | {
    "snapshot_log_bytes": 1 << 20,
    "keep_log_entries": 100,
    "segment_bytes": 1 << 20,
    "log_memory_bytes": 1 << 20,
    "request_timeout_s": 2,
}
OLD, NEW = 2_000, 60_000
BATCH = 1_000


class Reader(threading.Thread):
    """Asks one node again and again how many keys there are and what the first one is; notes each answer."""

    def __init__(self, port: int, *, stale: bool) -> None:
        super().__init__(daemon=True)
        self._client = plain_client(port)
        if stale:
            self._client.execute_command("CLIENT", "READS", "STALE")  # type: ignore[no-untyped-call]
        self._stopping = threading.Event()
        self.seen: list[tuple[Any, int]] = []
        self.refusals: list[str] = []

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                found: tuple[Any, int] = (self._client.get("key:0"), int(self._client.dbsize()))
            except redis.ResponseError as error:
                self.refusals.append(f"{type(error).__name__}: {error}")
            else:
                self.seen.append(found)

    def has_seen(self, count: int) -> bool:
        """Say whether it got so many answers."""
        return len(self.seen) >= count

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def fill(cluster: "LocalCluster", name: str, value: str, count: int) -> None:
    """Set so many keys."""
    with cluster.client(name, timeout_s=60.0) as client:
        for start in range(0, count, BATCH):
            with client.pipeline(transaction=False) as pipeline:
                for number in range(start, min(start + BATCH, count)):
                    pipeline.set(f"key:{number}", value * 500)
                pipeline.execute()


def info_of(cluster: "LocalCluster", name: str) -> NodeInfo:
    """Return what a node says of itself."""
    info = cluster.info(name, 30)
    assert info is not None
    return info


def test_stale_reads_go_on_while_a_snapshot_arrives(start_cluster: "StartCluster") -> None:
    """They show some state of before, then the new one, never a part of it, and no error; others only the new (D11)."""
    cluster = start_cluster(settings=SETTINGS)
    leader = cluster.wait_for_leader()
    away = cluster.followers()[0]
    fill(cluster, away, "o", OLD)
    cluster.wait_until_level()
    port = cluster.nodes[away].port
    readers = [Reader(port, stale=True), Reader(port, stale=False)]
    first = plain_client(port)
    first.execute_command("CLIENT", "READS", "STALE")  # type: ignore[no-untyped-call]
    asked = first.connection_pool.get_connection()
    held = info_of(cluster, away).last_index
    cluster.pause(away)
    fill(cluster, leader, "n", NEW)
    # While it is taken for one that answers, the log waits for it.
    cluster.wait_for(lambda: info_of(cluster, leader).compacted_index > held, "the leader lets go of what was written")
    asked.send_command("DBSIZE")  # type: ignore[no-untyped-call]
    cluster.resume(away)
    for reader in readers:
        reader.start()
    counted = asked.read_response()
    asked.disconnect()  # type: ignore[no-untyped-call]
    first.close()
    cluster.wait_until_level(60.0)
    enough = [len(reader.seen) + 10 for reader in readers]
    for reader, count in zip(readers, enough, strict=True):
        cluster.wait_for(partial(reader.has_seen, count), "reads of the new state")
        reader.stop()
    assert int(info_of(cluster, away).fields["snapshots_installed"]) > 0
    stale, linearizable = readers
    old, new = b"o" * 500, b"n" * 500
    assert stale.refusals == []
    counts = [counted, *(count for _, count in stale.seen)]
    assert OLD <= counts[0] < NEW  # with what was in its sockets when it fell asleep
    assert counts == sorted(counts)
    assert {value for value, _ in stale.seen} <= {old, new}
    assert stale.seen[-1] == (new, NEW)
    assert set(linearizable.seen) == {(new, NEW)}
    told = ("ClusterDownError: no quorum could be reached", "TryAgainError")  # it took longer than request_timeout_s
    assert [text for text in linearizable.refusals if not text.startswith(told)] == []
