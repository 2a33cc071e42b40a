"""Locks on real servers whose leader dies: one holder at a time, and tokens that rise."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
import redis

import raftline
from raftline.cli.local_cluster import LocalCluster

StartCluster = Callable[..., LocalCluster]


class Resource:
    """What the lock guards: it knows who is inside, and the highest token it has seen."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.tokens: list[int] = []
        self.guard = threading.Lock()

    def enter(self, token: int) -> None:
        """Note that somebody works with it, and refuse an old token."""
        with self.guard:
            assert token > max(self.tokens, default=0), "an old token"
            self.tokens.append(token)
            self.inside += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        """Note that it is left."""
        with self.guard:
            self.inside -= 1


class Crowd:
    """Threads, one of them with tasks, that take turns until told to stop."""

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self.addresses = addresses
        self.resource = Resource()
        self.is_over = threading.Event()
        self.failed: list[BaseException] = []
        self.threads = [
            threading.Thread(target=self._guarded, args=(work,))
            for work in (self._work, self._work, lambda: asyncio.run(self._work_in_tasks()))
        ]
        for thread in self.threads:
            thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  looked at by the test
            self.failed.append(error)

    def _work(self) -> None:
        with raftline.Client(self.addresses, socket_timeout=2.0) as client:
            while not self.is_over.is_set():
                with client.lock("lock", lease_s=30.0) as lock:
                    self.resource.enter(lock.token)
                    lock.renew()
                    self.resource.leave()

    async def _work_in_tasks(self) -> None:
        async with raftline.AsyncClient(self.addresses, socket_timeout=2.0) as client:
            while not self.is_over.is_set():
                async with client.lock("lock", lease_s=30.0) as lock:
                    self.resource.enter(lock.token)
                    await lock.renew()
                    self.resource.leave()

    def has_passed(self, count: int) -> bool:
        """Say whether the lock changed hands so often, or never will."""
        return bool(self.failed) or len(self.resource.tokens) > count


def test_a_lock_outlives_leaders(start_cluster: StartCluster) -> None:
    """Threads and tasks take turns while the leader is killed; no lease is lost, no token comes twice (G8)."""
    cluster = start_cluster()
    crowd = Crowd([("127.0.0.1", node.port) for node in cluster.nodes.values()])
    for _ in range(2):
        count = len(crowd.resource.tokens)
        leader = cluster.wait_for_leader()
        cluster.kill9(leader)
        cluster.wait_for(partial(crowd.has_passed, count + 10), "the lock goes on")
        cluster.start(leader)
    crowd.is_over.set()
    for thread in crowd.threads:
        thread.join()
    assert crowd.failed == []
    assert crowd.resource.most == 1
    assert len(set(crowd.resource.tokens)) == len(crowd.resource.tokens)


def test_the_lock_of_redis_py_is_refused(shared_cluster: LocalCluster) -> None:
    """Its release is a Lua script; ours takes its place."""
    name = next(iter(shared_cluster.nodes))
    with shared_cluster.client(name) as client:
        lock = client.lock("theirs", timeout=1)
        assert lock.acquire()
        with pytest.raises(redis.ResponseError, match="unknown command"):
            lock.release()
