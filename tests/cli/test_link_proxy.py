"""Links that are cut: what passes, what is reset, what vanishes, and what a heal brings back."""

import socket
from collections.abc import Iterator

import pytest

from raftline.cli.link_proxy import LinkMode, LinkProxies
from raftline.cli.local_cluster import free_port


@pytest.fixture
def target() -> Iterator[socket.socket]:
    """A listener that the link leads to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


@pytest.fixture
def links(target: socket.socket) -> Iterator[LinkProxies]:
    """One link, from a to b."""
    with LinkProxies([("a", "b", free_port(), target.getsockname()[1])]) as proxies:
        yield proxies


def _connect(links: LinkProxies) -> socket.socket:
    return socket.create_connection(("127.0.0.1", links.port("a", "b")), timeout=5)


def test_an_open_link_passes_bytes_both_ways(links: LinkProxies, target: socket.socket) -> None:
    """As if nothing stood between."""
    with _connect(links) as near, target.accept()[0] as far:
        near.sendall(b"question")
        assert far.recv(100) == b"question"
        far.sendall(b"answer")
        assert near.recv(100) == b"answer"
    assert links.bytes_of("a", "b") == (14, 0)


def test_a_refusing_link_resets_what_is_there_and_what_comes(links: LinkProxies, target: socket.socket) -> None:
    """Both ends notice, and a new connection ends at once; healed, the next one works."""
    with _connect(links) as near, target.accept()[0] as far:
        links.set("a", "b", LinkMode.REFUSE)
        for end in (near, far):
            end.settimeout(5)
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    with _connect(links) as near, pytest.raises(ConnectionResetError):
        near.recv(1)
    links.heal()
    with _connect(links) as near, target.accept()[0] as far:
        near.sendall(b"x")
        assert far.recv(1) == b"x"


def test_a_swallowing_link_keeps_connections_and_loses_bytes(links: LinkProxies, target: socket.socket) -> None:
    """Neither end is told; healing resets the connection, because its bytes are gone."""
    with _connect(links) as near, target.accept()[0] as far:
        near.sendall(b"before")
        assert far.recv(100) == b"before"
        links.isolate("b", LinkMode.SWALLOW)
        near.sendall(b"lost")
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(1)
        links.heal()
        far.settimeout(5)
        with pytest.raises(ConnectionResetError):
            far.recv(1)
    assert links.bytes_of("a", "b") == (6, 4)


def test_a_link_to_nobody_is_closed(links: LinkProxies, target: socket.socket) -> None:
    """A node that is down refuses through its proxy, too."""
    target.close()
    with _connect(links) as near, pytest.raises(ConnectionResetError):
        near.recv(1)
