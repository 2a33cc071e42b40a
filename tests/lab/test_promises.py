"""A broken promise says what was promised, what was seen, and where to look first."""

from raftline.lab.promises import PROMISES, BrokenPromise, rules_in
from raftline.lab.rules import RULES


def test_every_promise_points_to_known_rules() -> None:
    """No promise is without rules, and none names a rule that does not exist."""
    for name, promise in PROMISES.items():
        assert promise.rules, name
        for part in ("2A", "2B", "2C", "2D"):
            assert set(promise.rules) <= set(rules_in(name, part)) <= set(RULES), name


def test_suspects_come_first() -> None:
    """A test that aims at a rule names it before the usual ones, each once."""
    broken = BrokenPromise("one leader", "two", server=1, term=3, suspects=("C3", "A11"))
    assert broken.rules[:2] == ("C3", "A11")
    assert len(broken.rules) == len(set(broken.rules))
    assert str(broken) == "a term has at most one leader: two"


def test_what_is_likely_depends_on_the_part() -> None:
    """A missing agreement points to snapshots in 2D, and to repair of logs in 2B (D6, B15)."""
    assert rules_in("agreement", "2D")[0] == "D6"
    assert rules_in("agreement", "2B")[0] == "B15"
