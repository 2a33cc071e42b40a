"""What both sides of a connection have in common, on a transport that only remembers."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from raftline.errors import PeerError
from raftline.transport.codec import Codec, Ping
from raftline.transport.connection import Connection
from raftline.transport.frame import PREFACE
from raftline.transport.settings import TransportSettings

SETTINGS = TransportSettings(silent_pings_max=3, ping_interval_s=0.5)
PING = bytes(Codec().control_frame(Ping()))


class _Wire:
    """Stands in for asyncio's transport."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.buffered = 0
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_extra_info(self, name: str) -> Any:
        return ("::1", 7) if name == "peername" else None


class _Side(Connection):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, SETTINGS, Codec())
        self.frames: list[bytes] = []
        self.ended: list[str] = []
        self.writable = 0

    def on_opened(self) -> None:
        pass

    def on_frame(self, payload: memoryview) -> None:
        self.frames.append(bytes(payload))
        if self.frames[-1] == b"end":
            self.end("asked to")
        if self.frames[-1] == b"bad":
            raise PeerError("bad frame")

    def on_ended(self, reason: str) -> None:
        self.ended.append(reason)

    def on_writable(self) -> None:
        self.writable += 1


def play(story: Callable[[_Side, _Wire], None]) -> None:
    """Run `story` with a connection that is made and identified, on a loop that does not turn."""

    async def main() -> None:
        side, wire = _Side(asyncio.get_running_loop()), _Wire()
        side.connection_made(cast("asyncio.BaseTransport", wire))
        side.become_identified(1 << 20)
        side.data_received(PREFACE)
        story(side, wire)

    asyncio.run(main())


def frames(*payloads: bytes) -> bytes:
    """Return `payloads` as frames."""
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)


def test_a_silent_side_is_given_up_after_so_many_pings() -> None:
    """Each tick sends a ping; the one after the last allowed ends the connection and says how long it was silent."""

    def story(side: _Side, wire: _Wire) -> None:
        for _ in range(SETTINGS.silent_pings_max):
            side.tick()
        assert wire.written == [PING] * SETTINGS.silent_pings_max
        assert wire.calls == []
        side.tick()
        assert wire.calls == ["close"]
        side.connection_lost(None)
        assert side.ended == ["silent for 1.5 s"]

    play(story)


def test_any_byte_ends_the_silence() -> None:
    """Half a frame is a sign of life too: a large message on a slow line is no silence."""

    def story(side: _Side, wire: _Wire) -> None:
        for byte in (100).to_bytes(4, "big") + bytes(99):
            side.tick()
            side.data_received(bytes([byte]))
        assert wire.calls == []
        assert side.frames == []

    play(story)


def test_no_ping_is_piled_onto_a_full_buffer() -> None:
    """While the buffer is above its mark nothing is added to it."""

    def story(side: _Side, wire: _Wire) -> None:
        side.pause_writing()
        side.tick()
        assert wire.written == []
        side.resume_writing()
        assert side.writable == 1
        side.tick()
        assert wire.written == [PING]

    play(story)


def test_nothing_is_handed_out_after_the_end() -> None:
    """Frames behind the one that ended the connection are not looked at, and nothing is written."""

    def story(side: _Side, wire: _Wire) -> None:
        side.data_received(frames(b"one", b"end", b"two"))
        side.data_received(frames(b"three"))
        side.write(b"late")
        side.tick()
        side.end("another reason")
        side.resume_writing()
        assert side.frames == [b"one", b"end"]
        assert (wire.written, wire.calls, side.writable) == ([], ["close"], 0)
        side.connection_lost(None)
        assert side.ended == ["asked to"]

    play(story)


def test_a_bad_frame_ends_the_connection_with_its_reason() -> None:
    """A PeerError in the handler is the reason that is reported."""

    def story(side: _Side, wire: _Wire) -> None:
        side.data_received(frames(b"bad", b"two"))
        side.connection_lost(None)
        assert (side.frames, wire.calls) == ([b"bad"], ["close"])
        assert side.ended == ["bad frame"]

    play(story)


@pytest.mark.parametrize(
    ("exception", "reason"),
    [(None, "closed by the other side"), (ConnectionResetError(104, "reset"), "[Errno 104] reset")],
)
def test_the_end_that_nobody_asked_for_has_a_reason(exception: Exception | None, reason: str) -> None:
    """A connection that just breaks is reported with what the system says."""

    def story(side: _Side, wire: _Wire) -> None:
        assert wire.calls == []
        side.connection_lost(exception)
        assert side.ended == [reason]
        assert side.backlog_bytes == 0

    play(story)


def test_an_ipv6_remote_is_written_in_brackets() -> None:
    """Logs show the other end as one would type it."""

    def story(side: _Side, wire: _Wire) -> None:
        assert side.remote == "[::1]:7"
        assert wire.high == SETTINGS.write_buffer_bytes

    play(story)


def test_a_buffer_that_does_not_drain_is_cut_off() -> None:
    """Closing waits for what was written, but not for ever."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        side, wire = _Side(loop), _Wire()
        side.connection_made(cast("asyncio.BaseTransport", wire))
        wire.buffered = 10
        side.end("done")
        timer = side._linger_timer
        assert timer is not None
        assert timer.when() <= loop.time() + 1.0
        timer._run()
        timer.cancel()
        assert wire.calls == ["close", "abort"]

    asyncio.run(main())


def test_a_connection_that_is_made_after_its_end_is_closed() -> None:
    """A connection nobody wants any more is not even greeted."""

    async def main() -> None:
        side, wire = _Side(asyncio.get_running_loop()), _Wire()
        side.end("no longer wanted")
        side.connection_made(cast("asyncio.BaseTransport", wire))
        assert wire.calls == ["abort"]

    asyncio.run(main())
