"""When a learner counts as caught up: after a round shorter than an election timeout (thesis 4.2.1)."""

from raftline.core.catch_up import CatchUp


def test_a_long_round_does_not_count_and_a_short_one_does() -> None:
    """The first brings the bulk, the next what came meanwhile."""
    rounds = CatchUp(1000, now=0.0)
    rounds.observe(500, 1200, now=1.0, timeout_s=0.4)
    assert not rounds.is_caught_up
    rounds.observe(1000, 1200, now=2.0, timeout_s=0.4)
    assert not rounds.is_caught_up, "that round took two seconds"
    rounds.observe(1199, 1300, now=2.1, timeout_s=0.4)
    assert not rounds.is_caught_up
    rounds.observe(1200, 1300, now=2.2, timeout_s=0.4)
    assert rounds.is_caught_up


def test_whoever_falls_behind_is_not_caught_up_any_more() -> None:
    """A round that takes too long says so before it ends."""
    rounds = CatchUp(0, now=0.0)
    rounds.observe(0, 10, now=0.1, timeout_s=0.4)
    assert rounds.is_caught_up
    rounds.observe(9, 20, now=0.4, timeout_s=0.4)
    assert rounds.is_caught_up
    rounds.observe(9, 30, now=0.5, timeout_s=0.4)
    assert not rounds.is_caught_up


def test_with_nothing_to_send_a_learner_is_caught_up() -> None:
    """An idle group is no reason to wait."""
    rounds = CatchUp(7, now=0.0)
    for tick in range(5):
        rounds.observe(7, 7, now=tick * 0.3, timeout_s=0.4)
        assert rounds.is_caught_up
