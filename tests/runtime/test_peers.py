"""Whom a node talks to: the members, whoever is leaving, and where its leader says they are."""

import random
from typing import Any

from raftline.core.membership import Membership
from raftline.core.messages import Directory
from raftline.core.pending import Departure
from raftline.core.raft import Raft
from raftline.core.state import RaftState
from raftline.runtime.peers import AddressBook, Peers

A2, A3, A4 = (f"127.0.0.{number}:7000@17000" for number in (2, 3, 4))
MEMBERS = {"n1": "127.0.0.1:7000@17000", "n2": A2, "n3": A3}


class _Bench:
    def __init__(self, members: dict[str, str] | None = None) -> None:
        core = Raft("n1", Membership.of(MEMBERS if members is None else members), random=random.Random(1), now=0.0)
        self.state: RaftState = core.state
        self.told: list[dict[str, str]] = []
        transport: Any = self
        self.peers = Peers(0, core.state, AddressBook(transport))

    def set_peers(self, addresses: dict[str, str]) -> None:
        self.told.append(addresses)

    def follow(self) -> list[dict[str, str]]:
        """Return what the transport is told in this turn."""
        self.told.clear()
        self.peers.follow()
        return list(self.told)


def test_the_transport_is_told_once_and_again_when_something_changed() -> None:
    """Everybody but this node; nothing is repeated while all stays as it is."""
    bench = _Bench()
    assert bench.follow() == [{"n2": A2, "n3": A3}]
    assert bench.follow() == []
    bench.state.leader = "n2"
    assert bench.follow() == [], "the same addresses are not told again"


def test_a_node_that_waits_to_be_added_knows_nobody() -> None:
    """And says so, so that a listener is there for whoever adds it."""
    assert _Bench({}).follow() == [{}]


def test_a_leader_is_believed_where_everybody_is() -> None:
    """A node that slept while others moved hears it from its leader, unless it knows better."""
    bench = _Bench()
    bench.follow()
    bench.state.directory = Directory(5, (("n2", A4), ("n3", A3)))
    assert bench.follow() == [{"n2": A4, "n3": A3}]
    bench.state.directory = Directory(0, (("n2", A3), ("n3", A2)))
    assert bench.follow() == [{"n2": A2, "n3": A3}]


def test_who_was_removed_is_talked_to_until_it_had_time_to_learn_of_it() -> None:
    """It would disturb the others with elections otherwise (thesis 4.2.3)."""
    bench = _Bench()
    bench.follow()
    bench.state.departing["n4"] = Departure(until=1.0, index=1, address=A4)
    assert bench.follow() == [{"n2": A2, "n3": A3, "n4": A4}]
    del bench.state.departing["n4"]
    assert bench.follow() == [{"n2": A2, "n3": A3}]


def test_an_address_that_cannot_be_used_stops_nobody() -> None:
    """It is in the log already; the others are talked to."""
    assert _Bench(MEMBERS | {"n3": "nowhere"}).follow() == [{"n2": A2}]
