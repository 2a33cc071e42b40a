"""The bare hops of a replicated write, without Raft: what Python, sockets, threads and disks leave room for.

    python -m benchmarks.hops leader --port 7001 --peers 7002,7003 --file /tmp/log [--store]      (and twice `follower`)

Three processes on uvloop. The leader takes SETs off its clients' connections (hiredis), and in each turn of its loop
passes their bytes on to two followers and to its own disk thread; each writes and syncs whatever waits, once. When two
of the three have it the clients get +OK. There is no log format, no term, no commit index on the way to followers, no
state machine, no check, and nothing survives: a Python server that replicates like this can hardly do more.

With `--store` it does the least that makes this a store: commands are parsed and encoded into entries, 32 in each,
batches carry a term, the place before them, the commit index and a CRC32C, which followers check; all three decode what
is committed, keep a digest of it and carry it out in a dict. It still elects nobody, repairs nothing, forgets nothing
and refuses nothing: what is between it and raftline is what makes raftline safe, bounded and observable.
"""

import argparse
import asyncio
import os
import sys
import zlib
from collections import deque
from functools import partial
from typing import Any, cast

import google_crc32c
import hiredis
import msgspec
import uvloop

from raftline.runtime.disk import ThreadedDisk

__all__ = ["Store", "main"]

_FILE_BYTES = 16 << 20
_HEADER_BYTES = 12
"""Number of the batch and its length, in front of its bytes."""
_TERM = 1
_ENTRY_COMMANDS = 32
_CHECKSUM_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode
_decode_commands = msgspec.msgpack.Decoder(list[list[bytes]]).decode


def main() -> int:
    """Run one process until it is terminated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("role", choices=("leader", "follower"))
    parser.add_argument("--port", type=int, required=True, help="where it listens on 127.0.0.1")
    parser.add_argument("--peers", default="", help="ports of the followers, comma separated")
    parser.add_argument("--file", required=True, help="where it writes")
    parser.add_argument("--store", action="store_true", help="be a store: entries, checksums, a state machine")
    options = parser.parse_args()
    uvloop.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    disk = _Disk(options.file, loop)
    store = Store() if options.store else None
    if options.role == "follower":
        server = await loop.create_server(lambda: _Follower(disk, store), "127.0.0.1", options.port)
    else:
        leader = _Leader(loop, disk, store)
        for number, port in enumerate(options.peers.split(","), 1):
            await loop.create_connection(partial(_Peer, leader, number), "127.0.0.1", int(port))
        server = await loop.create_server(lambda: _Client(leader), "127.0.0.1", options.port)
    async with server:
        await server.serve_forever()


class _Append(msgspec.Struct, frozen=True, array_like=True):
    """A batch on its way: what a follower of a real log has to be told with it."""

    term: int
    prev_number: int
    prev_term: int
    commit: int
    entries: list[bytes]


_decode_append = msgspec.msgpack.Decoder(_Append).decode


class Store:
    """Keeps batches until they are committed, and then carries them out.

    Invariant: batches up to `applied` are in `values` and in `digest`, later ones in `_log`.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.digest = 0
        self.applied = 0
        self._log: dict[int, list[bytes]] = {}

    def seal(self, number: int, commands: list[list[bytes]]) -> bytes:
        """Return batch `number` of these commands as bytes for log and wire."""
        entries = [_encode(commands[at : at + _ENTRY_COMMANDS]) for at in range(0, len(commands), _ENTRY_COMMANDS)]
        self._log[number] = entries
        body = _encode(_Append(_TERM, number - 1, _TERM, self.applied, entries))
        return int(google_crc32c.value(body)).to_bytes(_CHECKSUM_BYTES, "big") + body

    def open(self, number: int, data: bytes) -> int:
        """Take in batch `number` from the leader; return which are committed. Raises ValueError if it is damaged."""
        body = memoryview(data)[_CHECKSUM_BYTES:]
        if google_crc32c.value(bytes(body)) != int.from_bytes(data[:_CHECKSUM_BYTES], "big"):
            raise ValueError(f"batch {number} is damaged")
        append = _decode_append(body)
        self._log[number] = append.entries
        return append.commit

    def apply(self, number: int) -> None:
        """Carry out all batches up to `number`."""
        values = self.values
        while self.applied < number:
            self.applied += 1
            for entry in self._log.pop(self.applied):
                self.digest = zlib.crc32(entry, self.digest)
                for _, key, value in _decode_commands(entry):
                    values[key] = value


