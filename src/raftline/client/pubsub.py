"""redis-py's PubSub that goes on at another node when the one it listens at is gone; sync and async.

redis-py subscribes again whenever its connection is made anew; here it is made to whichever node answers. A node that
is silent for half the `socket_timeout` is asked by PING, and left if it says nothing for the other half. What is
published between the end of one connection and the next confirmed subscription is missed, as with any Redis.
"""

import asyncio
import math
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
from raftline.client.pulse import Pulse
from raftline.client.wire import patience_s

__all__ = ["AsyncFollowingPubSub", "FollowingPubSub"]

_BROKEN = (redis.ConnectionError, redis.TimeoutError, OSError)
_LAST_LOOK_S = 0.1
"""A loop that was held may not have seen yet what has come."""
_NO_ANSWER = "the node does not answer PING"


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
    """redis-py's, at any node; raises `Unavailable` if one fails and none answers within the client's deadline."""

    def __init__(self, owner: _Owner, **options: Any) -> None:
        self._owner = owner
        self._home: Address | None = None
        self._connecting: int | None = None
        """The thread that is just making the connection: what it sends meanwhile is sent as it is."""
        self._pulse = Pulse(0.0, 0.0)
        super().__init__(owner.connection_pool, **options)

    def execute_command(self, *args: Any) -> Any:
        """Carry out a command of a subscriber."""
        if self.connection is None:
            self.connection_pool, connection = self._owner.connect_somewhere()
            self._home = (connection.host, connection.port)
            self.connection_pool.release(connection)
            self._begin_pulse(connection)
        return super().execute_command(*args)  # type: ignore[no-untyped-call]

    def on_connect(self, connection: Any) -> None:
        """Subscribe again at the node that it is at now."""
        self._begin_pulse(connection)
        super().on_connect(connection)

    def parse_response(self, block: bool = True, timeout: float = 0) -> Any:  # noqa: FBT001, FBT002  their signature
        """Return what comes next, None if nothing comes within `timeout`, which does not count if `block`."""
        connection = self.connection
        if connection is None:
            return super().parse_response(block, timeout)  # type: ignore[no-untyped-call]
        end = math.inf if block else time.monotonic() + timeout
        while True:
            now = time.monotonic()
            response = self._execute(connection, self._hear, connection, max(0.0, end - now))
            if response is not None or time.monotonic() >= end:
                return response

    def _begin_pulse(self, connection: Any) -> None:
        self._pulse = Pulse(patience_s(connection.socket_timeout), time.monotonic())
        self.health_check_response_counter = 0

    def _hear(self, connection: Any, wait_s: float) -> Any:
        """Listen for a while; return what came, None if it was nothing for the user; raise if the node is dead."""
        self.check_health()
        pulse = self._pulse
        if not connection.can_read(timeout=min(wait_s, pulse.wait_s(time.monotonic()))):
            now = time.monotonic()
            if pulse.is_dead(now):
                raise redis.TimeoutError(_NO_ANSWER)
            if pulse.must_ask(now):
                connection.send_command("PING", self.HEALTH_CHECK_MESSAGE, check_health=False)
                self.health_check_response_counter += 1
                pulse.on_asked(now)
            return None
        response = connection.read_response(disconnect_on_error=False, push_request=True)
        pulse.on_heard(time.monotonic())
        if self.is_health_check_response(response):
            self.health_check_response_counter -= 1
            return None
        return response

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
        call: Call | None = None
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
                call = call or _call_within(self._owner.deadline_s)
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
        self._pulse = Pulse(0.0, 0.0)
        super().__init__(owner.connection_pool, **options)

    async def connect(self) -> None:
        """Make sure that there is a connection."""
        if self.connection is None:
            self.connection_pool, connection = await self._owner.connect_somewhere()
            self._home = (connection.host, connection.port)
            await self.connection_pool.release(connection)
            self._begin_pulse(connection)
            await super().connect()  # type: ignore[no-untyped-call]
        elif self._connecting is not asyncio.current_task():
            await self._execute(self.connection, _nothing)

    async def on_connect(self, connection: Any) -> None:
        """Subscribe again at the node that it is at now."""
        self._begin_pulse(connection)
        await super().on_connect(connection)

    async def parse_response(self, block: bool = True, timeout: float = 0) -> Any:  # noqa: ASYNC109, FBT001, FBT002  theirs
        """Return what comes next, None if nothing comes within `timeout`, which does not count if `block`."""
        connection: Any = self.connection
        if connection is None:
            return await super().parse_response(block, timeout)
        end = math.inf if block else time.monotonic() + timeout
        while True:
            now = time.monotonic()
            response = await self._execute(connection, self._hear, connection, max(0.0, end - now))
            if response is not None or time.monotonic() >= end:
                return response

    def _begin_pulse(self, connection: Any) -> None:
        self._pulse = Pulse(patience_s(connection.socket_timeout), time.monotonic())

    async def _hear(self, connection: Any, wait_s: float) -> Any:
        """Listen for a while; return what came, None if it was nothing for the user; raise if the node is dead."""
        await self.check_health()  # type: ignore[no-untyped-call]
        pulse = self._pulse
        response = await _read(connection, min(wait_s, pulse.wait_s(time.monotonic())))
        if response is None and pulse.is_dead(time.monotonic()):
            response = await _read(connection, _LAST_LOOK_S)
        now = time.monotonic()
        if response is not None:
            pulse.on_heard(now)
        elif pulse.is_dead(now):
            raise redis.TimeoutError(_NO_ANSWER)
        elif pulse.must_ask(now):
            await connection.send_command("PING", self.HEALTH_CHECK_MESSAGE, check_health=False)
            pulse.on_asked(now)
        return None if response in self.health_check_response else response

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
        call: Call | None = None
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
                call = call or _call_within(self._owner.deadline_s)
                delay_s = call.on_failure(Outcome.NOT_SENT, error, time.monotonic())
            conn.host, conn.port = await self._owner.move_on((conn.host, conn.port))
            await asyncio.sleep(delay_s)


def _call_within(deadline_s: float) -> Call:
    """Return what tries other nodes for this long from the first failure on: listening before it takes no time."""
    return Call(Kind.READ, time.monotonic() + deadline_s, random.random)


async def _read(connection: Any, wait_s: float) -> Any:
    """Return what comes next, None if nothing does within `wait_s`."""
    return await connection.read_response(timeout=wait_s, disconnect_on_error=False, push_request=True)


async def _nothing() -> None:
    """Only the connection is wanted."""
