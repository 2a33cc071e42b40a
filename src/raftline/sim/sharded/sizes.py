"""Small pieces everywhere: what takes megabytes in production takes a few keys here.

Values travel and are kept in several pieces, batches and chunks of slots hold a key or two, sessions travel a few at a
time. Only constants change, for as long as a run lasts.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from raftline.kv import pieces, snapshot
from raftline.kv.sharded import chunks, mover

__all__ = ["small_pieces"]

_ALL_CELLS = 1 << 16


@contextmanager
def small_pieces(records_max: int, piece_bytes: int) -> Iterator[None]:
    """Let a chunk or a batch hold `records_max` records, and a piece of a value `piece_bytes`, until the block ends."""
    wanted = (
        (pieces, "_PIECE_BYTES_MAX", piece_bytes),
        (pieces, "_PIECE_ITEMS_MAX", 4),
        (snapshot, "_CHUNK_CELLS_MAX", _ALL_CELLS),
        (chunks, "_CHUNK_RECORDS", records_max),
        (chunks, "_CHUNK_BYTES", 8 * piece_bytes),
        (chunks, "_CHUNK_SESSIONS", max(2, records_max)),
        (mover, "_BATCH_KEYS", records_max),
        (mover, "_BATCH_BYTES", 64 * piece_bytes),
        (mover, "_DROPPED_KEYS", records_max),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in wanted]
    for module, name, value in wanted:
        assert hasattr(module, name), name
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
