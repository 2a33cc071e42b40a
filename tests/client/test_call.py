"""What comes after a failure, decided without any I/O."""

import pytest

from raftline.client.call import Call, Kind, Outcome, outcome_of
from raftline.client.errors import CommandFailed, ReplyLost, SessionLost, Unavailable

ERROR = ConnectionError("gone")


def call(kind: Kind = Kind.WRITE, deadline: float = 10.0) -> Call:
    """Return a command that is tried until a deadline; chance is always at its highest."""
    return Call(kind, deadline, lambda: 1.0)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("CLUSTERDOWN no leader is known: the command did not take effect", Outcome.REFUSED),
        ("NOTMEMBER n4 waits to be added to a group: nothing was changed", Outcome.REFUSED),
        ("CLUSTERDOWN no outcome in time: the command may have been applied, or may still be (x)", Outcome.LOST),
        ("CLUSTERDOWN no leader is known: nothing can be read that is certain to be current", Outcome.REFUSED),
        ("TRYAGAIN the leader changed: the command did not take effect (x)", Outcome.REFUSED),
        ("LOADING the server starts", Outcome.REFUSED),
        ("ERR max number of clients reached", Outcome.REFUSED),
        ("NOSESSION session 5 is not open", Outcome.SESSION_CLOSED),
        ("OUTDATED command 4", Outcome.OUTDATED),
        ("FORGOTTEN command 4", Outcome.FORGOTTEN),
        ("ERR value is not an integer", Outcome.FINAL),
        ("WRONGTYPE x", Outcome.FINAL),
        ("ERR CLUSTERDOWN is only a word here", Outcome.FINAL),
    ],
)
def test_the_first_word_says_what_an_error_means(reply: str, outcome: Outcome) -> None:
    """Only what certainly had no effect is called refused (G19)."""
    assert outcome_of(reply) is outcome


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.REFUSED, Outcome.LOST])
def test_a_write_is_tried_again_with_the_same_number(outcome: Outcome) -> None:
    """Whatever became of the attempt, the session and the number stay (G8, G19)."""
    one = call()
    assert one.on_failure(outcome, ERROR, 0.0) > 0
    assert not one.needs_session
    assert one.may_have_been_applied == (outcome is Outcome.LOST)


def test_a_closed_session_is_replaced_only_if_nothing_was_carried_out() -> None:
    """A new number for a command that may have been applied could apply it twice (G7, G19)."""
    fresh = call()
    fresh.on_failure(Outcome.REFUSED, ERROR, 0.0)
    assert fresh.on_failure(Outcome.SESSION_CLOSED, ERROR, 0.0) == 0.0
    assert fresh.needs_session
    unsure = call()
    unsure.on_failure(Outcome.LOST, ERROR, 0.0)
    with pytest.raises(SessionLost) as raised:
        unsure.on_failure(Outcome.SESSION_CLOSED, ERROR, 0.0)
    assert raised.value.may_have_been_applied


def test_servers_that_know_no_session_are_not_asked_without_end() -> None:
    """One session is replaced at once; a second one that is gone has to do with the servers, which get time."""
    one = call()
    assert one.on_failure(Outcome.SESSION_CLOSED, ERROR, 0.0) == 0.0
    assert one.on_failure(Outcome.SESSION_CLOSED, ERROR, 0.0) > 0.0
    assert one.needs_session
    with pytest.raises(Unavailable) as raised:
        one.on_failure(Outcome.SESSION_CLOSED, ERROR, 1e9)
    assert not raised.value.may_have_been_applied


def test_what_the_session_no_longer_knows_is_said() -> None:
    """A forgotten reply is an effect without a reply; an outdated number is nobody's to send again."""
    with pytest.raises(ReplyLost) as lost:
        call().on_failure(Outcome.FORGOTTEN, ERROR, 0.0)
    assert lost.value.may_have_been_applied
    with pytest.raises(SessionLost) as outdated:
        call().on_failure(Outcome.OUTDATED, ERROR, 0.0)
    assert not outdated.value.may_have_been_applied


def test_a_read_is_never_said_to_have_been_applied() -> None:
    """It is repeated until the deadline, and has no effect then either."""
    one = call(Kind.READ)
    one.on_failure(Outcome.LOST, ERROR, 0.0)
    with pytest.raises(Unavailable) as raised:
        one.on_failure(Outcome.LOST, ERROR, 10.0)
    assert not raised.value.may_have_been_applied
    assert "it was not applied" in str(raised.value)


def test_other_commands_are_repeated_only_if_they_had_no_effect() -> None:
    """What is neither read nor write in a session could happen twice (G19)."""
    one = call(Kind.OTHER)
    assert one.on_failure(Outcome.NOT_SENT, ERROR, 0.0) > 0
    assert one.on_failure(Outcome.REFUSED, ERROR, 0.0) > 0
    with pytest.raises(Unavailable, match="not sent twice") as raised:
        one.on_failure(Outcome.LOST, ERROR, 0.0)
    assert raised.value.may_have_been_applied


def test_the_deadline_ends_it_and_says_what_is_known() -> None:
    """An attempt that could not begin in time is not waited for; the words and the attribute agree."""
    one = call(deadline=1.0)
    with pytest.raises(Unavailable, match="it was not applied") as sure:
        one.on_failure(Outcome.REFUSED, ERROR, 0.99)
    assert not sure.value.may_have_been_applied
    one = call(deadline=1.0)
    one.on_failure(Outcome.LOST, ERROR, 0.0)
    with pytest.raises(Unavailable, match="it may have been applied") as unsure:
        one.on_failure(Outcome.REFUSED, ERROR, 0.99)
    assert unsure.value.may_have_been_applied
    assert isinstance(unsure.value, CommandFailed)


def test_pauses_grow_to_a_bound_and_are_drawn() -> None:
    """Clients that failed together do not come back together, however often they failed."""
    one = Call(Kind.READ, 1e9, lambda: 1.0)
    pauses = [one.on_failure(Outcome.NOT_SENT, ERROR, 0.0) for _ in range(5000)]
    assert pauses[0] < pauses[1] < pauses[2]
    assert max(pauses) == pauses[-1] == 1.0
    assert Call(Kind.READ, 1e9, lambda: 0.25).on_failure(Outcome.NOT_SENT, ERROR, 0.0) == pauses[0] / 4


def test_the_commands_own_error_is_raised_as_it_is() -> None:
    """It is no failure of the cluster."""
    with pytest.raises(ConnectionError) as raised:
        call().on_failure(Outcome.FINAL, ERROR, 0.0)
    assert raised.value is ERROR
