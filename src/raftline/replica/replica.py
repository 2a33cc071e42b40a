"""One member of a group: the core, the state machine, the sessions and the callers who wait.

Pure like the core: it is told what happened and what time it is, and hands out the core's `Ready` enriched with
nothing; entries wait here until the driver lets some of them be applied, so that long work is done in slices.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import msgspec

from raftline.core.configuration import decode_membership
from raftline.core.entries import KIND_COMMAND, KIND_MEMBERSHIP, Entry, SnapshotMeta
from raftline.core.events import Applied, Event, Proposed, Received
from raftline.core.ids import Index, NodeId
from raftline.core.messages import AppendReply, AppendRequest
from raftline.core.raft import Raft
from raftline.core.ready import Ready
from raftline.errors import (
    ApplyError,
    ConfigError,
    NotServed,
    OutdatedSequence,
    ReplyForgotten,
    SessionClosed,
    described,
)
from raftline.replica.commands import (
    CLOSE_SESSION,
    HISTORY_LOST,
    OPEN_SESSION,
    PLAIN,
    SESSION_HEADER,
    USE_VERSION,
    command_in,
    session_to_close,
    session_to_open,
    use_version,
)
from raftline.replica.digest import Digest
from raftline.replica.sessions import FORGOT_NOTHING, Forgotten, Session, Sessions
from raftline.replica.state_machine import StateMachine
from raftline.replica.versions import CommandVersion
from raftline.replica.waiters import Done, Waiters

__all__ = ["Replica", "SnapshotChunks"]

_NOTICES = (USE_VERSION, HISTORY_LOST)


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """First chunk of every snapshot: what belongs to the replica itself."""

    digest: int
    time_ms: int
    sessions: list[tuple[int, Session]]
    command_version: int = 1
    forgotten: Forgotten = FORGOT_NOTHING


_NOT_OPEN = (
    "session %d is not open: it was closed, idle for too long or made room for others; whether a command in it that "
    "was sent before and not answered took effect is unknown; open a new one"
)

_encode_header = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(_Header).decode


class SnapshotChunks:
    """The chunks of a snapshot, to be closed by whoever has them all, or wants no more of them."""

    __slots__ = ("_chunks", "_source")

    def __init__(self, chunks: Iterator[bytes], source: Iterator[bytes]) -> None:
        """`source` is what the state machine gave."""
        self._chunks = chunks
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Let the state machine give up what it keeps for the rest: it may see an end of it no other way."""
        source, self._source = self._source, iter(())
        self._chunks = iter(())
        close = getattr(source, "close", None)
        if close is not None:
            close()


