"""What each exit code of `raftline` means: one table, which the documentation and the tests read too.

The numbers above 64 are those of BSD's sysexits.h where one fits, so that supervisors can tell "try again" (75) from
"somebody must look" (74, 76) and "never restart blindly" (70).
"""

import errno
from enum import IntEnum
from typing import Self

from raftline.errors import (
    CallerError,
    CorruptLog,
    DirectoryInUse,
    SafetyViolation,
    StorageError,
)

__all__ = ["ExitCode", "exit_code_of"]


_LISTEN_ERRNOS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}


class ExitCode(IntEnum):
    """The number and, as `meaning`, what it tells."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member that is an int and carries its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "Done; a server was stopped by SIGTERM or SIGINT and closed its log."
    TROUBLE = (
        1,
        "The command ran and found something wrong, or a node refused it (`status`: a member is away).",
    )
    CONFIG = 2, "A flag, variable or key of the settings file cannot be used. Nothing was started."
    FAULT = 3, "A mistake in raftline itself, in a command other than `server`; `--debug` shows where."
    UNAVAILABLE = 69, "A port is taken or an address cannot be listened on; other commands: the node does not answer."
    SAFETY = 70, "A promise of Raft was broken or the state machines differ. Keep the directory and look into it."
    STORAGE = (
        74,
        "A write or fsync failed, or the disk is full or forbidden. What was acknowledged is safe; mend it, restart.",
    )
    IN_USE = 75, "Another process holds the data directory. Stop it, or give this node its own."
    CORRUPT = (
        76,
        "A log, snapshot or backup is damaged beyond a torn tail, or half restored. Do what the message says.",
    )


_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (SafetyViolation, ExitCode.SAFETY),
    (CorruptLog, ExitCode.CORRUPT),
    (DirectoryInUse, ExitCode.IN_USE),
    (StorageError, ExitCode.STORAGE),
    (CallerError, ExitCode.CONFIG),
    (OSError, ExitCode.STORAGE),
)
"""The first type that fits counts."""


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the code with which a command or server ends that was stopped by `error`; some errors name their own."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, ExitCode):
        return own
    if _is_about_listening(error):
        return ExitCode.UNAVAILABLE
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.SAFETY)


def _is_about_listening(error: BaseException) -> bool:
    cause = error.__cause__ if isinstance(error, CallerError) else error
    return isinstance(cause, OSError) and cause.errno in _LISTEN_ERRNOS
