"""The interface as somebody reads it who never saw this code: an own network, disk and clock against `make`.

Nothing but `raftline.lab`'s four names is used. The network here loses, delays, repeats and reorders; the disk has the
four methods and nothing else; what is applied goes to a plain `asyncio.Queue`. It runs on the simulator's loop, on a
loop whose clock jumps, as others write them, and on the real one.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

import pytest

from raftline.lab import ApplyMsg, ClientEnd, Persister, make
from raftline.sim.loop import SimLoop

T = TypeVar("T")
Main = Callable[[], Coroutine[Any, Any, T]]
Run = Callable[[Main[Any]], Any]


class JumpingLoop(asyncio.SelectorEventLoop):
    """Virtual time as people write it: waiting for the next timer moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout_s: float | None) -> Any:
            assert timeout_s is not None, "nothing will ever happen"
            self.now_s += timeout_s
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def _run_on_asyncio(loop: asyncio.AbstractEventLoop, main: Main[T]) -> T:
    troubles: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: troubles.append(context))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main())
    assert troubles == []
    return result


def _run_simulated(main: Main[T]) -> T:
    with SimLoop(3) as loop:
        return loop.run_until_complete(main())


RUNNERS: dict[str, Run] = {
    "simulated": _run_simulated,
    "jumping": lambda main: _run_on_asyncio(JumpingLoop(), main),
    "real": lambda main: _run_on_asyncio(asyncio.new_event_loop(), main),
}


