"""Replies of commands that do not go through the log; a faulty one must not cost its client the connection."""

import structlog

from raftline.errors import RaftlineError
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Deferred, LocalFunction, Refused, TaskFunction, Unsettled
from raftline.kv.ports import KvNode
from raftline.kv.refusals import task_refusal
from raftline.kv.resp.replies import error

__all__ = ["INTERNAL_ERROR", "local_reply", "task_reply"]

_log = structlog.get_logger("raftline.kv")

INTERNAL_ERROR = error("ERR internal error: this node's log says more")


def local_reply(function: LocalFunction, client: Client, args: Arguments) -> bytes:
    """Return the reply of a local command; raises `Unsettled` and `Deferred`."""
    try:
        return function(client, args)
    except Refused as refused:
        return refused.reply
    except (Unsettled, Deferred):
        raise
    except Exception:  # noqa: BLE001  whatever it is
        _log.exception("a command failed", command=args[0])
        return INTERNAL_ERROR


async def task_reply(function: TaskFunction, node: KvNode, client: Client, args: Arguments) -> bytes:
    """Return the reply of a task, later."""
    try:
        return await function(node, client, args)
    except Refused as refused:
        return refused.reply
    except RaftlineError as error_:
        return task_refusal(error_)
    except Exception:  # noqa: BLE001  whatever it is
        _log.exception("a command failed", command=args[0])
        return INTERNAL_ERROR
