"""SimLoop: virtual time, one seed one order, nothing swallowed, nothing left behind."""

import asyncio
import contextvars
import gc
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from raftline.sim.loop import SimLoop, derive_seed
from raftline.sim.refusals import Deadlock, NoProgress, NotSimulated, SimulationError


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    """Return a loop that is closed, and examined for failures, at the end."""
    with SimLoop(1) as made:
        yield made


def test_time_jumps_to_the_next_timer(loop: SimLoop) -> None:
    """An hour of sleep takes no real time and advances the clock by exactly an hour."""

    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(main()) == 3600.0
    assert loop.now == 3600.0


def test_run_for_and_run_until_stop_at_the_given_time(loop: SimLoop) -> None:
    """Timers due at the limit run, later ones wait, and the clock stands at the limit."""
    seen: list[float] = []
    for when in (0.5, 1.0, 1.5):
        loop.call_at(when, seen.append, when)
    loop.run_until(1.0)
    assert (seen, loop.now) == ([0.5, 1.0], 1.0)
    loop.run_for(0.25)
    assert (seen, loop.now) == ([0.5, 1.0], 1.25)
    loop.run_for(1)
    assert seen == [0.5, 1.0, 1.5]
    with pytest.raises(ValueError, match="never goes back"):
        loop.run_until(1.0)


def test_call_soon_is_first_in_first_out_for_every_seed() -> None:
    """Callbacks of call_soon run in the order in which they were given, as asyncio promises."""
    for seed in range(20):
        with SimLoop(seed) as loop:
            seen: list[int] = []

            def first(loop: SimLoop = loop, seen: list[int] = seen) -> None:
                seen.append(0)
                loop.call_soon(seen.append, 4)

            loop.call_at(0.0, lambda: None)
            loop.call_soon(first)
            for number in (1, 2, 3):
                loop.call_soon(seen.append, number)
            loop.run_until(1)
            assert seen == [0, 1, 2, 3, 4]


def test_timers_of_one_instant_run_in_an_order_of_the_seed() -> None:
    """Ties are shuffled: over a few seeds every order appears, and each seed repeats its own."""

    def order(seed: int) -> str:
        with SimLoop(seed) as loop:
            seen: list[str] = []
            for name in "abc":
                loop.call_at(1.0, seen.append, name)
            loop.run_until(1)
            return "".join(seen)

    orders = [order(seed) for seed in range(60)]
    assert set(orders) == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert orders == [order(seed) for seed in range(60)]


def test_what_a_timer_sets_off_may_run_before_or_after_another_timer_of_the_same_instant() -> None:
    """The seed decides whether a callback scheduled at an instant precedes a timer that is due at that instant."""

    def order(seed: int) -> tuple[str, ...]:
        with SimLoop(seed) as loop:
            seen: list[str] = []

            def first() -> None:
                seen.append("t")
                loop.call_soon(seen.append, "s")

            loop.call_at(1.0, first)
            loop.call_at(1.0, seen.append, "u")
            loop.run_until(1)
            return tuple(seen)

    assert {order(seed) for seed in range(40)} == {("t", "s", "u"), ("t", "u", "s"), ("u", "t", "s")}


def test_a_timer_is_never_early_and_a_cancelled_one_never_runs(loop: SimLoop) -> None:
    """`call_later` fires at its time; a cancelled handle stays silent."""
    seen: list[float] = []
    loop.call_later(0.1, lambda: seen.append(loop.time()))
    loop.call_later(0.05, seen.append, -1.0).cancel()
    handle = loop.call_soon(seen.append, -2.0)
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    loop.run_until(1)
    assert seen == [0.1]


def test_cancelled_timers_do_not_pile_up(loop: SimLoop) -> None:
    """A timer that is re-armed again and again leaves a small heap."""
    keeper = loop.call_later(100, lambda: None)
    for _ in range(10_000):
        keeper.cancel()
        keeper = loop.call_later(100, lambda: None)
    assert len(loop.timers) < 200


async def _numbers() -> AsyncIterator[int]:
    for number in range(3):
        await asyncio.sleep(0.01)
        yield number


