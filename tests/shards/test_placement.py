"""Where replicas go: evenly, and the same wherever it is worked out."""

from collections import Counter

import pytest

from raftline.errors import ChangeRefused
from raftline.shards.configuration import EMPTY, Configuration, Place, changed
from raftline.shards.placement import join_of, places_without

NODES = ("n1", "n2", "n3", "n4", "n5")


def grown(*counts: int, nodes: tuple[str, ...] = NODES) -> Configuration:
    """Return the configuration after groups were added, so many at a time."""
    configuration = EMPTY
    for count in counts:
        first = len(configuration.groups) + 1
        configuration = changed(configuration, join_of(configuration, first, count, nodes, 3))
    return configuration


def test_replicas_and_leaders_are_spread() -> None:
    """As many replicas on each node, and nobody is to lead more than one group above the average (G17)."""
    for counts in ((10,), (1,) * 10, (3, 4, 3)):
        groups = grown(*counts).groups
        replicas = Counter(node for _, held in groups for node in held)
        leads = Counter(held[0] for _, held in groups)
        assert all(len(set(held)) == 3 for _, held in groups)
        assert set(replicas.values()) == {6}
        assert max(leads.values()) <= 3


def test_the_order_of_nodes_does_not_matter() -> None:
    """Every replica of the controller comes to the same, whoever named the nodes in whatever order (G17)."""
    assert grown(7) == grown(7, nodes=NODES[::-1])


def test_fewer_nodes_than_replicas_hold_one_each() -> None:
    """A cluster of one node or two is a cluster, too."""
    assert [len(held) for _, held in grown(4, nodes=("n1", "n2")).groups] == [2] * 4


def test_a_new_node_takes_most_of_what_comes() -> None:
    """The least loaded nodes are chosen first."""
    before = grown(4, nodes=("n1", "n2", "n3"))
    after = changed(before, join_of(before, 5, 2, ("n1", "n2", "n3", "n4"), 3))
    assert all(after.nodes_of(group)[0] == "n4" for group in (5, 6))


def test_groups_that_are_leaving_count_where_they_still_are() -> None:
    """They take room there until they are empty."""
    before = grown(1, nodes=("n1", "n2"))
    alone = join_of(before, 2, 1, ("n1", "n2", "n3", "n4"), 2)
    assert sorted(alone.groups[2]) == ["n3", "n4"]
    crowded = join_of(before, 2, 1, ("n1", "n2", "n3", "n4"), 2, leaving=[("n3", "n4")] * 2)
    assert sorted(crowded.groups[2]) == ["n1", "n2"]


def test_nothing_to_place_is_refused_in_words() -> None:
    """No groups, or no nodes."""
    with pytest.raises(ChangeRefused, match="at least one"):
        join_of(EMPTY, 1, 0, NODES, 3)
    with pytest.raises(ChangeRefused, match="no node can take"):
        join_of(EMPTY, 1, 1, (), 3)
    with pytest.raises(ChangeRefused, match="16384 have a slot each"):
        join_of(EMPTY, 1, 100_000_000, NODES, 3)


def test_a_dead_nodes_replicas_go_to_those_that_hold_least() -> None:
    """Each group gets one new node, none twice the same; what the dead one did not hold is left alone."""
    configuration = grown(10)
    places = places_without(configuration.groups, "n2", NODES)
    assert len(places) == 6
    for place in places:
        held = configuration.nodes_of(place.group)
        assert set(place.nodes) >= set(held) - {"n2"}
        assert len(set(place.nodes)) == 3
        configuration = changed(configuration, place)
    replicas = Counter(node for _, held in configuration.groups for node in held)
    assert "n2" not in replicas
    assert max(replicas.values()) - min(replicas.values()) <= 1


def test_what_a_lost_node_led_is_led_by_those_that_lead_fewest() -> None:
    """So leaders stay spread; who led a group before and is still there leads it on (G17)."""
    before = grown(9, nodes=("n1", "n2", "n3")).groups
    after = dict(before) | {place.group: place.nodes for place in places_without(before, "n1", ("n2", "n3", "n4"))}
    assert Counter(nodes[0] for nodes in after.values()) == {"n2": 3, "n3": 3, "n4": 3}
    assert all(after[group][0] == nodes[0] for group, nodes in before if nodes[0] != "n1")


def test_without_room_a_group_stays_where_it_is() -> None:
    """Three nodes, one dead: nowhere to go."""
    assert places_without(grown(3, nodes=("n1", "n2", "n3")).groups, "n2", ("n1", "n2", "n3")) == ()


def test_groups_that_are_in_no_configuration_count() -> None:
    """One that is leaving is placed, too, and whoever holds a replica of it is the more loaded."""
    places = places_without([(1, ("n1", "n2")), (7, ("n1", "n3"))], "n1", ("n2", "n3", "n4"))
    assert [place.group for place in places] == [1, 7]
    assert set(places[0].nodes) == {"n2", "n4"}
    assert "n3" in places[1].nodes
    assert places_without([(1, ("n1",)), (7, ("n2",))], "n1", ("n2", "n3")) == (Place(1, ("n3",)),)
