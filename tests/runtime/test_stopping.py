"""Promises to whoever waits when a node stops: what surely was not begun has no effect, and nothing else is said to."""

import asyncio
from typing import Any

import pytest
from tests.runtime.conftest import HANGS_S, Register

from raftline import GroupConfig, Node, Stopped
from raftline.errors import StorageError


async def _stopped(asked: "asyncio.Future[bytes]") -> Stopped:
    async with asyncio.timeout(HANGS_S):
        with pytest.raises(Stopped) as caught:
            await asked
    return caught.value


def test_what_a_stopped_node_is_asked_has_no_effect(make_cluster: Any) -> None:
    """It is never appended anywhere: propose it again, elsewhere (G5)."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await cluster.leader()
            await node.propose(b"k=1")
            await cluster.stop()
            late = await _stopped(asyncio.ensure_future(node.propose(b"k=2")))
            assert not late.may_take_effect
            assert str(late) == "this node stops"

    asyncio.run(scenario())


def test_what_waited_for_a_leader_has_no_effect(make_cluster: Any) -> None:
    """A proposal that never left this node, and a read, have none; one that is in the log may have (G5)."""

    async def scenario() -> None:
        async with make_cluster(3) as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=1")
            for node in cluster.nodes.values():
                if node is not leader:
                    await node.groups[0].driver.host.transport.stop()
            appended = asyncio.ensure_future(leader.propose(b"k=2"))
            await cluster.until(lambda: leader.status().last_index > leader.status().commit_index)
            follower = next(node for node in cluster.nodes.values() if node is not leader)
            await cluster.until(lambda: follower.status().leader_id is None)
            kept = asyncio.ensure_future(follower.propose(b"k=3"))
            read = asyncio.ensure_future(follower.read(b"k"))
            await cluster.until(lambda: follower.status().pending_requests >= 2)
            for node in (leader, follower):
                assert node._host is not None
                node._host.on_failure(StorageError("the disk is gone"))
            outcomes = [await _stopped(asked) for asked in (appended, kept, read)]
            assert [outcome.may_take_effect for outcome in outcomes] == [True, False, False]
            assert {str(outcome) for outcome in outcomes} == {"this node stopped: the disk is gone"}

    asyncio.run(scenario())


def test_what_was_passed_on_may_have_an_effect(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here knows what the leader made of it (G5)."""

    async def scenario() -> None:
        async with make_cluster(3) as cluster:
            follower = await cluster.follower()
            await follower.propose(b"k=1")
            sent: list[Any] = []
            monkeypatch.setattr(follower.groups[0].driver.forwarding, "_send", lambda *frame: sent.append(frame))
            asked = asyncio.ensure_future(follower.propose(b"k=2"))
            await cluster.until(lambda: bool(sent))
            assert follower._host is not None
            follower._host.on_failure(StorageError("the disk is gone"))
            assert (await _stopped(asked)).may_take_effect

    asyncio.run(scenario())


def test_what_was_kept_for_a_group_elsewhere_has_no_effect(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent to a node that hosts it may have one; what waits for such a node, or comes later, has none (G5)."""

    async def scenario() -> None:
        async with make_cluster(2) as cluster:
            here, there = cluster.nodes["n1"], cluster.nodes["n2"]
            monkeypatch.setattr(there._remote_host, "on_request", lambda *_: None)
            outcomes: dict[str, Any] = {}
            hosted, unhosted = here.remote(7, lambda: ["n2"]), here.remote(8, list)
            await cluster.until(lambda: here.is_up("n2"))
            hosted.submit(b"k=1", lambda outcome: outcomes.setdefault("sent", outcome))
            unhosted.submit(b"k=1", lambda outcome: outcomes.setdefault("kept", outcome))
            assert here._remotes is not None
            remotes = here._remotes
            await cluster.until(lambda: bool(remotes._open))
            remotes.stop(Stopped("this node stops"))
            unhosted.submit(b"k=1", lambda outcome: outcomes.setdefault("late", outcome))
            await cluster.until(lambda: len(outcomes) == 3)
            assert {name: outcome.may_take_effect for name, outcome in outcomes.items()} == {
                "sent": True, "kept": False, "late": False,
            }  # fmt: skip

    asyncio.run(scenario())


def test_a_group_that_was_removed_says_so(make_cluster: Any) -> None:
    """And that it did nothing with what it was asked later."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node: Node = cluster.nodes["n1"]
            group = await node.add_group(GroupConfig(group=1, members=cluster.members), Register())
            await node.remove_group(1)
            late = await _stopped(asyncio.ensure_future(group.propose(b"k=1")))
            assert (str(late), late.may_take_effect) == ("group 1 was removed from this node", False)

    asyncio.run(scenario())
