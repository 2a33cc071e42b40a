"""Clients that test the order of one connection: commands sent without waiting for answers, through any node.

Each connection appends 0, 1, 2, ... to a key of its own, and reads it now and then. Whatever fails meanwhile, the
numbers that are there must rise, every acknowledged one must be there, none that was refused for good may be, and a
read shows what was acknowledged before it on its connection.
"""

import itertools
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping

import hiredis

from raftline.cli.local_cluster import plain_client

__all__ = ["OrderedConnection", "OrderedLoad"]

_UNDER_WAY_MAX = 400
_PAUSE_AFTER_ERROR_S = 0.05
_JOIN_S = 10.0


class OrderedConnection:
    """One connection's commands and what became of them; no socket.

    Invariant: `_asked` holds what was sent and not answered, oldest first; None is a read.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.faults: list[str] = []
        self.acknowledged: list[int] = []
        self.refused: set[int] = set()
        self.sent = 0
        self._asked: deque[int | None] = deque()

    @property
    def under_way(self) -> int:
        """How many commands wait for an answer."""
        return len(self._asked)

    def append(self) -> bytes:
        """Return the next write as bytes to send."""
        number, self.sent = self.sent, self.sent + 1
        self._asked.append(number)
        text = b"%d;" % number
        return b"*3\r\n$6\r\nAPPEND\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(self.key), self.key.encode(), len(text), text)

    def read(self) -> bytes:
        """Return a read as bytes to send."""
        self._asked.append(None)
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(self.key), self.key.encode())

    def on_answer(self, answer: object) -> None:
        """Take the answer to the oldest command."""
        number = self._asked.popleft()
        if isinstance(answer, hiredis.ReplyError):
            self._on_error(number, str(answer))
        elif number is not None:
            self.acknowledged.append(number)
        else:
            self.check(answer.decode() if isinstance(answer, bytes) else "", "its own connection")

    def _on_error(self, number: int | None, text: str) -> None:
        if not text.startswith(("CLUSTERDOWN", "TRYAGAIN")):
            self.faults.append(f"{self.key}: unexpected error {text}")
        elif number is not None and "may have been applied" not in text:
            self.refused.add(number)

    def check(self, value: str, where: str) -> None:
        """Hold what a read showed against what was promised when it was answered."""
        shown = [int(number) for number in value.split(";") if number]
        for before, after in itertools.pairwise(shown):
            if after <= before:
                self.faults.append(f"{self.key}, read on {where}: {after} took effect after {before}")
        present = set(shown)
        if missing := [number for number in self.acknowledged if number not in present]:
            self.faults.append(f"{self.key}, read on {where}: {missing[:10]} were acknowledged and are not there")
        if wrong := sorted(present & self.refused):
            self.faults.append(f"{self.key}, read on {where}: {wrong[:10]} were refused for good and are there")


class OrderedLoad:
    """Connections over `ports` (by node name), one per thread at a time; `faults` lists every broken promise."""

    def __init__(self, ports: Mapping[str, int], *, clients: int = 3, timeout_s: float = 10.0, seed: int = 0) -> None:
        self.ports = dict(ports)
        self.connections: list[OrderedConnection] = []
        self._own_faults: list[str] = []
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, random.Random(f"{seed}/o{number}")), daemon=True)  # noqa: S311
            for number in range(clients)
        ]

    def start(self) -> None:
        """Let the clients begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client wait for its answers and end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._timeout_s + _JOIN_S)
            if thread.is_alive():
                self._own_faults.append("a client that pipelines still waits after the end")

    @property
    def faults(self) -> list[str]:
        """Every broken promise."""
        return self._own_faults + [fault for connection in self.connections for fault in connection.faults]

    @property
    def sent(self) -> int:
        """How many writes were sent."""
        return sum(connection.sent for connection in self.connections)

    @property
    def acknowledged(self) -> int:
        """How many writes were acknowledged."""
        return sum(len(connection.acknowledged) for connection in self.connections)

    @property
    def refused(self) -> int:
        """How many writes were refused for good."""
        return sum(len(connection.refused) for connection in self.connections)

    def check_node(self, name: str) -> None:
        """Read every key through one node; what is wrong with it is then in `faults`."""
        with plain_client(self.ports[name], decode_responses=True) as client:
            for connection in self.connections:
                value = client.get(connection.key)
                connection.check(value if isinstance(value, str) else "", name)

    def _run(self, number: int, source: random.Random) -> None:
        """One client: a connection to some node until it breaks or was used enough, then another."""
        serial = 0
        names = sorted(self.ports)
        while not self._stopping.is_set():
            serial += 1
            name = source.choice(names)
            connection = OrderedConnection(f"order:{number}:{serial}")
            self.connections.append(connection)
            try:
                with socket.create_connection(("127.0.0.1", self.ports[name]), self._timeout_s) as end:
                    self._use(end, connection, source, name)
            except OSError:
                self._stopping.wait(_PAUSE_AFTER_ERROR_S)

    def _use(self, end: socket.socket, connection: OrderedConnection, source: random.Random, name: str) -> None:
        """Send a few commands at a time without waiting, and take answers as they come; raises OSError at its end."""
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = hiredis.Reader()
        sent_max = source.randrange(200, 3000)
        answered_at = time.monotonic()
        while True:
            is_ending = self._stopping.is_set() or connection.sent >= sent_max
            if is_ending and not connection.under_way:
                return
            if not is_ending and connection.under_way < _UNDER_WAY_MAX:
                burst = [connection.append() for _ in range(source.randrange(1, 8))]
                if source.random() < 0.05:
                    burst.append(connection.read())
                end.sendall(b"".join(burst))
            readable, _, _ = select.select([end], [], [], source.random() * 0.01)
            if not readable:
                if connection.under_way and time.monotonic() - answered_at > self._timeout_s:
                    self._own_faults.append(f"{connection.key} on {name}: no answer within {self._timeout_s} s")
                    return
                continue
            data = end.recv(1 << 16)
            if not data:
                return
            answered_at = time.monotonic()
            reader.feed(data)
            while (answer := reader.gets()) is not False:
                connection.on_answer(answer)