@pytest.fixture(params=["simulated", "jumping"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return what runs a coroutine on virtual time."""
    return RUNNERS[request.param]


@pytest.fixture(params=["simulated", "jumping", "real"])
def run_anywhere(request: pytest.FixtureRequest) -> Run:
    """Return what runs a coroutine, on real time too."""
    return RUNNERS[request.param]


class Disk:
    """The four methods that the interface names, and a record of what was saved."""

    def __init__(self, state: bytes = b"", snapshot: bytes = b"") -> None:
        self.state, self.kept, self.sealed = state, snapshot, False

    def read_raft_state(self) -> bytes:
        """Return the state."""
        return self.state

    def read_snapshot(self) -> bytes:
        """Return the snapshot."""
        return self.kept

    def save(self, first: bytes, second: bytes, /) -> None:
        """Replace both; the arguments have to be plain bytes, in this order, and nobody saves after its death."""
        assert type(first) is bytes
        assert type(second) is bytes
        assert not self.sealed, "saved after kill()"
        assert second or not self.kept, "a save without the current snapshot"
        self.state, self.kept = first, second

    def raft_state_size(self) -> int:
        """Return the size of the state."""
        return len(self.state)


class End:
    """`peers[n]` of one life of a server."""

    def __init__(self, world: "World", source: int, target: int) -> None:
        self.world, self.source, self.target, self.life = world, source, target, world.lives[source]

    async def call(self, method: str, args: bytes) -> bytes | None:
        """Carry a call, or lose it."""
        assert type(method) is str
        assert type(args) is bytes
        assert self.target != self.source, "a server called itself"
        world, draw = self.world, self.world.random.random
        assert self.life == world.lives[self.source], "a dead server called"
        world.calls.append((asyncio.get_running_loop().time(), self.source, self.target, args))
        if not world.reaches(self.source, self.target):
            await asyncio.sleep(world.hang_s * draw())
            return None
        await asyncio.sleep(draw() * world.delay_s)
        if draw() < world.loss or not world.reaches(self.source, self.target):
            return None
        if draw() < world.repeats:
            world.keep(self.again(method, args, draw()))
        server = world.servers[self.target]
        reply = await server.handle(method, args)
        assert type(reply) is bytes
        world.bytes_replied += len(reply)
        if draw() < world.loss:
            return None
        if draw() < world.late:
            await asyncio.sleep(world.late_s)
        return reply if self.life == world.lives[self.source] and world.reaches(self.source, self.target) else None

    async def again(self, method: str, args: bytes, after_s: float) -> None:
        """Deliver the same request once more, to whoever is there by then; nobody waits for the reply."""
        await asyncio.sleep(after_s)
        if self.world.up[self.target]:
            await self.world.servers[self.target].handle(method, args)


class World:
    """Some servers, their disks, and a consumer per server that applies, and now and then takes a snapshot."""

    def __init__(self, count: int = 3, seed: int = 1, *, room: int = 0, snapshot_every: int = 0) -> None:
        self.random = Random(seed)
        self.hang_s, self.delay_s, self.loss, self.repeats, self.late, self.late_s = 7.0, 0.0, 0.0, 0.0, 0.0, 2.0
        self.calls: list[tuple[float, int, int, bytes]] = []
        self.bytes_replied = 0
        self.room, self.snapshot_every = room, snapshot_every
        self.up, self.lives, self.cut = [False] * count, [0] * count, set[int]()
        self.disks = [Disk() for _ in range(count)]
        self.servers: list[Any] = [None] * count
        self.applied: list[list[bytes]] = [[] for _ in range(count)]
        self.consumers: list[asyncio.Task[None] | None] = [None] * count
        self.tasks: set[asyncio.Task[None]] = set()
        for server in range(count):
            self.boot(server)

    def boot(self, server: int) -> None:
        """Start a server from its disk."""
        ends: list[ClientEnd] = [End(self, server, target) for target in range(len(self.up))]
        queue: asyncio.Queue[ApplyMsg] = asyncio.Queue(self.room)
        disk = self.disks[server]
        self.applied[server] = disk.kept.split(b"\0") if disk.kept else []
        self.servers[server] = make(ends, server, disk, queue)
        self.up[server] = True
        self.consumers[server] = asyncio.get_running_loop().create_task(self.consume(server, queue))

    def crash(self, server: int) -> None:
        """End a life: its disk is the next one's, under a new object."""
        self.up[server] = False
        self.lives[server] += 1
        self.servers[server].kill()
        disk = self.disks[server]
        disk.sealed = True
        self.disks[server] = Disk(disk.state, disk.kept)
        consumer = self.consumers[server]
        assert consumer is not None
        consumer.cancel()

    async def consume(self, server: int, queue: asyncio.Queue[ApplyMsg]) -> None:
        """Apply in order; commands are without NUL, so that a snapshot can be all of them, joined."""
        applied, raft = self.applied[server], self.servers[server]
        while True:
            message = await queue.get()
            if message.snapshot_valid:
                assert not message.command_valid
                assert message.snapshot_index > len(applied)
                applied[:] = message.snapshot.split(b"\0")
                assert len(applied) == message.snapshot_index
                continue
            assert message.command_valid
            assert message.command_index == len(applied) + 1
            applied.append(message.command)
            if self.snapshot_every and len(applied) % self.snapshot_every == 0:
                raft.snapshot(len(applied), b"\0".join(applied))

    def reaches(self, source: int, target: int) -> bool:
        """Return whether both are up and neither is cut off."""
        return self.up[source] and self.up[target] and not {source, target} & self.cut

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine by itself."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def leaders(self) -> list[tuple[int, int]]:
        """Return (term, server) of each that leads and can be reached."""
        states = [(server, self.servers[server].get_state()) for server in range(len(self.up)) if self.up[server]]
        return [(term, server) for server, (term, leads) in states if leads and server not in self.cut]

    async def leader(self, above_term: int = 0) -> int:
        """Return the leader of the highest term, which has to stand within 5 s."""
        for _ in range(500):
            found = max(self.leaders(), default=(0, -1))
            if found[0] > above_term:
                return found[1]
            await asyncio.sleep(0.01)
        raise AssertionError("no leader within 5 s")

    async def agree(self, command: bytes, on: Sequence[int] | None = None, *, within_s: float = 10.0) -> None:
        """Submit until `command` is applied on all of `on`."""
        loop = asyncio.get_running_loop()
        deadline, offered_at = loop.time() + within_s, float("-inf")
        wanted = range(len(self.up)) if on is None else on
        while any(command not in self.applied[server] for server in wanted):
            assert loop.time() < deadline, f"{command!r} was not applied by all of {wanted} within {within_s} s"
            if loop.time() > offered_at + 2 and (leaders := self.leaders()):
                self.servers[max(leaders)[1]].start(command)
                offered_at = loop.time()
            await asyncio.sleep(0.005)

    def end(self) -> None:
        """Kill everything."""
        for server, alive in enumerate(self.up):
            if alive:
                self.crash(server)
        for task in self.tasks:
            task.cancel()


# --- names, signatures, types ----------------------------------------------------------------------------------------


def test_names_and_signatures() -> None:
    """Arguments have the names of the interface; all but handle() and call() are plain functions (H1 to H6)."""

    async def main() -> None:
        assert list(inspect.signature(make).parameters) == ["peers", "me", "persister", "apply"]
        raft = make(peers=(None,), me=0, persister=Disk(), apply=asyncio.Queue())  # type: ignore[arg-type]
        wanted = {"start": ["command"], "get_state": [], "snapshot": ["index", "data"], "kill": []}
        for name, arguments in wanted.items():
            method = getattr(raft, name)
            assert list(inspect.signature(method).parameters) == arguments
            assert not inspect.iscoroutinefunction(method)
        assert list(inspect.signature(raft.handle).parameters) == ["method", "args"]
        assert inspect.iscoroutinefunction(raft.handle)
        assert inspect.iscoroutinefunction(ClientEnd.call)
        assert list(inspect.signature(ClientEnd.call).parameters) == ["self", "method", "args"]
        raft.kill()

    RUNNERS["simulated"](main)


def test_an_apply_message_has_its_fields_in_order_and_defaults() -> None:
    """Eight fields, by keyword or by position; what is not given is False, 0 or empty (H4)."""
    message = ApplyMsg(True, b"x", 3, 2)  # noqa: FBT003  by position is the point
    assert message == ApplyMsg(command_valid=True, command=b"x", command_index=3, command_term=2)
    assert (message.snapshot_valid, message.snapshot, message.snapshot_term, message.snapshot_index) == (
        False,
        b"",
        0,
        0,
    )
    positional = ApplyMsg(False, b"", 0, 0, True, b"s", 7, 9)  # noqa: FBT003
    assert positional == ApplyMsg(snapshot_valid=True, snapshot=b"s", snapshot_term=7, snapshot_index=9)
    assert ApplyMsg() == ApplyMsg(False, b"", 0, 0, False, b"", 0, 0)  # noqa: FBT003


def test_the_persister_keeps_both_together() -> None:
    """Empty at first; save() takes both, by position or by name; the size is that of the state (C10)."""
    persister = Persister()
    assert (persister.read_raft_state(), persister.read_snapshot(), persister.raft_state_size()) == (b"", b"", 0)
    persister.save(raft_state=b"abc", snapshot=b"de")
    assert (persister.read_raft_state(), persister.read_snapshot(), persister.raft_state_size()) == (b"abc", b"de", 3)


# --- plain calls -----------------------------------------------------------------------------------------------------


def test_everything_works_before_the_first_await_and_outside_tasks(run_anywhere: Run) -> None:
    """make, start, get_state, snapshot and kill from one callback of the loop, in which no task runs (H1)."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[list[Any]] = loop.create_future()

        def callback() -> None:
            assert asyncio.current_task() is None
            raft: Any = make([None] * 3, 1, Disk(), asyncio.Queue())  # type: ignore[list-item]
            found: list[Any] = [raft.start(b"x"), raft.get_state(), raft.snapshot(0, b"")]
            raft.kill()
            raft.kill()
            seen.set_result([*found, raft.start(b"y"), raft.get_state(), raft.snapshot(1, b"x")])

        loop.call_soon(callback)
        found = await seen
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    state = (0, False)
    assert run_anywhere(main) == [(-1, 0, False), state, None, (-1, 0, False), state, None]


def test_a_killed_server_answers_but_does_nothing(run: Run) -> None:
    """After kill() handle() returns bytes at once, get_state() works, and disk, network and consumer rest (E8, H5)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        await world.agree(b"x")
        term, _ = world.servers[leader].get_state()
        _, _, follower, args = next(call for call in reversed(world.calls) if call[1] == leader)
        for server in (follower, leader):
            dead = world.servers[server]
            world.crash(server)
            for method in ("AppendEntries", "no such method"):
                assert type(await dead.handle(method, args)) is bytes
            assert dead.start(b"y")[2] is False
            assert dead.get_state() == (term, False)
            dead.snapshot(1, b"x")
        before = len(world.calls)
        await asyncio.sleep(8)
        assert {call[1] for call in world.calls[before:]} == {3 - leader - follower}
        world.end()

    run(main)


# --- agreement -------------------------------------------------------------------------------------------------------


def test_a_whole_life(run_anywhere: Run) -> None:
    """Agreement, a cut leader, a crash of all, a restart, with queues of one place and snapshots every 3 commands."""

    async def main() -> None:
        world = World(room=1, snapshot_every=3)
        first = await world.leader()
        await world.agree(b"one")
        term, _ = world.servers[first].get_state()
        world.cut.add(first)
        second = await world.leader(above_term=term)
        others = [server for server in range(3) if server != first]
        for number in range(8):
            await world.agree(b"%d" % number, others)
        world.cut.clear()
        await world.agree(b"together")
        assert world.servers[second].get_state()[0] > term
        for server in range(3):
            world.crash(server)
        for server in range(3):
            world.boot(server)
        await world.agree(b"again")
        assert [commands[0] for commands in world.applied] == [b"one"] * 3
        assert world.applied[0] == world.applied[1] == world.applied[2]
        world.end()

    run_anywhere(main)


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), b"\xff" * 300_000, b"\x93\x01\xc4"])
def test_any_bytes_are_a_command_and_a_snapshot(run: Run, data: bytes) -> None:
    """What goes in comes out, on the leader, on a follower, and on one that is sent the snapshot (H11)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        away = (leader + 1) % 3
        world.cut.add(away)
        queue: asyncio.Queue[ApplyMsg] = asyncio.Queue()
        assert world.servers[leader].start(data)[::2] == (1, True)
        await asyncio.sleep(0.5)
        assert [world.applied[server] for server in range(3)] == [
            [data] if server != away else [] for server in (0, 1, 2)
        ]
        for server in range(3):
            if server != away:
                world.servers[server].snapshot(1, data)
                assert world.disks[server].kept == data
        world.crash(away)
        world.cut.clear()
        world.disks[away], world.up[away] = Disk(), True
        world.servers[away] = make([End(world, away, n) for n in range(3)], away, world.disks[away], queue)
        message = await asyncio.wait_for(queue.get(), 5)
        assert (message.snapshot_valid, message.snapshot, message.snapshot_index) == (True, data, 1)
        assert message.snapshot_term == world.servers[leader].get_state()[0]
        assert world.disks[away].kept == data
        world.end()

    run(main)


@pytest.mark.parametrize("seed", range(6))
def test_a_network_that_does_everything_wrong(run: Run, seed: int) -> None:
    """Loss, delay, late and repeated requests, servers that crash: everybody ends with the same commands (H8)."""

    async def main() -> None:
        world = World(5, seed, room=seed % 3, snapshot_every=7)
        world.delay_s, world.loss, world.repeats, world.late = 0.027, 0.1, 0.1, 0.3
        done: list[bytes] = []
        for number in range(30):
            victim = world.random.randrange(5)
            if number % 4 == 0:
                world.crash(victim)
            elif number % 4 == 2:
                world.cut.add(victim)
            up = [server for server in range(5) if world.up[server] and server not in world.cut]
            command = b"command %d" % number
            await world.agree(command, up, within_s=20)
            done.append(command)
            if not world.up[victim]:
                world.boot(victim)
            world.cut.clear()
        world.delay_s = world.loss = world.repeats = world.late = 0.0
        await world.agree(b"the end")
        assert all(commands == world.applied[0] for commands in world.applied)
        first = [world.applied[0].index(command) for command in done]
        assert first == sorted(first)
        world.end()

    run(main)


def test_groups_in_one_loop_share_nothing(run: Run) -> None:
    """Two groups and a server alone, side by side, each with its own indices (H9)."""

    async def main() -> None:
        worlds = [World(3, 1), World(3, 1), World(1), World(2)]
        for number, world in enumerate(worlds):
            await world.agree(b"of world %d" % number)
        assert [world.applied[0] for world in worlds] == [[b"of world %d" % number] for number in range(4)]
        for world in worlds:
            world.end()

    run(main)


# --- how much, how soon ----------------------------------------------------------------------------------------------


def test_ten_large_commands_travel_once_to_each_peer(run: Run) -> None:
    """Ten commands of 5,000 bytes to two peers: under 200 kB of calls and replies, each command once to each (B29)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        await asyncio.sleep(0.3)
        mark, replied = len(world.calls), world.bytes_replied
        commands = [world.random.randbytes(5000).replace(b"\0", b"1") for _ in range(10)]
        for command in commands:
            world.servers[leader].start(command)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert world.applied == [commands] * 3
        calls = world.calls[mark:]
        assert sum(len(args) for *_, args in calls) + world.bytes_replied - replied < 200_000
        for command in commands:
            carriers = sorted(target for _, _, target, args in calls for _ in range(args.count(command)))
            assert carriers == [server for server in range(3) if server != leader]
        world.end()

    run(main)


