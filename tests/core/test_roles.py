"""The table of the protocol: complete, and in one piece."""

import typing

from raftline.core import messages
from raftline.core.messages import (
    Beat,
    ForwardReply,
    ForwardRequest,
    Message,
    RemoteCommands,
    RemoteQuery,
    RemoteReply,
)
from raftline.core.roles import HANDLED, IGNORED, IMPOSSIBLE
from raftline.core.state import Role

OTHERS = (ForwardRequest, ForwardReply, Beat, RemoteCommands, RemoteQuery, RemoteReply)
RAFT_MESSAGES = [kind for kind in typing.get_args(Message) if kind not in OTHERS]


def test_each_pair_of_role_and_message_stands_in_exactly_one_place() -> None:
    """Nothing is forgotten and nothing is decided twice."""
    for role in Role:
        for kind in RAFT_MESSAGES:
            places = [(role, kind) in table for table in (HANDLED, IGNORED, IMPOSSIBLE)]
            assert sum(places) == 1, (role, kind)
    assert len(HANDLED) + len(IGNORED) + len(IMPOSSIBLE) == len(Role) * len(RAFT_MESSAGES)


def test_every_message_is_in_the_union() -> None:
    """A message that is defined can be received."""
    defined = {getattr(messages, name) for name in messages.__all__ if name not in ("Message", "Directory")}
    assert defined == set(typing.get_args(Message))


def test_ignoring_has_a_reason() -> None:
    """The reason goes to the trace."""
    assert all(reason for reason in (*IGNORED.values(), *IMPOSSIBLE.values()))
