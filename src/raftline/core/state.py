"""The state of one replica, its fields grouped as in the paper's Figure 2, and what it wants done next.

Handlers record facts here, `rules` concludes, `Raft.take_ready` hands out. Nothing here decides anything.
"""

from enum import Enum
from typing import Protocol

from raftline.core.config import CoreConfig
from raftline.core.configuration import Configuration
from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import Index, NodeId, Term
from raftline.core.log import Log
from raftline.core.membership import Membership
from raftline.core.messages import Directory, Message
from raftline.core.pending import Departure, PendingChange, Transfer
from raftline.core.progress import PeerProgress
from raftline.core.reads import Reads
from raftline.core.ready import Answer, ChunkReceived, ChunkWanted, EntriesWanted, Outgoing, ReadOutcome
from raftline.core.role_changes import RoleChange, Why
from raftline.core.slow_disks import SlowDisks
from raftline.core.stamps import Proof, Stamps

__all__ = ["NOBODY", "RaftState", "RandomSource", "Role"]

_ROLE_CHANGES_MAX = 64
NOBODY: frozenset[NodeId] = frozenset()
"""One for all, because each empty set takes 200 bytes."""


class Role(Enum):
    """What a replica takes itself for (§5.1); a pre-candidate asks before it raises its term (thesis 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"

    __hash__ = object.__hash__  # each is one object; rows of tables are looked up by it with every message


class RandomSource(Protocol):
    """Where election timeouts come from: `random.Random`, or a simulator's stream."""

    def random(self) -> float:
        """Return a number in `[0, 1)`."""


