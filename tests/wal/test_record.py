"""A frame is its bytes, all of them, in its place: nothing else passes its checks."""

import msgspec
import pytest

from raftline.core.entries import KIND_MEMBERSHIP, Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import TooLarge
from raftline.wal import record
from raftline.wal.record import (
    END_MARK,
    HEADER,
    MAGIC,
    SegmentHeader,
    Write,
    decode_header,
    decode_writes,
    encode_frame,
    first_salt,
    frame_bytes,
    header_checksum,
    payload_checksum,
    salt_of,
)

META = SnapshotMeta(9, 2, Membership.of({"n1": "127.0.0.1:1@2", "n2": "127.0.0.1:3@4"}))


def test_records_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode and decode are symmetrical, every field, large numbers and empty data included (C9)."""
    writes = (
        Write(group=0, entries=(Entry(1, 1, b""), Entry(2**62, 2**63, b"\0\xff" * 9, KIND_MEMBERSHIP, 2**40))),
        Write(group=2**31, hard_state=HardState(7, "n2", established=False)),
        Write(group=1, reset=META, entries=(Entry(10, 2, b"x"),), hard_state=HardState()),
    )
    frame = encode_frame(writes, 5, 77)
    assert decode_writes(frame[HEADER.size : -len(END_MARK)]) == writes
    header = SegmentHeader(1, "c", "n1", 3, 1 << 26, {0: HardState(4, "n1")}, {2: META}, {0: 12, 2: 9})
    assert decode_header(encode_frame(header, 5, 3)[HEADER.size : -len(END_MARK)]) == header
    monkeypatch.setattr(record, "PAYLOAD_BYTES_MAX", 10)
    with pytest.raises(TooLarge, match="limit of 10"):
        encode_frame(writes, 5, 77)


def test_the_layout_is_the_documented_one() -> None:
    """Magic, length, number, two checksums, payload, end mark: little-endian, 24 bytes of header."""
    frame = encode_frame([Write(group=0, hard_state=HardState(1))], 258, 99)
    magic, length, number, header_crc, crc = HEADER.unpack_from(frame)
    assert (magic, number, frame[8:16]) == (MAGIC, 258, b"\x02\x01" + bytes(6))
    assert len(frame) == frame_bytes(length) == 24 + length + 4
    assert header_crc == header_checksum(frame[:16], 99)
    assert crc == payload_checksum(header_crc, frame[24:-4]) == salt_of(frame)
    assert frame.endswith(END_MARK)
    assert 0 not in END_MARK


def test_every_part_of_the_header_is_in_its_checksum() -> None:
    """Another length, number or segment gives another checksum."""
    frame = encode_frame([], 1, first_salt(1))
    checksum = header_checksum(frame[:16], first_salt(1))
    assert header_checksum(frame[:16], first_salt(2)) != checksum
    for position in range(16):
        changed = bytearray(frame[:16])
        changed[position] ^= 1
        assert header_checksum(bytes(changed), first_salt(1)) != checksum


def test_nonsense_is_not_decoded() -> None:
    """What has the wrong shape raises, whatever its checksum says."""
    for payload in (b"", b"\xc1", b"\x91\x01", b"\x91\x94\x00\x91\x01\xc0\xc0"):
        with pytest.raises(msgspec.MsgspecError):
            decode_writes(payload)
        with pytest.raises(msgspec.MsgspecError):
            decode_header(payload)
