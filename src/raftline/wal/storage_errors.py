"""Turns what the operating system says into what an operator can act on."""

import errno

from raftline.errors import ConfigError, StorageError

__all__ = ["REMEDY", "directory_error", "storage_error"]

REMEDY = (
    "keep the directory aside. If a majority of the cluster is up without this node, start it with an empty one, and "
    "it catches up from the others (one node at a time). If not, an empty one would lose the data: see 'When the "
    "majority is lost' in docs/operations.md, or restore a backup. Never start an older copy, which votes and has "
    "forgotten what the node acknowledged since"
)
"""What to do about a damaged directory: who is empty waits for others that know more, but among empty ones alone, as in
a cluster of one, it begins anew; an older copy votes at once (C14)."""

_ADVICE = {
    errno.ENOSPC: "the disk is full: make room, then start the node again",
    errno.EDQUOT: "the disk quota is used up: raise it, then start the node again",
    errno.EIO: "the disk reports an error: check it before you start the node again",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "this user may not: check owner and permissions",
    errno.EPERM: "this user may not: check owner and permissions",
    errno.EFBIG: "a limit on the size of files is in force",
}


def directory_error(doing: str, directory: str, error: OSError) -> StorageError | ConfigError:
    """Return what to tell of a data directory that cannot be opened: a mistake if it is, or lies in, a file."""
    if isinstance(error, NotADirectoryError):
        return ConfigError(f"{directory} is a file, or lies below one, and no directory: name another data directory")
    return storage_error(doing, directory, error)


def storage_error(doing: str, path: str, error: OSError) -> StorageError:
    """Return the `StorageError` for a failed `doing` of `path`; nothing that was acknowledged is lost by it."""
    advice = _ADVICE.get(error.errno or 0, "nothing acknowledged is lost; start the node again once it is mended")
    return StorageError(f"could not {doing} {path}: {error.strerror or error} ({advice})")
