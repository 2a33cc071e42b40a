"""The network between simulated nodes: every message takes its time, and may be lost, doubled, overtaken or held.

Messages travel encoded, through the production codec, so nothing is shared by reference. Each direction of each link
has its own faults and its own cut; what is undisturbed keeps its order, as on a TCP connection. It decides nothing by
itself: faults come from `LinkFaults` and from whoever cuts links, chance from the random source it is given.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message
from raftline.sim.faults import CALM_LINK, LinkFaults
from raftline.sim.loop import SimLoop
from raftline.sim.network_stats import NetworkStats, Traffic
from raftline.sim.parcels import Link, Parcel, size_of
from raftline.sim.view import LoopView
from raftline.transport.codec import Codec, Envelope, Stranger
from raftline.transport.frame import HEADER_BYTES

__all__ = ["SimNetwork", "SimTransport"]

QUEUE_BYTES_MAX = 32 * 1024 * 1024
"""In flight on one link, as in the production transport; beyond it messages are dropped."""
QUEUE_MESSAGES_MAX = 100_000
_WORD_S = 0.001


class SimTransport:
    """Implements `runtime.ports.Transport` for one incarnation of one node.

    Invariants: nothing is sent before `flush`; nothing arrives before `start`, after `stop`, or once the node is dead.
    """

    def __init__(self, network: "SimNetwork", node_id: NodeId, loop: LoopView) -> None:
        self.node_id = node_id
        self.loop = loop
        self.peers: dict[NodeId, str] = {}
        self._network = network
        self._outbox: dict[NodeId, list[Parcel]] = {}
        self._on_message: Callable[[NodeId, GroupId, Message], None] | None = None
        self._on_stranger: Callable[[NodeId, Stranger], None] | None = None
        self._on_lost: Callable[[NodeId], None] | None = None

    @property
    def listening(self) -> bool:
        """Whether messages can arrive."""
        return self._on_message is not None and not self.loop.gone

    def send(self, to: NodeId, group: GroupId, message: Message) -> None:
        """Queue `message` until `flush`; dropped for a stranger."""
        if not self.listening or to not in self.peers or to == self.node_id:
            self._network.stats.to_stranger += 1
            return
        parcel = self._network.pack(group, message)
        batch = self._outbox.get(to)
        if batch is None:
            self._outbox[to] = [parcel]
        else:
            batch.append(parcel)

    def flush(self) -> None:
        """Hand everything queued to the network, one batch per peer."""
        if self._outbox:
            outbox, self._outbox = self._outbox, {}
            if self.listening:
                for peer, batch in outbox.items():
                    self._network.carry(self.node_id, peer, batch)
            self._network.forget()

    def set_peers(self, addresses: dict[NodeId, str]) -> None:
        """Replace the set of peers; one that does not answer at its address hears nothing."""
        self.peers = dict(addresses)
        self._outbox = {peer: batch for peer, batch in self._outbox.items() if peer in addresses}

    def trouble(self) -> None:
        """Nobody has a twin here."""

    def has_room(self, to: NodeId, size_bytes: int) -> bool:  # noqa: ARG002  no queue is bounded here
        """Say that there is room."""
        return True

    def reaches(self, to: NodeId) -> bool:
        """Say whether the peer's process runs: the connections to one that ended are reset at once."""
        return self.listening and to in self.peers and self._network.is_listening(to)

    def tell_stranger(self, to: NodeId, word: Stranger) -> None:
        """Say at once what needs no link: whoever is told has just asked for it, as a member of other groups, maybe."""
        if self.listening:
            self._network.tell_stranger(self.node_id, to, word)

    async def start(
        self,
        on_message: Callable[[NodeId, GroupId, Message], None],
        on_stranger: Callable[[NodeId, Stranger], None] | None = None,
        on_lost: Callable[[NodeId], None] | None = None,
    ) -> None:
        """Let messages arrive from now on."""
        self._on_message = on_message
        self._on_stranger = on_stranger
        self._on_lost = on_lost

    async def stop(self) -> None:
        """Send what is queued, then neither send nor receive."""
        self.flush()
        self._on_message = None

    def receive_word(self, source: NodeId, word: Stranger) -> None:
        """Hand over what a node says that this one is no peer of; runs as the node."""
        if self._on_stranger is not None and self.listening:
            self._on_stranger(source, word)

    def lose(self, peer: NodeId) -> None:
        """Notice that the connection to a peer broke; runs as the node."""
        if self._on_lost is not None and self.listening and peer in self.peers:
            self._on_lost(peer)

    def receive(self, source: NodeId, batch: Sequence[Parcel]) -> None:
        """Hand over what arrived from `source`, in order; runs as the node."""
        network = self._network
        for parcel in batch:
            if self._on_message is None or self.loop.gone:
                network.stats.to_absent += 1
                continue
            network.on_delivered(source, self.node_id, parcel)
            self._on_message(source, *network.unpack(parcel))


