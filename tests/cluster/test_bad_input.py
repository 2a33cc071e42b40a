"""Clients and peers that are wrong, hostile, slow or gone: each gets an error or is closed, and nobody else notices.

Behind every test a bystander writes and reads on all three nodes; it must never get anything but good replies.
"""

import contextlib
import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster, LocalNode

SETTINGS = {
    "key_bytes_max": "1KiB",
    "value_bytes_max": "1MiB",
    "request_bytes_max": "4MiB",
    "partial_bytes_max": "32MiB",
    "output_buffer_bytes_max": "8MiB",
    "receive_s_max": 1.5,
}
MIB = 1 << 20
IDLE = 10_000


@pytest.fixture(autouse=True)
def _bystander(shared_cluster: LocalCluster, request: pytest.FixtureRequest) -> Iterator[None]:
    """A client of each node that goes on all the while; every one of its replies must be good."""
    pids = [node.pid for node in shared_cluster.nodes.values()]
    ports = [node.port for node in shared_cluster.nodes.values()]
    load = Load(ports, writers=1, readers=1, prefix=f"bystander:{hash(request.node.nodeid)}")
    load.start()
    yield
    before = load.writes
    shared_cluster.wait_for(lambda: load.writes > before + 5, "the bystander's writes go on")
    load.stop()
    assert load.wrong == []
    assert load.refusals == {}
    assert [node.pid for node in shared_cluster.nodes.values() if node.running] == pids


def a_node(cluster: LocalCluster) -> LocalNode:
    """Return the leader: what hurts it hurts everybody."""
    return cluster.nodes[cluster.wait_for_leader()]


def connect(port: int, timeout_s: float = 15.0) -> socket.socket:
    """Return a raw connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)


def until_closed(connection: socket.socket) -> bytes:
    """Return everything that comes until the other side closes; a timeout is an error."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def send_as_far_as_it_goes(connection: socket.socket, data: bytes) -> None:
    """Send; the other side may close while we do."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(data)


def end_sending(connection: socket.socket) -> None:
    """Close our direction; the other side may have closed both, which is one of its good answers."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def rss_bytes(node: LocalNode) -> int:
    """Return how much memory the process has now."""
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS in /proc")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["GET"], "wrong number of arguments for 'get' command"),
        (["SET", "k"], "wrong number of arguments for 'set' command"),
        (["SET", "k", "v", "EX", "0"], "invalid expire time"),
        (["SET", "k", "v", "NX", "XX"], "syntax error"),
        (["SET", "k", "v", "EX", "soon"], "not an integer"),
        (["INCRBY", "k", "1.5"], "not an integer"),
        (["EXPIRE", "k", "x"], "not an integer"),
        (["NOSUCH", "x"], "unknown command"),
        (["SELECT", "9"], "out of range"),
        (["MSET", "a", "1", "b"], "wrong number of arguments"),
    ],
)
def test_a_wrong_command_gets_an_error_and_the_connection_stays(
    shared_cluster: LocalCluster, command: list[str], error: str
) -> None:
    """Arity, types and options are checked before anything is proposed; the next command works."""
    with shared_cluster.client(a_node(shared_cluster).name) as client:
        with pytest.raises(redis.ResponseError, match=error):
            client.execute_command(*command)
        assert client.ping()


def test_a_wrong_type_of_value_is_refused_everywhere_alike(shared_cluster: LocalCluster) -> None:
    """INCR of a text is refused by the log, the same on every node, and changes nothing."""
    for name in shared_cluster.nodes:
        with shared_cluster.client(name) as client:
            client.set("text", "abc")
            with pytest.raises(redis.ResponseError, match="not an integer"):
                client.incr("text")
            assert client.get("text") == b"abc"
    level = shared_cluster.infos()
    assert {info.fields["apply_errors"] for info in level.values()} == {"0"}


def test_keys_and_values_above_the_limit_are_refused(shared_cluster: LocalCluster) -> None:
    """One byte too much is told with the limit; what fits just fits."""
    with shared_cluster.client(a_node(shared_cluster).name) as client:
        assert client.set("k" * 1024, "v")
        assert client.set("big", "v" * MIB)
        for key, value in (("k" * 1025, "v"), ("big", "v" * (MIB + 1))):
            with pytest.raises(redis.ResponseError, match=r"limit|larger|exceeds|too (long|large|big)|at most"):
                client.set(key, value)
        assert client.strlen("big") == MIB


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"*-5\r\n",
        b"*1\r\n$-7\r\n",
        b"*1000000000\r\n",
        b"*1\r\n$99999999999\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*1\r\n*1\r\n*1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"$5\r\nworld\r\n",
        b"\x00" * 5000 + b"\r\n",
        b"x" * 200_000,
        b'SET "unbalanced\r\n',
    ],
)
def test_garbage_on_the_client_port_gets_an_error_or_is_closed(shared_cluster: LocalCluster, garbage: bytes) -> None:
    """What is no request is answered with an error or a closed connection, never with a good reply or with silence."""
    with connect(a_node(shared_cluster).port) as connection:
        send_as_far_as_it_goes(connection, garbage)
        end_sending(connection)
        for line in until_closed(connection).splitlines():
            assert line.startswith(b"-"), line