async def _asyncio_tour() -> list[Any]:
    """Use most of what asyncio offers to code that needs no I/O."""
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

    async def produce() -> None:
        for number in range(3):
            await queue.put(number)

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        seen.extend([await queue.get() for _ in range(3)])
    event, lock, condition = asyncio.Event(), asyncio.Lock(), asyncio.Condition()
    loop.call_later(1, event.set)
    await event.wait()
    async with lock, condition, asyncio.timeout(5):
        seen.append(await asyncio.sleep(0, loop.time()))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.sleep(10)
    seen.append(await asyncio.gather(asyncio.sleep(0.3, "x"), asyncio.sleep(0.2, "y")))
    seen.append([number async for number in _numbers()])
    task = asyncio.create_task(asyncio.sleep(50))
    await asyncio.sleep(0)
    task.cancel()
    seen.append(await asyncio.gather(task, return_exceptions=True))
    done, pending = await asyncio.wait({asyncio.create_task(asyncio.sleep(n)) for n in (1, 2, 3)}, timeout=1.5)
    seen.append((len(done), len(pending)))
    current = asyncio.current_task()
    assert current is not None
    seen.append(round(loop.time(), 6))
    return seen


def test_ordinary_asyncio_code_cannot_tell(loop: SimLoop) -> None:
    """Queues, locks, timeouts, groups, gather, wait, generators and cancellation work on virtual time."""
    seen = loop.run_until_complete(_asyncio_tour())
    assert seen[:5] == [0, 1, 2, 1.0, ["x", "y"]]
    assert seen[5] == [0, 1, 2]
    assert isinstance(seen[6][0], asyncio.CancelledError)
    assert seen[7:] == [(1, 2), 5.33]


def test_asyncio_runner_accepts_the_loop() -> None:
    """`asyncio.Runner` can drive it, shutdown steps included."""
    with asyncio.Runner(loop_factory=lambda: SimLoop(3)) as runner:
        assert len(runner.run(_asyncio_tour())) == 9


def test_contextvars_belong_to_the_callback_that_set_them(loop: SimLoop) -> None:
    """A callback runs in a copy of the context in which it was scheduled, or in the one given."""
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []
    variable.set("outer")
    loop.call_soon(variable.set, "inner")
    loop.call_soon(lambda: seen.append(variable.get()))
    own = contextvars.Context()
    loop.call_later(1, lambda: seen.append(variable.get()), context=own)
    loop.run_until(2)
    assert seen == ["outer", "unset"]