def test_commands_given_together_travel_together(run: Run) -> None:
    """A hundred start() in one turn are one call per peer, made in that instant, not after a heartbeat (B29)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        await asyncio.sleep(0.3)
        mark, now = len(world.calls), asyncio.get_running_loop().time()
        for number in range(100):
            assert world.servers[leader].start(b"number %d" % number)[0] == number + 1
        await asyncio.sleep(0.1)
        carrying = [(at, target) for at, _, target, args in world.calls[mark:] if b"number" in args]
        assert len(carrying) == 2
        assert all(at - now < 0.001 for at, _ in carrying)
        assert [len(commands) for commands in world.applied] == [100] * 3
        world.end()

    run(main)


def test_the_state_costs_few_bytes_per_entry(run: Run) -> None:
    """Every server saves a hundred small commands in at most 60 bytes each, and a snapshot frees them (D1)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        for number in range(100):
            world.servers[leader].start(b"%019d" % number)
        await asyncio.sleep(0.5)
        assert all(100 * 19 < disk.raft_state_size() <= 100 * 60 for disk in world.disks)
        for raft in world.servers:
            raft.snapshot(100, b"all")
        assert all(disk.raft_state_size() <= 60 for disk in world.disks)
        world.end()

    run(main)


def test_heartbeats_come_at_most_ten_times_a_second(run: Run) -> None:
    """In each of ten idle seconds a follower is called 1 to 10 times, by the leader only (J1)."""

    async def main() -> None:
        world = World(5)
        leader = await world.leader()
        await asyncio.sleep(1)
        for _ in range(10):
            mark = len(world.calls)
            await asyncio.sleep(1)
            calls = world.calls[mark:]
            assert {source for _, source, _, _ in calls} == {leader}
            for server in set(range(5)) - {leader}:
                assert 1 <= sum(target == server for _, _, target, _ in calls) <= 10
        world.end()

    run(main)


