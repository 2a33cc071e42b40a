"""Batches on their way to disk: at most one write under way, everything that waits goes out together (group commit).

Keeps `Ready`'s promise: what must wait for the disk leaves only after its own batch and every one before it.
"""

from collections.abc import Callable

from raftline.core.ids import GroupId
from raftline.core.ready import Ready
from raftline.runtime.ports import DiskThread
from raftline.wal.wal import Wal, Write

__all__ = ["Persistence"]


class Persistence:
    """Feeds the disk thread.

    Invariant: `_waiting` is empty whenever no write is under way.
    """

    def __init__(
        self,
        group: GroupId,
        wal: Wal,
        disk: DiskThread,
        on_durable: Callable[[list[Ready]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._group = group
        self._wal = wal
        self._disk = disk
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._writing: list[Ready] = []
        self._waiting: list[Ready] = []
        self.batches = 0

    @property
    def waiting_count(self) -> int:
        """Return how many batches wait for the write under way."""
        return len(self._waiting)

    def persist(self, ready: Ready) -> bool:
        """Take a `Ready`; return True if nothing of it has to wait, so that the caller goes on at once."""
        if not self._writing:
            if not ready.must_persist:
                return True
            self._write([ready])
        else:
            self._waiting.append(ready)
        return False

    def _write(self, batch: list[Ready]) -> None:
        writes = [
            Write(group=self._group, entries=ready.entries, hard_state=ready.hard_state, reset=ready.reset)
            for ready in batch
            if ready.must_persist
        ]
        self._writing = batch
        self.batches += 1
        wal = self._wal
        self._disk.submit(lambda: wal.append(writes), self._on_written)

    def _on_written(self, result: BaseException | None) -> None:
        if isinstance(result, BaseException):
            self._on_failure(result)
            return
        durable, self._writing = self._writing, []
        waiting, self._waiting = self._waiting, []
        if any(ready.must_persist for ready in waiting):
            self._write(waiting)
        else:
            durable += waiting
        self._on_durable(durable)
