"""A node: one process's share of a cluster, put together from its parts and shown to its users.

`async with Node(config, machine) as node:` opens the data directory, recovers, talks to its peers and takes part in
the group; `propose`, `read` and `status` are the library, `submit` and `submit_read` the same without futures.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import get_ident
from types import MappingProxyType, TracebackType
from typing import Self
from weakref import WeakValueDictionary

import msgspec
import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Beat, Message, RemoteCommands, RemoteQuery, RemoteReply
from raftline.core.state import RandomSource
from raftline.errors import ConfigError, Stopped, StorageError
from raftline.replica.sessions import Sessions
from raftline.replica.state_machine import StateMachine
from raftline.runtime.admission import Admission
from raftline.runtime.answers import Answers
from raftline.runtime.beats import Beats
from raftline.runtime.clock import SystemClock
from raftline.runtime.compaction import EARLY_MAX
from raftline.runtime.config import GroupConfig, NodeConfig
from raftline.runtime.disk import ThreadedDisk, run_on_disk
from raftline.runtime.freeing import free_slowly
from raftline.runtime.group import Group
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.handle import GroupHandle
from raftline.runtime.host import Host, Hosting
from raftline.runtime.log_writer import LogWriter
from raftline.runtime.one_loop import check_caller, check_loop
from raftline.runtime.pace import Pace
from raftline.runtime.peers import AddressBook
from raftline.runtime.ports import Clock, DiskThread, Transport
from raftline.runtime.remote import RemoteGroup, Remotes
from raftline.runtime.remote_host import RemoteHost
from raftline.runtime.room import Room, Tenant
from raftline.runtime.sharing import Shared
from raftline.runtime.stages import Stages
from raftline.runtime.timed_files import TimedFiles
from raftline.runtime.turns import Turns
from raftline.transport.address import parse_address
from raftline.transport.codec import Stranger
from raftline.transport.settings import TransportSettings
from raftline.transport.tcp import TcpTransport
from raftline.wal.files import Files, OsFiles
from raftline.wal.wal import Wal

__all__ = ["Node", "Ports"]

_log = structlog.get_logger("raftline.node")
_FIRST: GroupId = 0
_OF_NO_GROUP = frozenset({Beat, RemoteCommands, RemoteQuery, RemoteReply})


class Ports(msgspec.Struct, kw_only=True):
    """Everything of the world that a node touches; a simulator gives its own."""

    files: Files
    clock: Clock
    random: RandomSource
    transport: Transport
    make_disk: Callable[[str, asyncio.AbstractEventLoop], DiskThread]
    make_sessions: Callable[[], Sessions] = Sessions
    """Its bounds decide what is forgotten, so they are no setting: every replica has to have the same."""

    @staticmethod
    def real(config: NodeConfig) -> "Ports":
        """Return the operating system's files, clock and sockets."""
        address = parse_address(config.own_address)
        frame_bytes = max(TransportSettings().max_frame_bytes, 2 * config.command_bytes_max)
        transport = TcpTransport(
            config.node_id,
            config.cluster_id,
            (address.host, address.bus_port),
            settings=TransportSettings(max_frame_bytes=frame_bytes, queue_bytes=2 * frame_bytes),
            tls=config.tls,
        )
        return Ports(
            files=OsFiles(free_slowly),
            clock=SystemClock(),
            random=random.SystemRandom(),
            transport=transport,
            make_disk=ThreadedDisk,
        )


