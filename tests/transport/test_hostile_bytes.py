"""Whatever bytes a peer sends, and whatever begins a TLS handshake: frames or an end with words, never an exception.

Each property begins with bytes that mean something and damages them; random bytes alone would be refused by their
first.
"""

import ssl
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.core.entries import Entry
from raftline.core.messages import AppendRequest, TimeoutNow
from raftline.errors import PeerError
from raftline.transport.codec import Codec, Envelope, Hello, Ping, UnknownKind
from raftline.transport.frame import FrameReader, add_header
from raftline.transport.tls import TlsFiles, TlsLayer, TlsRole

if TYPE_CHECKING:
    from tests.conftest import Office

_FRAME_BYTES_MAX = 1 << 16

Edits = list[tuple[float, str, bytes]]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(("flip", "cut", "repeat", "insert")), st.binary(min_size=1, max_size=6)),
    max_size=4,
)
places = st.lists(st.floats(0, 1), max_size=5)


def damaged(data: bytes, changes: Edits) -> bytes:
    """Return `data` after some changes at places between its beginning, 0, and its end, 1."""
    for place, kind, piece in changes:
        position = int(place * len(data))
        if kind == "flip":
            data = data[:position] + piece + data[position + len(piece) :]
        elif kind == "cut":
            data = data[:position] + data[position + piece[0] :]
        elif kind == "repeat":
            data = data[:position] + data[max(0, position - piece[0]) :]
        else:
            data = data[:position] + piece + data[position:]
    return data


def cut(data: bytes, marks: list[float]) -> list[bytes]:
    """Cut `data` into pieces, none of them empty."""
    ends = [0, *sorted(int(mark * len(data)) for mark in marks), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if end > start]


def peer_stream() -> bytes:
    """Return what a peer sends: preface and greeting, a ping, and messages, small ones and one with an entry."""
    codec = Codec()
    append = AppendRequest(3, 7, 2, (Entry(8, 3, b"command"),), 7)
    messages = (Envelope(0, append), Envelope(0, TimeoutNow(4)), Ping())
    greeting = codec.opening(Hello(1, "test", "a", "b", 3))
    return greeting + b"".join([codec.control_frame(each) for each in messages])


@settings(max_examples=300, deadline=None)
@given(edits, places)
def test_no_bytes_of_a_peer_break_its_reader(changes: Edits, marks: list[float]) -> None:
    """A damaged stream of frames gives frames or a PeerError, and what is held of it stays bounded (A9)."""
    reader, codec = FrameReader(_FRAME_BYTES_MAX), Codec()
    try:
        for piece in cut(damaged(peer_stream(), changes), marks):
            reader.feed(piece)
            while (payload := reader.next_frame()) is not None:
                try:
                    codec.decode_accepted(payload)
                except UnknownKind:
                    continue
            assert reader.buffered_bytes <= _FRAME_BYTES_MAX + 4
    except PeerError:
        return


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=100))
def test_no_payload_breaks_the_codec(payload: bytes) -> None:
    """A frame that is whole and holds anything is a frame that is known, one of an unknown kind, or a PeerError."""
    reader = FrameReader(_FRAME_BYTES_MAX)
    reader.feed(b"RAFTLINE" + bytes(add_header(bytearray(4) + payload)))
    whole = reader.next_frame()
    assert whole is not None
    for decode in (Codec().decode_accepted, Codec().decode_dialled):
        try:
            decode(whole)
        except (PeerError, UnknownKind):
            continue


class _Wire:
    """What a TLS layer writes to."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_over = False

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.is_over = True

    close = abort = write_eof

    def is_closing(self) -> bool:
        return self.is_over

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    pause_reading = resume_reading = get_write_buffer_size = set_write_buffer_limits = write_eof


def client_hello() -> bytes:
    """Return how a TLS client begins."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    end = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="b")
    with pytest.raises(ssl.SSLWantReadError):
        end.do_handshake()
    return outgoing.read()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits, places)
def test_no_bytes_break_a_handshake(tls_files: TlsFiles, timers: Any, changes: Edits, marks: list[float]) -> None:
    """A damaged TLS greeting is waited for or refused in words, once; nothing reaches the protocol behind it."""
    reasons: list[str] = []
    reached: list[object] = []
    inner: Any = type("Inner", (), {"connection_made": reached.append, "data_received": reached.append})()
    layer = TlsLayer(
        inner,
        tls_files.context(TlsRole(is_server=True, needs_certificate=True)),
        handshake_s_max=1,
        on_failed=lambda _layer, reason: reasons.append(reason),
    )
    wire: Any = _Wire()
    layer.connection_made(wire)
    for piece in cut(damaged(client_hello(), changes), marks):
        layer.data_received(piece)
    layer.connection_lost(None)
    assert not reached
    assert len(reasons) == 1
    assert reasons[0]
    assert timers is not None


@pytest.fixture
def tls_files(office: "Office") -> TlsFiles:
    """Return the files of a node."""
    return office.files("b")


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> object:
    """Stand in for the event loop, of which a handshake wants timers only."""
    timer: Any = type("Timer", (), {"cancel": lambda _self: None})
    loop: Any = type("Loop", (), {"call_later": lambda _self, *_: timer()})()
    monkeypatch.setattr("asyncio.get_running_loop", lambda: loop)
    return loop
