"""The Redis port of a sharded store, by plain clients and by cluster clients, on nodes that host a group or do not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from msgspec import msgpack
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
    WatchError,
)

from raftline.errors import NotServed, Overloaded, Stopped, StorageError
from raftline.kv.sharded.machine import take_configuration
from raftline.kv.slots import slot_of
from raftline.shards.configuration import EMPTY, Join, Leave, Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]

LOW, HIGH = b"{b}k", b"{a}k"
"""Keys of group 1 and of group 2."""


def plain(cluster: "FakeCluster", node: str = "n1", **more: Any) -> Any:
    """Return a client of one node, which asks once: a command that is never answered is seen."""
    once = Retry(NoBackoff(), 0)
    return redis.asyncio.Redis(port=cluster.port(node), protocol=3, socket_timeout=None, retry=once, **more)


def knowing(cluster: "FakeCluster", node: str = "n1") -> Any:
    """Return a cluster client."""
    return RedisCluster(host="127.0.0.1", port=cluster.port(node))


def test_the_keys_of_these_tests() -> None:
    """The two keys are of different groups."""
    assert slot_of(LOW) < 8192 <= slot_of(HIGH)


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_a_plain_client_reaches_every_group_at_any_node(run_sharded: Run, node: str) -> None:
    """A plain client writes and reads keys of every group, led here or elsewhere, hosted or not (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, node) as client:
            assert await client.set(LOW, 1)
            assert await client.set(HIGH, 2)
            assert [await client.incr(LOW), await client.incr(HIGH)] == [2, 3]
            assert [await client.get(LOW), await client.get(HIGH)] == [b"2", b"3"]
            assert cluster.machine(1).store.count == cluster.machine(2).store.count == 1

    run_sharded(scenario)


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_a_cluster_client_finds_its_way(run_sharded: Run, node: str) -> None:
    """An unmodified cluster client starts at any node, and reaches all groups (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with knowing(cluster, node) as client:
            for number in range(50):
                assert await client.set(f"key{number}", number)
            assert [await client.get(f"key{number}") for number in range(50)] == [b"%d" % n for n in range(50)]
            assert await client.dbsize(target_nodes=RedisCluster.PRIMARIES) == 50
            names = {f"key{number}".encode() for number in range(50)}
            assert set(await client.keys(target_nodes=RedisCluster.PRIMARIES)) == names
            assert {key async for key in client.scan_iter(count=7)} == names
            once = [key async for key in client.scan_iter(count=7, target_nodes=RedisCluster.RANDOM)]
            assert (len(once), set(once)) == (50, names)
            assert await client.flushall()
            assert await client.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0

    run_sharded(scenario, "always")


def test_keys_of_several_slots_are_refused(run_sharded: Run) -> None:
    """One command, and one transaction, has keys of one slot only."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            with pytest.raises(ClusterCrossSlotError, match="Keys in request don't hash to the same slot"):
                await client.mget(LOW, HIGH)
            assert await client.mget("{b}1", "{b}2") == [None, None]
            pipe = client.pipeline(transaction=True)
            pipe.set(LOW, 1).set(HIGH, 1)
            with pytest.raises(RedisError, match="hash to the same slot"):
                await pipe.execute()
            assert await client.exists(LOW) == await client.exists(HIGH) == 0

    run_sharded(scenario)


def test_transactions_and_watches(run_sharded: Run) -> None:
    """Transactions of one slot are carried out, and not if a watched key has changed, wherever the group is."""

    async def scenario(cluster: "FakeCluster") -> None:
        for node in ("n1", "n2", "n3"):
            async with plain(cluster, node) as client, plain(cluster) as other:
                for key in (LOW, HIGH):
                    await client.set(key, 1)
                    async with client.pipeline(transaction=True) as pipe:
                        await pipe.watch(key)
                        value = int(await pipe.get(key) or 0)
                        pipe.multi()
                        pipe.set(key, value + 1)
                        pipe.get(key)
                        assert await pipe.execute() == [True, b"2"]
                        await pipe.watch(key)
                        await other.set(key, 7)
                        pipe.multi()
                        pipe.set(key, 8)
                        with pytest.raises(WatchError):
                            await pipe.execute()
                    assert await client.get(key) == b"7"

    run_sharded(scenario)