class Node(GroupHandle):
    """One node, a member of one replicated group or of many; use it as an async context manager, inside one event loop.

    What a group is asked is asked of the first one here, whose number is 0; `add_group` hosts more of them, each with
    a state machine, a log and a leader of its own, over the same data directory and connections. Raises on entry:
    `ConfigError` if the peer port is taken, or the data directory is none, another node's or of a newer format,
    `DirectoryInUse`, `CorruptLog` or another `StorageError` if it cannot be used. When it is made: `ConfigError` for
    settings that cannot work.
    """

    def __init__(self, config: NodeConfig, machine: StateMachine, *, ports: Ports | None = None) -> None:
        self.config = config.check()
        self.machine = machine
        self.unhosted_messages = 0
        """Messages that came for groups which this node does not host."""
        self._ports = ports or Ports.real(config)
        self._stages = Stages(self._ports.clock.monotonic_s)
        self._group: GroupLoop | None = None
        self._lease_reads = config.core.lease_reads
        self._groups: dict[GroupId, Group] = {}
        self._drivers: dict[GroupId, GroupLoop] = {}
        self._hosting: WeakValueDictionary[GroupId, asyncio.Lock] = WeakValueDictionary()
        self._host: Host | None = None
        self._beats: Beats
        self._room: Room | None = None
        self._remotes: Remotes | None = None
        self._remote_host: RemoteHost | None = None
        self._removals: set[asyncio.Task[None]] = set()
        self._disks: list[DiskThread] = []
        self._wal: Wal | None = None
        """Belongs to the log's thread: whoever waited for its opening may have given up."""
        self._ended: asyncio.Future[BaseException] | None = None
        self._failed: asyncio.Future[BaseException] | None = None
        self._started: asyncio.Future[None] | None = None
        """Whether the start is over, however it ended."""
        self._stopper: asyncio.Task[None] | None = None
        self._stopping = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Recover from the data directory, then join the group; returns when requests are taken.

        Raises, besides what is named above, `Stopped` if the node is stopped meanwhile, and `ConfigError` for a second
        start, which changes nothing.
        """
        if self._stopping or self._started is not None:
            raise ConfigError("a node starts once: make another Node, with a state machine of its own, to start again")
        loop = asyncio.get_running_loop()
        self._failed, self._ended, self._started = loop.create_future(), loop.create_future(), loop.create_future()
        try:
            try:
                group = await self._join(loop)
            finally:
                self._started.set_result(None)
        except BaseException:
            await self.stop()
            raise
        self._begin(group)

    async def _join(self, loop: asyncio.AbstractEventLoop) -> Group:
        """Recover and open the port; raises why the node was ended before that was done."""
        config = self.config
        log_disk = self._ports.make_disk(f"raftline-log-{config.node_id}", loop)
        self._disks.append(log_disk)
        wal = await run_on_disk(log_disk, self._open_wal)
        self._check_goes_on()
        snapshot_disk = self._ports.make_disk(f"raftline-snapshot-{config.node_id}", loop)
        self._disks.append(snapshot_disk)
        self._host = self._make_host(loop, wal, log_disk, snapshot_disk)
        self._beats = self._host.beats
        self._make_remote(self._host)
        first = GroupConfig(group=_FIRST, members=config.members)
        group = Group(first, self.machine, self._host, self._stages)
        self._groups[_FIRST] = group
        self._group = group.driver
        group.warn_of_members()
        assert self._ended is not None, "started"
        await group.restore(self._ended)
        await self._ports.transport.start(self._on_message, self._on_stranger, self._on_lost)
        self._check_goes_on()
        return group

    async def stop(self) -> None:
        """Hand over, answer whoever waits, finish what is being written, and close files and connections.

        Once it is begun it is carried out. Given up, as by a timeout, it hands nothing over any more: nothing is taken
        or sent from then on, and files are closed when the disk is done, for which another `stop` waits.
        """
        self._check_loop()
        if self._stopper is None or self._stopper.cancelled():
            self._stopper = asyncio.ensure_future(self._stop())
        try:
            await asyncio.shield(self._stopper)
        except asyncio.CancelledError:
            self._end(Stopped("this node stops"))
            raise

    async def _stop(self) -> None:
        try:
            await self.drain()
        finally:
            has_started = self._started is None or self._started.done()
            self._end(Stopped("this node stops" if has_started else "this node was stopped before it had started"))
        if self._started is not None:
            await asyncio.wait([self._started])  # it notices, and opens nothing more
        await asyncio.gather(*self._removals, return_exceptions=True)
        await self._ports.transport.stop()
        for group in self._groups.values():
            group.driver.snapshotting.close_files()
        for disk in self._disks[1:]:
            await run_on_disk(disk, _nothing)  # so that nobody else has the directory while anything is written there
        if self._disks:
            await run_on_disk(self._disks[0], self._close_wal)  # behind an opening that nobody waits for any more
        while self._disks:
            self._disks.pop().close()  # at once: it has nothing left to do

    async def drain(self) -> None:
        """Give every leadership away and wait until everybody who waits here has an answer; for a clean stop.

        The node goes on as a follower. Returns after `drain_s_max` at the latest, or as soon as nothing can come.
        """
        self._check_loop()
        if self._drivers and self.config.drain_s_max > 0:
            await asyncio.gather(*(driver.drain(self.config.drain_s_max) for driver in self._drivers.values()))

    @property
    def failure(self) -> BaseException | None:
        """Return why the node stopped by itself, None if it did not."""
        return self._failed.result() if self._failed is not None and self._failed.done() else None

    async def wait_failed(self) -> BaseException:
        """Wait until the node stops by itself, and return why.

        A `StorageError` or a `SafetyViolation`, or what the state machine raised when it was restored or told of
        something; what `apply` raises is a command's result.
        """
        assert self._failed is not None, "the node was started"
        self._check_loop()
        return await asyncio.shield(self._failed)

    # Groups.

    @property
    def groups(self) -> Mapping[GroupId, Group]:
        """Return the groups that are hosted here, the first one included, by their numbers; it is kept up to date."""
        return MappingProxyType(self._groups)

    @property
    def recovered_groups(self) -> tuple[GroupId, ...]:
        """Return the groups that the log holds and that nobody added or removed since the start."""
        return () if self._host is None else tuple(sorted(self._host.wal.recovered))

    def has_log(self, group: GroupId) -> bool:
        """Say whether anything of the log was recovered of such a group, or only a term."""
        found = None if self._host is None else self._host.wal.recovered.get(group)
        return found is not None and (found.snapshot is not None or bool(found.entries))

    def group(self, name: str | GroupId) -> Group:
        """Return a hosted group by its name or number; raises `ConfigError` if it is not hosted here."""
        for group in self._groups.values():
            if name in (group.group, group.name):
                return group
        known = ", ".join(sorted(group.name for group in self._groups.values()))
        raise ConfigError(f"group {name!r} is not hosted by {self.config.node_id}, only {known}: add it first")

    async def add_group(self, config: GroupConfig, machine: StateMachine) -> Group:
        """Host a group: recover it if the log holds it, else begin with nothing; returns when requests are taken.

        If it is hosted already, it is returned as it is, and `machine` is not used. Raises `ConfigError` for settings
        that cannot work or a name that another group has, `StorageError`, and `Stopped` if the node stops meanwhile.
        """
        config.check(self.config.node_id)
        async with self._alone(config.group) as host:
            if self._stopping:
                raise Stopped("this node stops", may_take_effect=False)
            known = self._groups.get(config.group)
            if known is not None:
                return known
            if any(other.name == config.called for other in self._groups.values()):
                raise ConfigError(f"another group is called {config.called!r}: give group {config.group} another name")
            group = Group(config, machine, host, Stages(host.clock.monotonic_s, shared=self._stages))
            assert self._ended is not None, "started"
            self._groups[config.group] = group
            try:
                await group.restore(self._ended)
                self._check_goes_on()
            except BaseException:
                del self._groups[config.group]
                group.give_back()
                raise
            self._begin(group)
            return group

    async def remove_group(self, group: GroupId) -> None:
        """Host a group no longer: whoever waits for it is answered, its log and its snapshots are forgotten, durably.

        A group that is added later under this number begins with nothing; it should not be while another node hosts
        the old one, or messages of that are on their way. Nothing happens if nothing is known of the group. Raises
        `StorageError`, which stops the node; if it stops before this returns, the group may be there after a restart.
        """
        if group == _FIRST:
            raise ConfigError("the first group of a node cannot be removed: stop the node")
        # Once it is begun it is carried out, whether its caller goes on waiting or not.
        removal = asyncio.ensure_future(self._remove(group, self._alone(group)))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        await asyncio.shield(removal)

    async def _remove(self, group: GroupId, alone: Hosting) -> None:
        async with alone as host:
            if self._stopping:
                raise Stopped("this node stops", may_take_effect=False)
            self._drivers.pop(group, None)
            hosted = self._groups.pop(group, None)
            if hosted is not None:
                hosted.end(Stopped(f"group {hosted.name} was removed from this node"))
            await run_on_disk(host.snapshot_disk, _nothing)  # what was being written there has ended
            try:
                await run_on_disk(host.log_disk, partial(host.wal.forget, group))
            except StorageError as error:
                self._on_failure(error)
                raise
            host.wal.recovered.pop(group, None)

    def remote(self, group: GroupId, hosts: Callable[[], Sequence[NodeId]]) -> RemoteGroup:
        """Return a way to a group that other nodes host: `hosts` says which, whoever should be asked first first.

        They are reached at the addresses that the members of a hosted group have.
        """
        if self._remotes is None:
            raise ConfigError("the node is not running: use it inside `async with Node(...) as node:`")
        return self._remotes.group(group, hosts)

    def is_up(self, node: NodeId) -> bool:
        """Say whether what is sent to another node goes out, as far as is known here; True for this one."""
        return node == self.config.node_id or self._ports.transport.reaches(node)

    def _alone(self, group: GroupId) -> Hosting:
        """Return a context in which nobody else adds or removes the group."""
        self._check_loop()
        if self._host is None or self._stopping:
            raise ConfigError("the node is not running: use it inside `async with Node(...) as node:`")
        return Hosting(self._hosting.setdefault(group, asyncio.Lock()), self._host)

    def _check_loop(self) -> None:
        if self._ended is not None:
            check_loop(self._ended.get_loop())

    def _check_goes_on(self) -> None:
        """Raise why the node was ended, if it was."""
        if self._ended is not None and self._ended.done():
            raise self._ended.result()

    def _begin(self, group: Group) -> None:
        self._drivers[group.group] = group.driver
        group.start()

    def _open_wal(self) -> Wal:
        config = self.config
        self._wal = Wal.open(
            TimedFiles(self._ports.files, self._ports.clock.monotonic_s, self._stages.append, self._stages.fsync),
            config.data_dir,
            cluster_id=config.cluster_id,
            node_id=config.node_id,
            segment_bytes=config.segment_bytes,
        )
        return self._wal

    def _close_wal(self) -> None:
        wal, self._wal = self._wal, None
        if wal is not None:
            wal.close()

    def _make_host(
        self, loop: asyncio.AbstractEventLoop, wal: Wal, log_disk: DiskThread, snapshot_disk: DiskThread
    ) -> Host:
        ports = self._ports
        turns = Turns(loop, ports.transport)
        turns.writer = LogWriter(wal, log_disk, turns.flush, loop.time)
        self._room = Room(wal, log_disk, self._tenant_of, self.config.segment_bytes, self._on_failure)
        return Host(
            config=self.config,
            loop=loop,
            thread=get_ident(),
            clock=ports.clock,
            random=ports.random,
            transport=ports.transport,
            addresses=AddressBook(ports.transport),
            beats=Beats(self.config.core, loop, ports.transport, ports.clock.wall_ms),
            answers=Answers(self.config, loop, ports.transport, turns),
            wal=wal,
            writer=turns.writer,
            turns=turns,
            log_disk=log_disk,
            snapshot_disk=snapshot_disk,
            snapshot_pace=Pace(loop.time, loop.call_at, self.config.snapshot_bytes_per_second),
            log_memory=Shared(self.config.log_memory_bytes),
            log_growth=Shared(self.config.snapshot_log_bytes, EARLY_MAX),
            admission=Admission(self.config.pending_max, self.config.pending_bytes_max),
            make_sessions=ports.make_sessions,
            stages=self._stages,
            look_for_room=self._room.look,
            on_failure=self._on_failure,
        )

    def _make_remote(self, host: Host) -> None:
        """Make both sides of what is passed on for groups that are not hosted everywhere."""
        config = self.config
        self._remotes = Remotes(
            host,
            lambda: 1 + int(host.random.random() * 2**53),
            is_up=lambda node: node != config.node_id and self.is_up(node),
            history=self._history,
            command_bytes_max=config.command_bytes_max,
            request_timeout_s=config.request_timeout_s,
            check_caller=partial(check_caller, host.thread, host.loop),
        )
        self._remote_host = RemoteHost(host, self._hosted, self._history)

    def _hosted(self, group: GroupId) -> Group | None:
        """Return a group that takes requests here."""
        return self._groups[group] if group in self._drivers else None

    def _history(self) -> int:
        """Return the history of the first group's log, which tells clusters of one name apart; 0 if none is known."""
        return 0 if self._group is None else self._group.replica.core.state.history

    def _on_message(self, sender: NodeId, group: GroupId, message: Message) -> None:
        driver = self._drivers.get(group)
        if type(message) in _OF_NO_GROUP:
            self._on_node_message(sender, group, message)
        elif driver is not None:
            driver.on_message(sender, message)
        else:
            self.unhosted_messages += 1

    def _tenant_of(self, group: GroupId) -> Tenant | None:
        driver = self._drivers.get(group)
        return None if driver is None else driver.tenant

    def _on_node_message(self, sender: NodeId, group: GroupId, message: Message) -> None:
        """Take what is no part of Raft: signs of life, and what is passed on for groups that others do not host."""
        assert self._remotes is not None, "started"
        assert self._remote_host is not None, "started"
        if isinstance(message, Beat):
            self._beats.on_beat(sender, message)
        elif isinstance(message, RemoteReply):
            self._remotes.on_reply(message)
        elif isinstance(message, RemoteCommands | RemoteQuery):
            self._remote_host.on_request(sender, group, message)

    def _on_lost(self, peer: NodeId) -> None:
        assert self._remotes is not None, "started"
        self._beats.on_lost(peer)
        self._remotes.on_lost(peer)

    def _on_stranger(self, sender: NodeId, word: Stranger) -> None:
        driver = self._drivers.get(word.group)
        if driver is not None:
            driver.on_stranger(sender, word)

    def _on_failure(self, error: BaseException) -> None:
        """One group cannot go on: the disk that all share failed, or a promise is broken, and none of them may."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)  # first of all: a log may raise
        _log.error("stopped", node=self.config.node_id, error=str(error), kind=type(error).__name__)
        if self._host is not None:
            self._host.turns.stop()
        self._end(Stopped(f"this node stopped: {error}"))

    def _end(self, error: Stopped) -> None:
        """Let no group go on, nor begin."""
        self._stopping = True
        if self._host is not None:
            self._host.beats.stop()
        if self._remotes is not None:
            self._remotes.stop(error)
        if self._room is not None:
            self._room.stop()
        if self._ended is not None and not self._ended.done():
            failure = self.failure
            self._ended.set_result(error if failure is None else failure)
        for group in self._groups.values():
            group.driver.stop(error)


def _nothing() -> None:
    """Stand in a queue, to hear when everything before it is done."""
