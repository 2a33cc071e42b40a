"""The frame reader, fed in every way a network may."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.errors import PeerError
from raftline.transport.frame import HEADER_BYTES, PREFACE, FrameReader, add_header

PAYLOADS = [b"a", b"0123456789", b"RAFTLINE", b"\x00\x00\x00\x01"]


def stream_of(payloads: list[bytes]) -> bytes:
    """Return the bytes of one direction that carries `payloads`."""
    return PREFACE + b"".join(bytes(add_header(bytearray(HEADER_BYTES) + payload)) for payload in payloads)


def read_all(reader: FrameReader, *pieces: bytes) -> list[bytes]:
    """Feed `pieces` one by one and return every payload."""
    payloads = []
    for piece in pieces:
        reader.feed(piece)
        while (payload := reader.next_frame()) is not None:
            payloads.append(bytes(payload))
    return payloads


def test_every_pair_of_split_points_gives_the_same_frames() -> None:
    """Wherever a stream is cut in three, the same payloads come out."""
    stream = stream_of(PAYLOADS)
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            pieces = (stream[:first], stream[first:second], stream[second:])
            assert read_all(FrameReader(16), *pieces) == PAYLOADS, (first, second)


def test_byte_by_byte() -> None:
    """A sender that gives one byte at a time is understood."""
    stream = stream_of(PAYLOADS)
    assert read_all(FrameReader(16), *(bytes([byte]) for byte in stream)) == PAYLOADS


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_any_frames_in_any_pieces(payloads: list[bytes], cuts: list[int]) -> None:
    """Any payloads, cut anywhere, come out whole and in order."""
    stream = stream_of(payloads)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[low:high] for low, high in itertools.pairwise(edges)]
    assert read_all(FrameReader(40), *pieces) == payloads


@pytest.mark.parametrize("split", range(len(PREFACE) + HEADER_BYTES + 1))
def test_a_frame_above_the_limit_is_refused_from_its_header_alone(split: int) -> None:
    """The announcement of a longer frame is enough to refuse it; none of its bytes is waited for."""
    stream = PREFACE + (17).to_bytes(HEADER_BYTES, "big")
    reader = FrameReader(16)
    with pytest.raises(PeerError, match="a frame of 17 bytes was announced; allowed are 1 to 16"):
        read_all(reader, stream[:split], stream[split:])
    assert reader.buffered_bytes <= HEADER_BYTES


def test_an_announced_frame_costs_nothing_before_it_arrives() -> None:
    """Memory is held for bytes that came, not for bytes that were promised."""
    reader = FrameReader(1 << 30)
    assert read_all(reader, PREFACE, (1 << 30).to_bytes(HEADER_BYTES, "big"), b"xyz") == []
    assert reader.buffered_bytes == HEADER_BYTES + 3
    assert reader._partial.__sizeof__() < 1024


def test_an_empty_frame_is_refused() -> None:
    """No peer sends a frame without a payload."""
    with pytest.raises(PeerError, match="a frame of 0 bytes"):
        read_all(FrameReader(16), PREFACE + bytes(HEADER_BYTES))


@pytest.mark.parametrize("position", range(len(PREFACE)))
def test_another_protocol_is_refused_at_its_first_wrong_byte(position: int) -> None:
    """Whoever begins differently is refused as soon as it differs, without a timeout."""
    with pytest.raises(PeerError, match="not a raftline peer"):
        read_all(FrameReader(16), PREFACE[:position], b"?")


def test_a_refusal_shows_what_came_instead() -> None:
    """The operator sees which protocol knocked."""
    with pytest.raises(PeerError, match="GET / HT"):
        read_all(FrameReader(16), b"GET / HTTP/1.1\r\n")


def test_frames_before_a_bad_one_are_delivered() -> None:
    """What was complete before the damage is not lost with it."""
    reader = FrameReader(16)
    reader.feed(stream_of([b"good"]) + b"\xff\xff\xff\xff")
    assert bytes(reader.next_frame() or b"") == b"good"
    with pytest.raises(PeerError):
        reader.next_frame()


def test_the_limit_may_be_raised_between_two_frames() -> None:
    """After the handshake longer frames are allowed, even those that came with it."""
    reader = FrameReader(4)
    reader.feed(stream_of([b"1234", b"12345678"]))
    assert bytes(reader.next_frame() or b"") == b"1234"
    reader.max_frame_bytes = 8
    assert bytes(reader.next_frame() or b"") == b"12345678"
    assert reader.next_frame() is None
