"""How the rows of the command table are written: what most of them share is filled in here."""

from typing import Any

from raftline.kv.commands.command import Command
from raftline.kv.commands.introspection import help_lines

__all__ = ["ALL_KEYS", "NO_KEYS", "ONE_KEY", "TWO_KEYS", "WAITING_NOTE", "Rows", "subcommand"]

ONE_KEY = (1, 1, 1)
ALL_KEYS = (1, -1, 1)
TWO_KEYS = (1, 2, 1)
NO_KEYS = (0, 0, 0)

WAITING_NOTE = (
    "What is there is popped as by any write; the waiting is done on the client's node, first come first served there. "
    "Nothing is waited for inside a transaction."
)
"""Of every command that waits for something to pop."""

_GROUPS = {"client": "connection", "object": "generic", "pubsub": "pubsub", "cluster": "cluster"}
"""Of subcommands, by their container; those of the others are about the server."""


class Rows:
    """Adds rows of one group to a table."""

    def __init__(self, table: dict[bytes, Command], group: str, **usual: Any) -> None:
        self._table = table
        self._group = group
        self._usual = usual
        """What is said once for all rows; a row may say otherwise."""

    def add(self, name: str, arity: int, syntax: str, summary: str, **more: Any) -> None:
        """Add a command; `flags` are words in one string, `write` or `readonly` before them if it `concerns_keys`."""
        self._put(
            Command(
                name=name,
                arity=arity,
                syntax=syntax,
                summary=summary,
                group=self._group,
                **_filled({**self._usual, **more}),
            )
        )

    def add_container(
        self,
        name: str,
        since: str,
        summary: str,
        subcommands: tuple[Command, ...],
        *,
        arity: int = -2,
        **more: Any,
    ) -> None:
        """Add a command that has subcommands, and their HELP."""
        lines = help_lines(name, subcommands)
        help_row = subcommand(f"{name}|help", 2, "", "Show these lines.", local=lambda _client, _args: lines)
        more = {"complexity": "Depends on the subcommand.", **more}
        rows = (*subcommands, help_row)
        self._put(
            Command(name=name, arity=arity, group=self._group, since=since, summary=summary, subcommands=rows, **more)
        )

    def _put(self, command: Command) -> None:
        assert command.wire_name not in self._table, f"{command.name} has two rows"
        self._table[command.wire_name] = command


def subcommand(name: str, arity: int, syntax: str, summary: str, **more: Any) -> Command:
    """Return the row of a subcommand, whose arity counts the container's name too."""
    container = name.partition("|")[0]
    group = _GROUPS.get(container, "raftline" if container.startswith("raftline.") else "server")
    return Command(name=name, arity=arity, syntax=syntax, summary=summary, group=group, **_filled(more))


def _filled(more: dict[str, Any]) -> dict[str, Any]:
    concerns_keys = more.pop("concerns_keys", True)
    kind = () if not concerns_keys else ("write",) if "write" in more else ("readonly",) if "read" in more else ()
    flags = kind + tuple(more.pop("flags", "").split())
    return {"since": "1.0.0", "complexity": "O(1)", **more, "flags": flags}
