"""TLS between real transports: who is let in, who is refused, and what both sides are told of it."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
from tests.transport.conftest import patient

from raftline.core.entries import Entry
from raftline.core.messages import AppendRequest, TimeoutNow
from raftline.errors import ConfigError
from raftline.transport.tls import TLS_FIRST_BYTE, TlsFiles, TlsRole, is_certified_as

if TYPE_CHECKING:
    from tests.conftest import Office
    from tests.transport.conftest import Node, RawClient, World

Run = Callable[[Callable[["World"], Awaitable[None]]], None]


def expired() -> datetime:
    """Return a moment in the past."""
    return datetime.now(UTC) - timedelta(days=1)


async def refused(world: "World", ours: TlsFiles | None, theirs: TlsFiles | None) -> tuple[str, str]:
    """Have a dial b, which must not work; return what b's log says of it, and what a's does."""
    b = await world.node("b", tls=theirs)
    a = await world.node("a", tls=ours, peers={"b": b.address})
    told_b = (await b.log.line("peer connection refused"))["reason"]
    told_a = (await a.log.line("peer not reached"))["reason"]
    assert a.transport.status()["b"].last_trouble
    return told_b, told_a


async def closed(client: "RawClient") -> None:
    """Wait until the other side has closed, whether with a word or without."""
    with contextlib.suppress(ConnectionError):
        assert await client.reader.read() == b""


async def linked(world: "World", office: "Office") -> "tuple[Node, Node]":
    """Start nodes a and b under TLS, with the link from a to b open."""
    b = await world.node("b", tls=office.files("b"))
    a = await world.node("a", tls=office.files("a"), peers={"b": b.address})
    await a.until_link("b", up=True)
    return a, b


def test_peers_with_certificates_of_their_ids_hear_each_other(run: Run, office: "Office") -> None:
    """Messages of a mebibyte and small ones behind them arrive over TLS in the order sent."""

    async def story(world: "World") -> None:
        a, b = await linked(world, office)
        large = AppendRequest(1, 0, 0, (Entry(1, 1, b"x" * (1 << 20)),), 0, 0, 0)
        a.send("b", large, TimeoutNow(2))
        assert await b.inbox.get() == ("a", 0, large)
        assert await b.inbox.get() == ("a", 0, TimeoutNow(2))

    run(story)


def test_nothing_that_a_peer_sends_can_be_read_on_the_way(run: Run, office: "Office") -> None:
    """The bytes of a command do not stand on the wire."""

    async def story(world: "World") -> None:
        b = await world.node("b", tls=office.files("b"))
        wire = bytearray()

        async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answers, onward = await asyncio.open_connection("127.0.0.1", b.transport.port)

            async def back() -> None:
                while data := await answers.read(65536):
                    writer.write(data)

            task = asyncio.get_running_loop().create_task(back())
            while data := await reader.read(65536):
                wire.extend(data)
                onward.write(data)
            onward.close()
            await asyncio.wait([task])

        a = await world.node("a", tls=office.files("a"), peers={"b": await world.server(tap)})
        await a.until_link("b", up=True)
        secret = AppendRequest(1, 0, 0, (Entry(1, 1, b"marker-of-a-secret"),), 0, 0, 0)
        a.send("b", secret)
        assert (await b.inbox.get())[2] == secret
        assert wire[0] == TLS_FIRST_BYTE
        assert b"marker-of-a-secret" not in wire

    run(story)


def test_a_dialler_of_another_authority_is_refused(run: Run, office: "Office") -> None:
    """A certificate of an unknown authority lets nobody in, and both logs say so."""

    async def story(world: "World") -> None:
        stranger = office.files("a", by=trustme.CA())
        told_b, told_a = await refused(world, stranger, office.files("b"))
        assert told_b == "its certificate is not accepted: unable to get local issuer certificate"
        assert told_a == "the other side does not know the authority of the certificate shown to it"

    run(story)


def test_an_acceptor_of_another_authority_is_left(run: Run, office: "Office") -> None:
    """A node does not talk to one whose authority it does not know, and both logs say so."""

    async def story(world: "World") -> None:
        told_b, told_a = await refused(world, office.files("a"), office.files("b", by=trustme.CA()))
        assert told_b == "the other side does not know the authority of the certificate shown to it"
        assert told_a == "its certificate is not accepted: unable to get local issuer certificate"

    run(story)


def test_an_expired_certificate_is_refused(run: Run, office: "Office") -> None:
    """A certificate whose time is over lets nobody in, and both logs say so."""

    async def story(world: "World") -> None:
        told_b, told_a = await refused(world, office.files("a", ends=expired()), office.files("b"))
        assert told_b == "its certificate is not accepted: certificate has expired"
        assert told_a == "the other side says that the certificate shown to it has expired"

    run(story)


def test_a_node_without_certificate_is_refused(run: Run, office: "Office") -> None:
    """Whoever shows no certificate is no peer, and both logs say so."""

    async def story(world: "World") -> None:
        files = office.files("a")
        bare = ssl.create_default_context(cafile=str(office.ca_file))
        files._contexts[TlsRole(is_server=False, needs_certificate=True)] = bare
        told_b, told_a = await refused(world, files, office.files("b"))
        assert told_b == "it shows no certificate, and one is required"
        assert told_a == "the other side requires a certificate, and none was shown"

    run(story)


def test_a_certificate_of_another_node_is_refused_by_the_dialler(run: Run, office: "Office") -> None:
    """A node that answers in another's place, with its own certificate, gets no message."""

    async def story(world: "World") -> None:
        b = await world.node("b", tls=office.files("c"))
        a = await world.node("a", tls=office.files("a"), peers={"b": b.address})
        reason = (await a.log.line("peer not reached"))["reason"]
        assert reason == "its certificate is not accepted: Hostname mismatch, certificate is not valid for 'b'"
        assert (await b.log.line("peer connection refused"))["reason"]

    run(story)


