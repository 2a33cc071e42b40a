"""redis-py's PubSub that goes on at another node when the one it listens at is gone; sync and async.

redis-py subscribes again whenever its connection is made anew; here it is made to whichever node answers. What is
published between the end of one connection and the next confirmed subscription is missed, as with any Redis.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import redis
import redis.asyncio.client
import redis.client

from raftline.client.call import Call, Kind, Outcome
from raftline.client.nodes import Address

__all__ = ["AsyncFollowingPubSub", "FollowingPubSub"]

_BROKEN = (redis.ConnectionError, redis.TimeoutError, OSError)


class _Owner(Protocol):
    """What is asked of `raftline.Client`."""

    connection_pool: Any

    @property
    def deadline_s(self) -> float:
        """Return for how long to try."""

    def connect_somewhere(self) -> Any:
        """Return a pool and a connection of it that is open, to be released."""

    def move_on(self, address: Address) -> Any:
        """Leave a node that failed alone for a while, and return another one."""


class FollowingPubSub(redis.client.PubSub):
    """redis-py's, at any node; raises `Unavailable` if none answers within the client's deadline."""

    def __init__(self, owner: _Owner, **options: Any) -> None:
        self._owner = owner
        self._home: Address | None = None
        self._connecting: int | None = None
        """The thread that is just making the connection: what it sends meanwhile is sent as it is."""
        super().__init__(owner.connection_pool, **options)

    def execute_command(self, *args: Any) -> Any:
        """Carry out a command of a subscriber."""
        if self.connection is None:
            self.connection_pool, connection = self._owner.connect_somewhere()
            self._home = (connection.host, connection.port)
            self.connection_pool.release(connection)
        return super().execute_command(*args)  # type: ignore[no-untyped-call]

    def reset(self) -> None:
        """Give the connection back to the node that it is of."""
        if self.connection is not None and self._home is not None:
            self.connection.disconnect()
            self.connection.host, self.connection.port = self._home
        super().reset()

    def _execute(self, conn: Any, command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        me = threading.get_ident()
        if self._connecting == me:
            return command(*args, **kwargs)
        call = Call(Kind.READ, time.monotonic() + self._owner.deadline_s, random.random)
        while True:
            try:
                self._connecting = me
                try:
                    conn.connect()
                finally:
                    self._connecting = None
                return command(*args, **kwargs)
            except _BROKEN as error:
                conn.disconnect()
                delay_s = call.on_failure(Outcome.NOT_SENT, error, time.monotonic())
            conn.host, conn.port = self._owner.move_on((conn.host, conn.port))
            time.sleep(delay_s)


class AsyncFollowingPubSub(redis.asyncio.client.PubSub):
    """The same for one event loop."""

    def __init__(self, owner: _Owner, **options: Any) -> None:
        self._owner = owner
        self._home: Address | None = None
        self._connecting: Any = None
        """The task that is just making the connection: what it sends meanwhile is sent as it is."""
        super().__init__(owner.connection_pool, **options)

    async def connect(self) -> None:
        """Make sure that there is a connection."""
        if self.connection is None:
            self.connection_pool, connection = await self._owner.connect_somewhere()
            self._home = (connection.host, connection.port)
            await self.connection_pool.release(connection)
            await super().connect()  # type: ignore[no-untyped-call]
        elif self._connecting is not asyncio.current_task():
            await self._execute(self.connection, _nothing)

    async def aclose(self) -> None:
        """Give the connection back to the node that it is of."""
        connection: Any = self.connection
        if connection is not None and self._home is not None:
            connection.host, connection.port = self._home
        await super().aclose()  # type: ignore[no-untyped-call]

    async def _execute(self, conn: Any, command: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        me = asyncio.current_task()
        if self._connecting is me:
            return await command(*args, **kwargs)
        call = Call(Kind.READ, time.monotonic() + self._owner.deadline_s, random.random)
        while True:
            try:
                self._connecting = me
                try:
                    await conn.connect()
                finally:
                    self._connecting = None
                return await command(*args, **kwargs)
            except _BROKEN as error:
                await conn.disconnect()
                delay_s = call.on_failure(Outcome.NOT_SENT, error, time.monotonic())
            conn.host, conn.port = await self._owner.move_on((conn.host, conn.port))
            await asyncio.sleep(delay_s)


async def _nothing() -> None:
    """Only the connection is wanted."""
