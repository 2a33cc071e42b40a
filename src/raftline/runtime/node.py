"""A node: one process's share of a cluster, put together from its parts and shown to its users.

`async with Node(config, machine) as node:` opens the data directory, recovers, talks to its peers and takes part in
the group; `propose`, `read` and `status` are the library, `submit` and `submit_read` the same without futures.
"""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from raftline.core.changes import AddLearner, MembershipChange, Move, Replace
from raftline.core.ids import GroupId, NodeId
from raftline.core.membership import Membership
from raftline.core.messages import Message
from raftline.core.raft import Raft
from raftline.core.state import RandomSource
from raftline.errors import ApplyError, ConfigError, Stopped, TooNew
from raftline.replica.commands import (
    ID_END,
    change_membership,
    close_session,
    open_session,
    plain,
    transfer_leadership,
    wrapped,
)
from raftline.replica.replica import Replica
from raftline.replica.sessions import Sessions
from raftline.replica.state_machine import StateMachine
from raftline.runtime.backup import Backup, open_backup
from raftline.runtime.clock import SystemClock
from raftline.runtime.config import NodeConfig
from raftline.runtime.disk import ThreadedDisk, run_on_disk
from raftline.runtime.freeing import free_slowly
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.measurements import Measurements, measure
from raftline.runtime.members import change_under_way, members_of, misplaced, role_of
from raftline.runtime.ports import Clock, DiskThread, Transport
from raftline.runtime.requests import Consistency, check_promise
from raftline.runtime.stages import Stages
from raftline.runtime.status import MemberStatus, SessionStatus, Status
from raftline.runtime.timed_files import TimedFiles
from raftline.transport.address import Address, parse_address
from raftline.transport.codec import Stranger
from raftline.transport.settings import TransportSettings
from raftline.transport.tcp import TcpTransport
from raftline.wal.files import Files, OsFiles
from raftline.wal.wal import Wal

__all__ = ["Node", "Ports"]

_log = structlog.get_logger("raftline.node")
_GROUP: GroupId = 0
_DRAWN_END = 1 << 53
"""As many as a random number between 0 and 1 can tell apart, and as every client's numbers can hold."""


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


