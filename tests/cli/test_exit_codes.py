"""The table of exit codes and the errors that lead to them."""

import errno

import pytest

from raftline.cli.asking import NodeRefusal
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.node_info import Unreachable
from raftline.errors import ConfigError, CorruptLog, DirectoryInUse, Diverged, SafetyViolation, StorageError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (OSError(errno.EADDRINUSE, "in use"), 69),
        (SafetyViolation("x"), 70),
        (Diverged("x"), 70),
        (StorageError("x"), 74),
        (OSError(errno.ENOSPC, "full"), 74),
        (DirectoryInUse("x"), 75),
        (CorruptLog("x"), 76),
        (AssertionError("a bug"), 70),
    ],
)
def test_each_kind_of_error_ends_with_its_documented_code(error: BaseException, code: int) -> None:
    """Supervisors rely on these numbers."""
    assert exit_code_of(error) == code


def test_an_address_that_cannot_be_listened_on_is_no_mistake_in_the_settings() -> None:
    """A ConfigError that was caused by the port being taken ends with 69, so that a restart may be tried."""
    error = ConfigError("cannot listen")
    error.__cause__ = OSError(errno.EADDRINUSE, "in use")
    assert exit_code_of(error) is ExitCode.UNAVAILABLE


def test_no_code_has_two_meanings() -> None:
    """Every code is there once, and says what it tells."""
    assert len({int(code) for code in ExitCode}) == len(ExitCode.__members__) == 9
    assert all(code.meaning.endswith(".") for code in ExitCode)


def test_some_errors_name_their_own_code() -> None:
    """A node that is away and one that refuses are told apart by scripts."""
    assert exit_code_of(Unreachable("away")) is ExitCode.UNAVAILABLE
    assert exit_code_of(NodeRefusal("no")) is ExitCode.TROUBLE


def test_the_code_of_damage_sends_to_the_message() -> None:
    """A log, a backup and half a restore need different things; an empty directory alone may lose the data (C14)."""
    assert "empty" not in ExitCode.CORRUPT.meaning
    assert ExitCode.CORRUPT.meaning.endswith("Do what the message says.")
