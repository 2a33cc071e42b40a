"""Turns of groups: one each, what they said leaves together, and nobody is held up for long."""

from collections.abc import Callable
from typing import Any

from raftline.runtime.turns import Turns


class _Bench:
    """A loop whose clock is moved by the groups that take turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.scheduled: list[Callable[[], None]] = []
        self.said: list[str] = []
        self.is_held = False
        world: Any = self
        self.turns = Turns(world, world)
        self.turns.writer = world

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.scheduled.append(callback)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.said.append(str(context["exception"]))

    def flush(self) -> None:
        self.said.append("flush")

    def hold(self) -> None:
        self.is_held = True
        self.said.append("hold")

    def let_go(self) -> None:
        self.is_held = False
        self.said.append("let go")

    def group(self, name: str, takes_s: float = 0.0) -> Callable[[], None]:
        def turn() -> None:
            self.said.append(name)
            self.now += takes_s

        return turn

    def run(self) -> list[str]:
        """Let the loop turn once; return what happened."""
        self.said.clear()
        scheduled, self.scheduled = self.scheduled, []
        for callback in scheduled:
            callback()
        return list(self.said)


def test_what_groups_say_leaves_together() -> None:
    """One run for all that asked, one flush, and their writes are begun together."""
    bench = _Bench()
    for name in "abc":
        bench.turns.add(bench.group(name))
    assert len(bench.scheduled) == 1
    assert bench.run() == ["hold", "a", "b", "c", "let go", "flush"]
    bench.turns.add(bench.group("a"))
    assert bench.run() == ["a", "flush"], "one alone writes at once"


def test_what_one_group_says_leaves_before_its_turn_is_over() -> None:
    """Whoever gets it works meanwhile; of several groups it leaves together, and of a node that failed not at all."""
    bench = _Bench()

    def turn() -> None:
        bench.said.append("says")
        bench.turns.flush_early()
        bench.said.append("applies")

    bench.turns.add(turn)
    assert bench.run() == ["says", "flush", "applies", "flush"]
    bench.turns.add(turn)
    bench.turns.add(turn)
    assert bench.run() == ["hold", "says", "applies", "says", "applies", "let go", "flush"]
    bench.turns.stop()
    bench.turns.add(turn)
    assert bench.run() == ["says", "applies"]


def test_slow_turns_leave_the_loop_to_others_in_between() -> None:
    """After a few milliseconds the rest waits for the loop's next turn, where it comes before whoever asked since."""
    bench = _Bench()
    for name in "abcd":
        bench.turns.add(bench.group(name, takes_s=0.003))
    assert bench.run() == ["hold", "a", "b", "let go", "flush"]
    bench.turns.add(bench.group("e"))
    assert len(bench.scheduled) == 1
    assert bench.run() == ["hold", "c", "d", "let go", "flush"]
    assert bench.run() == ["e", "flush"]


def test_a_crowd_shares_what_one_alone_may_do() -> None:
    """So that a turn of all groups is no longer than one group's."""
    bench = _Bench()
    seen: list[tuple[int, float]] = []

    def look() -> None:
        seen.append((bench.turns.share_of(512, 32), bench.turns.apply_s))

    bench.turns.add(look)
    bench.run()
    for _ in range(20):
        bench.turns.add(look)
    bench.run()
    assert seen == [(512, 0.005)] + [(32, 0.00025)] * 20
    assert bench.turns.share_of(512, 32) == 512


def test_a_failed_node_says_nothing_more() -> None:
    """What was queued before it failed does not leave (F22, E8)."""
    bench = _Bench()

    def fail() -> None:
        bench.turns.stop()

    bench.turns.add(fail)
    assert bench.run() == []


def test_a_turn_that_raises_holds_nobody_up() -> None:
    """Whoever asks for a turn may call somebody else's code: the others take theirs, and are written."""
    bench = _Bench()

    def fail() -> None:
        raise ValueError("somebody else's fault")

    for turn in (bench.group("a"), fail, bench.group("b")):
        bench.turns.add(turn)
    assert bench.run() == ["hold", "a", "somebody else's fault", "b", "let go", "flush"]
    bench.turns.add(fail)
    assert bench.run() == ["somebody else's fault", "flush"]
