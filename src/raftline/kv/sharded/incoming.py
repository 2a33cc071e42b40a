"""The reads of one connection: those that wait together are carried out side by side, each at its own group.

A read is carried out on this node's copy of its group where there is one, at a moment when that is what was promised;
otherwise another node is asked. One whose slot is not served there at that moment is tried again elsewhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from raftline.core.ids import GroupId
from raftline.errors import ConfigError, NotServed
from raftline.kv.client import Client
from raftline.kv.limits import Limits
from raftline.kv.machine import TICK_COMMAND
from raftline.kv.ports import KvNode
from raftline.kv.proposals import settle
from raftline.kv.reading import OLDER, fail_reads, run_reads
from raftline.kv.reply_slots import Read
from raftline.kv.sharded.errands import ShardRead, is_elsewhere
from raftline.kv.sharded.machine import EXPIRY_PENDING, asked_now
from raftline.kv.sharded.outgoing import again_s
from raftline.kv.sharded.router import Away, Here, Place, Router
from raftline.runtime.requests import Consistency

__all__ = ["Incoming"]

_FIRST: Final[GroupId] = 0


async def _all(
    place: Away, queries: list[bytes], promise: Consistency, staleness_s_max: float
) -> list[bytes | BaseException]:
    """Return the answers to questions, or why there are none."""
    answers = (place.group.ask(query, promise, staleness_s_max) for query in queries)
    return await asyncio.gather(*answers, return_exceptions=True)


async def _tick(place: Away) -> None:
    """Let a group's time advance."""
    answered: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
    place.group.submit(TICK_COMMAND, partial(settle, answered))
    await answered


