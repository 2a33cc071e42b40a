"""What clients are told: the code says what to do, the words whether a write may have happened."""

import pytest

from raftline import errors
from raftline.kv.refusals import read_refusal, task_refusal, write_refusal

SURE = b"did not take effect"
UNSURE = b"may have been applied"


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        (errors.NotLeader(), b"-CLUSTERDOWN ", SURE),
        (errors.NotLeader("n2", "127.0.0.1:7002"), b"-CLUSTERDOWN ", SURE),
        (errors.Timeout("late", may_take_effect=False), b"-CLUSTERDOWN ", SURE),
        (errors.Timeout("late"), b"-CLUSTERDOWN ", UNSURE),
        (errors.Stopped("stopping"), b"-CLUSTERDOWN ", UNSURE),
        (errors.ProposalLost("another term's entry"), b"-TRYAGAIN ", SURE),
        (errors.Overloaded("100000 requests wait"), b"-TRYAGAIN ", b"not taken"),
        (errors.ApplyError("ValueError: x\r\ny"), b"-ERR ", b"ValueError: x  y"),
        (errors.TooLarge("too large"), b"-ERR ", b"too large"),
        (errors.StorageError("disk full"), b"-CLUSTERDOWN ", UNSURE),
        (RuntimeError("a bug"), b"-CLUSTERDOWN ", UNSURE),
    ],
)
def test_a_write_without_a_result(reason: Exception, code: bytes, words: bytes) -> None:
    """Only what certainly did not happen is called so; everything else may have been applied (G19)."""
    reply = write_refusal(reason)
    assert reply.startswith(code)
    assert words in reply
    assert (SURE in reply) + (UNSURE in reply) <= 1
    assert reply.count(b"\n") == 1


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (errors.NotLeader(), b"-CLUSTERDOWN "),
        (errors.Timeout("late", may_take_effect=False), b"-CLUSTERDOWN "),
        (errors.Stopped("stopping"), b"-CLUSTERDOWN "),
        (errors.Overloaded("too many"), b"-TRYAGAIN "),
        (errors.ApplyError("x"), b"-ERR "),
        (errors.StorageError("disk full"), b"-CLUSTERDOWN "),
    ],
)
def test_a_read_without_a_result(reason: Exception, code: bytes) -> None:
    """A read that could not be made linearizable is refused and never speaks of having been applied (G11)."""
    reply = read_refusal(reason)
    assert reply.startswith(code)
    assert b"applied" not in reply


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        (errors.NotMember("n4 waits to be added to a group"), b"-NOTMEMBER n4 waits to be added to a group: %s\r\n"),
        (errors.NotLeader(), b"-CLUSTERDOWN no leader is known: %s\r\n"),
    ],
)
def test_who_is_in_no_group_is_told_apart_from_who_knows_no_leader(reason: Exception, reply: bytes) -> None:
    """Asked about the cluster: another try here may help in one case, and never does in the other."""
    assert task_refusal(reason) == reply % b"nothing was changed"
