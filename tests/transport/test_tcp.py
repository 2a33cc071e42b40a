"""Whole transports on loopback: what is sent arrives, and what happens around it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from tests.transport.conftest import patient

from raftline.core.entries import Entry
from raftline.core.membership import Membership
from raftline.core.messages import AppendRequest, ForwardRequest, ReadIndexRequest, SnapshotRequest, TimeoutNow
from raftline.errors import ConfigError
from raftline.runtime.ports import Transport
from raftline.transport.codec import _SINCE, Codec, Envelope, Stranger, Versions, Welcome
from raftline.transport.connection import Connection
from raftline.transport.tcp import TcpTransport

if TYPE_CHECKING:
    from tests.transport.conftest import World

Run = Callable[[Callable[["World"], Awaitable[None]]], None]


def test_it_is_the_transport_that_the_runtime_asks_for() -> None:
    """The port's protocol is implemented to the letter; mypy checks the assignment."""
    transport: Transport = TcpTransport("a", "test", ("127.0.0.1", 0))
    transport.set_peers({"b": "127.0.0.1:7001"})
    transport.send("b", 0, TimeoutNow(1))
    transport.flush()


def test_three_nodes_hear_each_other(run: Run) -> None:
    """Each node reaches each other one, in the order sent, under its name and for the group meant."""

    async def story(world: "World") -> None:
        nodes = {name: await world.node(name) for name in ("n1", "n2", "n3")}
        addresses = {name: node.address for name, node in nodes.items()}
        for node in nodes.values():
            node.transport.set_peers(addresses)
        for name, node in nodes.items():
            for to in nodes:
                if to != name:
                    node.transport.send(to, 1, TimeoutNow(1))
                    node.transport.send(to, 2, TimeoutNow(2))
            node.transport.flush()
        for name, node in nodes.items():
            arrivals = [await node.inbox.get() for _ in range(4)]
            for sender in set(nodes) - {name}:
                heard = [arrival[1:] for arrival in arrivals if arrival[0] == sender]
                assert heard == [(1, TimeoutNow(1)), (2, TimeoutNow(2))]

    run(story)


def test_a_snapshot_chunk_of_a_mebibyte_passes(run: Run) -> None:
    """Large messages travel like small ones, and small ones behind them arrive behind them."""

    async def story(world: "World") -> None:
        a, b = await world.pair()
        membership = Membership.of({"a": "h:1", "b": "h:2"})
        chunk = SnapshotRequest(3, 9, 2, membership, 0, bytes(range(256)) * 4096, done=True)
        a.send("b", chunk, TimeoutNow(3))
        assert await b.inbox.get() == ("a", 0, chunk)
        assert await b.inbox.get() == ("a", 0, TimeoutNow(3))

    run(story)


