"""The load that knows what it was promised, for a sharded cluster: by cluster clients and by plain ones.

Keys are read back one by one, since they are in many slots; a cluster client repeats nothing by itself, so that an
error is the outcome.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from raftline.cli.load import Load

__all__ = ["ShardedLoad", "cluster_client"]


@contextmanager
def cluster_client(ports: Sequence[int], timeout_s: float) -> Iterator[redis.Redis]:
    """Give a redis-py `RedisCluster`; used like a plain client."""
    nodes = [ClusterNode("127.0.0.1", port) for port in ports]  # type: ignore[no-untyped-call]
    client: Any = RedisCluster(
        startup_nodes=nodes, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
    try:
        yield cast("redis.Redis", client)
    finally:
        client.close()


class ShardedLoad(Load):
    """As `Load`; every other client finds its way to the groups itself, the others ask some node."""

    def _values_of(self, client: redis.Redis, keys: list[str]) -> Any:
        """Return the value of each key; they are in many slots."""
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return pipeline.execute()

    def _each_turn(self, ports: Sequence[int], number: int, step: Callable[[redis.Redis], None]) -> None:
        if number % 2:
            super()._each_turn(ports, number, step)
            return
        while not self._stopping.is_set():
            try:
                with cluster_client(ports, self._timeout_s) as client:
                    while not self._stopping.is_set():
                        step(client)
            except redis.RedisError as error:
                self._count_refusal(error)
            except Exception as error:  # noqa: BLE001  a client that fails otherwise is a finding
                self._fault(f"{type(error).__name__} in a cluster client: {error}")
            self._stopping.wait(0.02)
