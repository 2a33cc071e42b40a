"""The writes of one connection that are under way to shards, in the order in which they were sent.

One that its group did not serve is held. It goes on, to whoever may serve the slot by then, when nothing that came
after it for the same slot is under way; if any of that took effect, its time is over, because it would come too late.
"""

import asyncio
from collections import deque
from typing import Final

from raftline.core.ids import GroupId
from raftline.errors import ProposalError, SessionClosed, Timeout
from raftline.kv.client import Client
from raftline.kv.ports import KvNode
from raftline.kv.resp.replies import error
from raftline.kv.sharded.errands import Errand
from raftline.kv.sharded.router import CLUSTER_DOWN, Router
from raftline.shards.ranges import NOBODY

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
    """Invariant: the timer runs while anything is held that does not wait for its session."""

    __slots__ = ("_again", "_client", "_errands", "_held", "_node", "_opening", "_router")

    def __init__(self, router: Router, client: Client, node: KvNode) -> None:
        self._router = router
        self._client = client
        self._node = node
        self._errands: deque[Errand] = deque()
        self._held = 0
        self._again: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()

    def submit(self, errand: Errand, group: GroupId) -> None:
        """Send a new write to a group, behind those for the same slot that are held."""
        errands = self._errands
        while errands and errands[0].is_over:
            errands.popleft()
        errands.append(errand)
        if self._held and any(other.is_held and other.hash_slot == errand.hash_slot for other in errands):
            self._hold(errand)
        else:
            self._send(errand, group)

    def abandon(self) -> None:
        """Try nothing any more: the client is gone."""
        if self._again is not None:
            self._again.cancel()
        for task in self._opening:
            task.cancel()
        self._errands.clear()

    def on_not_served(self, errand: Errand) -> None:
        """Hold a write that was not carried out, and look for who serves it."""
        errand.tries += 1
        self._hold(errand)

    def on_served_elsewhere(self, errand: Errand) -> None:
        """Remember where."""
        self._router.note_served(errand.hash_slot, errand.group)

    def on_session_closed(self, errand: Errand, reason: SessionClosed) -> None:
        """Open the session where it is used for the first time, if it is open in the first group."""
        errand.is_held, self._held = True, self._held + 1
        errand.is_opening = True
        task = asyncio.get_running_loop().create_task(self._open(errand, reason))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _send(self, errand: Errand, group: GroupId) -> None:
        errand.group = group
        self._router.place(group).group.submit(errand.command, errand.done, errand.session, errand.sequence)

    def _hold(self, errand: Errand) -> None:
        errand.is_held, self._held = True, self._held + 1
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(again_s(errand.tries), self._repeat)

    def _release(self, errand: Errand) -> None:
        errand.is_held, self._held = False, self._held - 1

    def _end(self, errand: Errand, reply: bytes) -> None:
        self._release(errand)
        errand.end(reply)

    def _repeat(self) -> None:
        """Let everything that is held go on that can."""
        self._again = None
        chosen: dict[int, GroupId] = {}
        held = [errand for errand in self._errands if errand.is_held and not errand.is_opening]
        waits = [errand for errand in held if not self._goes_on(errand, chosen)]
        if waits and self._again is None:
            delay_s = max(again_s(errand.tries) for errand in waits)
            self._again = asyncio.get_running_loop().call_later(delay_s, self._repeat)

    def _goes_on(self, errand: Errand, chosen: dict[int, GroupId]) -> bool:
        """Send a held write again, or end it; return False if it has to wait for those after it."""
        slot = errand.hash_slot
        if slot not in chosen:
            later = self._later(errand)
            if any(other.is_over and other.had_effect for other in later):
                self._end(errand, moving(slot))
                return True
            if any(not (other.is_over or other.is_held) for other in later):
                return False
            if errand.deadline_s <= asyncio.get_running_loop().time():
                self._end(errand, moving(slot))
                return True
            chosen[slot] = self._router.group_for(slot, errand.tries)
        group = chosen[slot]
        refusal = self._refusal(slot, group)
        if refusal is not None:
            self._end(errand, refusal)
        else:
            self._release(errand)
            self._send(errand, group)
        return True

    def _refusal(self, slot: int, group: GroupId) -> bytes | None:
        if group == NOBODY:
            return CLUSTER_DOWN
        return self._router.redirect(slot, group, finds_slots=self._client.finds_slots)

    def _later(self, errand: Errand) -> list[Errand]:
        """Return what came after a write for the same slot."""
        errands = list(self._errands)
        return [other for other in errands[errands.index(errand) + 1 :] if other.hash_slot == errand.hash_slot]

    async def _open(self, errand: Errand, reason: SessionClosed) -> None:
        assert errand.session is not None, "it is in one"
        outcome: Exception | None = None
        try:
            if await self._node.find_session(errand.session) is None:
                outcome = reason
            else:
                place = self._router.place(errand.group)
                await place.group.open_session(errand.session)
                errand.opened_in = errand.group
        except ProposalError as failure:
            outcome = Timeout(f"no session in group {errand.group}: {failure}", may_take_effect=False)
        errand.is_opening = False
        self._release(errand)
        if outcome is not None:
            errand.end(outcome)
        else:
            self._hold(errand)
