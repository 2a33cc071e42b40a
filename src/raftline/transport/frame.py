"""Bytes become frames: a preface that says which protocol this is, then length-prefixed payloads; sans-IO.

    preface   8 bytes   RAFTLINE, once, in each direction
    length    4 bytes   big-endian, of the payload alone
    payload   length bytes, at least 1

Feed what the socket gave, take complete payloads until None. It refuses to know what a payload means, and it
allocates nothing for a frame that was only announced: memory grows with the bytes that really arrived.
"""

from raftline.errors import PeerError

__all__ = ["HEADER_BYTES", "PREFACE", "FrameReader", "add_header"]

PREFACE = b"RAFTLINE"
"""The first bytes of either direction; whoever sends others is no raftline peer."""

_TLS_FIRST_BYTE = 0x16

HEADER_BYTES = 4
"""Size of the length prefix."""


def add_header(frame: bytearray) -> bytearray:
    """Write the length into the first `HEADER_BYTES` of `frame`, which the caller left free, and return it."""
    frame[:HEADER_BYTES] = (len(frame) - HEADER_BYTES).to_bytes(HEADER_BYTES, "big")
    return frame


class FrameReader:
    """Cuts a stream of bytes into payloads; after a PeerError it must not be used again.

    Invariants: at most one incomplete frame is held, no longer than `max_frame_bytes` and a header; everything that
    was fed has been taken (`next_frame` returned None) before more is fed.
    """

    __slots__ = ("_at", "_data", "_greeted", "_partial", "max_frame_bytes")

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        """The longest payload accepted; may be changed between two frames."""
        self._data = b""
        self._at = 0
        self._partial = bytearray()
        self._greeted = False

    @property
    def buffered_bytes(self) -> int:
        """Bytes held for a frame that is not complete yet."""
        return len(self._partial)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        assert self._at == len(self._data), "frames are still waiting to be taken"
        self._data = data
        self._at = 0

    def next_frame(self) -> memoryview | None:
        """Return the next complete payload, or None until more is fed; raise PeerError on what no peer sends."""
        if self._partial or not self._greeted:
            return self._finish_partial()
        data, at = self._data, self._at
        start = at + HEADER_BYTES
        if start <= len(data):
            end = start + self._length(data[at:start])
            if end <= len(data):
                self._at = end
                return memoryview(data)[start:end]
        self._keep_rest()
        return None

    def _keep_rest(self) -> None:
        """Set the incomplete frame at the end of what was fed aside; mostly there is none."""
        if self._at < len(self._data):
            self._partial += memoryview(self._data)[self._at :]
        self._data = b""
        self._at = 0

    def _finish_partial(self) -> memoryview | None:
        """Go on with a preface or frame that began in earlier bytes; copies only what belongs to it."""
        if not self._greeted:
            if not self._fill(len(PREFACE)):
                return None
            self._greeted = True
            self._partial = bytearray()
            return self.next_frame()
        if not self._fill(HEADER_BYTES):
            return None
        if not self._fill(HEADER_BYTES + self._length(self._partial[:HEADER_BYTES])):
            return None
        payload = memoryview(self._partial)[HEADER_BYTES:]
        self._partial = bytearray()
        return payload

    def _fill(self, size: int) -> bool:
        """Move bytes into the incomplete frame until it has `size` of them; say whether it has."""
        missing = size - len(self._partial)
        if missing > 0:
            piece = memoryview(self._data)[self._at : self._at + missing]
            self._partial += piece
            self._at += len(piece)
        if not self._greeted and not PREFACE.startswith(self._partial):
            if self._partial[0] == _TLS_FIRST_BYTE:
                raise PeerError("it speaks TLS, and this node plain text: tls_peers must be the same on all nodes")
            raise PeerError(f"not a raftline peer: it began with {bytes(self._partial)!r}, not {PREFACE!r}")
        return len(self._partial) >= size

    def _length(self, header: bytes | bytearray) -> int:
        length = int.from_bytes(header, "big")
        if not 0 < length <= self.max_frame_bytes:
            raise PeerError(f"a frame of {length} bytes was announced; allowed are 1 to {self.max_frame_bytes}")
        return length
