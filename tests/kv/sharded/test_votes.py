"""What becomes of commands under way when this node's replica of a group begins to count, or does no longer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from redis.exceptions import TryAgainError, WatchError
from tests.kv.sharded.test_connection import LOW, plain

from raftline.errors import NotMember, NotServed
from raftline.kv.bundles import BUNDLED_BYTES_MAX
from raftline.kv.machine import encode_command
from raftline.kv.sharded import outgoing
from raftline.kv.slots import slot_of
from raftline.shards.configuration import Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
_pack: Callable[[tuple[str | bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
OF_1 = ("n1", 1)
LIST = b"{b}list"


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0)


def _held_back(group: Any) -> list[Callable[[], object]]:
    """Let what is submitted to a group, or to a view of it, wait until the test calls it."""
    late: list[Callable[[], object]] = []
    submit = group.submit
    group.submit = lambda *args: late.append(partial(submit, *args))
    return late


@asynccontextmanager
async def _under_way_elsewhere(
    cluster: "FakeCluster", *command: str | bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, list[Callable[[], object]]]]:
    """Give a connection to n1 with a command that another node was asked for, and has not begun; its own counts now."""
    cluster.voteless = {OF_1}
    assert cluster.view(*OF_1).submit is not None, "made before: its way is short"
    late = _held_back(cluster.groups[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
    writer.write(_pack(command))
    await _until(lambda: late)
    cluster.voteless.clear()
    yield reader, writer, late
    writer.close()


def test_a_write_goes_behind_one_that_another_node_was_asked_for(run_sharded: Run) -> None:
    """This node's replica counts from now on, and could be faster than the way that was taken before (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with _under_way_elsewhere(cluster, "SET", LOW, "1") as (reader, writer, late), plain(cluster) as client:
            writer.write(_pack(("SET", LOW, "2")))
            assert await client.get(LOW) is None
            await asyncio.sleep(0.05)  # long enough for the short way
            assert await client.get(LOW) is None
            late[0]()
            assert await asyncio.wait_for(reader.readexactly(10), 60) == b"+OK\r\n+OK\r\n"
            assert await client.get(LOW) == b"2"

    run_sharded(scenario)


def test_a_write_to_another_node_goes_behind_one_that_the_replica_here_was_asked_for(run_sharded: Run) -> None:
    """This node's replica counts no longer, and what it was asked for is under way still (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        late = _held_back(cluster.view(*OF_1))
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
        writer.write(_pack(("SET", LOW, "1")))
        await _until(lambda: late)
        cluster.voteless = {OF_1}
        writer.write(_pack(("SET", LOW, "2")))
        async with plain(cluster, "n2") as client:
            await asyncio.sleep(0.05)  # long enough for the way by another node
            assert await client.get(LOW) is None
            late[0]()
            assert await asyncio.wait_for(reader.readexactly(10), 60) == b"+OK\r\n+OK\r\n"
            assert await client.get(LOW) == b"2"
        writer.close()

    run_sharded(scenario)


def test_a_write_that_is_over_lets_none_overtake_those_behind_it(run_sharded: Run) -> None:
    """One comes too late, and what it held back waits for the next one, which went another way (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with (
            _under_way_elsewhere(cluster, "RPUSH", LIST, "1") as (reader, writer, late),
            plain(cluster) as client,
        ):
            cluster.voteless = {OF_1}
            writer.write(_pack(("RPUSH", LIST, "2")) + _pack(("RPUSH", LIST, "3")))
            await _until(lambda: len(late) == 3)
            cluster.voteless.clear()
            writer.write(_pack(("RPUSH", LIST, "4")))
            await asyncio.sleep(0.05)  # it is held, as all others are under way
            first: Any = late[0]
            first.args[1](NotServed("its slot is not here yet"))
            late[1]()
            assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"-TRYAGAIN")
            assert await asyncio.wait_for(reader.readline(), 60) == b":1\r\n"
            await asyncio.sleep(0.05)  # long enough for the short way
            assert await client.lrange(LIST, 0, -1) == [b"2"]
            late[2]()
            assert await asyncio.wait_for(reader.readexactly(8), 60) == b":2\r\n:3\r\n"
            assert await client.lrange(LIST, 0, -1) == [b"2", b"3", b"4"]

    run_sharded(scenario)


