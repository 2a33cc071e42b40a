"""What a leader owes its followers, checked after each of its turns: no silence, no delay, no chatter.

The step checks see what an event does to one core; these see what became of it by the end of the turn: that whoever
refused was answered at once, that everybody hears something within a heartbeat interval and nothing twice in it, and
that what a majority stores is committed.
"""

from collections.abc import Callable
from typing import NoReturn

from raftline.core.ids import Index, NodeId, Term
from raftline.core.messages import AppendRequest
from raftline.core.progress import Mode
from raftline.core.raft import Raft
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation

__all__ = ["LeaderChecks"]

_SILENCE_FACTOR = 1.5
_CHATTER_FACTOR = 0.7
"""In heartbeat intervals, by the leader's own clock."""
_SLACK_S = 1e-6


class LeaderChecks:
    """Remembers what leaders said, and when.

    Invariant: `_spoken` and `_empty` hold the last messages of a sender's present incarnation.
    """

    def __init__(self, clock: Callable[[NodeId], float], state_of: Callable[[NodeId], RaftState | None]) -> None:
        self._clock = clock
        self._state_of = state_of
        self._spoken: dict[tuple[NodeId, NodeId], float] = {}
        self._since: dict[NodeId, tuple[Term, dict[NodeId, float]]] = {}
        self._empty: dict[tuple[NodeId, NodeId], tuple[float, tuple[Term, Index, Index, int, bool]]] = {}

    def forget(self, node: NodeId) -> None:
        """An incarnation ended; the next one owes nothing yet."""
        for key in [key for key in self._spoken if key[0] == node]:
            del self._spoken[key]
            self._empty.pop(key, None)
        self._since.pop(node, None)

    def on_append_request(self, source: NodeId, target: NodeId, request: AppendRequest) -> None:
        """Note that a leader speaks; a heartbeat that repeats the last one comes too soon (A7, A18, A25)."""
        now = self._clock(source)
        key = (source, target)
        self._spoken[key] = now
        if request.entries:
            self._empty.pop(key, None)
            return
        content = (request.term, request.prev_index, request.commit, request.round, request.quiesce)
        last_at, last = self._empty.get(key, (0.0, None))
        state = self._state_of(source)
        if last == content and state is not None:
            passed_s = now - last_at
            if passed_s < _CHATTER_FACTOR * state.config.heartbeat_interval_s:
                self._violated(source, f"repeats its heartbeat to {target} after {1000 * passed_s:.1f} ms (A7, A25)")
        self._empty[key] = now, content

    def on_doubted(self, leader: NodeId, follower: NodeId) -> None:
        """A follower said, maybe long ago, that its disk was lost: its leader may start over with it (C14)."""
        self._empty.pop((leader, follower), None)

    def check_turn(self, core: Raft, refusals: set[NodeId]) -> None:
        """Look at a leader after its turn; `refusals` names the followers that refused its probe in it."""
        state = core.state
        self._check_commit(state)
        if state.persisted_term != state.term:
            return  # what it says waits for the disk
        now, interval_s = self._clock(state.me), state.config.heartbeat_interval_s
        since = self._known_since(state, now)
        if not state.progress or state.asleep:
            return  # there is nobody to tell, or nothing
        if core.next_deadline > state.now + interval_s + _SLACK_S:
            self._violated(
                state.me, f"leads and wants to be woken in {core.next_deadline - state.now:.3f} s only (A7, A22)"
            )
        for peer, progress in state.progress.items():
            spoken_at = self._spoken.get((state.me, peer), float("-inf"))
            silent_s = now - max(spoken_at, since.get(peer, float("-inf")))
            if peer not in since and silent_s == float("inf"):
                continue
            if silent_s > _SILENCE_FACTOR * interval_s:
                self._violated(state.me, f"leads and has told {peer} nothing for {silent_s:.3f} s (A22, E9)")
            if silent_s and peer in refusals and progress.mode is not Mode.SNAPSHOT:
                self._violated(state.me, f"was refused by {peer} and does not try again at once (B25)")

    def _known_since(self, state: RaftState, now: float) -> dict[NodeId, float]:
        """Return when each peer joined this leader, which owes it nothing before; those it began with have always.

        Left out is a removed leader that handed over to a node which had just started: nobody there knows where it is.
        """
        peers = state.progress.keys() - {node for node, departure in state.departing.items() if not departure.address}
        term, since = self._since.get(state.me, (0, {}))
        if term != state.term:
            since = dict.fromkeys(peers, float("-inf"))
        elif since.keys() != peers:
            since = {peer: since.get(peer, now) for peer in peers}
        self._since[state.me] = state.term, since
        return since

    def _check_commit(self, state: RaftState) -> None:
        """What a majority stores is committed, once one of it is of this term (B1, B11, B13, B26)."""
        if state.commit == state.log.last_index:
            return
        stored = {peer: progress.match_index for peer, progress in state.progress.items()}
        stored[state.me] = state.persisted
        halves = [half for half in (state.membership.voters, state.membership.outgoing) if half]
        agreed = min(sorted(stored.get(node, 0) for node in half)[(len(half) - 1) // 2] for half in halves)
        if agreed > state.commit and state.log.term_at(agreed) == state.term:
            self._violated(
                state.me, f"knows that a majority stores {agreed} and has committed {state.commit} (B1, B13, B26)"
            )

    def _violated(self, name: NodeId, what: str) -> NoReturn:
        raise SafetyViolation(f"{name}: {what}")
