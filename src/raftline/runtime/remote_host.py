"""The other side of `remote`: what nodes ask that do not host a group, answered by this node, which does.

Each frame is taken once, and none that a newer one of the same node has overtaken: so what is refused can be sent
again, and nothing takes effect twice or out of order. What comes from a cluster of another history is refused: that may
have the same name, and nodes and groups of the same names, of which one has got the address of another (C14).
"""

from collections.abc import Callable

import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import RemoteCommands, RemoteQuery, RemoteReply
from raftline.errors import (
    ApplyError,
    CallerError,
    NotMember,
    Overloaded,
    ProposalError,
    ReplyForgotten,
    Timeout,
    TooStale,
)
from raftline.runtime.arrivals import Arrival, Arrivals
from raftline.runtime.forwarding import APPLIED, UNKNOWN, encode_outcome, reply_bytes_max
from raftline.runtime.handle import GroupHandle
from raftline.runtime.host import Host
from raftline.runtime.remote import NO_EFFECT, NOT_HOSTED, NOT_TAKEN, REJECTED, TOO_STALE

__all__ = ["RemoteHost"]

_log = structlog.get_logger("raftline.node")

_REPLY_BYTES_MAX = 1 << 20
_ORIGINS_MAX = 8


class _Seen:
    """The frames that came from one life of a node; it numbers them for all groups together.

    Invariant: `_newest` is the highest number that was taken or refused for each group.
    """

    __slots__ = ("_arrivals", "_newest")

    def __init__(self) -> None:
        self._arrivals = Arrivals()
        self._newest: dict[GroupId, int] = {}

    def arrive(self, group: GroupId, number: int) -> Arrival:
        """Say what a frame is to its group, and remember it."""
        if self._arrivals.arrive(number) is Arrival.REPEATED:
            return Arrival.REPEATED
        if number < self._newest.get(group, 0):
            return Arrival.OVERTAKEN
        self._newest[group] = number
        return Arrival.NEW


class RemoteHost:
    """Answers for one node."""

    def __init__(self, host: Host, hosted: Callable[[GroupId], GroupHandle | None], history: Callable[[], int]) -> None:
        self._host = host
        self._hosted = hosted
        self._history = history
        self._strangers: dict[NodeId, int] = {}
        """The last other history of which a node was that asked."""
        self._result_bytes_max = reply_bytes_max(host.config)
        self._seen: dict[NodeId, dict[int, _Seen]] = {}
        """By sender and life."""

    def on_request(self, sender: NodeId, group: GroupId, request: RemoteCommands | RemoteQuery) -> None:
        """Take a frame, or refuse it for good; the answer comes in a later turn."""
        handle = self._hosted(group)
        if handle is not None and not handle.has_members:
            handle = None  # whoever asks goes on to a member
        if self._is_foreign(sender, request.history):
            handle = None
        reply = _Reply(self._host, sender, group, request, self._result_bytes_max)
        if isinstance(request, RemoteQuery):
            if handle is None:
                reply.settle(0, (NOT_HOSTED, b""))
            else:
                self._read(handle, request, reply)
            return
        arrival = self._arrival(sender, group, request)
        if arrival is Arrival.REPEATED:
            return
        for position, command in enumerate(request.commands):
            if handle is None:
                reply.settle(position, (NOT_HOSTED, b""))
            elif arrival is Arrival.OVERTAKEN:
                reply.settle(position, (NOT_TAKEN, b"overtaken by a newer command: not taken"))
            else:
                handle.submit_wrapped(command, reply.slot(position))

    def _is_foreign(self, sender: NodeId, history: int) -> bool:
        """Say whether a request is of another cluster's node; one whose history nobody knows is taken for ours."""
        own = self._history()
        if not own or history in (0, own):
            return False
        if self._strangers.get(sender) != history:
            self._strangers[sender] = history
            _log.warning(
                "a node of another cluster of the same name passes requests on to this one, which takes none of them: "
                "it has an address of this node, or its directory is not of this cluster; give each cluster a "
                "cluster id of its own",
                node=self._host.config.node_id, sender=sender, history=f"{own:08x}", other=f"{history:08x}",
            )  # fmt: skip
        return True

    def _arrival(self, sender: NodeId, group: GroupId, request: RemoteCommands) -> Arrival:
        origins = self._seen.setdefault(sender, {})
        seen = origins.setdefault(request.origin, _Seen())
        while len(origins) > _ORIGINS_MAX:
            del origins[next(iter(origins))]
        return seen.arrive(group, request.number)

    def _read(self, handle: GroupHandle, request: RemoteQuery, reply: "_Reply") -> None:
        def done(outcome: bytes | Exception) -> None:
            reply.settle(0, encode(outcome))

        try:
            handle.submit_query(request.query, done, request.consistency, request.staleness_s_max)  # type: ignore[arg-type]
        except CallerError as error:
            done(error)


