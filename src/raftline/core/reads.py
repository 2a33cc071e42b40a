"""Linearizable reads without writing to the log: ReadIndex (§8, thesis 6.4).

The leader notes its commit index, proves by one round of messages that it still leads, and only then lets the reads
go. All reads that wait share one round. Followers ask the leader, all their waiting reads in one request.
"""

import msgspec

from raftline.core.ids import Index, NodeId

__all__ = ["PendingRead", "Reads"]

_ROUNDS_KEPT_MAX = 64


class PendingRead(msgspec.Struct, frozen=True, gc=False):
    """A read that waits at the leader; `origin` is the follower that asked, None for this node itself."""

    origin: NodeId | None
    read_id: int
    lease: bool = False
    """The leader's lease will do."""


class Reads:
    """Reads that wait, by where they stand.

    `first_ask` differs from one life of the replica to the next, so that a late answer to an earlier life matches none.
    Invariants: rounds in `confirming` and `started` (with their times) rise; `asked` is the id of the request under
    way, 0 if there is none.
    """

    __slots__ = (
        "asked",
        "asked_at",
        "asked_reads",
        "confirming",
        "next_ask",
        "round",
        "round_at",
        "started",
        "waiting",
    )

    def __init__(self, first_ask: int = 0) -> None:
        self.round = 0
        self.round_at = float("-inf")
        self.started: list[tuple[int, float]] = []
        self.waiting: list[PendingRead] = []
        self.confirming: list[tuple[int, Index, list[PendingRead]]] = []
        self.asked = 0
        self.asked_at = float("-inf")
        self.asked_reads: list[PendingRead] = []
        self.next_ask = first_ask

    def open_round(self, now: float) -> None:
        """Begin a round: whoever answers it was led by this leader after `now`."""
        self.round += 1
        self.round_at = now
        self.started.append((self.round, now))
        if len(self.started) > _ROUNDS_KEPT_MAX:
            del self.started[0]

    def forget_rounds(self) -> None:
        """Let no round that was begun so far prove anything about time."""
        self.started.clear()
        self.round_at = float("-inf")

    def start_round(self, commit: Index, now: float) -> None:
        """Give every waiting read the present commit index and the number of a new round."""
        self.open_round(now)
        self.confirming.append((self.round, commit, self.waiting))
        self.waiting = []

    def take_confirmed(self, round_: int) -> list[tuple[PendingRead, Index]]:
        """Return the reads whose round, or a later one, a quorum has answered."""
        confirmed: list[tuple[PendingRead, Index]] = []
        while self.confirming and self.confirming[0][0] <= round_:
            _, index, reads = self.confirming.pop(0)
            confirmed.extend((read, index) for read in reads)
        return confirmed

    def take_all(self) -> list[PendingRead]:
        """Return every read that waits anywhere, and forget it: leadership changed."""
        reads = [read for _, _, batch in self.confirming for read in batch]
        reads += self.asked_reads + self.waiting
        self.confirming.clear()
        self.asked = 0
        self.asked_reads = []
        self.waiting = []
        return reads
