"""Stop listening without resetting whoever has connected already.

A client is connected as soon as the kernel has shaken hands with it, before anybody accepts it; when a listening socket
is closed, the kernel resets those in its queue. A client that is reset cannot know whether its command took effect, and
sees a broken network where there was a planned end.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable

__all__ = ["stop_listening"]

_SO_ATTACH_FILTER = 26
_FLAGS_OFFSET, _SYN = 13, 0x02
"""Where a TCP header has its flags, and the flag of who wants to connect (RFC 9293, 3.1)."""
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS_OFFSET),  # load that byte
        (0x45, 0, 1, _SYN),  # if it has the flag, go on, else skip one
        (0x06, 0, 0, 0),  # drop the segment
        (0x06, 0, 0, 0xFFFF),  # take it whole
    )
)
"""A classic BPF program of four instructions (linux/filter.h)."""
_MADE_TURNS = 10
"""In how many turns of the loop what it has accepted has long got its protocol: asyncio takes five, uvloop three."""


async def stop_listening(server: asyncio.Server, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
    """Close the listening sockets of `server` once all who have connected have their protocols.

    Who wants to connect meanwhile is passed over, asks again a second later, as TCP does, and is refused then. Whose
    connection is still being made, a round trip or so, may be reset; so may others where the kernel has no filters for
    sockets, or where the process may have no more files. However this ends, nobody listens any more.
    """
    loop = asyncio.get_running_loop()
    accepted: list[socket.socket] = []
    try:
        for each in server.sockets:
            accepted += _accept_last(each.fileno())
        made = [loop.connect_accepted_socket(protocol_factory, each) for each in accepted]
        outcomes = await asyncio.gather(*made, return_exceptions=True)
        for connected, outcome in zip(accepted, outcomes, strict=True):
            if isinstance(outcome, BaseException):  # it is gone already, most likely
                connected.close()
        for _ in range(_MADE_TURNS):
            await asyncio.sleep(0)
    finally:
        server.close()


def _accept_last(fd: int) -> list[socket.socket]:
    """Have the kernel let nobody in any more, and return whoever waits to be accepted; uvloop takes one in a turn."""
    accepted: list[socket.socket] = []
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as listener:
        _let_nobody_in(listener)
        listener.settimeout(0)
        while True:  # until nobody waits (BlockingIOError), or there is no room
            accepted.append(listener.accept()[0])
    return accepted


def _let_nobody_in(listener: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    about = struct.pack("HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, about)
