"""Links that can be cut: what becomes of the bytes in each mode, one direction at a time."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from raftline.cli.link_proxy import LinkMode, LinkProxies
from raftline.cli.local_cluster import free_port
from raftline.transport.codec import Codec, Hello

HOST = "127.0.0.2"
WAIT_S_MAX = 60.0
Dial = Callable[[str, str], tuple[socket.socket, socket.socket]]


def opening(source: str, target: str) -> bytes:
    """Return what a node says first."""
    return Codec().opening(Hello(1, "raftline", source, target, 2))


@pytest.fixture
def ports() -> dict[str, int]:
    """Peer ports of two nodes."""
    return {"n1": free_port(), "n2": free_port()}


@pytest.fixture
def proxies(ports: dict[str, int]) -> Iterator[LinkProxies]:
    """Proxies before both."""
    with LinkProxies(HOST, ports) as started:
        yield started


@pytest.fixture
def dial(ports: dict[str, int], proxies: LinkProxies) -> Iterator[Dial]:
    """Call with source and target: the dialler's end and, once it has said who it is, the target's end."""
    assert proxies.pairs == [("n1", "n2"), ("n2", "n1")]
    listeners = {name: socket.create_server(("127.0.0.1", port)) for name, port in ports.items()}
    ends: list[socket.socket] = []

    def connect(source: str, target: str) -> tuple[socket.socket, socket.socket]:
        near = socket.create_connection((HOST, ports[target]), WAIT_S_MAX)
        ends.append(near)
        near.sendall(opening(source, target))
        listeners[target].settimeout(WAIT_S_MAX)
        far, _ = listeners[target].accept()
        far.settimeout(WAIT_S_MAX)
        ends.append(far)
        assert receive(far, len(opening(source, target))) == opening(source, target)
        return near, far

    yield connect
    for each in [*ends, *listeners.values()]:
        each.close()


def receive(end: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes, fewer if the other side ends."""
    data = b""
    while len(data) < size and (piece := end.recv(size - len(data))):
        data += piece
    return data


def is_reset(end: socket.socket) -> bool:
    """Wait until the other side ends, say whether it did so without a goodbye; bytes before that are passed over."""
    try:
        while end.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return False


def test_an_open_link_carries_both_ways(dial: Dial, proxies: LinkProxies) -> None:
    """Bytes arrive as they were sent, and are counted for the pair that the handshake named."""
    near, far = dial("n1", "n2")
    near.sendall(b"x" * 200_000)
    assert receive(far, 200_000) == b"x" * 200_000
    far.sendall(b"answer")
    assert receive(near, 6) == b"answer"
    carried, swallowed = proxies.bytes_of("n1", "n2")
    assert carried == len(opening("n1", "n2")) + 200_006
    assert (swallowed, proxies.bytes_of("n2", "n1"), proxies.connections) == (0, (0, 0), 1)


def test_the_end_of_one_side_ends_the_other(dial: Dial) -> None:
    """A node that is killed is seen through the proxy."""
    near, far = dial("n1", "n2")
    far.close()
    assert not is_reset(near)
    near, far = dial("n1", "n2")
    near.close()
    assert not is_reset(far)


def test_a_refusing_link_resets_one_direction_only(dial: Dial, proxies: LinkProxies, ports: dict[str, int]) -> None:
    """What is there breaks, what comes breaks; the other way goes on; healed, connections are taken again."""
    near, far = dial("n1", "n2")
    back, there = dial("n2", "n1")
    proxies.set([("n1", "n2")], LinkMode.REFUSE)
    assert is_reset(near)
    assert is_reset(far)
    with socket.create_connection((HOST, ports["n2"]), WAIT_S_MAX) as refused:
        refused.sendall(opening("n1", "n2"))
        assert is_reset(refused)
    back.sendall(b"still here")
    assert receive(there, 10) == b"still here"
    proxies.heal()
    dial("n1", "n2")


def test_a_swallowing_link_stays_and_is_silent(dial: Dial, proxies: LinkProxies) -> None:
    """Nothing arrives and nothing breaks until the link is healed: then it breaks, as bytes are missing."""
    near, far = dial("n1", "n2")
    proxies.set([("n1", "n2")], LinkMode.SWALLOW)
    near.sendall(b"lost")
    far.sendall(b"lost too")
    deadline = time.monotonic() + WAIT_S_MAX
    while proxies.bytes_of("n1", "n2")[1] < len(b"lost" + b"lost too") and time.monotonic() < deadline:
        time.sleep(0.005)
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.recv(1)
    far.settimeout(WAIT_S_MAX)
    proxies.heal()
    assert is_reset(near)
    assert is_reset(far)
    assert proxies.bytes_of("n1", "n2")[1] == len(b"lost" + b"lost too")


def test_a_holding_link_delivers_late(dial: Dial, proxies: LinkProxies) -> None:
    """Bytes wait while the link is held and arrive, whole and in order, when it is healed."""
    near, far = dial("n1", "n2")
    proxies.set([("n1", "n2")], LinkMode.HOLD)
    near.sendall(b"first ")
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.recv(1)
    far.settimeout(WAIT_S_MAX)
    near.sendall(b"second")
    proxies.heal()
    assert receive(far, 12) == b"first second"


def test_a_slow_link_keeps_the_order(dial: Dial, proxies: LinkProxies) -> None:
    """Every piece waits, none overtakes."""
    near, far = dial("n1", "n2")
    proxies.set(proxies.around("n1"), LinkMode.OPEN, delay_s=0.01)
    for number in range(10):
        near.sendall(b"%d" % number)
    assert receive(far, 10) == b"0123456789"


def test_a_reset_is_over_at_once(dial: Dial, proxies: LinkProxies) -> None:
    """The connections break, new ones are taken."""
    near, far = dial("n1", "n2")
    proxies.reset([("n1", "n2")])
    assert is_reset(near)
    assert is_reset(far)
    dial("n1", "n2")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"", b"RAFTLINE", opening("n9", "n2")])
def test_whoever_is_no_node_of_the_cluster_gets_nowhere(
    said: bytes, proxies: LinkProxies, ports: dict[str, int]
) -> None:
    """Only pairs that can be cut are carried."""
    with socket.create_connection((HOST, ports["n2"]), WAIT_S_MAX) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(1) == b""
    assert proxies.connections == 0


def test_leaving_ends_every_connection(ports: dict[str, int]) -> None:
    """Nothing is left open, and the ports are free again."""
    with socket.create_server(("127.0.0.1", ports["n2"])) as listener:
        with LinkProxies(HOST, ports):
            near = socket.create_connection((HOST, ports["n2"]), WAIT_S_MAX)
            near.sendall(opening("n1", "n2"))
            far, _ = listener.accept()
            assert receive(far, len(opening("n1", "n2"))) == opening("n1", "n2")
        assert is_reset(far)
        near.close()
        far.close()
    with LinkProxies(HOST, ports):
        pass
