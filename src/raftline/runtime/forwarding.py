"""A follower passes its clients' commands on to the leader, which answers when they are applied there.

The frames ride on the peer connections beside Raft's messages, which may be repeated, delayed and reordered. A frame
is bound to the leader's term and taken at most once in it, so "not appended" is final and the command may be sent
again; if the leader changes before the answer, the outcome is unknown and says so.
"""

from collections.abc import Callable, Sequence

from raftline.core.ids import NodeId, Term
from raftline.core.messages import ForwardReply, ForwardRequest
from raftline.errors import ApplyError, ChangeRefused, NotLeader, Overloaded, ProposalLost, Stopped
from raftline.runtime.requests import Proposal

__all__ = ["ForwardedBatch", "Forwarding", "SeenFrames"]

APPLIED, RAISED, NOT_APPENDED, LOST, OVERLOADED, UNKNOWN, REFUSED = range(7)
_FRAME_BYTES_MAX = 1 << 20

_STATUS_OF: dict[type[Exception], int] = {
    ApplyError: RAISED,
    NotLeader: NOT_APPENDED,
    ProposalLost: LOST,
    Overloaded: OVERLOADED,
    ChangeRefused: REFUSED,
}


class Forwarding:
    """The requests this node has passed on and not heard of.

    Invariant: all of `_open` went to the same leader, in the same term; `_late` to an earlier one, in the order of the
    times until which its answers are waited for.
    """

    def __init__(self, origin: int, send: Callable[[NodeId, ForwardRequest], None]) -> None:
        self._origin = origin
        self._send = send
        self._number = 0
        self._open: dict[int, Sequence[Proposal]] = {}
        self._late: dict[int, tuple[float, Sequence[Proposal]]] = {}

    @property
    def waits_for_former_leader(self) -> bool:
        """Say whether a leader that was replaced may still answer."""
        return bool(self._late)

    def forward(self, leader: NodeId, term: Term, proposals: Sequence[Proposal]) -> None:
        """Send proposals to the leader of `term` in as few frames as their size allows."""
        start = size = 0
        for position, proposal in enumerate(proposals):
            size += proposal.size_bytes
            if size > _FRAME_BYTES_MAX and position > start:
                self._frame(leader, term, proposals[start:position])
                start, size = position, proposal.size_bytes
        self._frame(leader, term, proposals[start:])

    def on_reply(self, reply: ForwardReply) -> list[Proposal]:
        """Finish what the reply decides; return the proposals that were not appended and may be sent again."""
        if reply.origin != self._origin:
            return []
        proposals = self._open.pop(reply.number, ()) or self._late.pop(reply.number, (0.0, ()))[1]
        again: list[Proposal] = []
        for proposal, (status, value) in zip(proposals, reply.results, strict=False):
            if status == APPLIED:
                proposal.finish(value)
            elif status == NOT_APPENDED:
                proposal.may_take_effect = False
                again.append(proposal)
            else:
                proposal.finish(_error(status, value.decode()))
        return again

    def on_leader_changed(self, until: float) -> None:
        """Wait a little longer for the former leader: one that handed over answers everything (thesis 3.10)."""
        self._late |= {number: (until, proposals) for number, proposals in self._open.items()}
        self._open = {}

    def give_up_late(self, now: float) -> None:
        """Fail what a former leader did not answer in time: what became of it cannot be told."""
        while self._late:
            number, (until, proposals) = next(iter(self._late.items()))
            if until > now:
                return
            del self._late[number]
            for proposal in proposals:
                proposal.finish(Stopped("the leader changed before it answered: the command may still take effect"))

    def _frame(self, leader: NodeId, term: Term, proposals: Sequence[Proposal]) -> None:
        self._number += 1
        self._open[self._number] = proposals
        for proposal in proposals:
            proposal.may_take_effect = True
        commands = tuple([proposal.command for proposal in proposals])
        self._send(leader, ForwardRequest(term, self._origin, self._number, commands))


class SeenFrames:
    """Which frames of the present term came already, so that none is taken twice, or taken and refused.

    Invariant: of each origin every number up to `floor`, and those in the set, are not new.
    """

    def __init__(self, kept_max: int = 4096) -> None:
        self._kept_max = kept_max
        self._term: Term = 0
        self._seen: dict[tuple[NodeId, int], tuple[int, set[int]]] = {}

    def is_new(self, sender: NodeId, request: ForwardRequest) -> bool:
        """Say whether the frame was never seen in its term, and remember it."""
        if request.term < self._term:
            return False
        if request.term > self._term:
            self._term = request.term
            self._seen = {}
        floor, numbers = self._seen.get((sender, request.origin), (0, set()))
        if request.number <= floor or request.number in numbers:
            return False
        numbers.add(request.number)
        if len(numbers) > 2 * self._kept_max:
            floor = max(numbers) - self._kept_max
            numbers = {number for number in numbers if number > floor}
        self._seen[sender, request.origin] = (floor, numbers)
        return True


class ForwardedBatch:
    """The leader's side of one frame: collects the outcomes, answers when the last one is in.

    Invariant: `reply` is called once, with one result per command in the order of the frame.
    """

    __slots__ = ("_missing", "_reply", "_request", "_results")

    def __init__(self, request: ForwardRequest, reply: Callable[[ForwardReply], None]) -> None:
        count = len(request.commands)
        self._request = (request.origin, request.number)
        self._missing = count
        self._results: list[tuple[int, bytes]] = [(UNKNOWN, b"")] * count
        self._reply = reply

    def slot(self, position: int) -> Callable[[bytes | Exception], None]:
        """Return the callback for the command at `position`."""

        def done(outcome: bytes | Exception) -> None:
            self._results[position] = _encode(outcome)
            self._missing -= 1
            if not self._missing:
                self._reply(ForwardReply(*self._request, tuple(self._results)))

        return done


def _encode(outcome: bytes | Exception) -> tuple[int, bytes]:
    if isinstance(outcome, bytes):
        return APPLIED, outcome
    status = next((status for kind, status in _STATUS_OF.items() if isinstance(outcome, kind)), UNKNOWN)
    return status, str(outcome).encode()


def _error(status: int, text: str) -> Exception:
    for kind, known in _STATUS_OF.items():
        if status == known and kind is not NotLeader:
            return kind(text)
    return Stopped(text or "the leader could not tell the outcome: the command may still take effect")
