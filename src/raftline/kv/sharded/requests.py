"""What can be asked of the controller in the server, and what each comes to as a change of a configuration.

`as_change` is pure, so that anybody can try a request out on a copy before it is made.
"""

from collections.abc import Iterable, Sequence

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.errors import ChangeRefused
from raftline.shards.configuration import Change, Configuration, Leave, Move, Place, Rebalance
from raftline.shards.placement import join_of

__all__ = [
    "CHANGE_NAME",
    "KNOWS_MEMBERS",
    "AddGroups",
    "Began",
    "Request",
    "Retire",
    "as_change",
    "change_command",
    "decode_request",
]

CHANGE_NAME = b"RAFTLINE.SHARD.CHANGE"
"""What a request is called in the log."""
KNOWS_MEMBERS = 7
"""The version of commands from which on groups are for members only, once the log has said who these are."""


class AddGroups(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """New groups, whose ids and places are decided when this is applied; the slots are balanced anew."""

    count: int
    nodes: dict[NodeId, str]
    """Who can take replicas, and where each is: `host:port@busport`."""
    replicas: int = 3
    only_first: bool = False
    """Refused if there ever was a group: what several nodes may propose at the first start."""


class Retire(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A group that left holds nothing any more: nobody need host it."""

    group: GroupId


class Began(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A group has a leader and a log: it may be placed on other nodes, which its members let in, and begins once."""

    group: GroupId


Request = AddGroups | Began | Retire | Leave | Move | Place | Rebalance


_encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
"""Read the second part of a command of this name; raises `msgspec.MsgspecError`."""


def change_command(request: Request) -> bytes:
    """Return the command that stands in the log; the reply is the configuration's number, or an error in words."""
    return _encode([CHANGE_NAME, _encode(request)])


def as_change(
    request: Request, configuration: Configuration, last_group: GroupId, leaving: Iterable[Sequence[NodeId]] = ()
) -> Change:
    """Return a request as a change of a configuration; raises `ChangeRefused`. So it can be tried out beforehand.

    `leaving` says where groups are that have left and count as those do that have not.
    """
    if isinstance(request, AddGroups):
        if request.only_first and last_group:
            raise ChangeRefused("there have been groups already")
        nodes = tuple(request.nodes)
        return join_of(configuration, last_group + 1, request.count, nodes, request.replicas, leaving)
    if isinstance(request, Began | Retire):
        raise ChangeRefused("that a group has begun or is retired changes no configuration")
    return request
