"""Clients that write a history: what they note, what they call a fault, and how a bad history is told."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from raftline.cli.local_cluster import LocalCluster
from raftline.cli.main import app
from raftline.cli.recorded_load import RecordedLoad, judge, says_nothing_happened
from raftline.linearizability import Operation

WAIT_S_MAX = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """One node, empty."""
    with LocalCluster(tmp_path, size=1) as one:
        one.start()
        one.wait_for_leader()
        yield one


def test_a_good_history_is_judged_good(tmp_path: Path) -> None:
    """Nothing is written then."""
    path = tmp_path / "history.jsonl"
    assert (
        judge([Operation("c1", "set", "v1", "OK", 0, 1, "k"), Operation("c2", "get", None, "v1", 2, 3, "k")], path)
        is None
    )
    assert list(tmp_path.iterdir()) == []


def test_a_stale_read_is_found_and_can_be_looked_at(tmp_path: Path) -> None:
    """The history, its picture, and the command that gives the verdict again."""
    path = tmp_path / "new" / "history.jsonl"
    operations = [
        Operation("c1", "set", "v1", "OK", 0, 1, "k", "n1"),
        Operation("c1", "set", "v2", "OK", 2, 3, "k", "n1"),
        Operation("c2", "get", None, "v1", 4, 5, "k", "n2"),
    ]
    told = judge(operations, path)
    assert told is not None
    assert told.startswith("linearizable: no; look at ")
    assert "<svg" in path.with_suffix(".html").read_text()
    command = told.split("raftline ")[1].split()
    assert CliRunner().invoke(app, command).exit_code == 1


def test_a_history_that_cannot_be_decided_in_time_is_no_good_one(tmp_path: Path) -> None:
    """Unknown is not yes."""
    operations = [Operation(f"c{n}", "append", f"v{n};", None, 0, None, "k") for n in range(30)]
    operations.append(Operation("c", "get", None, "v7;v3;v9;", 1, 2, "k"))
    told = judge(operations, tmp_path / "history.jsonl", limit_s=-1.0)
    assert told is not None
    assert told.startswith("linearizable: unknown")


@pytest.mark.parametrize(
    ("error", "nothing_happened"),
    [
        (redis.exceptions.ClusterDownError("no leader is known: the command did not take effect"), True),
        (redis.exceptions.TryAgainError("the leader changed: the command did not take effect"), True),
        (redis.exceptions.ClusterDownError("no outcome in time: the command may have been applied, or may"), False),
        (redis.ConnectionError("closed"), False),
        (redis.TimeoutError("timed out"), False),
        (redis.ResponseError("ERR"), False),
    ],
)
def test_only_the_servers_word_leaves_no_doubt(error: redis.RedisError, *, nothing_happened: bool) -> None:
    """Everything else may have taken effect."""
    assert says_nothing_happened(error) is nothing_happened


def test_a_good_server_is_found_good(cluster: LocalCluster, tmp_path: Path) -> None:
    """Every kind of operation is asked, noted with its answer, and has its place in an order."""
    load = RecordedLoad({"n1": cluster.nodes["n1"].port}, think_s_max=0.0, generation_s=0.1)
    load.start()
    cluster.wait_for(lambda: load.answered > 1000, "operations", WAIT_S_MAX)
    load.stop()
    written = load.answered
    load.read_all("n1")
    assert load.faults == []
    assert judge(load.operations, tmp_path / "history.jsonl") is None
    assert {operation.kind for operation in load.operations} == {
        "get", "set", "append", "setnx", "getset", "getdel", "del", "incrby",
    }  # fmt: skip
    assert len({operation.key for operation in load.operations}) > 6
    assert len(load.operations) - written == len({operation.key for operation in load.operations})
    assert load.slowest_s > 0


def test_what_breaks_off_is_of_unknown_outcome(cluster: LocalCluster, tmp_path: Path) -> None:
    """A server that is killed leaves open what it was asked."""
    load = RecordedLoad({"n1": cluster.nodes["n1"].port}, read_share=0.0)
    load.start()
    try:
        for kills in range(1, 4):
            cluster.wait_for(lambda kills=kills: load.answered > 60 * kills, "operations", WAIT_S_MAX)  # type: ignore[misc]
            cluster.kill9("n1")
            cluster.start("n1")
    finally:
        load.stop()
    assert load.unknown == sum(not operation.known for operation in load.operations)
    assert load.unknown > 0
    assert load.faults == []
    load.read_all("n1")
    assert judge(load.operations, tmp_path / "history.jsonl") is None


def test_a_server_that_does_not_answer_is_a_fault() -> None:
    """It takes everything and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        load = RecordedLoad({"n1": silent.getsockname()[1]}, clients=1, timeout_s=0.2)
        load.start()
        deadline = time.monotonic() + WAIT_S_MAX
        while not load.faults and time.monotonic() < deadline:
            time.sleep(0.01)
        load.stop()
    assert load.faults[0] == "a connection on n1: no answer within 0.2 s"
