"""Mutants of transactions (rules G1, G9, G14): watches that do not hold, halves, replicas that decide differently."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_TRANSACTIONS = "raftline.kv.commands.transactions"
_RESTORE = "raftline.kv.restore"
_CHANGED = "        if any(has_changed(store, key, mark) for key, mark in watched):\n            return NULL_ARRAY\n"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="watch_is_ignored",
        rules=("G1",),
        does="EXEC carries the commands out whether or not a watched key has changed.",
        patches=(Patch(_TRANSACTIONS, _CHANGED, ""),),
        bench="transactions",
    ),
    Mutant(
        name="watch_is_looked_at_before_the_log",
        rules=("G1",),
        does="Whether a watched key has changed is decided by the node that is asked, before EXEC is proposed.",
        patches=(
            Patch(_TRANSACTIONS, _CHANGED, ""),
            Patch(
                "raftline.kv.queueing",
                "    commands: list[bytes] = []\n    for request in requests:\n",
                "    if any(has_changed(client.server.store, key, mark) for key, mark in watched):\n"
                "        return Entry(None, lambda _nothing: NULL_ARRAY)\n"
                "    commands: list[bytes] = []\n    for request in requests:\n",
            ),
            Patch(
                "raftline.kv.queueing",
                "encode_watched, is_inside\n",
                "encode_watched, has_changed, is_inside\n",
            ),
        ),
        bench="transactions",
    ),
    Mutant(
        name="mark_is_of_a_later_moment",
        rules=("G1",),
        does="A mark is some entries ahead of what the node has applied, so changes after the read count as seen.",
        patches=(Patch(_TRANSACTIONS, "    return store.index << 1 | (", "    return (store.index + 3) << 1 | ("),),
        bench="transactions",
    ),
    Mutant(
        name="half_a_transaction",
        rules=("G1",),
        does="Every 16th transaction ends after its first command.",
        patches=(
            Patch(
                _TRANSACTIONS,
                "            for function, is_read, row, command in steps:\n",
                "            for function, is_read, row, command in steps[: 1 if store.index % 16 == 0 else None]:\n",
            ),
        ),
        bench="transactions",
    ),
    Mutant(
        name="changes_are_not_in_the_snapshot",
        rules=("G14", "G1"),
        does="A replica that comes back from a snapshot has noted no changes.",
        patches=(Patch(_RESTORE, "            self._store.changes[cell] = index\n", "            pass\n"),),
        bench="transactions",
    ),
    Mutant(
        name="draws_in_transactions_are_each_nodes_own",
        rules=("G1",),
        does="What is drawn by a read in a transaction, another on each replica, is part of its reply.",
        patches=(
            Patch(
                "raftline.kv.commands.drawing",
                "    return draws(store) if store.step else Draws.fresh()\n",
                "    return Draws.fresh()\n",
            ),
        ),
        bench="transactions",
    ),
)
