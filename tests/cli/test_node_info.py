"""The lines of INFO raft as a value."""

import socket
from collections.abc import Callable

import pytest

from raftline.cli.node_info import Unreachable, ask_node, parse_info

PORTS = {"n1": 7001, "n2": 7002, "n3": 7003}
ANSWER_S_MAX = 60.0
"""Nobody who answers is waited for so long."""


def test_every_line_becomes_a_field(lines_of: Callable[..., str]) -> None:
    """Positions are numbers, nobody is None, and the digest stays text even where it looks like a number."""
    info = parse_info(lines_of("n2", PORTS, leader_id="", digest="1e5"), "h:1")
    assert (info.node_id, info.role, info.leader_id, info.term) == ("n2", "follower", None, 4)
    assert (info.compacted_index, info.snapshot_index, info.applied_index) == (2, 5, 10)
    assert (info.commit_index, info.last_index, info.digest) == (10, 11, "1e5")
    assert [(member.node_id, member.address) for member in info.members] == [
        ("n1", "127.0.0.1:7001@7000"), ("n2", "127.0.0.1:7002@7001"), ("n3", "127.0.0.1:7003@7002"),
    ]  # fmt: skip
    assert info.fields["term"] == "4"


def test_another_kind_of_server_is_recognised(fake_node: Callable[..., int]) -> None:
    """A Redis that answers INFO raft with an empty section is no raftline server."""
    with pytest.raises(Unreachable, match="has no raft_node_id: is it a raftline server"):
        ask_node("127.0.0.1", fake_node(""), ANSWER_S_MAX)


@pytest.mark.parametrize("override", [{"term": "many"}, {"applied_index": ""}, {"member9": "address=x"}])
def test_lines_that_make_no_sense_are_refused(lines_of: Callable[..., str], override: dict[str, str]) -> None:
    """A broken answer is told as such, with the address."""
    with pytest.raises(Unreachable, match="h:1 answers, but its INFO raft cannot be read"):
        parse_info(lines_of("n1", PORTS, **override), "h:1")


def test_a_node_is_asked_over_the_wire(fake_node: Callable[..., int], lines_of: Callable[..., str]) -> None:
    """What the node says arrives unchanged."""
    assert ask_node("127.0.0.1", fake_node(lines_of("n3", PORTS)), ANSWER_S_MAX).node_id == "n3"


def test_an_error_reply_is_passed_on(fake_node: Callable[..., int]) -> None:
    """The server's own words help most."""
    with pytest.raises(Unreachable, match="the node recovers"):
        ask_node("127.0.0.1", fake_node(raw=b"-LOADING the node recovers\r\n"), ANSWER_S_MAX)


def test_bytes_that_are_no_text_are_told(fake_node: Callable[..., int]) -> None:
    """Whatever listens there, the command ends with words."""
    with pytest.raises(Unreachable, match="not as a raftline server"):
        ask_node("127.0.0.1", fake_node(raw=b"$2\r\n\xff\xfe\r\n"), ANSWER_S_MAX)


def test_a_closed_port_is_told_with_the_address() -> None:
    """Nobody listens: which address, and why."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port}: .*refused"):
            ask_node("127.0.0.1", port, ANSWER_S_MAX)


def test_a_node_that_keeps_silent_is_given_up() -> None:
    """A paused process accepts connections and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(Unreachable, match=r"does not answer within 0\.2 s"):
            ask_node("127.0.0.1", silent.getsockname()[1], 0.2)