def test_a_certificate_of_another_node_is_refused_by_the_acceptor(run: Run, office: "Office") -> None:
    """A client's certificate of the same authority does not make its holder a peer: it must name the id claimed."""

    async def story(world: "World") -> None:
        told_b, told_a = await refused(world, office.files("client", "10.0.0.9"), office.files("b"))
        assert told_b == "it calls itself 'a', but its certificate names 10.0.0.9, client"
        assert told_a == f"the peer refused: {told_b}"

    run(story)


def test_plain_text_to_a_tls_port_is_refused_in_plain_text(run: Run, office: "Office") -> None:
    """A node without TLS is told in its own protocol that its peer speaks TLS."""

    async def story(world: "World") -> None:
        told_b, told_a = await refused(world, None, office.files("b"))
        assert told_b == "it sent plain text where TLS is spoken"
        assert told_a.startswith("the peer refused: this node speaks TLS with its peers: set tls_peers")

    run(story)


def test_tls_to_a_plain_port_is_refused(run: Run, office: "Office") -> None:
    """A node with TLS learns that its peer has none, and the peer's log says so, too."""

    async def story(world: "World") -> None:
        told_b, told_a = await refused(world, office.files("a"), None)
        assert told_b == "it speaks TLS, and this node plain text: tls_peers must be the same on all nodes"
        assert told_a == "the other side does not speak TLS here"

    run(story)


def test_whoever_says_nothing_is_closed(run: Run, office: "Office") -> None:
    """A connection that does not begin its handshake ends after the time for it, and does not keep a place."""

    async def story(world: "World") -> None:
        settings = patient(handshake_timeout_s=0.05)
        b = await world.node("b", tls=office.files("b"), settings=settings)
        client = await world.client(b)
        assert await client.reader.read() == b""
        assert (await b.log.line("peer connection refused"))["reason"] == "no complete TLS handshake within 0.05 s"

    run(story)


def test_handshakes_that_never_end_have_few_places(run: Run, office: "Office") -> None:
    """More connections than may be unidentified are closed at once while the others' handshakes are awaited."""

    async def story(world: "World") -> None:
        settings = patient(unidentified_max=2, handshake_timeout_s=20)
        b = await world.node("b", tls=office.files("b"), settings=settings)
        for _ in range(2):
            await world.client(b)
        late = await world.client(b)
        await closed(late)
        assert (await b.log.line("peer connection refused"))["reason"] == "too many TLS handshakes are under way"

    run(story)


def test_a_node_stops_while_handshakes_run(run: Run, office: "Office") -> None:
    """A dialler whose peer never answers the handshake, and an acceptor with a silent guest, stop at once."""

    async def story(world: "World") -> None:
        async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                pass

        settings = patient(handshake_timeout_s=1000)
        a = await world.node("a", tls=office.files("a"), settings=settings, peers={"b": await world.server(silent)})
        guest = await world.client(a)
        assert a.transport._listener is not None
        while not a.transport._listener._securing:  # noqa: ASYNC110  nothing tells of a handshake that begins
            await asyncio.sleep(0)
        await a.transport.stop()
        await closed(guest)

    run(story)


def test_a_reload_counts_for_new_connections(run: Run, office: "Office") -> None:
    """After a reload a new certificate is shown and a new authority believed; a bad file changes nothing."""

    async def story(world: "World") -> None:
        files_b = office.files("c", stem="b")
        b = await world.node("b", tls=files_b)
        a = await world.node("a", tls=office.files("a"), peers={"b": b.address})
        await a.log.line("peer not reached")
        (office.directory / "b.crt").write_text("nonsense")
        with pytest.raises(ConfigError, match=r"b\.crt with key .*b\.key: cannot be used"):
            files_b.reload()
        assert not a.transport.status()["b"].connected
        office.files("b", stem="b")
        files_b.reload()
        await a.until_link("b", up=True)

    run(story)


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ("cert", r"certificate .*x\.crt with key .*x\.key: cannot be read: No such file"),
        ("key", r"certificate .*x\.crt with key .*x\.key: cannot be used: key values mismatch"),
        ("ca", r"authority .*ca\.pem: cannot be (used|read)"),
    ],
)
def test_files_that_cannot_be_used_are_named(office: "Office", spoiled: str, words: str) -> None:
    """A missing certificate, a key that does not fit and an empty authority file are configuration errors."""
    office.files("x", stem="x")
    if spoiled == "cert":
        (office.directory / "x.crt").unlink()
    elif spoiled == "key":
        trustme.CA().issue_cert("x").private_key_pem.write_to_path(office.directory / "x.key")
    else:
        office.ca_file.write_text("")
    with pytest.raises(ConfigError, match=words):
        TlsFiles(str(office.directory / "x.crt"), str(office.directory / "x.key"), str(office.ca_file)).context(
            TlsRole(is_server=True, needs_certificate=True)
        )


def test_names_are_compared_whole_and_without_case() -> None:
    """`n1` is certified by `N1`'s name in lower case, and neither by `n10` nor by a wildcard."""
    assert is_certified_as(frozenset({"n1", "host"}), "N1")
    assert not is_certified_as(frozenset({"n10", "*"}), "n1")
    assert not is_certified_as(frozenset(), "n1")
