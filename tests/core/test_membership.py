"""A membership as a value: who is in it, what makes it unsound, and that older ones can still be read."""

import msgspec
import pytest

from raftline.core.configuration import decode_membership, encode_membership, is_membership
from raftline.core.membership import Membership
from raftline.errors import SafetyViolation

FULL = Membership(
    voters=("n1", "n2"),
    outgoing=(),
    learners=("n3", "n4"),
    addresses=(("n1", "h:1"), ("n2", "h:2"), ("n3", "h:3"), ("n4", "h:4")),
    promoting=("n3",),
    wanted=("n2", "n4"),
    priorities=(("n2", 7),),
)


class _Earlier(msgspec.Struct, frozen=True, array_like=True):
    """The fields of the first version."""

    voters: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()


def test_a_sound_one_has_no_problem() -> None:
    """And comes back from its bytes as it was."""
    assert FULL.problem() is None
    assert Membership().problem() is None
    assert decode_membership(encode_membership(FULL)) == FULL
    assert FULL.is_member("n4")
    assert not FULL.is_member("n9")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"voters": ("n2", "n1")}, "voters are not sorted and unique"),
        ({"learners": ("n3", "n3")}, "learners are not sorted and unique"),
        ({"addresses": (("n1", "h:1"), ("n1", "h:2"))}, "addresses are not sorted and unique"),
        ({"priorities": (("n2", 1), ("n1", 1))}, "priorities are not sorted and unique"),
        ({"learners": ("n2", "n3", "n4")}, "a learner votes"),
        ({"outgoing": ("n3",), "wanted": ()}, "a learner votes"),
        ({"promoting": ("n2",)}, "somebody is to be promoted who is no learner"),
        ({"outgoing": ("n1",)}, "a replacement waits during a joint change"),
        ({"wanted": ("n9",)}, "a replacement waits for somebody who is no member"),
    ],
)
def test_what_is_unsound_is_named(wrong: dict[str, tuple[str, ...]], problem: str) -> None:
    """And cannot be read from an entry."""
    membership = msgspec.structs.replace(FULL, **wrong)
    assert problem in (membership.problem() or "")
    assert not is_membership(encode_membership(membership))
    with pytest.raises(SafetyViolation, match="makes no sense: " + problem):
        decode_membership(encode_membership(membership))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x94\x01\x02\x03\x04", encode_membership(FULL)[:-1], b"\x91" * 5000])
def test_what_cannot_be_read_is_a_violation_with_words(data: bytes) -> None:
    """Never an exception of the decoder."""
    assert not is_membership(data)
    with pytest.raises(SafetyViolation, match="cannot be read"):
        decode_membership(data)


def test_a_group_without_voters_cannot_be_in_force() -> None:
    """Nobody could ever decide anything again."""
    assert not is_membership(encode_membership(Membership()))


def test_versions_read_each_other() -> None:
    """An earlier version's membership lacks the newer fields; it ignores them in ours."""
    earlier = msgspec.msgpack.encode(_Earlier(("n1",), (), ("n2",), (("n1", "h:1"), ("n2", "h:2"))))
    read = decode_membership(earlier)
    assert (read.voters, read.learners, read.promoting, read.priorities) == (("n1",), ("n2",), (), ())
    assert msgspec.msgpack.decode(encode_membership(FULL), type=_Earlier).learners == ("n3", "n4")
