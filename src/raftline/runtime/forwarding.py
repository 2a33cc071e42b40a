"""A follower passes its clients' commands on to the leader, which answers when they are applied there.

The frames ride on the peer connections beside Raft's messages, which may be repeated, delayed and reordered. A frame
is bound to the leader's term and taken at most once in it, so "not appended" is final and the command may be sent
again; if the leader changes before the answer, the outcome is unknown and says so. The commands of one node take effect
in the order in which they came: what came back goes before everything newer, or not at all.
"""

from collections.abc import Callable, Sequence

from raftline.core.config import CoreConfig
from raftline.core.ids import NodeId, Term
from raftline.core.messages import ForwardReply, ForwardRequest
from raftline.errors import (
    ApplyError,
    ChangeRefused,
    NotLeader,
    NotServed,
    OutdatedSequence,
    Overloaded,
    ProposalLost,
    ReplyForgotten,
    SessionClosed,
    Stopped,
)
from raftline.runtime.answers import SMALL_BYTES
from raftline.runtime.arrivals import Arrival, Arrivals
from raftline.runtime.config import NodeConfig
from raftline.runtime.requests import Proposal
from raftline.transport.settings import TransportSettings

__all__ = [
    "APPLIED",
    "UNKNOWN",
    "ForwardedBatch",
    "Forwarding",
    "SeenFrames",
    "decode_error",
    "encode_outcome",
    "refused",
    "reply_bytes_max",
    "without_values",
]

APPLIED, RAISED, NOT_APPENDED, LOST, OVERLOADED, UNKNOWN, REFUSED, CLOSED, OUTDATED, FORGOTTEN, NOT_SERVED = range(11)
_WITHOUT_EFFECT = (NOT_APPENDED, LOST, OVERLOADED, REFUSED)
_FRAME_BYTES_MAX = 1 << 20
_RESULT_BYTES = 16
"""What a result takes beside its value, at most."""
_SPARE_BYTES = 1 << 16
_CROWDED = b"the command was carried out, and too many replies wait to be passed on by the leader"
_TOO_LARGE = b"the command was carried out, and its reply is too large to be passed on by another node than the leader"

_STATUS_OF: dict[type[Exception], int] = {
    SessionClosed: CLOSED,
    OutdatedSequence: OUTDATED,
    ReplyForgotten: FORGOTTEN,
    NotServed: NOT_SERVED,
    ApplyError: RAISED,
    NotLeader: NOT_APPENDED,
    ProposalLost: LOST,
    Overloaded: OVERLOADED,
    ChangeRefused: REFUSED,
}


