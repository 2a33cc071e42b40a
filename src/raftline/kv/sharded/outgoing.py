"""The writes of one connection that are held: their slot was not served, or they would overtake others.

Each goes on, to whoever may serve the slot by then, when nothing else for the same slot is under way; if anything took
effect that came after it, its time is over, because it would come too late.
"""

import asyncio
from collections import Counter, deque
from typing import Final

from raftline.errors import RaftlineError, SessionClosed, Timeout
from raftline.kv.client import Client
from raftline.kv.ports import KvNode
from raftline.kv.refusals import write_refusal
from raftline.kv.reply_slots import Slot
from raftline.kv.sharded.errands import Errand, Stage
from raftline.kv.sharded.ports import RemoteGroup, ShardGroup
from raftline.kv.sharded.router import Place, Router

__all__ = ["Outgoing", "again_s"]

_AT_ONCE_S: Final = 0.001
_AGAIN_S: Final = 0.02
_TRIES_AT_ONCE: Final = 2
_ON_ITS_WAY: Final = frozenset({Stage.UNDER_WAY, Stage.OPENING})


def again_s(tries: int) -> float:
    """Return when to look again for a slot that was not served: soon at somebody else's, then every now and then."""
    return _AT_ONCE_S if tries <= _TRIES_AT_ONCE else _AGAIN_S


