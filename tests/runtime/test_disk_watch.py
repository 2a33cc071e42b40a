"""A disk that hangs: what waits for it is bounded, and the group goes on where disks work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from msgspec import structs
from tests.runtime.conftest import CALM, FAST, HANGS_S

from raftline import GroupConfig, Node
from raftline.errors import Overloaded
from raftline.runtime import disk_watch, log_writer
from raftline.runtime.group_loop import GroupLoop

_LIMIT = 1 << 20
_COMMAND = b"k=" + bytes(50_000)


Hanging = Callable[..., AbstractAsyncContextManager[None]]
Play = Callable[..., None]


@pytest.fixture
def play(make_cluster: Any) -> Play:
    """Return what lets a scenario play in a cluster of such settings, with the node that leads and has written."""

    def run(scenario: Callable[[Any, Node], Awaitable[None]], **settings: Any) -> None:
        async def main() -> None:
            async with make_cluster(**settings) as cluster:
                leader = await cluster.leader()
                await leader.propose(b"k=0")
                await scenario(cluster, leader)

        asyncio.run(main())

    return run


@pytest.fixture
def hanging(stuck_disks: Any) -> Hanging:
    """Return what lets a node's disk hang for a while, in a write that `writer`, or the node itself, begins."""

    @asynccontextmanager
    async def hang(node: Node, writer: Node | None = None) -> AsyncIterator[None]:
        disk = stuck_disks(node)
        try:
            await (await disk.begin(writer or node))
            yield
        finally:
            disk.may_go_on.set()

    return hang


def _loop_of(node: Node) -> GroupLoop:
    assert node._group is not None
    return node._group


def _behind(node: Node) -> int:
    return _loop_of(node).host.writer.behind_bytes


async def _propose_until_refused(node: Node) -> Overloaded:
    for _ in range(1000):
        try:
            await node.propose(_COMMAND)
        except Overloaded as error:
            return error
    raise AssertionError("nothing is refused")


def test_what_waits_for_a_leaders_disk_is_bounded(play: Play, hanging: Hanging) -> None:
    """The others commit without it; beyond the limit it refuses, whoever passed it on, until the disk goes on (F24)."""

    async def scenario(cluster: Any, leader: Node) -> None:
        follower = await cluster.follower()
        async with hanging(leader):
            error = await _propose_until_refused(leader)
            assert str(error).startswith(f"the disk of {leader.config.node_id}, which leads, does not keep up: ")
            assert str(error).endswith(f"bytes wait for it, the limit is {_LIMIT}: try again later")
            assert _LIMIT <= _behind(leader) < _LIMIT + 2 * len(_COMMAND)
            measured = leader.measure()
            assert (measured.unwritten_bytes, measured.unwritten_bytes_max) == (_behind(leader), _LIMIT)
            with pytest.raises(Overloaded, match="does not keep up"):
                await follower.propose(_COMMAND)
            assert await leader.read(b"k") == _COMMAND[2:]
            assert leader.is_leader
        await cluster.until(lambda: _behind(leader) == 0)
        assert await follower.propose(b"k=1") == _COMMAND[2:]
        await cluster.until(lambda: all(machine.values[b"k"] == b"1" for machine in cluster.machines.values()))

    play(scenario, pending_bytes_max=_LIMIT, core=structs.replace(CALM, priority_handover_s=60.0))


def test_all_that_waited_is_written_in_the_end(play: Play, hanging: Hanging, monkeypatch: Any) -> None:
    """However much it is: by many writes, and a restart finds all of it (C5)."""

    async def scenario(cluster: Any, leader: Node) -> None:
        async with hanging(leader):
            await asyncio.gather(*(leader.propose(b"k%d=%d" % (number, number)) for number in range(100)))
            await _propose_until_refused(leader)
            monkeypatch.setattr(log_writer, "_WRITE_BYTES_MAX", 1000)
            writes = _loop_of(leader).host.writer.writes
        await cluster.until(lambda: _behind(leader) == 0)
        assert _loop_of(leader).host.writer.writes >= writes + 20
        await cluster.stop()
        name = leader.config.node_id
        others = [each for each in cluster.members if each != name]
        await cluster.start(name, others[0])
        assert await (await cluster.leader()).read(b"k99") == b"99"
        assert await cluster.nodes[name].read(b"k0") == b"0"

    play(scenario, pending_bytes_max=_LIMIT, core=structs.replace(CALM, priority_handover_s=60.0))