class Forwarding:
    """The requests this node has passed on and not heard of, and those that came back and wait to be sent again.

    Invariants: all of `_open` went to the same leader, in the same term; `_late` to an earlier one, in the order of the
    times until which its answers are waited for; `_held` has nothing that is older than a command which took effect,
    or may have.
    """

    def __init__(
        self, origin: int, send: Callable[[NodeId, ForwardRequest], None], config: CoreConfig | None = None
    ) -> None:
        self._origin = origin
        self._config = config or CoreConfig()
        self._send = send
        self._number = 0
        self._open: dict[int, Sequence[Proposal]] = {}
        self._late: dict[int, tuple[float, Sequence[Proposal]]] = {}
        self._held: dict[int, list[Proposal]] = {}
        self._held_controls: list[Proposal] = []
        """Requests to the leader itself that came back; no order binds them."""
        self._passed = 0
        """Frames below this one are older than something that took effect, or may have."""
        self._looked_in_vain = False
        self._waits_until: float | None = None
        """While a leader that handed over may still send something back."""

    @property
    def waits_for_former_leader(self) -> bool:
        """Say whether a leader that was replaced may still answer."""
        return bool(self._late)

    @property
    def is_holding(self) -> bool:
        """Say whether something waits to be sent again, or may come back any moment: nothing newer may go meanwhile."""
        return bool(self._held) or self._waits

    @property
    def _waits(self) -> bool:
        return self._waits_until is not None and bool(self._late)

    def forward(self, leader: NodeId, term: Term, proposals: Sequence[Proposal]) -> None:
        """Send proposals to the leader of `term` in as few frames as their size allows."""
        assert not self._held, "what came back goes first"
        start = size = 0
        for position, proposal in enumerate(proposals):
            size += proposal.size_bytes
            if size > _FRAME_BYTES_MAX and position > start:
                self._frame(leader, term, proposals[start:position])
                start, size = position, proposal.size_bytes
        self._frame(leader, term, proposals[start:])

    def on_reply(self, reply: ForwardReply) -> bool:
        """Finish what the reply decides; hold what was not appended and may be sent again.

        Returns whether it was the last one that a former leader, which handed over, owed.
        """
        if reply.origin != self._origin:
            return False
        waited = self._waits
        proposals = self._open.pop(reply.number, ()) or self._late.pop(reply.number, (0.0, ()))[1]
        held: list[Proposal] = []
        for proposal, (status, value) in zip(proposals, reply.results, strict=False):
            if status == NOT_APPENDED:
                proposal.may_take_effect = False
                (self._held_controls if proposal.is_control else held).append(proposal)
                continue
            if status not in _WITHOUT_EFFECT and not proposal.is_control:
                self._note_passed(reply.number)
                held = _give_up(held)
            proposal.finish(value if status == APPLIED else decode_error(status, value.decode()))
        if reply.number < self._passed:
            held = _give_up(held)
        if held:
            self._held[reply.number] = held
        return waited and not self._waits

    def take_held(self) -> list[Proposal]:
        """Return what came back, in the order in which it first came; everything newer goes after it.

        While something newer is under way it can only wait; at the second look, what is still overtaken is given up.
        """
        released, self._held_controls = self._held_controls, []
        if self._waits:
            return released
        newest = self._newest_under_way()
        if self._held and newest > min(self._held):
            self._looked_in_vain = not self._looked_in_vain
            if self._looked_in_vain:
                return released
            self._give_up_before(newest)
        self._looked_in_vain = False
        for number in sorted(self._held):
            released += self._held.pop(number)
        return [proposal for proposal in released if proposal.done is not None]

    def on_appended_here(self) -> None:
        """This node leads and took commands of its own: what was passed on before is older than those."""
        self._note_passed(self._number + 1)

    def on_leader_changed(self, now: float, *, handed_over: bool = False, is_gone: bool = False) -> None:
        """Wait an election timeout for answers of the former leader; not if `is_gone`: its process can give none.

        One that handed over answers everything, so newer commands wait a heartbeat for it (thesis 3.10). Else what came
        back and may be older than something taken is given up: newer commands must not wait for that.
        """
        asked, self._open = self._open, {}
        if is_gone:
            for number, proposals in asked.items():
                self._give_up_frame(number, proposals)
        else:
            until = now + self._config.election_timeout_s[1]
            self._late |= {number: (until, proposals) for number, proposals in asked.items()}
        if handed_over or not self._late:
            self._waits_until = now + self._config.heartbeat_interval_s if handed_over else None
        if not self._waits:
            self._give_up_before(self._newest_under_way())

    def stop_waiting(self, now: float) -> None:
        """Let newer commands go if the former leader had time enough to say what it did not take."""
        if self._waits_until is not None and now >= self._waits_until:
            self._waits_until = None
            self._give_up_before(self._newest_under_way())

    def give_up_late(self, now: float) -> None:
        """Fail what a former leader did not answer in time, and forget what nobody waits for any more."""
        while self._late:
            number, (until, proposals) = next(iter(self._late.items()))
            if until > now:
                break
            del self._late[number]
            self._give_up_frame(number, proposals)
        while self._open and _is_answered(next(iter(self._open.values()))):
            number = next(iter(self._open))
            del self._open[number]
            self._note_passed(number)

    def _give_up_frame(self, number: int, proposals: Sequence[Proposal]) -> None:
        """Tell everybody who waits for a frame that nobody will know what became of it."""
        self._note_passed(number)
        for proposal in proposals:
            proposal.finish(Stopped("the leader changed before it answered: the command may still take effect"))

    def _newest_under_way(self) -> int:
        """Return the newest frame that may still take effect, 0 if there is none."""
        late = [number for number, (_, proposals) in self._late.items() if _has_commands(proposals)]
        return max([number for number, proposals in self._open.items() if _has_commands(proposals)] + late, default=0)

    def _note_passed(self, number: int) -> None:
        """Something of this frame took effect, or may have: what is older must not be sent again after it."""
        self._passed = max(self._passed, number)
        self._give_up_before(number)

    def _give_up_before(self, number: int) -> None:
        for earlier in [held for held in self._held if held < number]:
            _give_up(self._held.pop(earlier))

    def _frame(self, leader: NodeId, term: Term, proposals: Sequence[Proposal]) -> None:
        self._number += 1
        self._open[self._number] = proposals
        for proposal in proposals:
            proposal.may_take_effect = True
        commands = tuple([proposal.command for proposal in proposals])
        self._send(leader, ForwardRequest(term, self._origin, self._number, commands))


