"""The way out: dialling, queueing, dropping, and dialling again."""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.transport.conftest import patient

from raftline.core.membership import Membership
from raftline.core.messages import Beat, ForwardRequest, Message, RemoteReply, SnapshotRequest, TimeoutNow
from raftline.transport.address import parse_address
from raftline.transport.codec import VERSIONS, Codec, Versions, Welcome
from raftline.transport.frame import PREFACE
from raftline.transport.notices import Notices
from raftline.transport.peer_link import LinkContext, LinkState, PeerLink
from raftline.transport.settings import TransportSettings

if TYPE_CHECKING:
    from tests.transport.conftest import World

Run = Callable[[Callable[["World"], Awaitable[None]]], None]


def welcome_of(name: str) -> bytes:
    """Return the bytes with which the node `name` lets another in."""
    return Codec().opening(Welcome(VERSIONS.newest, name))


def test_the_wait_doubles_up_to_its_limit_and_is_spread() -> None:
    """Attempts of several nodes do not fall together, and never stop."""

    async def main() -> None:
        context = LinkContext(
            node_id="a", cluster_id="c", versions=VERSIONS,
            settings=TransportSettings(backoff_s_min=0.1, backoff_s_max=1.0), codec=Codec(),
            random_source=random.Random(7), notices=cast("Notices", None), on_connection=print,
        )  # fmt: skip
        link = PeerLink("b", parse_address("h:1"), context)
        waits = [link._backoff_s() for _ in range(50)]
        for wait, longest in zip(waits, [0.1, 0.2, 0.4, 0.8, *[1.0] * 46], strict=True):
            assert longest / 2 <= wait <= longest
        assert len(set(waits)) == len(waits)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"-ERR unknown command 'RAFTLINE'\r\n", "not a raftline peer: it began with b'-ERR unk'"),
        (welcome_of("c"), r"is 'c', not 'b': check the address"),
        (PREFACE + b"\x00\x00\x00\x01\xc1", "an undecodable frame"),
        (PREFACE + b"\x00\x00\x00\x06\x91\xa4ping", "a ping instead of a welcome"),
        (PREFACE + b"\x00\x01\x00\x00", "a frame of 65536 bytes was announced"),
        (welcome_of("b") + welcome_of("b")[len(PREFACE) :], "a second welcome"),
        (Codec().opening(Welcome(9, "b")), "the peer wants protocol version 9; this node speaks versions 1 to 4"),
        (PREFACE + b"\x00\x00\x00\x05\x91\xa3new", "a frame of the unknown kind 'new' instead of a welcome"),
        (b"", "no complete handshake within 0.05 s"),
    ],
)
def test_a_peer_that_answers_wrongly_is_told_in_the_log_and_tried_again(run: Run, answer: bytes, reason: str) -> None:
    """Another protocol, another node, nonsense or silence: the reason is logged, and the link dials again."""
    settings = patient(handshake_timeout_s=60.0 if answer else 0.05, backoff_s_min=0.01, backoff_s_max=0.02)

    async def story(world: "World") -> None:
        calls = asyncio.Queue[None]()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.put_nowait(None)
            writer.write(answer)
            await reader.read()

        node = await world.node("a", peers={"b": await world.server(talk)}, settings=settings)
        while reason not in (line := await node.log.line())["reason"]:
            pass
        assert line["peer"] == "b"
        await calls.get()
        await calls.get()
        assert reason in node.transport.status()["b"].last_trouble

    run(story)


def test_a_refusal_is_logged_where_the_setting_is_wrong(run: Run) -> None:
    """A node of another cluster reads in its own log why nobody talks to it."""

    async def story(world: "World") -> None:
        b = await world.node("b", cluster="test")
        a = await world.node("a", cluster="staging", peers={"b": b.address})
        line = await a.log.line("peer not reached")
        assert line["reason"] == "the peer refused: cluster 'staging'; 'b' is of cluster 'test'"
        line = await b.log.line("peer connection refused")
        assert line["reason"] == "cluster 'staging'; 'b' is of cluster 'test'"
        assert not a.transport.status()["b"].connected

    run(story)


def test_pieces_of_a_snapshot_do_not_pile_up_before_a_slow_peer(run: Run) -> None:
    """A piece that is sent again while the one before it has not left costs nothing: one piece a peer is in memory."""
    piece_bytes = 1 << 20

    async def story(world: "World") -> None:
        async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            cast("asyncio.ReadTransport", writer.transport).pause_reading()
            writer.write(welcome_of("slow"))
            await writer.wait_closed()

        node = await world.node("a", peers={"slow": await world.server(never_read)})
        assert (await node.links.get())[1]
        membership = Membership.of({"a": "h:1"})
        for _ in range(50):
            node.send("slow", SnapshotRequest(1, 9, 1, membership, 0, b"x" * piece_bytes, done=False))
            assert node.transport.status()["slow"].queued_bytes < 2 * piece_bytes
        assert node.transport.status()["slow"].dropped_messages > 30
        node.send("slow", TimeoutNow(1))  # everything else waits for its turn, as it did
        assert node.transport.status()["slow"].dropped_messages < 50

    run(story)