@pytest.mark.parametrize("seed", range(10))
def test_a_new_leader_stands_within_five_seconds(run: Run, seed: int) -> None:
    """Whoever leads is cut off or crashes, calls to it hang for 7 s, one message in ten is lost (J2)."""

    async def main() -> None:
        world = World(5, seed)
        world.delay_s, world.loss = 0.027, 0.1
        for number in range(4):
            leader = await world.leader()
            term, _ = world.servers[leader].get_state()
            if number % 2:
                world.crash(leader)
            else:
                world.cut.add(leader)
            await world.leader(above_term=term)
            if number % 2:
                world.boot(leader)
            world.cut.clear()
        world.end()

    run(main)


def test_nothing_waits_for_a_call_that_hangs(run: Run) -> None:
    """The first call to one follower takes 7 s, the other is gone; later commands commit all the same (E9)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        await world.agree(b"common")
        slow, gone = [server for server in range(3) if server != leader]
        world.cut.update((slow, gone))
        world.servers[leader].start(b"first")
        await asyncio.sleep(0.01)
        world.cut.remove(slow)
        world.servers[leader].start(b"second")
        await asyncio.sleep(0.4)
        assert world.applied[leader] == world.applied[slow] == [b"common", b"first", b"second"]
        world.end()

    run(main)


def test_replies_two_seconds_late_do_not_add_up(run: Run) -> None:
    """Every reply is 2 s late: ten commands, 0.1 s apart, are applied by everybody 3.5 s after the first (E9)."""

    async def main() -> None:
        world = World()
        leader = await world.leader()
        await asyncio.sleep(0.5)
        office = world.servers[leader].get_state()
        world.late = 1.0
        commands = [b"%d" % number for number in range(10)]
        for command in commands:
            world.servers[leader].start(command)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2.5)
        assert world.applied == [commands] * 3
        assert world.servers[leader].get_state() == office
        world.end()

    run(main)
