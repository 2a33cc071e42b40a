"""Handles, tasks and futures behave like asyncio's own and are walked in one order everywhere."""

import asyncio
from functools import partial

from raftline.sim.handles import describe_callback
from raftline.sim.loop import SimLoop


def test_sets_of_tasks_and_futures_are_walked_in_the_order_of_their_creation() -> None:
    """Hashes are numbers of the run, not addresses."""

    async def idle() -> None:
        await asyncio.sleep(0)

    with SimLoop(1) as loop:
        tasks = [loop.create_task(idle()) for _ in range(50)]
        futures = [loop.create_future() for _ in range(50)]
        assert list({*tasks[25:], *tasks[:25]}) == tasks
        assert list({*futures[25:], *futures[:25]}) == futures
        loop.run_until(1)


def test_tasks_are_numbered_within_their_view() -> None:
    """Names depend on the run alone, not on what the process did before."""

    async def idle() -> None:
        await asyncio.sleep(0)

    for _ in range(2):
        with SimLoop(1) as loop:
            node = loop.node("n1")
            with node.entered():
                names = [asyncio.create_task(idle()).get_name() for _ in range(2)]
            assert names == ["n1/task-1", "n1/task-2"]
            assert loop.create_task(idle(), name="named").get_name() == "named"


def test_descriptions_hold_no_addresses() -> None:
    """What stands in a trace or an error message is the same in every process."""

    async def idle() -> None:
        await asyncio.sleep(0)

    with SimLoop(1) as loop:
        task = loop.create_task(idle(), name="t")
        assert describe_callback(partial(print, 1)) == "print"
        assert describe_callback(task.cancel).startswith("t (")
        assert "0x" not in repr(loop.call_soon(print))
        timer = loop.call_later(5, print)
        assert repr(timer) == "<SimTimer when=5.0 print>"
        timer.cancel()
        assert "cancelled" in repr(timer)
        assert timer.when() == 5.0
        assert len(timer.get_context()) >= 0
        loop.run_until(1)
