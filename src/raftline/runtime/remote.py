"""Groups that a node does not host: their commands and questions are passed on to a node that does.

The messages ride on the peer connections, which may lose, repeat, delay and reorder them; whoever hosts the group takes
each frame once, and none that a newer one has overtaken. A command that nobody took may be sent again, elsewhere; of
one that somebody may have taken, and that has no answer, the outcome is unknown and says so. The commands of one node
for one group take effect in the order in which they came, or not at all.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message, RemoteCommands, RemoteQuery, RemoteReply
from raftline.errors import ConfigError, ProposalLost, Stopped, Timeout, TooStale
from raftline.replica.commands import open_session, wrapped
from raftline.runtime.admission import Admission
from raftline.runtime.forwarding import decode_error
from raftline.runtime.ports import Transport
from raftline.runtime.requests import Consistency, Deadlines, Proposal, Request, head_of, too_large
from raftline.runtime.turns import Turns

__all__ = ["NOT_HOSTED", "NOT_TAKEN", "NO_EFFECT", "REJECTED", "TOO_STALE", "RemoteGroup", "Remotes"]

NOT_HOSTED, NOT_TAKEN, NO_EFFECT, REJECTED, TOO_STALE = range(100, 105)
"""Statuses beside those of `ForwardReply`: that node does not host the group, or is no member, or not yet; the frame
was overtaken; no outcome in time, and there will be none; a mistake of the caller; a copy older than the question's
bound, which only who names one is told. In none of these cases was anything done."""

_FRAME_BYTES_MAX = 1 << 20
_LOOK_S = 0.05
_AVOIDED_S = 0.5
"""A node that did not host a group is not asked for it again for so long."""
_LAST_S = 10.0
"""One that did not, or gave no answer in time, is asked after the others for so long.

