"""SimNetwork: messages take their time, meet what the faults say, and are otherwise carried faithfully."""

from collections.abc import Iterator
from typing import Any

import pytest

from raftline.core.entries import Entry
from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import AppendRequest, Message, TimeoutNow, VoteReply
from raftline.runtime.ports import Transport
from raftline.sim.faults import Latency, LinkFaults
from raftline.sim.loop import SimLoop
from raftline.sim.network import QUEUE_BYTES_MAX, SimNetwork, SimTransport
from raftline.sim.node_loop import NodeLoop
from raftline.transport.codec import Stranger

NAMES = ("n1", "n2", "n3", "n4", "n5")


class World:
    """A few nodes that write down what arrives."""

    def __init__(self, seed: int = 1, count: int = 3, **options: Any) -> None:
        self.loop = SimLoop(seed)
        self.network = SimNetwork(self.loop, self.loop.stream("network"), **options)
        self.nodes: dict[NodeId, NodeLoop] = {}
        self.transports: dict[NodeId, SimTransport] = {}
        self.arrived: dict[NodeId, list[tuple[float, NodeId, int]]] = {name: [] for name in NAMES[:count]}
        for name in NAMES[:count]:
            self.boot(name)
        self.loop.run_for(0)

    def boot(self, name: NodeId) -> None:
        """Start a (new) incarnation of `name`."""
        node = self.nodes[name] = self.loop.node(name)
        transport = self.transports[name] = self.network.attach(name, node)
        transport.set_peers(dict.fromkeys(self.arrived, "127.0.0.1:7001@17001"))

        def on_message(source: NodeId, _group: GroupId, message: Message) -> None:
            assert isinstance(message, TimeoutNow)
            self.arrived[name].append((self.loop.now, source, message.term))

        node.spawn(transport.start(on_message))

    def send(self, source: NodeId, target: NodeId, *numbers: int) -> None:
        """Send numbers in one flush."""
        for number in numbers:
            self.transports[source].send(target, 0, TimeoutNow(number))
        self.transports[source].flush()

    def numbers(self, target: NodeId) -> list[int]:
        """Return what arrived at `target`, in order."""
        return [number for _, _, number in self.arrived[target]]

    def send_many(self, source: NodeId, target: NodeId, count: int, every_s: float = 0.001) -> None:
        """Send 0, 1, 2, ... one per flush."""
        for number in range(count):
            self.loop.call_later(number * every_s, self.send, source, target, number)


@pytest.fixture
def world() -> Iterator[World]:
    """Return three connected nodes on a calm network."""
    made = World()
    yield made
    made.loop.close()


def test_it_is_the_runtimes_transport(world: World) -> None:
    """The simulated transport satisfies the port."""
    transport: Transport = world.transports["n1"]
    assert transport is not None


def test_a_calm_network_delivers_everything_in_order(world: World) -> None:
    """Nothing is lost, nothing overtakes, and latencies lie within the distribution."""
    world.send_many("n1", "n2", 2000, every_s=0.00005)
    world.loop.run_for(10)
    assert world.numbers("n2") == list(range(2000))
    delays = [at - number * 0.00005 for at, _, number in world.arrived["n2"]]
    assert min(delays) >= 0.0001
    assert len(set(delays)) > 1000
    assert world.network.stats.delivered == world.network.stats.sent == 2000
    assert world.arrived["n3"] == []


def test_nothing_leaves_before_flush(world: World) -> None:
    """`send` only queues; one flush carries the batch, which arrives together."""
    transport = world.transports["n1"]
    transport.send("n2", 0, TimeoutNow(1))
    world.loop.run_for(1)
    assert world.arrived["n2"] == []
    transport.send("n2", 0, TimeoutNow(2))
    transport.flush()
    transport.flush()
    world.loop.run_for(1)
    assert world.numbers("n2") == [1, 2]
    assert len({at for at, _, _ in world.arrived["n2"]}) == 1


