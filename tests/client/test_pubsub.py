"""A subscriber stays at a node that has nothing to say, and leaves one that does not answer."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from tests.client.conftest import FakeCluster, FakeNode

from raftline.client.asynchronous import AsyncClient
from raftline.client.errors import Unavailable
from raftline.client.sync import Client

StartNode = Callable[[], FakeNode]
Options = dict[str, Any]
_TIMEOUT_S = 0.2
_SHORT: Options = {"socket_timeout": 1.0, "deadline_s": 0.4}
"""The deadline is shorter than it takes to be sure that a node is dead."""


@pytest.fixture(params=[2, 3])
def options(request: pytest.FixtureRequest, cluster: FakeCluster) -> Options:
    """Return a client's options for each protocol in turn, which the cluster speaks with its subscribers."""
    cluster.protocol = request.param
    return {"protocol": cluster.protocol, "socket_timeout": _TIMEOUT_S, "decode_responses": True}


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Let something happen to the nodes beside what is done here."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def publish_after_silence(cluster: FakeCluster, node: FakeNode) -> None:
    """Say something once the subscriber has asked three times whether anybody is there."""
    until(lambda: cluster.times_seen("0", "PING") >= 3)
    node.sockets[-1].sendall(cluster.push("message", "news", "at last"))


def fall_silent(cluster: FakeCluster, first: FakeNode, second: FakeNode) -> None:
    """Let a node say nothing any more once somebody listens at it; the other one says something then."""
    until(lambda: cluster.times_seen("0", "SUBSCRIBE") == 1)
    cluster.leader = 1
    cluster.silent.add(first.server_address[1])
    until(lambda: cluster.times_seen("1", "SUBSCRIBE") == 1)
    second.sockets[-1].sendall(cluster.push("message", "news", "from here"))


def stop_talking(cluster: FakeCluster) -> None:
    """Let no node say anything any more to whoever listens; new connections are still taken."""
    until(lambda: cluster.times_seen("0", "SUBSCRIBE") == 1)
    cluster.greets = True
    cluster.silent.update(cluster.ports)