def test_a_peer_that_never_reads_costs_bounded_memory_and_nobody_else_anything(run: Run) -> None:
    """The queue stops at its limit, what is beyond is dropped and counted, and another peer gets everything."""
    settings = patient(max_frame_bytes=100_000, queue_bytes=1_000_000, write_buffer_bytes=200_000)

    async def story(world: "World") -> None:
        async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            cast("asyncio.ReadTransport", writer.transport).pause_reading()
            writer.write(welcome_of("slow"))
            await writer.wait_closed()

        fast = await world.node("fast")
        peers = {"slow": await world.server(never_read), "fast": fast.address}
        node = await world.node("a", peers=peers, settings=settings)
        for _ in peers:
            assert (await node.links.get())[1]
        big = b"x" * 50_000
        for number in range(1000):
            message = ForwardRequest(1, 1, number, (big,))
            node.send("slow", message)
            node.send("fast", message)
            assert await fast.inbox.get() == ("a", 0, message)
            queued = node.transport.status()["slow"].queued_bytes
            assert queued <= settings.queue_bytes
        status = node.transport.status()
        assert status["slow"].connected
        assert status["slow"].dropped_messages > 500
        assert status["slow"].queued_bytes > settings.queue_bytes - settings.max_frame_bytes
        assert status["slow"].sent_messages + status["slow"].dropped_messages <= 1000
        assert (status["fast"].dropped_messages, status["fast"].sent_messages) == (0, 1000)
        assert [node.transport.has_room(peer, 1) for peer in ("slow", "fast", "away")] == [False, True, True]

    run(story)


def test_a_long_queue_leaves_in_pieces(run: Run) -> None:
    """Joined and encrypted at once it would hold the loop: the connection gets no more than it takes in a moment."""

    async def story(world: "World") -> None:
        b = await world.node("b")
        a = await world.node("a", peers={"b": b.address})
        await a.until_link("b", up=True)
        messages = [ForwardRequest(1, 1, number, (b"x" * 100_000,)) for number in range(200)]
        backlogs = []
        a.send("b", *messages)
        for message in messages:
            backlogs.append(a.transport._links["b"]._connection.backlog_bytes)  # type: ignore[union-attr]
            assert (await b.inbox.get())[2] == message
        assert max(backlogs) < 2_000_000
        assert a.transport.status()["b"].sent_messages == 200

    run(story)


def test_a_peer_that_reads_again_gets_what_was_queued(run: Run) -> None:
    """Whatever was held back goes out once the buffer drains, in order and without another send."""
    settings = patient(max_frame_bytes=1_000_000, queue_bytes=50_000_000, write_buffer_bytes=1000)

    async def story(world: "World") -> None:
        b = await world.node("b")
        a = await world.node("a", peers={"b": b.address}, settings=settings)
        await a.until_link("b", up=True)
        messages = [ForwardRequest(1, 1, number, (b"x" * 100_000,)) for number in range(100)]
        a.send("b", *messages[:50])
        a.send("b", *messages[50:])
        assert [(await b.inbox.get())[2] for _ in messages] == messages
        assert a.transport.status()["b"].queued_bytes == 0

    run(story)