So is one whose copy was too old, for what has to be as new as that or newer: the bound may be one that nobody can keep.
"""
_OPEN_SESSION_TRIES = 3


class Question(Request):
    """A query on its way; asking it twice does no harm."""

    __slots__ = ("consistency", "query", "staleness_s_max")

    def __init__(
        self,
        query: bytes,
        consistency: Consistency,
        staleness_s_max: float,
        done: Callable[[bytes | Exception], None],
        deadline: float,
    ) -> None:
        super().__init__(done, deadline, len(query))
        self.query = query
        self.consistency = consistency
        self.staleness_s_max = staleness_s_max


class RemoteNode(Protocol):
    """What is needed of the node."""

    transport: Transport
    turns: Turns
    loop: asyncio.AbstractEventLoop
    admission: Admission


class _Frame:
    """What was sent together; `left` are the positions whose results have not come."""

    __slots__ = ("group", "has_answer", "is_taken", "left", "requests", "to")

    def __init__(self, group: "RemoteGroup", to: NodeId, requests: Sequence[Request]) -> None:
        self.group = group
        self.to = to
        self.requests = requests
        self.left = set(range(len(requests)))
        self.is_taken = False
        """Something of it was taken, or may have been."""
        self.has_answer = False
        """Something of it has an outcome: whoever it went to is at work."""


class Remotes:
    """Everything that one node has passed on, and what waits for a node that takes it.

    Invariants: every request is answered exactly once, at its deadline at the latest; a frame is in `_open` until its
    last result came, its connection was lost or its requests were answered.
    """

    def __init__(
        self,
        node: RemoteNode,
        draw_origin: Callable[[], int],
        *,
        is_up: Callable[[NodeId], bool],
        history: Callable[[], int],
        command_bytes_max: int,
        request_timeout_s: float,
        check_caller: Callable[[], None] = lambda: None,
    ) -> None:
        """`history` is that of the cluster: whoever is of another one takes nothing.

        `check_caller` raises where nobody may call from.
        """
        self._check_caller = check_caller
        self._node = node
        self._history = history
        self._draw_origin = draw_origin
        self._origin = 0
        self.is_up = is_up
        self.loop = node.loop
        self._command_bytes_max = command_bytes_max
        self._timeout_s = request_timeout_s
        self._deadlines: Deadlines | None = None
        """Made when it is needed, as the origin is: most nodes ask nobody, and leave all that may wait to a group."""
        self._number = 0
        self._open: dict[int, _Frame] = {}
        self._groups: dict[RemoteGroup, None] = {}
        """Those in which something waits to be sent."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._stopped: Stopped | None = None

    def group(self, group: GroupId, hosts: Callable[[], Sequence[NodeId]]) -> "RemoteGroup":
        """Return a way to a group; `hosts` says who hosts it, whoever should be asked first first."""
        if self._deadlines is None:
            self._deadlines = Deadlines(self._node.admission)
            self._origin = self._draw_origin()
        return RemoteGroup(self, group, hosts)

    def deadline(self) -> float:
        """Return until when a request that comes now may wait."""
        return self.loop.time() + self._timeout_s

    def admit(self, request: Request) -> Exception | None:
        """Watch a request's deadline; return why it cannot be taken."""
        self._check_caller()
        if self._stopped is not None:
            return self._stopped.of_nothing()
        bytes_max = self._command_bytes_max
        if request.size_bytes > bytes_max and (refusal := too_large(request, bytes_max)) is not None:
            return refusal
        deadlines = self._deadlines
        assert deadlines is not None, "made with the first group"
        if not (deadlines.add(request) or deadlines.add_after_all(request, self.loop.time())):
            return deadlines.refusal()
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_LOOK_S, self._sweep)
        return None

    def wake(self, group: "RemoteGroup") -> None:
        """Send what waits in a group in the next turn of the event loop."""
        if group not in self._groups:
            self._groups[group] = None
            self._node.turns.add(group.send)

    def forget_waiting(self, group: "RemoteGroup") -> None:
        """Nothing waits in the group any more."""
        self._groups.pop(group, None)

    def send(self, group: "RemoteGroup", to: NodeId, requests: Sequence[Request]) -> int:
        """Send a frame of commands, or one question, to a node; return its number."""
        self._number += 1
        self._open[self._number] = _Frame(group, to, requests)
        message: Message
        if isinstance(question := requests[0], Question):
            promise = question.consistency, question.staleness_s_max
            message = RemoteQuery(self._origin, self._number, question.query, *promise, self._history())
        else:
            commands = tuple([request.command for request in requests if isinstance(request, Proposal)])
            for request in requests:
                request.may_take_effect = True
            message = RemoteCommands(self._origin, self._number, commands, self._history())
        self._node.transport.send(to, group.group, message)
        return self._number

    def has_room(self, to: NodeId, size_bytes: int) -> bool:
        """Say whether a frame of this size would crowd nothing out on the way to a node."""
        return self._node.transport.has_room(to, size_bytes)

    def on_reply(self, reply: RemoteReply) -> None:
        """Finish what the reply decides; what nobody took is sent again."""
        frame = self._open.get(reply.number)
        if reply.origin != self._origin or frame is None:
            return
        for position, (status, value) in enumerate(reply.results, reply.first):
            if position not in frame.left:
                continue
            frame.left.discard(position)
            request = frame.requests[position]
            if status == NOT_HOSTED:
                request.may_take_effect = False
                continue
            if status == TOO_STALE and isinstance(request, Question):
                frame.group.note_stale(frame.to, request.staleness_s_max)
            else:
                frame.is_taken = True
                frame.has_answer = frame.has_answer or status != NO_EFFECT
            request.finish(value if status == 0 else _error(status, value.decode(errors="replace")))
        if not frame.left:
            del self._open[reply.number]
            if frame.is_taken:
                frame.group.note_host(frame.to, has_answer=frame.has_answer)
            frame.group.on_answered(reply.number, frame.requests, frame.to, is_taken=frame.is_taken)

    def on_lost(self, peer: NodeId) -> None:
        """What a node was asked and has not answered is unknown now; questions are asked again."""
        for number in [number for number, frame in self._open.items() if frame.to == peer]:
            self._give_up(number, f"the connection to {peer} was lost before it answered")

    def stop(self, error: Stopped) -> None:
        """Answer everybody who waits; what was sent may have an effect."""
        if self._stopped is not None:
            return
        self._stopped = error
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._deadlines is not None:
            of_nothing = error.of_nothing()
            self._deadlines.fail_all(lambda request: error if request.may_take_effect else of_nothing)

    def _give_up(self, number: int, why: str) -> None:
        frame = self._open.pop(number)
        questions = [request for request in frame.requests if isinstance(request, Question)]
        for request in frame.requests:
            if not isinstance(request, Question):
                request.finish(Stopped(f"{why}: the command may still take effect"))
        frame.group.on_answered(number, questions, frame.to, is_taken=not questions)

    def _sweep(self) -> None:
        """Fail what has waited too long, and try again what nobody took."""
        assert self._deadlines is not None, "something waited"
        self._deadlines.sweep(self.loop.time())
        for number in [
            number for number, frame in self._open.items() if all(request.done is None for request in frame.requests)
        ]:
            frame = self._open.pop(number)
            frame.group.note_host(frame.to, has_answer=False)
            frame.group.on_answered(number, (), frame.to, is_taken=True)
        waiting = list(self._groups)
        self._groups.clear()
        for group in waiting:
            self.wake(group)
        self._sweeper = self.loop.call_later(_LOOK_S, self._sweep) if len(self._deadlines) else None


