"""Promises of a node's beginning and end: it starts once, or not at all, and stops whole."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import CALM, HANGS_S, Register, free_addresses

from raftline import ConfigError, GroupConfig, Node, NodeConfig, SetPriority, Stopped, StorageError
from raftline.runtime.node import Ports


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """Return the settings of a node that is a group of its own."""
    return NodeConfig(
        node_id="n1",
        members={"n1": free_addresses(1)[0]},
        data_dir=str(tmp_path / "n1"),
        core=CALM,
        request_timeout_s=HANGS_S,
        snapshot_log_entries=10,
        keep_log_entries=1,
    )


async def _check_free(config: NodeConfig) -> None:
    """Let another node have the directory and the port."""
    async with asyncio.timeout(HANGS_S), Node(config, Register()) as node:
        assert node.status().role == "follower"


async def _leads(node: Node) -> Node:
    """Wait until the only node of a group leads it."""
    async with asyncio.timeout(HANGS_S):
        await node.propose(b"k=0")
    return node


def _running_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("raftline-")]


class _Halting:
    """Calls something when a step of the start begins, and lets that go on when it may."""

    def __init__(self, ports: Ports) -> None:
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self._start = ports.transport.start
        ports.transport.start = self._halt  # type: ignore[assignment, method-assign]

    async def _halt(self, *arguments: Any) -> None:
        self.begun.set()
        await self.may_go_on.wait()
        await self._start(*arguments)


def test_a_stop_while_the_directory_is_opened_ends_the_start(config: NodeConfig) -> None:
    """Whoever starts is told, and nothing is left: no thread, no port, no lock."""

    async def scenario() -> None:
        node = Node(config, Register())
        start = asyncio.ensure_future(node.start())
        await asyncio.sleep(0)
        await node.stop()
        with pytest.raises(Stopped, match="this node was stopped before it had started"):
            await start
        assert _running_threads() == []
        await _check_free(config)

    asyncio.run(scenario())


def test_a_stop_while_the_port_is_opened_ends_the_start(config: NodeConfig) -> None:
    """What was begun is closed again, however late it came."""

    async def scenario() -> None:
        ports = Ports.real(config)
        halting = _Halting(ports)
        node = Node(config, Register(), ports=ports)
        start = asyncio.ensure_future(node.start())
        await halting.begun.wait()
        stop = asyncio.ensure_future(node.stop())
        for _ in range(5):
            await asyncio.sleep(0)
        halting.may_go_on.set()
        with pytest.raises(Stopped, match="this node was stopped before it had started"):
            await start
        await stop
        assert not node.is_leader
        assert _running_threads() == []
        await _check_free(config)

    asyncio.run(scenario())


def test_a_stop_while_a_snapshot_is_restored_ends_the_start(config: NodeConfig) -> None:
    """The state machine gets no further chunk, and nothing is left."""

    class Interrupted(Register):
        def restore_begin(self) -> None:
            stops.append(asyncio.ensure_future(node.stop()))
            super().restore_begin()

    stops: list[asyncio.Future[None]] = []
    node = Node(config, Interrupted())

    async def scenario() -> None:
        async with Node(config, Register()) as former:
            await _leads(former)
            async with asyncio.timeout(HANGS_S):
                while not former.status().snapshot_index:
                    await former.propose(b"k=1")
        with pytest.raises(Stopped, match="this node was stopped before it had started"):
            await node.start()
        await stops[0]
        assert _running_threads() == []
        await _check_free(config)

    asyncio.run(scenario())


def test_a_failure_while_a_node_starts_is_what_the_start_raises(config: NodeConfig) -> None:
    """It is not a node then that failed before anybody had it."""

    async def scenario() -> None:
        ports = Ports.real(config)
        halting = _Halting(ports)
        node = Node(config, Register(), ports=ports)
        start = asyncio.ensure_future(node.start())
        await halting.begun.wait()
        assert node._host is not None
        node._host.on_failure(StorageError("the disk is gone"))
        halting.may_go_on.set()
        with pytest.raises(StorageError, match="the disk is gone"):
            await start
        await _check_free(config)

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_named(config: NodeConfig) -> None:
    """As a setting that cannot work; the directory is free again."""

    async def scenario() -> None:
        other = Node(
            NodeConfig(node_id="n2", members={"n2": config.own_address}, data_dir=config.data_dir + "2"), Register()
        )
        async with other:
            with pytest.raises(ConfigError, match=r"cannot listen for peers on 127\.0\.0\.1"):
                await Node(config, Register()).start()
        await _check_free(config)

    asyncio.run(scenario())


def test_a_node_starts_once(config: NodeConfig) -> None:
    """A second start is refused while it runs, which goes on, and when it has stopped."""

    async def scenario() -> None:
        node = Node(config, Register())
        start = asyncio.ensure_future(node.start())
        await asyncio.sleep(0)
        with pytest.raises(ConfigError, match="a node starts once"):
            await node.start()
        await start
        await _leads(node)
        with pytest.raises(ConfigError, match="a node starts once"):
            await node.start()
        assert await node.propose(b"k=1") == b"0"
        await node.stop()
        with pytest.raises(ConfigError, match="make another Node"):
            await node.start()
        await _check_free(config)

    asyncio.run(scenario())


def test_a_node_that_was_stopped_does_not_start(config: NodeConfig) -> None:
    """It would take requests and answer none."""

    async def scenario() -> None:
        node = Node(config, Register())
        await node.stop()
        with pytest.raises(ConfigError, match="a node starts once"):
            await node.start()
        await _check_free(config)

    asyncio.run(scenario())


def test_a_stop_that_is_given_up_ends_the_node_all_the_same(make_cluster: Any) -> None:
    """It hands nothing over any more; whoever stops it again waits until all is closed."""

    async def scenario() -> None:
        async with make_cluster(2, drain_s_max=HANGS_S) as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await cluster.stop(follower.config.node_id)  # so that there is nobody to hand over to
            asked = asyncio.ensure_future(leader.propose(b"k=1"))
            await asyncio.sleep(0)
            stop = asyncio.ensure_future(leader.stop())
            for _ in range(5):
                await asyncio.sleep(0)
            assert not stop.done()
            stop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stop
            with pytest.raises(Stopped):
                await asked
            with pytest.raises(Stopped):
                await leader.propose(b"k=2")
            del cluster.nodes[leader.config.node_id]
            await leader.stop()
            assert _running_threads() == []
            await _check_free(leader.config)

    asyncio.run(scenario())


def test_a_stop_that_ends_with_its_loop_ends_the_node(config: NodeConfig) -> None:
    """The loop cancels whatever there is: nobody is left without an answer."""

    async def scenario() -> None:
        node = await _started(config)
        await _leads(node)
        stop = asyncio.ensure_future(node.stop())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
        with pytest.raises(Stopped):
            await node.propose(b"k=1")
        await node.stop()
        await _check_free(config)

    asyncio.run(scenario())


async def _started(config: NodeConfig) -> Node:
    node = Node(config, Register())
    await node.start()
    return node


def test_two_stops_wait_for_the_same_end(make_cluster: Any, stuck_disks: Any) -> None:
    """The second does not cut the first one's short: what is under way gets its real result."""

    async def scenario() -> None:
        async with make_cluster(3, drain_s_max=HANGS_S) as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=1")
            await cluster.written()
            disks = stuck_disks(*cluster.nodes.values())
            asked = await disks.begin(leader)
            del cluster.nodes[leader.config.node_id]
            stops = [asyncio.ensure_future(leader.stop()) for _ in range(2)]
            for _ in range(10):
                await asyncio.sleep(0)
            disks.may_go_on.set()
            assert await asked == b"1"
            await asyncio.gather(*stops)

    asyncio.run(scenario())