def test_a_connection_made_when_its_time_is_up_is_made_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stood still while it connected does not hold on to a connection that is none."""
    on_connected = PeerLink.on_connected
    stalls = [0.2]

    def stalled(link: PeerLink, connection: Any) -> None:
        on_connected(link, connection)
        if stalls:
            time.sleep(stalls.pop())  # the process gets no processor

    monkeypatch.setattr(PeerLink, "on_connected", stalled)
    settings = patient(connect_timeout_s=0.1)

    async def story(world: "World") -> None:
        b = await world.node("b")
        a = await world.node("a", peers={"b": b.address}, settings=settings)
        await a.until_link("b", up=True)
        a.send("b", TimeoutNow(1))
        assert (await b.inbox.get())[2] == TimeoutNow(1)

    run(story)


def test_a_dead_peer_costs_no_memory(run: Run) -> None:
    """Between two attempts messages are dropped and counted, not kept: Raft will have something newer to say."""

    async def story(world: "World") -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen: nobody else gets the port meanwhile
            address = f"127.0.0.1:1@{nobody.getsockname()[1]}"
            once = patient(backoff_s_min=60.0, backoff_s_max=60.0)  # the second attempt does not begin
            a = await world.node("a", peers={"b": address}, settings=once)
            line = await a.log.line("peer not reached")
            assert "cannot connect" in line["reason"]
            a.send("b", *(TimeoutNow(term) for term in range(100)))
            status = a.transport.status()["b"]
            assert (status.queued_bytes, status.dropped_messages, status.connected) == (0, 100, False)

    run(story)


def test_what_waited_for_an_attempt_that_failed_is_dropped(run: Run) -> None:
    """Messages queued while the link was being opened do not outlive the attempt."""

    async def story(world: "World") -> None:
        b = await world.node("b", cluster="other")
        a = await world.node("a", peers={"b": b.address})
        a.send("b", TimeoutNow(1), TimeoutNow(2))
        assert a.transport.status()["b"].queued_bytes > 0
        await a.log.line("peer not reached")
        status = a.transport.status()["b"]
        assert (status.queued_bytes, status.dropped_messages) == (0, 2)

    run(story)


@pytest.mark.parametrize(
    ("theirs", "heard"),
    [
        (VERSIONS, [TimeoutNow(1), RemoteReply(7, 1, 0, ()), TimeoutNow(2), Beat(7)]),
        (Versions(1, 3), [TimeoutNow(1), TimeoutNow(2)]),
        (Versions(1, 1), [TimeoutNow(1), TimeoutNow(2)]),
    ],
)
def test_what_is_sent_while_the_link_is_being_opened_arrives(run: Run, theirs: Versions, heard: list[Message]) -> None:
    """Neither a new node's first vote request nor a reply to who connected first is lost to its own handshake.

    What the peer turns out to be too old for is dropped and counted.
    """
    said = (TimeoutNow(1), RemoteReply(7, 1, 0, ()), TimeoutNow(2), Beat(7))

    async def story(world: "World") -> None:
        b = await world.node("b", versions=theirs)
        a = await world.node("a", peers={"b": b.address})
        assert not a.transport.status()["b"].connected
        a.send("b", *said)
        await a.until_link("b", up=True)
        a.send("b", TimeoutNow(3))
        assert [(await b.inbox.get())[2] for _ in range(len(heard) + 1)] == [*heard, TimeoutNow(3)]
        status = a.transport.status()["b"]
        assert (status.queued_bytes, status.dropped_messages) == (0, len(said) - len(heard))
        assert status.sent_messages == len(heard) + 1

    run(story)


def test_an_attempt_that_fails_after_the_peer_dialled_us_is_made_again_at_once(run: Run) -> None:
    """It began when the peer was not there yet: what waits for the peer, as a reply to it, is kept for the next one.

    Once: one that fails again waits as any other does.
    """
    settings = patient(backoff_s_min=3600.0, backoff_s_max=3600.0)

    async def story(world: "World") -> None:
        calls = asyncio.Queue[asyncio.Future[bytes]]()

        async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.put_nowait(answer := asyncio.get_running_loop().create_future())
            writer.write(await answer)

        a = await world.node("a", peers={"b": await world.server(talk)}, settings=settings)
        first = await calls.get()
        client = await world.client(a)
        client.greet("b", "a")
        assert isinstance(await client.frame(), Welcome)
        a.send("b", RemoteReply(7, 1, 0, ()))
        first.set_result(b"")
        second = await calls.get()
        status = a.transport.status()["b"]
        assert status.queued_bytes > 0
        assert status.dropped_messages == 0
        second.set_result(welcome_of("c"))
        while "is 'c', not 'b'" not in (await a.log.line("peer not reached"))["reason"]:
            pass
        status = a.transport.status()["b"]
        assert (status.queued_bytes, status.dropped_messages) == (0, 1)
        assert a.transport._links["b"].state is LinkState.WAITING

    run(story)


def test_a_half_open_link_is_dropped_and_dialled_again(run: Run) -> None:
    """A peer that went away without a word is noticed by its silence."""
    settings = patient(ping_interval_s=0.01, silent_pings_max=3, backoff_s_min=0.01)

    async def story(world: "World") -> None:
        async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(welcome_of("b"))
            await reader.read()

        a = await world.node("a", peers={"b": await world.server(fall_silent)}, settings=settings)
        await a.until_link("b", up=True)
        await a.until_link("b", up=False)
        assert (await a.log.line("peer lost"))["reason"] == "silent for 0.03 s"
        await a.until_link("b", up=True)
        assert a.transport.status()["b"].reconnects == 1

    run(story)


def test_two_idle_nodes_stay_connected(run: Run) -> None:
    """Pings flow both ways when nothing else does, for many times the silence that would end a connection."""
    settings = patient(ping_interval_s=0.005, silent_pings_max=10)

    async def story(world: "World") -> None:
        a, b = await world.pair(settings)
        ticked = 0

        class Counter:
            def tick(self) -> None:
                nonlocal ticked
                ticked += 1
                if ticked == 60:
                    enough.set()

        enough = asyncio.Event()
        a.transport._links["counter"] = cast("PeerLink", Counter())
        await enough.wait()
        del a.transport._links["counter"]
        status = a.transport.status()["b"]
        assert status.connected
        assert status.reconnects == 0
        assert b.transport.refused_connections == 0

    run(story)
