"""What is applied between two looks at the clock: much where commands are quick, little where they take long."""

from typing import Any

from raftline.runtime.applying import Applying


class _Slow:
    """A replica and its clock: each entry takes as long as it is told."""

    def __init__(self, entries: int, each_s: float) -> None:
        self.left = self.backlog = entries
        self.has_callers = False
        self.each_s = each_s
        self.now = 0.0
        self.slices: list[int] = []
        me: Any = self
        self.applying = Applying(me, lambda: self.now, 512)

    @property
    def has_work(self) -> bool:
        return self.left > 0

    def apply_some(self, count_max: int, _now: float) -> int:
        count = min(count_max, self.left)
        self.slices.append(count)
        self.left -= count
        self.now += count * self.each_s
        return count


def test_quick_commands_are_applied_in_large_slices() -> None:
    """As many as are allowed, until nothing is left."""
    quick = _Slow(2000, 0.000001)
    quick.applying.go_on(0.0, 0.005, 512)
    assert quick.slices == [512, 512, 512, 464]


def test_slow_commands_leave_the_turn_in_time() -> None:
    """After the first slice no turn is much longer than it may be, whatever a command costs (A22)."""
    slow = _Slow(4000, 0.002)
    slow.applying.go_on(0.0, 0.005, 512)
    while slow.left:
        began = slow.now
        slow.applying.go_on(began, 0.005, 512)
        assert slow.now - began < 0.005 + 2 * slow.each_s


def test_slices_grow_again() -> None:
    """One slow command does not make all that follow dear."""
    one = _Slow(1, 0.5)
    one.applying.go_on(0.0, 0.005, 512)
    one.left = one.backlog = 100_000
    one.each_s = 0.000001
    one.slices.clear()
    one.applying.go_on(one.now, 1.0, 512)
    assert one.slices[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert max(one.slices) == 512


def test_a_crowd_has_its_share() -> None:
    """Where many groups take turns each applies less at a time."""
    quick = _Slow(100, 0.000001)
    quick.applying.go_on(0.0, 0.005, 32)
    assert quick.slices == [32, 32, 32, 4]


def test_callers_are_let_go_before_all_is_applied() -> None:
    """Who is answered proposes again while the rest is applied: a turn ends after some entries if somebody waits."""
    quick = _Slow(300, 0.000001)
    quick.has_callers = True
    quick.applying.go_on(0.0, 0.005, 64)
    assert quick.slices == [64, 64]
    quick.applying.go_on(quick.now, 0.005, 512)
    assert quick.slices == [64, 64, 128]
    quick.has_callers = False
    quick.backlog = quick.left
    quick.applying.go_on(quick.now, 0.005, 512)
    assert quick.left == 0
