"""What the clients read from redis-py, and give to it."""

from typing import Any

import pytest
import redis.exceptions as theirs
from redis.retry import Retry

from raftline.client.call import Outcome
from raftline.client.nodes import Member
from raftline.client.wire import failure_of, members_of, node_options, once, words_of


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (theirs.ConnectionError("closed"), Outcome.LOST),
        (theirs.TimeoutError("late"), Outcome.LOST),
        (ConnectionResetError("reset"), Outcome.LOST),
        (theirs.InvalidResponse("garbage"), Outcome.LOST),
        (theirs.ClusterDownError("no leader is known: the command did not take effect"), Outcome.REFUSED),
        (theirs.ClusterDownError("no outcome in time: the command may have been applied"), Outcome.LOST),
        (theirs.TryAgainError("the leader changed"), Outcome.REFUSED),
        (theirs.BusyLoadingError("loading"), Outcome.REFUSED),
        (theirs.ConnectionError("max number of clients reached"), Outcome.REFUSED),
        (theirs.ResponseError("NOSESSION session 5 is not open"), Outcome.SESSION_CLOSED),
        (theirs.ResponseError("value is not an integer or out of range"), Outcome.FINAL),
        (theirs.AuthenticationError("invalid password"), Outcome.FINAL),
        (theirs.DataError("Invalid input of type: 'dict'"), Outcome.FINAL),
    ],
)
def test_redis_pys_errors_are_understood(error: Exception, outcome: Outcome) -> None:
    """What was sent and has no reply may have been applied, whatever redis-py calls it (G19)."""
    assert failure_of(error, sent=True) is outcome
    if outcome is Outcome.LOST and not isinstance(error, theirs.ClusterDownError):
        assert failure_of(error, sent=False) is Outcome.NOT_SENT


def test_commands_are_taken_word_by_word() -> None:
    """Some of redis-py's names have a space in them."""
    assert words_of(("CONFIG GET", "*")) == ("CONFIG", "GET", "*")
    assert words_of((b"get", b"k x")) == (b"get", b"k x")
    assert once(5, 1, ("SET", "k", "v")) == ("RAFTLINE.ONCE", 5, 1, "SET", "k", "v")


@pytest.mark.parametrize(
    "reply",
    [
        [[b"id", b"n1", b"address", b"h:1@2", b"role", b"leader"], [b"address", b"no port"]],
        [{"id": "n1", "address": "h:1@2", "role": "leader"}],
    ],
)
def test_members_are_read_in_both_protocols(reply: Any) -> None:
    """Flat lists of RESP2, maps of RESP3, bytes or texts."""
    assert members_of(reply) == [Member(("h", 1), leads=True)]


def test_an_attempt_never_waits_for_ever_and_never_repeats_itself() -> None:
    """redis-py's own retries would send a command again that has no number."""
    options = node_options({"password": "x"}, Retry)
    assert options["socket_timeout"] == 5.0
    assert options["retry"]._retries == 0
    assert node_options({"socket_timeout": 1}, Retry)["socket_timeout"] == 1
    with pytest.raises(TypeError, match="retry cannot be given"):
        node_options({"retry": 1}, Retry)