def test_a_turn_is_one_write_per_peer_and_one_encoding_for_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves before `flush`, then everything for a peer leaves at once; what goes to all is encoded once."""
    writes: list[bytes] = []
    encoded: list[object] = []
    write, control_frame = Connection.write, Codec.control_frame

    def recording_write(self: Connection, data: bytes | bytearray) -> None:
        writes.append(bytes(data))
        write(self, data)

    def recording_frame(self: Codec, value: Envelope) -> bytearray:
        encoded.append(value)
        return control_frame(self, value)

    async def story(world: "World") -> None:
        b, c = await world.node("b"), await world.node("c")
        a = await world.node("a", peers={"b": b.address, "c": c.address})
        for _ in range(2):
            assert (await a.links.get())[1]
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "write", recording_write)
            patch.setattr(Codec, "control_frame", recording_frame)
            for term in range(50):
                message = TimeoutNow(term)
                a.transport.send("b", 0, message)
                a.transport.send("c", 0, message)
            assert writes == []
            a.transport.flush()
            a.transport.flush()
            assert len(writes) == 2
            assert writes[0] == writes[1]
            assert len(encoded) == 50
        for node in (b, c):
            assert [(await node.inbox.get())[2] for _ in range(50)] == [TimeoutNow(term) for term in range(50)]

    run(story)


def test_the_counters_say_what_went_and_came(run: Run) -> None:
    """Messages and bytes are counted alike on both sides, pings and handshakes not at all."""

    async def story(world: "World") -> None:
        b = await world.node("b")
        a = await world.node("a", peers={"b": b.address})
        await a.until_link("b", up=True)
        b.transport.set_peers({"a": a.address})
        await b.until_link("a", up=True)
        a.send("b", *(AppendRequest(1, 2, 1, (Entry(3, 1, b"x" * size),), 2) for size in range(10)))
        for _ in range(10):
            await b.inbox.get()
        sent, received = a.transport.status()["b"], b.transport.status()["a"]
        assert (sent.sent_messages, sent.dropped_messages, sent.queued_bytes) == (10, 0, 0)
        assert (received.received_messages, received.received_bytes) == (10, sent.sent_bytes)
        assert sent.address == f"127.0.0.1:{b.transport.port}"
        assert (sent.connected, sent.reconnects, sent.last_trouble) == (True, 0, "")

    run(story)


def test_a_message_to_a_stranger_is_dropped(run: Run) -> None:
    """Sending to somebody who is no peer, or to oneself, does nothing."""

    async def story(world: "World") -> None:
        a, b = await world.pair()
        a.transport.set_peers({"a": a.address, "b": b.address})
        a.send("nobody", TimeoutNow(1))
        a.send("a", TimeoutNow(2))
        a.send("b", TimeoutNow(3))
        assert await b.inbox.get() == ("a", 0, TimeoutNow(3))
        assert a.inbox.empty()
        assert set(a.transport.status()) == {"b"}

    run(story)


def test_a_message_too_long_for_a_frame_is_dropped_and_told(run: Run) -> None:
    """What the peer would refuse is not sent: the connection survives, the log says what was too long."""

    async def story(world: "World") -> None:
        a, b = await world.pair(patient(max_frame_bytes=1000))
        a.send("b", ForwardRequest(1, 1, 1, (b"x" * 1000,)), TimeoutNow(1))
        assert await b.inbox.get() == ("a", 0, TimeoutNow(1))
        line = await a.log.line("message dropped: longer than a frame may be")
        assert (line["peer"], line["message"], line["size_max"]) == ("b", "ForwardRequest", 1000)
        assert a.transport.status()["b"].dropped_messages == 1

    run(story)


def test_a_restarted_peer_is_found_again(run: Run) -> None:
    """When a peer dies the link breaks; when it is back on its address the link opens and messages arrive again."""

    async def story(world: "World") -> None:
        a, b = await world.pair()
        port = b.transport.port
        assert a.transport.reaches("b")
        await b.transport.stop()
        await a.until_link("b", up=False)
        assert not a.transport.reaches("b")
        a.send("b", TimeoutNow(1))
        b = await world.node("b", port=port)
        await a.until_link("b", up=True)
        assert a.transport.reaches("b")
        assert not a.transport.reaches("nobody")
        a.send("b", TimeoutNow(2))
        assert await b.inbox.get() == ("a", 0, TimeoutNow(2))
        status = a.transport.status()["b"]
        assert (status.reconnects, status.dropped_messages) == (1, 1)

    run(story)


def test_a_peer_that_dials_us_is_dialled_at_once(run: Run) -> None:
    """A node that is heard of again is not kept waiting for the end of a backoff."""
    settings = patient(backoff_s_min=3600.0, backoff_s_max=3600.0)

    async def story(world: "World") -> None:
        a, b = await world.pair(settings)
        address, port = b.address, b.transport.port
        await b.transport.stop()
        await a.until_link("b", up=False)
        b = await world.node("b", port=port, peers={"a": a.address})
        assert b.address == address
        await a.until_link("b", up=True)

    run(story)


def test_peers_can_be_replaced(run: Run) -> None:
    """A removed peer's link closes, a new peer's opens, a moved peer is followed, an unchanged one is left alone."""

    async def story(world: "World") -> None:
        b, c = await world.node("b"), await world.node("c")
        elsewhere = await world.node("c")
        a = await world.node("a", peers={"b": b.address, "c": c.address})
        for _ in range(2):
            assert (await a.links.get())[1]
        a.send("b", TimeoutNow(1))
        a.transport.set_peers({"b": b.address, "c": elsewhere.address})
        await a.until_link("c", up=True)
        a.send("c", TimeoutNow(2))
        assert await elsewhere.inbox.get() == ("a", 0, TimeoutNow(2))
        assert c.inbox.empty()
        assert a.transport.status()["b"].sent_messages == 1
        a.transport.set_peers({"b": b.address})
        a.send("c", TimeoutNow(3))
        a.send("b", TimeoutNow(4))
        assert [(await b.inbox.get())[2] for _ in range(2)] == [TimeoutNow(1), TimeoutNow(4)]
        assert set(a.transport.status()) == {"b"}

    run(story)


@pytest.mark.parametrize(
    ("ours", "theirs", "spoken"),
    [((1, 2), (1, 1), 1), ((1, 1), (1, 2), 1), ((1, 2), (2, 3), 2), ((1, 2), (1, 2), 2)],
)
def test_old_and_new_nodes_speak_what_both_know(
    run: Run, ours: tuple[int, int], theirs: tuple[int, int], spoken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both directions; a message that came with a later version is not sent to who cannot know it."""
    monkeypatch.setitem(_SINCE, ReadIndexRequest, 2)

    async def story(world: "World") -> None:
        b = await world.node("b", versions=Versions(*theirs))
        a = await world.node("a", versions=Versions(*ours), peers={"b": b.address})
        await a.until_link("b", up=True)
        assert a.transport.status()["b"].version == spoken
        a.send("b", ReadIndexRequest(1, 1), TimeoutNow(4))
        heard = [(await b.inbox.get())[2] for _ in range(spoken)]
        assert heard == [ReadIndexRequest(1, 1), TimeoutNow(4)][-spoken:]
        assert a.transport.status()["b"].dropped_messages == 2 - spoken

    run(story)


