"""Rows of the command table that Redis does not have: the commands about the cluster."""

from raftline.kv.commands import cluster
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_cluster_rows"]


def add_cluster_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    rows = Rows(table, "raftline").add_container
    rows(
        "raftline.backup",
        "1.0.0",
        "Fetch a backup of all data, as of one moment.",
        (
            subcommand(
                "raftline.backup|begin",
                2,
                "",
                "Take a snapshot that holds everything acknowledged so far, and open it: number, size, log position.",
                task=cluster.backup_begin,
                complexity="O(N) in the number of keys stored, in slices.",
                flags="admin",
            ),
            subcommand(
                "raftline.backup|read",
                4,
                "backup offset",
                "Return the next bytes of it, at most 1 MiB, none behind its end.",
                task=cluster.backup_read,
                flags="admin",
            ),
            subcommand(
                "raftline.backup|end",
                3,
                "backup",
                "Let go of it; closing the connection does so, too.",
                local=cluster.backup_end,
                flags="admin",
            ),
        ),
    )