def test_messages_are_carried_through_the_production_codec(world: World) -> None:
    """What arrives equals what was sent and shares no storage with it (F17, H10)."""
    seen: list[tuple[NodeId, GroupId, Message]] = []
    node = world.nodes["n2"]
    node.spawn(world.transports["n2"].start(lambda *message: seen.append(message)))
    sent = AppendRequest(3, 1, 1, (Entry(2, 3, b"\x00\xff", 0, 17),), 1, 5, 6, 7)
    world.transports["n1"].send("n2", 4, sent)
    world.transports["n1"].flush()
    world.loop.run_for(1)
    ((source, group, message),) = seen
    assert (source, group, message) == ("n1", 4, sent)
    assert message is not sent
    traffic = world.network.traffic
    assert traffic["n1"].messages_sent == traffic["n2"].messages_received == 1
    assert traffic["n1"].bytes_sent == traffic["n2"].bytes_received > 20
    assert traffic["n3"].bytes_sent == 0


def test_without_encoding_messages_are_passed_as_they_are() -> None:
    """The fast way hands over the same immutable object and counts no bytes."""
    world = World(encode=False)
    seen: list[Message] = []
    world.nodes["n2"].spawn(world.transports["n2"].start(lambda _source, _group, message: seen.append(message)))
    message = VoteReply(1, 1, granted=True)
    world.transports["n1"].send("n2", 0, message)
    world.transports["n1"].flush()
    world.loop.run_for(1)
    assert seen[0] is message
    assert world.network.traffic["n1"].bytes_sent == 0
    world.loop.close()


def test_strangers_and_oneself_are_not_sent_to(world: World) -> None:
    """A message for nobody's peer, and for the sender itself, is dropped and counted."""
    world.transports["n1"].set_peers({"n1": "a", "n2": "b"})
    world.send("n1", "n3", 1)
    world.send("n1", "n1", 1)
    world.loop.run_for(1)
    assert world.arrived["n3"] == world.arrived["n1"] == []
    assert world.network.stats.to_stranger == 2


@pytest.mark.parametrize("kind", ["loss", "duplicate", "reorder", "delay"])
def test_each_mishap_happens_as_often_as_said(kind: str) -> None:
    """A fifth of the messages meets the one mishap that is set, and nothing else happens."""
    world = World()
    world.network.set_faults(LinkFaults(**{kind: 0.2}))  # type: ignore[arg-type]
    world.send_many("n1", "n2", 2000)
    world.loop.run_for(60)
    stats = world.network.stats
    counts = {"loss": stats.lost, "duplicate": stats.duplicated, "reorder": stats.reordered, "delay": stats.delayed}
    count = counts.pop(kind)
    assert 340 < count < 460
    assert set(counts.values()) == {0}
    numbers = world.numbers("n2")
    assert len(numbers) == 2000 + {"loss": -count, "duplicate": count}.get(kind, 0)
    assert (numbers == sorted(numbers)) == (kind == "loss")
    assert stats.delivered == len(numbers)
    late = max(at - number * 0.001 for at, _, number in world.arrived["n2"])
    assert (late > 1.0) == (kind in ("delay", "duplicate"))
    world.loop.close()


def test_faults_can_be_set_for_single_links_and_directions(world: World) -> None:
    """A slow or lossy direction leaves the others alone."""
    slow = LinkFaults(latency=Latency(3.0, 3.0, 3.0))
    world.network.set_faults(slow, source="n1", target="n2")
    world.network.set_faults(LinkFaults(loss=1.0), source="n3")
    for source, target in (("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1"), ("n3", "n2")):
        world.send(source, target, 1)
    world.loop.run_for(1)
    assert (world.numbers("n2"), world.numbers("n1"), world.numbers("n3")) == ([], [1], [1])
    world.loop.run_for(3)
    assert world.arrived["n2"] == [(3.0, "n1", 1)]


