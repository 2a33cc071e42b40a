"""Patterns."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.commands.glob import compile_glob


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (b"", [b""], [b"a"]),
        (b"*", [b"", b"a", b"\x00\n"], []),
        (b"a?c", [b"abc", b"a\nc"], [b"ac", b"abbc"]),
        (b"a*c*e", [b"abcde", b"ace", b"acce"], [b"abc", b"ac"]),
        (b"*ab*ab", [b"abab", b"xababab"], [b"ab", b"aba"]),
        (b"[a-c]x", [b"ax", b"cx"], [b"dx", b"-x"]),
        (b"[c-a]x", [b"bx"], [b"dx"]),
        (b"[^a]", [b"b", b"\n"], [b"a", b""]),
        (b"[]", [], [b"", b"]"]),
        (b"[^]", [b"x"], [b""]),
        (b"[abc", [b"a"], [b"[abc"]),
        (b"[a\\]b]", [b"]", b"a"], [b"\\"]),
        (b"\\*", [b"*"], [b"x"]),
        (b"a\\", [b"a\\"], [b"a"]),
        (b"a.c", [b"a.c"], [b"abc"]),
    ],
)
def test_what_matches(pattern: bytes, yes: list[bytes], no: list[bytes]) -> None:
    """Each kind of wildcard matches what it says."""
    matches = compile_glob(pattern)
    assert all(matches(text) for text in yes)
    assert not any(matches(text) for text in no)


@given(st.binary(max_size=30))
def test_any_pattern_can_be_compiled(pattern: bytes) -> None:
    """No pattern raises."""
    compile_glob(pattern)(b"text")


@given(st.binary(max_size=12))
def test_an_escaped_text_matches_itself(text: bytes) -> None:
    """With a backslash before each byte nothing is a wildcard."""
    pattern = b"".join(b"\\" + text[index : index + 1] for index in range(len(text)))
    assert compile_glob(pattern)(text)
    assert not compile_glob(pattern)(text + b"x")


def test_no_pattern_takes_long() -> None:
    """A pattern with many stars against a long text is no trap."""
    matches = compile_glob(b"a*" * 60 + b"b")
    assert not matches(b"a" * 20_000)


def spelled_out(pattern: bytes, text: bytes) -> bool:
    """Say the same for patterns without classes and backslashes, one character after the other."""
    if not pattern:
        return not text
    if pattern[0] == 0x2A:
        return any(spelled_out(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in (0x3F, text[0]) and spelled_out(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=7), st.text("ab", max_size=7))
def test_stars_in_any_number_and_place(pattern: str, text: str) -> None:
    """A text matches iff there is some way to divide it among the stars."""
    assert compile_glob(pattern.encode())(text.encode()) is spelled_out(pattern.encode(), text.encode())


def calls_of(pattern: bytes, text: bytes) -> int:
    """Return how many functions are called until a text was compared with a pattern."""
    count = 0

    def on_call(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(on_call)
    try:
        compile_glob(pattern)(text)
    finally:
        sys.setprofile(None)
    return count


def test_the_work_for_a_pattern_goes_by_its_length() -> None:
    """A class costs the same whatever it leaves out, and nothing is made of what cannot match."""
    assert calls_of(b"[^a]" * 250, b"b" * 250) < 3 * calls_of(b"[ab]" * 250, b"b" * 250)
    assert calls_of(b"[^a]" * 1000, b"b" * 999) < 40 * 1000
    assert calls_of(b"x[^a]" * 8, b"") < 1000
