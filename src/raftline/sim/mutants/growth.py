"""Mutants that do everything right and keep what nobody needs any more: memory, files and counts that only grow.

No promise of Raft is broken, so only runs that look at what is there after a while notice; see `raftline.sim.level`.
"""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_SERVICE = "raftline.kv.service"
_SESSIONS = "raftline.replica.sessions"
_SNAPSHOTTING = "raftline.runtime.snapshotting"
_STORE = "raftline.kv.store"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="idle_sessions_stay",
        rules=("G9",),
        does="Sessions that nobody used for long are never closed, and there is room for many.",
        patches=(
            Patch(
                _SESSIONS,
                "            while sessions:\n                oldest",
                "            while False:\n                oldest",
            ),
        ),
        bench="level",
    ),
    Mutant(
        name="count_of_reply_bytes_drifts",
        rules=("G9",),
        does="Closing a session does not give back the bytes of its reply: in the end replies are forgotten at once.",
        patches=(
            Patch(
                _SESSIONS,
                "            del self._replies[session_id]\n            self.reply_bytes -= len(session.reply)\n"
                "        return session\n",
                "            del self._replies[session_id]\n        return session\n",
            ),
        ),
        bench="level",
    ),
    Mutant(
        name="answered_waiters_stay",
        rules=("G5", "D16"),
        does="Whoever proposed an entry stays noted after the answer.",
        patches=(Patch("raftline.replica.waiters", "done = self._waiting.pop(", "done = self._waiting.get("),),
        bench="level",
    ),
    Mutant(
        name="answered_reads_stay",
        rules=("G5", "D16"),
        does="A read that was confirmed stays noted under its number.",
        patches=(
            Patch("raftline.runtime.reading", "self._confirming.pop(read_id, [])", "self._confirming.get(read_id, [])"),
        ),
        bench="level",
    ),
    Mutant(
        name="clients_that_left_stay",
        rules=("D16",),
        does="A client whose connection is gone stays in the list of clients.",
        patches=(Patch(_SERVICE, "        self.clients.pop(connection.client.id, None)\n", ""),),
        bench="level",
    ),
    Mutant(
        name="snapshots_pile_up",
        rules=("D18",),
        does="A new snapshot is written beside all earlier ones.",
        patches=(
            Patch(
                "raftline.wal.snapshot_store",
                '                self._files.remove(f"{self._directory}/{name}")\n',
                "                pass\n",
            ),
        ),
        bench="level",
    ),
    Mutant(
        name="snapshots_stay_open",
        rules=("D18",),
        does="The file of a snapshot that was taken is opened to learn its size, and not closed.",
        patches=(
            Patch(
                _SNAPSHOTTING, "        size = reader.size\n        reader.close()\n", "        size = reader.size\n"
            ),
        ),
        bench="level",
    ),
    Mutant(
        name="slots_stay_frozen",
        rules=("D16",),
        does="What a snapshot stood for stays in memory when it is written.",
        patches=(Patch(_STORE, "            self._frozen.remove(frozen)\n", "            pass\n"),),
        bench="level",
    ),
    Mutant(
        name="replaced_keys_stay",
        rules=("D16",),
        does="What a restored snapshot replaced is never given back.",
        patches=(Patch(_STORE, "        return bool(self._garbage)\n", "        return False\n"),),
        bench="level",
    ),
    Mutant(
        name="deadlines_of_expired_keys_stay",
        rules=("D16",),
        does="A key that expired is gone, and when it did stays noted.",
        patches=(Patch(_STORE, "            del deadlines[key]\n", ""),),
        bench="level",
    ),
    Mutant(
        name="deadlines_of_deleted_keys_stay_queued",
        rules=("D16",),
        does="A key that is removed before its time stays in the queue of those that are due.",
        patches=(Patch(_STORE, "            self._queue.discard(key, slot, deadline_ms)\n", ""),),
        bench="level",
    ),
    Mutant(
        name="count_of_memory_drifts",
        rules=("D16",),
        does="A deadline that is gone stays in the count of memory: in the end writes are refused.",
        patches=(Patch(_STORE, "        self.used_bytes -= DEADLINE_BYTES\n", ""),),
        bench="level",
    ),
)
