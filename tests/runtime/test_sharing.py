"""What groups hold together is bounded, and who holds most gives way; nobody is looked at who does nothing."""

from random import Random

from raftline.runtime.sharing import Part, Shared


class _Group:
    """One that lets go of all it is asked for, as far as it can, when it takes a turn."""

    def __init__(self, shared: Shared, asked: "list[_Group]") -> None:
        self.asked = asked
        self.fixed = 0
        """So much it cannot let go of."""
        self.size = self._leaving = 0
        self.part: Part = shared.join(self._give_way)

    def _give_way(self, excess: int) -> int:
        self.asked.append(self)
        self._leaving = min(excess, max(self.size - self.fixed, 0))
        return self._leaving

    def turn(self, more: int = 0) -> None:
        self.size += more - self._leaving
        self._leaving = 0
        if not self.part.low <= self.size < self.part.high:
            self.part.note(self.size)


class _Bench:
    def __init__(self, limit: int, count: int, at_once: float = float("inf")) -> None:
        self.shared = Shared(limit, at_once)
        self.asked: list[_Group] = []
        self.groups = [_Group(self.shared, self.asked) for _ in range(count)]

    def settle(self) -> list[_Group]:
        """Let everybody who was asked take a turn, until nobody was; return them in order."""
        told: list[_Group] = []
        while self.asked:
            told += self.asked
            turns, self.asked[:] = list(self.asked), []
            for group in turns:
                group.turn()
        return told


def test_a_group_alone_is_asked_as_soon_as_it_holds_too_much() -> None:
    """To the byte, however rarely it says what it holds."""
    bench = _Bench(100_000, 1)
    (group,) = bench.groups
    for _ in range(100_000 // 10):
        group.turn(10)
    assert bench.asked == []
    group.turn(1)
    assert bench.settle() == [group]
    assert (group.size, bench.shared.size, bench.shared.leaving) == (100_000, 100_000, 0)


def test_who_holds_most_gives_way_though_it_does_nothing() -> None:
    """The busy one has what the idle one does not need; who holds little is left alone."""
    bench = _Bench(1000, 3)
    idle, small, busy = bench.groups
    idle.turn(700)
    small.turn(50)
    for _ in range(30):
        busy.turn(10)
        assert {*bench.settle()} <= {idle}
    assert (idle.size, small.size, busy.size) == (650, 50, 300)


def test_who_cannot_give_way_is_asked_again_in_its_next_turn_and_the_others_meanwhile() -> None:
    """Nobody is asked twice for the same."""
    bench = _Bench(1000, 2)
    stuck, other = bench.groups
    stuck.fixed = 900
    stuck.turn(900)
    other.turn(200)
    assert bench.asked == [stuck, other]
    assert [*bench.settle()] == [stuck, other], "what the other promised is enough"
    assert (stuck.size, other.size) == (900, 100)
    other.turn(50)
    assert bench.settle()[-1] is other
    stuck.fixed = 0
    stuck.turn(300)
    assert bench.settle() == [stuck]
    assert bench.shared.size == 1000


def test_no_more_than_a_few_give_way_at_a_time() -> None:
    """The next one is asked when one of them is done; who cannot give way, or is gone, keeps nobody from it."""
    bench = _Bench(1000, 6, at_once=2)
    stuck, first, second, third, fourth, fifth = bench.groups
    stuck.fixed = 1000
    for group in bench.groups:
        group.size = 1000
    bench.shared.limit = 10_000
    for group in bench.groups:
        group.part.note(group.size)
    bench.shared.limit = 1000
    fifth.turn(20)
    assert bench.asked == [stuck, first, second]
    first.turn()
    assert bench.asked == [stuck, first, second, third]
    second.part.leave()
    third.turn()
    assert bench.asked == [stuck, first, second, third, fourth, fifth]


def test_who_leaves_holds_nothing() -> None:
    """Nor is what it had promised waited for, nor what it was granted."""
    bench = _Bench(100, 2)
    gone, left = bench.groups
    gone.part.grant(400)
    assert bench.shared.limit == 400
    gone.turn(300)
    left.turn(200)
    assert bench.asked == [gone]
    gone.part.leave()
    assert (bench.shared.size, bench.shared.leaving, bench.shared.limit, bench.shared.parts) == (200, 0, 100, 1)
    bench.asked.clear()
    left.turn(1)
    assert bench.settle() == [left]
    assert left.size == 100


def test_the_sum_is_within_its_bound_whatever_happens() -> None:
    """But for what was not said yet, a small part of it; and an idle group is asked for nothing that is not held."""
    random = Random(7)
    bench = _Bench(50_000, 40)
    for _ in range(20_000):
        group = random.choice(bench.groups[: random.choice((1, 5, 40))])
        group.turn(random.randrange(200))
        bench.settle()
        held = sum(each.size for each in bench.groups)
        assert abs(held - bench.shared.size) <= held / 64
        assert bench.shared.size <= 50_000
    assert bench.shared.leaving == 0


def test_those_that_do_nothing_cost_nothing() -> None:
    """A thousand groups that hold a little are not looked at while a busy one is asked again and again."""
    bench = _Bench(1_000_000, 1001)
    for group in bench.groups[1:]:
        group.turn(100)
    busy = bench.groups[0]
    for _ in range(3000):
        busy.turn(1000)
        assert {*bench.settle()} <= {busy}
    assert busy.size == 900_000