class RaftState:
    """Everything that one replica knows; changed only by the core's handlers, transitions and rules."""

    __slots__ = (
        "answers",
        "applied",
        "asleep",
        "blank_peers",
        "can_sleep",
        "change",
        "chunks_received",
        "chunks_wanted",
        "commit",
        "config",
        "configuration",
        "departing",
        "digest",
        "digest_index",
        "directory",
        "disk_waits_since",
        "drowsy_since",
        "early",
        "election_deadline",
        "entries_elsewhere",
        "entries_wanted",
        "established",
        "fresh_at",
        "fresh_index",
        "handed_out",
        "handed_to_disk",
        "handover_after",
        "handover_term",
        "hard_state_changed",
        "hard_state_number",
        "history",
        "install",
        "leader",
        "leader_heard_at",
        "lease_is_fenced",
        "level_at",
        "level_index",
        "log",
        "log_epoch",
        "me",
        "must_announce",
        "must_recount",
        "must_watch",
        "now",
        "out",
        "persisted",
        "persisted_term",
        "predecessor",
        "progress",
        "proof",
        "random",
        "read_outcomes",
        "reads",
        "ready_number",
        "reset",
        "retired",
        "role",
        "role_changes",
        "slow_disks",
        "snapshot",
        "sought_after",
        "stamps",
        "stirred_at",
        "storing",
        "storing_for",
        "term",
        "transfer",
        "unpersisted",
        "vote",
        "votes",
        "woken_at",
    )

    def __init__(
        self,
        me: NodeId,
        config: CoreConfig,
        random: RandomSource,
        hard_state: HardState,
        snapshot: SnapshotMeta,
        entries: list[Entry],
        membership: Membership,
        now: float,
    ) -> None:
        self.me = me
        self.config = config
        self.random = random
        self.now = now

        # Persistent on all servers (Figure 2), and its image on disk.
        # A crash can leave a snapshot of a term that was to be written just then, so nobody was voted for in it.
        self.term: Term = max(hard_state.term, snapshot.term)
        self.vote: NodeId | None = hard_state.vote if hard_state.term == self.term else None
        self.established = hard_state.established
        self.history = hard_state.history  # of this log, once something of it is known to be committed
        self.log = Log(snapshot.index, snapshot.term, entries)
        self.snapshot = snapshot
        known = snapshot.membership if snapshot.membership.voters else membership
        self.configuration = Configuration(snapshot.index, known, entries)

        # What is on disk, and what is on its way there.
        self.hard_state_changed = hard_state.term < self.term
        self.reset: SnapshotMeta | None = None
        self.handed_to_disk: Index = self.log.last_index
        self.persisted: Index = self.log.last_index
        self.persisted_term: Term = hard_state.term
        self.unpersisted: list[tuple[int, Index, int, Term]] = []
        self.log_epoch = 0
        self.ready_number = 0
        self.hard_state_number = 0  # of the latest `Ready` that had one
        self.disk_waits_since = now

        # Volatile on all servers: restart means the snapshot is all that is known to be committed (C12).
        self.commit: Index = snapshot.index
        self.handed_out: Index = snapshot.index
        self.applied: Index = snapshot.index
        self.digest_index: Index = 0
        self.digest = 0
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        # With leases, a start may come right after a promise to a leader (see `lease`).
        self.leader_heard_at = now if config.lease_reads and self.term else float("-inf")
        self.election_deadline = float("inf")
        self.can_sleep = config.quiesce_after_s < float("inf")  # see `quiescence`
        self.asleep = False
        self.stirred_at = now
        self.votes: dict[NodeId, bool] = {}
        self.handover_term: Term = 0  # the last one known to have begun with a transfer (thesis 3.10)
        self.predecessor: NodeId | None = None  # who handed over to this replica and is no member any more
        self.blank_peers = NOBODY
        self.entries_elsewhere = False  # what a blank node was told: somebody's log is not blank

        self._make_volatile_on_leaders()

        # Reads; where a leader says everybody is; when a leader's message last left this log nothing to be done, and as
        # of when that is proven; a snapshot that is coming in.
        first = int(random.random() * 2**53)
        self.reads = Reads(first)
        self.stamps = Stamps(first, config.heartbeat_interval_s / 4)
        self.directory: Directory | None = None
        self.level_at = float("-inf")
        self.level_index = self.fresh_index = 0
        self.fresh_at = self.woken_at = float("-inf")  # it slept until `woken_at`
        self.storing: tuple[Index, Term, int] | None = None  # index, term, next offset
        self.storing_for: tuple[Term, int] = (0, 0)  # term and stamp of the request whose chunk is being stored

        self._make_outputs()

    def _make_outputs(self) -> None:
        """Make what the next `Ready` carries, and what is told of role changes: the oldest goes if nobody asks."""
        self.role_changes: list[RoleChange] = []
        self.out: list[Outgoing] = []
        self.early: list[Outgoing] = []
        self.install: SnapshotMeta | None = None
        self.read_outcomes: list[ReadOutcome] = []
        self.answers: list[Answer] = []
        self.entries_wanted: list[EntriesWanted] = []
        self.chunks_wanted: list[ChunkWanted] = []
        self.chunks_received: list[ChunkReceived] = []

    def _make_volatile_on_leaders(self) -> None:
        """Make what only a leader has, anew with each term won: its followers, and what it has begun."""
        self.progress: dict[NodeId, PeerProgress] = {}
        self.proof: Proof | None = None
        self.must_announce = False
        self.must_recount = False
        self.must_watch = False
        self.change: PendingChange | None = None
        self.transfer: Transfer | None = None
        self.departing: dict[NodeId, Departure] = {}
        self.handover_after = float("inf")
        self.sought_after = float("inf")
        """When somebody to hand over to is looked for again."""
        self.retired = False
        self.lease_is_fenced = False
        self.drowsy_since = float("inf")
        self.slow_disks = SlowDisks(self.config.priority_handover_s)  # outlives terms

    @property
    def membership(self) -> Membership:
        """Return the membership in force (§6)."""
        return self.configuration.current

    @property
    def may_campaign(self) -> bool:
        """Say whether this replica may run: it votes, or does if what it does not know to be committed is taken back.

        Else an uncommitted removal of whoever holds the longest log could keep everybody from being elected.
        """
        me = self.me
        if self.membership.is_voter(me):
            return True
        return any(membership.is_voter(me) for membership in self.configuration.possible(self.commit))

    @property
    def is_removed(self) -> bool:
        """Say whether this replica belongs to no group (any more), as far as it knows: removed, or never added."""
        return not self.membership.is_member(self.me) and not self.may_campaign

    @property
    def is_out(self) -> bool:
        """Say whether this replica is no member by what is committed, and by all that it holds behind that.

        Nothing of its log can be needed any more: whoever adds it again begins with it anew (thesis 4.1).
        """
        possible = self.configuration.possible(self.commit)
        return bool(possible[0].voters) and not any(membership.is_member(self.me) for membership in possible)

    @property
    def must_ask(self) -> bool:
        """Say whether this replica, when no leader speaks to it, asks if it is a member still: it may not run.

        Its removal may have been committed without its hearing so, and who runs learns that by asking for votes.
        """
        return bool(self.membership.voters) and not self.may_campaign and not self.is_out

    @property
    def is_blank(self) -> bool:
        """Say whether this log never held anything, so that nothing acknowledged can be missing from it."""
        return self.log.last_index == 0

    @property
    def knows_no_entries(self) -> bool:
        """Say whether this log is blank, and nobody is known whose log is not."""
        return self.log.last_index == 0 and not self.entries_elsewhere

    @property
    def is_restoring(self) -> bool:
        """Say whether the state machine still restores the snapshot that was installed, and can answer nobody."""
        return self.applied < self.snapshot.index

    @property
    def unloadable(self) -> Index:
        """Return up to where entries may leave memory: on disk, and handed out to be applied."""
        return min(self.persisted, self.handed_out)

    def handed_log(self) -> tuple[Entry, ...]:
        """Return the log as far as it was handed out to be written; nothing if some of it is not in memory."""
        low, stop = self.log.base_index + 1, self.handed_to_disk + 1
        return tuple(self.log.slice(low, stop)) if self.log.disk_index < low < stop else ()

    def send(self, to: NodeId, message: Message) -> None:
        """Queue a message that leaves once everything recorded so far is on disk."""
        self.out.append(Outgoing(to, message))

    def note_role_change(self, was: Role, leader_before: NodeId | None, why: Why) -> None:
        """Remember, for logs and metrics, that this replica is now what it is, and why."""
        self.role_changes.append(RoleChange(self.role.value, was.value, self.term, self.leader, leader_before, why))
        del self.role_changes[:-_ROLE_CHANGES_MAX]

    def restart_election_timer(self) -> None:
        """Draw a new timeout; called for exactly the three events of A2, when waking, and when stepping down."""
        if self.asleep:
            self.asleep = False
            self.woken_at = self.now
        low, high = self.config.election_timeout_s
        self.election_deadline = self.now + low + (high - low) * self.random.random()