def test_a_watch_does_not_outlive_a_move(run_sharded: Run) -> None:
    """Marks are of one group's log: a transaction fails whose key another group has by then."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            await client.set(LOW, 1)
            async with client.pipeline(transaction=True) as pipe:
                await pipe.watch(LOW)
                cluster.change(Move(slot_of(LOW), slot_of(LOW) + 1, 2))
                cluster.take()
                cluster.release(1, 2)
                cluster.carry(1, 2)
                pipe.multi()
                pipe.set(LOW, 2)
                with pytest.raises(WatchError):
                    await pipe.execute()
            assert await client.get(LOW) == b"1"

    run_sharded(scenario)


def test_what_is_not_served_is_held_until_it_is(run_sharded: Run) -> None:
    """Writes and reads of a slot that moves are held, and carried out once, in order, where it has gone (G16, G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        slot = slot_of(LOW)
        for node in ("n1", "n2", "n3"):
            async with plain(cluster, node) as client, plain(cluster, node) as reader:
                await client.set(LOW, 1)
                source = 1 if cluster.configuration.owner(slot) == 1 else 2
                target = 3 - source
                cluster.change(Move(slot, slot + 1, target))
                assert await client.incr(LOW) == 2  # nobody has taken it up
                cluster.take()
                assert await client.incr(LOW) == 3  # it is still served where it was
                cluster.release(source, target)
                pipe = client.pipeline(transaction=False)
                for _ in range(5):
                    pipe.incr(LOW)
                pipe.get(LOW)
                held = asyncio.ensure_future(pipe.execute())
                read = asyncio.ensure_future(reader.get(LOW))
                await asyncio.sleep(0.1)
                assert not held.done()
                assert not read.done()
                cluster.carry(source, target)
                assert await held == [4, 5, 6, 7, 8, b"8"]
                assert await read in {b"3", b"8"}
                await client.delete(LOW)

    run_sharded(scenario)


def test_held_no_longer_than_allowed(run_sharded: Run) -> None:
    """What is not served in time is refused, and was not carried out."""

    async def scenario(cluster: "FakeCluster") -> None:
        slot = slot_of(LOW)
        cluster.hold_for(0.5)
        async with plain(cluster) as client, plain(cluster) as reader:
            await client.set(LOW, 1)
            cluster.change(Move(slot, slot + 1, 2))
            cluster.take()
            cluster.release(1, 2)
            outcomes = await asyncio.gather(client.incr(LOW), reader.get(LOW), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [TryAgainError, TryAgainError]
            cluster.carry(1, 2)
            assert await client.get(LOW) == b"1"

    run_sharded(scenario)


def test_who_knows_no_groups_yet_holds_what_comes(run_sharded: Run) -> None:
    """A node that was started just now knows no configuration: whatever comes waits until it does (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as client:
            await client.mset({LOW: 7})
            await client.rpush(b"{b}list", 1)
        cluster.known["n1"] = EMPTY
        clients = [plain(cluster) for _ in range(5)]
        asked = [
            asyncio.ensure_future(command)
            for command in (
                clients[0].get(LOW),
                clients[1].set(HIGH, 8),
                clients[2].blpop(b"{b}list", 0),
                clients[3].scan(0, match="{b}k"),
                clients[4].pipeline().incr(b"{a}count").execute(),
            )
        ]
        _, waiting = await asyncio.wait(asked, timeout=0.2)
        assert len(waiting) == len(asked)
        del cluster.known["n1"]
        held = await asyncio.gather(*asked)
        assert held[:3] == [b"7", True, [b"{b}list", b"1"]]
        assert held[4] == [1]
        cluster.known["n1"] = EMPTY
        cluster.hold_for(0.5)
        clients += [plain(cluster) for _ in range(3)]
        for command in (clients[5].get(LOW), clients[6].set(LOW, 9), clients[7].blpop(b"{b}list", 0)):
            with pytest.raises(ClusterDownError, match=r"not learned yet which groups.* did not take effect"):
                await command
        for client in clients:
            await client.aclose()

    run_sharded(scenario)


def test_a_read_goes_on_when_its_group_was_given_up_here(run_sharded: Run) -> None:
    """A node that missed the removal of a group asks it in vain, and then the one that has the slot by now (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            await client.set(LOW, 7)
            waiting = cluster.unled[1] = asyncio.Queue()
            read = asyncio.ensure_future(client.get(LOW))
            done = await waiting.get()
            cluster.change(Leave((1,)))
            cluster.take()
            cluster.groups[1].apply(take_configuration(cluster.configuration))
            cluster.release(1, 2)
            cluster.carry(1, 2)
            del cluster.groups[1]
            done(Stopped("group 1 was removed from this node"))
            assert await read == b"7"

    run_sharded(scenario)


def test_all_keys_are_those_of_groups_that_are_new(run_sharded: Run) -> None:
    """A node that has not heard of a group yet counts, names and flushes its keys all the same (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        names = {f"key{number}".encode() for number in range(100)}
        async with plain(cluster, "n2") as client:
            for name in names:
                await client.set(name, 1)
        for known in (cluster.configuration, EMPTY):
            if cluster.configuration.number == 1:
                cluster.change(Join({3: ("n1", "n3")}))
                cluster.take()
                for source in (1, 2):
                    cluster.release(source, 3)
                    cluster.carry(source, 3)
            async with plain(cluster) as client:
                cluster.known["n1"] = known
                assert await client.dbsize() == 100
                cluster.known["n1"] = known
                assert set(await client.keys("*")) == names
                cluster.known["n1"] = known
                assert await client.randomkey() in names
                cluster.known["n1"] = known
                assert await client.flushall()
                assert [cluster.machine(group).store.count for group in (1, 2, 3)] == [0, 0, 0]
                for name in names:
                    await client.set(name, 1)

    run_sharded(scenario)


def test_a_flush_waits_for_groups_that_go_on(run_sharded: Run) -> None:
    """A group that is beyond the configuration that the asked node knows is flushed in its own (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            await client.set(LOW, 1)
            known = cluster.configuration
            waiting = cluster.unled[0] = asyncio.Queue()
            flush = asyncio.ensure_future(client.flushall())
            done = await waiting.get()
            cluster.change(Join({3: ("n1", "n3")}))
            cluster.known["n1"] = known
            cluster.take()
            for source in (1, 2):
                cluster.release(source, 3)
                cluster.carry(source, 3)
            del cluster.unled[0]
            done(None)
            async with asyncio.timeout(60):
                while not cluster.groups[1].submitted:  # noqa: ASYNC110  what is refused has no event here
                    await asyncio.sleep(0)
            assert not flush.done()
            del cluster.known["n1"]
            assert await flush
            assert [cluster.machine(group).store.count for group in (1, 2, 3)] == [0, 0, 0]

    run_sharded(scenario)


def test_a_flush_reaches_slots_that_move_while_it_goes_on(run_sharded: Run) -> None:
    """A configuration may be decided, and entered by nobody yet: no slot moves from a group behind the flush's back."""

    async def scenario(cluster: "FakeCluster") -> None:
        names = [b"key%d" % number for number in range(100)]
        async with plain(cluster) as client:
            for name in names:
                await client.set(name, 1)
            cluster.change(Join({3: ("n1", "n3")}))
            late, submit = asyncio.Event(), cluster.groups[2].submit

            async def later(*args: Any) -> None:
                await late.wait()
                submit(*args)

            tasks: list[asyncio.Task[None]] = []
            for view in ("n1", "n2", "n3"):
                cluster.view(view, 2).submit = lambda *args: tasks.append(asyncio.ensure_future(later(*args)))
            cluster.groups[2].submit = cluster.view("n2", 2).submit  # type: ignore[method-assign]
            flush = asyncio.ensure_future(client.flushall())
            async with asyncio.timeout(60):
                while not tasks:  # noqa: ASYNC110  the flush waits at group 2, and has reached the others
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            cluster.take()
            for source in (1, 2):
                cluster.release(source, 3)
                cluster.carry(source, 3)
            late.set()
            assert await flush
            assert [cluster.machine(group).store.count for group in (1, 2, 3)] == [0, 0, 0]

    run_sharded(scenario)


def test_a_flush_of_some_groups_is_not_called_none(run_sharded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a command did not take effect is said only if no group carried it out (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            refusal = Overloaded("too many wait")
            with monkeypatch.context() as patched:
                patched.setattr(cluster.groups[2], "apply", lambda *_: refusal)
                with pytest.raises(ClusterDownError, match=r"may have been applied.*some groups.*too many wait"):
                    await client.flushall()
                moving = NotServed("it moves")
                patched.setattr(cluster.groups[1], "apply", lambda *_: moving)
                with pytest.raises(TryAgainError, match=r"too many wait.*was not taken"):
                    await client.flushall()
                patched.setattr(cluster.groups[1], "apply", lambda *_: refusal)
                with pytest.raises(TryAgainError, match=r"too many wait.*was not taken"):
                    await client.flushall()

    run_sharded(scenario)


def test_what_has_an_entry_of_its_own_goes_behind_what_shares_one(run_sharded: Run) -> None:
    """Small writes wait for the group's next turn; APPEND, sessions and pops that come after them do not overtake."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            session = await client.execute_command("RAFTLINE.SESSION")
            pipe = client.pipeline(transaction=False)
            pipe.set(LOW, "1").incr(LOW).append(LOW, "x").rpush("{b}list", "a", "b")
            pipe.execute_command("RAFTLINE.ONCE", session, 1, "RPOP", "{b}list").blpop("{b}list", 1)
            assert (await pipe.execute())[2:] == [2, 2, b"b", [b"{b}list", b"a"]]
            assert any(command[:1] == b"\xc1" for group in (1, 2) for command in cluster.groups[group].submitted)

    run_sharded(scenario)


def test_no_write_overtakes_another_to_its_slot(run_sharded: Run) -> None:
    """A write that was not served is not tried again once a later one to its slot took effect; the others are."""

    async def scenario(cluster: "FakeCluster") -> None:
        group = cluster.groups[1]
        apply, refused = group.apply, [b"first"]

        def apply_all_but_one(command: bytes, session: int | None = None, sequence: int = 0) -> bytes | Exception:
            if refused and refused[0] in command:
                refused.clear()
                return NotServed("it was on its way")
            return apply(command, session, sequence)

        group.apply = apply_all_but_one  # type: ignore[method-assign]
        async with plain(cluster) as client:
            pipe = client.pipeline(transaction=False)
            pipe.append(LOW, "first").append("{b}other", "x").append(LOW, "second").append(HIGH, "y")
            outcomes = await pipe.execute(raise_on_error=False)
            assert [type(outcome) for outcome in outcomes] == [TryAgainError, int, int, int]
            assert await client.get(LOW) == b"second"
            refused.append(b"third")
            pipe.append(LOW, "third").append("{c}", "z")
            assert await pipe.execute() == [11, 1]

    run_sharded(scenario)


def test_a_watched_transaction_that_was_done_is_done_wherever_it_is_repeated(run_sharded: Run) -> None:
    """Its marks mean nothing to the group that has the slot now, which remembers what it came to; a new one aborts."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            session = await client.execute_command("RAFTLINE.SESSION")
            await client.set(LOW, 5)
            history, mark = await client.execute_command("RAFTLINE.WATCH", LOW)
            marked = (history, msgpack.encode([[LOW, mark]]), msgpack.encode([b"INCRBY", LOW, b"10"]))
            first = ("RAFTLINE.ONCE", session, 1, "RAFTLINE.EXEC", *marked)
            assert await client.execute_command(*first) == [15]
            slot = slot_of(LOW)
            cluster.change(Move(slot, slot + 1, 2))
            cluster.take()
            cluster.release(1, 2)
            cluster.carry(1, 2)
            assert await client.execute_command(*first) == [15]
            second = ("RAFTLINE.ONCE", session, 2, "RAFTLINE.EXEC", *marked)
            assert await client.execute_command(*second) is None
            assert await client.execute_command(*second) is None
            assert await client.get(LOW) == b"15"

    run_sharded(scenario)


def test_marks_of_a_group_that_cannot_be_are_out_of_date(run_sharded: Run) -> None:
    """Whatever stands where a group's number should, the client is told that its marks do not hold."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            history, mark = await client.execute_command("RAFTLINE.WATCH", LOW)
            cluster_id = history.partition(b"/")[0]
            marked = (msgpack.encode([[LOW, mark]]), msgpack.encode([b"SET", LOW, b"1"]))
            for number in (b"2", b"", b"-1", b"x", b"9" * 5000):
                assert await client.execute_command("RAFTLINE.EXEC", cluster_id + b"/" + number, *marked) is None
            assert await client.exists(LOW) == 0
            assert await client.execute_command("RAFTLINE.EXEC", history, *marked) == [b"OK"]

    run_sharded(scenario)


def test_sessions_are_opened_where_they_are_used(run_sharded: Run) -> None:
    """RAFTLINE.ONCE is carried out once in every group, and still once when its slot has moved (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client, plain(cluster, "n3") as other:
            session = await client.execute_command("RAFTLINE.SESSION")
            for key in (LOW, HIGH):
                assert await client.execute_command("RAFTLINE.ONCE", session, 1, "INCR", key) == 1
                assert await other.execute_command("RAFTLINE.ONCE", session, 1, "INCR", key) == 1
            slot = slot_of(LOW)
            cluster.change(Move(slot, slot + 1, 2))
            cluster.take()
            cluster.release(1, 2)
            cluster.carry(1, 2)
            assert await other.execute_command("RAFTLINE.ONCE", session, 1, "INCR", LOW) == 1
            assert await other.get(LOW) == b"1"
            with pytest.raises(ResponseError, match="not open"):
                await other.execute_command("RAFTLINE.ONCE", 77, 1, "INCR", LOW)

    run_sharded(scenario)


@pytest.mark.parametrize("failure", [Stopped("it stops"), StorageError("its disk is full")])
def test_a_session_that_cannot_be_opened_hangs_nobody(run_sharded: Run, failure: Exception) -> None:
    """Whatever comes of opening a session in a group, the command is answered: it was not carried out (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async def fails(_session: int | None = None, _born: int | None = None) -> int:
            raise failure

        cluster.groups[1].open_session = fails  # type: ignore[assignment, method-assign]
        async with plain(cluster, "n3") as client:
            session = await client.execute_command("RAFTLINE.SESSION")
            once = client.execute_command("RAFTLINE.ONCE", session, 1, "INCR", LOW)
            with pytest.raises(ClusterDownError, match="did not take effect"):
                await asyncio.wait_for(once, 60)

    run_sharded(scenario)


def test_a_session_that_the_first_group_forgot_is_shown_and_closed(run_sharded: Run) -> None:
    """It goes on in the group where it is open, so it is shown there; closed, it is open nowhere (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client, plain(cluster, "n3") as other:
            session = await client.execute_command("RAFTLINE.SESSION")
            assert await client.execute_command("RAFTLINE.ONCE", session, 4, "INCR", LOW) == 1
            assert await cluster.groups[0].close_session(session)
            shown = await client.execute_command("RAFTLINE.SESSION", "SHOW", session)
            assert (shown[b"session"], shown[b"sequence"]) == (session, 4)
            assert await other.execute_command("RAFTLINE.SESSION", "SHOW", session) is None, "n3 has no part of group 1"
            assert await client.execute_command("RAFTLINE.SESSION", "CLOSE", session) == 1
            assert await client.execute_command("RAFTLINE.SESSION", "SHOW", session) is None
            assert await client.execute_command("RAFTLINE.SESSION", "CLOSE", session) == 0
            with pytest.raises(ResponseError, match="not open"):
                await client.execute_command("RAFTLINE.ONCE", session, 5, "INCR", LOW)

    run_sharded(scenario)


def test_who_is_redirected(run_sharded: Run) -> None:
    """Only who asked for the slots is sent elsewhere, unless the settings say so; READONLY reads stay (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        address = f"127.0.0.1:{cluster.port('n2')}"
        async with plain(cluster, "n1", single_connection_client=True) as client:
            assert await client.set(HIGH, 1)
            await client.execute_command("CLUSTER SHARDS")
            with pytest.raises(MovedError, match=f"{slot_of(HIGH)} {address}"):
                await client.set(HIGH, 1)
            assert await client.set(LOW, 1)
        async with plain(cluster, "n3", single_connection_client=True) as client:
            await client.readonly()
            assert await client.get(HIGH) == b"1"
            with pytest.raises(MovedError):
                await client.get(LOW)
            with pytest.raises(MovedError):
                await client.set(HIGH, 2)

    run_sharded(scenario)


@pytest.mark.parametrize(("redirects", "is_moved"), [("always", True), ("never", False)])
def test_redirects_as_set(run_sharded: Run, redirects: str, is_moved: bool) -> None:  # noqa: FBT001
    """`always` redirects everybody, `never` nobody."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n1", single_connection_client=True) as client:
            await client.execute_command("CLUSTER SLOTS")
            outcomes = await asyncio.gather(client.set(HIGH, 1), return_exceptions=True)
            assert isinstance(outcomes[0], MovedError) == is_moved

    run_sharded(scenario, redirects)


async def _popped(cluster: "FakeCluster", node: str, key: bytes, pushing: Callable[[], Awaitable[Any]]) -> Any:
    async with plain(cluster, node) as client:
        waiting = asyncio.ensure_future(client.blpop([key], timeout=0))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await pushing()
        return await waiting


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_waiting_for_something_to_pop(run_sharded: Run, node: str) -> None:
    """A command that waits gets what comes, wherever the group is, and wherever the slot goes meanwhile."""

    async def scenario(cluster: "FakeCluster") -> None:
        slot = slot_of(LOW)
        async with plain(cluster) as client:
            assert await _popped(cluster, node, LOW, lambda: client.rpush(LOW, "v")) == [LOW, b"v"]
            assert await _popped(cluster, node, HIGH, lambda: client.rpush(HIGH, "v")) == [HIGH, b"v"]

            async def move_and_push() -> None:
                cluster.change(Move(slot, slot + 1, 2))
                cluster.take()
                cluster.release(1, 2)
                await asyncio.sleep(0.15)
                cluster.carry(1, 2)
                await client.rpush(LOW, "w")

            assert await _popped(cluster, node, LOW, move_and_push) == [LOW, b"w"]
            assert await client.exists(LOW) == 0
            assert await client.blpop([LOW], timeout=0.05) is None

    run_sharded(scenario)


def test_waiting_once(run_sharded: Run) -> None:
    """A waiting command in a session pops once, however often it is sent."""

    async def scenario(cluster: "FakeCluster") -> None:
        for node in ("n1", "n3"):
            async with plain(cluster, node) as client, plain(cluster) as other:
                session = await client.execute_command("RAFTLINE.SESSION")
                once = ("RAFTLINE.ONCE", session, 1, "BLPOP", LOW, 0)
                waiting = asyncio.ensure_future(client.execute_command(*once))
                await asyncio.sleep(0.05)
                await other.rpush(LOW, "v", "w")
                assert await waiting == [LOW, b"v"]
                assert await client.execute_command(*once) == [LOW, b"v"]
                await other.delete(LOW)

    run_sharded(scenario)


def test_channels_and_events(run_sharded: Run) -> None:
    """Messages reach the clients of every node; events of keys those of nodes with a replica of their group."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as listener, plain(cluster, "n3") as sender:
            await sender.config_set("notify-keyspace-events", "KA")
            pubsub = listener.pubsub()
            await pubsub.subscribe("news")
            await pubsub.psubscribe("__keyspace@0__:*")
            for _ in range(2):
                await pubsub.get_message(timeout=60)
            await sender.publish("news", "hello")
            await sender.set(LOW, 1)
            await sender.set(HIGH, 1)
            messages = [await pubsub.get_message(timeout=60) for _ in range(3)]
            assert [message["data"] for message in messages if message] == [b"hello", b"set", b"set"]
            await pubsub.aclose()

    run_sharded(scenario)


def test_all_keys_of_all_groups(run_sharded: Run) -> None:
    """A plain client counts, names, walks over, draws and flushes the keys of every group, also while slots move."""

    async def scenario(cluster: "FakeCluster") -> None:
        names = {f"key{number}".encode() for number in range(100)}
        async with plain(cluster, "n3") as client:
            assert await client.randomkey() is None
            for name in names:
                await client.set(name, 1)
            for _ in range(2):
                assert await client.dbsize() == 100
                assert set(await client.keys("key*")) == names
                found = [key async for key in client.scan_iter(count=9)]
                assert (len(found), set(found)) == (100, names)
                assert await client.randomkey() in names
                assert await client.execute_command("CLUSTER COUNTKEYSINSLOT", slot_of(b"key1")) == 1
                assert await client.execute_command("CLUSTER GETKEYSINSLOT", slot_of(b"key1"), 5) == [b"key1"]
                if cluster.configuration.number == 1:
                    cluster.change(Join({3: ("n1", "n3")}))
                    cluster.take()
                    cluster.release(1, 3)
                    cluster.release(2, 3)
                    assert 0 < await client.dbsize() < 100
                    cluster.carry(1, 3)
                    cluster.carry(2, 3)
            assert await client.flushall()
            assert await client.dbsize() == 0

    run_sharded(scenario)


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_nobody_sees_a_key_that_expired(run_sharded: Run, node: str) -> None:
    """Not even who asks a node that does not host the group, at the very moment (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, node) as client:
            for key in (LOW, HIGH):
                for _ in range(3):
                    await client.set(key, 1, px=20)
                    await asyncio.sleep(0.03)
                    assert await client.get(key) is None
                await client.set(key, 1, px=20)
                await asyncio.sleep(0.03)
                assert await client.keys() == []
            for wrong in (("SCAN", "0", "COUNT", "x"), ("CLUSTER", "GETKEYSINSLOT", "7", "x"), ("ZUNION", "2", LOW)):
                with pytest.raises(ResponseError, match=r"not an integer|syntax error"):
                    await client.execute_command(*wrong)

    run_sharded(scenario)


def test_keys_expire_in_every_group(run_sharded: Run) -> None:
    """A key that expired is gone from the group's log, without anybody asking for it."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            await client.set(LOW, 1, px=30)
            await client.set(HIGH, 1, px=30)
            for _ in range(100):
                if not cluster.machine(1).store.count + cluster.machine(2).store.count:
                    break
                await asyncio.sleep(0.02)
            assert cluster.machine(1).store.count == cluster.machine(2).store.count == 0
            assert await client.get(LOW) is None

    run_sharded(scenario)
