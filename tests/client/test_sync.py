"""Both clients against nodes with a script: what is sent again, under which number, and what the caller is told."""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

import raftline
from raftline.errors import ConfigError

if TYPE_CHECKING:
    from tests.client.conftest import FakeCluster, FakeNode

    Start = Callable[[], FakeNode]
    MakeDriver = Callable[..., "Driver"]

UNSURE = "CLUSTERDOWN no outcome in time: the command may have been applied, or may still be (x)"
REFUSED = "CLUSTERDOWN no leader is known: the command did not take effect"


class Driver:
    """Either client, asked in the same words."""

    def __init__(self, kind: str, nodes: Any, **options: Any) -> None:
        options = {"deadline_s": 60.0, **options}
        self._runner = asyncio.Runner() if kind == "async" else None
        self.client: Any = raftline.AsyncClient(nodes, **options) if self._runner else raftline.Client(nodes, **options)

    def __call__(self, name: str, *args: Any) -> Any:
        """Call a method of the client and return what it returns."""
        return self.run(lambda: getattr(self.client, name)(*args))

    def run(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns, awaited if it has to be."""
        if self._runner is None:
            return function()

        async def wait() -> Any:
            return await function()

        return self._runner.run(wait())

    def close(self) -> None:
        """Let go of everything."""
        if self._runner is None:
            self.client.close()
        else:
            self._runner.run(self.client.aclose())
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Iterator["MakeDriver"]:
    """Return a function that makes a client."""
    drivers: list[Driver] = []

    def make(nodes: Any, **options: Any) -> Driver:
        drivers.append(Driver(request.param, nodes, **options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def client(cluster: "FakeCluster", start_node: "Start", drive: "MakeDriver") -> Driver:
    """Return a client of two nodes."""
    start_node()
    start_node()
    return drive([("127.0.0.1", port) for port in cluster.ports])


def once(cluster: "FakeCluster") -> list[tuple[str, ...]]:
    """Return session and number of every command that was sent in one."""
    return [words[2:4] for words in cluster.seen if words[1] == "RAFTLINE.ONCE"]


def test_writes_go_in_a_session_and_are_parsed_as_ever(cluster: "FakeCluster", client: Driver) -> None:
    """One session for commands one after the other, each with its own number (G8)."""
    assert [client("incr", "k") for _ in range(3)] == [1, 2, 3]
    assert once(cluster) == [("1", "1"), ("1", "2"), ("1", "3")]
    assert client("get", "k") == 3
    assert len(once(cluster)) == 3


@pytest.mark.parametrize("script", ["lost", "dropped", UNSURE, REFUSED, "TRYAGAIN the leader changed", "LOADING x"])
def test_a_write_is_repeated_under_its_number_and_counts_once(
    cluster: "FakeCluster", client: Driver, script: str
) -> None:
    """Whether the first attempt was carried out or not: one effect, one reply, on another node (G7, G8, G19)."""
    assert client("incr", "k") == 1
    cluster.scripts = [script, script]
    assert client("incr", "k") == 2
    assert cluster.count == 2
    assert once(cluster)[1:] == [("1", "2")] * 3
    asked = [words[0] for words in cluster.seen if words[1] == "RAFTLINE.ONCE"]
    assert asked[1] != asked[2]


def test_a_session_that_is_gone_is_replaced_unseen(cluster: "FakeCluster", client: Driver) -> None:
    """An idle client's session may have expired: nothing was carried out in it, so another is opened."""
    client("incr", "k")
    cluster.sessions.clear()
    assert client("incr", "k") == 2
    assert once(cluster) == [("1", "1"), ("1", "2"), ("2", "1")]


def test_a_session_that_is_gone_in_the_middle_is_told(cluster: "FakeCluster", client: Driver) -> None:
    """A command that may have been carried out is never sent under another number (G7, G19)."""
    client("incr", "k")
    cluster.scripts = ["lost", "NOSESSION session 1 is not open"]
    with pytest.raises(raftline.SessionLost, match="may have been applied") as raised:
        client("incr", "k")
    assert raised.value.may_have_been_applied
    assert cluster.count == 2
    assert once(cluster) == [("1", "1"), ("1", "2"), ("1", "2")]


def test_a_forgotten_reply_is_told(cluster: "FakeCluster", client: Driver) -> None:
    """That the command was carried out is known; its reply is not."""
    cluster.scripts = ["lost", "FORGOTTEN command 1 of session 1 was carried out"]
    with pytest.raises(raftline.ReplyLost) as raised:
        client("incr", "k")
    assert raised.value.may_have_been_applied
    assert cluster.count == 1


def test_an_error_of_the_command_is_raised_as_redis_py_raises_it(cluster: "FakeCluster", client: Driver) -> None:
    """It is the command's reply, sent once, and says that nothing was applied."""
    cluster.scripts = ["WRONGTYPE Operation against a key holding the wrong kind of value"]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE") as raised:
        client("incr", "k")
    assert raised.value.may_have_been_applied is False  # type: ignore[attr-defined]
    assert len(once(cluster)) == 1


def test_a_refusal_of_the_second_try_says_nothing_about_the_first(cluster: "FakeCluster", client: Driver) -> None:
    """Rights were taken away after a reply was lost: the command may have been applied (G19)."""
    cluster.scripts = ["lost", "NOPERM this user has no permissions to run the 'incrby' command"]
    with pytest.raises(redis.exceptions.NoPermissionError) as raised:
        client("incr", "k")
    assert raised.value.may_have_been_applied is True  # type: ignore[attr-defined]
    assert cluster.count == 1


@pytest.mark.parametrize("words", ["DENIED this node is in protected mode", "ERR too many keys are waited for"])
def test_a_refusal_at_the_door_says_nothing_about_the_first_try(
    cluster: "FakeCluster", client: Driver, words: str
) -> None:
    """Nor does one of what the client asks by itself in between: this attempt was never sent (G19)."""
    cluster.scripts = ["lost", words]
    with pytest.raises(redis.ResponseError, match=words.removeprefix("ERR ")) as raised:
        client("incr", "k")
    assert raised.value.may_have_been_applied is True  # type: ignore[attr-defined]
    cluster.scripts = ["lost"]
    cluster._members = lambda: b"-ERR not today\r\n"  # type: ignore[method-assign]
    with pytest.raises(redis.ResponseError, match="not today") as raised:
        client("incr", "k")
    assert raised.value.may_have_been_applied is True  # type: ignore[attr-defined]


def test_a_full_pool_of_connections_is_no_fault_of_the_node(cluster: "FakeCluster", client: Driver) -> None:
    """Another node would be one more hop to the leader, and its pool is no larger: a connection is waited for."""
    assert client("get", "k") == 0
    pool = client.client.connection_pool
    get_connection = pool.get_connection
    refusals = [redis.ConnectionError("Too many connections")] * 2

    def get() -> Any:
        if refusals:
            raise refusals.pop()
        return get_connection()

    pool.get_connection = get
    assert client("get", "k") == 0
    assert not refusals
    assert cluster.times_seen("1") == 0


def test_reads_are_repeated_freely(cluster: "FakeCluster", client: Driver) -> None:
    """They need no session and no number."""
    cluster.scripts = ["lost", REFUSED]
    assert client("get", "k") == 0
    assert once(cluster) == []
    assert [words[1] for words in cluster.seen].count("GET") == 3


def test_what_neither_reads_nor_writes_is_sent_once(cluster: "FakeCluster", client: Driver) -> None:
    """PUBLISH without a reply may have been heard; refused, it was not, and is sent again."""
    cluster.scripts = [REFUSED, "lost"]
    with pytest.raises(raftline.Unavailable, match="not sent twice") as raised:
        client("publish", "channel", "message")
    assert raised.value.may_have_been_applied
    assert cluster.count == 1


@pytest.mark.parametrize(("script", "unsure"), [(REFUSED, False), (UNSURE, True)])
def test_the_deadline_ends_it_in_words(
    cluster: "FakeCluster", start_node: "Start", drive: "MakeDriver", script: str, *, unsure: bool
) -> None:
    """The error is redis-py's ConnectionError too, and says whether the command may have been applied (G19)."""
    start_node()
    client = drive([("127.0.0.1", cluster.ports[0])], deadline_s=0.3)
    client("incr", "k")
    cluster.scripts = [script] * 1000
    with pytest.raises(redis.ConnectionError, match="attempts") as raised:
        client("incr", "k")
    assert isinstance(raised.value, raftline.Unavailable)
    assert raised.value.may_have_been_applied is unsure
    assert len(set(once(cluster)[1:])) == 1


def test_nobody_there_is_said_and_nothing_was_applied(start_node: "Start", drive: "MakeDriver") -> None:
    """A refused connection is no sent command."""
    node = start_node()
    port = node.server_address[1]
    client = drive(f"127.0.0.1:{port}", deadline_s=0.2)
    node.stop()
    with pytest.raises(raftline.Unavailable) as raised:
        client("incr", "k")
    assert not raised.value.may_have_been_applied


def test_one_address_is_enough(cluster: "FakeCluster", start_node: "Start", drive: "MakeDriver") -> None:
    """The other nodes are learned from it, and the leader is the one that is asked (G10)."""
    first, _, third = start_node(), start_node(), start_node()
    cluster.leader = 2
    client = drive([("127.0.0.1", cluster.ports[0])])
    client("incr", "k")
    assert [words[0] for words in cluster.seen if words[1] == "RAFTLINE.ONCE"] == ["2"]
    cluster.leader = 1
    third.stop()
    first.stop()
    assert client("incr", "k") == 2
    assert cluster.seen[-1][0] == "1"


def test_a_node_that_says_nothing_is_left(cluster: "FakeCluster", start_node: "Start", drive: "MakeDriver") -> None:
    """A paused process keeps its sockets open: the attempt ends by the socket's timeout, the number stays."""
    start_node()
    start_node()
    client = drive([("127.0.0.1", port) for port in cluster.ports], socket_timeout=2.0)
    client("incr", "k")
    cluster.scripts = ["held"]
    assert client("incr", "k") == 2
    cluster.release.set()
    assert cluster.count == 2
    assert once(cluster)[1:3] == [("1", "2")] * 2
    assert set(once(cluster)[1:]) == {("1", "2")}


def test_a_pipeline_is_sent_once(cluster: "FakeCluster", client: Driver) -> None:
    """It is redis-py's own, on a node that answers; a missing reply is said and nothing is repeated."""

    def execute(count: int) -> Any:
        pipeline = client.client.pipeline(transaction=False)
        for _ in range(count):
            pipeline.incr("k")
        return client.run(pipeline.execute)

    assert execute(3) == [1, 2, 3]
    cluster.scripts = ["ok", "lost"]
    with pytest.raises(raftline.Unavailable, match="pipeline") as raised:
        execute(3)
    assert raised.value.may_have_been_applied
    assert cluster.count == 5
    assert once(cluster) == []


def test_closing_gives_the_sessions_back(cluster: "FakeCluster", client: Driver) -> None:
    """What nobody will use does not count among the sessions that a cluster keeps."""
    client("incr", "k")
    assert len(cluster.sessions) == 1
    client("aclose" if isinstance(client.client, raftline.AsyncClient) else "close")
    assert cluster.sessions == {}


def test_a_server_that_is_not_raftline_is_refused(
    cluster: "FakeCluster", start_node: "Start", drive: "MakeDriver"
) -> None:
    """Nothing could be promised there."""
    start_node()
    cluster.rows = cluster.rows[:-1]
    with pytest.raises(ConfigError, match="not raftline"):
        drive([("127.0.0.1", cluster.ports[0])])("incr", "k")


def test_what_needs_a_single_connection_is_refused(client: Driver) -> None:
    """In words, and at once."""
    for wrong in (client.client.client, lambda: type(client.client).from_url("redis://h:1")):
        with pytest.raises(TypeError, match="nodes"):
            wrong()


def test_threads_share_a_client(cluster: "FakeCluster", start_node: "Start") -> None:
    """Each command in flight has a session of its own; every increment counts once (G8)."""
    start_node()
    replies: list[int] = []
    with raftline.Client([("127.0.0.1", cluster.ports[0])]) as client:

        def work() -> None:
            replies.extend(client.incr("k") for _ in range(25))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(replies) == list(range(1, 151))
    assert len(set(once(cluster))) == 150
    assert cluster.opened <= 6


def _child(client: "raftline.Client") -> None:
    assert [client.incr("k") for _ in range(3)] == [2, 3, 4]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the fork is what is tested
def test_a_forked_process_uses_sessions_of_its_own(cluster: "FakeCluster", start_node: "Start") -> None:
    """Parent and child go on with the same client, and neither is taken for the other (G7)."""
    start_node()
    with raftline.Client([("127.0.0.1", cluster.ports[0])]) as client:
        assert client.incr("k") == 1
        process = multiprocessing.get_context("fork").Process(target=_child, args=(client,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert client.incr("k") == 5
    assert {session for session, _ in once(cluster)} == {"1", "2"}


def test_an_interrupted_command_uses_up_its_number(
    cluster: "FakeCluster", start_node: "Start", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C while a reply is awaited: it may have been applied, and the next command is another one."""
    start_node()
    with raftline.Client([("127.0.0.1", cluster.ports[0])]) as client:
        client.incr("k")
        with monkeypatch.context() as patched:

            def interrupt(*_args: Any, **_options: Any) -> None:
                raise KeyboardInterrupt

            patched.setattr(client, "parse_response", interrupt)
            with pytest.raises(KeyboardInterrupt) as raised:
                client.incr("k")
        assert raised.value.may_have_been_applied  # type: ignore[attr-defined]
        while cluster.count < 2:  # the node may read it long after it was sent
            time.sleep(0.01)
        client.incr("k")
    assert (once(cluster)[0], once(cluster)[-1]) == (("1", "1"), ("1", "3"))
