"""READONLY, READWRITE and CLIENT READS: what is asked of the node, and what is answered without it."""

from typing import TYPE_CHECKING

import pytest

from raftline.errors import TooStale

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("READONLY", ("stale", 0.0)),
        ("CLIENT READS STALE", ("stale", 0.0)),
        ("client reads lease", ("lease", 0.0)),
        ("CLIENT READS BOUNDED 1500", ("bounded", 1.5)),
        ("CLIENT READS LINEARIZABLE", ("linearizable", 0.0)),
    ],
)
def test_each_promise_has_a_name(conversation: "Conversation", words: str, asked: tuple[str, float]) -> None:
    """It is chosen for the connection, and asked of the node with every read from then on."""
    assert conversation.ask(b"GET", b"a") == b"$-1\r\n"
    assert conversation.ask(*words.encode().split()) == b"+OK\r\n"
    conversation.ask(b"GET", b"a")
    conversation.ask(b"EXISTS", b"a")
    assert conversation.node.reads == [("linearizable", 0.0), asked, asked]


@pytest.mark.parametrize("words", ["READWRITE", "RESET"])
def test_it_can_be_taken_back(conversation: "Conversation", words: str) -> None:
    """To what the server's settings say."""
    conversation.connection.client.default_reads = "lease"
    conversation.ask(b"READONLY")
    conversation.ask(*words.encode().split())
    conversation.ask(b"GET", b"a")
    assert conversation.node.reads == [("lease", 0.0)]


@pytest.mark.parametrize("words", ["CLIENT READS FRESH", "CLIENT READS STALE 5", "CLIENT READS BOUNDED 1 2"])
def test_other_words_are_refused(conversation: "Conversation", words: str) -> None:
    """And change nothing."""
    assert conversation.ask(*words.encode().split()) == b"-ERR syntax error\r\n"
    assert conversation.connection.client.reads == "linearizable"


@pytest.mark.parametrize("bound", [b"0", b"-1", b"soon", b"1.5"])
def test_a_bound_is_a_number_of_milliseconds(conversation: "Conversation", bound: bytes) -> None:
    """At least one of them."""
    assert conversation.ask(b"CLIENT", b"READS", b"BOUNDED", bound).startswith(b"-ERR ")


def test_a_bound_has_to_be_given(conversation: "Conversation") -> None:
    """Said at once, not by every read that follows."""
    missing = b"-ERR a bound is missing: CLIENT READS BOUNDED milliseconds\r\n"
    assert conversation.ask(b"CLIENT", b"READS", b"BOUNDED") == missing
    assert conversation.connection.client.reads == "linearizable"


def test_reads_before_it_keep_their_promise(conversation: "Conversation") -> None:
    """Those that were sent before wait for their own proof, also in one pipeline."""
    sent = b"".join(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        for words in ([b"GET", b"a"], [b"READONLY"], [b"GET", b"a"])
    )
    assert conversation.raw(sent) == b"$-1\r\n+OK\r\n$-1\r\n"
    assert conversation.node.reads == [("linearizable", 0.0), ("stale", 0.0)]


def test_a_stale_read_goes_by_the_logs_own_time(conversation: "Conversation", clock: "FakeClock") -> None:
    """A key whose time has come is still seen until the log says so: no leader is asked to say it."""
    conversation.ask(b"SET", b"a", b"1", b"PX", b"100")
    clock.now_ms += 1000
    conversation.ask(b"READONLY")
    assert conversation.ask(b"GET", b"a") == b"$1\r\n1\r\n"
    assert len(conversation.node.log) == 1
    conversation.ask(b"READWRITE")
    assert conversation.ask(b"GET", b"a") == b"$-1\r\n"


def test_a_copy_that_is_too_old_is_told(conversation: "Conversation") -> None:
    """With its age and the bound."""
    conversation.ask(b"CLIENT", b"READS", b"BOUNDED", b"100")
    assert conversation.send(b"GET a\r\n") == b""
    conversation.node.answer(TooStale("a leader last vouched for this copy as of 0.250 s ago, the bound is 0.1 s"))
    assert conversation.take() == (
        b"-CLUSTERDOWN the copy that was asked is too old: a leader last vouched for this copy as of 0.250 s ago, "
        b"the bound is 0.1 s\r\n"
    )
