"""Draws: the same from the same seed, all of them possible."""

from raftline.kv.values.draws import Draws


def test_a_seed_says_it_all() -> None:
    """Two streams with one seed are equal, whatever the process; the first numbers are those of SplitMix64."""
    first, second = Draws(1234567), Draws(1234567)
    assert [first.below(2**64) for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [second.below(2**64) for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_number_comes() -> None:
    """Numbers are in [0, end), none is left out, and fresh streams differ."""
    draws = Draws.fresh()
    assert {draws.below(10) for _ in range(2000)} == set(range(10))
    assert Draws.fresh().below(2**64) != Draws.fresh().below(2**64)
