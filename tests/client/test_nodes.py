"""Which node is asked."""

import pytest

from raftline.client.nodes import Member, Nodes, parse_nodes
from raftline.errors import ConfigError

A, B, C = ("a", 1), ("b", 1), ("c", 1)


def members(leader: tuple[str, int] | None) -> list[Member]:
    """Return what a node says of three members."""
    return [Member(each, each == leader) for each in (A, B, C)]


def test_the_leader_is_asked_once_it_is_known() -> None:
    """Any given node leads to the others and to the leader (G10)."""
    nodes = Nodes([A], learns=True)
    assert nodes.must_ask(0.0)
    nodes.learn(members(B), 0.0)
    assert nodes.current == B
    assert not nodes.must_ask(1000.0)
    assert nodes.all == [A, B, C]


def test_a_leader_that_just_failed_is_left_alone_for_a_while() -> None:
    """Others take it for the leader until they elect another; whoever answers is asked meanwhile."""
    nodes = Nodes([A], learns=True)
    nodes.learn(members(A), 0.0)
    nodes.on_failure(A, 1.0)
    assert nodes.current == B
    assert nodes.must_ask(1.0)
    nodes.learn(members(A), 1.0)
    assert nodes.current == B
    assert not nodes.must_ask(5.9)
    assert nodes.must_ask(6.0)
    nodes.learn(members(A), 6.0)
    assert nodes.current == A


def test_a_node_that_never_answers_is_tried_ever_more_rarely() -> None:
    """What the nodes call their leader may be out of reach from here: the given address stays in use."""
    nodes = Nodes([A], learns=True)
    tried = []
    for second in range(400):
        if nodes.must_ask(float(second)):
            nodes.learn([Member(B, True)], float(second))  # noqa: FBT003
            if nodes.current == B:
                tried.append(second)
                nodes.on_failure(B, float(second))
    assert nodes.current == A
    assert 4 <= len(tried) <= 8


def test_many_commands_that_fail_at_once_are_one_failure() -> None:
    """Fifty under way when a leader is elected would have it left alone for two minutes."""
    nodes = Nodes([A], learns=True)
    nodes.learn(members(A), 0.0)
    for number in range(50):
        nodes.on_failure(A, 1.0 + number / 100)
    nodes.learn(members(A), 5.0)
    assert nodes.current == A


def test_a_failure_before_an_answer_does_not_count() -> None:
    """A leader is not asked who leads, so nothing else says that it has answered since."""
    nodes = Nodes([A], learns=True)
    nodes.learn(members(A), 0.0)
    for second in (0.0, 10.0, 20.0, 30.0):
        nodes.on_failure(A, second)
    nodes.on_answer(A)
    nodes.on_failure(A, 1000.0)
    nodes.learn(members(A), 1004.0)
    assert nodes.current == A


def test_a_leader_that_hangs_is_tried_ever_more_rarely() -> None:
    """However long each attempt takes, and however seldom there is something to ask."""
    nodes = Nodes([A, B], learns=True)
    nodes.learn(members(B), 0.0)
    hung_s, now = 0.0, 0.0
    while now < 1200.0:
        if nodes.must_ask(now) and nodes.current == A:
            nodes.learn(members(B), now)
        if nodes.current == B:
            now += 20.0
            hung_s += 20.0
            nodes.on_failure(B, now)
        else:
            nodes.on_answer(A)
            now += 1.0
    assert hung_s < 400.0


def test_the_node_that_failed_longest_ago_is_next() -> None:
    """Nobody is asked again before everybody else was."""
    nodes = Nodes([A, B, C], learns=False)
    asked = []
    for second in range(6):
        asked.append(nodes.current)
        nodes.on_failure(nodes.current, float(second))
    assert asked == [A, B, C, A, B, C]
    assert not nodes.must_ask(0.0)


def test_a_failure_of_a_node_that_is_no_longer_in_use_changes_nothing() -> None:
    """Another thread has gone on already."""
    nodes = Nodes([A, B], learns=False)
    nodes.on_failure(A, 0.0)
    nodes.on_failure(A, 0.1)
    assert nodes.current == B


def test_addresses_are_read_in_every_form() -> None:
    """One text, several texts, pairs; IPv6 in brackets; what is no address is refused in words."""
    assert parse_nodes("h:1, [::1]:2") == [("h", 1), ("::1", 2)]
    assert parse_nodes(["h:1", ("k", 2)]) == [("h", 1), ("k", 2)]
    for wrong in ("h", "h:", "h:x", ""):
        with pytest.raises(ConfigError, match="write host:port"):
            parse_nodes(wrong)
    with pytest.raises(ConfigError, match="at least one"):
        Nodes([], learns=True)


def test_members_are_read_as_nodes_tell_them() -> None:
    """The port of the clients is the one before the peers' port."""
    assert Member.parse({"address": "10.0.0.1:7001@17001", "role": "leader"}) == Member(("10.0.0.1", 7001), leads=True)
    assert Member.parse({"address": "[::1]:7001", "role": "None"}) == Member(("::1", 7001), leads=False)
    assert Member.parse({"address": ""}) is None
