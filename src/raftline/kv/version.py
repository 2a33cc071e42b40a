"""What the server says it is: its own version, and the version of Redis whose commands and words it follows."""

from importlib import metadata

__all__ = ["RAFTLINE_VERSION", "REDIS_VERSION"]

REDIS_VERSION = "7.0.15"


def _own_version() -> str:
    try:
        return metadata.version("raftline")
    except metadata.PackageNotFoundError:
        return "unknown"


RAFTLINE_VERSION = _own_version()
