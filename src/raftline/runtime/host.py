"""What the groups of one node share: settings, clocks, the log and its thread, the connections to other nodes.

Nothing of a single group is in here, and nothing decides anything.
"""

import asyncio
from collections.abc import Callable

import msgspec

from raftline.core.ids import GroupId
from raftline.core.state import RandomSource
from raftline.replica.sessions import Sessions
from raftline.runtime.admission import Admission
from raftline.runtime.answers import Answers
from raftline.runtime.beats import Beats
from raftline.runtime.config import NodeConfig
from raftline.runtime.log_writer import LogWriter
from raftline.runtime.pace import Pace
from raftline.runtime.peers import AddressBook
from raftline.runtime.ports import Clock, DiskThread, Transport
from raftline.runtime.sharing import Shared
from raftline.runtime.stages import Stages
from raftline.runtime.turns import Turns
from raftline.wal.wal import Wal

__all__ = ["Host", "Hosting"]


class Host(msgspec.Struct, kw_only=True, eq=False):
    """One started node, as its groups see it."""

    config: NodeConfig
    loop: asyncio.AbstractEventLoop
    thread: int
    """The thread that runs it."""
    clock: Clock
    random: RandomSource
    transport: Transport
    addresses: AddressBook
    beats: Beats
    answers: Answers
    wal: Wal
    writer: LogWriter
    turns: Turns
    log_disk: DiskThread
    snapshot_disk: DiskThread
    snapshot_pace: Pace
    log_memory: Shared
    """Bytes of the log in memory, of all groups."""
    log_growth: Shared
    """Bytes by which the logs of all groups have grown since their last snapshots."""
    admission: Admission
    """What waits for an outcome in all groups."""
    make_sessions: Callable[[], Sessions]
    stages: Stages
    """How long things take, over all groups."""
    look_for_room: Callable[[GroupId], None]
    """Called when a group let go of some of its log: others may hold what it does not need."""
    on_failure: Callable[[BaseException], None]
    """Called with why the whole node has to stop."""


class Hosting:
    """A lock that, once taken, gives what the groups share."""

    def __init__(self, lock: asyncio.Lock, host: Host) -> None:
        self._lock = lock
        self._host = host

    async def __aenter__(self) -> Host:
        await self._lock.acquire()
        return self._host

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
