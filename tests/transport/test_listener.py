"""The way in: who is let in, who is not, and what it costs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.transport.conftest import patient

from raftline.core.messages import TimeoutNow
from raftline.errors import ConfigError
from raftline.transport.codec import HANDSHAKE_BYTES_MAX, VERSIONS, Envelope, Hello, Ping, Refusal, Versions, Welcome
from raftline.transport.frame import PREFACE

if TYPE_CHECKING:
    from tests.transport.conftest import RawClient, World

Run = Callable[[Callable[["World"], Awaitable[None]]], None]


def test_a_node_of_this_cluster_is_let_in_and_heard(run: Run) -> None:
    """The handshake is answered, and messages are delivered under the name given there."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        client = await world.client(node)
        client.greet("a", "b")
        client.say(Envelope(4, TimeoutNow(9)), Ping())
        assert await client.frame() == Welcome(VERSIONS.newest, "b")
        assert await node.inbox.get() == ("a", 4, TimeoutNow(9))

    run(story)


def test_a_message_of_an_unknown_kind_is_passed_over(run: Run) -> None:
    """A newer node may say what this one does not know; the connection lives on, and it is counted and told."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        client = await world.client(node)
        client.greet("a", "b", versions=Versions(1, 9))
        assert await client.frame() == Welcome(VERSIONS.newest, "b")
        for later in (["m", 0, ["Z", {"new": 1}]], ["later", 1]):
            payload = msgspec.msgpack.encode(later)
            client.writer.write(len(payload).to_bytes(4, "big") + payload)
        client.say(Envelope(4, TimeoutNow(9)))
        assert await node.inbox.get() == ("a", 4, TimeoutNow(9))
        assert node.transport.passed_over_messages == 2
        assert node.transport.refused_connections == 0
        assert [(await node.log.line())["kind"] for _ in range(2)] == ["Z", "later"]

    run(story)


def test_a_message_in_pieces_is_put_together(run: Run) -> None:
    """A handshake and a message that arrive in three pieces, cut within headers, are understood."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        client = await world.client(node)
        hello = Hello(1, "test", "a", "b", VERSIONS.newest)
        stream = client.codec.opening(hello) + client.codec.control_frame(Envelope(0, TimeoutNow(9)))
        for piece in (stream[:10], stream[10:-6], stream[-6:-1]):
            client.writer.write(piece)
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.frame() == Welcome(VERSIONS.newest, "b")
        assert node.inbox.empty()
        client.writer.write(stream[-1:])
        assert await node.inbox.get() == ("a", 0, TimeoutNow(9))

    run(story)


def _garbage(client: "RawClient") -> None:
    client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def _overlong(client: "RawClient") -> None:
    client.writer.write(PREFACE + (HANDSHAKE_BYTES_MAX + 1).to_bytes(4, "big"))


def _undecodable(client: "RawClient") -> None:
    client.writer.write(PREFACE + b"\x00\x00\x00\x01\xc1")


def _too_early(client: "RawClient") -> None:
    client.writer.write(PREFACE)
    client.say(Envelope(0, TimeoutNow(9)))


def _only_ping(client: "RawClient") -> None:
    client.writer.write(PREFACE)
    client.say(Ping())


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (_garbage, "not a raftline peer: it began with b'GET / HT'"),
        (_overlong, "a frame of 1025 bytes was announced"),
        (_undecodable, "an undecodable frame of 1 bytes"),
        (_too_early, "a message before the handshake"),
        (_only_ping, "a ping before the handshake"),
        (
            lambda client: client.greet("a", "b", versions=Versions(98, 99)),
            "protocol versions 98 to 99; 'b' speaks versions 1 to 4: upgrade 'b' first",
        ),
        (lambda client: client.greet("a", "b", cluster="other"), "cluster 'other'; 'b' is of cluster 'test'"),
        (lambda client: client.greet("a", "c"), "'c' was meant, but this is 'b': check the address"),
        (lambda client: client.greet("b", "b"), "two nodes call themselves 'b'"),
        (lambda client: client.greet("", "b"), "the node id is empty"),
    ],
)
def test_whoever_does_not_belong_is_told_why_and_closed(
    run: Run, opening: "Callable[[RawClient], None]", reason: str
) -> None:
    """A reason goes back in a last frame and into the log, nothing is delivered, and the others notice nothing."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        friend = await world.client(node)
        friend.greet("friend", "b")
        assert await friend.frame() == Welcome(VERSIONS.newest, "b")
        client = await world.client(node)
        opening(client)
        refusal = await client.frame()
        assert isinstance(refusal, Refusal)
        assert refusal.reason.startswith(reason)
        assert await client.frame() is None
        line = await node.log.line("peer connection refused")
        assert line["reason"].startswith(reason)
        assert line["remote"].startswith("127.0.0.1:")
        assert node.transport.refused_connections == 1
        friend.say(Envelope(0, TimeoutNow(9)))
        assert await node.inbox.get() == ("friend", 0, TimeoutNow(9))

    run(story)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (b"\x01\x00\x00\x01", "a frame of 16777217 bytes was announced; allowed are 1 to 16777216"),
        (b"\x00\x00\x00\x03abc", "an undecodable frame of 3 bytes"),
        (None, "a second handshake"),
    ],
)
def test_a_node_that_begins_to_send_nonsense_is_told_why_and_closed(
    run: Run, frames: bytes | None, reason: str
) -> None:
    """Being let in once is no licence: an overlong, undecodable or misplaced frame ends the connection."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        client = await world.client(node)
        client.greet("a", "b")
        assert await client.frame() == Welcome(VERSIONS.newest, "b")
        if frames is None:
            client.say(Hello(1, "test", "a", "b", VERSIONS.newest))
        else:
            client.writer.write(frames)
        refusal = await client.frame()
        assert isinstance(refusal, Refusal)
        assert refusal.reason.startswith(reason)
        assert await client.frame() is None
        assert (await node.log.line("peer connection refused"))["peer"] == "a"

    run(story)


