"""Rows of the command table about transactions."""

from raftline.kv.commands import transactions
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import ALL_KEYS, Rows
from raftline.kv.commands.transactions import Transactions
from raftline.kv.store import WATCH_VERSION

__all__ = ["add_transaction_rows"]


def add_transaction_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`, whose commands they carry out."""
    rows = Rows(table, "transactions", version=WATCH_VERSION)
    here = Rows(table, "transactions")  # they concern no other node: what is queued is, once EXEC is refused, forgotten
    carry_out = Transactions(table).carry_out
    here.add("multi", 1, "", "Queue the commands that follow.", local=transactions.multi, flags="fast", since="1.2.0")
    rows.add(
        "exec",
        1,
        "",
        "Carry the queued commands out: all of them, with nothing in between, or none.",
        execute=carry_out,
        since="1.2.0",
        complexity="That of the commands.",
        note="One entry of the log. Nil if a watched key has changed.",
    )
    here.add("discard", 1, "", "Forget the queued commands.", local=transactions.discard, flags="fast", since="2.0.0")
    rows.add(
        "watch",
        -2,
        "key [key ...]",
        "Let the next EXEC do nothing if one of the keys changes before.",
        bound=transactions.watch,
        keys=ALL_KEYS,
        flags="fast",
        since="2.2.0",
        complexity="O(N) in the number of keys.",
        note="If it fails, EXEC is refused.",
    )
    here.add("unwatch", 1, "", "Forget the watched keys.", local=transactions.unwatch, flags="fast", since="2.2.0")
    ours = Rows(table, "raftline", version=WATCH_VERSION)
    ours.add(
        "raftline.watch",
        -2,
        "key [key ...]",
        "Return a name of this history of the data and a mark of each key, for RAFTLINE.EXEC on any node.",
        bound=transactions.marks,
        keys=ALL_KEYS,
        flags="readonly fast",
        complexity="O(N) in the number of keys.",
    )
    ours.add(
        "raftline.exec",
        -4,
        "history watched command [command ...]",
        "Carry commands out as EXEC does, in one request, so that it can stand in RAFTLINE.ONCE.",
        execute=carry_out,
        flags="write",
        complexity="That of the commands.",
        note="`watched` is a MessagePack array of [key, mark], each command one of byte strings, its name first.",
    )