class Outgoing:
    """Invariants: `_held` counts the held writes, by slot; all are among the connection's places of replies.

    The timer runs while one of them does not wait for its session. All writes for a slot that are under way went the
    way of `_ways`: each way keeps its order, and any may be faster than another.
    """

    __slots__ = ("_again", "_client", "_held", "_hold_s_max", "_node", "_opening", "_router", "_slots", "_ways")

    def __init__(self, router: Router, client: Client, node: KvNode, slots: deque[Slot], hold_s_max: float) -> None:
        """Prepare; `slots` are the connection's places of replies, in the order of its commands."""
        self._router = router
        self._client = client
        self._node = node
        self._slots = slots
        self._hold_s_max = hold_s_max
        self._held: Counter[int] = Counter()
        self._ways: dict[int, ShardGroup | RemoteGroup] = {}
        """Who was asked last, by slot: a replica here, or other nodes; while any write is under way."""
        self._again: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()

    def abandon(self) -> None:
        """Try nothing any more: the client is gone."""
        if self._again is not None:
            self._again.cancel()
        for task in self._opening:
            task.cancel()

    def has_to_wait(self, errand: Errand) -> bool:
        """Say whether a new write would overtake one for its slot: one that is held, or that went another way.

        The way changes when the slot moves, and when this node's replica begins to count, or does no longer.
        """
        slot = errand.hash_slot
        if slot in self._held:
            return True
        way = errand.place.group
        if self._ways.setdefault(slot, way) is way:
            return False
        if any(other is not errand and _is_under_way(other, slot) for other in self._slots):
            return True
        self._ways[slot] = way
        return False

    def on_all_done(self) -> None:
        """No write is under way, nor held."""
        self._ways.clear()

    def hold(self, errand: Errand) -> None:
        """Hold a write, behind those for its slot that are held."""
        self._set_aside(errand, Stage.HELD)
        loop = asyncio.get_running_loop()
        if errand.tries <= 1:
            errand.deadline_s = loop.time() + self._hold_s_max
        if self._again is None:
            self._again = loop.call_later(again_s(errand.tries), self._repeat)

    def on_not_served(self, errand: Errand) -> None:
        """Hold a write that was not carried out, and look for who serves it."""
        errand.tries += 1
        self.hold(errand)

    def on_session_closed(self, errand: Errand, reason: SessionClosed) -> None:
        """Open the session where it is used for the first time, if it is open in the first group."""
        self._set_aside(errand, Stage.OPENING)
        task = asyncio.get_running_loop().create_task(self._open(errand, reason))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _set_aside(self, errand: Errand, stage: Stage) -> None:
        errand.stage = stage
        self._held[errand.hash_slot] += 1

    def _take_up(self, errand: Errand) -> None:
        """Hold a write no longer."""
        slot = errand.hash_slot
        self._held[slot] -= 1
        if not self._held[slot]:
            del self._held[slot]

    def _end(self, errand: Errand, reply: bytes) -> None:
        self._take_up(errand)
        errand.end(reply, Stage.IN_VAIN, is_reply=True)

    def _repeat(self) -> None:
        """Let everything that is held go on that can."""
        self._again = None
        by_slot: dict[int, list[Errand]] = {slot: [] for slot in self._held}
        for errand in self._slots:
            if isinstance(errand, Errand) and errand.hash_slot in by_slot:
                by_slot[errand.hash_slot].append(errand)
        tries: list[int] = []
        for slot, errands in by_slot.items():
            if not self._is_behind_another(errands):
                self._repeat_slot(slot, errands)
                tries += [errand.tries for errand in errands if errand.stage is Stage.HELD]
            elif any(errand.stage is Stage.HELD for errand in errands):
                tries.append(_TRIES_AT_ONCE + 1)
        if tries and self._again is None:
            self._again = asyncio.get_running_loop().call_later(again_s(max(tries)), self._repeat)

    def _is_behind_another(self, errands: list[Errand]) -> bool:
        """Say whether a write on its way has to be answered before those that are held behind it go on.

        That is one that may have gone another way than theirs will be, or one whose session is being opened. Those
        behind it are not tried before, and have all of their time afterwards.
        """
        for at, errand in enumerate(errands):
            if errand.stage is Stage.HELD:
                return False
            if errand.stage in _ON_ITS_WAY:
                deadline_s = asyncio.get_running_loop().time() + self._hold_s_max
                for behind in errands[at + 1 :]:
                    if behind.stage is Stage.HELD and not behind.tries:
                        behind.deadline_s = deadline_s
                return True
        return False

    def _repeat_slot(self, slot: int, errands: list[Errand]) -> None:
        """Send the held writes to one slot again, or end them, unless they have to wait for those after them."""
        now_s = asyncio.get_running_loop().time()
        last_done = max((at for at, errand in enumerate(errands) if errand.stage is Stage.DONE), default=-1)
        held: list[Errand] = []
        for at, errand in enumerate(errands):
            if errand.stage is Stage.HELD:
                if at < last_done or errand.deadline_s <= now_s:
                    self._end(errand, self._router.not_served(slot))
                else:
                    held.append(errand)
            elif errand.stage in _ON_ITS_WAY:  # what is left before it is over if this is done; what is behind it waits
                return
        if not held:
            return
        place = self._router.place_for(slot, held[0].tries)
        refusal = self._router.nobody() if place is None else self._redirect(slot, place)
        for errand in held:
            if place is None or refusal is not None:
                self._end(errand, refusal or self._router.nobody())
            else:
                self._take_up(errand)
                self._ways[slot] = place.group
                errand.try_at(place)

    def _redirect(self, slot: int, place: Place) -> bytes | None:
        return self._router.redirect(slot, place.id, finds_slots=self._client.finds_slots)

    async def _open(self, errand: Errand, reason: SessionClosed) -> None:
        assert errand.session is not None, "it is in one"
        failure: Exception | None = None
        group = errand.place.id
        try:
            found = await self._node.find_session(errand.session)
            if found is None:
                failure = reason
            else:
                await errand.place.group.open_session(errand.session, found.born)
        except SessionClosed as closed:
            failure = closed
        except RaftlineError as wrong:
            failure = Timeout(f"no session in group {group}: {wrong}", may_take_effect=False)
        self._take_up(errand)
        if failure is not None:
            self._client.server.statistics.failed_requests += 1
            errand.end(write_refusal(failure), Stage.IN_VAIN, is_reply=True)
            return
        errand.opened_in = group
        errand.tries += 1
        self.hold(errand)


def _is_under_way(place: Slot, slot: int) -> bool:
    return isinstance(place, Errand) and place.hash_slot == slot and place.stage is Stage.UNDER_WAY
