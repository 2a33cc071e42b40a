"""Promises of the loop that drives a replica, shown on real nodes."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from tests.runtime.conftest import CALM

from raftline import Node, ProposalLost
from raftline.core.ids import NodeId
from raftline.core.messages import ForwardReply, ForwardRequest
from raftline.replica.replica import Replica
from raftline.runtime.forwarding import refused
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.turns import Turns


def _loop_of(node: Node) -> GroupLoop:
    assert node._group is not None
    return node._group


def _refuse_first_frame(node: Node, monkeypatch: Any) -> None:
    """Let a leader answer the next frame as one does that does not lead any more, and go on as before."""
    group = _loop_of(node)
    taken = group._on_forward

    def refuse(sender: NodeId, request: ForwardRequest) -> None:
        monkeypatch.setattr(group, "_on_forward", taken)
        group._seen_frames.arrive(sender, request)
        group._transport.send(sender, 0, refused(request))
        group._schedule()

    monkeypatch.setattr(group, "_on_forward", refuse)


def test_commands_passed_on_in_one_turn_after_another_keep_their_order(make_cluster: Any, monkeypatch: Any) -> None:
    """The first comes back, the second is under way: the first may be lost, but never take effect after the second."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            follower, leader = await cluster.follower(), await cluster.leader()
            await follower.propose(b"k=0")
            _refuse_first_frame(leader, monkeypatch)
            first = asyncio.ensure_future(follower.propose(b"k=1"))
            for _ in range(3):
                await asyncio.sleep(0)
            second = asyncio.ensure_future(follower.propose(b"k=2"))
            outcomes: list[Any] = list(await asyncio.gather(first, second, return_exceptions=True))
            assert outcomes[1] in (b"0", b"1")
            assert await follower.read(b"k") == b"2"
            if isinstance(outcomes[0], Exception):
                assert type(outcomes[0]) is ProposalLost

    asyncio.run(scenario())


def test_what_came_back_goes_before_what_came_later(make_cluster: Any, monkeypatch: Any) -> None:
    """Nobody hears of it: the first is sent again before the second, which waited for it."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            follower, leader = await cluster.follower(), await cluster.leader()
            await follower.propose(b"k=0")
            _refuse_first_frame(leader, monkeypatch)
            forwarding = _loop_of(follower).forwarding
            on_reply, second = forwarding.on_reply, asyncio.get_running_loop().create_future()

            def came_back(reply: ForwardReply) -> bool:
                settled = on_reply(reply)
                if forwarding.is_holding:  # at once: what came back waits for a moment only
                    monkeypatch.setattr(forwarding, "on_reply", on_reply)
                    asyncio.ensure_future(follower.propose(b"k=2")).add_done_callback(second.set_result)
                return settled

            monkeypatch.setattr(forwarding, "on_reply", came_back)
            first = asyncio.ensure_future(follower.propose(b"k=1"))
            assert (await first, (await second).result()) == (b"0", b"1")
            assert await follower.read(b"k") == b"2"

    asyncio.run(scenario())


def test_a_frame_that_was_overtaken_is_refused_by_the_leader(make_cluster: Any) -> None:
    """It was delayed on the way: its command never takes effect, and its caller knows."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            follower = await cluster.follower()
            await follower.propose(b"k=0")
            forwarding = _loop_of(follower).forwarding
            send, delayed = forwarding._send, []
            forwarding._send = lambda *frame: delayed.append(frame)
            first = asyncio.ensure_future(follower.propose(b"k=1"))
            await cluster.until(lambda: bool(delayed))
            forwarding._send = send
            assert await follower.propose(b"k=2") == b"0"
            send(*delayed[0])
            with pytest.raises(ProposalLost):
                await first
            assert await follower.read(b"k") == b"2"

    asyncio.run(scenario())