def test_a_write_goes_behind_those_that_wait_to_share_an_entry(run_sharded: Run) -> None:
    """The replica counts no longer, and again, before its next turn, which waits while it writes (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        view = cluster.view(*OF_1)
        turns: list[Callable[[], None]] = []
        view.before_turn = turns.append
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
        writer.write(_pack(("SET", LOW, "1")))
        await _until(lambda: turns)
        async with plain(cluster) as client:
            cluster.voteless = {OF_1}
            await client.exists(LOW)  # looks for the place
            cluster.voteless = set()
            large = b"2" * BUNDLED_BYTES_MAX  # in an entry of its own
            writer.write(_pack(("SET", LOW, large)))
            await _until(lambda: cluster.groups[1].submitted)
            for call in turns:
                call()
            assert await asyncio.wait_for(reader.readexactly(10), 60) == b"+OK\r\n+OK\r\n"
            assert await client.get(LOW) == large
        writer.close()

    run_sharded(scenario)


@pytest.mark.parametrize("is_changed", [False, True])
def test_what_a_removed_replica_marked_holds_with_its_group(run_sharded: Run, *, is_changed: bool) -> None:
    """A watched transaction goes on to the group, whose marks are the same on every node."""

    async def scenario(cluster: "FakeCluster") -> None:
        view: Any = cluster.view(*OF_1)

        def refuse(_command: bytes, done: Callable[[Any], None], *_more: Any) -> None:
            cluster.voteless = {OF_1}
            asyncio.get_running_loop().call_soon(done, NotMember("n1 was removed"))

        async with plain(cluster) as client, plain(cluster, "n2") as other, client.pipeline(transaction=True) as pipe:
            await other.set(LOW, 1)
            await pipe.watch(LOW)
            if is_changed:
                await other.set(LOW, 2)
            view.submit = refuse
            pipe.multi()
            pipe.incr(LOW)
            if is_changed:
                with pytest.raises(WatchError):
                    await pipe.execute()
            else:
                assert await pipe.execute() == [2]
            assert cluster.voteless

    run_sharded(scenario)


def test_marks_say_nothing_to_the_group_that_a_held_transaction_goes_on_to(run_sharded: Run) -> None:
    """Its own log may be much shorter than the one that they are of, so that nothing there would look changed (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.voteless = {OF_1}
        assert cluster.view(*OF_1).submit is not None
        async with plain(cluster, "n2") as other:
            for _ in range(50):
                await other.incr(LOW)
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
            writer.write(_pack(("WATCH", LOW)))
            assert await reader.readexactly(5) == b"+OK\r\n"
            late = _held_back(cluster.groups[1])
            writer.write(_pack(("SET", LOW + b"2", "x")))
            await _until(lambda: late)
            cluster.voteless.clear()
            writer.write(_pack(("MULTI",)) + _pack(("INCR", LOW)) + _pack(("EXEC",)))
            await asyncio.sleep(0.01)
            late[0]()
            assert await asyncio.wait_for(reader.readexactly(5), 60) == b"+OK\r\n"
            slot = slot_of(LOW)
            cluster.change(Move(slot, slot + 1, 2))
            cluster.take()
            cluster.release(1, 2)
            cluster.carry(1, 2)
            assert cluster.groups[2].apply(encode_command([b"SET", LOW, b"7"])) == b"+OK\r\n"
            replies = b"+OK\r\n+QUEUED\r\n*-1\r\n"
            assert await asyncio.wait_for(reader.readexactly(len(replies)), 60) == replies
            assert await other.get(LOW) == b"7"
            writer.close()

    run_sharded(scenario)


def test_a_pop_goes_on_elsewhere_when_the_vote_is_lost_before_it_stands_in_line(run_sharded: Run) -> None:
    """Nobody looks at the queues of a replica that does not count any more."""

    async def scenario(cluster: "FakeCluster") -> None:
        reads = cluster.unled[1] = asyncio.Queue()
        async with plain(cluster) as client, plain(cluster, "n2") as other:
            popped = asyncio.ensure_future(client.blpop(LIST, 0))
            done = await reads.get()
            del cluster.unled[1]
            await _remove(cluster)
            done(None)
            await asyncio.sleep(0.01)
            await other.rpush(LIST, "x")
            assert await asyncio.wait_for(popped, 60) == [LIST, b"x"]

    run_sharded(scenario)


def test_a_pop_goes_on_elsewhere_when_the_vote_is_lost_while_it_is_carried_out(run_sharded: Run) -> None:
    """It came too late, and stands in no line that anybody looks at."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client, plain(cluster, "n2") as other:
            await other.rpush(LIST, "taken")
            late = _held_back(cluster.view(*OF_1))
            popped = asyncio.ensure_future(client.blpop(LIST, 0))
            await _until(lambda: late)
            assert await other.lpop(LIST) == b"taken"
            await _remove(cluster)
            late[0]()
            await asyncio.sleep(0.01)
            await other.rpush(LIST, "x")
            assert await asyncio.wait_for(popped, 60) == [LIST, b"x"]

    run_sharded(scenario)


def test_what_a_removed_replica_refuses_goes_on_elsewhere(run_sharded: Run) -> None:
    """The node learns that it was removed a moment before it looks for other ways: nothing was carried out there."""

    async def scenario(cluster: "FakeCluster") -> None:
        view: Any = cluster.view(*OF_1)
        removed = NotMember("n1 was removed")

        def refuse(_command: bytes, done: Callable[[Any], None], *_more: Any) -> None:
            cluster.voteless = {OF_1}
            asyncio.get_running_loop().call_soon(done, removed)

        async with plain(cluster) as client, plain(cluster) as reader:
            await client.rpush(LIST, "x")
            view.submit = refuse
            assert await client.set(LOW, 1)
            assert cluster.voteless
            cluster.voteless = set()
            assert await client.blpop(LIST, 0) == [LIST, b"x"]
            view.submit_read = lambda done, *_more: refuse(b"", done)
            cluster.voteless = set()
            assert await reader.get(LOW) == b"1"
            assert cluster.voteless

    run_sharded(scenario)


def test_a_pop_at_a_replica_that_refuses_ends_in_its_time(run_sharded: Run) -> None:
    """However long its node takes to notice: with the time of writes that are held, or its own once somebody looked."""

    async def scenario(cluster: "FakeCluster") -> None:
        view: Any = cluster.view(*OF_1)
        removed = NotMember("n1 was removed")
        asked: list[object] = []

        def refuse(done: Callable[[Any], None], *what: object) -> None:
            asked.append(what)
            asyncio.get_running_loop().call_soon(done, removed)

        def look(done: Callable[[Any], None], *_more: object) -> None:
            asyncio.get_running_loop().call_soon(done, None)
            view.submit_read = refuse

        async with plain(cluster) as client, plain(cluster) as hurried, plain(cluster, "n2") as other:
            assert await client.ping()
            cluster.hold_for(0.5)
            view.submit_read = refuse
            view.submit = lambda command, done, *_more: refuse(done, command)
            with pytest.raises(TryAgainError, match="did not take effect"):
                await hurried.blpop(LIST, 0.05)  # null would say that there was nothing
            view.submit_read = look
            assert await client.blpop(LIST, 0.3) is None
            await other.rpush(LIST, "x")
            with pytest.raises(TryAgainError, match="did not take effect"):
                await hurried.blpop(LIST, 0)
            asked.clear()
            popped = asyncio.ensure_future(client.blpop(LIST, 0))
            await _until(lambda: asked)
            cluster.voteless = {OF_1}
            assert await asyncio.wait_for(popped, 60) == [LIST, b"x"]

    run_sharded(scenario)


def test_writes_behind_one_that_is_on_its_way_are_looked_at_now_and_then(run_sharded: Run) -> None:
    """And they have all of their time when it is their turn."""

    async def scenario(cluster: "FakeCluster") -> None:
        loop = asyncio.get_running_loop()
        now = loop.time
        looked_at: list[float] = []
        repeat = outgoing.Outgoing._repeat

        def noted(self: outgoing.Outgoing) -> None:
            looked_at.append(now())
            repeat(self)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(outgoing.Outgoing, "_repeat", noted)
            async with _under_way_elsewhere(cluster, "SET", LOW, "0") as (reader, writer, late):
                writer.write(b"".join(_pack(("INCR", LOW)) for _ in range(50)))
                await _until(lambda: len(looked_at) > 5)
                patched.setattr(loop, "time", lambda: now() + 3600)  # more than they may be held
                await _until(lambda: len(looked_at) > 10)
                assert sum(after - before > 0.015 for before, after in pairwise(looked_at)) >= 8, "every 20 ms or so"
                late[0]()
                replies = await asyncio.wait_for(reader.readexactly(len("+OK\r\n") + 9 * 4 + 41 * 5), 60)
                assert replies.endswith(b":50\r\n")

    run_sharded(scenario)


def test_a_pop_at_a_replica_that_begins_to_count_while_its_node_stops_is_told_so(run_sharded: Run) -> None:
    """It would wait for as long as the node lets its clients finish (G13)."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.voteless = {OF_1}
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
        cluster.servers["n1"].service.router.all_here()  # type: ignore[attr-defined]
        stopping = asyncio.create_task(cluster.servers["n1"].stop())
        await asyncio.sleep(0)
        cluster.voteless.clear()
        writer.write(b"BLPOP %b 0\r\n" % LIST)
        assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"-UNBLOCKED this node stops")
        writer.close()
        await stopping

    run_sharded(scenario)


