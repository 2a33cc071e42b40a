"""Which of the 16,384 slots a key belongs to: CRC16 of its hash tag, exactly as Redis Cluster computes it."""

from binascii import crc_hqx

from raftline.shards.ranges import SLOT_COUNT

__all__ = ["SLOT_COUNT", "slot_of"]


def slot_of(key: bytes) -> int:
    """Return the slot of `key`; if it holds a non-empty `{tag}`, that of the tag, so that keys can be kept together."""
    if b"{" in key:
        start = key.index(b"{") + 1
        end = key.find(b"}", start)
        if end > start:
            key = key[start:end]
    return crc_hqx(key, 0) & 0x3FFF
