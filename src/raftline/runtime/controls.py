"""Requests to the leader itself, for other members or another leader: handed to the core, answered when it says so.

They travel and wait as proposals do, and never enter the log as commands.
"""

from collections.abc import Callable
from itertools import count

from raftline.core.changes import Remove
from raftline.core.events import ChangeRequested
from raftline.core.ready import Answer, Verdict
from raftline.errors import ChangeRefused, Stopped
from raftline.replica.commands import control_event
from raftline.replica.replica import Replica
from raftline.runtime.requests import Proposal

__all__ = ["Controls"]


class Controls:
    """Who asked for what and waits for the core's answer.

    Invariant: each request in `_open` gets exactly one answer; `hold` takes back what another leader has to decide.
    """

    __slots__ = ("_hold", "_ids", "_open", "_replica")

    def __init__(self, replica: Replica, hold: Callable[[Proposal], None]) -> None:
        self._replica = replica
        self._hold = hold
        self._open: dict[int, Proposal] = {}
        self._ids = count(1)

    def next_id(self) -> int:
        """Return a number for a request of this node's own."""
        return next(self._ids)

    def take(self, batch: list[Proposal], now: float) -> list[Proposal]:
        """Give the core, which leads, the requests among `batch`; return the commands.

        What the leader could only refuse, and will not in a moment, waits for that: the first commit of its term, the
        first answer of each voter, and the end of what it does by itself, as when it promotes a learner. Whether a
        member can be removed is asked of the state machine in the very turn in which the entry is appended.
        """
        core = self._replica.core
        for proposal in batch:
            if not proposal.is_control:
                continue
            if not core.has_settled or core.awaits_voters or core.is_changing_by_itself:
                self._hold(proposal)
                continue
            request_id = self.next_id()
            event = control_event(proposal.command, request_id)
            if event is None:
                proposal.finish(ChangeRefused("the request cannot be read: it comes from another version"))
                continue
            if isinstance(event, ChangeRequested) and isinstance(event.change, Remove):
                if self._replica.restoring is not None:
                    self._hold(proposal)  # the state machine can say nothing until then
                    continue
                try:
                    objection = self._replica.objection_to_removal(event.change.node)
                except Exception as error:  # noqa: BLE001  somebody else's code
                    objection = f"the state machine raised {type(error).__name__}: {error}"
                if objection is not None:
                    proposal.finish(ChangeRefused(objection))
                    continue
            proposal.may_take_effect = True
            self._open[request_id] = proposal
            self._replica.step(event, now)
        return [proposal for proposal in batch if not proposal.is_control]

    def on_answer(self, answer: Answer) -> None:
        """Tell whoever asked how it ended."""
        proposal = self._open.pop(answer.request_id, None)
        if proposal is None:
            return  # of this node's own
        if answer.verdict is Verdict.DONE:
            proposal.finish(b"")
        elif answer.verdict is Verdict.REFUSED:
            proposal.finish(ChangeRefused(answer.reason))
        elif answer.verdict is Verdict.UNKNOWN:
            proposal.finish(Stopped(answer.reason))
        else:
            proposal.may_take_effect = False
            self._hold(proposal)
