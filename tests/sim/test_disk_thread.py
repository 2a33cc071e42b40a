"""SimDiskThread: work in order, outcomes when the disk would be done, nothing after the node's end."""

import asyncio
from collections.abc import Iterator

import pytest

from raftline.runtime.disk import run_on_disk
from raftline.runtime.ports import DiskThread
from raftline.sim.disk import CrashKind, SimDisk
from raftline.sim.disk_thread import SimDiskThread
from raftline.sim.faults import DiskFaults, Latency, SimCrash
from raftline.sim.loop import SimLoop
from raftline.sim.node_loop import NodeLoop
from raftline.sim.refusals import SimulationError

SECOND = DiskFaults(sync_latency=Latency(1.0, 1.0, 1.0))


class World:
    """One node with a disk whose syncs take a second."""

    def __init__(self) -> None:
        self.loop = SimLoop(1)
        self.node: NodeLoop = self.loop.node("n1")
        self.disk = SimDisk(lambda: self.loop.now, self.loop.stream("disk"), faults=SECOND)
        self.thread = SimDiskThread(self.node, self.disk)
        self.files = self.disk.mount()
        self.file = self.files.open("/wal-1.log", create=True)
        self.done: list[tuple[str, float]] = []

    def submit_sync(self, name: str) -> None:
        """Write the name, sync, and note when it was done."""

        def work() -> str:
            self.file.write_at(self.file.size(), name.encode())
            self.file.sync()
            return name

        self.thread.submit(work, lambda result: self.done.append((str(result), round(self.loop.now, 1))))


@pytest.fixture
def world() -> Iterator[World]:
    """Return a node with a disk."""
    made = World()
    yield made
    made.loop.close()


def test_it_is_the_runtimes_disk_thread(world: World) -> None:
    """The simulated thread satisfies the port, and the runtime's helper awaits it."""
    thread: DiskThread = world.thread

    async def main() -> int:
        return await run_on_disk(thread, lambda: 42)

    assert world.loop.run_until_complete(world.node.spawn(main())) == 42


def test_outcomes_arrive_in_order_when_the_disk_is_done(world: World) -> None:
    """One piece at a time: three syncs of a second each end after one, two and three seconds."""
    for name in "abc":
        world.submit_sync(name)
    assert world.done == []
    world.loop.run_for(10)
    assert world.done == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    world.submit_sync("d")
    world.loop.run_for(10)
    assert world.done[3] == ("d", 11.0)


def test_work_starts_only_when_the_thread_is_free(world: World) -> None:
    """The second piece is not carried out before the first is done: a crash in between loses it for certain."""
    world.submit_sync("a")
    world.submit_sync("b")
    world.loop.run_for(1.5)
    world.node.kill()
    world.disk.crash(CrashKind.PROGRAM)
    world.loop.run_for(10)
    assert world.done == [("a", 1.0)]
    assert world.disk.mount().open("/wal-1.log").read_at(0, 9) == b"ab"
    early = World()
    early.submit_sync("a")
    early.submit_sync("b")
    early.loop.run_for(0.5)
    early.node.kill()
    early.disk.crash(CrashKind.PROGRAM)
    assert early.disk.mount().open("/wal-1.log").read_at(0, 9) == b"a"
    early.loop.close()


def test_what_work_raises_is_its_outcome(world: World) -> None:
    """An exception is given to `done`, and the thread goes on."""
    outcomes: list[object] = []
    world.thread.submit(lambda: 1 // 0, outcomes.append)
    world.submit_sync("a")
    world.loop.run_for(2)
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert world.done == [("a", 1.0)]


def test_a_paused_node_has_a_paused_thread(world: World) -> None:
    """While the node is stopped no new work begins; what was under way is reported after it."""
    world.submit_sync("a")
    world.submit_sync("b")
    world.loop.run_for(0.5)
    world.node.pause()
    world.loop.run_for(9.5)
    assert world.done == []
    assert world.file.read_at(0, 9) == b"a"
    world.node.resume()
    world.loop.run_for(10)
    assert world.done == [("a", 10.0), ("b", 11.0)]


def test_a_crash_inside_the_work_ends_the_node(world: World) -> None:
    """The owner kills the node when it hears of the crash; no outcome is reported and nothing fails the run."""
    world.disk.on_point = {"within write segment": CrashKind.PROGRAM}.get
    world.disk.on_crash = lambda _point: world.node.kill()
    world.submit_sync("abcdef")
    world.submit_sync("ghi")
    world.loop.run_for(10)
    assert not world.node.alive
    assert world.done == []
    world.disk.on_point = None
    assert len(world.disk.mount().open("/wal-1.log").read_at(0, 99)) < 6


def test_a_crash_that_nobody_takes_notice_of_fails_the_run(world: World) -> None:
    """Without an owner that kills the node, the crash comes out of the run."""
    world.disk.on_point = {"before write segment": CrashKind.MACHINE}.get
    world.submit_sync("a")
    with pytest.raises(SimCrash):
        world.loop.run_for(10)


def test_a_crash_inside_awaited_work_unwinds_the_nodes_code(world: World) -> None:
    """A node that waits for the disk dies with it; the waiting side outside learns that it was killed."""
    world.disk.on_point = {"within sync segment": CrashKind.MACHINE}.get
    world.disk.on_crash = lambda _point: world.node.kill()
    reached: list[str] = []

    async def main() -> None:
        try:
            await run_on_disk(world.thread, world.file.sync)
        except Exception:  # noqa: BLE001  what careless code does
            reached.append("caught")
        await asyncio.sleep(1)
        reached.append("went on")

    outcome = world.node.spawn(main())
    world.loop.run_for(5)
    assert outcome.done()
    assert reached == []


def test_close_finishes_what_was_submitted(world: World) -> None:
    """Work under way and waiting is done at once, in order, and nothing more is taken."""
    world.submit_sync("a")
    world.submit_sync("b")
    world.loop.run_for(0.5)
    world.submit_sync("c")
    world.thread.close()
    world.loop.run_for(10)
    assert [name for name, _ in world.done] == ["a", "b", "c"]
    assert world.file.read_at(0, 9) == b"abc"
    with pytest.raises(SimulationError, match="closed"):
        world.submit_sync("d")


def test_a_fast_clock_makes_no_disk_fast(world: World) -> None:
    """The disk takes the world's time: a node whose clock runs ahead is not told of a sync before it is durable."""
    world.node.set_rate(1.5)
    world.submit_sync("a")
    world.loop.run_for(0.99)
    assert world.done == []
    world.loop.run_for(0.1)
    assert [name for name, _ in world.done] == ["a"]
