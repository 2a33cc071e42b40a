"""The writes of one connection that are held, because the group that was asked did not serve their slot.

Each goes on, to whoever may serve the slot by then, when nothing that came after it for the same slot is under way; if
any of that took effect, its time is over, because it would come too late.
"""

import asyncio
from collections import deque
from typing import Final

from raftline.errors import ProposalError, SessionClosed, Timeout
from raftline.kv.client import Client
from raftline.kv.ports import KvNode
from raftline.kv.refusals import write_refusal
from raftline.kv.reply_slots import Slot
from raftline.kv.resp.replies import error
from raftline.kv.sharded.errands import Errand, Stage
from raftline.kv.sharded.router import CLUSTER_DOWN, Place, Router

__all__ = ["Outgoing", "again_s", "moving"]

_AT_ONCE_S: Final = 0.001
_AGAIN_S: Final = 0.02
_TRIES_AT_ONCE: Final = 2


def again_s(tries: int) -> float:
    """Return when to look again for a slot that was not served: soon at somebody else's, then every now and then."""
    return _AT_ONCE_S if tries <= _TRIES_AT_ONCE else _AGAIN_S


def moving(slot: int) -> bytes:
    """Return the reply when the time is over."""
    return error(f"TRYAGAIN slot {slot} is moving: the command did not take effect")


class Outgoing:
    """Invariants: `held` writes are among the connection's slots; the timer runs while one of them is not opening."""

    __slots__ = ("_again", "_client", "_hold_s_max", "_node", "_opening", "_router", "_slots", "held")

    def __init__(self, router: Router, client: Client, node: KvNode, slots: deque[Slot], hold_s_max: float) -> None:
        """Prepare; `slots` are the connection's places of replies, in the order of its commands."""
        self._router = router
        self._client = client
        self._node = node
        self._slots = slots
        self._hold_s_max = hold_s_max
        self.held = 0
        self._again: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()

    def abandon(self) -> None:
        """Try nothing any more: the client is gone."""
        if self._again is not None:
            self._again.cancel()
        for task in self._opening:
            task.cancel()

    def holds(self, errand: Errand) -> bool:
        """Hold a new write if one for the same slot is held; return whether it is so."""
        if any(other.is_held and other.hash_slot == errand.hash_slot for other in self._errands()):
            self._hold(errand)
            return True
        return False

    def on_not_served(self, errand: Errand) -> None:
        """Hold a write that was not carried out, and look for who serves it."""
        errand.tries += 1
        self._hold(errand)

    def on_session_closed(self, errand: Errand, reason: SessionClosed) -> None:
        """Open the session where it is used for the first time, if it is open in the first group."""
        self.held += 1
        errand.stage = Stage.OPENING
        task = asyncio.get_running_loop().create_task(self._open(errand, reason))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _errands(self) -> list[Errand]:
        return [slot for slot in self._slots if isinstance(slot, Errand)]

    def _hold(self, errand: Errand) -> None:
        errand.stage = Stage.HELD
        self.held += 1
        loop = asyncio.get_running_loop()
        if errand.tries <= 1:
            errand.deadline_s = loop.time() + self._hold_s_max
        if self._again is None:
            self._again = loop.call_later(again_s(errand.tries), self._repeat)

    def _end(self, errand: Errand, reply: bytes) -> None:
        self.held -= 1
        errand.end(reply, Stage.IN_VAIN, is_reply=True)

    def _repeat(self) -> None:
        """Let everything that is held go on that can."""
        self._again = None
        chosen: dict[int, Place | None] = {}
        held = [errand for errand in self._errands() if errand.stage is Stage.HELD]
        waits = [errand for errand in held if not self._goes_on(errand, chosen)]
        if waits and self._again is None:
            delay_s = max(again_s(errand.tries) for errand in waits)
            self._again = asyncio.get_running_loop().call_later(delay_s, self._repeat)

    def _goes_on(self, errand: Errand, chosen: dict[int, Place | None]) -> bool:
        """Send a held write again, or end it; return False if it has to wait for those after it."""
        slot = errand.hash_slot
        if slot not in chosen:
            later = self._later(errand)
            is_over = any(other.stage is Stage.DONE for other in later)
            if not is_over and any(other.stage in {Stage.UNDER_WAY, Stage.OPENING} for other in later):
                return False
            if is_over or errand.deadline_s <= asyncio.get_running_loop().time():
                self._end(errand, moving(slot))
                return True
            chosen[slot] = self._router.place_for(slot, errand.tries)
        place = chosen[slot]
        refusal = CLUSTER_DOWN if place is None else self._redirect(slot, place)
        if refusal is not None or place is None:
            self._end(errand, refusal or CLUSTER_DOWN)
        else:
            self.held -= 1
            errand.stage = Stage.UNDER_WAY
            errand.place = place
            place.group.submit(errand.command, errand.done, errand.session, errand.sequence)
        return True

    def _redirect(self, slot: int, place: Place) -> bytes | None:
        return self._router.redirect(slot, place.id, finds_slots=self._client.finds_slots)

    def _later(self, errand: Errand) -> list[Errand]:
        """Return what came after a write for the same slot."""
        errands = self._errands()
        return [other for other in errands[errands.index(errand) + 1 :] if other.hash_slot == errand.hash_slot]

    async def _open(self, errand: Errand, reason: SessionClosed) -> None:
        assert errand.session is not None, "it is in one"
        failure: Exception | None = None
        group = errand.place.id
        try:
            if await self._node.find_session(errand.session) is None:
                failure = reason
            else:
                await errand.place.group.open_session(errand.session)
        except ProposalError as wrong:
            failure = Timeout(f"no session in group {group}: {wrong}", may_take_effect=False)
        self.held -= 1
        if failure is not None:
            self._client.server.statistics.failed_requests += 1
            errand.end(write_refusal(failure), Stage.IN_VAIN, is_reply=True)
            return
        errand.opened_in = group
        errand.tries += 1
        self._hold(errand)
