"""Whatever goes wrong anywhere in a test ends up at its bench, once, with the server it belongs to."""

import asyncio
from typing import Any

from raftline.lab.bench import Bench, describe_error
from raftline.lab.promises import BrokenPromise
from raftline.sim.loop import SimLoop


class Server:
    """An implementation whose task dies."""

    async def work(self) -> None:
        """Raise."""
        self.nothing: list[int] = []
        self.nothing[3] = 1


def _run(loop: SimLoop, bench_server: Any, known: int) -> BrokenPromise:
    async def main() -> BrokenPromise:
        bench = Bench(lambda: None, 1, virtual=True)
        bench.server_of = lambda thing: known if thing is bench_server else None
        task = asyncio.create_task(bench_server.work())
        await asyncio.sleep(1)
        bench.report_unseen()
        assert task.done()
        if not bench.failed.done():
            raise TimeoutError
        return bench.failed.result()

    return loop.run_until_complete(main())


def test_an_exception_of_a_task_is_blamed_on_its_server(sim_loop: SimLoop) -> None:
    """A task that dies with nobody looking names server, exception, file and line (E2)."""
    broken = _run(sim_loop, Server(), 2)
    assert broken.name == "no exception"
    assert broken.server == 2
    assert "IndexError: list assignment index out of range at " in broken.seen
    assert "test_bench.py" in broken.seen
    assert "self.nothing[3] = 1" in broken.seen


def test_an_exception_of_a_dead_server_is_nobodys(sim_loop: SimLoop) -> None:
    """What a killed server's task raises fails no test (F22)."""
    try:
        _run(sim_loop, Server(), -1)
    except TimeoutError:
        return
    raise AssertionError("a dead server's exception was reported")


def test_the_first_failure_counts(sim_loop: SimLoop) -> None:
    """A second broken promise does not replace the first, and both stand in the trace."""
    with sim_loop.entered():
        bench = Bench(lambda: None, 1, virtual=True)
        bench.fail(BrokenPromise("order", "first"))
        bench.fail(BrokenPromise("index", "second"))
    assert bench.failed.result().seen == "first"
    assert sum("BROKEN" in line for line in bench.trace.lines()) == 2


def test_a_description_shows_the_innermost_place_outside_the_tester() -> None:
    """Exception, file, line, function and code are on one line."""
    try:
        int("x")
    except ValueError as error:
        text = describe_error(error)
    assert text.startswith("ValueError: invalid literal for int() with base 10: 'x' at ")
    assert text.endswith('int("x")')
    assert "\n" not in text
