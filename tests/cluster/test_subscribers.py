"""Subscribers of `raftline.Client` and `AsyncClient`, and the end of the node that they listen at."""

import asyncio
import contextlib
import itertools
from typing import Any

import pytest
import redis

import raftline
from raftline.cli.local_cluster import LocalCluster


def address_of(cluster: LocalCluster) -> str:
    """Return all nodes as the client takes them."""
    return ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes.values())


def name_of(cluster: LocalCluster, connection: Any) -> str:
    """Return the node that a connection leads to."""
    return next(name for name, node in cluster.nodes.items() if node.port == connection.port)


def kill_and_name_another(cluster: LocalCluster, connection: Any) -> redis.Redis:
    """Kill the node at a connection's other end; return a client of another one."""
    dead = name_of(cluster, connection)
    cluster.kill9(dead)
    other = next(name for name in cluster.nodes if name != dead)
    return redis.Redis(port=cluster.nodes[other].port)


def publish(client: redis.Redis, number: int) -> None:
    """Publish; while there is no leader nothing is published."""
    with contextlib.suppress(redis.ResponseError):
        client.publish("news", number)


def test_a_subscriber_goes_on_at_another_node(start_cluster: Any) -> None:
    """It is subscribed as before, to channels and patterns, and hears what is published from then on."""
    cluster = start_cluster()
    with raftline.Client(address_of(cluster)) as client, client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe("news")
        subscriber.psubscribe("ne?s")
        dead = subscriber.connection.port
        with kill_and_name_another(cluster, subscriber.connection) as other:
            heard: set[str] = set()
            for number in itertools.count():
                publish(other, number)
                message = subscriber.get_message(timeout=0.05)
                if message is not None:
                    heard.add(message["type"])
                if heard == {"message", "pmessage"}:
                    break
        assert subscriber.connection.port != dead
        assert client.set("k", "v")


def test_an_async_subscriber_goes_on_at_another_node(start_cluster: Any) -> None:
    """The same for one event loop."""

    async def scenario(cluster: LocalCluster) -> None:
        async with raftline.AsyncClient(address_of(cluster)) as client, client.pubsub() as subscriber:
            await subscriber.subscribe("news")
            assert (await subscriber.get_message(timeout=60))["type"] == "subscribe"
            dead = subscriber.connection.port
            with kill_and_name_another(cluster, subscriber.connection) as other:
                for number in itertools.count():
                    await asyncio.to_thread(publish, other, number)
                    message = await subscriber.get_message(ignore_subscribe_messages=True, timeout=0.05)
                    if message is not None:
                        break
            assert subscriber.connection.port != dead
            assert await client.set("k", "v")

    asyncio.run(scenario(start_cluster()))


def test_without_any_node_a_subscriber_is_told(start_cluster: Any) -> None:
    """Nobody answers before the client's deadline."""
    cluster = start_cluster(size=1)
    with raftline.Client(address_of(cluster), deadline_s=4) as client, client.pubsub() as subscriber:
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=60)["type"] == "subscribe"
        cluster.kill9("n1")
        with pytest.raises(raftline.Unavailable):
            subscriber.get_message(timeout=60)
