"""Whether an event that a driver may put off really brings nothing about: the other side of `core.deferral`."""

from raftline.core.events import Event, Persisted, ReadRequested, Received
from raftline.core.messages import AppendReply
from raftline.core.progress import Mode
from raftline.core.raft import Raft
from raftline.core.state import Role

__all__ = ["decided", "may_be_put_off"]


def may_be_put_off(core: Raft, event: Event) -> bool:
    """Say whether a driver may put an event off."""
    if type(event) is Persisted:
        return core.disk_may_wait
    if type(event) is ReadRequested:
        return not event.lease and core.read_may_wait
    return (
        type(event) is Received
        and type(event.message) is AppendReply
        and core.reply_may_wait(event.sender, event.message)
    )


def decided(core: Raft) -> tuple[object, ...]:
    """Return what somebody may wait for: what was concluded, said, asked and answered, to whom entries may go, by when.

    Reads that wait behind others are no more than that.
    """
    state = core.state
    windows = [
        progress.mode is Mode.REPLICATE
        and progress.next_index <= state.log.last_index
        and progress.inflight_messages < state.config.inflight_messages_max
        and progress.inflight_bytes < state.config.inflight_bytes_max
        for progress in state.progress.values()
    ]
    said = (len(state.out), len(state.early), len(state.answers), len(state.read_outcomes), state.must_announce)
    return (
        state.term,
        state.role,
        state.leader,
        state.asleep,
        state.commit,
        state.membership,
        said,
        windows,
        (state.reads.round, len(state.reads.confirming), state.reads.asked, _is_to_ask(core)),
        core.next_deadline,
    )


def _is_to_ask(core: Raft) -> bool:
    """Say whether a follower asks its leader for its reads next."""
    reads = core.state.reads
    return bool(reads.waiting) and not reads.asked and core.role is Role.FOLLOWER and core.leader is not None
