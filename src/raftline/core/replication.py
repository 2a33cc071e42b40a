"""The leader's side of AppendEntries (§5.3): what is due to whom, worked out once per turn, and the answers.

Nobody sends AppendEntries by hand. `plan_appends` looks at progress, log, heartbeats and read rounds and makes at
most what each follower's window allows; followers at the same position share one message, encoded once. Entries that
only the disk holds are asked for, and sent when they are there; a probe goes without them.
"""

import msgspec

from raftline.core.entries import Entry
from raftline.core.events import EntriesRead
from raftline.core.freshness import proof
from raftline.core.history import claimed_history
from raftline.core.ids import Index, NodeId
from raftline.core.messages import AppendReply, AppendRequest, Directory
from raftline.core.progress import Mode, PeerProgress
from raftline.core.quiescence import asks_for_sleep, conclude_sleep
from raftline.core.ready import EntriesWanted, Outgoing
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation

__all__ = ["heartbeat_deadline", "on_append_reply", "on_entries_read", "plan_appends"]

_Cache = dict[tuple[Index, int, bool], tuple[AppendRequest, int]]


def on_append_reply(state: RaftState, sender: NodeId, reply: AppendReply) -> str | None:
    """Learn from an answer of this term (E1): progress only forwards, refusals only of the present probe (E4)."""
    progress = state.progress.get(sender)
    if progress is None:
        return "not a member"
    if progress.is_outdated(reply.echo):
        return "answers what was sent before it was added, or lost its disk"
    progress.on_heard(state.now, reply.round)
    progress.on_echo(state.stamps.used_at(reply.echo), reply.stamp)
    state.must_recount = True
    progress.on_trust(not reply.unestablished)
    progress.on_restoring(reply.restoring)
    if reply.early:
        progress.on_stored(reply.match_index)
        return None
    if reply.success:
        progress.command_version = reply.command_version
        assert reply.match_index <= state.log.last_index, "a follower can only match what this leader sent"
        progress.on_accepted(reply.match_index, state.log.base_index)
        if reply.asleep and progress.followed_at >= state.drowsy_since:
            progress.asleep = True
            conclude_sleep(state)
        return None
    if reply.unestablished and reply.conflict_index <= progress.match_index:
        progress.on_log_lost(state.stamps.renew(state.now))
    if progress.is_stale_refusal(reply.prev_index):
        return "refuses an earlier probe"
    progress.on_refused(_next_index_after(state, reply))
    return None


def on_entries_read(state: RaftState, event: EntriesRead) -> str | None:
    """Let entries that were read from the disk go out; they must be those of this log (B2)."""
    progress = state.progress.get(event.to)
    if state.role is not Role.LEADER or progress is None or not progress.on_fetched(event.low, event.entries):
        return "nobody waits for it"
    log = state.log
    if not event.entries and event.low > log.base_index:
        raise SafetyViolation(f"entry {event.low} is behind {log.base_index}, where this log begins, but not on disk")
    for index, entry in enumerate(event.entries, event.low):
        if index > log.base_index and (entry.index != index or entry.term != log.term_at(index)):
            raise SafetyViolation(
                f"the disk gives entry {entry.index} of term {entry.term}, the log has {index} of {log.term_at(index)}"
            )
    return None


def plan_appends(state: RaftState) -> list[Outgoing]:
    """Return every AppendEntries that is due now and note it as sent."""
    planned: list[Outgoing] = []
    cache: _Cache = {}
    for node, progress in state.progress.items():
        if progress.mode is not Mode.SNAPSHOT and progress.next_index <= state.log.base_index:
            progress.become_snapshot(state.snapshot.index)
        if state.must_announce or state.now >= progress.sent_at + state.config.heartbeat_interval_s:
            progress.on_heartbeat_due()
        must_say = (
            state.must_announce
            or state.now >= _silent_until(state, progress)
            or progress.sent_round < state.reads.round
        )
        if not must_say and progress.next_index > state.log.last_index:
            continue
        while True:
            wanted = _bytes_allowed(state, progress)
            if wanted and progress.next_index <= state.log.disk_index and not progress.fetched:
                must_say |= _look_on_disk(state, node, progress, wanted)
                wanted = 0
            if not wanted and not must_say:
                break
            request, size_bytes = _request(state, progress, wanted, cache)
            planned.append(Outgoing(node, request))
            last_index = request.prev_index + len(request.entries)
            progress.on_sent(last_index, size_bytes, state.now, state.reads.round, request.commit)
            must_say = False
            if not wanted or progress.mode is not Mode.REPLICATE:
                break
    state.must_announce = False
    return planned


