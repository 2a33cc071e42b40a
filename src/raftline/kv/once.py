"""RAFTLINE.ONCE: what is inside it, and what of that may be there.

The command inside is looked up, counted and checked as if it had come alone; only then does its session matter.
"""

from typing import NamedTuple

from raftline.kv.commands.arguments import parse_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.limits import Limits
from raftline.kv.plans import Plan, arity_refusal, find_plan, size_refusal, unknown_refusal
from raftline.kv.resp.replies import error

__all__ = ["Once", "unwrap"]

_HEADER = 3
_BAD_SESSION = error("ERR session is not a number that RAFTLINE.SESSION gave")
_BAD_SEQUENCE = error("ERR sequence is not a number above 0: a session counts its commands 1, 2, 3, ...")


class Once(NamedTuple):
    """A command in a session: it writes, or executes others, or `plan.read` is set and the session does not matter."""

    session: int
    sequence: int
    plan: Plan
    args: Arguments


def unwrap(args: Arguments, limits: Limits, *, is_large: bool) -> Once:
    """Return what stands in `RAFTLINE.ONCE session sequence command ...`.

    Raises `Refused` with the reply to whatever cannot be carried out there.
    """
    session, sequence = parse_integer(args[1]), parse_integer(args[2])
    if session is None or session < 0:
        raise Refused(_BAD_SESSION)
    if sequence is None or sequence < 1:
        raise Refused(_BAD_SEQUENCE)
    inner = args[_HEADER:]
    plan = find_plan(inner)
    if plan is None:
        raise Refused(unknown_refusal(inner))
    if not plan.args_min <= len(inner) <= plan.args_max:
        raise Refused(arity_refusal(plan))
    if plan.command.write is None and plan.read is None and (not plan.executes or plan.name == "exec"):
        raise Refused(error(f"ERR '{plan.name}' cannot be in RAFTLINE.ONCE, which takes commands that write or read"))
    if (is_large or plan.is_looked_at) and (refusal := size_refusal(plan, inner, limits)):
        raise Refused(refusal)
    if plan.check is not None:
        plan.check(inner)
    return Once(session, sequence, plan, inner)
