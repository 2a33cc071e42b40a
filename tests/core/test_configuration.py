"""Which membership is in force."""

from raftline.core.configuration import Configuration, encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.membership import Membership

ONE, TWO, THREE = (Membership.of({f"n{n}": f"h:{n}" for n in range(1, count + 1)}) for count in (1, 2, 3))


def _entry(index: int, membership: Membership) -> Entry:
    return Entry(index, 1, encode_membership(membership), KIND_MEMBERSHIP)


def test_a_membership_takes_effect_when_it_is_appended() -> None:
    """Committed or not (§6)."""
    configuration = Configuration(0, ONE)
    assert configuration.on_appended([Entry(1, 1, b"x"), _entry(2, TWO)])
    assert not configuration.on_appended([Entry(3, 1, b"x")])
    assert configuration.current == TWO
    assert configuration.index == 2


def test_it_is_taken_back_with_its_entry() -> None:
    """Cutting the log rolls the membership back."""
    configuration = Configuration(0, ONE, [_entry(2, TWO), _entry(5, THREE)])
    assert configuration.on_cut(4)
    assert configuration.current == TWO
    assert configuration.on_cut(1)
    assert configuration.current == ONE
    assert not configuration.on_cut(1)


def test_a_snapshot_carries_the_membership_of_its_index() -> None:
    """Not the newest one."""
    configuration = Configuration(0, ONE, [_entry(2, TWO), _entry(5, THREE)])
    assert [configuration.at(index) for index in (1, 2, 4, 5, 9)] == [ONE, TWO, TWO, THREE, THREE]


def test_what_is_not_committed_may_be_taken_back() -> None:
    """Then one before it holds: any from the last that is committed on."""
    configuration = Configuration(0, ONE, [_entry(2, TWO), _entry(5, THREE)])
    assert configuration.possible(1) == [ONE, TWO, THREE]
    assert configuration.possible(2) == configuration.possible(4) == [TWO, THREE]
    assert configuration.possible(5) == [THREE]


def test_compaction_keeps_the_last_one_swallowed() -> None:
    """It is in force until the next, and stays known behind the base."""
    configuration = Configuration(0, ONE, [_entry(2, TWO), _entry(5, THREE)])
    configuration.on_compacted(4)
    assert configuration.at(4) == TWO
    assert configuration.current == THREE
    assert not configuration.on_cut(3) or configuration.current == TWO


def test_a_membership_knows_its_members() -> None:
    """Voters of either half, learners and addresses."""
    joint = Membership(voters=("a", "b"), outgoing=("b", "c"), learners=("d",), addresses=(("a", "h:1"),))
    assert joint.is_joint
    assert joint.everyone() == ("a", "b", "c", "d")
    assert joint.is_voter("c")
    assert not joint.is_voter("d")
    assert joint.address_of("a") == "h:1"
    assert joint.address_of("z") is None