def test_a_cut_is_one_way(world: World) -> None:
    """Cutting n1→n2 leaves n2→n1 open; what is lost in the cut stays lost after it."""
    world.network.cut("n1", "n2")
    assert world.network.link_state("n1", "n2") == "lossy cut"
    world.send("n1", "n2", 1)
    world.send("n2", "n1", 2)
    world.loop.run_for(1)
    world.network.mend("n1", "n2")
    assert world.network.link_state("n1", "n2") == "open"
    world.send("n1", "n2", 3)
    world.loop.run_for(1)
    assert (world.numbers("n1"), world.numbers("n2")) == ([2], [3])
    assert world.network.stats.lost_in_cut == 1


def test_a_holding_cut_delivers_late_and_in_order(world: World) -> None:
    """Like TCP over a broken path: everything arrives after the mending, in order, what was in flight included."""
    world.network.set_faults(LinkFaults(latency=Latency(1.0, 1.0, 1.0)))
    world.send("n1", "n2", 1)
    world.loop.run_for(0.5)
    world.network.cut("n1", "n2", hold=True)
    assert world.network.link_state("n1", "n2") == "holding cut"
    world.send("n1", "n2", 2)
    world.loop.run_for(10)
    world.send("n1", "n2", 3)
    assert world.numbers("n2") == []
    world.network.heal()
    world.send("n1", "n2", 4)
    world.loop.run_for(1.5)
    assert world.numbers("n2") == [1, 2, 3, 4]
    assert world.arrived["n2"][0][0] == 11.5
    assert world.network.stats.held_in_cut == 3


def test_messages_in_flight_are_lost_when_the_link_is_cut(world: World) -> None:
    """A lossy cut swallows what was under way."""
    world.send("n1", "n2", 1)
    world.network.cut("n1", "n2")
    world.loop.run_for(1)
    world.network.heal()
    world.loop.run_for(1)
    assert world.numbers("n2") == []


def _reachable(world: World) -> set[str]:
    """Return who can reach whom, as `12` for n1→n2."""
    for received in world.arrived.values():
        received.clear()
    for source in world.arrived:
        for target in world.arrived:
            if source != target:
                world.send(source, target, 1)
    world.loop.run_for(1)
    return {f"{source[1]}{target[1]}" for target, received in world.arrived.items() for _, source, _ in received}


def test_partitions_bridges_and_isolation() -> None:
    """Each kind of partition cuts exactly the links it names, and healing restores all."""
    world = World(count=5)
    everything = _reachable(world)
    assert len(everything) == 20
    world.network.partition(["n1", "n2"])
    inside = {"12", "21", "34", "43", "35", "53", "45", "54"}
    assert _reachable(world) == inside
    world.network.heal()
    assert _reachable(world) == everything
    world.network.bridge(["n1", "n2"], "n3", ["n4", "n5"])
    assert _reachable(world) == inside | {"13", "31", "23", "32"}
    world.network.heal()
    world.network.isolate("n5")
    assert _reachable(world) == {pair for pair in everything if "5" not in pair}
    world.network.heal()
    world.network.cut_between(["n1"], ["n2", "n3"])
    assert _reachable(world) == everything - {"12", "21", "13", "31"}
    world.network.heal()
    assert world.network.stats.heals == 4
    assert (world.network.stats.partitions, world.network.stats.bridges) == (2, 1)
    world.loop.close()


def test_majorities_are_drawn_by_chance() -> None:
    """A split of five leaves three and two, not always the same, and they cannot talk."""
    world = World(count=5)
    minorities = set()
    for _ in range(30):
        majority, minority = world.network.split_majority()
        assert sorted(majority + minority) == list(NAMES)
        assert len(majority) == 3
        assert world.network.link_state(majority[0], minority[0]) == "lossy cut"
        assert world.network.link_state(majority[0], majority[1]) == "open"
        minorities.add(frozenset(minority))
        world.network.heal()
    assert len(minorities) > 6
    world.loop.close()


