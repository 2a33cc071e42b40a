"""Real servers that die, freeze and restart under our clients: as many effects as were acknowledged, none twice."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import raftline
from raftline.cli.local_cluster import LocalCluster

KILLS = int(os.environ.get("CLUSTER_KILLS", "2"))
"""How often the leader is killed, or stopped; `CLUSTER_KILLS=20` for the full number."""

SNAPSHOTS = {"snapshot_log_entries": 200, "keep_log_entries": 20}

StartCluster = Callable[..., LocalCluster]


def addresses(cluster: LocalCluster) -> list[tuple[str, int]]:
    """Return where the nodes serve."""
    return [("127.0.0.1", node.port) for node in cluster.nodes.values()]


class Writers:
    """Threads that share a client: each increments one counter of all and appends words to a key of its own."""

    def __init__(self, client: raftline.Client, count: int) -> None:
        self._client = client
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(count)]
        self.counted: list[int] = []
        self.words = [0] * count
        self.failed: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        try:
            while not self._is_over.is_set():
                self.counted.append(int(self._client.execute_command("INCR", "count")))
                length = int(self._client.execute_command("APPEND", f"words{number}", f"{self.words[number]:05d}"))
                self.words[number] += 1
                assert length == 5 * self.words[number], f"{length} bytes after {self.words[number]} words"
        except BaseException as error:  # noqa: BLE001  looked at by the test
            self.failed.append(error)

    def go_on(self, cluster: LocalCluster) -> None:
        """Wait until some more is acknowledged, or one of them failed."""
        enough = len(self.counted) + 50
        cluster.wait_for(lambda: len(self.counted) >= enough or self.failed, "50 more writes")

    def stop(self) -> None:
        """Let each end what it does."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def check(self, cluster: LocalCluster) -> None:
        """Every acknowledged write is on every node, once."""
        assert self.failed == []
        assert sorted(self.counted) == list(range(1, len(self.counted) + 1))
        cluster.wait_until_level()
        for name in cluster.nodes:
            with cluster.client(name) as client:
                assert client.get("count") == b"%d" % len(self.counted)
                for number, words in enumerate(self.words):
                    expected = b"".join(b"%05d" % word for word in range(words))
                    assert (client.get(f"words{number}") or b"") == expected


def kill_leader(cluster: LocalCluster) -> None:
    """SIGKILL, and a start right after."""
    leader = cluster.wait_for_leader()
    cluster.kill9(leader)
    time.sleep(0.5)
    cluster.start(leader)


def freeze_leader(cluster: LocalCluster) -> None:
    """SIGSTOP until somebody else leads, and then some."""
    leader = cluster.wait_for_leader()
    cluster.pause(leader)
    cluster.wait_for(
        lambda: any(info.role == "leader" for name, info in cluster.infos().items() if name != leader), "another leader"
    )
    time.sleep(0.5)
    cluster.resume(leader)


def restart_all_in_turn(cluster: LocalCluster) -> None:
    """SIGTERM, one node after the other."""
    for name in cluster.nodes:
        cluster.restart(name)
        cluster.wait_for_leader()


@pytest.mark.timeout(120 + 20 * KILLS)
@pytest.mark.parametrize("torment", [kill_leader, freeze_leader, restart_all_in_turn])
def test_what_threads_write_counts_once(start_cluster: StartCluster, torment: Callable[[LocalCluster], None]) -> None:
    """No write fails, none is lost and none is doubled, and each reply is the one of that very command (G7, G8)."""
    cluster = start_cluster(settings=SNAPSHOTS)
    with raftline.Client(addresses(cluster), socket_timeout=2.0) as client:
        writers = Writers(client, 4)
        for _ in range(KILLS if torment is not restart_all_in_turn else 1):
            writers.go_on(cluster)
            torment(cluster)
        writers.go_on(cluster)
        writers.stop()
    writers.check(cluster)


@pytest.mark.timeout(120 + 20 * KILLS)
def test_what_tasks_write_counts_once(start_cluster: StartCluster) -> None:
    """The asynchronous client, with a hundred tasks at once: as the other; what was cancelled counts once at most."""
    cluster = start_cluster(settings=SNAPSHOTS)
    counted: list[int] = []
    cancelled = 0

    async def write(client: Any, deadline: float) -> None:
        nonlocal cancelled
        while time.monotonic() < deadline or not cancelled:
            for number in range(5):
                task = asyncio.ensure_future(client.execute_command("INCR", "count"))
                if number == 4 and len(counted) % 3 == 0:
                    await asyncio.sleep(0.001)
                    task.cancel()
                try:
                    counted.append(int(await task))
                except asyncio.CancelledError:
                    cancelled += 1

    async def work() -> None:
        async with raftline.AsyncClient(addresses(cluster), socket_timeout=2.0) as client:
            deadline = time.monotonic() + 2.0 * KILLS
            writing = asyncio.gather(*(write(client, deadline) for _ in range(100)))
            for _ in range(KILLS):
                await asyncio.sleep(0.7)
                await asyncio.to_thread(kill_leader, cluster)
            await writing

    asyncio.run(work())
    assert len(counted) == len(set(counted))
    assert cancelled > 0
    cluster.wait_until_level()
    values = set()
    for name in cluster.nodes:
        with cluster.client(name) as client:
            values.add(int(client.get("count") or 0))
    assert len(values) == 1
    assert len(counted) <= values.pop() <= len(counted) + cancelled


