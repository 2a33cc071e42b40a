"""Real servers, real clients and a real history: kill -9, SIGSTOP and cut links, then the linearizability checker.

`CLUSTER_NEMESIS_S` seconds of trouble (15 unless set), `CLUSTER_NEMESIS_SEED` for another course of events.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from raftline.cli.link_proxy import LinkMode, LinkProxies
from raftline.cli.local_cluster import LocalCluster, plain_client
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import History, Operation, write_jsonl
from raftline.linearizability.redis_strings import RedisStrings

TROUBLE_S = float(os.environ.get("CLUSTER_NEMESIS_S", "15"))
SEED = int(os.environ.get("CLUSTER_NEMESIS_SEED", "1"))
CLIENTS = 6
KEYS = 8
TIMEOUT_S = 3.0
HEALED_S = 4.0
PROGRESS_S_MAX = 10.0


class Recorder:
    """Clients in threads, each through any node; the history of what they asked and were told."""

    def __init__(self, ports: list[int], seed: int) -> None:
        self.ports = ports
        self.operations: list[Operation] = []
        self.refusals: Counter[str] = Counter()
        self.answered_at = 0.0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._written = 0
        self._threads = [
            threading.Thread(target=self._run, args=(f"c{number}", random.Random(f"{seed}/{number}")), daemon=True)
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 10)
        assert not any(thread.is_alive() for thread in self._threads), "a client was never answered"

    def _run(self, name: str, chance: random.Random) -> None:
        while not self._stopping.is_set():
            port = chance.choice(self.ports)
            with plain_client(port, timeout_s=TIMEOUT_S, decode_responses=True) as client:
                while not self._stopping.is_set() and self._ask(client, name, f"{port}", chance):
                    time.sleep(0.02 * chance.random())
            time.sleep(0.05)

    def _ask(self, client: redis.Redis, name: str, note: str, chance: random.Random) -> bool:
        """One operation; returns whether the connection may be used again."""
        kind, key, entered, arguments = self._choose(chance)
        called = time.monotonic()
        try:
            output: Any = client.execute_command(*arguments)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            text = str(error)
            self.refusals[text.split(":", maxsplit=1)[0][:60]] += 1
            refused = isinstance(error, redis.ResponseError) and "may have been applied" not in text
            if kind != "get" and not refused:
                self._note(Operation(name, kind, entered, None, called, None, key, note))
            return False
        returned = time.monotonic()
        if kind in {"setnx", "del"}:
            output = int(output)
        if kind == "set":
            output = "OK"
        self._note(Operation(name, kind, entered, output, called, returned, key, note))
        self.answered_at = returned
        return True

    def _choose(self, chance: random.Random) -> tuple[str, str, Any, list[Any]]:
        number = chance.randrange(KEYS)
        counter = number % 3 == 2
        key = f"{'n' if counter else 'k'}{number}"
        if chance.random() < 0.4:
            return "get", key, None, ["GET", key]
        if counter:
            amount = chance.randint(-4, 4)
            return "incrby", key, amount, ["INCRBY", key, amount]
        kind = chance.choice(("set", "set", "set", "append", "append", "setnx", "getset", "getdel"))
        if kind == "getdel":
            return kind, key, None, ["GETDEL", key]
        with self._lock:
            self._written += 1
            value = f"v{self._written}"
        return kind, key, value, [kind.upper(), key, value]

    def _note(self, operation: Operation) -> None:
        with self._lock:
            self.operations.append(operation)


class Troublemaker:
    """One act after the other, each undone before the next but one: at most one node is down or frozen at a time."""

    def __init__(self, cluster: LocalCluster, links: LinkProxies, seed: int) -> None:
        self.cluster = cluster
        self.links = links
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.cuts = 0

    def act(self) -> None:
        acts: tuple[Callable[[], None], ...] = (
            self.kill,
            self.freeze,
            self.isolate,
            self.cut_one_way,
            self.partition_and_kill,
            self.slow_link,
        )
        # Each act at least once, then any.
        unseen = [act for act in acts if not self.done[act.__name__]]
        chosen = self.chance.choice(unseen or acts)
        self.done[chosen.__name__] += 1
        chosen()
        time.sleep(0.3 + self.chance.random())

    def kill(self) -> None:
        name = self._someone()
        self.cluster.kill9(name)
        time.sleep(0.8 * self.chance.random())
        self.cluster.start(name)

    def freeze(self) -> None:
        name = self._someone()
        self.cluster.pause(name)
        time.sleep(0.5 + 2.0 * self.chance.random())
        self.cluster.resume(name)

    def isolate(self) -> None:
        self.links.isolate(self._someone(), self._mode())
        self._wait_and_heal()

    def cut_one_way(self) -> None:
        source, target = self.chance.choice(self.links.pairs)
        self.links.set(source, target, self._mode())
        self._wait_and_heal()

    def partition_and_kill(self) -> None:
        """The majority that is left loses one more for a moment, so nothing can be decided meanwhile."""
        alone, killed = self.chance.sample(sorted(self.cluster.nodes), 2)
        self.links.isolate(alone, self._mode())
        self.cluster.kill9(killed)
        self.cluster.start(killed)
        self._wait_and_heal()

    def slow_link(self) -> None:
        source, target = self.chance.choice(self.links.pairs)
        self.links.set(source, target, LinkMode.OPEN, delay_s=0.05 + 0.3 * self.chance.random())
        self._wait_and_heal()

    def _someone(self) -> str:
        leader = self.cluster.leader()
        if leader is not None and self.chance.random() < 0.5:
            return leader
        return self.chance.choice(sorted(self.cluster.nodes))

    def _mode(self) -> LinkMode:
        """Both kinds of cut in turn."""
        self.cuts += 1
        return LinkMode.SWALLOW if self.cuts % 2 else LinkMode.REFUSE

    def _wait_and_heal(self) -> None:
        time.sleep(0.5 + 2.0 * self.chance.random())
        self.links.heal()


@pytest.mark.timeout(90 + 2 * TROUBLE_S)
def test_a_history_under_kills_pauses_and_cuts_is_linearizable(tmp_path: Path) -> None:
    """And nothing acknowledged is lost, the replicas are equal, and work goes on soon after the trouble ends."""
    cluster = LocalCluster(tmp_path)
    try:
        with cluster.link_proxies() as links:
            cluster.start()
            cluster.wait_for_leader()
            recorder = Recorder([node.port for node in cluster.nodes.values()], SEED)
            troublemaker = Troublemaker(cluster, links, SEED)
            recorder.start()
            until = time.monotonic() + TROUBLE_S
            while time.monotonic() < until or len(troublemaker.done) < 6:
                troublemaker.act()
            healed = time.monotonic()
            cluster.wait_for(lambda: recorder.answered_at > healed, "no client was answered", PROGRESS_S_MAX)
            time.sleep(HEALED_S)
            recorder.stop()
            level = cluster.wait_until_level()
            assert len({info.digest for info in level.values()}) == 1, "the replicas differ"
            operations = recorder.operations + _final_reads(cluster)
            _demand_linearizable(operations, tmp_path)
            answered = sum(operation.known for operation in operations)
            report = (
                f"{answered} answered, {len(operations) - answered} unknown, {troublemaker.done}, {recorder.refusals}"
            )
            (tmp_path / "report.txt").write_text(report + "\n")
            assert answered > 50 * TROUBLE_S / 15, report
            swallowed = sum(links.bytes_of(*pair)[1] for pair in links.pairs)
            assert swallowed > 0, "no link ever swallowed anything: were the proxies used?"
            for name in cluster.nodes:
                assert cluster.terminate(name) == 0
    finally:
        cluster.close()
    assert not [node.name for node in cluster.nodes.values() if "Traceback" in node.log()]


def _final_reads(cluster: LocalCluster) -> list[Operation]:
    """Read every key through every node: whatever was acknowledged has to be explained by these, too."""
    operations = []
    for name, node in cluster.nodes.items():
        with plain_client(node.port, decode_responses=True) as client:
            for number in range(KEYS):
                key = f"{'n' if number % 3 == 2 else 'k'}{number}"
                called = time.monotonic()
                value: Any = client.get(key)
                operations.append(Operation(f"end {name}", "get", None, value, called, time.monotonic(), key))
    return operations


def _demand_linearizable(operations: list[Operation], directory: Path) -> None:
    operations.sort(key=lambda operation: operation.call_time)
    verdict = check(operations, RedisStrings(), steps_max=20_000_000).verdict
    if verdict is not Verdict.YES:
        path = directory / "history.jsonl"
        path.write_text("\n".join(write_jsonl(History(tuple(operations), "redis"))) + "\n")
        pytest.fail(f"the history is not linearizable ({verdict.value}): raftline check {path} --html picture.html")