def test_a_leader_at_the_limit_lets_one_lead_whose_disk_works(play: Play, hanging: Hanging) -> None:
    """A majority of the disks keeps up, so the service goes on, also for the clients of the slow one (B13)."""

    async def scenario(cluster: Any, old: Node) -> None:
        async with hanging(old):
            await _propose_until_refused(old)
            async with asyncio.timeout(HANGS_S):
                while old.is_leader:
                    await asyncio.gather(old.propose(_COMMAND), return_exceptions=True)
            for _ in range(100):
                await old.propose(_COMMAND)
            assert _behind(old) < _LIMIT + 2 * len(_COMMAND) + old.config.core.inflight_bytes_max
            assert not old.is_leader
        await cluster.until(lambda: _behind(old) == 0)
        assert await old.read(b"k") == _COMMAND[2:]

    play(scenario, pending_bytes_max=_LIMIT, core=CALM)


def test_a_group_that_has_nothing_to_write_moves_as_well(play: Play, hanging: Hanging) -> None:
    """What it is refused for is another group's; it finds out that others go on without this disk (B13)."""

    async def scenario(cluster: Any, old: Node) -> None:
        config = GroupConfig(group=1, members=cluster.members)
        nodes = cluster.nodes.values()
        groups = await asyncio.gather(*(node.add_group(config, cluster.make_machine("")) for node in nodes))
        idle = groups[[*nodes].index(old)]
        await groups[0].propose(b"k=0")
        await groups[0].transfer_leadership(old.config.node_id)
        await cluster.until(lambda: idle.is_leader)
        assert await idle.propose(b"k=1") == b"0"
        await old.propose(b"k=0")
        await cluster.until(lambda: _behind(old) == 0)
        async with hanging(old):
            await _propose_until_refused(old)
            async with asyncio.timeout(HANGS_S):
                while idle.is_leader:
                    await asyncio.gather(idle.propose(b"k=2"), return_exceptions=True)
            assert await idle.propose(b"k=3") in {b"1", b"2"}

    play(scenario, pending_bytes_max=_LIMIT, core=structs.replace(CALM, priority_handover_s=0.5))


def test_a_leader_whose_disk_hangs_lets_another_lead(play: Play, hanging: Hanging, monkeypatch: Any) -> None:
    """However little waits for it: followers that read need an answer of which it may not speak before (E9)."""
    monkeypatch.setattr(disk_watch, "_TIMEOUTS", 1)

    async def scenario(cluster: Any, old: Node) -> None:
        async with hanging(old):
            await cluster.until(lambda: any(node.is_leader for node in cluster.nodes.values() if node is not old))
            assert not old.is_leader
            for node in cluster.nodes.values():
                if node is not old:
                    assert await node.read(b"k") == b"first"

    play(scenario, core=FAST)


def test_what_waits_for_a_followers_disk_is_bounded_by_the_window(play: Play, hanging: Hanging) -> None:
    """Nobody waits for it, and it is not sent more than it can acknowledge (B13, F24)."""
    window = 200_000

    async def scenario(cluster: Any, leader: Node) -> None:
        follower = await cluster.follower()
        async with hanging(follower, leader):
            for _ in range(100):
                await leader.propose(_COMMAND)
            assert _behind(follower) < window + 2 * len(_COMMAND) + 100_000
        machines = cluster.machines
        name = follower.config.node_id
        await cluster.until(lambda: _behind(follower) == 0 and machines[name].values == {b"k": _COMMAND[2:]})

    # What a disk is behind counts answers to heartbeats, too, which are more the longer it hangs.
    core = structs.replace(CALM, heartbeat_interval_s=1.0, priority_handover_s=60.0, inflight_bytes_max=window)
    play(scenario, core=core)
