"""What the leader knows of one follower: the only place where probe, replicate and snapshot change into each other.

`match_index` is measured and only rises; `next_index` is a guess (B19). Callers report what happened (`on_accepted`,
`on_refused`, ...) and never set a field. The picture of the three modes is in docs/log-positions.md.
"""

from enum import IntEnum

from raftline.core.catch_up import CatchUp
from raftline.core.entries import Entry
from raftline.core.ids import Index

__all__ = ["Mode", "PeerProgress"]


_NEVER = float("-inf")
_DOUBLED_MAX = 4
"""A chunk without an answer is sent again after up to sixteen times `snapshot_retry_s`."""


class Mode(IntEnum):
    """How the leader sends to a follower."""

    PROBE = 0
    """One message at a time, until one is accepted."""
    REPLICATE = 1
    """Pipelined: `next_index` runs ahead of the answers, bounded by the window."""
    SNAPSHOT = 2
    """The entries it needs are gone; chunks of a snapshot go one at a time."""


class PeerProgress:
    """One follower as its leader sees it, for one term.

    Invariants: match_index < next_index; match_index falls only if the follower lost its disk; the window is empty
    outside REPLICATE, and so is `fetched`, entries from `next_index` on that were read from the disk.
    """

    __slots__ = (
        "_inflight",
        "acked_round",
        "asleep",
        "catch_up",
        "command_version",
        "fetched",
        "fetching_index",
        "first_echo",
        "followed_at",
        "heard_at",
        "inflight_bytes",
        "is_restoring",
        "is_trusted",
        "match_index",
        "mode",
        "next_index",
        "probing",
        "sent_at",
        "sent_commit",
        "sent_round",
        "snapshot_asked_at",
        "snapshot_asked_before",
        "snapshot_failures",
        "snapshot_index",
        "snapshot_offset",
        "snapshot_tries",
        "stamp",
        "was_heard",
    )

    def __init__(self, next_index: Index, now: float, first_echo: int = 0) -> None:
        """`first_echo` is a number of the leader's (`core/stamps.py`) under which nothing was sent to it before."""
        self.mode = Mode.PROBE
        self.match_index: Index = 0
        self.next_index = next_index
        self.probing = False
        self.heard_at = now
        self.was_heard = False
        self.followed_at = float("-inf")
        """When this leader sent the latest message that the follower answered as its follower."""
        self.asleep = False
        """It said that it sleeps since this leader last began to ask."""
        self.stamp = 0
        """The number of the follower's that came last; 0 if none."""
        self.is_trusted = False
        self.is_restoring = False
        """Its state machine restores a snapshot, as far as is known: it could answer nobody."""
        self.catch_up: CatchUp | None = None
        self.command_version = 0
        """The newest version of commands that its state machine knows; 0 until it told."""
        self.sent_at = float("-inf")
        self.sent_commit: Index = 0
        self.sent_round = 0
        self.acked_round = 0
        self.snapshot_index: Index = 0
        self.snapshot_offset = 0
        self.snapshot_asked_at = self.snapshot_asked_before = _NEVER
        """When the chunk was asked for that is wanted now, and when the time before; minus infinity: it is due."""
        self.snapshot_tries = 0
        """How often it was asked for in a row without an answer."""
        self.snapshot_failures = 0
        """How often the follower began anew, since it last had all."""
        self._inflight: list[tuple[Index, int]] = []
        self.inflight_bytes = 0
        self.fetching_index: Index = 0
        """From where on entries are being read from the disk; 0: none are."""
        self.fetched: tuple[Entry, ...] = ()
        self.first_echo = first_echo

    def is_outdated(self, echo: int) -> bool:
        """Say whether an answer is to what was sent before this progress began, or the disk was lost (E2).

        Whoever gave it may have been removed since, or have lost what it acknowledges. 0 always counts: older nodes
        echo nothing, and a chunk of a snapshot may have been stored for an earlier leader.
        """
        return 0 < echo < self.first_echo

    @property
    def inflight_messages(self) -> int:
        """Return how many AppendEntries with entries wait for an answer."""
        return len(self._inflight)

    def is_silent(self, since: float) -> bool:
        """Say whether the follower did not answer since then: it may not know where to."""
        return not self.was_heard or self.heard_at < since

    def on_sent(self, last_index: Index, size_bytes: int, now: float, round_: int, commit: Index = 0) -> None:
        """Note an AppendEntries whose last entry is `last_index` (`next_index - 1` if it had none)."""
        self.sent_at = now
        self.sent_commit = commit
        self.sent_round = round_
        if self.mode is Mode.PROBE:
            self.probing = True
        elif self.mode is Mode.REPLICATE and last_index >= self.next_index:
            self.next_index = last_index + 1
            self._inflight.append((last_index, size_bytes))
            self.inflight_bytes += size_bytes
            self.fetched = ()

    def on_heard(self, now: float, round_: int) -> None:
        """Note that the follower answered in this term: it accepts this leader."""
        if self.heard_at < self.snapshot_asked_before:
            self.snapshot_tries = min(self.snapshot_tries, 1)  # it was away, and is back
        self.heard_at = now
        self.was_heard = True
        self.acked_round = max(self.acked_round, round_)

    def on_woken(self, now: float) -> None:
        """Note that the leader wakes: who slept was silent on purpose, has to hear of it, and has time to answer."""
        if self.asleep:
            self.asleep = False
            self.heard_at = now
            self.sent_at = _NEVER

    def on_echo(self, sent_at: float, stamp: int) -> None:
        """Note that the follower answered what was sent at `sent_at`, and the number of its answer."""
        self.followed_at = max(sent_at, self.followed_at)
        self.stamp = stamp

    def on_accepted(self, match_index: Index, base_index: Index) -> None:
        """Note that the follower's log matches up to `match_index` (B20, E3); opens the pipeline.

        A follower that reaches `base_index`, the end of what this leader compacted, needs no snapshot (any more); one
        that reaches the end of the snapshot it is being sent needs no more of that one, but maybe a newer one.
        """
        self.on_stored(match_index)
        if self.mode is Mode.PROBE or (
            self.mode is Mode.SNAPSHOT and self.match_index >= min(base_index, self.snapshot_index)
        ):
            self._become_replicate()

    def on_installed(self, match_index: Index, base_index: Index) -> None:
        """Note that the follower has stored a snapshot, or needs none; its next answer says whether it restores one."""
        self.is_restoring = True
        self.on_accepted(match_index, base_index)

    def on_stored(self, match_index: Index) -> None:
        """Note that the follower has on disk what this leader has up to `match_index`, and nothing else."""
        self.match_index = max(self.match_index, match_index)
        if self.next_index <= self.match_index:
            self.next_index = self.match_index + 1
            self.fetched = ()
        while self._inflight and self._inflight[0][0] <= self.match_index:
            self.inflight_bytes -= self._inflight.pop(0)[1]

    def on_fetching(self) -> None:
        """Note that entries from `next_index` on are being read from the disk."""
        assert self.mode is Mode.REPLICATE, "a probe says where to go on, without entries"
        self.fetching_index = self.next_index

    def on_fetched(self, low: Index, entries: tuple[Entry, ...]) -> bool:
        """Note what was read from `low` on; return whether it can be sent: the follower may be elsewhere by now."""
        if low != self.fetching_index:
            return False
        self.fetching_index = 0
        if low != self.next_index:
            return False
        self.fetched = entries
        return True

    def is_stale_refusal(self, prev_index: Index) -> bool:
        """Say whether a refusal of `prev_index` is of an earlier probe and must not undo progress (E4)."""
        if self.mode is Mode.SNAPSHOT or prev_index <= self.match_index:
            return True
        return prev_index != self.next_index - 1 if self.mode is Mode.PROBE else prev_index >= self.next_index

    def on_refused(self, next_index: Index) -> None:
        """Note that the logs differ at the last probe: go on at `next_index`, one message at a time."""
        self._clear_window()
        self.mode = Mode.PROBE
        self.probing = False
        self.next_index = max(min(next_index, self.next_index), self.match_index + 1)

    def on_trust(self, trusted: bool) -> None:  # noqa: FBT001  a fact, passed on
        """Note whether the follower's disk may be relied on for a vote (C14)."""
        self.is_trusted = trusted

    def on_restoring(self, restoring: bool) -> None:  # noqa: FBT001  a fact, passed on
        """Note whether the follower's state machine restores a snapshot."""
        self.is_restoring = restoring

    def on_log_lost(self, first_echo: int) -> None:
        """Note that the follower lost its disk: nothing it acknowledged counts from here on (C14).

        Nor do answers to older numbers than `first_echo`, which may still come (E2).
        """
        self.match_index = 0
        self.first_echo = first_echo

    def on_heartbeat_due(self) -> None:
        """Note that an unanswered probe may be repeated: it, or its answer, may be lost."""
        self.probing = False

    def become_snapshot(self, index: Index) -> None:
        """Switch to sending the snapshot at `index` from its beginning."""
        self._clear_window()
        self.mode = Mode.SNAPSHOT
        self.snapshot_index = index
        self.snapshot_offset = 0
        self._make_chunk_due()

    def chunk_due_at(self, retry_s: float) -> float:
        """Return when the next chunk is due: at once, or each time after twice as long if there is no answer."""
        return self.snapshot_asked_at + retry_s * (1 << min(max(self.snapshot_tries - 1, 0), _DOUBLED_MAX))

    def on_chunk_asked(self, now: float) -> None:
        """Note that the next chunk is being read."""
        self.snapshot_asked_at, self.snapshot_asked_before = now, self.snapshot_asked_at
        self.snapshot_tries += 1

    def on_chunk_sent(self, now: float) -> None:
        """Note that the next chunk was read, and goes out."""
        self.snapshot_asked_at = now

    def on_chunk_accepted(self, next_offset: int, now: float) -> None:
        """Note where the follower wants to go on; the next chunk is due at once.

        Whoever begins anew, because what it got is damaged or it cannot store it, will do so again: from the second
        time on it has to wait, each time for twice as long.
        """
        begins_anew = next_offset == 0 < self.snapshot_offset
        self.snapshot_offset = next_offset
        self._make_chunk_due()
        if begins_anew:
            self.snapshot_failures += 1
            if self.snapshot_failures > 1:
                self.snapshot_asked_at = now
                self.snapshot_tries = self.snapshot_failures - 1

    def _make_chunk_due(self) -> None:
        self.snapshot_asked_at = self.snapshot_asked_before = _NEVER
        self.snapshot_tries = 0

    def _become_replicate(self) -> None:
        self._clear_window()
        self.snapshot_failures = 0
        self.mode = Mode.REPLICATE
        self.probing = False
        self.next_index = self.match_index + 1

    def _clear_window(self) -> None:
        self._inflight.clear()
        self.inflight_bytes = 0
        self.fetching_index = 0
        self.fetched = ()
