"""How `raftline server` becomes a node of a sharded cluster: what the directory says, and the parts that this takes.

A cluster is sharded or not from its beginning, because the log of its first group is read accordingly; a file in the
data directory says so.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from raftline.cli.settings import ServerSettings
from raftline.errors import ConfigError
from raftline.kv.sharded.keeper import Keeper
from raftline.runtime.config import NodeConfig
from raftline.wal.files import OsFiles, ReadOnlyOsFiles
from raftline.wal.segment import owner_of

__all__ = ["is_marked", "is_sharded", "mark_sharded", "running_keeper", "sharded_config"]

_MARK = "sharded"
_QUIESCE_AFTER_S = 2.0
_TEXT = "This is the data directory of a node of a sharded raftline cluster.\n"


def is_sharded(settings: ServerSettings, ask_joined: Callable[[], bool]) -> bool:
    """Say whether the node is one of a sharded cluster; `ask_joined` asks the one that it joins.

    Raises `ConfigError` if it was told otherwise than the directory, or that cluster, is; or to begin with groups and
    not to be sharded, which could not be mended later.
    """
    directory = settings.data_dir
    if is_marked(directory):
        found, where = True, f"{directory} is of a sharded cluster"
    elif owner_of(ReadOnlyOsFiles(), directory) is not None:
        found, where = False, f"{directory} is of a cluster that is not sharded"
    elif settings.join:
        found = ask_joined()
        where = f"the cluster of {settings.join} is {'' if found else 'not '}sharded"
    else:
        found = settings.sharded == "on"
        if settings.groups and not found:
            raise ConfigError(f"groups: {settings.groups} groups are of a sharded cluster: say so, with --sharded")
        return found
    if settings.sharded != "auto" and found != (settings.sharded == "on"):
        raise ConfigError(
            f"sharded: {where}, and stays so: leave out `sharded`. Keys come to another cluster by its clients, as "
            "docs/sharding.md says"
        )
    return found


def is_marked(directory: str) -> bool:
    """Say whether a data directory says of itself that it is of a sharded cluster."""
    return (Path(directory) / _MARK).exists()


def mark_sharded(directory: str) -> None:
    """Write into the data directory, durably, that it is of a sharded cluster."""
    if is_marked(directory):
        return
    OsFiles().make_directory(directory)
    path = Path(directory) / _MARK
    with path.open("w", encoding="utf-8") as file:
        file.write(_TEXT)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sharded_config(config: NodeConfig) -> NodeConfig:
    """Return a node's settings for many groups: those that have nothing to do fall asleep."""
    core = msgspec.structs.replace(config.core, quiesce_after_s=_QUIESCE_AFTER_S)
    return msgspec.structs.replace(config, core=core).check()


async def running_keeper(keeper: Keeper, running: contextlib.AsyncExitStack) -> None:
    """Let the keeper work until `running` ends."""
    task = asyncio.get_running_loop().create_task(keeper.run())

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    running.push_async_callback(stop)
