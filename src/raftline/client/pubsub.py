"""redis-py's PubSub that goes on at another node when the one it listens at is gone; sync and async.

redis-py subscribes again whenever its connection is made anew; here it is made to whichever node answers. A node that
is silent for half the `socket_timeout` is asked by PING, and left if it says nothing for the other half; that another
one takes the connection is no answer yet, so the deadline runs until somebody says a word. What is published between
the end of one connection and the next confirmed subscription is missed, as with any Redis.
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
"""Whoever was held when its patience ended may not have seen yet what had come."""
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


class _Search:
    """The attempts at one node after another since the last word of any; there are none while all is well."""

    __slots__ = ("_call", "_deadline_s")

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._call: Call | None = None

    def on_heard(self) -> None:
        """A node said something."""
        self._call = None

    def on_failure(self, error: Exception) -> float:
        """Return after how many seconds to try another node; raises `Unavailable`, and the next search is a new one.

        The time is counted from the first failure on: listening before it takes none.
        """
        now = time.monotonic()
        call, self._call = self._call or Call(Kind.READ, now + self._deadline_s, random.random), None
        delay_s = call.on_failure(Outcome.NOT_SENT, error, now)
        self._call = call
        return delay_s


class _ClosedError(redis.ConnectionError):
    """The subscriber was closed by another thread, or task."""

    def __init__(self) -> None:
        super().__init__("the subscriber was closed")


class FollowingPubSub(redis.client.PubSub):
    """redis-py's, at any node; raises `Unavailable` if one fails and none answers within the client's deadline.

    It may be closed by another thread than the one that listens, whose iteration ends then. Invariant: the connection
    goes back to its pool only when nobody listens at it, so nobody opens it again there.
    """

    def __init__(self, owner: _Owner, **options: Any) -> None:
        self._owner = owner
        self._home: Address | None = None
        self._connecting: int | None = None
        """The thread that is just making the connection: what it sends meanwhile is sent as it is."""
        self._listening: int | None = None
        """The thread that listens."""
        self._is_closed = False
        self._handover = threading.Lock()
        """Held where it is decided who of the two that meet, a listener and whoever closes, lets the connection go."""
        self._pulse = Pulse(0.0, 0.0)
        self._search = _Search(owner.deadline_s)
        super().__init__(owner.connection_pool, **options)
        self._lock = threading.RLock()  # redis-py 5.3 has one that whoever subscribes again while it sends waits for
        self._is_closed = False

    def execute_command(self, *args: Any) -> Any:
        """Carry out a command of a subscriber."""
        if self.connection is None:
            self.connection_pool, connection = self._owner.connect_somewhere()
            self._home = (connection.host, connection.port)
            self._is_closed = False
            self.connection_pool.release(connection)
            self._begin_pulse(connection)
        return super().execute_command(*args)  # type: ignore[no-untyped-call]

    def on_connect(self, connection: Any) -> None:
        """Subscribe again at the node that it is at now."""
        self._begin_pulse(connection)
        super().on_connect(connection)

    def parse_response(self, block: bool = True, timeout: float = 0) -> Any:  # noqa: FBT001, FBT002  their signature
        """Return what comes next, None if nothing comes within `timeout`, which does not count if `block`."""
        with self._handover:
            connection = self.connection
            if self._is_closed:
                return None
            self._listening = threading.get_ident()
        try:
            if connection is None:
                return super().parse_response(block, timeout)  # type: ignore[no-untyped-call]
            return self._listen_until(connection, math.inf if block else time.monotonic() + timeout)
        except _ClosedError:
            return None
        finally:
            with self._handover:
                self._listening = None
                must_let_go = self._is_closed
            if must_let_go:
                self.reset()

    def _listen_until(self, connection: Any, end: float) -> Any:
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
                if not connection.can_read(timeout=_LAST_LOOK_S):
                    raise redis.TimeoutError(_NO_ANSWER)
            elif pulse.must_ask(now):
                connection.send_command("PING", self.HEALTH_CHECK_MESSAGE, check_health=False)
                self.health_check_response_counter += 1
                pulse.on_asked(now)
            return None
        response = connection.read_response(disconnect_on_error=False, push_request=True)
        pulse.on_heard(time.monotonic())
        self._search.on_heard()
        if self.is_health_check_response(response):
            self.health_check_response_counter -= 1
            return None
        return response

    def reset(self) -> None:
        """Give the connection back to the node that it is of; if another thread listens at it, that one does so."""
        with self._handover:
            self._is_closed = True
            is_mine = self._listening in {None, threading.get_ident()}
        connection = self.connection
        if connection is not None:
            connection.disconnect()
        if not is_mine:
            return
        if connection is not None and self._home is not None:
            connection.host, connection.port = self._home
        super().reset()

    def _execute(self, conn: Any, command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        me = threading.get_ident()
        if self._connecting == me:
            return command(*args, **kwargs)
        while not self._is_closed:
            try:
                self._connecting = me
                try:
                    conn.connect()
                finally:
                    self._connecting = None
                return command(*args, **kwargs)
            except Exception as error:
                if self._is_closed:
                    raise _ClosedError from error
                if not isinstance(error, _BROKEN):
                    raise
                conn.disconnect()
                delay_s = self._search.on_failure(error)
            conn.host, conn.port = self._owner.move_on((conn.host, conn.port))
            time.sleep(delay_s)
        raise _ClosedError


class AsyncFollowingPubSub(redis.asyncio.client.PubSub):
    """The same for one event loop, where another task may close it."""

    def __init__(self, owner: _Owner, **options: Any) -> None:
        self._owner = owner
        self._home: Address | None = None
        self._connecting: Any = None
        """The task that is just making the connection: what it sends meanwhile is sent as it is."""
        self._listening: Any = None
        """The task that listens."""
        self._is_closed = False
        self._pulse = Pulse(0.0, 0.0)
        self._search = _Search(owner.deadline_s)
        super().__init__(owner.connection_pool, **options)

    async def connect(self) -> None:
        """Make sure that there is a connection."""
        if self.connection is None:
            self.connection_pool, connection = await self._owner.connect_somewhere()
            self._home = (connection.host, connection.port)
            self._is_closed = False
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
        self._listening = asyncio.current_task()
        try:
            return await self._listen_until(connection, math.inf if block else time.monotonic() + timeout)
        except _ClosedError:
            return None
        finally:
            self._listening = None
            if self._is_closed:
                await self.aclose()

    async def _listen_until(self, connection: Any, end: float) -> Any:
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
            self._search.on_heard()
        elif pulse.is_dead(now):
            raise redis.TimeoutError(_NO_ANSWER)
        elif pulse.must_ask(now):
            await connection.send_command("PING", self.HEALTH_CHECK_MESSAGE, check_health=False)
            pulse.on_asked(now)
        return None if response in self.health_check_response else response

    async def aclose(self) -> None:
        """Give the connection back to the node that it is of; if another task listens at it, that one does so."""
        self._is_closed = True
        connection: Any = self.connection
        if self._listening not in {None, asyncio.current_task()}:
            if connection is not None:
                await connection.disconnect(nowait=True)
            return
        if connection is not None and self._home is not None:
            connection.host, connection.port = self._home
        await super().aclose()  # type: ignore[no-untyped-call]

    async def _execute(self, conn: Any, command: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        me = asyncio.current_task()
        if self._connecting is me:
            return await command(*args, **kwargs)
        while not self._is_closed:
            try:
                self._connecting = me
                try:
                    await conn.connect()
                finally:
                    self._connecting = None
                return await command(*args, **kwargs)
            except Exception as error:
                if self._is_closed:
                    raise _ClosedError from error
                if not isinstance(error, _BROKEN):
                    raise
                await conn.disconnect()
                delay_s = self._search.on_failure(error)
            conn.host, conn.port = await self._owner.move_on((conn.host, conn.port))
            await asyncio.sleep(delay_s)
        raise _ClosedError


async def _read(connection: Any, wait_s: float) -> Any:
    """Return what comes next, None if nothing does within `wait_s`."""
    return await connection.read_response(timeout=wait_s, disconnect_on_error=False, push_request=True)


async def _nothing() -> None:
    """Only the connection is wanted."""