class SeenFrames:
    """Which frames of the present term came already, so that none is taken twice, or late, or taken and refused."""

    __slots__ = ("_seen", "_term")

    def __init__(self) -> None:
        self._term: Term = 0
        self._seen: dict[tuple[NodeId, int], Arrivals] = {}

    def arrive(self, sender: NodeId, request: ForwardRequest) -> Arrival:
        """Say what the frame is, and remember it."""
        if request.term < self._term:
            return Arrival.REPEATED
        if request.term > self._term:
            self._term = request.term
            self._seen = {}
        seen = self._seen.get((sender, request.origin))
        if seen is None:
            seen = self._seen[sender, request.origin] = Arrivals()
        return seen.arrive(request.number)


class ForwardedBatch:
    """The leader's side of one frame: collects the outcomes, answers when the last one is in.

    Invariant: `reply` is called once, with one result per command in the order of the frame.
    """

    __slots__ = ("_bytes_max", "_missing", "_reply", "_request", "_results")

    def __init__(self, request: ForwardRequest, reply: Callable[[ForwardReply], None], bytes_max: int) -> None:
        """`bytes_max` is what one answer can carry."""
        self._bytes_max = bytes_max
        count = len(request.commands)
        self._request = (request.origin, request.number)
        self._missing = count
        self._results: list[tuple[int, bytes]] = [(UNKNOWN, b"")] * count
        self._reply = reply

    def slot(self, position: int) -> Callable[[bytes | Exception], None]:
        """Return the callback for the command at `position`."""

        def done(outcome: bytes | Exception) -> None:
            self._results[position] = encode_outcome(outcome)
            self._missing -= 1
            if not self._missing:
                self._reply(ForwardReply(*self._request, tuple(_that_fit(self._results, self._bytes_max))))

        return done


def reply_bytes_max(config: NodeConfig) -> int:
    """Return how long an answer may be to fit into one message between nodes, however their transport is set up."""
    longest = config.command_bytes_max + min(config.core.append_bytes_max, config.command_bytes_max)
    return max(TransportSettings().max_frame_bytes, longest) - _SPARE_BYTES


def _that_fit(results: Sequence[tuple[int, bytes]], left: int) -> list[tuple[int, bytes]]:
    """Return the results, without the values that one message cannot carry: those commands are told that it is so.

    Nobody would hear anything of a frame whose answer is longer than a message may be.
    """
    fitting = []
    for status, value in results:
        if len(value) + _RESULT_BYTES > left:
            status, value = FORGOTTEN, _TOO_LARGE  # noqa: PLW2901  the same, without the value
        left -= len(value) + _RESULT_BYTES
        fitting.append((status, value))
    return fitting


def without_values(reply: ForwardReply) -> ForwardReply:
    """Return what is told in place of results for which there is no room on the way."""
    results = [
        (FORGOTTEN, _CROWDED) if status == APPLIED and len(value) > SMALL_BYTES else (status, value)
        for status, value in reply.results
    ]
    return ForwardReply(reply.origin, reply.number, tuple(results))


def refused(request: ForwardRequest) -> ForwardReply:
    """Return the answer to a frame of which nothing was appended and nothing will be."""
    return ForwardReply(request.origin, request.number, ((NOT_APPENDED, b""),) * len(request.commands))


def _is_answered(proposals: Sequence[Proposal]) -> bool:
    return all(proposal.done is None for proposal in proposals)


def _has_commands(proposals: Sequence[Proposal]) -> bool:
    return any(not proposal.is_control for proposal in proposals)


def _give_up(proposals: list[Proposal]) -> list[Proposal]:
    """Tell that it is too late to send these again; return what is left of them."""
    for proposal in proposals:
        proposal.finish(ProposalLost("not taken by the leader that it was passed on to, and overtaken since"))
    return []


def encode_outcome(outcome: bytes | Exception) -> tuple[int, bytes]:
    """Return (status, value) for a result or for why there is none."""
    if isinstance(outcome, bytes):
        return APPLIED, outcome
    status = next((status for kind, status in _STATUS_OF.items() if isinstance(outcome, kind)), UNKNOWN)
    return status, str(outcome).encode(errors="backslashreplace")


def decode_error(status: int, text: str) -> Exception:
    """Return what to tell whoever proposed, of a status that is no result."""
    for kind, known in _STATUS_OF.items():
        if status == known and kind is not NotLeader:
            return kind(text)
    return Stopped(text or "the leader could not tell the outcome: the command may still take effect")
