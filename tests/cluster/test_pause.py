"""A leader that is stopped for seconds and does not know it: what it says afterwards is never old."""

import os
import re
import socket
import time
from collections.abc import Callable

import pytest
from tests.cluster.conftest import STEADY

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster

PAUSE_S = 5.0
ROUNDS = int(os.environ.get("CLUSTER_PAUSES", "1"))


def ask_late(port: int, keys: dict[str, int]) -> list[tuple[socket.socket, str, int]]:
    """Send GET for each counter to a node that does not answer now; return what each reply must show at least."""
    asked = []
    for key, floor in keys.items():
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key.encode()))
        asked.append((connection, key, floor))
    return asked


def reply_of(connection: socket.socket) -> bytes:
    """Return one whole reply: an error line, or a bulk string with its length."""
    data = b""
    with connection:
        while not re.fullmatch(rb"(-[^\n]*|\$\d+\r\n\d+|\$-1|_)\r\n", data):
            piece = connection.recv(4096)
            if not piece:
                return b"-closed\r\n"
            data += piece
    return data


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_a_paused_leader_never_answers_with_old_values(start_cluster: Callable[..., LocalCluster]) -> None:
    """SIGSTOP for five seconds while the others elect a leader and go on; reads on the old one must show all of it."""
    cluster = start_cluster()
    for _ in range(ROUNDS):
        old = cluster.wait_for_leader()
        old_port = cluster.nodes[old].port
        others = [node.port for name, node in cluster.nodes.items() if name != old]
        load = Load(others, writers=2, readers=4, read_ports=[old_port, old_port, old_port, others[0]], timeout_s=20)
        load.start()
        time.sleep(0.5)
        cluster.pause(old)
        paused_at = time.monotonic()
        load.wait_acknowledged_after(paused_at, 30.0)
        asked = []
        while time.monotonic() < paused_at + PAUSE_S:
            asked += ask_late(old_port, load.floors())
            time.sleep(0.25)
        asked += ask_late(old_port, load.floors())
        cluster.resume(old)
        for connection, key, floor in asked:
            reply = reply_of(connection)
            if reply.startswith(b"$"):
                value = int(reply.split(b"\r\n")[1])
                assert value >= floor, (
                    f"STALE: GET {key} on the resumed leader returned {value}, {floor} was shown before"
                )
            else:
                assert reply.startswith(b"-"), f"GET {key} returned {reply!r}, but {floor} was shown before"
        time.sleep(1.0)
        load.stop()
        assert load.wrong == []
        level = cluster.wait_until_level()
        assert len({info.digest for info in level.values()}) == 1
        assert [fault for node in cluster.nodes.values() for fault in load.check_node(node.port)] == []


def test_a_paused_follower_does_not_slow_the_others(start_cluster: Callable[..., LocalCluster]) -> None:
    """With one follower stopped the writes go on at once; resumed, it catches up."""
    cluster = start_cluster(settings=STEADY)
    follower = cluster.followers()[0]
    leader = cluster.wait_for_leader()
    cluster.pause(follower)
    with cluster.client(leader) as client:
        for number in range(500):
            client.set(f"key:{number}", number)
    cluster.resume(follower)
    level = cluster.wait_until_level()
    assert level[leader].role == "leader"
    assert len({info.digest for info in level.values()}) == 1
