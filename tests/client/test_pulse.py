"""When a silent node is asked, and when it is taken for dead."""

from raftline.client.pulse import Pulse


def test_a_node_is_asked_after_half_the_patience() -> None:
    """And only once."""
    pulse = Pulse(4.0, now=100.0)
    assert pulse.wait_s(100.5) == 1.5
    assert not pulse.must_ask(101.9)
    assert pulse.must_ask(102.0)
    pulse.on_asked(102.0)
    assert not pulse.must_ask(102.0)


def test_a_node_that_does_not_answer_is_dead_when_the_patience_ends() -> None:
    """It has the other half to answer, from when it was asked."""
    pulse = Pulse(4.0, now=100.0)
    assert not pulse.is_dead(200.0)
    pulse.on_asked(200.0)
    assert pulse.wait_s(200.5) == 1.5
    assert not pulse.is_dead(201.9)
    assert pulse.is_dead(202.0)


def test_whatever_comes_is_a_sign_of_life() -> None:
    """It begins anew."""
    pulse = Pulse(4.0, now=100.0)
    pulse.on_asked(102.0)
    pulse.on_heard(103.0)
    assert not pulse.is_dead(104.5)
    assert not pulse.must_ask(104.5)
    assert pulse.must_ask(105.0)
