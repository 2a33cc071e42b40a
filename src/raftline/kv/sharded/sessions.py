"""RAFTLINE.SESSION SHOW and CLOSE where a session is open in every group in which it was used."""

from functools import partial

from raftline.errors import ProposalError
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Refused, TaskFunction
from raftline.kv.commands.sessions import session_number, session_reply
from raftline.kv.ports import KvNode
from raftline.kv.refusals import read_refusal, write_refusal
from raftline.kv.resp.replies import integer
from raftline.kv.sharded.router import Router

__all__ = ["session_task"]


def session_task(router: Router, name: str) -> TaskFunction | None:
    """Return what shows or closes a session, None for a command that does neither."""
    if name == "raftline.session|show":
        return partial(_show, router)
    return partial(_close, router) if name == "raftline.session|close" else None


async def _show(router: Router, node: KvNode, _client: Client, args: Arguments) -> bytes:
    """Show what was done last in the first group or any of which a replica is here; raises `Refused`.

    The first group may have forgotten a session that is in use elsewhere: only drawing it counts as its use there.
    """
    session = session_number(args[2])
    try:
        found = await node.find_session(session)
        for place in router.all_here():
            if place.machine.knows_session(session):
                here = await place.group.find_session(session)
                found = here if here is not None and (found is None or here.sequence > found.sequence) else found
    except ProposalError as failure:
        raise Refused(read_refusal(failure)) from failure
    return session_reply(found)


async def _close(router: Router, node: KvNode, _client: Client, args: Arguments) -> bytes:
    """Close it in the first group, so that no other opens it again, then in all of which a replica is here.

    Return 1 if it was open in any of them. Given again after a failure, it goes on where it stopped.
    """
    session = session_number(args[2])
    try:
        was_open = await node.close_session(session)
        for place in router.all_here():
            if place.machine.knows_session(session):
                was_open = await place.group.close_session(session) or was_open
    except ProposalError as failure:
        raise Refused(write_refusal(failure)) from failure
    return integer(int(was_open))