async def _remove(cluster: "FakeCluster") -> None:
    """Let n1 leave group 1: its copy changes no more, and every server looks at who hosts what."""
    group = cluster.groups[1]
    del group.machines["n1"]
    group.machine = group.machines["n2"]
    for server in cluster.servers.values():
        server.service.router.all_here()  # type: ignore[attr-defined]
    await asyncio.sleep(0)


@pytest.mark.parametrize("words", [("WATCH", LOW), ("RAFTLINE.WATCH", LOW)])
def test_a_new_group_gives_no_marks_to_what_was_held_until_it_was_there(
    run_sharded: Run, words: tuple[str | bytes, ...]
) -> None:
    """All members of the group that was asked first know of transactions; this one is still to forget what it notes."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with asyncio.timeout(60), plain(cluster, "n2") as client:
            assert await client.get(LOW) is None
            for machine in cluster.groups[2].machines.values():
                machine.store.version = 1
            slot = slot_of(LOW)
            cluster.change(Move(slot, slot + 1, 2))
            cluster.take()
            cluster.release(1, 2)
            held = asyncio.ensure_future(client.execute_command(*words))
            await asyncio.sleep(0.05)
            assert not held.done()
            cluster.carry(1, 2)
            with pytest.raises(TryAgainError, match="not every member knows"):
                await held

    run_sharded(scenario)