def test_an_exception_in_a_callback_fails_the_run(loop: SimLoop) -> None:
    """What a callback raises comes out of the run, with the place in virtual time."""
    loop.call_at(2.5, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        loop.run_until(10)
    assert "world at virtual time 2.500000 s" in caught.value.__notes__[0]
    assert loop.now == 2.5
    loop.run_until(10)


def test_an_exception_of_a_task_that_nobody_awaits_fails_the_run(loop: SimLoop) -> None:
    """Neither a dropped task nor one that is still held swallows its exception."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError("lost")

    loop.create_task(fail(), name="doomed")
    loop.run_until(2)
    with pytest.raises(LookupError) as caught:
        loop.close()
    assert "doomed" in caught.value.__notes__[0]

    other = SimLoop(1)
    held = other.create_task(fail())
    other.run_until(2)
    with pytest.raises(LookupError):
        other.close()
    assert held.done()


def test_failures_of_dropped_tasks_surface_while_the_run_goes_on() -> None:
    """Many finished tasks are let go of, and the failed one among them ends the run, not just its end."""

    async def work(number: int) -> None:
        await asyncio.sleep(number * 0.001)
        if number == 5:
            raise LookupError("lost")

    async def main() -> None:
        for number in range(1000):
            asyncio.create_task(work(number))  # noqa: RUF006  dropped on purpose
            await asyncio.sleep(0.01)

    with SimLoop(1) as loop:
        with pytest.raises(LookupError):
            loop.run_until_complete(main())
        assert loop.now < 5


def test_an_exception_handler_gets_what_is_unhandled(loop: SimLoop) -> None:
    """With a handler set, the run goes on and the handler decides."""
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))
    loop.call_soon(lambda: 1 / 0)
    loop.run_until(1)
    assert isinstance(seen[0]["exception"], ZeroDivisionError)
    loop.set_exception_handler(lambda _loop, context: context["missing"])
    loop.call_soon(lambda: 1 / 0)
    with pytest.raises(KeyError):
        loop.run_until(2)


def test_an_endless_chain_of_callbacks_is_refused_in_words() -> None:
    """A run in which time stands still raises NoProgress and names who schedules itself."""
    with SimLoop(1, steps_max=1000) as loop:

        def spin() -> None:
            loop.call_soon(spin)

        loop.call_at(3, spin)
        with pytest.raises(NoProgress, match=r"1000 callbacks.*3\.000000 s.*spin"):
            loop.run_until(10)


def test_timers_that_hardly_advance_are_refused_too() -> None:
    """A chain of nanosecond timers counts as no progress."""
    with SimLoop(1, steps_max=1000) as loop:

        def crawl() -> None:
            loop.call_later(1e-9, crawl)

        crawl()
        with pytest.raises(NoProgress):
            loop.run_until(10)


def test_a_run_that_can_never_end_is_a_deadlock(loop: SimLoop) -> None:
    """Waiting for something that nobody will do raises and says who waits where."""

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="wait_for_ever"):
        loop.run_until_complete(wait_for_ever())
    with pytest.raises(Deadlock):
        loop.run_forever()


def test_a_limit_of_virtual_time_bounds_a_run(loop: SimLoop) -> None:
    """`limit_s` ends a run that takes too long, and the clock stands at the limit."""
    with pytest.raises(TimeoutError, match="virtual time"):
        loop.run_until_complete(asyncio.sleep(100), limit_s=5)
    assert loop.now == 5


def test_stop_ends_run_forever(loop: SimLoop) -> None:
    """`stop` ends the run after the turn in progress; later timers wait."""
    seen: list[int] = []
    loop.call_at(1, loop.stop)
    loop.call_at(2, seen.append, 2)
    loop.run_forever()
    assert (loop.now, seen) == (1, [])


def test_keyboard_interrupt_goes_straight_through(loop: SimLoop) -> None:
    """The operator's interrupt is no failure of the simulated code."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until(1)


def test_close_drops_what_is_left_without_a_warning() -> None:
    """Pending tasks, unstarted coroutines, half-read generators and timers vanish silently; finally blocks run."""
    ended: list[str] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("finally")

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append("never")

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_ever())

    async def reads_half() -> None:
        generator = _numbers()
        await anext(generator)
        await asyncio.Event().wait()

    loop = SimLoop(1)
    for coroutine in (wait_for_ever(), stubborn(), grouped(), reads_half()):
        loop.create_task(coroutine)
    loop.call_later(99, print)
    loop.run_until(5)
    loop.create_task(wait_for_ever())
    loop.call_soon(loop.create_task, wait_for_ever())
    loop.close()
    loop.close()
    gc.collect()
    assert ended == ["finally", "finally"]
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until(6)


def test_streams_are_independent_of_each_other() -> None:
    """A stream depends on the seed and its name alone: another consumer shifts nothing."""
    one, two = SimLoop(5), SimLoop(5)
    two.stream("somebody else").random()
    assert [one.stream("a").random() for _ in range(2)] == [two.stream("a").random()] * 2
    assert one.stream("a").random() != one.stream("b").random()
    assert derive_seed(5, "a") != derive_seed(6, "a")
    assert derive_seed(0, "network") == 0x36419D489268CAA71FF936FBC1367A28
    one.close()
    two.close()


def test_another_thread_is_refused(loop: SimLoop) -> None:
    """`call_soon_threadsafe` works within the simulation and refuses any other thread."""
    seen: list[str] = []
    errors: list[BaseException] = []
    loop.call_soon_threadsafe(seen.append, "same thread")

    def intrude() -> None:
        try:
            loop.call_soon_threadsafe(seen.append, "other thread")
        except NotSimulated as error:
            errors.append(error)

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    loop.run_until(1)
    assert seen == ["same thread"]
    assert "one thread" in str(errors[0])