def test_half_a_handshake_times_out(run: Run) -> None:
    """A connection that never says who it is does not stay."""

    async def story(world: "World") -> None:
        node = await world.node("b", settings=patient(handshake_timeout_s=0.05))
        client = await world.client(node, PREFACE + b"\x00\x00")
        assert await client.frame() == Refusal("no complete handshake within 0.05 s")
        assert await client.frame() is None
        assert node.transport.unidentified_connections == 0

    run(story)


def test_idle_connections_are_few_and_do_not_keep_nodes_out(run: Run) -> None:
    """The oldest of too many silent connections is closed, so that a real node always finds a place."""

    async def story(world: "World") -> None:
        node = await world.node("b", settings=patient(unidentified_max=5))
        idle = [await world.client(node) for _ in range(20)]
        for client in idle[:15]:
            refusal = await client.frame()
            assert refusal == Refusal("too many connections that do not say who they are")
            assert await client.frame() is None
        assert node.transport.unidentified_connections == 5
        newcomer = await world.client(node)
        newcomer.greet("a", "b")
        assert await newcomer.frame() == Welcome(VERSIONS.newest, "b")

    run(story)


def test_nodes_are_limited_in_number(run: Run) -> None:
    """Names can be made up; beyond the limit a new one is refused, a known one may come back."""

    async def story(world: "World") -> None:
        node = await world.node("b", settings=patient(identified_max=2))
        for name in ("x", "y"):
            client = await world.client(node)
            client.greet(name, "b")
            assert isinstance(await client.frame(), Welcome)
        client = await world.client(node)
        client.greet("z", "b")
        assert await client.frame() == Refusal("2 nodes are connected already")
        client = await world.client(node)
        client.greet("x", "b")
        assert isinstance(await client.frame(), Welcome)

    run(story)


def test_the_newer_connection_of_a_node_wins(run: Run) -> None:
    """What a restarted node left behind is closed when it comes back, and nothing more is read from it."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        older, newer = await world.client(node), await world.client(node)
        older.greet("a", "b")
        assert isinstance(await older.frame(), Welcome)
        newer.greet("a", "b")
        assert isinstance(await newer.frame(), Welcome)
        assert await older.frame() is None
        newer.say(Envelope(0, TimeoutNow(1)))
        assert await node.inbox.get() == ("a", 0, TimeoutNow(1))
        assert node.transport._listener is not None
        assert node.transport._listener.identified == ["a"]

    run(story)


def test_a_half_open_connection_is_closed(run: Run) -> None:
    """A node that stays silent for the set number of pings is gone."""

    async def story(world: "World") -> None:
        node = await world.node("b", settings=patient(ping_interval_s=0.01, silent_pings_max=3))
        client = await world.client(node)
        client.greet("a", "b")
        assert isinstance(await client.frame(), Welcome)
        refusal = await client.frame()
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "silent for 0.03 s"
        assert await client.frame() is None

    run(story)


def test_a_node_outside_the_membership_is_heard(run: Run) -> None:
    """Whether a stranger's message counts is the core's decision; it is delivered, but counted for nobody."""

    async def story(world: "World") -> None:
        node = await world.node("b", peers={"a": "127.0.0.1:1@2"})
        client = await world.client(node)
        client.greet("stranger", "b")
        client.say(Envelope(0, TimeoutNow(1)))
        assert await node.inbox.get() == ("stranger", 0, TimeoutNow(1))
        assert set(node.transport.status()) == {"a"}

    run(story)


def test_an_address_that_is_taken_is_named(run: Run) -> None:
    """Two nodes cannot share an address, and the second is told so."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        with pytest.raises(ConfigError, match=f"cannot listen for peers on 127.0.0.1:{node.transport.port}: "):
            await world.node("c", port=node.transport.port)

    run(story)
