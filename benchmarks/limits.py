"""What disk and loopback of this machine give, to hold the servers' figures against: `python -m benchmarks.limits`.

Disk: three processes at once write and fdatasync one file each, as three nodes do, in pieces of several sizes.
Loopback: one connection, as fast as it takes 64-KiB pieces, and as often as a small message goes there and back.
"""

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, load_now

__all__ = ["main", "sets_per_second"]

NODES = 3
SIZES = {"1 command of 128 bytes": 200, "64 commands of 128 bytes": 12_800, "64 commands of 4 KiB": 266_240}
_FILE_BYTES = 64 << 20
_PIECE = 64 << 10


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds for each figure [2]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.seconds <= 0:
        parser.error("--seconds must be above 0")
    before = load_now()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        disk = {name: disk_rate(Path(scratch), size, options.seconds) for name, size in SIZES.items()}
    result: dict[str, Any] = {"disk": disk, "loopback": loopback_rates(options.seconds)}
    for name, rate in disk.items():
        print(f"disk, {name}: {rate['syncs_per_second']:,.0f} syncs/s each, {rate['mb_per_second']:,.0f} MB/s together")
    print("loopback: " + ", ".join(f"{key} {value:,.0f}" for key, value in result["loopback"].items()))
    print("SET 4 KiB/s at most: " + ", ".join(f"{what} {rate:,.0f}" for what, rate in sets_per_second(result).items()))
    if options.json:
        document = {"machine": describe(), "load_before": before, **result}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def sets_per_second(result: dict[str, Any], value_bytes: int = 4096) -> dict[str, float]:
    """Return how many SETs of that size disk and loopback allow, each alone: every byte is moved and stored 3 times."""
    moved = NODES * value_bytes
    return {
        "disk": 1e6 * result["disk"]["64 commands of 4 KiB"]["mb_per_second"] / moved,
        "loopback": 1e6 * result["loopback"]["mb_per_second"] / moved,
    }


def disk_rate(directory: Path, size: int, seconds: float) -> dict[str, float]:
    """Return syncs per second of each process and bytes per second of all, three at once."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(NODES) as pool:
        paths = [(str(directory / f"disk-{number}"), size, seconds) for number in range(NODES)]
        counts = pool.starmap(_write_and_sync, paths)
    return {
        "syncs_per_second": sum(counts) / NODES / seconds,
        "mb_per_second": sum(counts) * size / seconds / 1e6,
    }


def _write_and_sync(path: str, size: int, seconds: float) -> int:
    """Write pieces one behind the other into a file that was written before, each with its sync; return how many."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for start in range(0, _FILE_BYTES, 1 << 20):
            os.pwrite(descriptor, bytes(1 << 20), start)
        os.fsync(descriptor)
        data, count, place = os.urandom(size), 0, 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.pwrite(descriptor, data, place)
            os.fdatasync(descriptor)
            count += 1
            place = (place + size) % (_FILE_BYTES - size)
        return count
    finally:
        os.close(descriptor)
        Path(path).unlink()


def loopback_rates(seconds: float) -> dict[str, float]:
    """Return bytes per second of one connection, and round trips of a small message."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taker = multiprocessing.get_context("spawn").Process(target=_take, args=(listener.getsockname()[1],))
        taker.start()
        peer, _ = listener.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            trips, end = 0, time.perf_counter() + seconds
            while time.perf_counter() < end:
                peer.sendall(b"x" * 200)
                peer.recv(1)
                trips += 1
            peer.sendall(b"end")
            peer.recv(1)
            sent, piece, end = 0, b"y" * _PIECE, time.perf_counter() + seconds
            while time.perf_counter() < end:
                peer.sendall(piece)
                sent += _PIECE
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)
        taker.join()
    return {"mb_per_second": sent / seconds / 1e6, "round_trips_per_second": trips / seconds}


def _take(port: int) -> None:
    """Answer each small message with a byte until one ends with "end", then only take."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answering = True
        while data := peer.recv(1 << 18):
            if answering:
                answering = not data.endswith(b"end")
                peer.sendall(b".")
        peer.sendall(b".")


if __name__ == "__main__":
    sys.exit(main())