def test_a_flapping_link_opens_and_closes_until_healed(world: World) -> None:
    """Messages pass while it is up only; after healing it stays up."""
    world.network.flap("n1", "n2", up_s=1.0, down_s=2.0)
    world.send_many("n1", "n2", 60, every_s=0.1)
    world.loop.run_for(6.0)
    numbers = set(world.numbers("n2"))
    assert numbers & set(range(20)) == set()
    assert numbers >= set(range(21, 29))
    assert numbers & set(range(31, 50)) == set()
    world.network.heal()
    world.arrived["n2"].clear()
    world.send_many("n1", "n2", 60, every_s=0.1)
    world.loop.run_for(7.0)
    assert world.numbers("n2") == list(range(60))
    world.network.flap("n1", "n2", up_s=1.0, down_s=2.0)
    world.loop.run_for(2.5)
    world.network.heal()
    world.loop.run_for(1.0)
    assert world.network.link_state("n1", "n2") == "open"
    assert world.network.stats.flaps == 2


def test_a_reset_loses_everything_in_flight_both_ways(world: World) -> None:
    """After a connection reset nothing sent before it arrives; what is sent later does."""
    world.network.cut("n2", "n1", hold=True)
    world.send("n2", "n1", 1)
    world.send("n1", "n2", 1)
    world.send("n1", "n3", 1)
    world.network.reset("n1", "n2")
    world.network.heal()
    world.send("n1", "n2", 2)
    world.send("n2", "n1", 2)
    world.loop.run_for(1)
    assert (world.numbers("n1"), world.numbers("n2"), world.numbers("n3")) == ([2], [2], [1])
    assert world.network.stats.lost_in_reset == 2
    world.send("n1", "n2", 3)
    world.send("n3", "n2", 3)
    world.network.reset_node("n1")
    world.loop.run_for(1)
    assert world.numbers("n2") == [2, 3]


def test_random_resets_happen_as_often_as_said() -> None:
    """With a chance of one in five per flush, about a fifth of the flushes breaks the connection."""
    world = World()
    world.network.set_faults(LinkFaults(reset=0.2, latency=Latency(0.01, 0.01, 0.01)))
    world.send_many("n1", "n2", 1000, every_s=0.001)
    world.loop.run_for(10)
    assert 150 < world.network.stats.resets < 250
    assert len(world.numbers("n2")) == 1000 - world.network.stats.lost_in_reset < 900
    world.loop.close()


def test_a_paused_node_finds_its_messages_when_it_wakes(world: World) -> None:
    """Nothing is lost by a pause: messages wait in the node's buffers, in order per link."""
    world.nodes["n2"].pause()
    world.send("n1", "n2", 1, 2)
    world.send("n1", "n2", 3)
    world.loop.run_for(5)
    assert world.numbers("n2") == []
    world.nodes["n2"].resume()
    world.loop.run_for(1)
    assert [(at, number) for at, _, number in world.arrived["n2"]] == [(5.0, 1), (5.0, 2), (5.0, 3)]


def test_the_dead_neither_send_nor_receive_and_their_successor_does(world: World) -> None:
    """Messages for a node that is down are lost; what is under way when it restarts reaches the new incarnation."""
    old = world.transports["n2"]
    world.nodes["n2"].kill()
    world.send("n1", "n2", 1)
    old.send("n1", 0, TimeoutNow(9))
    old.flush()
    world.loop.run_for(1)
    world.send("n1", "n2", 2)
    world.boot("n2")
    world.loop.run_for(1)
    assert world.numbers("n2") == [2]
    assert world.numbers("n1") == []
    assert world.network.stats.to_absent == 1


def test_nothing_arrives_after_stop(world: World) -> None:
    """`stop` sends what is queued; afterwards the transport is silent both ways."""
    world.transports["n1"].send("n2", 0, TimeoutNow(1))
    world.loop.run_until_complete(world.nodes["n1"].spawn(world.transports["n1"].stop()))
    world.send("n1", "n2", 2)
    world.send("n2", "n1", 3)
    world.loop.run_for(1)
    assert (world.numbers("n1"), world.numbers("n2")) == ([], [1])


