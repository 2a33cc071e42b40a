"""The disk thread: blocking file work in the order given, its outcomes handed back to the event loop.

One thread, one queue, no lock around anything of Raft's; nobody waits here while holding something.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["ThreadedDisk", "run_on_disk"]

T = TypeVar("T")


class ThreadedDisk:
    """A `DiskThread` that is a real thread.

    Invariant: `done` callbacks run on the event loop, in the order of `submit`.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run `work` on the thread, then `done` on the loop."""
        self._work.put((work, done))

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, done = item
            result: Any
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  handed to whoever submitted the work
                result = error
            try:
                self._loop.call_soon_threadsafe(done, result)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell


async def run_on_disk(disk: Any, work: Callable[[], T], unwanted: Callable[[T], None] | None = None) -> T:
    """Await one piece of disk work; raises what it raised.

    `unwanted` gets a result that nobody waits for any more, on the event loop: what was opened is to be closed.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def done(result: T | BaseException) -> None:
        if future.done():
            if unwanted is not None and not isinstance(result, BaseException):
                unwanted(result)
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)

    disk.submit(work, done)
    try:
        return await future
    except asyncio.CancelledError:
        # It may have been there, and its waiter cancelled before that could go on.
        if unwanted is not None and future.done() and not future.cancelled() and future.exception() is None:
            unwanted(future.result())
        raise