def test_random_bytes_on_both_ports_are_survived(shared_cluster: LocalCluster) -> None:
    """A hundred connections with noise, whole and cut: each ends, and the node goes on."""
    source = random.Random(7)
    node = a_node(shared_cluster)
    for round_number in range(100):
        port = node.port if round_number % 2 else node.bus_port
        with connect(port) as connection:
            prefix = source.choice([b"", b"*3\r\n$3\r\nSET\r\n", struct.pack("<I", source.randrange(1, 5000))])
            send_as_far_as_it_goes(connection, prefix + source.randbytes(source.randrange(1, 3000)))
            end_sending(connection)
            until_closed(connection)


@pytest.mark.parametrize(
    "garbage",
    [
        b"*1\r\n$4\r\nPING\r\n",
        b"\xff" * 64,
        b"\x00" * 64,
        struct.pack("<I", 10) + b"0123456789",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_garbage_on_the_peer_port_is_closed(shared_cluster: LocalCluster, garbage: bytes) -> None:
    """Nothing is believed before the handshake; the connection is closed at once or after its short time."""
    with connect(a_node(shared_cluster).bus_port) as connection:
        send_as_far_as_it_goes(connection, garbage)
        assert b"OK" not in until_closed(connection)


def test_a_silent_connection_to_the_peer_port_is_closed(shared_cluster: LocalCluster) -> None:
    """Whoever does not say who it is loses its place after seconds."""
    with connect(a_node(shared_cluster).bus_port) as connection:
        until_closed(connection)


def test_a_node_of_another_cluster_is_turned_away(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    """It has the addresses, but not the cluster's name: it is told why, and no term is disturbed."""
    before = terms(shared_cluster)
    with LocalCluster(tmp_path, settings={"cluster_id": "other", **SETTINGS}) as stranger:
        stranger.nodes |= {name: shared_cluster.nodes[name] for name in ("n2", "n3")}
        stranger.start("n1")
        log = stranger.nodes["n1"].log
        stranger.wait_for(
            lambda: "is of cluster 'raftline'" in log() or 'is of cluster "raftline"' in log(), "a refusal"
        )
        time.sleep(2)  # long enough for several elections, were it believed
        info = stranger.info("n1", 30)
        assert info is not None
        assert info.role in {"follower", "candidate"}
        assert info.leader_id is None
        stranger.nodes = {"n1": stranger.nodes["n1"]}
    assert terms(shared_cluster) == before


def terms(cluster: LocalCluster) -> list[tuple[int, str | None] | None]:
    """Return what each node takes for the term and for its leader."""
    infos = [cluster.info(name, 30) for name in cluster.nodes]
    return [None if info is None else (info.term, info.leader_id) for info in infos]


def test_half_a_request_is_given_up(shared_cluster: LocalCluster) -> None:
    """A client that vanished in the middle of a request holds its connection only for `receive_s_max`."""
    with connect(a_node(shared_cluster).port) as connection:
        connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf")
        for line in until_closed(connection).splitlines():
            assert line.startswith(b"-"), line


def test_connections_that_are_reset_leave_nothing_behind(shared_cluster: LocalCluster) -> None:
    """Clients that vanish with commands under way are forgotten, and their commands do no harm."""
    node = a_node(shared_cluster)
    with shared_cluster.client(node.name) as client:
        for _ in range(200):
            with connect(node.port) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(b"*2\r\n$4\r\nINCR\r\n$5\r\nreset\r\n" * 5)
        shared_cluster.wait_for(
            lambda: int(client.info("clients")["connected_clients"]) < 20, "the clients are forgotten"
        )
        assert 0 <= int(client.get("reset") or 0) <= 1000


def test_ten_thousand_idle_connections(shared_cluster: LocalCluster) -> None:
    """They cost little memory, and one client more works as before."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < IDLE + 500:
        pytest.skip(f"this process may open {soft} files; the test needs {IDLE + 500}: raise ulimit -n")
    node = a_node(shared_cluster)
    before = rss_bytes(node)
    idle = []
    try:
        for _ in range(IDLE):
            connection = connect(node.port)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            idle.append(connection)
        with shared_cluster.client(node.name) as client:
            assert int(client.info("clients")["connected_clients"]) >= IDLE
            assert client.set("among", "many")
            assert client.get("among") == b"many"
        idle[-1].sendall(b"*1\r\n$4\r\nPING\r\n")
        assert idle[-1].recv(100) == b"+PONG\r\n"
        grown = rss_bytes(node) - before
        assert grown < 300 * MIB, f"{grown // IDLE} bytes per idle connection"
    finally:
        for connection in idle:
            connection.close()


def test_more_clients_than_allowed_are_told(start_cluster: Callable[..., LocalCluster]) -> None:
    """The client above the limit gets an error and is closed; when one leaves, the next is taken."""
    cluster = start_cluster(size=1, settings={"clients_max": 5})
    port = cluster.nodes["n1"].port
    cluster.wait_for(lambda: _ping(port), "a place becomes free")
    taken = [connect(port) for _ in range(5)]
    for connection in taken:
        connection.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"
    with connect(port) as one_more:
        assert until_closed(one_more).startswith(b"-ERR max number of clients reached")
    for connection in taken:
        connection.close()
    cluster.wait_for(lambda: _ping(port), "a place becomes free")


def _ping(port: int) -> bool:
    with connect(port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"*1\r\n$4\r\nPING\r\n")
        return connection.recv(100) == b"+PONG\r\n"
    return False


@pytest.mark.parametrize(
    "header",
    [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$104857600\r\n", b"*3\r\n$3\r\nSET\r\n$104857600\r\n", b"*1\r\n$104857600\r\n"],
)
def test_a_request_above_the_limit_is_refused_by_its_header(shared_cluster: LocalCluster, header: bytes) -> None:
    """What announces a hundred megabytes is refused before they are sent, however slowly they would come."""
    with connect(a_node(shared_cluster).port) as connection:
        for byte in header:
            send_as_far_as_it_goes(connection, bytes([byte]))  # whoever takes too long for it is sent away, too
        assert until_closed(connection).startswith(b"-")


def test_slow_senders_together_stay_within_bounds(shared_cluster: LocalCluster) -> None:
    """Sixty clients, each with most of a request of allowed size, do not get the memory that they ask for together."""
    node = a_node(shared_cluster)
    before = rss_bytes(node)
    highest = before
    slow = []
    for number in range(60):
        connection = connect(node.port)
        connection.settimeout(0.5)
        slow.append(connection)
        with contextlib.suppress(OSError):  # refused or not read any more: what the test is about
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$1048576\r\n" + b"x" * (MIB - 10 - number))
        highest = max(highest, rss_bytes(node))
    assert highest - before < 160 * MIB
    with shared_cluster.client(node.name) as client:
        assert client.ping()
    for connection in slow:
        connection.close()


def test_a_client_that_does_not_read_is_held_back_or_closed(shared_cluster: LocalCluster) -> None:
    """Two gigabytes of replies asked for and not taken: the server keeps a bounded part of them."""
    node = a_node(shared_cluster)
    with shared_cluster.client(node.name) as client:
        client.set("big", "v" * MIB)
    before = rss_bytes(node)
    with connect(node.port, 2.0) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            for _ in range(20):
                connection.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * 100)
                assert rss_bytes(node) - before < 128 * MIB
        except OSError:
            pass  # closed, or no longer read: both keep the memory
        time.sleep(0.5)
        assert rss_bytes(node) - before < 128 * MIB
    with shared_cluster.client(node.name) as client:
        assert client.strlen("big") == MIB


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_long_pipeline_is_answered_in_order(shared_cluster: LocalCluster, role: str) -> None:
    """Twenty thousand writes, as many reads, then both in turn, each in one go: as many replies, each in its place."""
    leader = shared_cluster.wait_for_leader()
    name = leader if role == "leader" else next(each for each in shared_cluster.nodes if each != leader)
    with shared_cluster.client(name, timeout_s=30) as client:
        key = f"pipe:{role}"
        writes, reads, both = (client.pipeline(transaction=False) for _ in range(3))
        for _ in range(20_000):
            writes.incr(key)
            reads.strlen(key)
        for number in range(500):
            both.set(key, number)
            both.get(key)
        assert writes.execute() == list(range(1, 20_001))
        assert reads.execute() == [5] * 20_000
        replies = both.execute()
    assert replies[::2] == [True] * 500
    assert replies[1::2] == [b"%d" % number for number in range(500)]