def test_it_does_not_run_inside_itself_or_another_loop(loop: SimLoop) -> None:
    """A nested run is refused, under itself and under asyncio's own loop."""

    async def nested() -> None:
        loop.run_until(9)

    with pytest.raises(RuntimeError, match="runs already"):
        loop.run_until_complete(nested())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(nested())


def test_a_dropped_generator_is_closed_in_virtual_time(loop: SimLoop) -> None:
    """An asynchronous generator that is left half-way runs its cleanup, awaits included."""
    closed: list[float] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            closed.append(loop.time())

    async def main() -> None:
        async for _ in generate():
            break
        await asyncio.sleep(5)

    loop.run_until_complete(main())
    assert closed == [1.0]


def test_a_future_of_another_loop_is_refused(loop: SimLoop) -> None:
    """Only this loop's futures can be run to completion, and only awaitables."""
    future = loop.node("n1").create_future()
    with pytest.raises(ValueError, match="spawn"):
        loop.run_until_complete(future)
    with pytest.raises(TypeError, match="int"):
        loop.run_until_complete(5)  # type: ignore[arg-type]


def test_debug_mode_stays_off(loop: SimLoop) -> None:
    """The debug mode of asyncio measures real time, so it is refused."""
    loop.set_debug(enabled=False)
    assert not loop.get_debug()
    with pytest.raises(NotSimulated):
        loop.set_debug(enabled=True)


_SCRIPT = """
import asyncio, sys
from raftline.sim.loop import SimLoop

def trace(seed):
    out = []
    with SimLoop(seed) as loop:
        nodes = [loop.node(f"n{i}", rate=0.9 + i / 10, offset_s=100.0 * i) for i in range(3)]
        random = loop.stream("test")
        async def work(node, number):
            for step in range(5):
                await asyncio.sleep(round(random.random(), 1))
                out.append(f"{loop.now!r} {node.name} {number} {step} {asyncio.get_running_loop().time()!r}")
                node.call_soon(out.append, f"soon {node.name} {number}")
        async def crowd(node):
            tasks = {asyncio.create_task(work(node, n)) for n in range(8)}
            done, pending = await asyncio.wait(tasks, timeout=2.0)
            out.extend(task.get_name() for task in done)
            out.extend(task.get_name() for task in pending)
            async with asyncio.TaskGroup() as group:
                for n in range(4):
                    group.create_task(work(node, n))
        for node in nodes:
            node.spawn(crowd(node))
        loop.call_at(1.0, nodes[0].pause)
        loop.call_at(1.9, nodes[0].resume)
        loop.call_at(2.5, nodes[1].kill)
        loop.run_until(60)
    return "\\n".join(out)

print(trace(int(sys.argv[1])))
"""


def _trace(seed: int, hash_seed: str) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", f"shift = [object() for _ in range({hash_seed})]\n{_SCRIPT}", str(seed)]
    return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout


def test_one_seed_gives_one_run_in_every_process() -> None:
    """The same seed gives the same trace byte for byte, whatever PYTHONHASHSEED and addresses are."""
    first = _trace(7, "0")
    assert len(first) > 5_000
    assert first == _trace(7, "1") == _trace(7, "4242")
    assert first != _trace(8, "0")


def test_the_order_does_not_depend_on_the_global_random_source() -> None:
    """Seeding or using `random` elsewhere changes nothing."""

    def run() -> list[int]:
        with SimLoop(1) as loop:
            seen: list[int] = []
            for number in range(10):
                loop.call_at(1, seen.append, number)
            loop.run_until(1)
            return seen

    random.seed(1)
    first = run()
    random.seed(2)
    assert run() == first


def test_failures_without_an_exception_are_raised_as_simulation_errors(loop: SimLoop) -> None:
    """A report that carries only words ends the run as well."""
    loop.call_soon(loop.call_exception_handler, {"message": "something is off"})
    with pytest.raises(SimulationError, match="something is off"):
        loop.run_until(1)
