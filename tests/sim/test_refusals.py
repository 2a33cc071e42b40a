"""What virtual time has no place for is refused with the name of what to use instead."""

import asyncio
import socket

import pytest

from raftline.sim.loop import SimLoop
from raftline.sim.refusals import NotSimulated, RefusingLoop


def test_threads_are_refused() -> None:
    """Executors say that the disk thread is the way."""

    async def main() -> None:
        await asyncio.to_thread(print)

    with SimLoop(1) as loop, pytest.raises(NotSimulated, match="SimDiskThread"):
        loop.run_until_complete(main())


def test_sockets_are_refused() -> None:
    """Opening a connection or listening says that the transport is the way."""

    async def connect() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    async def listen() -> None:
        await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)

    with SimLoop(1) as loop, socket.socket() as raw:
        for coroutine in (connect(), listen()):
            with pytest.raises(NotSimulated, match="SimTransport"):
                loop.run_until_complete(coroutine)
        with pytest.raises(NotSimulated, match="sock_recv"):
            loop.sock_recv(raw, 1)


def test_processes_and_signals_are_refused() -> None:
    """Subprocesses and signal handlers are refused; the latter also as NotImplementedError, as asyncio words it."""

    async def run() -> None:
        await asyncio.create_subprocess_exec("true")

    with SimLoop(1) as loop:
        with pytest.raises(NotSimulated, match="node"):
            loop.run_until_complete(run())
        with pytest.raises(NotImplementedError, match="signals"):
            loop.add_signal_handler(2, print)


def test_nothing_of_the_abstract_loop_is_left_unanswered() -> None:
    """Every method of asyncio's abstract loop is either provided or refused by name."""
    abstract = {
        name
        for name in dir(asyncio.AbstractEventLoop)
        if not name.startswith("_") and callable(getattr(asyncio.AbstractEventLoop, name))
    }
    missing = {name for name in abstract if getattr(SimLoop, name) is getattr(asyncio.AbstractEventLoop, name)}
    assert missing == set()
    refused = [name for name in abstract if name in vars(RefusingLoop)]
    assert len(refused) > 30