def until(condition: Callable[[], bool]) -> None:
    """Wait."""
    give_up_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_subscriber_stays_at_a_node_that_is_idle(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """However long nothing is published, as long as the node answers."""
    node = start_node()
    with (
        Client(address_of(node), **options) as client,
        client.pubsub(ignore_subscribe_messages=True) as subscriber,
        meanwhile(lambda: publish_after_silence(cluster, node)),
    ):
        subscriber.subscribe("news")
        assert next(subscriber.listen())["data"] == "at last"
    assert cluster.times_seen("0", "SUBSCRIBE") == 1


def test_a_subscriber_leaves_a_node_that_is_silent(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """A node that was stopped or cut off closes nothing, so it is its silence that tells."""
    first, second = start_node(), start_node()
    with (
        Client(address_of(first), **options) as client,
        client.pubsub(ignore_subscribe_messages=True) as subscriber,
        meanwhile(lambda: fall_silent(cluster, first, second)),
    ):
        subscriber.subscribe("news")
        assert next(subscriber.listen())["data"] == "from here"
        assert subscriber.connection.port == second.server_address[1]


def test_the_deadline_begins_when_the_node_is_known_to_be_dead(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """However short it is, another node is tried."""
    first, second = start_node(), start_node()
    with (
        Client(address_of(first), **options | _SHORT) as client,
        client.pubsub(ignore_subscribe_messages=True) as subscriber,
        meanwhile(lambda: fall_silent(cluster, first, second)),
    ):
        subscriber.subscribe("news")
        assert next(subscriber.listen())["data"] == "from here"


def test_whoever_looks_in_now_and_then_leaves_it_too(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """`get_message` that does not wait notices it as well."""
    first, second = start_node(), start_node()
    with (
        Client(address_of(first), **options) as client,
        client.pubsub(ignore_subscribe_messages=True) as subscriber,
        meanwhile(lambda: fall_silent(cluster, first, second)),
    ):
        subscriber.subscribe("news")
        while (message := subscriber.get_message()) is None:
            time.sleep(0.01)
        assert message["data"] == "from here"


def test_an_async_subscriber_stays_at_a_node_that_is_idle(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """The same for one event loop."""
    node = start_node()

    async def scenario() -> None:
        async with (
            AsyncClient(address_of(node), **options) as client,
            client.pubsub(ignore_subscribe_messages=True) as subscriber,
        ):
            await subscriber.subscribe("news")
            assert (await anext(subscriber.listen()))["data"] == "at last"

    with meanwhile(lambda: publish_after_silence(cluster, node)):
        asyncio.run(scenario())
    assert cluster.times_seen("0", "SUBSCRIBE") == 1


@pytest.mark.parametrize("timeout_s", [None, 0.01])
def test_an_async_subscriber_leaves_a_node_that_is_silent(
    cluster: FakeCluster, start_node: StartNode, options: Options, timeout_s: float | None
) -> None:
    """Whether it waits for a message or looks in now and then."""
    first, second = start_node(), start_node()

    async def scenario() -> None:
        async with (
            AsyncClient(address_of(first), **options) as client,
            client.pubsub(ignore_subscribe_messages=True) as subscriber,
        ):
            await subscriber.subscribe("news")
            while (message := await subscriber.get_message(timeout=timeout_s)) is None:
                pass
            assert message["data"] == "from here"
            assert subscriber.connection.port == second.server_address[1]

    with meanwhile(lambda: fall_silent(cluster, first, second)):
        asyncio.run(scenario())


def test_the_deadline_of_an_async_subscriber_begins_when_the_node_is_known_to_be_dead(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """The same for one event loop."""
    first, second = start_node(), start_node()

    async def scenario() -> None:
        async with (
            AsyncClient(address_of(first), **options | _SHORT) as client,
            client.pubsub(ignore_subscribe_messages=True) as subscriber,
        ):
            await subscriber.subscribe("news")
            assert (await anext(subscriber.listen()))["data"] == "from here"

    with meanwhile(lambda: fall_silent(cluster, first, second)):
        asyncio.run(scenario())


def test_a_subscriber_gives_up_where_every_node_is_silent(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """A connection that is taken is no answer: the deadline runs until somebody says a word."""
    nodes = ",".join(address_of(start_node()) for _ in range(2))
    with (
        Client(nodes, **options | {"deadline_s": 0.5}) as client,
        client.pubsub(ignore_subscribe_messages=True) as subscriber,
        meanwhile(lambda: stop_talking(cluster)),
    ):
        subscriber.subscribe("news")
        with pytest.raises(Unavailable, match=r"no answer after \d+ attempts.*does not answer PING"):
            next(subscriber.listen())
        assert cluster.times_seen("1", "SUBSCRIBE") >= 1
        cluster.silent.clear()
        subscriber.subscribe("others")
        assert subscriber.get_message(timeout=5.0) is None, "the subscription is confirmed"
        assert subscriber.channels


def test_an_async_subscriber_gives_up_where_every_node_is_silent(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """The same for one event loop."""
    nodes = ",".join(address_of(start_node()) for _ in range(2))

    async def scenario() -> None:
        async with (
            AsyncClient(nodes, **options | {"deadline_s": 0.5}) as client,
            client.pubsub(ignore_subscribe_messages=True) as subscriber,
        ):
            await subscriber.subscribe("news")
            with pytest.raises(Unavailable, match=r"no answer after \d+ attempts.*does not answer PING"):
                await anext(subscriber.listen())

    with meanwhile(lambda: stop_talking(cluster)):
        asyncio.run(asyncio.wait_for(scenario(), 10))
    assert cluster.times_seen("1", "SUBSCRIBE") >= 1


def test_closing_ends_the_iteration_of_another_thread(
    cluster: FakeCluster, start_node: StartNode, options: Options
) -> None:
    """Whoever waits for messages meanwhile gets no further one, and no error; nothing listens any more then."""
    node = start_node()
    heard: list[object] = []

    def listen(subscriber: Any) -> None:
        try:
            heard.extend(subscriber.listen())
        except BaseException as error:  # noqa: BLE001  whatever it is
            heard.append(error)

    def is_asked(times: int) -> bool:
        return cluster.times_seen("0", "PING") >= times

    with Client(address_of(node), **options) as client:
        for number in range(1, 11):
            subscriber = client.pubsub(ignore_subscribe_messages=True)
            subscriber.subscribe("news")
            thread = threading.Thread(target=listen, args=(subscriber,))
            thread.start()
            until(partial(is_asked, number))
            subscriber.close()
            thread.join(5)
            assert not thread.is_alive()
            assert heard == []
            assert subscriber.connection is None
            assert cluster.times_seen("0", "SUBSCRIBE") == number, "it did not come back"


def address_of(node: FakeNode) -> str:
    """Return where a node listens."""
    return f"127.0.0.1:{node.server_address[1]}"
