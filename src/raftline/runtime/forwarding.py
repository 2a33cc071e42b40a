"""A follower passes its clients' commands on to the leader, which answers when they are applied there.

The frames ride on the peer connections beside Raft's messages. A forwarded command is proposed at most once per
frame; if the leader changes before the answer, its outcome is unknown and says so.
"""

from collections.abc import Callable, Sequence

from raftline.core.ids import NodeId
from raftline.core.messages import ForwardReply, ForwardRequest
from raftline.errors import ApplyError, NotLeader, Overloaded, ProposalLost, Stopped
from raftline.runtime.requests import Proposal

__all__ = ["ForwardedBatch", "Forwarding"]

APPLIED, RAISED, NOT_APPENDED, LOST, OVERLOADED, UNKNOWN = range(6)
_FRAME_BYTES_MAX = 1 << 20


class Forwarding:
    """The requests this node has passed on and not heard of.

    Invariant: all of them went to the same leader, in the same term.
    """

    def __init__(self, send: Callable[[NodeId, ForwardRequest], None]) -> None:
        self._send = send
        self._next_id = 0
        self._open: dict[int, Sequence[Proposal]] = {}

    def forward(self, leader: NodeId, proposals: Sequence[Proposal]) -> None:
        """Send proposals to `leader` in as few frames as their size allows."""
        start = size = 0
        for position, proposal in enumerate(proposals):
            size += proposal.size_bytes
            if size > _FRAME_BYTES_MAX and position > start:
                self._frame(leader, proposals[start:position])
                start, size = position, proposal.size_bytes
        self._frame(leader, proposals[start:])

    def on_reply(self, reply: ForwardReply) -> list[Proposal]:
        """Finish what the reply decides; return the proposals that were not appended and may be sent again."""
        proposals = self._open.pop(reply.request_id, ())
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

    def fail_all(self, reason: str) -> None:
        """The leader changed: what became of the open requests cannot be told."""
        open_, self._open = self._open, {}
        for proposals in open_.values():
            for proposal in proposals:
                proposal.finish(Stopped(reason))

    def _frame(self, leader: NodeId, proposals: Sequence[Proposal]) -> None:
        self._next_id += 1
        self._open[self._next_id] = proposals
        for proposal in proposals:
            proposal.may_take_effect = True
        self._send(leader, ForwardRequest(self._next_id, tuple([proposal.command for proposal in proposals])))


class ForwardedBatch:
    """The leader's side of one frame: collects the outcomes, answers when the last one is in.

    Invariant: `reply` is called once, with one result per command in the order of the frame.
    """

    __slots__ = ("_missing", "_reply", "_request_id", "_results")

    def __init__(self, request_id: int, count: int, reply: Callable[[ForwardReply], None]) -> None:
        self._request_id = request_id
        self._missing = count
        self._results: list[tuple[int, bytes]] = [(UNKNOWN, b"")] * count
        self._reply = reply

    def slot(self, position: int) -> Callable[[bytes | Exception], None]:
        """Return the callback for the command at `position`."""

        def done(outcome: bytes | Exception) -> None:
            self._results[position] = _encode(outcome)
            self._missing -= 1
            if not self._missing:
                self._reply(ForwardReply(self._request_id, tuple(self._results)))

        return done


def _encode(outcome: bytes | Exception) -> tuple[int, bytes]:
    if isinstance(outcome, bytes):
        return APPLIED, outcome
    text = str(outcome).encode()
    if isinstance(outcome, ApplyError):
        return RAISED, text
    if isinstance(outcome, NotLeader):
        return NOT_APPENDED, text
    if isinstance(outcome, ProposalLost):
        return LOST, text
    if isinstance(outcome, Overloaded):
        return OVERLOADED, text
    return UNKNOWN, text


def _error(status: int, text: str) -> Exception:
    if status == RAISED:
        return ApplyError(text)
    if status == LOST:
        return ProposalLost(text)
    if status == OVERLOADED:
        return Overloaded(text)
    return Stopped(text or "the leader could not tell the outcome: the command may still take effect")
