"""Rows of the command table about the cluster: its members, backups and sessions, and how current its reads are."""

from raftline.kv.commands import cluster, reads, sessions
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_cluster_rows"]


def add_cluster_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    _add_reads(Rows(table, "connection"))
    rows = Rows(table, "raftline")
    _add_members(rows)
    _add_sessions(rows)
    rows.add(
        "raftline.transfer",
        -1,
        "[id]",
        "Have another voter lead: the one named, or the fittest; answered when it does.",
        task=cluster.transfer,
        flags="admin",
    )
    rows.add_container(
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


def _add_members(rows: Rows) -> None:
    rows.add_container(
        "raftline.member",
        "1.0.0",
        "Change who is in the group; answered when the change is committed.",
        (*_who_is_in(), *_how_they_are_in()),
    )


def _who_is_in() -> tuple[Command, ...]:
    return (
        subcommand(
            "raftline.member|add",
            -4,
            "id host:port[@busport] [LEARNER]",
            "Add a node as a learner; it votes as soon as it has caught up, unless LEARNER is given.",
            task=cluster.member_add,
            flags="admin",
        ),
        subcommand(
            "raftline.member|remove",
            3,
            "id",
            "Remove a voter or a learner; in a sharded store not one that is to hold replicas of groups.",
            task=cluster.member_remove,
            flags="admin",
        ),
        subcommand(
            "raftline.member|promote",
            3,
            "id",
            "Let a learner vote that has caught up.",
            task=cluster.member_promote,
            flags="admin",
        ),
    )


def _how_they_are_in() -> tuple[Command, ...]:
    return (
        subcommand(
            "raftline.member|move",
            4,
            "id host:port[@busport]",
            "Tell everybody that a member is at another address from now on.",
            task=cluster.member_move,
            flags="admin",
        ),
        subcommand(
            "raftline.member|priority",
            4,
            "id number",
            "Prefer a member as leader: the highest number leads; everybody starts with 0.",
            task=cluster.member_priority,
            flags="admin",
        ),
        subcommand(
            "raftline.member|list",
            2,
            "",
            "Return the members as this node knows them.",
            local=cluster.member_list,
        ),
    )


def _add_sessions(rows: Rows) -> None:
    rows.add_container(
        "raftline.session",
        "1.0.0",
        "Open a session for RAFTLINE.ONCE and return its number.",
        (
            subcommand(
                "raftline.session|close",
                3,
                "session",
                "Close a session, in a sharded store in all groups that the asked node has a part of: 1, or 0 if it "
                "was not open.",
                task=sessions.session_close,
            ),
            subcommand(
                "raftline.session|show",
                3,
                "session",
                "Return what is known of a session, in a sharded store in all groups that the asked node has a part "
                "of: last command, whether its reply is kept; nil if it is not open.",
                task=sessions.session_show,
            ),
        ),
        arity=-1,
        task=sessions.session_open,
        complexity="O(1)",
        note="An hour without a command closes it, and so does, if 10,000 are open, a new one: the least recently used "
        "goes. In a sharded store each group counts for itself (docs/sharding.md).",
    )
    rows.add(
        "raftline.once",
        -4,
        "session sequence command [argument ...]",
        "Carry out a command that writes once, however often, and on whichever node, it is sent with this number.",
        wraps=3,
        flags="movablekeys",
        complexity="That of the command.",
        note="A session has one command outstanding; the number rises with each, gaps are allowed. The last number is "
        "answered with the remembered reply. A command that reads is answered anew, and its number is not used.",
    )


def _add_reads(rows: Rows) -> None:
    rows.add(
        "readonly",
        1,
        "",
        "Let reads on this connection see this node's own copy, however old it is; no leader is needed for them.",
        local=reads.readonly,
        flags="fast",
        since="3.0.0",
    )
    rows.add(
        "readwrite",
        1,
        "",
        "Take READONLY back: reads are linearizable again.",
        local=reads.readwrite,
        flags="fast",
        since="3.0.0",
    )
