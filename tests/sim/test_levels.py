"""What counts as growth."""

from raftline.sim.levels import Levels, Windows


def none(_measure: str) -> float:
    """Allow nothing."""
    return 0.0


def levels_of(*values: float, end: float = 12.0) -> Levels:
    """Return the levels of one measure, a value a minute from minute 1 on."""
    levels = Levels(Windows.of(end))
    for minute, value in enumerate(values, 1):
        levels.add(minute, {"n1 things": value})
    return levels


def test_what_rises_all_the_time_grows() -> None:
    """A steady rise is named with its highest values after the warm-up and at the end."""
    grown = levels_of(*range(100, 220, 10)).grown(none)
    assert [str(growth) for growth in grown] == ["n1 things grew from 150 to 210"]


def test_what_rises_only_at_first_is_level() -> None:
    """The warm-up, a sixth of the time, is not looked at."""
    assert not levels_of(1, *[50] * 11).grown(none)


def test_what_goes_up_and_down_is_level() -> None:
    """A saw's highest points are compared, wherever in their period the windows begin and end."""
    assert not levels_of(*[10, 40, 90] * 4).grown(none)


def test_a_tenth_is_level_and_more_is_not() -> None:
    """A tenth is chance, a little more is growth, unless it is allowed by name."""
    assert not levels_of(*[100] * 8, *[110] * 4).grown(none)
    assert levels_of(*[100] * 8, *[112] * 4).grown(none)
    assert not levels_of(*[100] * 8, *[112] * 4).grown(lambda measure: 3.0 if measure == "n1 things" else 0.0)


def test_what_appears_late_grew_from_nothing() -> None:
    """A measure that was not there after the warm-up counts as none then; the worst comes first."""
    levels = levels_of(*[100] * 8, *[150] * 4)
    levels.add(12.0, {"n1 new things": 7.0})
    assert [growth.measure for growth in levels.grown(none)] == ["n1 new things", "n1 things"]
