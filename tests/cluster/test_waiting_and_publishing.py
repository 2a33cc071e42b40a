"""Blocking pops, channels and key events with redis-py: sync and async, both protocols, leader and follower."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import raftline
from raftline.cli.local_cluster import LocalCluster


def ports_of(cluster: LocalCluster) -> tuple[int, int]:
    """Return the ports of the leader and of a follower."""
    leader = cluster.wait_for_leader()
    follower = next(name for name in cluster.nodes if name != leader)
    return cluster.nodes[leader].port, cluster.nodes[follower].port


@pytest.fixture(params=[(0, 2), (0, 3), (1, 2), (1, 3)], ids=["leader-2", "leader-3", "follower-2", "follower-3"])
def client(request: pytest.FixtureRequest, shared_cluster: LocalCluster) -> Iterator[Any]:
    """Return a client of the leader or of a follower, in either protocol, on an empty store."""
    place, protocol = request.param
    with redis.Redis(port=ports_of(shared_cluster)[place], protocol=protocol, socket_timeout=20) as found:
        found.flushall()
        yield found


def until_blocked(client: Any) -> None:
    """Return when somebody waits on the client's node."""
    while client.info("clients")["blocked_clients"] == 0:
        pass


def test_a_client_waits_for_what_another_node_pushes(client: Any, shared_cluster: LocalCluster) -> None:
    """Whichever node it waits on, and whichever node is told of the element; each element once (G7)."""
    for other_port in ports_of(shared_cluster):
        found: list[Any] = []
        waiting = threading.Thread(target=lambda seen=found: seen.append(client.blpop(["other", "queue"], timeout=20)))
        with (
            redis.Redis(port=client.connection_pool.connection_kwargs["port"]) as same,
            redis.Redis(port=other_port) as other,
        ):
            waiting.start()
            until_blocked(same)
            assert other.rpush("queue", "a") == 1
            waiting.join(20)
            assert [list(each) for each in found] == [[b"queue", b"a"]]
            assert same.llen("queue") == 0
    assert client.blpop("queue", timeout=0.05) is None
    assert client.zadd("set", {"m": 1.5}) == 1
    assert list(client.bzpopmin("set", timeout=1)) == [b"set", b"m", 1.5]
    assert client.rpush("queue", "b", "c") == 2
    assert client.blmove("queue", "done", timeout=1, src="LEFT", dest="RIGHT") == b"b"
    assert client.blmpop(1, 1, "queue", direction="LEFT") == [b"queue", [b"c"]]


def test_messages_reach_the_clients_of_every_node(client: Any, shared_cluster: LocalCluster) -> None:
    """In one order; a subscription that is confirmed misses nothing."""
    with client.pubsub() as listener:
        listener.subscribe("news")
        listener.psubscribe("ne*")
        assert [listener.get_message(timeout=60)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
        for number, port in enumerate(ports_of(shared_cluster) * 2):
            with redis.Redis(port=port) as other:
                other.publish("news", str(number))
        found = [listener.get_message(timeout=60) for _ in range(8)]
        assert [each["data"] for each in found if each["type"] == "message"] == [b"0", b"1", b"2", b"3"]
        assert [each["data"] for each in found if each["type"] == "pmessage"] == [b"0", b"1", b"2", b"3"]
        assert client.publish("news", "mine") == 2
        assert client.pubsub_numsub("news") == [(b"news", 1)]


def test_key_events_reach_the_clients_of_every_node(client: Any, shared_cluster: LocalCluster) -> None:
    """CONFIG SET on one node lets all of them tell."""
    ports = ports_of(shared_cluster)
    with redis.Redis(port=ports[1]) as other, client.pubsub() as listener:
        assert other.config_set("notify-keyspace-events", "KEA")
        listener.psubscribe("__keyevent@0__:*")
        assert listener.get_message(timeout=60)["type"] == "psubscribe"
        for port in ports:
            with redis.Redis(port=port) as writer:
                writer.set("k", "v", ex=1000)
                writer.delete("k")
        names = [listener.get_message(timeout=60)["channel"].rpartition(b":")[2] for _ in range(6)]
        assert names == [b"set", b"expire", b"del"] * 2
        assert other.config_set("notify-keyspace-events", "")


def test_a_follower_shows_the_events_that_were_chosen_on_it(client: Any) -> None:
    """CONFIG GET behind CONFIG SET, on every node: CONFIG GET alone is answered by a node's own copy."""
    name = "notify-keyspace-events"
    for letters in ["AKE", ""] * 5:
        assert client.config_set(name, letters)
        assert client.config_get(name) == {name: letters}


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_asynchronous_client_waits_and_listens(shared_cluster: LocalCluster, protocol: int) -> None:
    """redis.asyncio on a follower, what it waits for on the leader."""
    leader, follower = ports_of(shared_cluster)

    async def main() -> None:
        near = redis.asyncio.Redis(port=follower, protocol=protocol)
        far = redis.asyncio.Redis(port=leader, protocol=protocol)
        async with near, far, near.pubsub() as listener:
            await near.flushall()
            popped: asyncio.Future[Any] = asyncio.ensure_future(near.brpop("queue", timeout=20))
            await listener.subscribe("news")
            assert (await listener.get_message(timeout=60))["type"] == "subscribe"
            await far.rpush("queue", "a", "b")
            assert list(await popped) == [b"queue", b"b"]
            await far.publish("news", "m")
            assert (await listener.get_message(timeout=60))["data"] == b"m"

    asyncio.run(asyncio.wait_for(main(), 60))


def test_our_clients_wait_in_pieces(shared_cluster: LocalCluster) -> None:
    """`raftline.Client` and `AsyncClient` pop exactly once, and wait longer than one attempt may take (G8)."""
    addresses = [f"127.0.0.1:{node.port}" for node in shared_cluster.nodes.values()]
    with (
        raftline.Client(addresses, socket_timeout=1.0) as client,
        redis.Redis(port=ports_of(shared_cluster)[1]) as other,
    ):
        other.flushall()
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(client.blpop("queue", timeout=0)))
        waiting.start()
        while not _has_waited(other):
            pass
        other.rpush("queue", "a")
        waiting.join(20)
        assert [list(each) for each in found] == [[b"queue", b"a"]]
        assert client.blpop("queue", timeout=0.7) is None
        assert other.rpush("queue", "b") == 1
        assert list(client.blpop("queue", timeout=5)) == [b"queue", b"b"]

    async def main() -> Any:
        async with raftline.AsyncClient(addresses) as client:
            await client.rpush("queue", "c")
            return await client.blpop("queue", timeout=5)

    assert list(asyncio.run(main())) == [b"queue", b"c"]


def _has_waited(client: Any) -> bool:
    """Say whether some client came to the end of a piece: its session has a command."""
    return bool(client.info("raft")["raft_sessions"])
