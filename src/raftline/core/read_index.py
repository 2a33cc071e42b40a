"""Handlers of linearizable reads (§8, thesis 6.4): on the leader, and on a follower that asks it."""

from raftline.core.events import ReadRequested
from raftline.core.ids import NodeId
from raftline.core.lease import lease_holds
from raftline.core.messages import ReadIndexReply, ReadIndexRequest
from raftline.core.quiescence import stir
from raftline.core.reads import PendingRead
from raftline.core.ready import Outgoing, ReadOutcome
from raftline.core.state import RaftState, Role

__all__ = [
    "conclude_reads",
    "on_read_index_reply",
    "on_read_index_request",
    "on_read_requested",
    "plan_read_request",
    "read_deadline",
    "refuse_read",
    "start_round_if_due",
]


def on_read_requested(state: RaftState, event: ReadRequested) -> str | None:
    """Let a read of this node wait for a round, here or at the leader; without a leader it fails at once."""
    if state.leader is None:
        state.read_outcomes.append(ReadOutcome(event.read_id, None))
        return "no leader is known"
    if event.lease and lease_holds(state):
        state.read_outcomes.append(ReadOutcome(event.read_id, state.commit))
        return None
    state.reads.waiting.append(PendingRead(None, event.read_id, event.lease))
    return None


def on_read_index_request(state: RaftState, sender: NodeId, request: ReadIndexRequest) -> str | None:
    """Let a follower's reads wait for the next round, if no lease will do."""
    stir(state)
    if request.lease and lease_holds(state):
        state.send(sender, ReadIndexReply(state.term, request.read_id, state.commit))
        return None
    state.reads.waiting.append(PendingRead(sender, request.read_id))
    return None


def refuse_read(state: RaftState, sender: NodeId, request: ReadIndexRequest) -> str | None:
    """Tell a follower that this node cannot vouch for its reads."""
    state.send(sender, ReadIndexReply(state.term, request.read_id, None))
    return "does not lead"


def on_read_index_reply(state: RaftState, sender: NodeId, reply: ReadIndexReply) -> str | None:
    """Pass the leader's answer on to every read that the request stood for."""
    reads = state.reads
    if sender != state.leader or not reads.asked or reply.read_id != reads.asked:
        return "answers a request no longer open"
    outcomes = [ReadOutcome(read.read_id, reply.index) for read in reads.asked_reads]
    state.read_outcomes.extend(outcomes)
    reads.asked = 0
    reads.asked_reads = []
    return None


def conclude_reads(state: RaftState, quorum_round: int) -> None:
    """Release the reads of every round that a quorum answered in this term."""
    for read, index in state.reads.take_confirmed(quorum_round):
        if read.origin is None:
            state.read_outcomes.append(ReadOutcome(read.read_id, index))
        else:
            state.send(read.origin, ReadIndexReply(state.term, read.read_id, index))


def start_round_if_due(state: RaftState) -> bool:
    """Start one round for all reads that wait, once an entry of this term is committed (§8); one at a time."""
    reads = state.reads
    if not reads.waiting or reads.confirming or state.log.term_at(state.commit) != state.term:
        return False
    reads.start_round(state.commit, state.now)
    return True


def plan_read_request(state: RaftState) -> Outgoing | None:
    """Return a follower's request for all its waiting reads; repeated with a new number if no answer comes."""
    reads = state.reads
    if not (reads.asked or reads.waiting) or state.role is not Role.FOLLOWER or state.leader is None:
        return None
    overdue = reads.asked and state.now >= read_deadline(state)
    if (reads.asked and not overdue) or not (reads.waiting or overdue):
        return None
    reads.next_ask += 1
    reads.asked = reads.next_ask
    reads.asked_at = state.now
    reads.asked_reads += reads.waiting
    reads.waiting = []
    lease = all(read.lease for read in reads.asked_reads)
    return Outgoing(state.leader, ReadIndexRequest(state.term, reads.asked, lease))


def read_deadline(state: RaftState) -> float:
    """Return when a follower's unanswered request is repeated; infinity if none is open."""
    if not state.reads.asked:
        return float("inf")
    return state.reads.asked_at + 2 * state.config.heartbeat_interval_s
