"""`raftline demo --sharded`: groups come and go and a node is killed while clients write, and nothing is lost.

The story is told in `ShardedDemo.run`; what is shown meanwhile is as in the other demo.
"""

import contextlib
import time
from collections.abc import Callable
from itertools import pairwise

from rich.console import Console

from raftline.cli.asking import Asker
from raftline.cli.demo import Demo
from raftline.cli.exit_codes import ExitCode
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.shard import ask_shards
from raftline.cli.sharded_load import ShardedLoad
from raftline.errors import OperatingError
from raftline.kv.shards_view import ShardReport

__all__ = ["SETTINGS", "ShardedDemo"]

SETTINGS: dict[str, object] = {"sharded": "on", "groups": 3}
"""What the cluster of this demo is started with."""

_CHANGE_S_MAX = 30.0
_RESUME_S_MAX = 30.0
_REPLY_S_MAX = 30.0


class ShardedDemo(Demo):
    """One run over a sharded cluster that was not started yet."""

    _about_refusals = "no write was acknowledged for at most"

    def __init__(
        self,
        cluster: LocalCluster,
        console: Console,
        *,
        write_s: float = 2.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(cluster, console, write_s=write_s, check=check)
        self._sharded_load = ShardedLoad(self._ports, writers=4, readers=2, timeout_s=_RESUME_S_MAX, prefix="demo")
        self._load = self._sharded_load
        self._trouble: list[str] = []

    def run(self) -> ExitCode:
        """Tell the story; return OK only if all of it held."""
        cluster, load = self._cluster, self._load
        with self._display():
            self._say("starting three servers of a sharded cluster")
            cluster.start()
            cluster.wait_for_leader()
            cluster.wait_for(lambda: self._is_settled(1, groups=3), "three groups", _CHANGE_S_MAX)
            self._say("three groups serve 16,384 slots; clients write, half of them as Redis Cluster clients")
            load.start()
            self._watch(self._write_s)

            self._change("a group is added", "ADDGROUP", groups=4)
            self._watch(self._write_s)

            victim = self._report().groups[0].leader or next(iter(cluster.nodes))
            cluster.kill9(victim)
            self._say(f"{victim} killed with SIGKILL in the middle of {load.writes} writes; it led group 1")
            resumed = self._watch_until(lambda: self._is_led_without(victim), _RESUME_S_MAX)
            if resumed:
                self._say("every group is led by another node")
            self._watch(self._write_s)
            self._change("a group is removed while that node is down", "REMOVEGROUP", 1, groups=3, without=victim)
            cluster.start(victim)
            self._say(f"{victim} restarted with its own directory")
            self._watch(self._write_s)
            load.stop()
            self._say("clients stopped; reading every key back through each node")
            self._watch_until(lambda: self._is_settled(3, groups=3), _CHANGE_S_MAX)
            findings = self._findings_sharded(resumed=resumed)
        return self._sum_up(findings, self._longest_silence_s())

    def _change(self, what: str, *words: object, groups: int, without: str = "") -> None:
        """Have the cluster changed under load, and wait until it is carried out."""
        began = time.monotonic()
        target = next(f"127.0.0.1:{node.port}" for node in self._cluster.nodes.values() if node.name != without)
        with Asker(target, _REPLY_S_MAX) as asker:
            number = int(asker.ask("RAFTLINE.SHARD", *words))
        self._say(f"{what}: configuration {number}")
        if self._watch_until(lambda: self._is_settled(number, groups=groups), _CHANGE_S_MAX):
            self._say(f"carried out after {time.monotonic() - began:.1f} s")
        else:
            self._trouble.append(f"configuration {number} was not carried out within {_CHANGE_S_MAX:.0f} s")

    def _report(self) -> ShardReport:
        for node in self._cluster.nodes.values():
            if node.running:
                with contextlib.suppress(OperatingError):
                    return ask_shards(f"127.0.0.1:{node.port}")
        return ask_shards(f"127.0.0.1:{self._ports[0]}")

    def _is_settled(self, number: int, *, groups: int) -> bool:
        try:
            report = self._report()
        except OperatingError:
            return False
        return len(report.groups) == groups and all(group.is_settled_at(number) for group in report.groups)

    def _is_led_without(self, victim: str) -> bool:
        try:
            return all(group.leader not in (None, victim) for group in self._report().groups)
        except OperatingError:
            return False

    def _longest_silence_s(self) -> float:
        times = self._load.acknowledged_times()
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    def _findings_sharded(self, *, resumed: bool) -> list[tuple[str, list[str]]]:
        """Return every promise with what speaks against it."""
        load = self._sharded_load
        missing = [fault for port in self._ports for fault in load.check_node(port)]
        held = load.contents(self._ports[0])
        there = sum(value is not None for value in held.values())
        kept = sum(group.keys for group in self._report().groups)
        left = [f"{there} keys are there, and the groups hold {kept}"] if kept != there else []
        return [
            ("every change was carried out under load", self._trouble),
            (f"every group had another leader within {_RESUME_S_MAX:.0f} s", [] if resumed else ["they were not"]),
            ("no read was stale, no reply wrong", load.wrong),
            (f"all {load.writes} acknowledged writes are present, asked through each node", missing),
            ("what was given away is gone: the groups hold each key once", left),
        ]
