"""Trouble for real processes: kills, pauses, and links that are cut, silenced, held back, slowed or reset.

Every kind of trouble comes once, in an order drawn from the seed, before any comes again; some overlap. Each ends
after a moment, and `heal` ends everything. A server that ends by itself is noticed.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from raftline.cli.link_proxy import LinkMode, LinkProxies
from raftline.cli.local_cluster import LocalCluster

__all__ = ["ProcessNemesis"]

_CUTS = (LinkMode.REFUSE, LinkMode.SWALLOW, LinkMode.HOLD)


class ProcessNemesis:
    """Troubles a cluster whose links have proxies; `counts` says how often each kind came, `events` when.

    Invariant: between two calls every node runs, none is paused, and every link is open.
    """

    def __init__(
        self, cluster: LocalCluster, proxies: LinkProxies, seed: int, *, lasts_s: tuple[float, float] = (0.2, 2.0)
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.events: list[str] = []
        self._cluster = cluster
        self._proxies = proxies
        self._random = random.Random(f"nemesis/{seed}")  # noqa: S311  guards nothing
        self._lasts_s = lasts_s
        self._began = time.monotonic()
        self._deck: list[Callable[[], AbstractContextManager[None]]] = []
        self._struck: set[str] = set()

    @property
    def kinds(self) -> int:
        """How many strikes bring every kind at least once."""
        return len(self._all())

    def strike(self) -> None:
        """Bring one trouble, sometimes a second one on top, wait, end both, and wait until all serve again."""
        with ExitStack() as troubles:
            for _ in range(2 if self._random.random() < 0.3 else 1):
                troubles.enter_context(self._draw()())
                time.sleep(self._random.uniform(*self._lasts_s))
        self._struck.clear()
        for name in self._cluster.nodes:
            self._cluster.wait_until_serving(name)
        time.sleep(self._random.uniform(0, self._lasts_s[1] / 2))

    def story(self) -> str:
        """Return what was done, a line each, to be read beside a failure."""
        return "\n".join(self.events)

    def heal(self) -> None:
        """End everything: links open, nodes resumed and started."""
        self._proxies.heal()
        for name, node in self._cluster.nodes.items():
            self._cluster.resume(name)
            if not node.running:
                self._cluster.start(name)

    def died(self) -> list[str]:
        """Return, in words, which servers ended without having been killed, or wrote a traceback."""
        found = []
        for name, node in self._cluster.nodes.items():
            code = node.process.poll() if node.process is not None else None
            if code is not None:
                found.append(f"{name} ended by itself with exit code {code}:\n{node.log()[-3000:]}")
            elif "Traceback" in node.log():
                found.append(f"{name} wrote a traceback:\n{node.log()[-3000:]}")
        return found

    def _draw(self) -> Callable[[], AbstractContextManager[None]]:
        if not self._deck:
            self._deck = self._all()
            self._random.shuffle(self._deck)
        return self._deck.pop()

    def _all(self) -> list[Callable[[], AbstractContextManager[None]]]:
        """Return every kind of trouble, the more telling ones several times."""
        isolations = [lambda mode=mode: self._isolate(mode) for mode in _CUTS]
        one_ways = [lambda mode=mode: self._cut_one_way(mode) for mode in _CUTS]
        between = [lambda mode=mode: self._cut_between(mode) for mode in _CUTS]
        return [
            self._kill, self._kill, self._kill_all, self._pause, self._pause, self._pause_two,
            self._slow, self._reset, *isolations, *one_ways, *between,
        ]  # fmt: skip

    def _note(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        self.events.append(f"{time.monotonic() - self._began:8.3f} s  {kind}: {text}")

    def _victims(self, count: int = 1) -> list[str]:
        """Choose nodes that nothing else was done to, the leader more often than chance would."""
        free = [name for name in self._cluster.nodes if name not in self._struck]
        self._random.shuffle(free)
        if self._random.random() < 0.5 and (leader := self._cluster.leader()) in free:
            assert leader is not None
            free.sort(key=lambda name: name != leader)
        chosen = free[:count]
        self._struck.update(chosen)
        return chosen

    @contextmanager
    def _kill(self) -> Iterator[None]:
        victims = self._victims()
        self._note("kill", " ".join(victims))
        with self._killed(victims):
            yield

    @contextmanager
    def _kill_all(self) -> Iterator[None]:
        victims = self._victims(len(self._cluster.nodes))
        self._note("kill all", " ".join(victims))
        with self._killed(victims):
            yield

    @contextmanager
    def _killed(self, victims: list[str]) -> Iterator[None]:
        self._cluster.kill9(*victims) if victims else None
        try:
            yield
        finally:
            for name in victims:
                self._cluster.start(name, wait=False)

    @contextmanager
    def _pause(self, count: int = 1) -> Iterator[None]:
        victims = self._victims(count)
        self._note("pause" if count == 1 else "pause two", " ".join(victims))
        for name in victims:
            self._cluster.pause(name)
        try:
            yield
        finally:
            for name in victims:
                self._cluster.resume(name)

    def _pause_two(self) -> AbstractContextManager[None]:
        return self._pause(2)

    @contextmanager
    def _links(self, pairs: list[tuple[str, str]], mode: LinkMode, delay_s: float = 0.0) -> Iterator[None]:
        self._proxies.set(pairs, mode, delay_s=delay_s)
        try:
            yield
        finally:
            self._proxies.set(pairs, LinkMode.OPEN)

    @contextmanager
    def _isolate(self, mode: LinkMode) -> Iterator[None]:
        victim = self._any_node()
        self._note(f"isolate, {mode.value}", victim)
        with self._links(self._proxies.around(victim), mode):
            yield

    @contextmanager
    def _cut_one_way(self, mode: LinkMode) -> Iterator[None]:
        """Cut a node's way out to all others, or theirs to it: it hears and is not heard, or the other way round."""
        victim, side = self._any_node(), self._random.randrange(2)
        self._note(f"one way, {mode.value}", f"{'from' if side == 0 else 'to'} {victim}")
        with self._links([pair for pair in self._proxies.pairs if pair[side] == victim], mode):
            yield

    @contextmanager
    def _cut_between(self, mode: LinkMode) -> Iterator[None]:
        one, other = self._random.sample(sorted(self._cluster.nodes), 2)
        self._note(f"between two, {mode.value}", f"{one} {other}")
        with self._links([(one, other), (other, one)], mode):
            yield

    @contextmanager
    def _slow(self) -> Iterator[None]:
        delay_s = self._random.uniform(0.002, 0.1)
        self._note("slow", f"every link by {delay_s * 1000:.0f} ms or more")
        with self._links(self._proxies.pairs, LinkMode.OPEN, delay_s):
            yield

    @contextmanager
    def _reset(self) -> Iterator[None]:
        self._note("reset", "every link, again and again")
        for _ in range(5):
            self._proxies.reset(self._proxies.pairs)
            time.sleep(self._random.uniform(0, self._lasts_s[1] / 5))
        yield

    def _any_node(self) -> str:
        """Choose a node, the leader more often than chance would."""
        leader = self._cluster.leader() if self._random.random() < 0.5 else None
        return leader or self._random.choice(sorted(self._cluster.nodes))
