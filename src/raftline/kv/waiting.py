"""Who waits on this node for something to pop, and for which keys; nobody asks again and again.

A command that waits first makes sure, without the log, that there is nothing. Then it stands in the queues of its keys
until the store, when an entry is applied here, says that one of them was filled. Only then is a pop proposed, as any
write: of all clients on all nodes whose pops are proposed the log decides who gets what. Whoever finds nothing waits
on, in the same place. See docs/decisions/0011-waiting-and-publishing.md.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from raftline.kv.commands.blocking import Form
from raftline.kv.commands.command import Refused
from raftline.kv.resp.replies import NULL_ARRAY, error
from raftline.kv.store import Store
from raftline.kv.values.container import Container

__all__ = ["STOPPING", "UNBLOCKED", "Waiter", "Waiting"]

UNBLOCKED: Final = error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
STOPPING: Final = error("UNBLOCKED this node stops: nothing was taken, ask another one")
_TOO_MANY: Final = error("ERR too many keys are waited for on this node")


class Waiter:
    """One command that waits.

    Invariants: it stands in the queues of all of its keys or of none; `end` is set once, and no pop is proposed after,
    unless the time was over before it was known whether there is something.
    """

    __slots__ = ("_filled", "_timer", "end", "form", "is_popping", "is_queued", "is_woken", "keys", "was_filled")

    def __init__(self, form: Form, keys: Sequence[bytes], timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.form = form
        self.keys = tuple(dict.fromkeys(keys))
        self.end: bytes | None = None
        """What its client is told if nothing can be popped any more: it waited long enough."""
        self.is_queued = False
        """It stands in its queues."""
        self.is_popping = False
        """Its pop is on the way."""
        self.is_woken = False
        """There was something for it, and it has not been asked for yet."""
        self.was_filled = False
        """One of its keys was filled since its pop was proposed."""
        self._filled: asyncio.Future[None] = loop.create_future()
        self._timer = loop.call_later(timeout_s, self.give_up, NULL_ARRAY) if timeout_s else None

    @property
    def is_idle(self) -> bool:
        """Whether it does nothing but wait: nothing that could pop for it is on the way."""
        return self.is_queued and not (self.is_woken or self.is_popping)

    def give_up(self, reply: bytes) -> None:
        """Let the command end with this reply, unless its pop, if one is on the way, finds something."""
        if self.end is None:
            self.end = reply
            self._release()

    def wake(self) -> None:
        """Let it propose its pop."""
        self.is_woken = True
        self._release()

    async def until_filled(self) -> None:
        """Return when there is something to pop, or `end` is set."""
        while not self.is_woken and self.end is None:
            self._filled = asyncio.get_running_loop().create_future()
            await self._filled

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _release(self) -> None:
        if not self._filled.done():
            self._filled.set_result(None)


class Waiting:
    """All of them, in the order in which they came.

    Invariants: the store knows of the queues while there are any; while a key of a queue is known to hold something,
    as many of those who wait for it as there is something for are on their way to pop it.
    """

    __slots__ = ("_filled", "_keys_max", "_places", "_queues", "_store", "is_stopping")

    def __init__(self, store: Store, keys_max: int) -> None:
        self._store = store
        self._keys_max = keys_max
        self._queues: dict[bytes, dict[Waiter, None]] = {}
        self._places = 0
        self._filled: dict[bytes, None] = {}
        self.is_stopping = False
        """Nobody may wait any more."""

    @property
    def count(self) -> int:
        """Return how many commands wait."""
        return len(self._everybody())

    def is_worth_trying(self, waiter: Waiter) -> bool:
        """Say whether a newcomer need not wait, as far as this node knows: its keys hold something, and nobody waits.

        A key of another type is worth it in any case: it is refused.
        """
        held = [value for key in waiter.keys if (value := self._store.get(key)) is not None]
        if not all(isinstance(value, waiter.form.kind) for value in held):
            return True
        return bool(held) and not any(key in self._queues for key in waiter.keys)

    def filled(self, waiter: Waiter) -> list[bytes]:
        """Return those of a waiter's keys that hold something to pop in this node's copy."""
        return [key for key in waiter.keys if isinstance(self._store.get(key), waiter.form.kind)]

    def check_patience(self, waiter: Waiter, *, is_pointless: bool) -> None:
        """Let it end now if its client may be gone (`is_pointless`); raises `Refused` if this node stops."""
        if self.is_stopping:
            raise Refused(STOPPING)
        if is_pointless:
            waiter.give_up(NULL_ARRAY)

    def add(self, waiter: Waiter, *, is_pointless: bool = False) -> None:
        """Put a waiter with patience at the end of its keys' queues; raises `Refused` if there are too many."""
        self.check_patience(waiter, is_pointless=is_pointless)
        if waiter.end is not None:
            return
        if self._places + len(waiter.keys) > self._keys_max:
            raise Refused(_TOO_MANY)
        self._places += len(waiter.keys)
        waiter.is_queued = True
        for key in waiter.keys:
            self._queues.setdefault(key, {})[waiter] = None
        self._store.waited = self
        self.look(waiter.keys)

    def remove(self, waiter: Waiter) -> None:
        """Forget a waiter, if it is here, and that its time runs; whoever stands behind it may be next."""
        waiter.close()
        self.leave(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Let a waiter stand here no longer, though its time runs on; whoever stands behind it may be next."""
        if not waiter.is_queued:
            return
        waiter.is_queued = False
        self._places -= len(waiter.keys)
        for key in waiter.keys:
            queue = self._queues[key]
            del queue[waiter]
            if not queue:
                del self._queues[key]
        if self._queues:
            self.look(waiter.keys)
        else:
            if self._store.waited is self:
                self._store.waited = None
            self._filled.clear()

    def wake_unless(self, is_waited_for: Callable[[bytes], bool]) -> None:
        """Wake everybody whose first key need not be waited for here any more."""
        for waiter in self._everybody():
            if not is_waited_for(waiter.keys[0]) and not waiter.is_popping:
                waiter.wake()

    def stop(self) -> None:
        """Let everybody go, and nobody wait any more: this node stops."""
        self.is_stopping = True
        for waiter in self._everybody():
            waiter.give_up(STOPPING)

    def _everybody(self) -> dict[Waiter, None]:
        return dict.fromkeys(waiter for queue in self._queues.values() for waiter in queue)

    # What the store calls, while an entry is applied.

    def on_filled(self, key: bytes) -> None:
        """Note that a key holds another value than before; those who wait for it are told in a later turn."""
        if key in self._queues:
            self._note((key,))

    def on_replaced(self) -> None:
        """Note that all keys may hold other values than before."""
        self._note(self._queues)

    def _note(self, keys: Sequence[bytes] | dict[bytes, dict[Waiter, None]]) -> None:
        if not self._filled:
            asyncio.get_running_loop().call_soon(self._look_at_filled)
        for key in keys:
            self._filled[key] = None
            for waiter in self._queues[key]:
                waiter.was_filled = True

    def _look_at_filled(self) -> None:
        keys, self._filled = self._filled, {}
        self.look(list(keys))

    def look(self, keys: Sequence[bytes]) -> None:
        """Wake as many of those who wait for each key as there is something for, the first ones first."""
        for key in keys:
            queue = self._queues.get(key)
            value = self._store.get(key) if queue else None
            if queue and isinstance(value, Container):
                for waiter in _first(queue, value):
                    if not waiter.is_woken:
                        waiter.wake()


def _first(queue: dict[Waiter, None], value: Container) -> Iterator[Waiter]:
    """Yield those for whom there is something, whether or not they are on their way."""
    left = value.count
    for waiter in queue:
        if not left:
            return
        if isinstance(value, waiter.form.kind) and waiter.end is None:
            left -= 1
            if not waiter.is_popping:
                yield waiter