def test_a_stop_does_not_hold_its_loop_up(config: NodeConfig) -> None:
    """While the disk finishes what it has begun, others go on."""

    async def scenario() -> None:
        node = await _started(config)
        await _leads(node)
        assert node._host is not None
        begun, may_go_on = threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            assert may_go_on.wait(HANGS_S)
            written.append(True)

        written: list[bool] = []
        node._host.snapshot_disk.submit(hang, lambda _: None)
        assert await asyncio.to_thread(begun.wait, HANGS_S)
        stop = asyncio.ensure_future(node.stop())
        for _ in range(50):
            await asyncio.to_thread(lambda: None)
        may_go_on.set()  # it would not come to this if the loop waited for the thread
        await stop
        assert written
        assert _running_threads() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["stop", "fail"])
def test_a_node_that_ended_leads_nothing(config: NodeConfig, end: str) -> None:
    """Neither by its property nor by its status, in any group, nor does it know who does."""

    async def scenario() -> None:
        node = await _started(config)
        await _leads(node)
        assert (node.is_leader, node.status().role, node.status().leader_id) == (True, "leader", "n1")
        if end == "stop":
            await node.stop()
        else:
            assert node._host is not None
            node._host.on_failure(StorageError("the disk is gone"))
        status = node.status()
        assert (node.is_leader, status.role, status.leader_id, status.leader_address) == (False, "stopped", None, None)
        assert [member.role for member in status.members] == ["stopped"]
        why = "this node stops" if end == "stop" else "this node stopped: the disk is gone"
        assert (status.trouble, node.measure().not_ready) == (why, why)
        await node.stop()

    asyncio.run(scenario())


