"""What a driver may put off: what nobody waits for, and nothing else; walks check it at every step, too."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from raftline.core.events import Proposed, ReadRequested, TransferRequested
from raftline.core.messages import AppendReply, AppendRequest, ReadIndexReply


def _stored(bench: Any, index: int, **fields: Any) -> AppendReply:
    """Return a follower's word that it has stored the entry at `index`, the only one of its message."""
    term = bench.core.term
    reply = AppendReply(term, term, success=True, prev_index=index - 1, match_index=index)
    return msgspec.structs.replace(reply, **fields)


def _leader(bench: Callable[..., Any], **settings: Any) -> Any:
    """Return a leader whose followers have all it has, which is committed."""
    leader = bench(**settings)
    leader.lead()
    leader.step(Proposed((b"x",)))
    for name in leader.membership.voters[1:]:
        leader.receive(name, _stored(leader, 1))
    assert leader.state.commit == 1
    return leader


def test_only_the_acknowledgement_that_commits_is_waited_for(bench: Callable[..., Any]) -> None:
    """A majority decides; the others' answers bring nothing that could not come with the next event (B13)."""
    leader = _leader(bench)
    leader.step(Proposed((b"y",)))
    assert not leader.core.reply_may_wait("n2", _stored(leader, 2))
    leader.receive("n2", _stored(leader, 2))
    assert leader.state.commit == 2
    assert leader.core.reply_may_wait("n3", _stored(leader, 2))


@pytest.mark.parametrize(
    "fields",
    [
        {"success": False},
        {"early": True},
        {"asleep": True},
        {"unestablished": True},
        {"prev_index": 1},
        {"request_term": 0},
        {"term": 9},
    ],
)
def test_other_answers_are_not_put_off(bench: Callable[..., Any], fields: dict[str, Any]) -> None:
    """Refusals, heartbeats' answers, which leases and rounds of reads are made of, and what tells of other things."""
    leader = _leader(bench)
    assert leader.core.reply_may_wait("n3", _stored(leader, 1))
    assert not leader.core.reply_may_wait("n3", _stored(leader, 1, **fields))


def test_an_answer_is_not_put_off_while_more_follows_from_it(bench: Callable[..., Any]) -> None:
    """A read to confirm, entries to send, a successor to tell; and who is no member is none of its business."""
    reading = _leader(bench)
    reading.step(ReadRequested(1))
    assert not reading.core.reply_may_wait("n3", _stored(reading, 1))

    sending = _leader(bench, inflight_messages_max=1)
    sending.step(Proposed((b"y",)))
    sending.step(Proposed((b"z",)))
    sending.receive("n2", _stored(sending, 2))
    assert sending.state.commit == 2
    assert not sending.core.reply_may_wait("n3", _stored(sending, 2)), "its window is full, and there is a third entry"

    telling = _leader(bench, commit_notice_s=0.01)
    telling.step(Proposed((b"y",)))
    telling.receive("n2", _stored(telling, 2))
    assert not telling.core.reply_may_wait("n3", _stored(telling, 2)), "it does not know that this is committed (B27)"

    leaving = _leader(bench)
    leaving.step(TransferRequested(1, "n2"))
    assert not leaving.core.reply_may_wait("n3", _stored(leaving, 1))
    assert not leaving.core.reply_may_wait("n9", _stored(leaving, 1))


def test_a_follower_need_not_hear_at_once_that_its_disk_is_done(bench: Callable[..., Any], entries: Any) -> None:
    """Its answer leaves without the core (C1); whoever stands for election has to, and who knows no leader may."""
    follower = bench(term=1)
    assert not follower.core.disk_may_wait, "without a leader there need not be a timer"
    follower.receive("n2", AppendRequest(1, 0, 0, entries(1, 1), commit=0))
    assert follower.core.disk_may_wait
    follower.time_out()
    assert not follower.core.disk_may_wait


def test_a_leader_hears_of_its_disk_once_somebody_else_has_the_entry(bench: Callable[..., Any]) -> None:
    """Before that nothing can be committed by it (B11), unless it is a majority by itself."""
    leader = _leader(bench)
    leader.node.slow_disk = True
    leader.step(Proposed((b"y",)))
    assert leader.core.disk_may_wait
    leader.receive("n2", _stored(leader, 2))
    assert not leader.core.disk_may_wait

    changing = _leader(bench)
    assert changing.core.disk_may_wait
    changing.state.must_watch = True
    assert not changing.core.disk_may_wait

    alone = bench(size=1)
    alone.lead()
    assert not alone.core.disk_may_wait


def _round_answer(bench: Any, index: int, **fields: Any) -> AppendReply:
    """Return a follower's answer to the heartbeat of the latest round of reads."""
    return _stored(bench, index, prev_index=index, round=bench.state.reads.round, **fields)


def _confirmed_round(bench: Callable[..., Any], **settings: Any) -> Any:
    """Return a leader that a majority confirmed in a round of reads; one follower has not answered it yet."""
    leader = _leader(bench, **settings)
    for name in ("n2", "n3"):
        leader.receive(name, _stored(leader, 1))
    leader.node.ask(1, ReadRequested(1))
    assert not leader.core.reply_may_wait("n2", _round_answer(leader, 1)), "it confirms the read"
    leader.receive("n2", _round_answer(leader, 1))
    assert not leader.state.reads.confirming
    return leader


def test_who_answers_a_round_of_reads_after_the_majority_is_not_waited_for(bench: Callable[..., Any]) -> None:
    """The reads are answered; a heartbeat's answer is stepped at once, and so is one that a lease is made of (§8)."""
    leader = _confirmed_round(bench)
    assert leader.core.reply_may_wait("n3", _round_answer(leader, 1))
    assert not leader.core.reply_may_wait("n3", _round_answer(leader, 1, restoring=True))
    assert not leader.core.reply_may_wait("n3", _round_answer(leader, 1, command_version=9))
    leader.receive("n3", _round_answer(leader, 1))
    assert not leader.core.reply_may_wait("n3", _round_answer(leader, 1)), "it answers a heartbeat"
    leasing = _confirmed_round(bench, lease_reads=True, pre_vote=True, check_quorum=True)
    assert not leasing.core.reply_may_wait("n3", _round_answer(leasing, 1))


def test_a_read_that_comes_during_a_round_waits_for_its_end(bench: Callable[..., Any]) -> None:
    """It needs a round of its own, and one is under way at a time (§8)."""
    leader = _leader(bench)
    assert not leader.core.read_may_wait
    leader.node.ask(1, ReadRequested(1))
    assert leader.core.read_may_wait
    leader.receive("n2", _round_answer(leader, 1))
    assert not leader.core.read_may_wait


def test_a_read_that_comes_while_a_follower_asks_waits_for_the_answer(bench: Callable[..., Any], entries: Any) -> None:
    """It goes with the next question; without a leader nobody is asked."""
    follower = bench(term=1)
    assert not follower.core.read_may_wait, "no leader is known"
    follower.receive("n2", AppendRequest(1, 0, 0, entries(1, 1), commit=0))
    assert not follower.core.read_may_wait
    follower.node.ask(1, ReadRequested(1))
    assert follower.core.read_may_wait
    follower.receive("n2", ReadIndexReply(1, follower.state.reads.asked, 0))
    assert not follower.core.read_may_wait
