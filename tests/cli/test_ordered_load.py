"""The order of one connection: what its answers and its reads promise, and clients that hold servers to it."""

import socket
import threading
import time
from collections.abc import Iterator

import hiredis
import pytest

from raftline.cli.local_cluster import LocalCluster
from raftline.cli.ordered_load import OrderedConnection, OrderedLoad

REFUSED = hiredis.ReplyError("TRYAGAIN the leader changed: the command did not take effect")
WAIT_S_MAX = 60.0
OPEN = hiredis.ReplyError("CLUSTERDOWN no outcome in time: the command may have been applied, or may still be")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One node."""
    with LocalCluster(tmp_path_factory.mktemp("one"), size=1) as one:
        one.start()
        one.wait_for_leader()
        yield one


def connection_with(*answers: object) -> OrderedConnection:
    """Return a connection that sent as many writes as there are answers, and got these."""
    connection = OrderedConnection("k")
    for _ in answers:
        connection.append()
    for answer in answers:
        connection.on_answer(answer)
    assert connection.under_way == 0
    return connection


def test_commands_are_written_as_the_protocol_wants() -> None:
    """Numbers rise; a read asks for the connection's own key."""
    connection = OrderedConnection("order:1")
    reader = hiredis.Reader()
    reader.feed(connection.append() + connection.append() + connection.read())
    assert reader.gets() == [b"APPEND", b"order:1", b"0;"]
    assert reader.gets() == [b"APPEND", b"order:1", b"1;"]
    assert reader.gets() == [b"GET", b"order:1"]
    assert (connection.sent, connection.under_way) == (2, 3)


def test_any_part_of_what_is_open_may_be_there_in_its_order() -> None:
    """An unknown outcome excuses a gap, and nothing else."""
    for value in ("0;1;3;", "0;3;"):
        connection = connection_with(2, OPEN, REFUSED, 4)
        connection.check(value, "n1")
        assert connection.faults == []


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("0;3;1;", "k, read on n1: 1 took effect after 3"),
        ("0;0;3;", "k, read on n1: 0 took effect after 0"),
        ("0;1;", r"k, read on n1: \[3\] were acknowledged and are not there"),
        ("", r"k, read on n1: \[0, 3\] were acknowledged and are not there"),
        ("0;2;3;", r"k, read on n1: \[2\] were refused for good and are there"),
    ],
)
def test_what_breaks_the_promise_is_told(value: str, fault: str) -> None:
    """Order, acknowledgements and refusals."""
    connection = connection_with(2, OPEN, REFUSED, 4)
    connection.check(value, "n1")
    assert len(connection.faults) == 1
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(connection.faults[0])


def test_a_read_on_the_connection_shows_what_was_acknowledged_before_it() -> None:
    """It came after those writes."""
    connection = connection_with(2)
    connection.read()
    connection.on_answer(b"0;")
    assert connection.faults == []
    connection.append()
    connection.read()
    connection.on_answer(4)
    connection.on_answer(b"0;")
    assert connection.faults == ["k, read on its own connection: [1] were acknowledged and are not there"]


def test_another_error_is_a_fault() -> None:
    """Only the cluster's troubles are expected."""
    connection = connection_with(hiredis.ReplyError("ERR wrong"))
    assert connection.faults == ["k: unexpected error ERR wrong"]


def test_a_good_server_is_found_good(cluster: LocalCluster) -> None:
    """Writes go through, and what is there is what was acknowledged."""
    load = OrderedLoad({"n1": cluster.nodes["n1"].port})
    load.start()
    cluster.wait_for(lambda: load.acknowledged > 500, "writes", WAIT_S_MAX)
    load.stop()
    load.check_node("n1")
    assert load.faults == []
    assert load.sent >= load.acknowledged > 500
    assert load.refused == 0


def test_a_server_that_does_not_answer_is_a_fault() -> None:
    """It takes everything and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        load = OrderedLoad({"n1": silent.getsockname()[1]}, clients=1, timeout_s=0.2)
        load.start()
        deadline = time.monotonic() + WAIT_S_MAX
        while not load.faults and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        load.stop()
    assert "on n1: no answer within 0.2 s" in load.faults[0]
