"""A command that waits for something to pop in a shard: it goes on waiting wherever its slot goes.

At a group with a replica here it stands in this node's queues, as in a store of one group; at any other, that group is
asked every now and then whether there is something. The pop itself is a write like any other.
"""

import asyncio
from functools import partial
from typing import Final

from raftline.errors import NotServed, ProposalError, SessionClosed
from raftline.kv.client import Client
from raftline.kv.commands.blocking import FORMS, require_timeout_s
from raftline.kv.commands.command import Arguments, Command, Refused, TaskFunction
from raftline.kv.ports import KvNode
from raftline.kv.proposals import encode_command, settle, when_readable
from raftline.kv.refusals import read_refusal, write_refusal
from raftline.kv.resp.replies import NULL, NULL_ARRAY, ZERO
from raftline.kv.sharded.errands import is_elsewhere
from raftline.kv.sharded.machine import was_done
from raftline.kv.sharded.outgoing import again_s
from raftline.kv.sharded.router import Away, Here, Place, Router
from raftline.kv.waiting import Waiter, Waiting

__all__ = ["wait_in_shard"]

_NOTHING: Final = frozenset({NULL, NULL_ARRAY})
_ASK_S: Final = 0.1
"""How often another node is asked."""


def wait_in_shard(
    router: Router, command: Command, slot: int, hold_s_max: float, session: int | None, sequence: int
) -> TaskFunction:
    """Return what waits and pops in a slot, in a session if there is one."""

    async def run(node: KvNode, client: Client, args: Arguments) -> bytes:
        return await _Wait(router, command, slot, hold_s_max, node, client, args, session, sequence).run()

    return run