class Replica:
    """Applies what the core committed, exactly once and in order, and answers whoever proposed it.

    Invariants: `applied` <= the core's commit index; while a snapshot is being restored nothing is applied.
    """

    __slots__ = (
        "_to_apply",
        "applied",
        "applied_term",
        "apply_errors",
        "core",
        "digest",
        "has_proposed",
        "machine",
        "restoring",
        "sessions",
        "time_ms",
        "version",
        "waiters",
    )

    def __init__(self, core: Raft, machine: StateMachine, sessions: Sessions | None = None) -> None:
        self.core = core
        self.machine = machine
        self.sessions = Sessions() if sessions is None else sessions
        machine.use_sessions(self.sessions)
        self.waiters = Waiters()
        self.digest = Digest(core.state.snapshot.index)
        self.applied: Index = core.state.snapshot.index
        self.applied_term = core.state.snapshot.term
        self.time_ms = 0
        self.apply_errors = 0
        self.version = CommandVersion()
        self.has_proposed = False
        """This replica appended something by itself: the core has something ready."""
        self.restoring: SnapshotMeta | None = None
        self._to_apply: deque[Entry] | tuple[()] = ()
        """A queue while there is something in it: an empty one takes 760 bytes, of each of many groups."""

    @property
    def has_work(self) -> bool:
        """Say whether committed entries wait to be applied and may be."""
        return bool(self._to_apply) and self.restoring is None

    @property
    def has_callers(self) -> bool:
        """Say whether somebody here waits for what becomes of an entry."""
        return bool(self.waiters)

    @property
    def backlog(self) -> int:
        """Return how many committed entries wait to be applied."""
        return len(self._to_apply)

    def step(self, event: Event, now: float) -> None:
        """Pass an event to the core; compare the leader's digest if one came along.

        Raises `Diverged` if the state machine turns out to differ from the leader's.
        """
        core = self.core
        core.step(event, now)
        if type(event) is Received:
            message = event.message
            if type(message) is AppendReply and message.command_version > self.version.in_force:
                self._raise_version(now)
            if (
                type(message) is AppendRequest
                and message.digest_index
                and event.sender == core.leader
                and message.term == core.term
                and self.restoring is None
            ):
                self.digest.compare(message.digest_index, message.digest)

    def propose(self, commands: Sequence[bytes], dones: Sequence[Done], now: float, time_ms: int) -> bool:
        """Append wrapped commands as leader; each `done` is called once its entry's fate is known.

        Returns False, with nothing changed, if this replica does not lead.
        """
        first = self.core.step(Proposed(tuple(commands), time_ms), now)
        if not first:
            return False
        self.waiters.add(first, self.core.term, dones)
        return True

    def objection_to_removal(self, node: NodeId) -> str | None:
        """As leader, return why the state machine cannot do without a member, in words; None if it can.

        Whatever stands in the log by now counts, applied or not: the removal would stand behind it. Of who is no member
        the core has something to say.
        """
        if not self.core.state.membership.is_member(node):
            return None
        last_index = self.core.state.log.last_index
        behind = self.core.state.log.slice(self.applied + len(self._to_apply) + 1, last_index + 1)
        entries = (entry for entry in chain(self._to_apply, behind) if entry.kind == KIND_COMMAND)
        commands = (command for entry in entries if (command := command_in(entry.data)) is not None)
        return self.machine.objection_to_removal(node, commands)

    def take_ready(self) -> Ready | None:
        """Return the core's next `Ready`; committed entries are queued here, an installed snapshot blocks them."""
        ready = self.core.take_ready()
        self.has_proposed = False
        if ready is not None:
            if ready.install is not None:
                self._to_apply = ()
                self.restoring = ready.install
            if ready.committed:
                queue = self._to_apply or deque()
                queue.extend(ready.committed)
                self._to_apply = queue
        return ready

    def apply_some(self, count_max: int, now: float) -> int:
        """Apply up to `count_max` committed entries and tell the core; return how many were applied.

        Raises `Diverged` if a result differs from the leader's.
        """
        queue = self._to_apply
        if self.restoring is not None or not queue:
            return 0
        count = min(count_max, len(queue))
        for _ in range(count):
            entry = queue.popleft()
            assert entry.index == self.applied + 1, "entries are applied in order, each once (F8)"
            self._apply(entry)
        if count:
            self._to_apply = queue or ()
            self.core.step(Applied(self.applied, self.digest.value), now)
            if self.core.state.config.command_version > self.version.in_force:
                self._raise_version(now)
        return count

    def restore_begin(self, meta: SnapshotMeta) -> None:
        """Start to replace the state machine by the snapshot `meta`; its chunks follow."""
        self.restoring = meta
        self.machine.restore_begin()

    def restore_header(self, chunk: bytes) -> None:
        """Take a snapshot's first chunk: the replica's own part."""
        assert self.restoring is not None, "a restore was begun"
        header = _decode_header(chunk)
        self.sessions.load(header.sessions, header.forgotten)
        self.time_ms = header.time_ms
        self._use_version(header.command_version)
        self.digest.restart_at(self.restoring.index, header.digest)

    def restore_end(self, now: float) -> None:
        """Finish: the state is the snapshot's; entries behind it may be applied.

        It may be a newer snapshot than the one that was installed, and hold entries that were committed meanwhile.
        """
        meta = self.restoring
        assert meta is not None, "a restore was begun"
        self.machine.restore_end()
        if self.version.in_force > 1:
            self.machine.use_version(self.version.in_force)
        self.restoring = None
        self._to_apply = deque([entry for entry in self._to_apply if entry.index > meta.index]) or ()
        self.applied = meta.index
        self.applied_term = meta.term
        self.waiters.skip_to(meta.index)
        self.core.step(Applied(self.applied, self.digest.value), now)

    def snapshot(self) -> tuple[SnapshotMeta, SnapshotChunks]:
        """Return the chunks of a snapshot of what is applied at this moment (D2), and what it stands for."""
        assert self.restoring is None, "there is a state to take a snapshot of"
        meta = SnapshotMeta(self.applied, self.applied_term, self.core.state.configuration.at(self.applied))
        forgotten = self.sessions.forgotten
        own = _Header(self.digest.value, self.time_ms, self.sessions.dump(), self.version.in_force, forgotten)
        header = _encode_header(own)
        # The body of a generator begins with its first chunk: now, or it would give a later state than `meta` says.
        chunks = iter(self.machine.snapshot())
        return meta, SnapshotChunks(chain((header,), list(islice(chunks, 1)), chunks), chunks)

    def _apply(self, entry: Entry) -> None:
        """Apply one entry; an exception of the state machine is the command's result, the same everywhere.

        What it raises when it has to take note of something is nobody's result: the replica cannot go on.
        """
        index = entry.index
        notice: Callable[[], None] | None = None
        result: bytes | Exception = b""
        if entry.kind == KIND_COMMAND:
            self.time_ms = entry.time_ms if entry.time_ms > self.time_ms else self.time_ms  # noqa: FURB136  max() is slow
            data = entry.data
            try:
                tag = data[0]
                if tag == PLAIN:
                    result = self.machine.apply(data[1:], index, self.time_ms)
                elif tag in _NOTICES:
                    notice = self._notice_in(data)
                else:
                    result = self._apply_special(data, index)
                if type(result) is not bytes:
                    result = _not_bytes(result)
            except ApplyError as error:
                result = error
            except Exception as error:  # noqa: BLE001  whatever apply raises is its result
                result = ApplyError(described(error))
            if type(result) is bytes:
                self.digest.on_applied(index, data, result)
            else:
                # Texts may carry addresses of objects; that it failed, and how, must be the same everywhere.
                self.apply_errors += type(result) is ApplyError  # its kinds are refusals: nothing was carried out
                self.digest.on_applied(index, data, type(result).__name__.encode())
        else:
            self.digest.on_applied(index, b"", b"")
            if entry.kind == KIND_MEMBERSHIP:
                membership = decode_membership(entry.data)
                self.machine.on_membership((*membership.voters, *membership.learners))
        if notice is not None:
            notice()
        self.applied = index
        self.applied_term = entry.term
        self.waiters.settle(index, entry.term, result)

    def _raise_version(self, now: float) -> None:
        """As leader, let a version be used that all members know by now."""
        version = self.version.to_ask_for(self.core)
        if version is not None and self.core.step(Proposed((use_version(version),), self.time_ms), now):
            self.version.on_asked(self.core.term, version)
            self.has_proposed = True

    def _notice_in(self, data: bytes) -> Callable[[], None]:
        """Return what tells the state machine of something; what that raises is no command's result."""
        if data[0] == HISTORY_LOST:
            return self.machine.on_history_lost
        version = int(data[1:])

        def notice() -> None:
            self._use_version(version)
            self.machine.use_version(self.version.in_force)

        return notice

    def _use_version(self, version: int) -> None:
        """From here on commands up to `version` come; raises `ConfigError` if this node does not know them."""
        known = self.core.state.config.command_version
        if version > known:
            raise ConfigError(
                f"the group uses commands of version {version}, this node's state machine knows those up to {known}: "
                f"start it with the newer software"
            )
        self.version.in_force = max(version, self.version.in_force)

    def _apply_special(self, data: bytes, index: Index) -> bytes:
        """Carry out what is not the state machine's alone."""
        if data[0] == OPEN_SESSION:
            session, born = session_to_open(data, index)
            if not self.sessions.open(session, self.time_ms, born):
                raise SessionClosed(_NOT_OPEN % session)
            return b"%d" % session
        if data[0] == CLOSE_SESSION:
            return b"%d" % self.sessions.close(session_to_close(data), self.time_ms)
        return self._apply_in_session(data, index)

    def _apply_in_session(self, data: bytes, index: Index) -> bytes:
        """Carry out a session's command unless that was done already (G7); then repeat its reply (L38).

        Raises `ApplyError` for a command that failed, now or the first time, or that no memory is kept of.
        """
        _, session_id, sequence = SESSION_HEADER.unpack_from(data)
        self.sessions.expire(self.time_ms)
        session = self.sessions.find(session_id)
        if session is None:
            raise SessionClosed(_NOT_OPEN % session_id)
        if sequence < session.sequence:
            raise OutdatedSequence(
                f"command {sequence} of session {session_id} is older than the last one ({session.sequence}), "
                f"whose reply is the only one kept: it is not carried out now, nor later; whether it was is unknown"
            )
        if sequence > session.sequence:
            failed = False
            try:
                reply = self.machine.apply(data[SESSION_HEADER.size :], index, self.time_ms)
                if type(reply) is not bytes:
                    failed, reply = True, str(_not_bytes(reply)).encode()
            except NotServed:
                raise  # nothing was done: the number stays free for where it is served (G16)
            except Exception as error:  # noqa: BLE001  whatever apply raises is its result
                failed, reply = True, described(error).encode()
            self.sessions.remember(session_id, sequence, failed=failed, reply=reply, time_ms=self.time_ms)
        else:
            self.sessions.touch(session_id, self.time_ms)
            if session.reply_forgotten:
                raise ReplyForgotten(
                    f"command {sequence} of session {session_id} was carried out when it was first sent; its reply "
                    f"was too large, or is too old, to be kept"
                )
            failed, reply = session.failed, session.reply
        if failed:
            raise ApplyError(reply.decode())
        return reply


def _not_bytes(result: object) -> ApplyError:
    return ApplyError(f"TypeError: apply() must return bytes, not {type(result).__name__}")
