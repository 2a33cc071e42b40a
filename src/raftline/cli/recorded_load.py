"""Clients that write a history: redis-py connections that read and write a few keys through any node, in threads.

What was asked, what was told, and when, is what `raftline check` takes. An error that leaves the outcome open, and a
connection that broke, are operations of unknown outcome; an error that says that nothing happened leaves the operation
out, so a server that says so wrongly is found out. No answer at all within the time limit is a fault.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from raftline.cli.local_cluster import plain_client
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.explain import explain
from raftline.linearizability.history import History, Operation, write_jsonl
from raftline.linearizability.picture import render
from raftline.linearizability.redis_strings import RedisStrings

__all__ = ["RecordedLoad", "judge", "says_nothing_happened"]

_PAUSE_AFTER_ERROR_S = 0.05
_JOIN_S = 10.0
_TEXT_WRITES = ("set",) * 5 + ("append",) * 3 + ("setnx", "getset", "getdel", "del")
"""What is done to a text, by share."""


def says_nothing_happened(error: redis.RedisError) -> bool:
    """Say whether an error of the server leaves no doubt that the command did not take effect, and will not."""
    refusals = (redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError)
    return isinstance(error, refusals) and "may have been applied" not in str(error)


def judge(operations: Sequence[Operation], path: Path, *, limit_s: float = 60.0) -> str | None:
    """Check a history; None if it has an order, else write it to `path`, with a picture, and return how to look at it.

    A history that is not decided within `limit_s` seconds is no good one either.
    """
    model = RedisStrings()
    deadline = time.monotonic() + limit_s
    result = check(operations, model, expired=lambda: time.monotonic() > deadline, stop_at_first=True)
    if result.verdict is Verdict.YES:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(write_jsonl(History(tuple(operations), model.name)))
    picture = path.with_suffix(".html")
    for part in result.failing():
        reason = explain(part, model, expired=lambda: time.monotonic() > deadline + limit_s)
        picture.write_text(render(reason, model, title=f"{path.name} is not linearizable"))
    return f"linearizable: {result.verdict.value}; look at {picture} and at: raftline check {path} --html {picture}"


class RecordedLoad:
    """Clients over `ports` (by node name); `operations` is their history, `faults` what must not happen to a client.

    Keys are replaced by fresh ones every `generation_s`, so that no key has a long history.
    """

    def __init__(
        self,
        ports: Mapping[str, int],
        *,
        clients: int = 6,
        slots: int = 6,
        generation_s: float = 4.0,
        read_share: float = 0.4,
        think_s_max: float = 0.02,
        timeout_s: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.ports = dict(ports)
        self.faults: list[str] = []
        self.operations: list[Operation] = []
        self.answered = 0
        self.refused = 0
        """Commands of which the server said that they did not take effect."""
        self.unknown = 0
        """Writes whose outcome was not told."""
        self.refusals: dict[str, int] = {}
        self.slowest_s = 0.0
        """The longest that a client waited for an answer, an error included."""
        self._slots = slots
        self._generation_s = generation_s
        self._read_share = read_share
        self._think_s_max = think_s_max
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._began = time.monotonic()
        self._serial = 0
        self._threads = [
            threading.Thread(target=self._run, args=(number, random.Random(f"{seed}/{number}")), daemon=True)  # noqa: S311
            for number in range(clients)
        ]

    def start(self) -> None:
        """Let the clients begin."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client finish what it does and wait for it."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._timeout_s + _JOIN_S)
            if thread.is_alive():
                self._fault("a client still waits after the end: its command was never answered")

    def read_all(self, name: str) -> None:
        """Read every key that was ever written through one node, into the history, once the clients have stopped."""
        keys = sorted({operation.key or "" for operation in self.operations})
        with plain_client(self.ports[name], timeout_s=self._timeout_s, decode_responses=True) as client:
            for key in keys:
                called_at = time.monotonic()
                value: Any = client.get(key)
                self.operations.append(
                    Operation(f"after {name}", "get", None, value, called_at, time.monotonic(), key, name)
                )

    def _run(self, number: int, source: random.Random) -> None:
        """One client: some operations on a connection to one node, then, or after trouble, on one to another."""
        names = sorted(self.ports)
        while not self._stopping.is_set():
            name = source.choice(names)
            with plain_client(self.ports[name], timeout_s=self._timeout_s, decode_responses=True) as client:
                try:
                    self._measured(name, "a connection", client.ping)
                    for _ in range(source.randrange(1, 60)):
                        if self._stopping.is_set():
                            break
                        self._operate(client, f"c{number}", name, source)
                        self._stopping.wait(source.random() * self._think_s_max)
                except redis.RedisError:
                    self._stopping.wait(_PAUSE_AFTER_ERROR_S)
                except Exception as error:  # noqa: BLE001  a client that fails otherwise is a finding
                    self._fault(f"{type(error).__name__} in a client of {name}: {error}")

    def _operate(self, client: redis.Redis, who: str, name: str, source: random.Random) -> None:
        """Carry out one operation and write down what became of it; raises what broke the connection."""
        kind, key, entered, call = self._choose(client, source)
        called_at = time.monotonic()
        try:
            output = self._measured(name, f"{kind} {key}", call)
        except redis.RedisError as error:
            self._note_error(error)
            if kind != "get" and not says_nothing_happened(error):
                self._note(Operation(who, kind, entered, None, called_at, None, key, name))
            elif kind != "get":
                self.refused += 1
            if not isinstance(error, redis.ResponseError):
                raise
            if "may have been applied" not in str(error) and not says_nothing_happened(error):
                self._fault(f"{kind} {key} on {name} got {error}")
            return
        self._note(Operation(who, kind, entered, output, called_at, time.monotonic(), key, name))

    def _measured(self, name: str, what: str, call: Callable[[], Any]) -> Any:
        """Return the answer; none within the time limit is a fault."""
        began = time.monotonic()
        try:
            return call()
        except redis.TimeoutError:
            self._fault(f"{what} on {name}: no answer within {self._timeout_s} s")
            raise
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _choose(self, client: redis.Redis, source: random.Random) -> tuple[str, str, Any, Callable[[], Any]]:
        """Return an operation's kind, key and input for the history, and the call that carries it out."""
        generation = int((time.monotonic() - self._began) / self._generation_s)
        slot = source.randrange(self._slots)
        is_counter = slot % 3 == 2
        key = f"{'n' if is_counter else 't'}{slot}.{generation}"
        if source.random() < self._read_share:
            return "get", key, None, lambda: client.get(key)
        if is_counter:
            amount = source.randrange(-4, 5)
            return "incrby", key, amount, lambda: client.incrby(key, amount)
        kind = source.choice(_TEXT_WRITES)
        with self._lock:
            self._serial += 1
            value = f"v{self._serial};"
        calls: dict[str, Callable[[], Any]] = {
            "set": lambda: "OK" if client.set(key, value) else None,
            "append": lambda: client.append(key, value),
            "setnx": lambda: int(client.setnx(key, value)),
            "getset": lambda: client.execute_command("GETSET", key, value),  # type: ignore[no-untyped-call]
            "getdel": lambda: client.getdel(key),
            "del": lambda: client.delete(key),
        }
        return kind, key, None if kind in ("getdel", "del") else value, calls[kind]

    def _note(self, operation: Operation) -> None:
        with self._lock:
            self.operations.append(operation)
            if operation.known:
                self.answered += 1
            else:
                self.unknown += 1

    def _note_error(self, error: redis.RedisError) -> None:
        text = f"{type(error).__name__}: {error}"[:120]
        with self._lock:
            self.refusals[text] = self.refusals.get(text, 0) + 1

    def _fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)
