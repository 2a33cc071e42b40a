"""Frames and records: how bytes in a segment are known to be what was written, all of it, and in order.

frame   offset  size  field
            0     4  magic
            4     4  payload length in bytes
            8     8  frame number: one more than the frame before, across segments
           16     4  CRC32C of bytes 0 to 16, seeded with the segment's salt: a frame of another file never fits
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
from raftline.core.ids import GroupId, Index
from raftline.errors import TooLarge

__all__ = [
    "END_MARK",
    "HEADER",
    "MAGIC",
    "PAYLOAD_BYTES_MAX",
    "SegmentHeader",
    "Write",
    "decode_header",
    "decode_writes",
    "encode_frame",
    "first_salt",
    "frame_bytes",
    "header_checksum",
    "payload_checksum",
    "salt_of",
]

MAGIC = b"RLw1"
END_MARK = b"\xe5\x4e\xd0\x1d"
HEADER = struct.Struct("<4sIQII")
PAYLOAD_BYTES_MAX = 1 << 30
_PREFIX = struct.Struct("<4sIQ")
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
    is_forgotten: bool = False
    """The group is hosted here no more: nothing written before counts. Such a record says nothing else."""


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload of a segment's first frame: whose it is, and all that older segments would be needed for."""

    version: int
    cluster_id: str
    node_id: str
    sequence: int
    size_bytes: int
    hard_states: dict[GroupId, HardState]
    resets: dict[GroupId, SnapshotMeta]
    log_ends: dict[GroupId, Index]
    """The last index of each group's log when the segment was begun."""


_encode = msgspec.msgpack.Encoder().encode
decode_writes = msgspec.msgpack.Decoder(tuple[Write, ...]).decode
"""Return a payload's records; raises `msgspec.MsgspecError`."""
decode_header = msgspec.msgpack.Decoder(SegmentHeader).decode
"""Return the header in a segment's first payload; raises `msgspec.MsgspecError`."""


def encode_frame(payload: Sequence[Write] | SegmentHeader, number: int, salt: int) -> bytes:
    """Return the bytes of frame `number` in the segment with `salt`; raises `TooLarge`."""
    body = _encode(payload)
    if len(body) > PAYLOAD_BYTES_MAX:
        raise TooLarge(f"a batch of {len(body)} bytes is above the log's limit of {PAYLOAD_BYTES_MAX}: propose less")
    prefix = _PREFIX.pack(MAGIC, len(body), number)
    header_crc = int(_crc(salt, prefix))
    return b"".join((HEADER.pack(MAGIC, len(body), number, header_crc, _crc(header_crc, body)), body, END_MARK))


def frame_bytes(payload_bytes: int) -> int:
    """Return the size of the frame around a payload."""
    return HEADER.size + payload_bytes + len(END_MARK)


def first_salt(sequence: int) -> int:
    """Return the salt of the first frame of segment `sequence`."""
    return sequence & 0xFFFFFFFF


def salt_of(first_frame: bytes) -> int:
    """Return the salt of all other frames of a segment: its first frame's payload checksum."""
    return int(HEADER.unpack_from(first_frame)[4])


def header_checksum(prefix: bytes, salt: int) -> int:
    """Return the checksum of a frame's first 16 bytes."""
    return int(_crc(salt, prefix))


def payload_checksum(header_crc: int, body: bytes) -> int:
    """Return the checksum of a payload."""
    return int(_crc(header_crc, body))
