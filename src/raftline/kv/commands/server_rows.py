"""Rows of the command table about the server itself: its settings, and what it observes."""

from raftline.kv.commands import server, slowlog
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_server_rows"]


def add_server_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    rows = Rows(table, "server")
    _add_slowlog(rows)
    _add_config(rows)


def _add_slowlog(rows: Rows) -> None:
    rows.add_container(
        "slowlog",
        "2.2.12",
        "Look at the commands that took long.",
        (
            subcommand(
                "slowlog|get",
                -2,
                "[count]",
                "Return the latest slow commands, 10 of them unless told otherwise; -1 for all.",
                local=slowlog.slowlog_get,
                since="2.2.12",
                complexity="O(N) in the number of entries returned.",
                flags="admin",
                note="Measured from when this node took the command up until its reply was known, the way through the "
                "log included. Of commands that were sent and answered together the first stands for all; those of "
                "RAFTLINE.ONCE stand without their session.",
            ),
            subcommand(
                "slowlog|len",
                2,
                "",
                "Return how many slow commands are kept.",
                local=slowlog.slowlog_len,
                since="2.2.12",
                flags="admin",
            ),
            subcommand(
                "slowlog|reset",
                2,
                "",
                "Forget the slow commands.",
                local=slowlog.slowlog_reset,
                since="2.2.12",
                flags="admin",
            ),
        ),
    )


def _add_config(rows: Rows) -> None:
    rows.add_container(
        "config",
        "2.0.0",
        "Look at the settings of this node.",
        (
            subcommand(
                "config|get",
                -3,
                "pattern [pattern ...]",
                "Return settings whose names match.",
                local=server.config_get,
                patterns=2,
                flags="admin",
                since="2.0.0",
            ),
            subcommand(
                "config|set",
                -4,
                "name value [name value ...]",
                "Change `maxmemory` on this node until it starts again, or `notify-keyspace-events`, through "
                "the log, on all nodes for good; other settings are given when a server starts.",
                local=server.config_set,
                flags="admin",
                since="2.0.0",
            ),
            subcommand(
                "config|resetstat",
                2,
                "",
                "Set the counters of INFO stats to 0.",
                local=server.config_resetstat,
                flags="admin",
                since="2.0.0",
            ),
            subcommand(
                "config|rewrite",
                2,
                "",
                "Refused: there is no file to write to.",
                local=server.config_rewrite,
                flags="admin",
                since="2.8.0",
            ),
        ),
    )
