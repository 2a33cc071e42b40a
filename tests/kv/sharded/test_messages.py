"""Messages in a sharded store: they go through group 0 to the clients of every node, alone or as a transaction."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from raftline.kv.commands.lookup import EXEC_NAME
from raftline.kv.commands.transactions import encode_watched
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.sharded.meta import CARRIES_MESSAGES, MetaMachine

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
KEY = "{b}k"
NO_KEYS = b"-ERR the controller of a sharded cluster keeps no keys\r\n"
SENT = encode_command([b"SPUBLISH", b"a", b"b"])


def plain(cluster: "FakeCluster", node: str) -> Any:
    """Return a client of one node."""
    return redis.asyncio.Redis(port=cluster.port(node), protocol=3)


def transaction(*commands: bytes, watched: tuple[tuple[bytes, int], ...] = ()) -> bytes:
    """Return a transaction as it stands in the log."""
    return encode_command([EXEC_NAME, encode_watched(watched), *commands])


def test_messages_reach_the_clients_of_every_node(run_sharded: Run) -> None:
    """Whatever slot the name of a shard channel is in, by themselves, once in a session, or as a transaction (G14)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as listener, plain(cluster, "n3") as sender:
            pubsub = listener.pubsub()
            await pubsub.execute_command("SSUBSCRIBE", "news")
            await pubsub.subscribe("news")
            for _ in range(2):
                await pubsub.get_message(timeout=60)
            session = await sender.execute_command("RAFTLINE.SESSION")
            for number, name in enumerate(("SPUBLISH", "PUBLISH"), 1):
                pipe = sender.pipeline(transaction=True)
                for text in ("third", "fourth"):
                    pipe.execute_command(name, "news", text)
                await sender.execute_command(name, "news", "first")
                await sender.execute_command("RAFTLINE.ONCE", session, number, name, "news", "second")
                assert await pipe.execute() == [0, 0]
                messages = [await pubsub.get_message(timeout=60) for _ in range(4)]
                assert [message["data"] for message in messages] == [b"first", b"second", b"third", b"fourth"]
            await pubsub.aclose()

    run_sharded(scenario)


def test_a_message_that_is_refused_is_not_said_to_be_sent(run_sharded: Run) -> None:
    """As long as not every member knows how, its client is told so, and not how many would have got it."""

    async def scenario(cluster: "FakeCluster") -> None:
        for machine in cluster.groups[0].machines.values():
            machine.use_version(CARRIES_MESSAGES - 1)
        async with plain(cluster, "n3") as sender:
            with pytest.raises(ResponseError, match="keeps no keys"):
                await sender.execute_command("SPUBLISH", "news", "hello")

    run_sharded(scenario)


def test_messages_and_keys_do_not_go_together(run_sharded: Run) -> None:
    """No group could do both: keys are of one, messages of group 0."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n1") as client:
            for name in ("PUBLISH", "SPUBLISH"):
                pipe = client.pipeline(transaction=True)
                pipe.set(KEY, 1)
                pipe.execute_command(name, KEY, "hello")
                with pytest.raises(ResponseError, match=f"{name} cannot be in a transaction"):
                    await pipe.execute()
                async with client.pipeline(transaction=True) as pipe:
                    await pipe.watch(KEY)
                    pipe.multi()
                    pipe.execute_command(name, KEY, "hello")
                    with pytest.raises(ResponseError, match=f"{name} cannot be in a transaction"):
                        await pipe.execute()
            assert await client.exists(KEY) == 0

    run_sharded(scenario)


def test_the_controller_carries_out_messages_once_every_member_does() -> None:
    """A member of before refuses them, and so does everybody until it is upgraded (G1); keys are always refused."""
    machine = MetaMachine()
    of_keys = (encode_command([b"SET", b"a", b"b"]), transaction(encode_command([b"SET", b"a", b"b"]), SENT))
    refused = (*of_keys, transaction(SENT, watched=((b"a", 0),)), transaction())
    for version, sent in ((CARRIES_MESSAGES - 1, NO_KEYS), (KvMachine.version, b":0\r\n")):
        machine.use_version(version)
        assert machine.apply(SENT, 1, 1000) == sent
        assert machine.apply(transaction(SENT, SENT), 2, 1000) == (sent if sent == NO_KEYS else b"*2\r\n" + sent * 2)
        assert [machine.apply(command, 3, 1000) for command in refused] == [NO_KEYS] * len(refused)


def test_a_transaction_that_watches_and_does_nothing(run_sharded: Run) -> None:
    """It is carried out like any other if the keys have not changed: whoever repeats it until then comes to an end."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n1") as client, plain(cluster, "n3") as other:
            for node in (client, other):
                async with node.pipeline(transaction=True) as pipe:
                    await pipe.watch(KEY)
                    pipe.multi()
                    pipe.ping()
                    assert await pipe.execute() == [True]
                    await pipe.watch(KEY)
                    await client.append(KEY, "changed")
                    pipe.multi()
                    pipe.ping()
                    with pytest.raises(redis.exceptions.WatchError):
                        await pipe.execute()

    run_sharded(scenario)
