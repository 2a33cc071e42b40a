"""Transactions on real servers: redis-py as it is, on the leader and on a follower; ours through a killed leader."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import raftline
from raftline.cli.local_cluster import LocalCluster

StartCluster = Callable[..., LocalCluster]

ACCOUNTS = ("account:0", "account:1", "account:2")


def ports(cluster: LocalCluster) -> list[int]:
    """Return where the nodes serve, the leader first."""
    leader = cluster.wait_for_leader()
    return [cluster.nodes[name].port for name in sorted(cluster.nodes, key=lambda name: name != leader)]


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_finds_transactions_as_it_knows_them(shared_cluster: LocalCluster, protocol: int) -> None:
    """A watch taken on one node sees what is written through another, whichever of them leads."""
    clients: list[Any] = [redis.Redis(port=port, protocol=protocol) for port in ports(shared_cluster)]
    for here, there in (clients[:2], clients[1::-1]):
        here.set("k", 1)
        assert here.transaction(lambda pipe: (pipe.multi(), pipe.incr("k").get("k")), "k") == [2, b"2"]
        with here.pipeline() as pipe:
            pipe.watch("k")
            there.set("k", 5)
            pipe.multi()
            pipe.set("k", 9)
            with pytest.raises(redis.WatchError):
                pipe.execute()
            assert pipe.get("k").execute() == [b"5"]
    for client in clients:
        client.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_async_does_so_too(shared_cluster: LocalCluster, protocol: int) -> None:
    """The same with its asynchronous client."""

    async def main() -> None:
        clients: list[Any] = [redis.asyncio.Redis(port=port, protocol=protocol) for port in ports(shared_cluster)[:2]]
        here, there = clients
        async with here.pipeline() as pipe:
            assert await pipe.set("k", 1).incr("k").execute() == [True, 2]
            await pipe.watch("k")
            await there.set("k", 5)
            pipe.multi()
            pipe.set("k", 9)
            with pytest.raises(redis.WatchError):
                await pipe.execute()
        for client in clients:
            await client.aclose()

    asyncio.run(main())


class Movers:
    """Threads that move amounts between accounts, some by a transaction alone, some after a look under a watch."""

    def __init__(self, client: Any, count: int) -> None:
        self._client = client
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(count)]
        self._moved = [0] * count
        self.failed: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        source, target = ACCOUNTS[number % 3], ACCOUNTS[(number + 1) % 3]

        def move(pipe: Any) -> None:
            held = int(pipe.get(source))
            pipe.multi()
            pipe.set(source, held - 1).incrby(target, 1).incr("moves")

        try:
            while not self._is_over.is_set():
                if number % 2:
                    self._client.transaction(move, source)
                else:
                    with self._client.pipeline() as pipe:
                        pipe.decrby(source, 1).incrby(target, 1).incr("moves").execute()
                self._moved[number] += 1
        except BaseException as error:  # noqa: BLE001  looked at by the test
            self.failed.append(error)

    @property
    def moved(self) -> int:
        """Return how many transactions were answered."""
        return sum(self._moved)

    def stop(self) -> None:
        """Wait until everybody has ended."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def test_our_pipelines_are_carried_out_once_through_a_failover(start_cluster: StartCluster) -> None:
    """A killed leader costs no transaction and doubles none: the sum stays, and each was counted once (G7, G8)."""
    cluster = start_cluster()
    client: Any = raftline.Client([("127.0.0.1", node.port) for node in cluster.nodes.values()], deadline_s=60.0)
    client.mset(dict.fromkeys((*ACCOUNTS, "moves"), 0))
    movers = Movers(client, 1 + len(ACCOUNTS))
    try:
        while movers.moved < 20 and not movers.failed:
            client.get("moves")
        leader = cluster.wait_for_leader()
        cluster.kill9(leader)
        before = movers.moved
        while movers.moved < before + 20 and not movers.failed:
            client.get("moves")
    finally:
        movers.stop()
    assert movers.failed == []
    with client.pipeline() as pipe:
        *held, moves = pipe.mget(*ACCOUNTS).get("moves").execute()
    assert sum(map(int, held[0])) == 0
    assert int(moves) == movers.moved
    assert client.compare_and_set("moves", moves, "done")
    assert not client.compare_and_set("moves", moves, "again")
    assert client.compare_and_set("new", None, "here", px=60_000)
    assert client.compare_and_delete("moves", "done")
    assert not client.compare_and_delete("moves", "done")
    client.close()