class _Wait:
    """One of them."""

    def __init__(
        self,
        router: Router,
        command: Command,
        slot: int,
        hold_s_max: float,
        node: KvNode,
        client: Client,
        args: Arguments,
        session: int | None,
        sequence: int,
    ) -> None:
        if command.check is not None:
            command.check(args)
        args[0] = command.wire_name
        self._router = router
        self._slot = slot
        self._hold_s_max = hold_s_max
        self._node = node
        self._client = client
        self._args = args
        self._session = session
        self._sequence = sequence
        self._form = FORMS[command.name]
        self._waiter = Waiter(self._form, self._form.keys(args), require_timeout_s(args[self._form.timeout]))
        self._queue: Waiting | None = None
        self._unserved_since_s: float | None = None
        self._has_looked = False
        """It was certain at some moment that there was nothing, or others who come first."""

    async def run(self) -> bytes:
        """Return what was popped, null if the time was over; raises `Refused`."""
        client, tries = self._client, 0
        client.blocked = self._waiter
        try:
            while True:
                try:
                    return await self._at(self._place(tries))
                except (NotServed, ProposalError) as failure:
                    if not is_elsewhere(failure):
                        raise Refused(read_refusal(failure)) from failure
                    if self._waiter.end is not None and self._session is None and not self._must_look:
                        return self._waiter.end
                    tries += 1
                    self._leave()
                    await self._pause(tries)
        finally:
            client.blocked = None
            self._leave()
            self._waiter.close()

    @property
    def _must_look(self) -> bool:
        """Say whether null would be the end of it, though nobody knows whether there is something."""
        return self._waiter.end == NULL_ARRAY and not self._has_looked

    def _place(self, tries: int) -> Place:
        """Return where to wait; raises `Refused` with where else the client should."""
        place = self._router.place_for(self._slot, tries)
        if place is None:
            raise Refused(self._router.nobody())
        moved = self._router.redirect(self._slot, place.id, finds_slots=self._client.finds_slots)
        if moved is not None:
            raise Refused(moved)
        return place

    async def _pause(self, tries: int) -> None:
        """Wait a moment for the slot to be served; raises `Refused` if it has not been for too long."""
        now_s = asyncio.get_running_loop().time()
        if self._unserved_since_s is None:
            self._unserved_since_s = now_s
        elif now_s - self._unserved_since_s > self._hold_s_max:
            raise Refused(self._router.not_served(self._slot))
        await asyncio.sleep(again_s(tries))

    async def _at(self, place: Place) -> bytes:
        """Wait at a place; raises `NotServed` when the slot is not there, or not any more."""
        is_certain = False
        while True:
            keys = await self._filled(place, is_certain=is_certain)
            end = self._waiter.end
            if end is not None and (end != NULL_ARRAY or not (keys or self._session is not None)):
                return end
            if keys or end is not None:
                reply = await self._pop(place, keys)
                self._unserved_since_s = None
                if reply not in _NOTHING or self._session is not None:
                    return reply
                self._waiter.is_popping = False
                if self._waiter.was_filled:
                    self._waiter.wake()
            is_certain = True

    async def _filled(self, place: Place, *, is_certain: bool) -> list[bytes]:
        """Return keys that hold something to pop, when there are any; none when the waiting is over."""
        if isinstance(place, Away):
            return await self._filled_away(place)
        waiter, waiting = self._waiter, place.waiting
        self._check_served(place)
        if not is_certain:
            if await self._is_done_already(place):
                return list(waiter.keys)
            if waiting.is_worth_trying(waiter):
                return list(waiter.keys)
            await self._until_readable(place)
            self._check_served(place)
            self._unserved_since_s = None
            if waiting.is_worth_trying(waiter):
                return list(waiter.keys)
            self._has_looked = True
        if not waiter.is_queued:
            waiting.add(waiter, is_pointless=self._client.is_at_end)
            self._queue = waiting
        await waiter.until_filled()
        if waiter.end is not None:
            return []
        waiter.is_woken = False
        self._check_served(place)
        return waiting.filled(waiter)

    def _check_served(self, place: Here) -> None:
        """Raise `NotServed` if nobody would wake who waits at this place for the slot."""
        if not place.serves(self._slot) or self._router.is_moved_on(place):
            raise NotServed("it was given, or the group is not here any more")

    async def _until_readable(self, place: Here) -> None:
        """Wait until the copy is level; raises `NotServed` if the group was given up here meanwhile, and `Refused`."""
        failure = await when_readable(place.group)
        if failure is None:
            return
        if is_elsewhere(failure) or self._router.is_moved_on(place):
            raise NotServed("the group was given up here") from failure
        raise Refused(read_refusal(failure))

    async def _filled_away(self, place: Away) -> list[bytes]:
        waiter, client = self._waiter, self._client
        question = encode_command([b"EXISTS", *waiter.keys])
        while waiter.end is None or self._must_look:
            there = await place.group.ask(question) != ZERO
            self._unserved_since_s = None
            self._has_looked |= not there
            if there or await self._was_done_away(place):
                return list(waiter.keys)
            client.server.waiting.check_patience(waiter, is_pointless=client.is_at_end)
            if waiter.end is not None:
                break
            await asyncio.sleep(_ASK_S)
            if self._router.here(place.id) is not None:
                raise NotServed("it is here now")
        return []

    async def _pop(self, place: Place, keys: list[bytes]) -> bytes:
        """Return what a pop came to; raises `Refused` and `NotServed`."""
        waiter = self._waiter
        waiter.is_popping, waiter.was_filled = True, False
        args = self._form.narrowed(self._args, keys) if keys else self._args
        while True:
            outcome = await _submit(place, encode_command(args), self._session, self._sequence)
            if not isinstance(outcome, SessionClosed):
                break
            assert self._session is not None, "it was in one"
            found = await self._node.find_session(self._session)
            if found is None:
                break
            try:
                await place.group.open_session(self._session, found.born)
            except SessionClosed as closed:
                outcome = closed
                break
        if isinstance(outcome, Exception) and is_elsewhere(outcome):
            waiter.is_popping = False
            raise NotServed("the group does not serve the slot, or not here") from outcome
        if isinstance(outcome, Exception):
            self._client.server.statistics.failed_requests += 1
            raise Refused(write_refusal(outcome))
        return outcome

    async def _is_done_already(self, place: Here) -> bool:
        """Say whether the session knows of this command: then its reply is remembered, and nothing is waited for."""
        if self._session is None:
            return False
        known = await place.group.find_session(self._session)
        return known is not None and known.sequence >= self._sequence

    async def _was_done_away(self, place: Away) -> bool:
        """Say the same of another node's copy: an earlier try may be on its way still, so this is asked each time."""
        if self._session is None:
            return False
        try:
            return await place.group.ask(was_done(self._session, self._sequence)) != b"0"
        except NotServed:
            return False  # that is an older node's word for a question that it does not know

    def _leave(self) -> None:
        """Stand in no queue."""
        if self._queue is not None:
            self._queue.leave(self._waiter)
            self._queue = None


async def _submit(place: Place, command: bytes, session: int | None, sequence: int) -> bytes | Exception:
    answered: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
    place.group.submit(command, partial(settle, answered), session, sequence)
    return await answered