def test_a_new_leader_takes_nothing_back_after_its_own_commands(make_cluster: Any, monkeypatch: Any) -> None:
    """What it had passed on to its predecessor comes back late: it is lost, never appended after what came later."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            follower, leader = await cluster.follower(), await cluster.leader()
            await follower.propose(b"k=0")
            group = _loop_of(follower)
            delayed: list[ForwardRequest] = []
            monkeypatch.setattr(group.forwarding, "_send", lambda _, frame: delayed.append(frame))
            monkeypatch.setattr(group.forwarding, "give_up_late", lambda _: None)
            first = asyncio.ensure_future(follower.propose(b"k=1"))
            await cluster.until(lambda: bool(delayed))
            await leader.transfer_leadership(follower.config.node_id)
            await cluster.until(lambda: follower.is_leader)
            assert await follower.propose(b"k=2") == b"0"
            group.on_message(leader.config.node_id, refused(delayed[0]))
            with pytest.raises(ProposalLost):
                await first
            assert await follower.read(b"k") == b"2"

    asyncio.run(scenario())


class _Mouth:
    """Knows what a node has said that has not left yet."""

    def __init__(self, node: Node, monkeypatch: Any) -> None:
        self.queued = 0
        transport = _loop_of(node).host.transport
        send, flush = transport.send, transport.flush

        def watched_send(*arguments: Any) -> None:
            self.queued += 1
            send(*arguments)

        def watched_flush() -> None:
            self.queued = 0
            flush()

        monkeypatch.setattr(transport, "send", watched_send)
        monkeypatch.setattr(transport, "flush", watched_flush)


async def _propose_for_a_while(node: Node) -> None:
    """Propose something in each turn of the loop, so that turns with something committed have something new, too."""
    loop = asyncio.get_running_loop()
    answered = loop.create_future()
    left = 300

    def done(_outcome: bytes | Exception) -> None:
        nonlocal left
        left -= 1
        if not left:
            answered.set_result(None)

    def propose(number: int) -> None:
        node.submit(b"x=%d" % number, done)
        if number:
            loop.call_soon(propose, number - 1)

    propose(left - 1)
    await answered


def test_entries_leave_before_what_is_committed_is_applied(make_cluster: Any, monkeypatch: Any) -> None:
    """Followers store the next entries while the leader applies those before them."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            mouth, replica, apply_some = _Mouth(leader, monkeypatch), _loop_of(leader).replica, Replica.apply_some
            left_behind: list[int] = []

            def watched_apply(applying: Replica, *arguments: Any) -> int:
                if applying is replica:
                    left_behind.append(mouth.queued)
                return apply_some(applying, *arguments)

            monkeypatch.setattr(Replica, "apply_some", watched_apply)
            await _propose_for_a_while(leader)
            assert left_behind
            assert not any(left_behind)

    asyncio.run(scenario())


def test_acknowledgements_leave_before_the_turn_that_follows_the_write(make_cluster: Any, monkeypatch: Any) -> None:
    """A follower says what is on its disk, and only then does what else there is to do."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            group, mouth = _loop_of(follower), _Mouth(follower, monkeypatch)
            turn = group._turn
            left_behind: list[int] = []

            def watched_turn() -> None:
                left_behind.append(mouth.queued)
                turn()

            monkeypatch.setattr(group, "_turn", watched_turn)
            await _propose_for_a_while(leader)
            assert left_behind
            assert not any(left_behind)

    asyncio.run(scenario())


def test_a_turn_that_is_due_is_not_taken_twice(make_cluster: Any, monkeypatch: Any) -> None:
    """When a write ends while a turn is due that one serves for both: a group alone is no crowd."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            crowds: list[int] = []
            monkeypatch.setattr(Turns, "_run_together", lambda _turns, due: crowds.append(len(due)))
            await _propose_for_a_while(leader)
            assert not crowds

    asyncio.run(scenario())


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_read_that_can_only_wait_for_others_takes_no_turn(make_cluster: Any, who: str) -> None:
    """A round of reads, or a question to the leader, is under way: its end lets the read go on (§8)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=1")
            node = leader if who == "leader" else await cluster.follower()
            group = _loop_of(node)
            reads = group.replica.core.state.reads
            answered: list[Any] = []
            for _ in range(10):
                node.submit_read(answered.append)
                while group._scheduled or not (reads.confirming or reads.asked):
                    assert not answered, "a round was seen"
                    await asyncio.sleep(0)
                node.submit_read(answered.append)
                assert not group._scheduled
                assert await node.read(b"k") == b"1"
                assert answered == [None, None]
                answered.clear()

    asyncio.run(scenario())


def test_a_long_log_is_applied_without_anything_else_happening(make_cluster: Any) -> None:
    """What the core hands out in one piece may all be applied in one turn: the next piece is asked for then (F10)."""

    async def scenario() -> None:
        core = structs.replace(CALM, committed_max=4)
        async with make_cluster(1, core=core) as cluster:
            node = await cluster.leader()
            for number in range(30):
                await node.propose(b"k=%d" % number)
            await cluster.stop("n1")
            await cluster.start("n1")
            node = await cluster.leader()
            await cluster.until(lambda: node.status().applied_index == node.status().last_index)
            assert await node.read(b"k") == b"29"

    asyncio.run(scenario())