class RemoteGroup:
    """One group that is hosted elsewhere.

    Invariants: commands are sent in the order in which they came; while some that were refused wait to be sent again,
    nothing newer is sent; what was refused and is older than something that was taken is given up; `_under_way` went
    to `_at`.
    """

    def __init__(self, remotes: Remotes, group: GroupId, hosts: Callable[[], Sequence[NodeId]]) -> None:
        self.group = group
        self._remotes = remotes
        self._hosts = hosts
        self._waiting: list[Proposal] = []
        self._questions: list[Question] = []
        self._under_way: set[int] = set()
        """Frames of commands without an answer."""
        self._at: NodeId | None = None
        """Where they went: all of them to one node, whose answers are waited for before another gets any."""
        self._refused: dict[int, list[Proposal]] = {}
        self._passed = 0
        """The newest frame of which something was taken, or may have been."""
        self._avoided: dict[NodeId, float] = {}
        """Until when a host is not asked that was asked in vain; for a while after that the others come first."""
        self._stale: dict[NodeId, tuple[float, float]] = {}
        """When a host's copy was found to be too old, and for which bound."""

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        """Propose at a node that hosts the group; `done` gets the result or the exception, once, in a later turn.

        `may_take_effect` of the exception is true unless it is certain that nothing was done.
        """
        self._propose(wrapped(command, session, sequence), done)

    async def ask(self, query: bytes, consistency: Consistency = "linearizable", staleness_s_max: float = 0.0) -> bytes:
        """Return what the state machine of a node that hosts the group answers; raises what `Node.read` raises."""
        future: asyncio.Future[bytes] = self._remotes.loop.create_future()
        question = Question(query, consistency, staleness_s_max, _settler(future), self._remotes.deadline())
        refusal = self._remotes.admit(question)
        if refusal is not None:
            raise refusal
        self._questions.append(question)
        self._remotes.wake(self)
        return await future

    async def open_session(self, session: int, born: int | None = None) -> int:
        """Open a session by an id that was drawn so that nobody guesses it, unless it is open; return the id.

        `born` and what is raised are as in `Node.open_session`. A try without an answer is repeated: opening twice does
        no harm.
        """
        for tries_left in reversed(range(_OPEN_SESSION_TRIES)):
            future: asyncio.Future[bytes] = self._remotes.loop.create_future()
            self._propose(open_session(session, born), _settler(future))
            try:
                return int(await future)
            except Stopped:
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _propose(self, command: bytes, done: Callable[[bytes | Exception], None]) -> None:
        proposal = Proposal(command, done, self._remotes.deadline())
        refusal = self._remotes.admit(proposal)
        if refusal is not None:
            self._remotes.loop.call_soon(proposal.finish, refusal)
            return
        self._waiting.append(proposal)
        self._remotes.wake(self)

    # What the node's table of requests calls.

    def send(self) -> None:
        """Send what waits, if there is a node to send it to; else it waits for the next look."""
        self._waiting = [proposal for proposal in self._waiting if proposal.done is not None]
        self._questions = [question for question in self._questions if question.done is not None]
        to = self._choose() if self._waiting or self._questions else None
        if to is not None:
            questions, self._questions = self._questions, []
            for question in questions:
                is_bounded = self._stale and question.consistency == "bounded"
                host = (self._choose(question.staleness_s_max) if is_bounded else None) or to
                self._remotes.send(self, host, [question])
            if not self._refused and (to == self._at or not self._under_way):
                self._at = to
                self._send_commands(to)
        if not self._waiting and not self._questions:
            self._remotes.forget_waiting(self)

    def on_answered(self, number: int, requests: Sequence[Request], to: NodeId, *, is_taken: bool) -> None:
        """Every request of a frame is answered, or was refused and may go elsewhere."""
        left = [request for request in requests if request.done is not None]
        if left:
            self._avoided[to] = self._remotes.loop.time() + _AVOIDED_S
        self._questions += [request for request in left if isinstance(request, Question)]
        commands = [request for request in left if isinstance(request, Proposal)]
        if is_taken:
            _give_up(commands)
        elif commands:
            self._refused[number] = commands
        if number in self._under_way:
            self._under_way.discard(number)
            if is_taken:
                self._passed = max(self._passed, number)
        if self._refused and not self._under_way:
            self._send_again()
        if self._waiting or self._questions:
            self._remotes.forget_waiting(self)
            self._remotes.wake(self)

    def note_host(self, host: NodeId, *, has_answer: bool) -> None:
        """Remember whether a host that took something had an answer to it in time."""
        if has_answer:
            self._avoided.pop(host, None)
        else:
            self._avoided[host] = self._remotes.loop.time()

    def note_stale(self, host: NodeId, staleness_s_max: float) -> None:
        """Remember that a host's copy was older than this."""
        at, known_s_max = self._stale.get(host, (float("-inf"), 0.0))
        now = self._remotes.loop.time()
        if staleness_s_max >= known_s_max or at + _LAST_S <= now:
            self._stale[host] = now, staleness_s_max

    def _send_again(self) -> None:
        """Nothing is under way: what was refused goes before everything newer, unless something newer was taken."""
        again: list[Proposal] = []
        for number in sorted(self._refused):
            if number < self._passed:
                _give_up(self._refused[number])
            else:
                again += self._refused[number]
        self._refused = {}
        self._waiting[:0] = again

    def _send_commands(self, to: NodeId) -> None:
        """Send the commands that wait, in as few frames as their size allows, as far as there is room on the way.

        What a full queue drops is lost: those that are left wait for the next look.
        """
        waiting = self._waiting
        while waiting:
            count, size_bytes = head_of(waiting, len(waiting), _FRAME_BYTES_MAX)
            if not self._remotes.has_room(to, size_bytes):
                return
            frame = waiting[:count]
            del waiting[:count]
            self._under_way.add(self._remotes.send(self, to, frame))

    def _choose(self, staleness_s_max: float = float("inf")) -> NodeId | None:
        """Return the host to ask, None if there is none that is up and did not refuse just now.

        It is the first one that was not asked in vain lately, for a copy as new as this, or else the one of which that
        is true for longest.
        """
        now = self._remotes.loop.time()
        avoided = self._avoided = {node: until for node, until in self._avoided.items() if until + _LAST_S > now}
        stale = self._stale = {node: note for node, note in self._stale.items() if note[0] + _LAST_S > now}
        in_vain = {node: at for node, (at, bound_s) in stale.items() if staleness_s_max <= bound_s}
        in_vain |= {node: max(until, in_vain.get(node, until)) for node, until in avoided.items()}
        up = [node for node in self._hosts() if self._remotes.is_up(node) and avoided.get(node, now) <= now]
        return min(up, key=lambda node: in_vain.get(node, float("-inf")), default=None)


def _settler(future: "asyncio.Future[bytes]") -> Callable[[bytes | Exception], None]:
    def done(outcome: bytes | Exception) -> None:
        if future.done():
            return
        if isinstance(outcome, bytes):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    return done


def _give_up(proposals: Sequence[Proposal]) -> None:
    for proposal in proposals:
        proposal.finish(ProposalLost("not taken by the node it was passed on to, and overtaken since"))


def _error(status: int, text: str) -> Exception:
    if status == NOT_TAKEN:
        return ProposalLost(text)
    if status == NO_EFFECT:
        return Timeout(text, may_take_effect=False)
    if status == REJECTED:
        return ConfigError(text)
    if status == TOO_STALE:
        return TooStale(text)
    return decode_error(status, text)
