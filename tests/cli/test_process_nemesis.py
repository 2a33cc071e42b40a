"""Trouble for processes: every kind comes, ends, and leaves nothing; shown on a cluster that only takes notes."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftline.cli.link_proxy import LinkMode, LinkProxies
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.process_nemesis import ProcessNemesis

NAMES = ("n1", "n2", "n3")


class NoteTaker:
    """Stands for a cluster and its links: what is running, paused, and not open."""

    def __init__(self) -> None:
        self.paused: set[str] = set()
        self.modes: dict[tuple[str, str], tuple[LinkMode, float]] = {}
        self.pairs = [(source, target) for source in NAMES for target in NAMES if source != target]
        self.nodes = {
            name: SimpleNamespace(running=True, process=SimpleNamespace(poll=lambda: None), log=lambda: "")
            for name in NAMES
        }
        self.worst: dict[str, int] = {"down": 0, "paused": 0, "cut": 0}
        self.resets = 0

    def _note(self) -> None:
        down = sum(not node.running for node in self.nodes.values())
        for what, count in (("down", down), ("paused", len(self.paused)), ("cut", len(self.modes))):
            self.worst[what] = max(self.worst[what], count)

    def is_whole(self) -> bool:
        return all(node.running for node in self.nodes.values()) and not self.paused and not self.modes

    def kill9(self, *names: str) -> None:
        for name in names:
            self.nodes[name].running = False
        self._note()

    def start(self, name: str, *, wait: bool = True) -> None:  # noqa: ARG002
        assert not self.nodes[name].running
        self.nodes[name].running = True

    def pause(self, name: str) -> None:
        assert self.nodes[name].running
        self.paused.add(name)
        self._note()

    def resume(self, name: str) -> None:
        self.paused.discard(name)

    def leader(self) -> str:
        return "n2"

    def wait_until_serving(self, name: str) -> None:
        assert self.nodes[name].running

    def around(self, node: str) -> list[tuple[str, str]]:
        return [pair for pair in self.pairs if node in pair]

    def set(self, pairs: list[tuple[str, str]], mode: LinkMode, *, delay_s: float = 0.0) -> None:
        for pair in pairs:
            self.modes[pair] = (mode, delay_s)
            if mode is LinkMode.OPEN and not delay_s:
                del self.modes[pair]
        self._note()

    def reset(self, pairs: list[tuple[str, str]]) -> None:
        assert pairs == self.pairs
        self.resets += 1

    def heal(self) -> None:
        self.modes.clear()


def nemesis_of(notes: NoteTaker, seed: int = 1) -> ProcessNemesis:
    """Return a nemesis that does not wait."""
    return ProcessNemesis(cast("LocalCluster", notes), cast("LinkProxies", notes), seed, lasts_s=(0.0, 0.0))


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_comes_and_leaves_the_cluster_whole(seed: int) -> None:
    """As many strikes as there are kinds bring all of them; after each strike nothing of it is left."""
    notes = NoteTaker()
    nemesis = nemesis_of(notes, seed)
    for _ in range(nemesis.kinds):
        nemesis.strike()
        assert notes.is_whole()
    assert len(nemesis.counts) == 15
    assert notes.worst == {"down": 3, "paused": notes.worst["paused"], "cut": 6}
    assert notes.worst["paused"] >= 2
    assert notes.resets >= 5
    assert nemesis.story().count("\n") == sum(nemesis.counts.values()) - 1
    assert nemesis.died() == []


def test_a_seed_gives_the_same_course_of_events() -> None:
    """Kinds and victims, not the times."""
    stories = []
    for _ in range(2):
        nemesis = nemesis_of(NoteTaker(), 7)
        for _ in range(20):
            nemesis.strike()
        stories.append([event.split(" s  ")[1] for event in nemesis.events])
    assert stories[0] == stories[1]


def test_healing_ends_everything() -> None:
    """Also what a strike that was broken off left behind."""
    notes = NoteTaker()
    notes.kill9("n1")
    notes.pause("n2")
    notes.set(notes.pairs, LinkMode.HOLD)
    nemesis_of(notes).heal()
    assert notes.is_whole()


def test_a_server_that_ended_by_itself_is_told() -> None:
    """With its exit code and the end of its log; a traceback is told too."""
    notes = NoteTaker()
    broken: Any = notes.nodes["n1"]
    broken.process = SimpleNamespace(poll=lambda: 70)
    broken.log = lambda: "stops: SafetyViolation"
    notes.nodes["n3"].log = lambda: "Traceback (most recent call last)"
    told = nemesis_of(notes).died()
    assert told == [
        "n1 ended by itself with exit code 70:\nstops: SafetyViolation",
        "n3 wrote a traceback:\nTraceback (most recent call last)",
    ]
