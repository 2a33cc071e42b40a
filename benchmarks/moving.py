"""What clients notice of slots that move: `python -m benchmarks.moving --megabytes 1024`.

Three nodes, three groups. One group's slots are filled, and all but a few move to another group while clients write at
a steady pace: to slots that stay, whose p99 is told beside that of before, and to slots that move, of which the longest
that any command took is told. These clients are plain ones: a command to a slot that is just on its way is held.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, load_now

from raftline.cli.local_cluster import LocalCluster, plain_client
from raftline.cli.shard import ask_shards
from raftline.kv.slots import slot_of

__all__ = ["main"]

_STAYING = 64
_PROBED = 8
_PACE_S = 0.004
_PIPELINE = 64


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=int, default=1024, help="how much moves [1024]")
    parser.add_argument("--value-bytes", type=int, default=4096, help="size of one value [4096]")
    parser.add_argument("--before-s", type=float, default=10.0, help="how long it is measured before the move [10]")
    parser.add_argument("--move-bytes-per-second", type=int, default=64 << 20, help="the servers' setting [64 MiB]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    before = load_now()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = measure(Path(scratch), options)
    document = {"machine": describe(), "load_before": before, **result}
    for name, value in result.items():
        print(f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fill, measure, move, measure."""
    settings = {"sharded": "on", "groups": 3, "move_bytes_per_second": options.move_bytes_per_second}
    with LocalCluster(scratch, settings=settings) as cluster:
        cluster.start()
        target = f"127.0.0.1:{cluster.nodes['n1'].port}"
        cluster.wait_for(lambda: len(ask_shards(target).groups) == 3, "groups", 30)
        ranges = {group: ask_shards(target).configuration.ranges_of(group)[0] for group in (1, 2, 3)}
        moving = range(ranges[1].low, ranges[1].high - _STAYING)
        ports = [node.port for node in cluster.nodes.values()]
        filled_s = fill(ports, moving, options.megabytes << 20, options.value_bytes)
        staying = [ranges[1].high - 1, ranges[2].low, ranges[3].low, ranges[3].high - 1]
        step = len(moving) // _PROBED
        probes = [Probe(ports[n % 3], slot, "stays") for n, slot in enumerate(staying)]
        probes += [Probe(ports[n % 3], moving[n * step + step // 2], "moves") for n in range(_PROBED)]
        for probe in probes:
            probe.start()
        time.sleep(2.0)
        first = time.monotonic()
        time.sleep(options.before_s)
        began = time.monotonic()
        number = cluster.client("n1").execute_command("RAFTLINE.SHARD", "MOVE", moving[0], moving[-1], 2)
        cluster.wait_for(lambda: is_over(target, number), "the move", 3600)
        ended = time.monotonic()
        time.sleep(1.0)
        for probe in probes:
            probe.stop()
        filled = (options.megabytes << 20) // options.value_bytes + len(probes)
        kept = sum(group.keys for group in ask_shards(target).groups)
        calm = sorted(took for probe in probes for took in probe.between(first, began))
        stays = sorted(took for probe in probes if probe.kind == "stays" for took in probe.between(began, ended))
        moved = [max(probe.between(began, ended + 1.0)) for probe in probes if probe.kind == "moves"]
        return {
            "megabytes": options.megabytes,
            "slots": len(moving),
            "filled_s": round(filled_s, 1),
            "moved_s": round(ended - began, 1),
            "megabytes_per_second": round(options.megabytes / (ended - began), 1),
            "before_p50_ms": quantile_ms(calm, 0.5),
            "before_p99_ms": quantile_ms(calm, 0.99),
            "before_max_ms": quantile_ms(calm, 1.0),
            "unaffected_p50_ms": quantile_ms(stays, 0.5),
            "unaffected_p99_ms": quantile_ms(stays, 0.99),
            "unaffected_max_ms": quantile_ms(stays, 1.0),
            "longest_per_moving_slot_ms": [round(took * 1000, 1) for took in moved],
            "keys_lost": filled - kept,
            "errors": [error for probe in probes for error in probe.errors][:10],
        }


def is_over(target: str, number: int) -> bool:
    """Say whether every group has carried out configuration `number`."""
    return all(group.is_settled_at(number) for group in ask_shards(target).groups)


def tag_of(slot: int) -> str:
    """Return a short text whose slot this is."""
    return _TAGS[slot]


def _tags() -> dict[int, str]:
    tags: dict[int, str] = {}
    number = 0
    while len(tags) < 16384:
        text = format(number, "x")
        tags.setdefault(slot_of(text.encode()), text)
        number += 1
    return tags


_TAGS = _tags()


def fill(ports: list[int], slots: range, total_bytes: int, value_bytes: int) -> float:
    """Write values into the slots, as many to each; return how long it took."""
    began = time.monotonic()
    count = total_bytes // value_bytes
    value = b"x" * value_bytes

    def work(port: int, first: int) -> None:
        client = plain_client(port, timeout_s=60)
        numbers = range(first, count, len(ports))
        for start in range(0, len(numbers), _PIPELINE):
            left = [
                f"{{{tag_of(slots[number % len(slots)])}}}{number}" for number in numbers[start : start + _PIPELINE]
            ]
            while left:
                pipeline = client.pipeline(transaction=False)
                for key in left:
                    pipeline.set(key, value)
                outcomes = pipeline.execute(raise_on_error=False)
                left = [key for key, outcome in zip(left, outcomes, strict=True) if outcome is not True]

    threads = [threading.Thread(target=work, args=(port, first)) for first, port in enumerate(ports)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


class Probe(threading.Thread):
    """A client that writes to one slot at a steady pace and notes how long each command took."""

    def __init__(self, port: int, slot: int, kind: str) -> None:
        super().__init__(daemon=True)
        self.kind = kind
        self.errors: list[str] = []
        self._client = plain_client(port, timeout_s=30)
        self._key = f"{{{tag_of(slot)}}}probe"
        self._took: list[tuple[float, float]] = []
        self._stopping = False

    def run(self) -> None:
        """Write until stopped; an error counts as the time until the next success."""
        began = time.monotonic()
        while not self._stopping:
            try:
                self._client.set(self._key, "x")
            except Exception as error:  # noqa: BLE001  whatever it is, it is told
                self.errors.append(f"{type(error).__name__}: {error}")
                continue
            self._took.append((began, time.monotonic() - began))
            time.sleep(_PACE_S)
            began = time.monotonic()

    def stop(self) -> None:
        """Stop and wait for the end."""
        self._stopping = True
        self.join()

    def between(self, first: float, last: float) -> list[float]:
        """Return how long commands took that began in this time, in seconds."""
        return [took for began, took in self._took if first <= began < last]


def quantile_ms(ordered: list[float], fraction: float) -> float:
    """Return a quantile in milliseconds."""
    return round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] * 1000, 2)


if __name__ == "__main__":
    sys.exit(main())
