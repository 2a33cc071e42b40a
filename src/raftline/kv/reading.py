"""The reads of a connection that wait for one moment, carried out at that moment."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from raftline.errors import ConfigError
from raftline.kv.answers import INTERNAL_ERROR
from raftline.kv.client import Client
from raftline.kv.commands.command import Refused
from raftline.kv.machine import TICK_COMMAND
from raftline.kv.ports import KvNode
from raftline.kv.refusals import read_refusal
from raftline.kv.reply_slots import Read
from raftline.kv.store import ExpiryPending, Store
from raftline.runtime.requests import Consistency

__all__ = ["OLDER", "Reading", "Reads", "fail_reads", "run_reads"]

OLDER: Final[frozenset[Consistency]] = frozenset({"bounded", "stale"})
"""Promises that an older state keeps, too."""
_log = structlog.get_logger("raftline.kv")


class Reading(Protocol):
    """Who answers the reads of a connection."""

    def begin(self, reads: Sequence[Read]) -> None:
        """Answer reads; whoever made it is told when all are answered that can be for now."""

    def abandon(self) -> None:
        """Answer nothing any more: the client is gone."""


class Reads:
    """Answers reads from this node's copy, once it is what the client was promised; some at a time."""

    __slots__ = ("_bytes_max", "_client", "_is_older", "_node", "_on_over", "_on_some", "_reads")

    def __init__(
        self,
        client: Client,
        node: KvNode,
        bytes_max: int,
        on_some: Callable[[], object],
        on_over: Callable[[Sequence[Read]], object],
    ) -> None:
        """Prepare; `on_some` is called when some are answered and others still wait.

        `on_over` gets what was not carried out, because the replies were above `bytes_max` already.
        """
        self._client = client
        self._node = node
        self._bytes_max = bytes_max
        self._on_some = on_some
        self._on_over = on_over
        self._reads: Sequence[Read] = ()
        self._is_older = False
        """They may be answered by an older state, which is seen by that state's own time: nobody needs to be asked."""

    def abandon(self) -> None:
        """Answer nothing any more: the client is gone."""
        self._reads = ()

    def begin(self, reads: Sequence[Read]) -> None:
        """Ask for a moment at which they can be carried out; none are under way."""
        client = self._client
        self._reads, self._is_older = reads, client.reads in OLDER
        try:
            self._node.submit_read(self._on_moment, client.reads, client.staleness_s_max)
        except ConfigError as wrong:
            self._on_moment(wrong)

    def _on_moment(self, failure: Exception | None) -> None:
        """Run them: the copy is what is promised right now, or will not be."""
        reads, self._reads = self._reads, ()
        server = self._client.server
        if failure is not None:
            fail_reads(self._client, reads, failure)
            self._on_over(())
            return
        count, is_pending = run_reads(reads, server.store, 0 if self._is_older else server.now_ms(), self._bytes_max)
        if is_pending:
            self._reads = reads[count:]
            self._node.submit(TICK_COMMAND, self._on_tick)
            self._on_some()
        else:
            self._on_over(reads[count:])

    def _on_tick(self, outcome: bytes | Exception) -> None:
        """The log's time advanced; look again, and this time take its word for what is expired."""
        if isinstance(outcome, Exception):
            self._on_moment(outcome)
        else:
            self._is_older = True
            self._node.submit_read(self._on_moment)


def fail_reads(client: Client, reads: Sequence[Read], reason: Exception) -> None:
    """Answer reads that cannot be carried out."""
    reply = read_refusal(reason)
    client.server.statistics.failed_requests += len(reads)
    for read in reads:
        read.reply = b"" if read.is_silent else reply


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