class Incoming:
    """Invariants: `_parts` of what waits are under way; `_held` are tried again once there are none."""

    __slots__ = (
        "_again",
        "_asking",
        "_client",
        "_held",
        "_hold_s_max",
        "_later",
        "_limits",
        "_node",
        "_on_over",
        "_parts",
        "_router",
        "is_abandoned",
    )

    def __init__(
        self,
        router: Router,
        client: Client,
        node: KvNode,
        limits: Limits,
        hold_s_max: float,
        on_over: Callable[[list[Read]], object],
    ) -> None:
        """Prepare; `on_over` gets what was not carried out, because the replies were large enough already."""
        self._router = router
        self._client = client
        self._node = node
        self._limits = limits
        self._hold_s_max = hold_s_max
        self._on_over = on_over
        self._parts = 0
        self._later: list[Read] = []
        self._held: list[ShardRead] = []
        self._again: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self.is_abandoned = False

    def abandon(self) -> None:
        """Carry nothing out any more: the client is gone."""
        self.is_abandoned = True
        if self._again is not None:
            self._again.cancel()
        for task in self._asking:
            task.cancel()

    def begin(self, reads: Sequence[Read]) -> None:
        """Carry out reads; `on_over` is called when all are answered that can be for now."""
        parts: dict[GroupId, tuple[Place | None, list[Read]]] = {}
        for read in reads:
            place = read.place if isinstance(read, ShardRead) else None
            number = _FIRST if place is None else place.id
            part = parts.get(number)
            if part is None:
                part = parts[number] = (place, [])
            part[1].append(read)
        self._parts += len(parts)
        for place, part_reads in parts.values():
            if place is None:
                self._ask_for_moment(None, part_reads, self._client.reads)
            else:
                self._begin_part(place, [read for read in part_reads if isinstance(read, ShardRead)])

    def _begin_part(self, place: Place, part: list[ShardRead]) -> None:
        promise = self._client.reads if all(read.tries == 0 for read in part) else "linearizable"
        if isinstance(place, Here):
            self._ask_for_moment(place, part, promise)
        else:
            task = asyncio.get_running_loop().create_task(self._ask(place, part, promise))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    # On this node's copy.

    def _ask_for_moment(
        self, place: Here | None, part: Sequence[Read], promise: Consistency, *, after_tick: bool = False
    ) -> None:
        node = self._node if place is None else place.group
        done = partial(self._on_moment, place, part, is_older=after_tick or promise in OLDER)
        try:
            node.submit_read(done, promise, self._client.staleness_s_max)
        except ConfigError as wrong:
            done(wrong)

    def _on_moment(
        self, place: Here | None, part: Sequence[Read], failure: Exception | None, *, is_older: bool
    ) -> None:
        """Run reads: the copy is what is promised right now, or will not be."""
        if self.is_abandoned:
            return
        if failure is not None:
            if place is not None and (is_elsewhere(failure) or self._router.is_moved_on(place)):
                self._hold_all(part)  # the group was given up here while they waited for it
            else:
                fail_reads(self._client, part, failure)
            self._end_part()
            return
        now_ms = 0 if is_older else self._client.server.now_ms()
        ready = part if place is None else self._served(place, part)
        store = self._client.server.store if place is None else place.store
        count, is_pending = run_reads(ready, store, now_ms, self._limits.output_pause_bytes)
        if is_pending:
            node = self._node if place is None else place.group
            node.submit(TICK_COMMAND, partial(self._on_tick, place, ready[count:]))
            return
        self._later += ready[count:]
        self._end_part()

    def _served(self, place: Here, part: Sequence[Read]) -> list[Read]:
        """Return the reads whose slots are served there now; the others are held."""
        ready: list[Read] = []
        serves = place.serves
        for read in part:
            assert isinstance(read, ShardRead), "it has a slot"
            if serves(read.hash_slot):
                if read.tries:
                    self._router.note_served(read.hash_slot, place.id)
                read.prepare()
                ready.append(read)
            else:
                self._hold(read)
        return ready

    def _on_tick(self, place: Here | None, part: Sequence[Read], outcome: bytes | Exception) -> None:
        """The log's time advanced; look again, and this time take its word for what is expired."""
        if isinstance(outcome, Exception):
            self._on_moment(place, part, outcome, is_older=True)
        else:
            self._ask_for_moment(place, part, "linearizable", after_tick=True)

    # On another node's.

    async def _ask(self, place: Away, part: list[ShardRead], promise: Consistency) -> None:
        queries = [read.query() for read in part]
        if promise not in OLDER:
            queries = [asked_now(query) for query in queries]
        bound_s = self._client.staleness_s_max
        replies = await _all(place, queries, promise, bound_s)
        if EXPIRY_PENDING in replies:
            await _tick(place)  # if that fails, the log's time does not advance, and what expired is still there
            replies = await _all(place, [read.query() for read in part], promise, bound_s)
        for read, reply in zip(part, replies, strict=True):
            if isinstance(reply, NotServed):
                self._hold(read)
            elif isinstance(reply, BaseException):
                if not isinstance(reply, Exception):
                    raise reply
                fail_reads(self._client, [read], reply)
            else:
                if read.tries:
                    self._router.note_served(read.hash_slot, place.id)
                read.take(reply)
        self._end_part()

    # Both.

    def _hold_all(self, reads: Sequence[Read]) -> None:
        for read in reads:
            assert isinstance(read, ShardRead), "it has a slot"
            self._hold(read)

    def _hold(self, read: ShardRead) -> None:
        if not read.tries:
            read.deadline_s = asyncio.get_running_loop().time() + self._hold_s_max
        read.tries += 1
        self._held.append(read)

    def _end_part(self) -> None:
        self._parts -= 1
        if self._parts or self.is_abandoned:
            return
        if self._held:
            delay_s = max(again_s(read.tries) for read in self._held)
            self._again = asyncio.get_running_loop().call_later(delay_s, self._repeat)
            return
        later, self._later = self._later, []
        self._on_over(later)

    def _repeat(self) -> None:
        """Try what was not served again, in the order in which it came."""
        held, self._held = self._held, []
        now = asyncio.get_running_loop().time()
        again: list[Read] = []
        for read in held:
            slot = read.hash_slot
            place = self._router.place_for(slot, read.tries)
            refusal: bytes | None = self._router.not_served(slot)
            if place is None:
                refusal = self._router.nobody()
            elif now < read.deadline_s:
                read.place = place
                finds_slots = self._client.finds_slots
                refusal = self._router.redirect(slot, place.id, finds_slots=finds_slots) if read.names_slot else None
            if refusal is None:
                again.append(read)
            else:
                read.reply = b"" if read.is_silent else refusal
        self._parts += 1
        self.begin(again)
        self._end_part()