class SimNetwork:
    """Connects the nodes of one simulation.

    Invariants: an undisturbed link delivers in the order of sending; a message is altered by nothing; equal random
    sources and equal calls give equal deliveries.
    """

    def __init__(
        self,
        loop: SimLoop,
        random: Random,
        *,
        faults: LinkFaults = CALM_LINK,
        encode: bool = True,
        on_event: Callable[[str, NodeId, NodeId, GroupId, Message], None] | None = None,
    ) -> None:
        """Without `encode`, messages are passed as they are and no bytes are counted, for speed: they are immutable.

        `on_event(what, source, target, group, message)` sees what happens to each message, for a trace.
        """
        self.stats = NetworkStats()
        self.traffic: dict[NodeId, Traffic] = {}
        self._loop = loop
        self._draw = random.random
        self._faults = faults
        self._codec = Codec() if encode else None
        self._on_event = on_event
        self._transports: dict[NodeId, SimTransport] = {}
        self._addresses: dict[NodeId, str] = {}
        self._links: dict[tuple[NodeId, NodeId], Link] = {}
        self._packed = 0
        self.loses: Callable[[NodeId, NodeId, Message], bool] | None = None
        """Says of each message whether it is lost, for faults that hit some messages only."""
        self._flapping = 0
        """Changes at each heal, and so ends the flapping that began before it."""

    # --- nodes ------------------------------------------------------------------------------------------------------

    def attach(self, node_id: NodeId, loop: LoopView, address: str | None = None) -> SimTransport:
        """Return the transport of a new incarnation of `node_id`; messages to the earlier one may reach it.

        With `address` it is reached only by those who know it.
        """
        transport = SimTransport(self, node_id, loop)
        if address is not None:
            self._addresses[node_id] = address
        self._transports[node_id] = transport
        self.traffic.setdefault(node_id, Traffic())
        return transport

    @property
    def nodes(self) -> list[NodeId]:
        """Everyone who was ever attached, in that order."""
        return list(self._transports)

    def link_state(self, source: NodeId, target: NodeId) -> str:
        """Return `open`, `lossy cut` or `holding cut` for one direction."""
        cut = self._link(source, target).cut
        return "open" if cut is None else "holding cut" if cut else "lossy cut"

    # --- faults of single messages ----------------------------------------------------------------------------------

    def set_faults(self, faults: LinkFaults, *, source: NodeId | None = None, target: NodeId | None = None) -> None:
        """Apply `faults` to the links from `source` and to `target`; None stands for every node."""
        if source is None and target is None:
            self._faults = faults
        for first in self.nodes if source is None else [source]:
            for second in self.nodes if target is None else [target]:
                self._link(first, second).faults = faults

    def faults_of(self, source: NodeId, target: NodeId) -> LinkFaults:
        """Return what may happen to messages from `source` to `target`."""
        return self._link(source, target).faults

    # --- cuts -------------------------------------------------------------------------------------------------------

    def cut(self, source: NodeId, target: NodeId, *, hold: bool = False) -> None:
        """Let nothing through from `source` to `target`: messages are lost, or with `hold` wait for the mending."""
        self._link(source, target).cut = hold
        self.stats.cuts_one_way += 1

    def mend(self, source: NodeId, target: NodeId) -> None:
        """Open one direction again; what was held sets out now."""
        link = self._link(source, target)
        link.cut = None
        if link.held:
            held, link.held = sorted(link.held, key=lambda parcel: parcel.order), []
            self._release(link, held)
            self._depart(link, held)

    def cut_between(self, left: Sequence[NodeId], right: Sequence[NodeId], *, hold: bool = False) -> None:
        """Cut both directions of every link between two sets of nodes."""
        for first in left:
            for second in right:
                self._link(first, second).cut = hold
                self._link(second, first).cut = hold
        self.stats.cuts_both_ways += 1

    def partition(self, *groups: Sequence[NodeId], hold: bool = False) -> None:
        """Cut every link between different groups; the nodes in no group are one more group."""
        named = {node for group in groups for node in group}
        rest = [node for node in self.nodes if node not in named]
        parts = [*groups, rest]
        for position, left in enumerate(parts):
            for right in parts[position + 1 :]:
                for first in left:
                    for second in right:
                        self._link(first, second).cut = hold
                        self._link(second, first).cut = hold
        self.stats.partitions += 1

    def split_majority(self, *, hold: bool = False) -> tuple[list[NodeId], list[NodeId]]:
        """Partition the nodes by chance into a majority and a minority, and return both."""
        nodes = self.nodes
        shuffled = [nodes.pop(int(self._draw() * len(nodes))) for _ in range(len(nodes))]
        size = len(shuffled) // 2 + 1
        majority, minority = shuffled[:size], shuffled[size:]
        self.partition(majority, minority, hold=hold)
        return majority, minority

    def isolate(self, node: NodeId, *, hold: bool = False) -> None:
        """Cut a node off from everyone."""
        self.partition([node], hold=hold)

    def bridge(self, left: Sequence[NodeId], middle: NodeId, right: Sequence[NodeId], *, hold: bool = False) -> None:
        """Let two sides see `middle` but not each other."""
        assert middle not in left, "the bridge stands on neither side"
        assert middle not in right, "the bridge stands on neither side"
        self.cut_between(left, right, hold=hold)
        self.stats.bridges += 1

    def flap(self, source: NodeId, target: NodeId, *, up_s: float, down_s: float, hold: bool = False) -> None:
        """Cut and mend one direction in turn, until `heal`; the first cut comes at once."""
        self.stats.flaps += 1
        self._flap_down(source, target, up_s, down_s, hold, self._flapping)

    def heal(self) -> None:
        """Mend every link and end all flapping; faults of single messages stay as they are set."""
        self._flapping += 1
        self.stats.heals += 1
        for link in list(self._links.values()):
            self.mend(link.source, link.target)

    def reset(self, one: NodeId, other: NodeId) -> None:
        """Break the connections between two nodes: everything in flight or held, both ways, is lost."""
        self.stats.resets += 1
        for link in (self._link(one, other), self._link(other, one)):
            link.epoch += 1
            if link.held:
                held, link.held = link.held, []
                self._lose(link, held, "lost in reset")
                self._release(link, held)
        for here, there in ((one, other), (other, one)):
            transport = self._transports.get(here)
            if transport is not None and transport.listening:
                transport.loop.call_soon(transport.lose, there)

    def reset_node(self, node: NodeId) -> None:
        """Break every connection of a node, as its machine's crash does."""
        for other in self.nodes:
            if other != node:
                self.reset(node, other)

    def _flap_down(self, source: NodeId, target: NodeId, up_s: float, down_s: float, hold: bool, flapping: int) -> None:  # noqa: FBT001  internal
        if flapping == self._flapping:
            self._link(source, target).cut = hold
            self._loop.call_later(down_s, self._flap_up, source, target, up_s, down_s, hold, flapping)

    def _flap_up(self, source: NodeId, target: NodeId, up_s: float, down_s: float, hold: bool, flapping: int) -> None:  # noqa: FBT001  internal
        if flapping == self._flapping:
            self.mend(source, target)
            self._loop.call_later(up_s, self._flap_down, source, target, up_s, down_s, hold, flapping)

    # --- the way of one batch ---------------------------------------------------------------------------------------

    def pack(self, group: GroupId, message: Message) -> Parcel:
        """Return the message as it travels."""
        self._packed += 1
        if self._codec is None:
            return Parcel(group, message, None, 0, self._packed)
        frame = self._codec.frame_of(group, message)
        return Parcel(group, message, frame, len(frame), self._packed)

    def forget(self) -> None:
        """Let go of the latest message, which may be large."""
        if self._codec is not None:
            self._codec.forget()

    def unpack(self, parcel: Parcel) -> tuple[GroupId, Message]:
        """Return what the receiver reads."""
        if parcel.frame is None:
            return parcel.group, parcel.message
        assert self._codec is not None
        envelope = self._codec.decode_accepted(memoryview(parcel.frame)[HEADER_BYTES:])
        assert isinstance(envelope, Envelope)
        return envelope.group, envelope.message

    def carry(self, source: NodeId, target: NodeId, batch: list[Parcel]) -> None:
        """Take what `source` flushed for `target`."""
        link = self._link(source, target)
        size = size_of(batch)
        traffic = self.traffic[source]
        traffic.messages_sent += len(batch)
        traffic.bytes_sent += size
        self.stats.sent += len(batch)
        if self._on_event is not None:
            self._note("send", link, batch)
        if link.in_flight_bytes + size > QUEUE_BYTES_MAX or link.in_flight + len(batch) > QUEUE_MESSAGES_MAX:
            self.stats.queue_full += len(batch)
            self._note("queue full", link, batch)
            return
        if not self._answers_at(target, self._transports[source].peers.get(target)):
            self.stats.to_old_address += len(batch)
            self._note("old address", link, batch)
            return
        if self.loses is not None:
            batch = self._without_lost(link, batch, self.loses)
            if not batch:
                return
        if link.cut is not None:
            self._meet_cut(link, batch)
            return
        if link.faults.reset and self._draw() < link.faults.reset:
            self.reset(source, target)
        self._depart(link, batch)

    def tell_stranger(self, source: NodeId, target: NodeId, word: Stranger) -> None:
        """Carry a word to a node that is no peer, unless a cut is between them; no chance is drawn for it."""
        self.stats.words_to_strangers += 1
        self._loop.at(self._loop.now + _WORD_S, partial(self._arrive_word, source, target, word))

    def _arrive_word(self, source: NodeId, target: NodeId, word: Stranger) -> None:
        transport = self._transports.get(target)
        if transport is not None and transport.listening and self._link(source, target).cut is None:
            transport.loop.call_soon(transport.receive_word, source, word)

    def is_listening(self, node_id: NodeId) -> bool:
        """Say whether a node is up and takes messages in."""
        transport = self._transports.get(node_id)
        return transport is not None and transport.listening

    def _answers_at(self, node_id: NodeId, address: str | None) -> bool:
        """Say whether a node is where somebody takes it to be; one without an address is everywhere."""
        return address is None or self._addresses.get(node_id, address) == address

    def _without_lost(
        self, link: Link, batch: list[Parcel], loses: Callable[[NodeId, NodeId, Message], bool]
    ) -> list[Parcel]:
        lost = [parcel for parcel in batch if loses(link.source, link.target, parcel.message)]
        if lost:
            self.stats.lost_of_a_kind += len(lost)
            self._note("lost of a kind", link, lost)
            batch = [parcel for parcel in batch if parcel not in lost]
        return batch

    def _depart(self, link: Link, batch: list[Parcel]) -> None:
        faults = link.faults
        if faults.mishap:
            batch = [parcel for parcel in batch if not self._meet_mishap(link, parcel)]
            if not batch:
                return
        arrival = self._loop.now + faults.latency.sample(self._draw)
        if arrival <= link.last_arrival:
            arrival = math.nextafter(link.last_arrival, math.inf)
        link.last_arrival = arrival
        self._set_out(link, batch, arrival)

    def _meet_mishap(self, link: Link, parcel: Parcel) -> bool:
        """Draw the fate of one message; return True if it does not go on in line."""
        faults, stats = link.faults, self.stats
        fate = self._draw()
        if fate >= faults.mishap:
            return False
        now = self._loop.now
        if fate < faults.loss:
            stats.lost += 1
            self._note("lost", link, [parcel])
        elif fate < faults.loss + faults.duplicate:
            stats.duplicated += 1
            self._note("duplicated", link, [parcel])
            slow = faults.delay_latency if self._draw() < 0.1 else faults.latency
            self._set_out(link, [parcel], now + slow.sample(self._draw))
            return False
        elif fate < faults.loss + faults.duplicate + faults.reorder:
            stats.reordered += 1
            self._note("reordered", link, [parcel])
            factor = 1.0 + 9.0 * self._draw()
            self._set_out(link, [parcel], now + factor * faults.latency.sample(self._draw))
        else:
            stats.delayed += 1
            self._note("delayed", link, [parcel])
            self._set_out(link, [parcel], now + faults.delay_latency.sample(self._draw))
        return True

    def _set_out(self, link: Link, batch: list[Parcel], arrival: float) -> None:
        link.in_flight += len(batch)
        link.in_flight_bytes += size_of(batch)
        self._loop.at(arrival, partial(self._arrive, link, link.epoch, batch))

    def _arrive(self, link: Link, epoch: int, batch: list[Parcel]) -> None:
        self._release(link, batch)
        if epoch != link.epoch:
            self._lose(link, batch, "lost in reset")
            return
        if link.cut is not None:
            self._meet_cut(link, batch)
            return
        transport = self._transports.get(link.target)
        if transport is None or not transport.listening:
            self.stats.to_absent += len(batch)
            self._note("absent", link, batch)
            return
        transport.loop.call_soon(transport.receive, link.source, batch)

    def on_delivered(self, source: NodeId, target: NodeId, parcel: Parcel) -> None:
        """Count a message that its receiver is about to handle."""
        self.stats.delivered += 1
        traffic = self.traffic[target]
        traffic.messages_received += 1
        traffic.bytes_received += parcel.size_bytes
        if self._on_event is not None:
            self._on_event("deliver", source, target, parcel.group, parcel.message)

    def _meet_cut(self, link: Link, batch: list[Parcel]) -> None:
        if link.cut:
            self.stats.held_in_cut += len(batch)
            self._note("held", link, batch)
            link.held.extend(batch)
            link.in_flight += len(batch)
            link.in_flight_bytes += size_of(batch)
        else:
            self._lose(link, batch, "lost in cut")

    def _lose(self, link: Link, batch: Sequence[Parcel], why: str) -> None:
        if why == "lost in cut":
            self.stats.lost_in_cut += len(batch)
        else:
            self.stats.lost_in_reset += len(batch)
        self._note(why, link, batch)

    def _release(self, link: Link, batch: Sequence[Parcel]) -> None:
        link.in_flight -= len(batch)
        link.in_flight_bytes -= size_of(batch)

    def _note(self, what: str, link: Link, batch: Sequence[Parcel]) -> None:
        if self._on_event is not None:
            for parcel in batch:
                self._on_event(what, link.source, link.target, parcel.group, parcel.message)

    def _link(self, source: NodeId, target: NodeId) -> Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link(source, target, self._faults)
        return link
