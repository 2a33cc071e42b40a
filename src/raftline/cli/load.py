"""A load that knows what it was promised: redis-py clients that write, read, and remember every acknowledgement.

Each writer owns a counter (INCR) and keys that are written once. What is acknowledged must stay; a read that starts
after something was acknowledged or read must show it. An error or a lost connection is an unknown outcome: such a
write may be there or not, so it only raises what is allowed, never what is demanded.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from raftline.cli.local_cluster import ClusterTrouble, plain_client

__all__ = ["Load"]

_PAUSE_AFTER_ERROR_S = 0.02
_BATCH = 500


class _Counter:
    """What is known of one counter.

    Invariant: once nothing is under way, shown <= the true value <= attempted.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.attempted = 0
        self.shown = 0
        """The highest value that an INCR or a GET returned: later reads may not show less."""


class Load:
    """Writers and readers in threads, spread over `ports` (and `read_ports`); `wrong` lists every broken promise."""

    def __init__(
        self,
        ports: Sequence[int],
        *,
        writers: int = 3,
        readers: int = 2,
        read_ports: Sequence[int] = (),
        timeout_s: float = 8.0,
        value_bytes: int = 64,
        prefix: str = "load",
    ) -> None:
        self.ports = list(ports)
        self.read_ports = list(read_ports) or self.ports
        self.wrong: list[str] = []
        self.unknown = 0
        """Writes whose outcome was not told."""
        self.refusals: dict[str, int] = {}
        """What clients were told instead of an acknowledgement, and how often."""
        self.reads = 0
        self.acknowledged: dict[str, str] = {}
        self.unsettled: dict[str, str] = {}
        """Keys whose only write has an unknown outcome."""
        self._acknowledged_at: list[tuple[float, float]] = []
        self._timeout_s = timeout_s
        self._filler = "x" * max(0, value_bytes - 8)
        self._prefix = prefix
        self._counters = [_Counter(f"{prefix}:counter:{number}") for number in range(writers)]
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            *(threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(writers)),
            *(threading.Thread(target=self._read, args=(number,), daemon=True) for number in range(readers)),
        ]

    def start(self) -> None:
        """Let the clients begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client finish what it does and wait for it."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._timeout_s + 5)
            if thread.is_alive():
                self._fault(
                    f"a client still waits {self._timeout_s + 5} s after the end: its command was never answered"
                )

    def floors(self) -> dict[str, int]:
        """Return, by counter, what a read that starts now must show at least."""
        return {counter.key: counter.shown for counter in self._counters}

    @property
    def writes(self) -> int:
        """How many writes were acknowledged."""
        return len(self._acknowledged_at)

    def first_acknowledged_after(self, moment: float) -> float | None:
        """Return when (`time.monotonic`) the first write was acknowledged that was sent at `moment` or later."""
        with self._lock:
            done = [at for sent, at in self._acknowledged_at if sent >= moment]
        return min(done, default=None)

    def wait_acknowledged_after(self, moment: float, timeout_s: float) -> float:
        """Wait for `first_acknowledged_after(moment)` and return it; raise ClusterTrouble if it does not come."""
        deadline = time.monotonic() + timeout_s
        while (first := self.first_acknowledged_after(moment)) is None:
            if time.monotonic() >= deadline:
                raise ClusterTrouble(
                    f"no write was acknowledged within {timeout_s} s; clients were told {self.refusals}"
                )
            time.sleep(_PAUSE_AFTER_ERROR_S)
        return first

    def acknowledged_times(self) -> list[float]:
        """Return when (`time.monotonic`) each write was acknowledged, in order."""
        with self._lock:
            return sorted(at for _, at in self._acknowledged_at)

    @property
    def silent_s(self) -> float:
        """How long ago the last write was acknowledged."""
        with self._lock:
            return time.monotonic() - self._acknowledged_at[-1][1] if self._acknowledged_at else 0.0

    def check_node(self, port: int) -> list[str]:
        """Read everything back through one node; return in words what is missing or wrong."""
        found = self.contents(port)
        faults = [
            f"{key} was acknowledged as {value!r}, port {port} has {found.get(key)!r}"
            for key, value in self.acknowledged.items()
            if found.get(key) != value
        ]
        for counter in self._counters:
            value = int(found.get(counter.key) or 0)
            if not counter.shown <= value <= counter.attempted:
                faults.append(
                    f"{counter.key} is {value} on port {port}; "
                    f"{counter.shown} was shown before and {counter.attempted} attempted"
                )
        return faults

    def contents(self, port: int) -> dict[str, str | None]:
        """Return what is there for every key that was ever written, acknowledged or not, asked through one node."""
        keys = [*self.acknowledged, *self.unsettled, *(counter.key for counter in self._counters)]
        found: dict[str, str | None] = {}
        with plain_client(port, decode_responses=True) as client:
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                found |= dict(zip(batch, self._values_of(client, batch), strict=True))
        return found

    def _values_of(self, client: redis.Redis, keys: list[str]) -> Any:
        """Return the value of each key."""
        return client.mget(keys)

    def _write(self, number: int) -> None:
        """One writer: a counter and a fresh key in turn, on to the next node after trouble."""
        counter = self._counters[number]
        serial = 0

        def step(client: redis.Redis) -> None:
            nonlocal serial
            serial += 1
            self._increment(client, counter)
            self._set(client, f"{self._prefix}:{number}:{serial}", f"{serial:08d}{self._filler}")

        self._each_turn(self.ports, number, step)

    def _increment(self, client: redis.Redis, counter: _Counter) -> None:
        counter.attempted += 1
        shown = counter.shown
        sent = time.monotonic()
        value: Any = client.incr(counter.key)
        self._note(sent)
        if not shown < value <= counter.attempted:
            self._fault(f"INCR {counter.key} returned {value}; {shown} was shown, {counter.attempted} attempted")
        with self._lock:
            counter.shown = max(counter.shown, value)

    def _set(self, client: redis.Redis, key: str, value: str) -> None:
        self.unsettled[key] = value
        sent = time.monotonic()
        client.set(key, value)
        self._note(sent)
        self.acknowledged[key] = self.unsettled.pop(key)

    def _read(self, number: int) -> None:
        """One reader: every counter through every node in turn; each read must show what was shown before it began."""
        turn = number

        def step(client: redis.Redis) -> None:
            nonlocal turn
            turn += 1
            counter = self._counters[turn % len(self._counters)]
            floor = counter.shown
            value = int(client.get(counter.key) or 0)
            self.reads += 1
            if not floor <= value <= counter.attempted:
                port = client.connection_pool.connection_kwargs["port"]
                self._fault(
                    f"STALE READ: GET {counter.key} on port {port} returned {value}; "
                    f"{floor} was shown before it was sent, {counter.attempted} attempted"
                )
            with self._lock:
                counter.shown = max(counter.shown, value)

        self._each_turn(self.read_ports, number, step)

    def _each_turn(self, ports: Sequence[int], number: int, step: Callable[[redis.Redis], None]) -> None:
        """Run `step` until the end on a connection to one node, then, after trouble, on one to the next."""
        place = number
        while not self._stopping.is_set():
            with plain_client(ports[place % len(ports)], timeout_s=self._timeout_s) as client:
                try:
                    while not self._stopping.is_set():
                        step(client)
                except redis.RedisError as error:
                    self._count_refusal(error)
                except Exception as error:  # noqa: BLE001  a client that fails otherwise is a finding
                    self._fault(f"{type(error).__name__} in a client: {error}")
            place += 1
            self._stopping.wait(_PAUSE_AFTER_ERROR_S)

    def _note(self, sent: float) -> None:
        with self._lock:
            self._acknowledged_at.append((sent, time.monotonic()))

    def _count_refusal(self, error: redis.RedisError) -> None:
        text = f"{type(error).__name__}: {error}"[:120]
        with self._lock:
            self.unknown += 1
            self.refusals[text] = self.refusals.get(text, 0) + 1

    def _fault(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)
