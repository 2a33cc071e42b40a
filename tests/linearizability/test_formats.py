"""Tests of the readers for other tools' recordings."""

import pytest

from raftline.linearizability.formats import READERS, guess_format, read_jepsen, read_porcupine_kv
from raftline.linearizability.history import HistoryError, Operation

JEPSEN = """\
INFO  jepsen.core - Worker 0 starting
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:invoke\t:write\t4
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - 1\t:info\t:write\t:timed-out
INFO  jepsen.util - 2\t:invoke\t:cas\t[4 0]
INFO  jepsen.util - 2\t:ok\t:cas\t[4 0]
INFO  jepsen.util - 2\t:invoke\t:cas\t[1 2]
INFO  jepsen.util - 2\t:fail\t:cas\t[1 2]
INFO  jepsen.util - 2\t:invoke\t:read\tnil
INFO  jepsen.util - 2\t:fail\t:read\t:timed-out
INFO  jepsen.util - 2\t:invoke\t:cas\t[0 1]
INFO  jepsen.util - 2\t:fail\t:cas\t:connection-refused
INFO  jepsen.util - 2\t:invoke\t:cas\t[7 8]
INFO  jepsen.util - 2\t:fail\t:cas\t:timed-out
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 3\t:invoke\t:write\t5
"""


def test_a_jepsen_log_is_read() -> None:
    """Answers, lost answers and failed comparisons are kept with line numbers as times; what failed is left out."""
    history = read_jepsen(JEPSEN.splitlines())
    assert history.model == "register"
    assert history.operations == (
        Operation(0, "read", None, None, 2, 4),
        Operation(1, "write", 4, None, 3, None),
        Operation(2, "cas", (4, 0), output=True, call_time=6, return_time=7),
        Operation(2, "cas", (1, 2), output=False, call_time=8, return_time=9),
        Operation(2, "read", None, None, 10, None),
        Operation(2, "cas", (7, 8), None, 14, None),
        Operation(3, "write", 5, None, 17, None),
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["jepsen.util - 1 :ok :read 3"], "line 1: process 1 ends a read, but it has begun nothing"),
        (
            ["jepsen.util - 1 :invoke :write 3", "jepsen.util - 1 :ok :read 3"],
            "line 2: process 1 ends a read, but it has begun a write, invoked on line 1",
        ),
        (
            ["jepsen.util - 1 :invoke :write 3", "jepsen.util - 1 :invoke :read nil"],
            "line 2: process 1 invokes read, but its operation of line 1 has not ended",
        ),
        (["jepsen.util - 1 :invoke :write x"], "line 1: the value of :write must be nil or an integer, found x"),
        (["jepsen.util - 1 :invoke :cas 3"], r"line 1: the value of :cas must be \[old new\], found 3"),
    ],
)
def test_a_jepsen_log_that_makes_no_sense_is_refused(lines: list[str], words: str) -> None:
    """Events that do not pair up, and values of the wrong shape, are named with their line."""
    with pytest.raises(HistoryError, match=words):
        read_jepsen(lines)


KV = """\
{:process 0, :type :invoke, :f :append, :key "a", :value "x 0 0 y"}
{:process 1, :type :invoke, :f :get, :key "a", :value nil}
{:process 0, :type :ok, :f :append, :key "a", :value "x 0 0 y"}
{:process 1, :type :ok, :f :get, :key "a", :value "x 0 0 y"}

{:process 0, :type :invoke, :f :put, :key "b", :value ""}
{:process 0, :type :info, :f :put, :key "b", :value :timed-out}
{:process 1, :type :invoke, :f :get, :key "a", :value nil}
{:process 1, :type :fail, :f :get, :key "a", :value :timed-out}
{:process 1, :type :invoke, :f :get, :key "a", :value nil}
"""


def test_a_key_value_recording_is_read() -> None:
    """Gets, puts and appends with their keys; what never ended has an unknown outcome."""
    history = read_porcupine_kv(KV.splitlines())
    assert history.model == "kv"
    assert history.operations == (
        Operation(0, "append", "x 0 0 y", None, 1, 3, "a"),
        Operation(1, "get", None, "x 0 0 y", 2, 4, "a"),
        Operation(0, "put", "", None, 6, None, "b"),
        Operation(1, "get", None, None, 10, None, "a"),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{:process 0, :type :invoke}", "line 1: not an event of a key/value recording: {:process 0, :type :invoke}"),
        ('{:process 0, :type :invoke, :f :put, :key "a", :value nil}', "line 1: :put needs a value in quotes"),
        ('{:process 0, :type :ok, :f :get, :key "a", :value "x"}', "line 1: process 0 ends a get"),
    ],
)
def test_a_key_value_recording_that_makes_no_sense_is_refused(line: str, words: str) -> None:
    """Nothing is skipped in a file that holds only events."""
    with pytest.raises(HistoryError) as caught:
        read_porcupine_kv([line])
    assert words in str(caught.value)


def test_the_format_is_guessed_from_the_first_lines() -> None:
    """The three formats are told apart, and JSON Lines is what a doubtful file is read as (and refused by)."""
    guesses = [guess_format(lines) for lines in (JEPSEN.splitlines(), KV.splitlines(), ["", '{"client": 1}'], ["?"])]
    assert guesses == ["jepsen", "porcupine-kv", "jsonl", "jsonl"]
    assert set(guesses) == set(READERS)
