"""NodeLoop: one node is paused, slowed and killed, and its code neither helps nor notices."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from raftline.sim.loop import SimLoop
from raftline.sim.node_loop import NodeLoop
from raftline.sim.refusals import NodeKilled, SimulationError


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    """Return a loop that is closed, and examined for failures, at the end."""
    with SimLoop(1) as made:
        yield made


async def _tick(seen: list[float], every_s: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every_s)
        seen.append(loop.time())


def test_the_running_loop_is_the_nodes_own(loop: SimLoop) -> None:
    """Code of a node finds its node's loop, in tasks, callbacks and timers alike."""
    node = loop.node("n1")
    seen: list[object] = []

    async def main() -> None:
        seen.append(asyncio.get_running_loop())
        node.call_later(1, lambda: seen.append(asyncio.get_running_loop()))
        await asyncio.sleep(2)
        seen.append(node.is_running())

    outcome = node.spawn(main())
    loop.call_at(1.5, lambda: seen.append(asyncio.get_running_loop()))
    loop.run_until_complete(outcome)
    assert seen == [node, node, loop, True]
    assert not node.is_running()
    with node.entered():
        assert asyncio.get_running_loop() is node
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_paused_node_runs_nothing_and_catches_up_late(loop: SimLoop) -> None:
    """Timers and messages wait during the pause and all of them run at its end."""
    node = loop.node("n1")
    seen: list[tuple[str, float]] = []
    for when in (1.0, 2.0, 3.0, 5.0):
        node.call_at(when, lambda when=when: seen.append((f"timer {when}", loop.now)))  # type: ignore[misc]
    loop.call_at(1.5, node.pause)
    loop.call_at(2.5, lambda: node.call_soon(lambda: seen.append(("message", loop.now))))
    loop.call_at(4.0, node.resume)
    loop.run_until(3.9)
    assert [name for name, _ in seen] == ["timer 1.0"]
    loop.run_until(10)
    assert seen[0] == ("timer 1.0", 1.0)
    assert sorted(seen[1:4]) == [("message", 4.0), ("timer 2.0", 4.0), ("timer 3.0", 4.0)]
    assert seen.index(("timer 2.0", 4.0)) < seen.index(("timer 3.0", 4.0))
    assert seen[4] == ("timer 5.0", 5.0)


def test_after_a_pause_messages_may_precede_or_follow_timers() -> None:
    """The seed decides what a resumed node sees first; among themselves messages keep their order."""

    def order(seed: int) -> str:
        with SimLoop(seed) as loop:
            node = loop.node("n1")
            seen: list[str] = []
            node.pause()
            loop.call_at(1, node.call_soon, seen.append, "1")
            node.call_at(2, seen.append, "t")
            loop.call_at(3, node.call_soon, seen.append, "2")
            loop.call_at(4, node.resume)
            loop.run_until(5)
            return "".join(seen)

    assert {order(seed) for seed in range(40)} == {"1t2", "t12", "12t"}


def test_a_pause_can_fall_between_two_callbacks_of_one_turn(loop: SimLoop) -> None:
    """What was about to run when the pause began runs after it, in order."""
    node = loop.node("n1")
    seen: list[int] = []
    node.call_soon(node.pause)
    node.call_soon(seen.append, 1)
    node.call_soon(seen.append, 2)
    loop.run_until(1)
    assert seen == []
    node.resume()
    node.resume()
    loop.run_until(2)
    assert seen == [1, 2]


def test_a_killed_node_never_runs_again(loop: SimLoop) -> None:
    """Callbacks, timers, tasks and later messages of a dead node come to nothing."""
    node = loop.node("n1")
    seen: list[float] = []
    outcome = node.spawn(_tick(seen, 1.0))
    node.call_at(9, seen.append, 9.0)
    loop.run_until(3.5)
    assert node.alive
    node.call_soon(seen.append, 3.6)
    node.kill()
    node.kill()
    assert not node.alive
    assert loop.timers == []
    node.call_soon(seen.append, 3.7)
    node.call_later(1, seen.append, 4.7)
    node.resume()
    node.pause()
    loop.run_until(20)
    assert seen == [1.0, 2.0, 3.0]
    assert loop.timers == []
    with pytest.raises(NodeKilled, match=r"n1 was killed at virtual time 3\.5"):
        loop.run_until_complete(outcome)
    with pytest.raises(NodeKilled, match="dead"):
        loop.run_until_complete(node.spawn(_tick(seen, 1.0)))


def test_a_node_that_dies_within_its_own_callback_does_nothing_afterwards(loop: SimLoop) -> None:
    """A kill from inside takes effect at the next await: what the code schedules until then is dropped."""
    node = loop.node("n1")
    seen: list[str] = []

    async def main() -> None:
        node.kill()
        seen.append("last words")
        node.call_soon(seen.append, "dropped")
        asyncio.create_task(_tick([], 1.0))  # noqa: RUF006  dropped on purpose
        await asyncio.sleep(0)
        seen.append("never")

    node.spawn(main())
    node.call_soon(seen.append, "never either")
    loop.run_until(5)
    assert seen == ["last words"]


def test_a_base_exception_unwinds_a_dead_node_in_silence(loop: SimLoop) -> None:
    """A crash inside the node's code kills it and raises through it; nothing of that fails the run."""

    class Crash(BaseException):
        pass

    node = loop.node("n1")

    async def main() -> None:
        node.kill()
        raise Crash

    def callback() -> None:
        node.kill()
        raise Crash

    node.spawn(main())
    loop.run_until(1)
    node = loop.node("n1")
    node.call_soon(callback)
    loop.run_until(2)
    assert not node.alive