@pytest.mark.parametrize(("theirs", "heard"), [((1, 3), 1), ((1, 2), 0)])
def test_a_node_that_is_no_peer_is_told_over_its_own_connection(
    theirs: tuple[int, int],
    heard: int,
    run: Run,
) -> None:
    """Unless it speaks a version that does not know the word; whoever is not connected hears nothing."""

    async def story(world: "World") -> None:
        b = await world.node("b")
        a = await world.node("a", versions=Versions(*theirs), peers={"b": b.address})
        await a.until_link("b", up=True)
        word = Stranger(0, 7, (("b", b.address),), 3)
        b.transport.tell_stranger("a", word)
        b.transport.tell_stranger("c", word)
        client = await world.client(b)
        client.greet("d", "b", versions=Versions(*theirs))
        assert isinstance(await client.frame(), Welcome)
        b.transport.tell_stranger("d", word)
        await b.transport.stop()
        assert await client.frame() == (word if heard else None)
        await a.until_link("b", up=False)
        assert a.strangers == ([("b", word)] if heard else [])

    run(story)


def test_nodes_without_a_common_version_say_which_to_upgrade(run: Run) -> None:
    """The reason is in the logs of both."""

    async def story(world: "World") -> None:
        b = await world.node("b", versions=Versions(3, 4))
        a = await world.node("a", versions=Versions(1, 2), peers={"b": b.address})
        while not a.transport.status()["b"].last_trouble:  # noqa: ASYNC110  counters have no events
            await asyncio.sleep(0.001)
        reason = "protocol versions 1 to 2; 'b' speaks versions 3 to 4: upgrade 'a' first"
        assert a.transport.status()["b"].last_trouble == f"the peer refused: {reason}"
        assert a.transport.status()["b"].version is None

    run(story)


def test_a_bad_address_changes_nothing(run: Run) -> None:
    """The set of peers is replaced as a whole or not at all."""

    async def story(world: "World") -> None:
        a, b = await world.pair()
        with pytest.raises(ConfigError, match="the port is missing"):
            a.transport.set_peers({"c": "127.0.0.1:7001", "d": "localhost"})
        assert set(a.transport.status()) == {"b"}
        a.send("b", TimeoutNow(1))
        assert await b.inbox.get() == ("a", 0, TimeoutNow(1))

    run(story)


def test_the_last_words_are_said(run: Run) -> None:
    """What was sent before `stop` still leaves, and after it everything is closed and silent."""

    async def story(world: "World") -> None:
        a, b = await world.pair()
        a.transport.send("b", 0, TimeoutNow(1))
        await a.transport.stop()
        assert await b.inbox.get() == ("a", 0, TimeoutNow(1))
        a.send("b", TimeoutNow(2))
        assert a.transport.status() == {}

    run(story)


def test_stopping_is_quick_while_a_peer_does_not_answer(run: Run) -> None:
    """An attempt to connect is given up when the node stops."""

    async def story(world: "World") -> None:
        async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            knocked.set()
            await reader.read()

        knocked = asyncio.Event()
        a = await world.node(
            "a", peers={"b": await world.server(say_nothing)}, settings=patient(handshake_timeout_s=3600.0)
        )
        await knocked.wait()
        await a.transport.stop()
        assert [task for task in asyncio.all_tasks() if "raftline" in task.get_name()] == []

    run(story)


@pytest.mark.parametrize(("node_id", "cluster_id"), [("", "c"), ("n", ""), ("n" * 201, "c"), ("n", "\u00fc" * 101)])
def test_names_that_do_not_fit_are_refused(node_id: str, cluster_id: str) -> None:
    """A name that no handshake could carry is a mistake of the configuration."""
    with pytest.raises(ConfigError, match="must have 1 to 200 bytes"):
        TcpTransport(node_id, cluster_id, ("127.0.0.1", 0))
