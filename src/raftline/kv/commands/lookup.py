"""From arguments to the row of the command table, and the rows that no client may use."""

from raftline.kv.commands import keys, server
from raftline.kv.commands.command import Arguments, Command, WriteFunction
from raftline.kv.commands.table import COMMANDS

__all__ = ["EXEC_NAME", "MESSAGE_NAMES", "TICK_NAME", "WRITES", "find_command", "find_logged"]

TICK_NAME = b"RAFTLINE.TICK"
"""Lets the log's time advance and removes expired keys; proposed by servers, never taken from a client."""

EXEC_NAME = b"RAFTLINE.EXEC"
"""Carries out a transaction: marks of watched keys, and commands as they stand in the log, each in one argument."""

MESSAGE_NAMES = frozenset({b"PUBLISH", b"SPUBLISH"})
"""They send a message and change nothing; the channel that SPUBLISH names stands where a key would."""

_execute = COMMANDS[EXEC_NAME].execute
assert _execute is not None, "its row says so"

WRITES: dict[bytes, WriteFunction] = {
    **{
        row.wire_name: row.write
        for command in COMMANDS.values()
        for row in (command, *command.subcommands)
        if row.write is not None
    },
    TICK_NAME: keys.tick,
    server.NOTIFY_NAME: server.set_notify,
    EXEC_NAME: _execute,
}
"""What may stand in the log: upper-case name → function."""

_SUBCOMMANDS = {row.name.encode(): row for command in COMMANDS.values() for row in command.subcommands}


def find_command(args: Arguments) -> Command | None:
    """Return the row for a client's command, its container's for an unknown subcommand, None for an unknown name."""
    command = COMMANDS.get(args[0].upper())
    if command is not None and command.subcommands and len(args) > 1:
        return _SUBCOMMANDS.get(command.name.encode() + b"|" + args[1].lower(), command)
    return command


def find_logged(args: Arguments) -> Command | None:
    """Return the row for a command as it stands in the log, or as a client sends it; None for an unknown name."""
    return _SUBCOMMANDS.get(args[0].lower()) or find_command(args)