class _Reply:
    """Collects the outcomes of one frame and answers when the last one is in, in pieces if they are large."""

    __slots__ = (
        "_group",
        "_host",
        "_is_question",
        "_missing",
        "_request",
        "_result_bytes_max",
        "_results",
        "_sender",
    )

    def __init__(
        self,
        host: Host,
        sender: NodeId,
        group: GroupId,
        request: RemoteCommands | RemoteQuery,
        result_bytes_max: int,
    ) -> None:
        """`result_bytes_max` is what one message can carry."""
        self._host = host
        self._result_bytes_max = result_bytes_max
        self._is_question = isinstance(request, RemoteQuery)
        self._sender = sender
        self._group = group
        self._request = (request.origin, request.number)
        self._missing = len(request.commands) if isinstance(request, RemoteCommands) else 1
        self._results: list[tuple[int, bytes]] = [(0, b"")] * self._missing

    def slot(self, position: int) -> Callable[[bytes | Exception], None]:
        """Return the callback for the command at `position`."""
        return lambda outcome: self.settle(position, encode(outcome))

    def settle(self, position: int, result: tuple[int, bytes]) -> None:
        """Note one outcome, or that it is too large: nobody would hear of a message that cannot be sent."""
        size, size_max = len(result[1]), self._result_bytes_max
        if size > size_max:
            large = f"the reply has {size} bytes, more than one message can carry ({size_max})"
            if self._is_question:
                result = encode(ApplyError(f"{large}: ask a node that holds a replica of the group"))
            else:
                result = encode(ReplyForgotten(f"the command was carried out, and {large} to a node without a replica"))
        self._results[position] = result
        self._missing -= 1
        if not self._missing:
            self._send()

    def _send(self) -> None:
        first = size = 0
        for position, (_, value) in enumerate(self._results):
            size += len(value)
            if size > _REPLY_BYTES_MAX and position > first:
                self._send_from(first, position)
                first, size = position, len(value)
        self._send_from(first, len(self._results))
        self._host.turns.flush_soon()

    def _send_from(self, first: int, stop: int) -> None:
        results = tuple(self._results[first:stop])

        def crowded() -> RemoteReply:
            left = tuple(self._without_value() if status == APPLIED else (status, value) for status, value in results)
            return RemoteReply(*self._request, first, left)

        answer = RemoteReply(*self._request, first, results)
        self._host.answers.send(self._sender, self._group, answer, crowded)

    def _without_value(self) -> tuple[int, bytes]:
        """Return what is told in place of a result for which there is no room."""
        crowded = "too many replies wait to be passed on to a node without a replica"
        if self._is_question:
            return encode(Overloaded(f"{crowded}: try again later"))
        return encode(ReplyForgotten(f"the command was carried out, and {crowded}"))


def encode(outcome: bytes | Exception) -> tuple[int, bytes]:
    """Return (status, value) for a result or for why there is none."""
    if isinstance(outcome, NotMember):
        return NOT_HOSTED, b""
    if isinstance(outcome, CallerError):
        return REJECTED, str(outcome).encode()
    if isinstance(outcome, TooStale):
        return TOO_STALE, str(outcome).encode()
    if isinstance(outcome, Timeout) and not outcome.may_take_effect:
        return NO_EFFECT, str(outcome).encode()
    status, value = encode_outcome(outcome)
    if isinstance(outcome, ProposalError) and not outcome.may_take_effect and status == UNKNOWN:
        return NO_EFFECT, value
    return status, value
