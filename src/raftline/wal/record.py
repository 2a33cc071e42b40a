"""Frames and records: how bytes in a segment are known to be what was written, all of it, and in order.

frame   offset  size  field
            0     4  magic
            4     4  payload length in bytes
            8     8  frame number: one more than the frame before, across segments
           16     4  CRC32C of bytes 0 to 16 and of the segment's number: a frame of an earlier life never fits
           20     4  CRC32C of the payload, seeded with the field before
           24     n  payload: a MessagePack list of records
         24+n     4  end mark

A frame is one batch: one write, one fsync, and the next frame is begun only after it.
"""

import struct
from collections.abc import Sequence

import google_crc32c
import msgspec

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import GroupId

__all__ = ["END_MARK", "HEADER", "MAGIC", "Record", "SegmentHeader", "Write", "decode_payload", "encode_frame"]

MAGIC = b"RLw1"
END_MARK = b"\xe5\x4e\xd0\x1d"
HEADER = struct.Struct("<4sIQII")
_PREFIX = struct.Struct("<4sIQ")
_SALT = struct.Struct("<Q")
_crc = google_crc32c.extend


class Write(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One group's share of a batch; also the record on disk.

    `reset` applies first: the log of the group starts anew behind an installed snapshot. Then `entries`: if the
    first one's index is not behind the end, they replace everything from there on.
    """

    group: GroupId
    entries: tuple[Entry, ...] = ()
    hard_state: HardState | None = None
    reset: SnapshotMeta | None = None


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload of a segment's first frame: whose it is, and all that older segments would be needed for."""

    version: int
    cluster_id: str
    node_id: str
    sequence: int
    size_bytes: int
    hard_states: dict[GroupId, HardState]
    resets: dict[GroupId, SnapshotMeta]


Record = Write

_encode = msgspec.msgpack.Encoder().encode
_decode_writes = msgspec.msgpack.Decoder(tuple[Write, ...]).decode
_decode_header = msgspec.msgpack.Decoder(SegmentHeader).decode


def encode_frame(payload: Sequence[Write] | SegmentHeader, number: int, segment: int) -> bytes:
    """Return the bytes of frame `number` in segment `segment`."""
    body = _encode(payload)
    prefix = _PREFIX.pack(MAGIC, len(body), number)
    header_crc = header_checksum(prefix, segment)
    return b"".join((HEADER.pack(MAGIC, len(body), number, header_crc, _crc(header_crc, body)), body, END_MARK))


def header_checksum(prefix: bytes, segment: int) -> int:
    """Return the checksum of a frame's first 16 bytes in segment `segment`."""
    return int(_crc(_crc(0, prefix), _SALT.pack(segment)))


def payload_checksum(header_crc: int, body: bytes) -> int:
    """Return the checksum of a payload."""
    return int(_crc(header_crc, body))


def decode_payload(body: bytes, *, first: bool) -> tuple[Write, ...] | SegmentHeader:
    """Return a frame's records, or the segment's header if it is the first; raises `msgspec.MsgspecError`."""
    return _decode_header(body) if first else _decode_writes(body)
