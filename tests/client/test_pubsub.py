"""A subscriber stays at a node that has nothing to say, and leaves one that does not answer; sync and async alike."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from tests.client.conftest import FakeCluster, FakeNode

from raftline.client import pulse
from raftline.client.asynchronous import AsyncClient
from raftline.client.errors import Unavailable
from raftline.client.sync import Client

StartNode = Callable[[], FakeNode]
ListenAt = Callable[..., AbstractContextManager["Listener"]]
Options = dict[str, Any]
_TIMEOUT_S = 0.2
_SHORT: Options = {"socket_timeout": 3.0, "deadline_s": 1.0}
"""The deadline is shorter than it takes to be sure that a node is dead."""
_FINAL: Options = {"socket_timeout": 1.0, "deadline_s": 1.5}
"""There is time to try each of two nodes."""


@pytest.fixture(params=[2, 3])
def options(request: pytest.FixtureRequest, cluster: FakeCluster) -> Options:
    """Return a client's options for each protocol in turn, which the cluster speaks with its subscribers."""
    cluster.protocol = request.param
    return {"protocol": cluster.protocol, "socket_timeout": _TIMEOUT_S, "decode_responses": True}


@pytest.fixture
def patient(options: Options, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Return the options of a client that asks a node after a moment, and waits for an answer as long as it takes."""
    monkeypatch.setattr(pulse, "_ASKED_AFTER", 0.001)
    return options | {"socket_timeout": 60.0}


class Listener:
    """Somebody who listens with a `Client`."""

    def __init__(self, client: Any) -> None:
        self.subscriber = client.pubsub(ignore_subscribe_messages=True)

    def subscribe(self, channel: str) -> None:
        """Ask for messages of a channel."""
        self.subscriber.subscribe(channel)

    def hear(self) -> Any:
        """Wait for a message and return what it says."""
        return next(self.subscriber.listen())["data"]

    def look(self, timeout_s: float | None) -> Any:
        """Return a message if one comes in time, without any end if that is None."""
        return self.subscriber.get_message(timeout=timeout_s)

    @property
    def port(self) -> int:
        """Return at which node it listens."""
        return int(self.subscriber.connection.port)


class AsyncListener(Listener):
    """Somebody who does so with an `AsyncClient`, on a loop that runs while something is asked here."""

    def __init__(self, client: Any, runner: asyncio.Runner) -> None:
        super().__init__(client)
        self.runner = runner

    def subscribe(self, channel: str) -> None:
        self.runner.run(self.subscriber.subscribe(channel))

    def hear(self) -> Any:
        async def first() -> Any:
            return await anext(self.subscriber.listen())

        return self.runner.run(first())["data"]

    def look(self, timeout_s: float | None) -> Any:
        return self.runner.run(self.subscriber.get_message(timeout=timeout_s))


@contextmanager
def sync_listener(nodes: str, **options: Any) -> Iterator[Listener]:
    """Open a listener, and close it in the end."""
    with Client(nodes, **options) as client:
        listener = Listener(client)
        with listener.subscriber:
            yield listener


@contextmanager
def async_listener(nodes: str, **options: Any) -> Iterator[Listener]:
    """Do the same with the other client."""
    with asyncio.Runner() as runner:
        client = AsyncClient(nodes, **options)
        listener = AsyncListener(client, runner)
        try:
            yield listener
        finally:
            runner.run(listener.subscriber.aclose())
            runner.run(client.aclose())


@pytest.fixture(params=[sync_listener, async_listener])
def listen_at(request: pytest.FixtureRequest) -> ListenAt:
    """Return what opens a listener, of each kind in turn."""
    opens: ListenAt = request.param
    return opens


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let something happen to the nodes beside what is done here; `act` is told when that is over."""
    is_over = threading.Event()
    thread = threading.Thread(target=act, args=(is_over,))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def publish_until(is_heard: threading.Event, cluster: FakeCluster, text: str, *nodes: FakeNode) -> None:
    """Say something again and again: what is said while a listener goes from one node to another is missed."""
    while not is_heard.wait(0.01):
        for listener in [listener for node in nodes for listener in node.listeners]:
            with suppress(OSError):
                listener.sendall(cluster.push("message", "news", text))


def publish_after_silence(cluster: FakeCluster, node: FakeNode) -> None:
    """Say something once the subscriber has asked three times whether anybody is there."""
    until(lambda: cluster.times_seen("0", "PING") >= 3)
    node.listeners[-1].sendall(cluster.push("message", "news", "at last"))


def fall_silent(is_heard: threading.Event, cluster: FakeCluster, first: FakeNode, second: FakeNode) -> None:
    """Let a node say nothing any more once somebody listens; the other one says something then."""
    until(lambda: first.listeners or second.listeners)
    cluster.leader = 1
    cluster.silent.add(first.server_address[1])
    publish_until(is_heard, cluster, "from here", second)


def stop_talking(cluster: FakeCluster, nodes: list[FakeNode]) -> None:
    """Let no node say anything any more to whoever listens; new connections are still taken."""
    until(lambda: any(node.listeners for node in nodes))
    cluster.greets = True
    cluster.silent.update(cluster.ports)


def publish_to_whoever_comes_back(is_heard: threading.Event, cluster: FakeCluster, nodes: list[FakeNode]) -> None:
    """Say something once somebody has asked for another channel."""
    until(lambda: any(cluster.times_seen(number, "SUBSCRIBE", "others") for number in ("0", "1")))
    publish_until(is_heard, cluster, "again", *nodes)


def until(condition: Callable[[], object]) -> None:
    """Wait."""
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_subscriber_stays_at_a_node_that_is_idle(
    cluster: FakeCluster, start_node: StartNode, patient: Options, listen_at: ListenAt
) -> None:
    """However long nothing is published, as long as the node answers."""
    node = start_node()
    with (
        listen_at(address_of(node), **patient) as listener,
        meanwhile(lambda _: publish_after_silence(cluster, node)),
    ):
        listener.subscribe("news")
        assert listener.hear() == "at last"
    assert cluster.times_seen("0", "SUBSCRIBE") == 1


def test_a_subscriber_leaves_a_node_that_is_silent(
    cluster: FakeCluster, start_node: StartNode, options: Options, listen_at: ListenAt
) -> None:
    """A node that was stopped or cut off closes nothing, so it is its silence that tells."""
    first, second = start_node(), start_node()
    with (
        listen_at(address_of(first), **options) as listener,
        meanwhile(lambda is_heard: fall_silent(is_heard, cluster, first, second)),
    ):
        listener.subscribe("news")
        assert listener.hear() == "from here"
        assert listener.port == second.server_address[1]


@pytest.mark.parametrize("options", [3], indirect=True)
def test_the_deadline_begins_when_the_node_is_known_to_be_dead(
    cluster: FakeCluster, start_node: StartNode, options: Options, listen_at: ListenAt
) -> None:
    """However short it is, another node is tried."""
    first, second = start_node(), start_node()
    with (
        listen_at(address_of(first), **options | _SHORT) as listener,
        meanwhile(lambda is_heard: fall_silent(is_heard, cluster, first, second)),
    ):
        listener.subscribe("news")
        assert listener.hear() == "from here"


@pytest.mark.parametrize("timeout_s", [None, 0.0, 0.01])
def test_whoever_looks_in_now_and_then_leaves_it_too(
    cluster: FakeCluster, start_node: StartNode, options: Options, listen_at: ListenAt, timeout_s: float | None
) -> None:
    """`get_message` notices it as well, whether it waits for a message, for a moment or not at all."""
    first, second = start_node(), start_node()
    with (
        listen_at(address_of(first), **options) as listener,
        meanwhile(lambda is_heard: fall_silent(is_heard, cluster, first, second)),
    ):
        listener.subscribe("news")
        while (message := listener.look(timeout_s)) is None:
            time.sleep(0.01)
        assert message["data"] == "from here"
        assert listener.port == second.server_address[1]


@pytest.mark.parametrize("options", [3], indirect=True)
def test_a_subscriber_gives_up_where_every_node_is_silent(
    cluster: FakeCluster, start_node: StartNode, options: Options, listen_at: ListenAt
) -> None:
    """A connection that is taken is no answer: the deadline runs until somebody says a word."""
    nodes = [start_node(), start_node()]
    with listen_at(",".join(map(address_of, nodes)), **options | _FINAL) as listener:
        with meanwhile(lambda _: stop_talking(cluster, nodes)):
            listener.subscribe("news")
            with pytest.raises(Unavailable, match=r"no answer after \d+ attempts.*does not answer PING"):
                listener.hear()
        assert cluster.times_seen("1", "SUBSCRIBE") >= 1
        cluster.silent.clear()
        with meanwhile(lambda is_heard: publish_to_whoever_comes_back(is_heard, cluster, nodes)):
            listener.subscribe("others")
            assert listener.hear() == "again"


def test_closing_ends_the_iteration_of_another_thread(
    cluster: FakeCluster, start_node: StartNode, patient: Options
) -> None:
    """Whoever waits for messages meanwhile gets no further one, and no error; nothing listens any more then."""
    node = start_node()
    heard: list[object] = []

    def listen(subscriber: Any) -> None:
        try:
            heard.extend(subscriber.listen())
        except BaseException as error:  # noqa: BLE001  whatever it is
            heard.append(error)

    def is_told(times: int) -> bool:
        return len(node.listeners) == times

    def is_asked_again(times: int) -> bool:
        return cluster.times_seen("0", "PING") > times

    with Client(address_of(node), **patient) as client:
        for number in range(1, 11):
            subscriber = client.pubsub(ignore_subscribe_messages=True)
            subscriber.subscribe("news")
            until(partial(is_told, number))
            times_asked = cluster.times_seen("0", "PING")
            thread = threading.Thread(target=listen, args=(subscriber,))
            thread.start()
            until(partial(is_asked_again, times_asked))
            subscriber.close()
            thread.join(60)
            assert not thread.is_alive()
            assert heard == []
            assert subscriber.connection is None
            assert cluster.times_seen("0", "SUBSCRIBE") == number, "it did not come back"


def test_closing_ends_the_iteration_of_another_task(
    cluster: FakeCluster, start_node: StartNode, patient: Options
) -> None:
    """The same for one event loop; the connection is in the pool of its node, and nobody opens it again there."""
    nodes = [start_node(), start_node()]

    async def listen(subscriber: Any) -> list[object]:
        return [message async for message in subscriber.listen()]

    async def scenario() -> None:
        async with AsyncClient(",".join(map(address_of, nodes)), **patient) as client:
            for number in range(1, 11):
                subscriber: Any = client.pubsub(ignore_subscribe_messages=True)
                await subscriber.subscribe("news")
                connection = subscriber.connection
                while len(nodes[0].listeners) < number:  # noqa: ASYNC110  nodes run in threads
                    await asyncio.sleep(0)
                times_asked = cluster.times_seen("0", "PING")
                task = asyncio.create_task(listen(subscriber))
                while cluster.times_seen("0", "PING") == times_asked:  # noqa: ASYNC110  nodes run in threads
                    await asyncio.sleep(0)
                await subscriber.aclose()
                assert await asyncio.wait_for(task, 60) == []
                assert not connection.is_connected
                assert connection.port == nodes[0].server_address[1]
                assert cluster.times_seen("0", "SUBSCRIBE") == number, "it did not come back"

    asyncio.run(scenario())


def test_who_was_held_sees_the_answer_that_came_meanwhile(
    cluster: FakeCluster, start_node: StartNode, patient: Options
) -> None:
    """A thread that did not run when the answer came, until the patience had ended, is no silence of the node."""
    node = start_node()
    with sync_listener(address_of(node), **patient) as listener:
        listener.subscribe("news")
        connection: Any = listener.subscriber.connection
        look, is_held = connection.can_read, False

        def held(timeout: float) -> bool:
            nonlocal is_held
            asked_at = listener.subscriber._pulse._asked_at
            if is_held or asked_at is None:
                return bool(look(timeout=timeout))
            is_held = True
            assert look(timeout=60), "the answer comes right after this look"
            listener.subscriber._pulse.on_asked(asked_at - 60)
            return False

        connection.can_read = held
        while not is_held:
            listener.look(0.01)
        assert cluster.times_seen("0", "SUBSCRIBE") == 1
        node.listeners[-1].sendall(cluster.push("message", "news", "still here"))
        assert listener.hear() == "still here"


def address_of(node: FakeNode) -> str:
    """Return where a node listens."""
    return f"127.0.0.1:{node.server_address[1]}"