def _look_on_disk(state: RaftState, node: NodeId, progress: PeerProgress, bytes_max: int) -> bool:
    """Ask for entries that are not in memory; return whether the follower has to be asked first if its log matches."""
    if progress.mode is Mode.PROBE:
        return True
    if not progress.fetching_index:
        low = progress.next_index
        high = min(low + state.config.append_entries_max, state.log.disk_index + 1)
        state.entries_wanted.append(EntriesWanted(node, low, high, bytes_max))
        progress.on_fetching()
    return False


def heartbeat_deadline(state: RaftState) -> float:
    """Return when the first follower has to hear something again; infinity without followers."""
    first = float("inf")
    for progress in state.progress.values():
        due = _silent_until(state, progress)
        if due < first:  # noqa: PLR1730  asked for several times in each turn, and min() costs three times as much
            first = due
    return first


def _silent_until(state: RaftState, progress: PeerProgress) -> float:
    """Return when a follower has to hear something: a heartbeat, or sooner that what it holds is committed (B27)."""
    if progress.sent_commit < state.commit <= progress.match_index:
        return progress.sent_at + min(state.config.commit_notice_s, state.config.heartbeat_interval_s)
    return progress.sent_at + state.config.heartbeat_interval_s


def _bytes_allowed(state: RaftState, progress: PeerProgress) -> int:
    """Return how many payload bytes may go to a follower now; 0: nothing to send, or its window is full."""
    if progress.next_index > state.log.last_index:
        return 0
    config = state.config
    if progress.mode is Mode.PROBE:
        return 0 if progress.probing else config.probe_bytes_max
    if progress.mode is Mode.SNAPSHOT or progress.inflight_messages >= config.inflight_messages_max:
        return 0
    return max(0, min(config.append_bytes_max, config.inflight_bytes_max - progress.inflight_bytes))


def _request(state: RaftState, progress: PeerProgress, bytes_max: int, cache: _Cache) -> tuple[AppendRequest, int]:
    """Build, or take from this turn's cache, the message for a follower's position; and its payload size."""
    log = state.log
    next_index = log.base_index + 1 if progress.mode is Mode.SNAPSHOT else progress.next_index
    bytes_max = max(bytes_max, 0)
    is_silent = progress.is_silent(state.now - state.config.election_timeout_s[0])
    found = cache.get((next_index, bytes_max, is_silent))
    if found is not None:
        return found
    entries: tuple[Entry, ...] = ()
    if bytes_max and next_index <= log.disk_index:
        entries = progress.fetched
    elif bytes_max and next_index <= log.last_index:
        entries = log.batch(next_index, bytes_max, state.config.append_entries_max)
    prev_term = log.term_at(next_index - 1)
    assert prev_term is not None, "the entry before the next one, or the sentinel, is held (B31)"
    echoes, age_ms = proof(state)
    request = AppendRequest(
        term=state.term,
        prev_index=next_index - 1,
        prev_term=prev_term,
        entries=entries,
        commit=state.commit,
        round=state.reads.round,
        digest_index=state.digest_index,
        digest=state.digest,
        directory=Directory(state.configuration.index, state.membership.addresses) if is_silent else None,
        history=claimed_history(state),
        stamp=state.stamps.use(state.now),
        echoes=echoes,
        age_ms=age_ms,
    )
    if state.can_sleep and asks_for_sleep(state):
        request = msgspec.structs.replace(request, quiesce=True)
    cache[next_index, bytes_max, is_silent] = request, sum([len(entry.data) for entry in entries])
    return cache[next_index, bytes_max, is_silent]


def _next_index_after(state: RaftState, reply: AppendReply) -> Index:
    """Return where to go on after a conflict: behind my last entry of its term, or where it says (B24, L26)."""
    if reply.conflict_term:
        last = state.log.last_index_of_term(reply.conflict_term)
        if last is not None:
            return min(last + 1, reply.prev_index)
    return max(1, min(reply.conflict_index, reply.prev_index))