def test_a_full_queue_drops_new_messages(world: World) -> None:
    """A peer that cannot be reached costs bounded memory; the bound is the production transport's."""
    world.network.cut("n1", "n2", hold=True)
    big = AppendRequest(1, 0, 0, (Entry(1, 1, b"x" * (1 << 20)),), 0)
    for _ in range(40):
        world.transports["n1"].send("n2", 0, big)
        world.transports["n1"].flush()
    dropped = world.network.stats.queue_full
    assert dropped == 40 - QUEUE_BYTES_MAX // (1 << 20) + 1
    world.network.reset("n1", "n2")
    world.transports["n1"].send("n2", 0, big)
    world.transports["n1"].flush()
    assert world.network.stats.queue_full == dropped


def test_events_can_be_traced() -> None:
    """The hook sees each message with what happened to it."""
    events: list[tuple[Any, ...]] = []
    world = World(on_event=lambda *event: events.append(event))
    world.send("n1", "n2", 1)
    world.network.cut("n1", "n3")
    world.send("n1", "n3", 2)
    world.loop.run_for(1)
    assert events == [
        ("send", "n1", "n2", 0, TimeoutNow(1)),
        ("send", "n1", "n3", 0, TimeoutNow(2)),
        ("lost in cut", "n1", "n3", 0, TimeoutNow(2)),
        ("deliver", "n1", "n2", 0, TimeoutNow(1)),
    ]
    world.loop.close()


def test_one_seed_gives_one_run() -> None:
    """Under every mishap at once two runs of a seed agree to the last digit, and seeds differ."""

    def run(seed: int) -> Any:
        world = World(seed, count=5)
        world.network.set_faults(LinkFaults(loss=0.1, duplicate=0.1, reorder=0.1, delay=0.1, reset=0.01))
        for source in NAMES:
            for target in NAMES:
                if source != target:
                    world.send_many(source, target, 50)
        world.loop.call_at(0.02, world.network.split_majority)
        world.loop.call_at(0.03, world.network.heal)
        world.loop.run_for(30)
        world.loop.close()
        return world.arrived, world.network.stats, world.network.traffic

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_word_to_a_stranger_needs_no_link_and_meets_cuts() -> None:
    """A peer is told, too: it may be a stranger to one of many groups (seed 20003 on four nodes)."""
    world = World(count=2)
    told: list[tuple[NodeId, Stranger]] = []
    world.nodes["n2"].spawn(world.transports["n2"].start(lambda *_: None, lambda *word: told.append(word)))
    word = Stranger(0, 7, (("n1", "127.0.0.1:7001@17001"),))
    world.transports["n1"].tell_stranger("n2", word)
    world.loop.run_for(1)
    assert told == [("n1", word)]
    world.transports["n1"].set_peers({})
    world.transports["n1"].tell_stranger("n2", word)
    world.loop.run_for(1)
    assert told == [("n1", word)] * 2
    world.network.cut("n1", "n2")
    world.transports["n1"].tell_stranger("n2", word)
    world.loop.run_for(1)
    assert (told, world.network.stats.words_to_strangers) == ([("n1", word)] * 2, 3)


def test_who_moved_is_found_by_those_who_know() -> None:
    """What is sent to an address that a node has left is lost; whoever knows the new one is heard."""
    world = World()
    first, second, third = NAMES[:3]
    transport = world.network.attach(second, world.nodes[second], "127.0.0.1:7102")
    heard: list[str] = []
    world.nodes[second].spawn(transport.start(lambda source, _group, _message: heard.append(source)))
    world.transports[third].set_peers({second: "127.0.0.1:7102"})
    world.send(first, second, 1)
    world.send(third, second, 2)
    world.loop.run_for(1.0)
    assert heard == [third]
    assert world.network.stats.to_old_address == 1
