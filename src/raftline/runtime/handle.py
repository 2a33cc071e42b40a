"""One group as its users see it: the same words on a node, for its first group, and on every other group it hosts.

Everything here asks the group's loop and returns; nothing is remembered.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from threading import get_ident

from raftline.core.changes import AddLearner, MembershipChange, Move, Replace
from raftline.core.ids import NodeId
from raftline.errors import ApplyError, ConfigError, NotMember, TooNew, described
from raftline.replica.commands import (
    ID_END,
    change_membership,
    close_session,
    open_session,
    plain,
    transfer_leadership,
    wrapped,
)
from raftline.replica.state_machine import StateMachine
from raftline.runtime.backup import Backup, open_backup
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.measurements import Measurements, measure
from raftline.runtime.members import STOPPED, change_under_way, members_of, misplaced, role_of
from raftline.runtime.one_loop import check_loop
from raftline.runtime.requests import Consistency, check_promise
from raftline.runtime.status import MemberStatus, SessionStatus, Status
from raftline.transport.address import Address, parse_address
from raftline.transport.tcp import TcpTransport

__all__ = ["GroupHandle"]

_DRAWN_END = 1 << 53
"""As many as a random number between 0 and 1 can tell apart, and as every client's numbers can hold."""


class GroupHandle:
    """What can be asked of one group, in the event loop of its node; from elsewhere calls raise `ConfigError`.

    Invariant: `_group` is the loop that drives it, None while there is none.
    """

    machine: StateMachine
    _group: GroupLoop | None
    _lease_reads: bool

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
        if version > 1 and version > self.command_version:
            raise TooNew(
                f"a command of version {version}: the members all know those up to {self.command_version} only; "
                f"upgrade the others first"
            )
        return await self._propose(wrapped(command, session, sequence))

    @property
    def command_version(self) -> int:
        """Return the newest version of commands that may be proposed: every member's state machine knows it."""
        return self._running().replica.version.in_force

    async def open_session(self, session: int | None = None, born: int | None = None) -> int:
        """Open a session for exactly-once proposals and return its id (§8).

        `session` opens one by the id that another group gave, if it is not open here: for clients of several groups;
        `born` is what that group says of it (`SessionStatus.born`). Whoever knows the id can use the session, and hear
        its last reply: it is drawn so that nobody guesses it. Raises what `propose` raises, and `SessionClosed` where
        sessions come from another group, for one that was here before or may have been.
        """
        drawn = 1 + int(self._running().host.random.random() * _DRAWN_END)
        return int(await self._propose(open_session(drawn if session is None else session, born)))

    async def close_session(self, session: int) -> bool:
        """Close a session; return whether it was open. Raises what `propose` raises."""
        if not 0 <= session < ID_END:
            return False
        return await self._propose(close_session(session)) == b"1"

    async def find_session(self, session: int) -> SessionStatus | None:
        """Return what is known of a session, at least as new as this call; None if it is not open.

        Raises `Timeout` if no leader could be confirmed in time, and `Stopped`.
        """
        group = self._running()
        check_loop(group.host.loop)
        replica = group.replica
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
        loop = (self._group or self._running()).host.loop
        check_loop(loop)
        future: asyncio.Future[bytes] = loop.create_future()
        self.submit_query(query, partial(_conclude, future), consistency, staleness_s_max)
        return await future

    async def change_membership(self, change: MembershipChange) -> None:
        """Change who belongs to the group, asked on any node; returns once the change is committed (§6).

        A learner to be promoted is a learner then, and votes by itself later: `members` shows it. Raises
        `ChangeRefused` with the leader's reason, `ConfigError` for an address that cannot be used, and what `propose`
        raises; after `Timeout` and `Stopped` the change may still go on, unless `may_take_effect` is false.
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
        group = self._running()
        return members_of(group.replica.core, group.host.loop.time(), has_ended=group.ended_by is not None)

    async def open_backup(self) -> Backup:
        """Return a backup of this moment, which holds everything acknowledged before the call; to be closed.

        Raises `Timeout` if no leader could be confirmed in time, `Stopped`, and `StorageError`.
        """
        group = self._running()
        host = group.host
        check_loop(host.loop)
        return await open_backup(
            group.submit_read,
            group.snapshotting,
            host.wal.snapshots,
            host.snapshot_disk,
            group=group.group_id,
            cluster_id=host.config.cluster_id,
            node_id=host.config.node_id,
            time_ms=host.clock.wall_ms(),
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
        if get_ident() != group.host.thread:
            check_loop(group.host.loop)
        group.submit(plain(command) if session is None else wrapped(command, session, sequence), done)

    def before_turn(self, call: Callable[[], None]) -> None:
        """Call this once, soon, right before proposals are taken next; what it submits is taken with them."""
        group = self._group or self._running()
        if get_ident() != group.host.thread:
            check_loop(group.host.loop)
        group.before_turn(call)

    def submit_wrapped(self, command: bytes, done: Callable[[bytes | Exception], None]) -> None:
        """Propose what is wrapped already (`replica/commands.py`); else as `submit`."""
        group = self._group or self._running()
        if get_ident() != group.host.thread:
            check_loop(group.host.loop)
        group.submit(command, done)

    def submit_query(
        self,
        query: bytes,
        done: Callable[[bytes | Exception], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """Read without a future: `done` gets what `read` would return or raise, once, in a later turn of the loop."""

        def look(error: Exception | None) -> None:
            outcome: bytes | Exception
            if error is not None:
                outcome = error
            else:
                try:
                    outcome = self.machine.read(query, self._running().host.clock.wall_ms())
                except ApplyError as raised:
                    outcome = raised
                except Exception as raised:  # noqa: BLE001  the machine's answer is the caller's
                    outcome = ApplyError(described(raised))
                if not isinstance(outcome, bytes | ApplyError):
                    outcome = ApplyError(f"TypeError: read() must return bytes, not {type(outcome).__name__}")
            done(outcome)

        self.submit_read(look, consistency, staleness_s_max)

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """Call `done(None)` when the local state machine may be read as `consistency` says, or `done(error)`; once."""
        check_promise(consistency, staleness_s_max, lease_reads=self._lease_reads)
        group = self._group or self._running()
        if get_ident() != group.host.thread:
            check_loop(group.host.loop)
        group.submit_read(done, consistency, staleness_s_max)

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows; one that stopped, or failed, leads nothing."""
        group = self._group
        return group is not None and group.ended_by is None and group.replica.core.is_leader

    @property
    def has_members(self) -> bool:
        """Say whether any members are known here; a replica that waits to be added knows nobody, and can do nothing."""
        return bool(self._running().replica.core.state.membership.voters)

    def outside(self) -> NotMember | None:
        """Return what to tell clients of a node that was removed from the group, or waits to be added, else None."""
        return self._running().strangers.error()

    def status(self) -> Status:
        """Return what this node knows of itself and of the group; once it stopped, as it was then, without a leader."""
        group = self._running()
        config = group.host.config
        replica = group.replica
        state = replica.core.state
        ended_by = group.ended_by
        leader = state.leader if ended_by is None else None
        return Status(
            node_id=config.node_id,
            cluster_id=config.cluster_id,
            role=STOPPED if ended_by is not None else group.strangers.role() or role_of(replica.core),
            leader_id=leader,
            leader_address=state.membership.address_of(leader) if leader else None,
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
            trouble=(str(ended_by) if ended_by is not None else group.strangers.trouble())
            or group.lost_majority.words()
            or (misplaced(state, config.own_address) or group.host.transport.trouble()),
            transfer_to=state.transfer.to if state.transfer is not None else None,
        )

    def measure(self) -> Measurements:
        """Return everything that this node measures: status, latency by stage, elections, queues, links."""
        group = self._running()
        transport = group.host.transport
        peers = transport.status() if isinstance(transport, TcpTransport) else {}
        return measure(group, self.status(), peers, group.host.loop.time())

    def _running(self) -> GroupLoop:
        if self._group is None:
            raise ConfigError("the node is not running: use it inside `async with Node(...) as node:`")
        return self._group

    def _propose(self, wrapped: bytes) -> "asyncio.Future[bytes]":
        """Propose what is wrapped; return the future of its outcome, which costs less to await than a coroutine."""
        group = self._group or self._running()
        loop = group.host.loop
        check_loop(loop)
        future: asyncio.Future[bytes] = loop.create_future()
        group.submit(wrapped, partial(_conclude, future))
        return future


def _conclude(future: "asyncio.Future[bytes]", outcome: bytes | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, bytes):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


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
