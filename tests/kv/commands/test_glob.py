"""Patterns."""

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
