"""Which of the 16,384 slots a key belongs to: CRC16 of its hash tag, exactly as Redis Cluster computes it."""

from binascii import crc_hqx

from raftline.shards.ranges import SLOT_COUNT

__all__ = ["BRACE", "SLOT_COUNT", "slot_of"]

BRACE = ord("{")
"""Begins a hash tag. Looked for as a number: `b"{" in key` first tries to make a number of it, which takes ten times as
long (Python 3.11).
"""


def slot_of(key: bytes) -> int:
    """Return the slot of `key`; if it holds a non-empty `{tag}`, that of the tag, so that keys can be kept together."""
    if BRACE in key:
        start = key.index(b"{") + 1
        end = key.find(b"}", start)
        if end > start:
            key = key[start:end]
    return crc_hqx(key, 0) & 0x3FFF
