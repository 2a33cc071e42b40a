"""The reads of a connection that wait for one moment, carried out at that moment."""

from collections.abc import Sequence

import structlog

from raftline.kv.answers import INTERNAL_ERROR
from raftline.kv.commands.command import Refused
from raftline.kv.reply_slots import Read
from raftline.kv.store import ExpiryPending, Store

__all__ = ["run_reads"]

_log = structlog.get_logger("raftline.kv")


def run_reads(reads: Sequence[Read], store: Store, now_ms: int, bytes_max: int) -> tuple[int, bool]:
    """Answer reads in order, and return how many; True if the next one needs the log's time to advance first.

    Not all are answered, either, once the replies are above `bytes_max`.
    """
    size = 0
    for position, slot in enumerate(reads):
        try:
            reply = slot.function(store, slot.args, now_ms)
        except ExpiryPending:
            return position, True
        except Refused as refused:
            reply = refused.reply
        except Exception:  # noqa: BLE001  a faulty command must not stop the node, whose turn this is
            _log.exception("a read failed", command=slot.args[0])
            reply = INTERNAL_ERROR
        slot.reply = b"" if slot.is_silent else reply
        size += len(reply)
        if size > bytes_max:
            return position + 1, False
    return len(reads), False