def _elsewhere(call: Callable[[], Any]) -> None:
    """Make a call in an event loop of its own."""

    async def go() -> None:
        async with asyncio.timeout(HANGS_S):
            found = call()
            if inspect.isawaitable(found):
                await found

    asyncio.run(go())


def _calls(node: Node) -> dict[str, Callable[[], Any]]:
    """Return everything of a node that one waits for, or that sets something going."""
    remote = node.remote(7, lambda: ["n1"])
    group = GroupConfig(group=1, members=node.config.members)
    return {
        "propose": lambda: node.propose(b"k=1"),
        "read": lambda: node.read(b"k"),
        "open_session": node.open_session,
        "close_session": lambda: node.close_session(7),
        "find_session": lambda: node.find_session(7),
        "change_membership": lambda: node.change_membership(SetPriority("n1", 1)),
        "transfer_leadership": node.transfer_leadership,
        "open_backup": node.open_backup,
        "submit": lambda: node.submit(b"k=1", print),
        "submit_wrapped": lambda: node.submit_wrapped(b"\x00k=1", print),
        "submit_query": lambda: node.submit_query(b"k", print),
        "submit_read": lambda: node.submit_read(print),
        "before_turn": lambda: node.before_turn(print),
        "add_group": lambda: node.add_group(group, Register()),
        "remove_group": lambda: node.remove_group(1),
        "wait_failed": node.wait_failed,
        "drain": node.drain,
        "stop": node.stop,
        "remote.submit": lambda: remote.submit(b"k=1", print),
        "remote.ask": lambda: remote.ask(b"k"),
        "remote.open_session": lambda: remote.open_session(7),
    }


def test_calls_from_elsewhere_are_refused(config: NodeConfig) -> None:
    """Nothing would wake the node, or whoever waits there: they hear at once where to call, and it goes on."""

    async def scenario() -> None:
        async with Node(config, Register()) as node:
            await _leads(node)
            for call in _calls(node).values():
                with pytest.raises(ConfigError, match=r"another event loop.*run_coroutine_threadsafe"):
                    await asyncio.to_thread(_elsewhere, call)
            for name in ("submit", "submit_read", "before_turn"):
                with pytest.raises(ConfigError, match="another event loop"):
                    await asyncio.to_thread(_calls(node)[name])
            loop = asyncio.get_running_loop()

            def right() -> bytes:
                return asyncio.run_coroutine_threadsafe(node.propose(b"k=1"), loop).result(HANGS_S)

            assert await asyncio.to_thread(right) == b"0"

    asyncio.run(scenario())
