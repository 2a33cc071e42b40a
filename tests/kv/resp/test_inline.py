"""Lines typed by hand."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.resp.inline import split_inline


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b"  \t ", []),
        (b"SET k v", [b"SET", b"k", b"v"]),
        (b'SET k "a b"', [b"SET", b"k", b"a b"]),
        (b'"\\x41\\n\\"\\q"', [b'A\n"q']),
        (b"'it\\'s' x", [b"it's", b"x"]),
        (b"''", [b""]),
        (b'pre"quoted" x', [b"prequoted", b"x"]),
        (b'"open', None),
        (b"'open", None),
        (b'"a"b', None),
        (b'"a\\', None),
    ],
)
def test_words_and_quotes(line: bytes, words: list[bytes] | None) -> None:
    """Quotes keep words together, escapes mean what they mean in Redis, open quotes are refused."""
    assert split_inline(line) == words


@given(st.binary(max_size=60))
def test_any_line_is_words_or_refused(line: bytes) -> None:
    """No line raises, and no more comes out than went in."""
    words = split_inline(line)
    assert words is None or sum(map(len, words)) <= len(line)


@given(st.lists(st.text("abc '", min_size=1, max_size=6), max_size=4))
def test_what_a_shell_quotes_is_read_back(words: list[str]) -> None:
    """Words in double quotes come back as they were."""
    line = " ".join(f'"{word}"' for word in words)
    assert split_inline(line.encode()) == [word.encode() for word in words] == [w.encode() for w in shlex.split(line)]
