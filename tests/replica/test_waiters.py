"""Promises of the waiters: a position is index and term, and everybody is answered exactly once."""

from raftline.errors import ProposalLost, Stopped
from raftline.replica.waiters import Done, Waiters


def test_a_reused_index_answers_each_proposer_by_term() -> None:
    """The first proposal at an index may be the one that commits; the second one then lost (G6)."""
    waiters = Waiters()
    told: list[tuple[str, bytes | Exception]] = []
    waiters.add(2, 1, [lambda outcome: told.append(("C2", outcome))])
    waiters.add(2, 3, [lambda outcome: told.append(("C4", outcome))])
    waiters.settle(2, 1, b"ok")
    assert told[0] == ("C2", b"ok")
    assert told[1][0] == "C4"
    assert isinstance(told[1][1], ProposalLost)
    assert not told[1][1].may_take_effect
    assert len(waiters) == 0


def test_another_terms_entry_at_the_index_means_lost() -> None:
    """Something applied at the index is no success by itself (G4)."""
    waiters = Waiters()
    told: list[bytes | Exception] = []
    waiters.add(5, 2, [told.append])
    waiters.settle(5, 4, b"somebody else's")
    assert isinstance(told[0], ProposalLost)
    assert "term 4, not 2" in str(told[0])


def test_a_snapshot_over_the_index_leaves_the_outcome_open() -> None:
    """What a snapshot swallowed may have taken effect, and says so."""
    waiters = Waiters()
    told: list[bytes | Exception] = []
    waiters.add(5, 2, [told.append])
    waiters.add(9, 2, [told.append])
    waiters.skip_to(7)
    assert len(told) == 1
    assert isinstance(told[0], Stopped)
    assert told[0].may_take_effect
    waiters.fail_all(Stopped("the node stops"))
    assert len(told) == 2


def test_every_term_is_told_in_the_order_of_the_log() -> None:
    """Positions of several terms that overlap are all told once, the lowest first, also when the replica stops."""
    told: list[tuple[str, type]] = []

    def teller(name: str) -> Done:
        return lambda outcome: told.append((name, type(outcome)))

    waiters = Waiters()
    assert Waiters().first_index is None
    waiters.add(4, 1, [teller("4 of 1"), teller("5 of 1"), teller("6 of 1")])
    waiters.add(3, 2, [teller("3 of 2"), teller("4 of 2")])
    waiters.add(5, 3, [teller("5 of 3")])
    waiters.add(6, 3, [teller("6 of 3")])
    assert (len(waiters), waiters.first_index) == (7, 3)
    waiters.settle(3, 2, b"ok")
    waiters.settle(4, 3, b"nobody's")
    assert told == [("3 of 2", bytes), ("4 of 1", ProposalLost), ("4 of 2", ProposalLost)]
    told.clear()
    waiters.skip_to(5)
    assert told == [("5 of 1", Stopped), ("5 of 3", Stopped)]
    assert (len(waiters), waiters.first_index) == (2, 6)
    told.clear()
    waiters.fail_all(Stopped("the node stops"))
    assert told == [("6 of 1", Stopped), ("6 of 3", Stopped)]
    assert len(waiters) == 0


def test_nobody_waiting_is_no_trouble() -> None:
    """Followers settle every index without a waiter."""
    Waiters().settle(1, 1, b"ok")
