"""What the clients read from redis-py, and give to it."""

from typing import Any

import pytest
import redis
import redis.exceptions as theirs
from redis.retry import Retry

from raftline.client.call import Outcome
from raftline.client.nodes import Member
from raftline.client.wire import (
    Waits,
    failure_of,
    is_of_the_pool,
    is_own_reply,
    members_of,
    node_options,
    once,
    piece_s,
    words_of,
)


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
        (theirs.MovedError("5 127.0.0.1:7001"), Outcome.REFUSED),
        (theirs.ConnectionError("max number of clients reached"), Outcome.REFUSED),
        (theirs.ResponseError("NOSESSION session 5 is not open"), Outcome.SESSION_CLOSED),
        (theirs.ResponseError("too many half-received requests are held by this server"), Outcome.REFUSED),
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
    for name in ("retry", "cache_config"):
        with pytest.raises(TypeError, match=f"{name} cannot be given"):
            node_options({name: 1}, Retry)


def test_as_many_connections_as_commands_under_way() -> None:
    """redis-py 8 stops at 100 of its own accord, and a client that is asked more takes nodes for dead."""
    with redis.Redis(**node_options({}, Retry)) as client:
        assert client.connection_pool.max_connections >= 1 << 31
    assert node_options({"max_connections": 7}, Retry)["max_connections"] == 7
    assert is_of_the_pool(theirs.ConnectionError("Too many connections"))
    assert not is_of_the_pool(theirs.ConnectionError("closed"))


def test_a_command_that_waits_is_cut_into_pieces() -> None:
    """The last piece ends with the command's time; 0 waits for ever; what is no number goes as it is."""
    waits = Waits(("BLPOP", "k", "5"), 100.0, 2.0)
    assert waits.piece(100.0) == (("BLPOP", "k", 2.0), 2.0)
    assert waits.piece(104.5) == (("BLPOP", "k", 0.5), 0.5)
    assert [waits.is_over(now) for now in (104.9, 105.0)] == [False, True]
    for_ever = Waits((b"bzmpop", 0, 1, "k", "MIN"), 100.0, 2.0)
    assert for_ever.piece(1e6) == ((b"bzmpop", 2.0, 1, "k", "MIN"), 2.0)
    assert not for_ever.is_over(1e9)
    wrong = Waits(("BLPOP", "k", "x"), 100.0, 2.0)
    assert wrong.piece(100.0) == (("BLPOP", "k", "x"), 0.0)
    assert wrong.is_over(100.0)
    assert piece_s({"socket_timeout": None}) == piece_s({"socket_timeout": 5.0}) == 2.5


@pytest.mark.parametrize(
    ("error", "is_own"),
    [
        (theirs.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), True),
        (theirs.ResponseError("too many half-received requests are held by this server"), False),
        (theirs.ResponseError("value is not an integer or out of range"), True),
        (theirs.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (theirs.NoPermissionError("this user has no permissions"), False),
        (theirs.MovedError("5 127.0.0.1:7001"), False),
        (theirs.ResponseError("UNBLOCKED client unblocked via CLIENT UNBLOCK"), False),
        (theirs.ConnectionError("gone"), False),
    ],
)
def test_what_a_node_refuses_at_its_door_says_nothing_of_an_earlier_attempt(error: Exception, is_own: bool) -> None:  # noqa: FBT001
    """The attempt before it may have been carried out; a command's own error is what that one came to, too (G8)."""
    assert is_own_reply(error) == is_own
