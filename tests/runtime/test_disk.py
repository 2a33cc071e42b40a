"""The disk thread: work in order, off the loop; outcomes in order, on it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raftline.runtime.disk import ThreadedDisk, run_on_disk


def on_loop(story: Callable[[ThreadedDisk], Awaitable[None]]) -> None:
    """Run a story with a disk thread of its own."""

    async def main() -> None:
        disk = ThreadedDisk("test-disk", asyncio.get_running_loop())
        try:
            await story(disk)
        finally:
            disk.close()

    asyncio.run(main())


def test_work_runs_elsewhere_and_is_told_here_in_order() -> None:
    """One piece at a time, each outcome on the event loop, in the order of `submit` (C13)."""

    async def story(disk: ThreadedDisk) -> None:
        here = threading.current_thread()
        worked: list[int] = []
        told: list[int] = []

        def work(number: int) -> int:
            assert threading.current_thread() is not here
            worked.append(number)
            return number

        def done(number: Any) -> None:
            assert threading.current_thread() is here
            told.append(number)

        for number in range(100):
            disk.submit(lambda number=number: work(number), done)  # type: ignore[misc]
        await run_on_disk(disk, lambda: None)
        assert worked == told == list(range(100))

    on_loop(story)


def test_an_error_is_an_outcome() -> None:
    """Whoever submitted the work gets it, as a value or raised; the thread goes on."""

    async def story(disk: ThreadedDisk) -> None:
        def fail() -> None:
            raise OSError(28, "No space left on device")

        outcomes: list[Any] = []
        disk.submit(fail, outcomes.append)
        with pytest.raises(OSError, match="No space left"):
            await run_on_disk(disk, fail)
        assert isinstance(outcomes[0], OSError)
        assert await run_on_disk(disk, lambda: 7) == 7

    on_loop(story)


def test_closing_finishes_what_was_submitted() -> None:
    """Nothing that was to be written is left out, even if nobody hears of it any more."""
    worked: list[int] = []

    async def story() -> None:
        disk = ThreadedDisk("test-disk", asyncio.get_running_loop())
        for number in range(50):
            disk.submit(lambda number=number: worked.append(number), lambda _: None)  # type: ignore[misc]
        disk.close()

    asyncio.run(story())
    assert worked == list(range(50))


def test_nobody_waits_who_gave_up() -> None:
    """An outcome that comes after its waiter was cancelled is dropped, and the next one is told."""

    async def story(disk: ThreadedDisk) -> None:
        troubles: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))
        go_on = threading.Event()
        waiting = asyncio.ensure_future(run_on_disk(disk, go_on.wait))
        await asyncio.sleep(0)
        waiting.cancel()
        go_on.set()
        assert await run_on_disk(disk, lambda: "next") == "next"
        assert waiting.cancelled()
        assert troubles == []

    on_loop(story)