class Node:
    """One member of a replicated group; use it as an async context manager, inside one event loop.

    Raises on entry: `ConfigError` for settings that cannot work, `DirectoryInUse`, `CorruptLog` or another
    `StorageError` if the data directory cannot be used, `OSError` if the peer port is taken.
    """

    def __init__(self, config: NodeConfig, machine: StateMachine, *, ports: Ports | None = None) -> None:
        self.config = config.check()
        self.machine = machine
        self._ports = ports or Ports.real(config)
        self._stages = Stages(self._ports.clock.monotonic_s)
        self._group: GroupLoop | None = None
        self._wal: Wal | None = None
        self._disks: list[DiskThread] = []
        self._failed: asyncio.Future[BaseException] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._is_joined = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Recover from the data directory, then join the group; returns when requests are taken."""
        loop = asyncio.get_running_loop()
        config = self.config
        self._loop = loop
        self._failed = loop.create_future()
        log_disk = self._ports.make_disk(f"raftline-log-{config.node_id}", loop)
        self._disks.append(log_disk)
        try:
            self._wal = await run_on_disk(log_disk, self._open_wal)
            snapshot_disk = self._ports.make_disk(f"raftline-snapshot-{config.node_id}", loop)
            self._disks.append(snapshot_disk)
            self._group = self._make_group(self._wal, loop, log_disk, snapshot_disk)
            snapshot = self._group.replica.core.state.snapshot
            if snapshot.index:
                restored: asyncio.Future[None] = loop.create_future()
                self._group.replica.restoring = snapshot
                self._group.snapshotting.restore_at_once(snapshot, lambda: restored.set_result(None))
                outcomes: list[asyncio.Future[Any]] = [restored, self._failed]
                await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
                if self._failed.done():
                    raise self._failed.result()  # noqa: TRY301  the failure was seen in a callback
            await self._ports.transport.start(self._on_message, self._on_stranger)
        except BaseException:
            await self.stop()
            raise
        self._group.start()
        self._is_joined = True

    async def stop(self) -> None:
        """Hand over, answer whoever waits, finish what is being written, and close files and connections."""
        await self.drain()
        self._stopping = True
        if self._group is not None:
            self._group.stop(Stopped("this node stops"))
        await self._ports.transport.stop()
        disks, self._disks = self._disks, []
        wal, self._wal = self._wal, None
        if disks and wal is not None:
            await run_on_disk(disks[0], wal.close)
        for disk in disks:
            disk.close()

    async def drain(self) -> None:
        """Give the leadership away and wait until everybody who waits here has an answer; for a clean stop.

        The node goes on as a follower. Returns after `drain_s_max` at the latest, or as soon as nothing can come.
        """
        if self._group is not None and self._is_joined and self.config.drain_s_max > 0:
            await self._group.drain(self.config.drain_s_max)

    @property
    def failure(self) -> BaseException | None:
        """Return why the node stopped by itself, None if it did not."""
        return self._failed.result() if self._failed is not None and self._failed.done() else None

    async def wait_failed(self) -> BaseException:
        """Wait until the node stops by itself, and return why: a `StorageError` or a `SafetyViolation`."""
        assert self._failed is not None, "the node was started"
        return await asyncio.shield(self._failed)

    async def propose(
        self, command: bytes, *, session: int | None = None, sequence: int = 0, version: int = 1
    ) -> bytes:
        """Replicate `command` and return what the state machine's `apply` returned for it.

        With `session` (from `open_session`) and a `sequence` that a retry repeats, it is carried out once however
        often it is proposed. `version` is the `StateMachine.version` that a member needs to understand it; `TooNew` is
        raised while `command_version` is below. Raises `NotLeader`, `ProposalLost`, `Overloaded`, `Timeout` or
        `Stopped`, whose `may_take_effect` says whether it can still be applied; `ApplyError` if `apply` raised, or in
        a session `SessionClosed`, `OutdatedSequence` or `ReplyForgotten`; `ConfigError` for a `sequence` below 1.
        """
        if version > self.command_version:
            raise TooNew(
                f"a command of version {version}: the members all know those up to {self.command_version} only; "
                f"upgrade the others first"
            )
        return await self._propose(wrapped(command, session, sequence))

    @property
    def command_version(self) -> int:
        """Return the newest version of commands that may be proposed: every member's state machine knows it."""
        return self._running().replica.version.in_force

    async def open_session(self, session: int | None = None) -> int:
        """Open a session for exactly-once proposals and return its id (§8).

        `session` opens one by the id that another group gave, if it is not open here: for clients of several groups.
        Whoever knows the id can use the session, and hear its last reply: it is drawn so that nobody guesses it.
        """
        drawn = 1 + int(self._ports.random.random() * _DRAWN_END)
        return int(await self._propose(open_session(drawn if session is None else session)))

    async def close_session(self, session: int) -> bool:
        """Close a session; return whether it was open. Raises what `propose` raises."""
        if not 0 <= session < ID_END:
            return False
        return await self._propose(close_session(session)) == b"1"

    async def find_session(self, session: int) -> SessionStatus | None:
        """Return what is known of a session, at least as new as this call; None if it is not open.

        Raises `Timeout` if no leader could be confirmed in time, and `Stopped`.
        """
        replica = self._running().replica
        readable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit_read(lambda error: _settle(readable, error))
        await readable
        found = replica.sessions.find(session)
        return None if found is None else SessionStatus.of(session, found, replica.time_ms)

    async def read(
        self, query: bytes, *, consistency: Consistency = "linearizable", staleness_s_max: float = 0.0
    ) -> bytes:
        """Return the state machine's answer to `query` without writing to the log (§8).

        `consistency` says what it has to see: "linearizable" everything acknowledged before the call; "lease" the same
        without a round of messages, as long as clocks keep within `CoreConfig.clock_drift_max`; "bounded" everything
        acknowledged more than `staleness_s_max` before, which must be given; "stale" whatever is here.
        Raises `Timeout` if no leader could be confirmed in time, `TooStale` if the bound cannot be kept, `ConfigError`
        without a bound or for a lease that `CoreConfig.lease_reads` does not allow, `ApplyError` if `read` raised.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
                return
            try:
                future.set_result(self.machine.read(query, self._ports.clock.wall_ms()))
            except ApplyError as raised:
                future.set_exception(raised)
            except Exception as raised:  # noqa: BLE001  the machine's answer is the caller's
                future.set_exception(ApplyError(f"{type(raised).__name__}: {raised}"))

        self.submit_read(done, consistency, staleness_s_max)
        return await future

    async def change_membership(self, change: MembershipChange) -> None:
        """Change who belongs to the group, asked on any node; returns once the change is committed (§6).

        A learner to be promoted is a learner then, and votes by itself later: `members` shows it. Raises
        `ChangeRefused` with the leader's reason, `ConfigError` for an address that cannot be used, and what `propose`
        raises; after `Timeout` and `Stopped` the change may still go on.
        """
        await self._propose(change_membership(_checked(change, self.members())))

    async def transfer_leadership(self, to: NodeId | None = None) -> NodeId | None:
        """Let `to`, or whoever is best, lead from now on, asked on any node; return who leads as far as known here.

        Raises `ChangeRefused` if it is no voter, lags or did not take over in time, and what `propose` raises.
        """
        await self._propose(transfer_leadership(to))
        return self._running().replica.core.leader

    def members(self) -> tuple[MemberStatus, ...]:
        """Return the members as this node knows them: the membership in force in its log, committed or not."""
        return members_of(self._running().replica.core, self._now())

    async def open_backup(self) -> Backup:
        """Return a backup of this moment, which holds everything acknowledged before the call; to be closed.

        Raises `Timeout` if no leader could be confirmed in time, `Stopped`, and `StorageError`.
        """
        group = self._running()
        assert self._wal is not None, "the node was started"
        return await open_backup(
            group.submit_read,
            group.snapshotting,
            self._wal.snapshots,
            self._disks[-1],
            group=_GROUP,
            cluster_id=self.config.cluster_id,
            node_id=self.config.node_id,
            time_ms=self._ports.clock.wall_ms(),
        )

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        """Propose without a future: `done` gets the result or the exception, once, in a later turn of the loop."""
        group = self._group or self._running()
        group.submit(plain(command) if session is None else wrapped(command, session, sequence), done)

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """Call `done(None)` when the local state machine may be read as `consistency` says, or `done(error)`; once."""
        check_promise(consistency, staleness_s_max, lease_reads=self.config.core.lease_reads)
        group = self._group or self._running()
        group.submit_read(done, consistency, staleness_s_max)

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows."""
        return self._group is not None and self._group.replica.core.is_leader

    def status(self) -> Status:
        """Return what this node knows of itself and of the group."""
        group = self._running()
        replica = group.replica
        state = replica.core.state
        return Status(
            node_id=self.config.node_id,
            cluster_id=self.config.cluster_id,
            role=group.strangers.role() or role_of(replica.core),
            leader_id=state.leader,
            leader_address=state.membership.address_of(state.leader) if state.leader else None,
            term=state.term,
            compacted_index=state.log.base_index,
            snapshot_index=state.snapshot.index,
            applied_index=replica.applied,
            commit_index=state.commit,
            last_index=state.log.last_index,
            persisted_index=state.persisted,
            log_bytes=state.log.size_bytes,
            log_memory_bytes=state.log.memory_bytes,
            pending_requests=group.pending_count,
            apply_errors=replica.apply_errors,
            sessions=len(replica.sessions),
            session_reply_bytes=replica.sessions.reply_bytes,
            digest=replica.digest.value,
            disk_batches=group.persistence.batches,
            snapshots_taken=group.snapshotting.taken,
            snapshots_installed=group.snapshotting.installed,
            snapshot_in_progress=group.snapshotting.taking,
            established=state.established,
            members=self.members(),
            command_version=replica.version.in_force,
            membership_index=state.configuration.index,
            change=change_under_way(state),
            trouble=group.strangers.trouble()
            or group.lost_majority.words()
            or (misplaced(state, self.config.own_address) or self._ports.transport.trouble()),
            transfer_to=state.transfer.to if state.transfer is not None else None,
        )

    def measure(self) -> Measurements:
        """Return everything that this node measures: status, latency by stage, elections, queues, links."""
        transport = self._ports.transport
        peers = transport.status() if isinstance(transport, TcpTransport) else {}
        return measure(self._running(), self.status(), peers, self._now())

    def _now(self) -> float:
        assert self._loop is not None, "started"
        return self._loop.time()

    def _running(self) -> GroupLoop:
        if self._group is None:
            raise ConfigError("the node is not running: use it inside `async with Node(...) as node:`")
        return self._group

    async def _propose(self, wrapped: bytes) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(outcome: bytes | Exception) -> None:
            if future.done():
                return
            if isinstance(outcome, bytes):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        self._running().submit(wrapped, done)
        return await future

    def _open_wal(self) -> Wal:
        config = self.config
        return Wal.open(
            TimedFiles(self._ports.files, self._ports.clock.monotonic_s, self._stages.append, self._stages.fsync),
            config.data_dir,
            cluster_id=config.cluster_id,
            node_id=config.node_id,
            segment_bytes=config.segment_bytes,
        )

    def _make_group(
        self, wal: Wal, loop: asyncio.AbstractEventLoop, log_disk: DiskThread, snapshot_disk: DiskThread
    ) -> GroupLoop:
        config = self.config
        recovered = wal.recovered.pop(_GROUP, None)  # the log holds it now, and lets it go in time
        core = Raft(
            config.node_id,
            Membership.of(config.members),  # nobody, for a node that waits to be added
            random=self._ports.random,
            now=loop.time(),
            config=msgspec.structs.replace(config.core, command_version=self.machine.version),
            hard_state=recovered.hard_state if recovered else None,
            snapshot=recovered.snapshot if recovered else None,
            entries=recovered.entries if recovered else (),
        )
        _log.info(
            "recovered",
            node=config.node_id,
            term=core.term,
            snapshot=core.state.snapshot.index,
            last_index=core.state.log.last_index,
            new_directory=wal.is_new,
        )
        return GroupLoop(
            _GROUP,
            config,
            Replica(core, self.machine, self._ports.make_sessions()),
            loop=loop,
            clock=self._ports.clock,
            transport=self._ports.transport,
            wal=wal,
            log_disk=log_disk,
            snapshot_disk=snapshot_disk,
            origin=int(self._ports.random.random() * 2**53),
            stages=self._stages,
            on_failure=self._on_failure,
        )

    def _on_message(self, sender: NodeId, group: GroupId, message: Message) -> None:
        if group == _GROUP and self._group is not None:
            self._group.on_message(sender, message)

    def _on_stranger(self, sender: NodeId, word: Stranger) -> None:
        if word.group == _GROUP and self._group is not None:
            self._group.on_stranger(sender, word)

    def _on_failure(self, error: BaseException) -> None:
        _log.error("stopped", node=self.config.node_id, error=str(error), kind=type(error).__name__)
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)


def _settle(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _checked(change: MembershipChange, members: tuple[MemberStatus, ...]) -> MembershipChange:
    """Return the change; raise `ConfigError` if it names an address that cannot be used, or a port of a member."""
    addresses: tuple[tuple[NodeId, str], ...] = ()
    if isinstance(change, AddLearner | Move):
        addresses = ((change.node, change.address),)
    elif isinstance(change, Replace):
        addresses = change.addresses
    taken = {member.node_id: member.address for member in members} | dict(addresses)
    for node, text in addresses:
        address = parse_address(text)
        for other, known in taken.items():
            if other != node and _share_port(address, known):
                raise ConfigError(f"{address} has a port in common with {other}, which is at {known}: correct it")
    return change


def _share_port(address: Address, known: str) -> bool:
    """Say whether a member's address has a port of `address`; one in the log that cannot be used has none."""
    try:
        return address.shares_port_with(parse_address(known))
    except ConfigError:
        return False