def test_killing_leaves_no_warning_behind(loop: SimLoop) -> None:
    """Pending tasks, groups, generators and unstarted coroutines of a dead node vanish without a word."""
    node = loop.node("n1")
    cleaned: list[str] = []

    async def generate() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(1)
        finally:
            cleaned.append("generator")

    async def main() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_tick([], 1.0))
                async for _ in generate():
                    await asyncio.sleep(0.5)
        finally:
            cleaned.append("main")
            await asyncio.sleep(1)
            cleaned.append("never")

    node.spawn(main())
    loop.run_until(3)
    node.call_soon(node.create_task, _tick([], 1.0))
    node.kill()
    gc.collect()
    loop.run_until(9)
    assert cleaned[0] == "main"
    assert "never" not in cleaned


def test_a_failure_before_the_kill_is_not_lost(loop: SimLoop) -> None:
    """A node's dropped task that failed fails the run, even if the node is killed before anybody looks."""
    node = loop.node("n1")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("bug")

    async def main() -> None:
        asyncio.create_task(fail())  # noqa: RUF006  dropped on purpose
        await asyncio.sleep(9)

    node.spawn(main())
    loop.run_until(1)
    node.kill()
    with pytest.raises(LookupError):
        loop.run_until(2)


def test_an_unhandled_exception_in_a_node_fails_the_run_and_names_the_node(loop: SimLoop) -> None:
    """The note says which node raised and when."""
    node = loop.node("n7")
    node.call_at(1.25, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        loop.run_until(2)
    assert "n7 at virtual time 1.25" in caught.value.__notes__[0]


def test_clocks_drift_and_timers_follow(loop: SimLoop) -> None:
    """A fast clock fires early in virtual time, never early on its own clock, and starts where it was told to."""
    fast, slow = loop.node("fast", rate=1.1, offset_s=1000.0), loop.node("slow", rate=0.9)
    seen: dict[str, tuple[float, float]] = {}

    def note(node: NodeLoop) -> None:
        seen[node.name] = (node.time(), loop.now)

    for node in (fast, slow):
        node.call_later(9.9, note, node)
    loop.run_until(20)
    assert seen["fast"] == pytest.approx((1009.9, 9.0))
    assert seen["slow"] == pytest.approx((9.9, 11.0))
    assert seen["fast"][0] >= 1009.9
    assert seen["slow"][0] >= 9.9
    with pytest.raises(ValueError, match="rate"):
        loop.node("stopped", rate=0.0)


def test_a_change_of_rate_moves_waiting_timers_and_never_sets_the_clock_back(loop: SimLoop) -> None:
    """After half the wait at rate 1 the second half takes double the time at rate 0.5; others are not touched."""
    node = loop.node("n1")
    seen: list[float] = []
    node.call_at(10.0, lambda: seen.append(loop.now))
    loop.call_at(12.0, lambda: seen.append(loop.now))
    loop.run_until(5.0)
    node.set_rate(0.5)
    assert (node.time(), node.rate) == (5.0, 0.5)
    loop.run_until(20.0)
    assert seen == [12.0, 15.0]


def test_timers_are_never_early_on_the_nodes_clock() -> None:
    """Whatever rate and offset round to, a timer's callback finds its time reached (no endless re-arming)."""
    with SimLoop(1) as loop:
        random = loop.stream("clocks")
        late: list[float] = []

        def note(node: NodeLoop, when: float) -> None:
            late.append(node.time() - when)

        node = loop.node("n1", offset_s=100.0)
        for _ in range(20_000):
            loop.run_for(0.01 * random.random())
            node.set_rate(0.9 + 0.2 * random.random())
            when = node.time() + 10 * random.random()
            node.call_at(when, note, node, when)
            loop.run_for(12)
    assert len(late) == 20_000
    assert min(late) >= 0.0
    assert max(late) < 1e-6


def test_turns_of_different_nodes_interleave_by_the_seed() -> None:
    """Nodes that are busy at one instant take turns in an order of the seed, each in its own order."""

    def order(seed: int) -> str:
        with SimLoop(seed) as loop:
            seen: list[str] = []
            for name in "ab":
                node = loop.node(name)
                for number in "12":
                    node.call_soon(seen.append, name + number)
            loop.run_until(1)
            assert [item for item in seen if item[0] == "a"] == ["a1", "a2"]
            return " ".join(seen)

    assert len({order(seed) for seed in range(400)}) == 6


def test_spawn_brings_results_errors_and_cancellation_across(loop: SimLoop) -> None:
    """The scheduler's side can await, and cancel, what runs in a node."""
    node = loop.node("n1")
    seen: list[str] = []

    async def answer() -> int:
        await asyncio.sleep(1)
        return 42

    async def fail() -> None:
        raise LookupError("no")

    async def wait() -> None:
        try:
            await asyncio.sleep(99)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> int:
        waiting = node.spawn(wait())
        await asyncio.sleep(0.5)
        waiting.cancel()
        with pytest.raises(LookupError):
            await node.spawn(fail())
        return await node.spawn(answer())

    assert loop.run_until_complete(main()) == 42
    assert seen == ["cancelled"]


def test_a_node_cannot_turn_or_stop_the_world(loop: SimLoop) -> None:
    """Running and stopping belong to the scheduler; a node's loop says so."""
    node = loop.node("n1")
    for call in (node.run_forever, node.stop, lambda: node.run_until_complete(asyncio.sleep(1))):
        with pytest.raises(SimulationError):
            call()
    node.close()
    assert node.is_closed()


def test_futures_do_not_cross_nodes(loop: SimLoop) -> None:
    """A node that awaits another node's future fails: nodes share nothing (H9)."""
    one, two = loop.node("n1"), loop.node("n2")
    future = one.create_future()

    async def cheat() -> None:
        await future

    with pytest.raises(RuntimeError, match="different loop"):
        loop.run_until_complete(two.spawn(cheat()))
