"""Rows of the command table about locks."""

from raftline.kv.commands import locks
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_lock_rows"]

_NAME = (2, 2, 1)
_VERSION = 2
"""Members of an older version know no locks."""


def add_lock_rows(table: dict[bytes, Command]) -> None:
    """Add the rows to `table`."""
    Rows(table, "raftline").add_container(
        "raftline.lock",
        "1.0.0",
        "Take, keep and release locks that have a lease and a fencing token.",
        (*_changing(), *_looking()),
    )


def _changing() -> tuple[Command, ...]:
    return (
        subcommand(
            "raftline.lock|acquire",
            5,
            "name owner lease-ms",
            "Take a lock that nobody holds, or hold one's own for longer: a token, higher than any before, or "
            "the same; `-LOCKED` if somebody else holds it.",
            write=locks.acquire,
            version=_VERSION,
            check=locks.check_acquire,
            keys=_NAME,
            flags="denyoom fast",
        ),
        subcommand(
            "raftline.lock|renew",
            6,
            "name owner token lease-ms",
            "Let the lease end that long from now; `-NOTHELD` if it ran out before.",
            write=locks.renew,
            version=_VERSION,
            check=locks.check_renew,
            keys=_NAME,
            flags="fast",
        ),
        subcommand(
            "raftline.lock|release",
            5,
            "name owner token",
            "Give a lock back: 1, or `-NOTHELD`.",
            write=locks.release,
            version=_VERSION,
            check=locks.check_release,
            keys=_NAME,
            flags="fast",
        ),
    )


def _looking() -> tuple[Command, ...]:
    return (
        subcommand(
            "raftline.lock|show",
            3,
            "name",
            "Return owner, token and what is left of the lease; nil if nobody holds the lock.",
            read=locks.show,
            keys=_NAME,
            flags="fast",
        ),
        subcommand(
            "raftline.lock|list",
            -2,
            "[cursor] [MATCH pattern] [COUNT count]",
            "Walk over the locks that are held, in small steps: the next cursor, and some of them.",
            read=locks.list_,
            patterns=3,
            may_walk_all=True,
            complexity="O(COUNT) a step, O(N) in the number of keys for the whole walk.",
        ),
    )
