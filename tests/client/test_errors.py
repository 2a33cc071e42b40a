"""Errors that people catch already, with one more thing to say."""

import redis.exceptions

import raftline
from raftline.client.errors import CommandFailed, Unavailable, note


def test_they_are_redis_pys_errors_and_ours() -> None:
    """Code that catches redis-py's ConnectionError or RedisError goes on to work."""
    error = Unavailable("no answer", may_have_been_applied=True)
    assert isinstance(error, redis.exceptions.ConnectionError)
    assert isinstance(error, raftline.RaftlineError)
    assert str(error) == "no answer: it may have been applied"
    assert raftline.CommandFailed is CommandFailed
    assert issubclass(raftline.SessionLost, redis.exceptions.RedisError)


def test_other_errors_can_say_it_too() -> None:
    """Whatever is raised has the attribute."""
    error = ValueError("x")
    note(error, may_have_been_applied=False)
    assert error.may_have_been_applied is False  # type: ignore[attr-defined]
