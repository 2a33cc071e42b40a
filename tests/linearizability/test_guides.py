"""Tests of what the guides claim; that the claims are safe is shown by the twin in test_checker."""

from raftline.linearizability.guides import NOTHING, UNREAD, Role, counter_guide, text_guide, unread_text, value_guide
from raftline.linearizability.model import Guide


def test_the_symbols_say_what_they_are() -> None:
    """Who meets one in a picture or a debugger can read it."""
    assert (repr(NOTHING), repr(UNREAD)) == ("nothing", "a value that nobody asks for")


def test_values_nobody_asks_for_are_one() -> None:
    """Written values that no operation tells apart are forgotten; those that somebody needs or compares are not."""
    guide = value_guide([Role(makes=1), Role(makes=2), Role(needs=2), Role(compares=3)], start=None, unread=UNREAD)
    assert [guide.tells(value) for value in (1, 2, 3)] == [0, 0b100, 0b1000]
    assert guide.forget(1) is UNREAD


def test_a_value_serves_its_readers_and_names_its_sources() -> None:
    """Leaving a value loses its readers, unless an operation that makes it is left."""
    roles = [Role(makes=1), Role(needs=1), Role(needs=1, makes=2), Role(needs=2, makes=1, known=False)]
    guide = value_guide(roles, start=None, unread=UNREAD)
    assert guide.serves(1) == 0b110
    assert guide.sources(1) == 0b1001
    assert guide.serves(2) == 0


def test_a_value_never_made_refutes_its_reader() -> None:
    """A read of what nobody wrote cannot be explained; a read of the initial value can."""
    guide = value_guide([Role(needs=7), Role(needs=None), Role(makes=1)], start=None, unread=UNREAD)
    assert guide.refuted == 0b001


def test_writes_of_unread_values_are_inert_only_where_nothing_compares() -> None:
    """A failed comparison is accepted at an unread value and maybe not elsewhere, so it takes that promise away."""
    writes = [Role(makes=1), Role(makes=2), Role(needs=2)]
    guide = value_guide(writes, start=None, unread=UNREAD)
    assert (guide.inert, guide.blind) == (0b001, 0b011)
    guide = value_guide([*writes, Role(compares=5)], start=None, unread=UNREAD)
    assert (guide.inert, guide.blind) == (0, 0)


def test_a_total_that_only_grows_loses_smaller_answers() -> None:
    """From a total on, only answers at it or above can come; with subtractions nothing is claimed."""
    guide = counter_guide([5, None, 3, 5], grows=True)
    assert [guide.serves(total) for total in (0, 3, 4, 5, 6)] == [0b1101, 0b1101, 0b1001, 0b1001, 0]
    assert counter_guide([5, 3], grows=False).serves(0) == 0


def _texts(*roles: Role, poorest: bool = True) -> Guide:
    return text_guide(roles, text_of=str, unread=lambda _state: "!", unread_is_poorest=poorest)


def test_a_text_with_one_history_depends_on_each_of_its_parts() -> None:
    """Each append of the only way to a text is needed on that way, and each text on the way serves its readers."""
    guide = _texts(Role(makes="a"), Role(adds="b"), Role(adds="c"), Role(needs="abc"), Role(needs="ab"))
    assert list(guide.depends) == [0b11000, 0b11000, 0b01000, 0, 0]
    assert [guide.serves(text) for text in ("a", "ab", "abc", "b", "")] == [0b11000, 0b11000, 0b01000, 0, 0]
    assert guide.refuted == 0


def test_a_text_that_starts_from_nothing_is_served_by_the_start() -> None:
    """Appends to the initial text: leaving it by a put loses every reader of what grows from it."""
    guide = _texts(Role(adds="a"), Role(needs="a"), Role(makes="b"))
    assert guide.serves("") == 0b010
    assert list(guide.depends) == [0b010, 0, 0]


def test_a_text_with_two_histories_claims_nothing() -> None:
    """Where the same text can come about in two ways, no operation is said to be needed."""
    guide = _texts(
        Role(adds="a"), Role(adds="a"), Role(adds="b"), Role(makes="ab"), Role(needs="aab"), Role(needs="ab")
    )
    assert list(guide.depends) == [0] * 6
    assert (guide.serves("a"), guide.serves("ab"), guide.refuted) == (0, 0, 0)


def test_neighbouring_texts_do_not_confuse_each_other() -> None:
    """Texts with long common beginnings keep their own ways: what is unclear in one stays clear in the other."""
    guide = _texts(
        Role(makes="aa"), Role(adds="b"), Role(adds="c"), Role(adds="c"), Role(needs="aab"), Role(needs="aac"),
        Role(needs="aabx"),
    )  # fmt: skip
    assert guide.depends[0] == 0b0010000
    assert guide.depends[1] == 0b0010000
    assert guide.refuted == 0b1000000


def test_what_leads_to_texts_nobody_asks_for_is_inert() -> None:
    """An append that occurs in no text asked for, and a put no such text begins with, open no possibility."""
    roles = [Role(adds="x"), Role(adds="b"), Role(makes="z"), Role(makes="a"), Role(needs="ab")]
    guide = _texts(*roles)
    assert (guide.inert, guide.blind) == (0b00101, 0b01100)
    guide = _texts(*roles, poorest=False)
    assert (guide.inert, guide.blind) == (0, 0)


def test_a_text_tells_its_readers_only_while_it_may_grow_into_theirs() -> None:
    """Who asks for a text is asked by all its beginnings, and by nothing else."""
    guide = _texts(Role(needs="ab"), Role(compares="abc"), Role(needs="b"))
    assert [guide.tells(text) for text in ("", "a", "ab", "abc", "b", "c", "abd")] == [7, 3, 3, 2, 4, 0, 0]


def test_the_unread_text_begins_no_text_asked_for() -> None:
    """It can stand for all of them, however it grows."""
    roles = [Role(needs="\x00a"), Role(compares="\x01"), Role(needs=None), Role(needs="")]
    assert unread_text(roles) == "\x02"
    assert unread_text([]) == "\x00"
