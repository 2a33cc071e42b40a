"""The mark that a restore sets first and takes away last, so that half of one is never taken for a new directory.

A restore writes a snapshot, then a log that begins behind it. Interrupted in between, what is left would start as an
empty node with a vote. While the mark is there, nothing but another restore opens the directory, and that begins anew.
"""

from collections.abc import Sequence

from raftline.errors import ConfigError
from raftline.wal.files import Files
from raftline.wal.segment import segment_sequence
from raftline.wal.snapshot_store import parse_snapshot_name

__all__ = ["MARK", "begin_restoring", "clear_for_restoring", "end_restoring", "unfinished"]

MARK = "RESTORING"
_LOCK = "LOCK"
_COMMAND_BYTES_MAX = 16 << 10


def begin_restoring(files: Files, directory: str, command: str) -> None:
    """Set the mark, durably; raises `ConfigError` if there is anything but what an earlier restore left."""
    files.make_directory(directory)
    names = files.list(directory)
    if MARK not in names and set(names) - {_LOCK}:
        raise ConfigError(f"{directory} is not empty: name a directory that is not there, or empty it first")
    mark = files.open(f"{directory}/{MARK}", create=True)
    try:
        mark.truncate(0)
        mark.write_at(0, command.encode()[:_COMMAND_BYTES_MAX])
        mark.sync()
    finally:
        mark.close()
    files.sync_directory(directory)


def clear_for_restoring(files: Files, directory: str, names: Sequence[str]) -> list[str]:
    """Remove what an interrupted restore wrote; return the names that are left. The mark stays."""
    ours = [name for name in names if _is_of_the_log(name)]
    for name in ours:
        files.remove(f"{directory}/{name}")
    if ours:
        files.sync_directory(directory)
    return [name for name in names if name not in ours]


def end_restoring(files: Files, directory: str) -> None:
    """Take the mark away, durably."""
    files.remove(f"{directory}/{MARK}")
    files.sync_directory(directory)


def unfinished(files: Files, directory: str) -> str:
    """Return what to tell whoever wants to start from a directory with the mark."""
    mark = files.open(f"{directory}/{MARK}")
    try:
        command = mark.read_at(0, _COMMAND_BYTES_MAX).decode(errors="replace")
    finally:
        mark.close()
    again = f"give the command again, it begins anew: {command}" if command else "give `raftline restore` again"
    return f"{directory}: a restore was begun here and has not ended, so what it holds is not complete: {again}"


def _is_of_the_log(name: str) -> bool:
    is_log = segment_sequence(name) is not None or parse_snapshot_name(name) is not None
    return is_log or name.endswith(".tmp")
