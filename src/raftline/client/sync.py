"""raftline.Client: redis-py's `Redis`, for a cluster of raftline.

Use it as you use `redis.Redis`. It knows all nodes, goes to the leader, bridges failovers until a deadline, and carries
every single write out exactly once; see docs/client.md for what is promised.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import redis
from redis.client import Pipeline
from redis.retry import Retry

from raftline.client.call import Call, Kind
from raftline.client.errors import Unavailable, note
from raftline.client.kinds import CommandKinds
from raftline.client.lease import LEASE_S, check_options
from raftline.client.lock import RaftlineLock
from raftline.client.nodes import Address, Nodes, parse_nodes
from raftline.client.pubsub import FollowingPubSub
from raftline.client.sessions import ClientSession, SessionPool
from raftline.client.transactions import Marks, results_of, set_if
from raftline.client.wire import (
    CLOSED_MAX,
    DEADLINE_S,
    MEMBERS,
    NO_SCRIPTS,
    OPEN,
    Waits,
    failure_of,
    is_of_the_pool,
    is_own_reply,
    members_of,
    node_options,
    once,
    piece_s,
    words_of,
)

__all__ = ["Client"]


class Client(redis.Redis):
    """A Redis client of all nodes of a cluster; thread-safe, and safe to use on both sides of a fork.

    `nodes` is "host:port,host:port,..." or a list; `learn_nodes` adds those that the cluster names. A command that has
    no reply `deadline_s` after it was given raises; every exception says by `may_have_been_applied` whether it may have
    taken effect. `options` are redis-py's, for each connection; `socket_timeout` (5 s) bounds one attempt.
    """

    def __init__(
        self,
        nodes: str | Iterable[str | Address],
        *,
        deadline_s: float = DEADLINE_S,
        learn_nodes: bool = True,
        **options: Any,
    ) -> None:
        self._options = node_options(options, Retry)
        self._deadline_s = deadline_s
        self._nodes = Nodes(parse_nodes(nodes), learns=learn_nodes)
        self._by_address: dict[Address, redis.Redis] = {}
        self._kinds = CommandKinds()
        self._sessions = SessionPool()
        super().__init__(connection_pool=self._pool(self._nodes.current))

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:  # noqa: ARG003  their signature
        """Raise TypeError: an address of one node is not enough for this client."""
        raise TypeError(f"{cls.__name__} takes the addresses of all nodes, not a URL: {cls.__name__}('host:port,...')")

    def client(self) -> Any:
        """Raise TypeError: a client of a single connection could not bridge a failover."""
        raise TypeError("this client has connections to several nodes: use it as it is")

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry out a command and return its reply, parsed as redis-py does it.

        Raises `Unavailable` at the deadline, `SessionLost`, `ReplyLost`, and redis-py's `ResponseError` for an error
        that is the command's own reply.
        """
        return self.execute_within(self._deadline_s, *args, **options)

    def execute_within(self, deadline_s: float, *args: Any, **options: Any) -> Any:
        """Carry out a command with a deadline of its own, `deadline_s` from now; else as `execute_command`."""
        options.pop("keys", None)
        words = words_of(args)
        deadline = time.monotonic() + deadline_s
        call = Call(self._kind_of(words, deadline), deadline, random.random)
        if call.kind is Kind.WAIT:
            return self._wait(args[0], words, options, deadline_s)
        if call.kind is not Kind.WRITE:
            return self._carry_out(call, args[0], lambda: words, options)
        return self._write(call, args[0], words, options)

    def lock(  # type: ignore[override]  # redis-py's is another lock
        self,
        name: Any,
        *,
        lease_s: float = LEASE_S,
        wait_s: float | None = None,
        renew: bool = True,
        on_lost: Callable[[RaftlineLock], object] | None = None,
        **theirs: Any,
    ) -> RaftlineLock:
        """Return a lock with a fencing token, to be used in `with`, or acquired and released by hand.

        It is waited for up to `wait_s` (by default the client's deadline), held for `lease_s`, and renewed three times
        a lease until it is released. `on_lost(lock)` is called if the lease is lost. redis-py's own options raise
        TypeError: its lock needs Lua scripts.
        """
        check_options(theirs)
        return RaftlineLock(
            self, name, lease_s, self._deadline_s if wait_s is None else wait_s, renew=renew, on_lost=on_lost
        )

    def pubsub(self, **kwargs: Any) -> FollowingPubSub:
        """Return redis-py's PubSub; it goes on at another node, subscribed as before, if the one it is at is gone."""
        return FollowingPubSub(self, **kwargs)

    def register_script(self, script: Any) -> Any:  # noqa: ARG002  their signature
        """Raise TypeError: raftline runs no Lua scripts, and what redis-py builds on them does not work."""
        raise TypeError(NO_SCRIPTS)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "Pipeline":  # noqa: FBT001, FBT002  theirs
        """Return redis-py's pipeline: a transaction is a write, carried out once; what is none is sent once."""
        return _Pipeline(self, self.response_callbacks, transaction, shard_hint)

    def close(self) -> None:
        """Close every connection, and some sessions as far as the node in use answers; time closes the others."""
        sessions = getattr(self, "_sessions", None)
        if sessions is None:
            return
        for session in sessions.take_some(CLOSED_MAX):
            try:
                self._attempt(self._nodes.current, ("RAFTLINE.SESSION", "CLOSE", session.id), "RAFTLINE.SESSION", {})
            except (redis.RedisError, OSError):
                break
        self._disconnect()

    def __del__(self) -> None:
        """Let go of the sockets without a word: whoever collects garbage must not wait for a network."""
        with contextlib.suppress(Exception):
            self._disconnect()

    def compare_and_set(
        self, key: Any, expected: Any, value: Any, *, px: int | None = None, keepttl: bool = False
    ) -> bool:
        """Set a key if its value is `expected` (None: if there is none), for `px` ms if given; say whether it was."""
        return self.execute_command(*set_if(key, expected, value, px, keepttl=keepttl)) is not None

    def compare_and_delete(self, key: Any, expected: Any) -> bool:
        """Remove a key if its value is `expected`; return whether it was."""
        return bool(self.execute_command("DELEX", key, "IFEQ", expected))

    # One command.

    def _wait(self, name: Any, words: tuple[Any, ...], options: dict[str, Any], deadline_s: float) -> Any:
        """Wait a while at a time; each is a write of its own, so that none is carried out twice."""
        waits = Waits(words, time.monotonic(), piece_s(self._options))
        while True:
            piece, waits_s = waits.piece(time.monotonic())
            call = Call(Kind.WRITE, time.monotonic() + waits_s + deadline_s, random.random)
            reply = self._write(call, name, piece, options)
            if reply is not None or waits.is_over(time.monotonic()):
                return reply

    def _write(self, call: Call, name: Any, words: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Carry out a write in a session of its own for as long as it takes."""
        session: ClientSession | None = None
        sequence = 0

        def wire() -> tuple[Any, ...]:
            nonlocal session, sequence
            if session is None or call.needs_session:
                session = None if call.needs_session else self._sessions.take()
                session = session or self._open_session(call)
                sequence = session.next()
                call.needs_session = False
            return once(session.id, sequence, words)

        try:
            return self._carry_out(call, name, wire, options)
        finally:
            if session is not None and not call.needs_session:
                self._sessions.give(session)

    def _open_session(self, call: Call) -> ClientSession:
        reply = self._carry_out(call.beside(), OPEN[0], lambda: OPEN, {})
        return ClientSession(int(reply))

    def _carry_out(self, call: Call, name: Any, wire: Callable[[], tuple[Any, ...]], options: dict[str, Any]) -> Any:
        """Attempt until there is a reply, or none can come any more; whatever is raised says what is certain."""
        is_sent = [False]
        try:
            while True:
                is_sent = [False]
                words = wire()
                address = self._nodes.current
                try:
                    address = self._go_to_leader()
                    reply = self._attempt(address, words, name, dict(options), is_sent)
                except (redis.RedisError, OSError) as error:
                    delay_s = call.on_failure(failure_of(error, sent=is_sent[0]), error, time.monotonic())
                    stays = call.needs_session or is_of_the_pool(error)
                except BaseException:
                    call.on_interrupted(sent=is_sent[0])
                    raise
                else:
                    self._nodes.on_answer(address)
                    return reply
                if not stays:
                    self._leave(address)
                if delay_s > 0:
                    time.sleep(delay_s)
        except BaseException as error:
            is_told = is_sent[0] and is_own_reply(error)
            note(error, may_have_been_applied=call.may_have_been_applied and not is_told)
            raise

    def _attempt(
        self,
        address: Address,
        words: tuple[Any, ...],
        name: Any,
        options: dict[str, Any],
        is_sent: list[bool] | None = None,
    ) -> Any:
        """Send a command to one node, once, and return the parsed reply; whatever fails costs the connection."""
        pool = self._pool(address)
        connection = pool.get_connection()
        try:
            if is_sent is not None:
                is_sent[0] = True
            connection.send_command(*words)
            return self._parse(connection, name, **options)
        except redis.ResponseError:
            raise
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def _parse(self, connection: Any, name: Any, **options: Any) -> Any:
        return self.parse_response(connection, name, **options)  # type: ignore[no-untyped-call]

    # Nodes.

    def _pool(self, address: Address) -> Any:
        node = self._by_address.get(address)
        if node is None:
            made = redis.Redis(host=address[0], port=address[1], **self._options)
            node = self._by_address.setdefault(address, made)
        return node.connection_pool

    def _disconnect(self) -> None:
        for node in list(self._by_address.values()):
            with contextlib.suppress(redis.RedisError, OSError):  # a peer that is gone never says goodbye to TLS
                node.close()

    def _go_to_leader(self) -> Address:
        """Ask the node in use who leads, if that is not known; return the node to ask for everything else."""
        nodes = self._nodes
        if nodes.must_ask(time.monotonic()):
            rows = self._attempt(nodes.current, MEMBERS, MEMBERS[0], {})
            nodes.learn(members_of(rows), time.monotonic())
        self.connection_pool = self._pool(nodes.current)
        return nodes.current

    def _leave(self, address: Address) -> None:
        """Go to another node, and keep no connection to this one that may be dead."""
        self._nodes.on_failure(address, time.monotonic())
        with contextlib.suppress(redis.RedisError, OSError):
            self._pool(address).disconnect(inuse_connections=False)

    def _kind_of(self, words: tuple[Any, ...], deadline: float) -> Kind:
        if not self._kinds.knows(words):
            call = Call(Kind.READ, deadline, random.random)
            self._kinds.learn(self._carry_out(call, "", lambda: ("COMMAND",), {}))
        return self._kinds.of(words)

    @property
    def deadline_s(self) -> float:
        """Return after how many seconds a command that got no reply raises."""
        return self._deadline_s

    def move_on(self, address: Address) -> Address:
        """Leave a node that failed alone for a while, and return another one."""
        self._leave(address)
        return self._nodes.current

    def connect_somewhere(self) -> tuple[Any, Any]:
        """Return a pool and a connection of it that is open, as near to the leader as possible, to be released."""
        call = Call(Kind.READ, time.monotonic() + self._deadline_s, random.random)
        while True:
            address = self._nodes.current
            try:
                address = self._go_to_leader()
                pool = self._pool(address)
                return pool, pool.get_connection()
            except (redis.RedisError, OSError) as error:
                delay_s = call.on_failure(failure_of(error, sent=False), error, time.monotonic())
                stays = is_of_the_pool(error)
            if not stays:
                self._leave(address)
            time.sleep(delay_s)


class _Pipeline(Pipeline):
    """redis-py's pipeline on whichever node answers when it is executed."""

    def __init__(self, owner: Client, callbacks: Any, transaction: bool, shard_hint: Any) -> None:  # noqa: FBT001
        self._marks = Marks()
        self._is_transaction = transaction
        super().__init__(owner.connection_pool, callbacks, transaction, shard_hint)
        self._owner = owner

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry a command out while keys are watched, on whichever node leads; WATCH is none of a connection here."""
        owner = self._owner
        if args[0] == "WATCH":
            encode = owner.get_encoder().encode
            keys = self._marks.with_keys(args[1:], encode)
            self._marks.learn(keys, owner.execute_command("RAFTLINE.WATCH", *keys), encode)
            self.watching = True
            return True
        if args[0] == "UNWATCH":
            self._marks.clear()
            self.watching = False
            return True
        return owner.execute_command(*args, **options)

    def reset(self) -> None:  # type: ignore[override]
        """Forget the commands and what is watched."""
        self._marks.clear()
        super().reset()

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  their signature
        """Carry the commands out: a transaction as a write like any other, exactly once, what is none as it comes.

        What is no transaction is sent once: raises `Unavailable` if a reply is missing.
        """
        if self._is_transaction or self.explicit_transaction:
            return self._execute_once(raise_on_error)
        if self.connection is None and (self.command_stack or self.watching):
            self.connection_pool, self.connection = self._owner.connect_somewhere()
        try:
            return list(super().execute(raise_on_error))
        except redis.ResponseError as error:
            note(error, may_have_been_applied=True)
            raise
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise Unavailable(
                f"no reply to a pipeline, which is not sent twice ({error})", may_have_been_applied=True
            ) from error

    def _execute_once(self, raise_on_error: bool) -> list[Any]:  # noqa: FBT001  as above
        commands = self.command_stack
        try:
            if not commands and not self.watching:
                return []
            request = self._marks.request(commands, self._owner.get_encoder().encode)
            response = self._owner.execute_command(*request)
            return results_of(self, commands, response, raise_on_error=raise_on_error)
        finally:
            self.reset()