def test_a_retry_is_answered_from_memory_wherever_it_lands(start_cluster: StartCluster) -> None:
    """On every node, after the leader died, after a power cut, and after restarts from snapshots (G7, G9, G14)."""
    cluster = start_cluster(settings=SNAPSHOTS)
    with cluster.client("n1") as client:
        session = client.execute_command("RAFTLINE.SESSION")
        once = ("RAFTLINE.ONCE", session, 1, "INCRBY", "count", 5)
        assert client.execute_command(*once) == 5

    def ask_everybody() -> None:
        for name in cluster.nodes:
            with cluster.client(name) as client:
                assert client.execute_command(*once) == 5
                assert client.get("count") == b"5"
                assert cluster.info(name, 30) is not None
                shown = client.execute_command("RAFTLINE.SESSION", "SHOW", session)
                assert shown[b"sequence"] == 1 if isinstance(shown, dict) else shown[3] == 1

    ask_everybody()
    leader = cluster.wait_for_leader()
    cluster.kill9(leader)
    cluster.wait_for_leader(other_than=leader)
    cluster.start(leader)
    cluster.wait_for_leader()
    ask_everybody()
    with cluster.client("n1") as client, client.pipeline(transaction=False) as pipeline:
        for number in range(600):
            pipeline.getset("other", number)  # an entry each
        pipeline.execute()
    cluster.wait_until_level()
    for name in cluster.nodes:
        cluster.wait_for(
            lambda name=name: (info := cluster.info(name)) and info.snapshot_index,  # type: ignore[misc]
            f"the session is in a snapshot of {name}",
        )
    cluster.kill9()
    cluster.start()
    cluster.wait_for_leader()
    ask_everybody()
    with cluster.client("n2") as client:
        assert client.execute_command("RAFTLINE.ONCE", session, 2, "INCR", "count") == 6
        with pytest.raises(redis.ResponseError, match=r"^OUTDATED .* is older than the last one \(2\)"):
            client.execute_command(*once)
        assert client.execute_command("RAFTLINE.SESSION", "CLOSE", session) == 1
    with cluster.client("n3") as client:
        with pytest.raises(redis.ResponseError, match=r"^NOSESSION .* is unknown; open a new one"):
            client.execute_command("RAFTLINE.ONCE", session, 3, "INCR", "count")
        assert client.get("count") == b"6"


def test_without_a_quorum_the_client_says_what_may_have_happened(start_cluster: StartCluster) -> None:
    """The deadline holds; what "was not applied" is not there afterwards, what may have been is once at most (G19)."""
    cluster = start_cluster(settings={"request_timeout_s": 1})
    hasty = raftline.Client(addresses(cluster), deadline_s=3.0, socket_timeout=1.5)
    with raftline.Client(addresses(cluster)) as client, hasty:
        assert client.incr("count") == 1
        leader = cluster.wait_for_leader()
        others = [name for name in cluster.nodes if name != leader]
        cluster.kill9(*others)
        with pytest.raises(raftline.Unavailable) as raised:
            hasty.incr("count")
        with pytest.raises(raftline.Unavailable) as read:
            hasty.get("count")
        assert not read.value.may_have_been_applied
        cluster.start(*others)
        cluster.wait_for_leader()
        assert client.incr("count") in ({2, 3} if raised.value.may_have_been_applied else {2})


def test_one_address_of_a_follower_is_enough(start_cluster: StartCluster) -> None:
    """The client finds the others and the leader, and goes on when the address it was given is gone (G10)."""
    cluster = start_cluster()
    given = cluster.followers()[0]
    with raftline.Client(f"127.0.0.1:{cluster.nodes[given].port}", decode_responses=True) as client:
        assert client.set("key", "value")
        assert client.info("raft")["raft_role"] == "leader"
        cluster.kill9(given)
        assert client.get("key") == "value"
        cluster.start(given)
        cluster.wait_for_leader()
        leader = cluster.wait_for_leader()
        cluster.kill9(leader)
        assert client.append("key", "!") == 6
        cluster.start(leader)
        cluster.wait_for_leader()
