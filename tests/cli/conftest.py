"""Something that answers INFO raft, so that what asks can be tested without a cluster."""

import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest


def info_lines(node_id: str, ports: dict[str, int], **overrides: object) -> str:
    """Return what a server of three would say; `ports` are the client ports by node."""
    fields = {
        "node_id": node_id, "role": "leader" if node_id == "n1" else "follower", "leader_id": "n1", "term": 4,
        "compacted_index": 2, "snapshot_index": 5, "applied_index": 10, "commit_index": 10, "last_index": 11,
        "digest": "a1b2",
    } | overrides  # fmt: skip
    lines = ["# Raft", *(f"raft_{name}:{value}" for name, value in fields.items())]
    for number, (name, port) in enumerate(ports.items()):
        lines.append(f"raft_member{number}:node_id={name},address=127.0.0.1:{port}@{port - 1},voter=1,role=,lag_entries=")
    return "\r\n".join([*lines, ""])


class _Fake(socketserver.ThreadingTCPServer):
    """Answers every request with `reply`, whatever was asked; HELLO and CLIENT as redis-py wants it."""

    daemon_threads = True
    allow_reuse_address = True
    reply = b""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer command after command."""
        assert isinstance(self.server, _Fake)
        while data := self.request.recv(65536):
            replies = []
            for command in data.split(b"*")[1:]:
                if b"HELLO" in command:
                    replies.append(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                elif b"CLIENT" in command:
                    replies.append(b"+OK\r\n")
                else:
                    replies.append(self.server.reply)
            self.request.sendall(b"".join(replies))


FakeNode = Callable[..., int]


@pytest.fixture
def fake_node() -> Iterator[FakeNode]:
    """Start a fake; call with the INFO text, or with `raw` bytes to answer; returns its port."""
    servers = []

    def start(text: str = "", *, raw: bytes | None = None, port: int = 0) -> int:
        server = _Fake(("127.0.0.1", port), _Handler)
        body = text.encode()
        server.reply = raw if raw is not None else b"$%d\r\n%b\r\n" % (len(body), body)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def lines_of() -> Callable[..., str]:
    """The INFO lines of a node of three."""
    return info_lines