class _Disk:
    """Writes and syncs what waits, one write at a time; `done(number)` says up to which batch."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        for start in range(0, _FILE_BYTES, 1 << 20):
            os.pwrite(self._descriptor, bytes(1 << 20), start)
        os.fsync(self._descriptor)
        self._thread = ThreadedDisk("hops", loop)
        self._place = 0
        self._waiting: list[bytes] = []
        self._number = 0
        self._writing = False
        self.done: Any = None

    def write(self, number: int, data: bytes) -> None:
        """Let a batch be written behind all others."""
        self._waiting.append(data)
        self._number = number
        if not self._writing:
            self._begin()

    def _begin(self) -> None:
        self._writing = True
        number, data = self._number, b"".join(self._waiting)
        self._waiting = []
        self._thread.submit(lambda: self._append(number, data), self._on_written)

    def _append(self, number: int, data: bytes) -> int:
        if self._place + len(data) > _FILE_BYTES:
            self._place = 0
        os.pwrite(self._descriptor, data, self._place)
        self._place += len(data)
        os.fdatasync(self._descriptor)
        return number

    def _on_written(self, result: Any) -> None:
        if isinstance(result, BaseException):
            raise result
        self._writing = False
        if self._waiting:
            self._begin()
        self.done(result)


class _Leader:
    """Collects what its clients sent in a turn, passes it on, and answers when two of three have it.

    Invariant: `_batches` are those not answered yet, in order; `_holds` is up to where each of the three has them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, disk: _Disk, store: Store | None) -> None:
        self._loop = loop
        self._disk = disk
        self._store = store
        disk.done = lambda number: self.on_held(0, number)
        self.peers: list[asyncio.Transport] = []
        self._bytes: list[bytes] = []
        self._commands: list[list[bytes]] = []
        self._askers: list[tuple[asyncio.Transport, int]] = []
        self._batches: deque[tuple[int, list[tuple[asyncio.Transport, int]]]] = deque()
        self._number = 0
        self._holds = [0, 0, 0]

    def take(self, asker: asyncio.Transport, data: bytes, commands: list[list[bytes]]) -> None:
        """Take in requests of a client: as they came, and parsed."""
        if not self._askers:
            self._loop.call_soon(self._turn)
        if self._store is None:
            self._bytes.append(data)
        else:
            self._commands += commands
        self._askers.append((asker, len(commands)))

    def _turn(self) -> None:
        self._number += 1
        data = b"".join(self._bytes) if self._store is None else self._store.seal(self._number, self._commands)
        self._batches.append((self._number, self._askers))
        self._bytes, self._commands, self._askers = [], [], []
        frame = self._number.to_bytes(8, "big") + len(data).to_bytes(4, "big") + data
        for peer in self.peers:
            peer.write(frame)
        self._disk.write(self._number, frame)

    def on_held(self, node: int, number: int) -> None:
        """Answer what a majority holds now."""
        self._holds[node] = number
        held = sorted(self._holds)[1]
        while self._batches and self._batches[0][0] <= held:
            committed, askers = self._batches.popleft()
            if self._store is not None:
                self._store.apply(committed)
            for asker, count in askers:
                asker.write(b"+OK\r\n" * count)


class _Client(asyncio.Protocol):
    """A client of the leader."""

    def __init__(self, leader: _Leader) -> None:
        self._leader = leader
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        commands = []
        while (command := reader.gets()) is not False:
            commands.append(command)
        assert self._transport is not None, "it was made"
        self._leader.take(self._transport, data, commands)


class _Peer(asyncio.Protocol):
    """The leader's connection to a follower, which answers with the number of the last batch it holds."""

    def __init__(self, leader: _Leader, number: int) -> None:
        self._leader = leader
        self._number = number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._leader.peers.append(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._leader.on_held(self._number, int.from_bytes(data[-8:], "big"))


class _Follower(asyncio.Protocol):
    """Writes whole batches and says up to which it holds them."""

    def __init__(self, disk: _Disk, store: Store | None) -> None:
        self._disk = disk
        self._store = store
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = cast("asyncio.Transport", transport)
        self._disk.done = lambda number: peer.write(number.to_bytes(8, "big"))

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        at = 0
        while at + _HEADER_BYTES <= len(data):
            end = at + _HEADER_BYTES + int.from_bytes(data[at + 8 : at + _HEADER_BYTES], "big")
            if end > len(data):
                break
            number = int.from_bytes(data[at : at + 8], "big")
            store = self._store
            commit = 0 if store is None else store.open(number, data[at + _HEADER_BYTES : end])
            self._disk.write(number, data[at:end])
            if store is not None:
                store.apply(commit)
            at = end
        self._data = data[at:]


if __name__ == "__main__":
    sys.exit(main())
