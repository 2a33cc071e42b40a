"""How a leader sends to one follower."""

import pytest

from raftline.core.progress import Mode, PeerProgress


def _replicating(match: int = 5) -> PeerProgress:
    progress = PeerProgress(next_index=match + 1, now=0.0)
    progress.on_accepted(match, 0)
    return progress


def test_a_probe_is_one_message_at_a_time() -> None:
    """Until one is accepted, the next waits for an answer or for the heartbeat."""
    progress = PeerProgress(next_index=8, now=0.0)
    progress.on_sent(7, 0, 1.0, 0)
    assert progress.probing
    assert progress.next_index == 8
    progress.on_heartbeat_due()
    assert not progress.probing
    progress.on_accepted(7, 0)
    assert (progress.mode, progress.match_index, progress.next_index) == (Mode.REPLICATE, 7, 8)


def test_the_window_fills_and_drains() -> None:
    """Bytes and messages in flight are counted until the follower matches them."""
    progress = _replicating()
    progress.on_sent(7, 100, 1.0, 0)
    progress.on_sent(9, 50, 1.0, 0)
    assert (progress.next_index, progress.inflight_messages, progress.inflight_bytes) == (10, 2, 150)
    progress.on_accepted(7, 0)
    assert (progress.inflight_messages, progress.inflight_bytes) == (1, 50)
    progress.on_accepted(9, 0)
    assert (progress.inflight_messages, progress.inflight_bytes) == (0, 0)


def test_a_heartbeat_takes_no_place_in_the_window() -> None:
    """A message without entries promises nothing new."""
    progress = _replicating()
    progress.on_sent(5, 0, 1.0, 0)
    assert (progress.next_index, progress.inflight_messages) == (6, 0)


def test_a_refusal_closes_the_pipeline() -> None:
    """Back to one message at a time, never below what is matched (E4)."""
    progress = _replicating()
    progress.on_sent(9, 10, 1.0, 0)
    assert not progress.is_stale_refusal(9 - 1)
    progress.on_refused(3)
    assert (progress.mode, progress.next_index, progress.inflight_messages) == (Mode.PROBE, 6, 0)


def test_refusals_of_other_probes_are_stale() -> None:
    """In PROBE only the present one counts; while a snapshot goes none does."""
    progress = PeerProgress(next_index=8, now=0.0)
    assert not progress.is_stale_refusal(7)
    assert progress.is_stale_refusal(6)
    assert progress.is_stale_refusal(0)
    progress.become_snapshot(20)
    assert progress.is_stale_refusal(7)


def test_a_follower_that_reaches_the_base_needs_no_snapshot_any_more() -> None:
    """It may have got there by itself, from an earlier leader's entries."""
    progress = PeerProgress(next_index=3, now=0.0)
    progress.become_snapshot(20)
    progress.on_accepted(10, 20)
    assert progress.mode == Mode.SNAPSHOT
    progress.on_accepted(20, 20)
    assert (int(progress.mode), progress.next_index) == (int(Mode.REPLICATE), 21)


def test_a_lost_disk_takes_acknowledgements_back() -> None:
    """The only way in which a match index falls (C14)."""
    progress = _replicating(match=100)
    progress.on_log_lost(first_echo=7)
    assert progress.match_index == 0
    assert not progress.is_stale_refusal(50)


def _asked(progress: PeerProgress, count: int, *, heard: bool) -> list[float]:
    """Return how long each of `count` chunks is waited for that get no answer."""
    waits, now = [], 100.0
    for _ in range(count):
        progress.on_chunk_asked(now)
        progress.on_chunk_sent(now)
        if heard:
            progress.on_heard(now + 0.1, 0)
        waits.append(progress.chunk_due_at(1.0) - now)
        now += waits[-1]
    return waits


@pytest.mark.parametrize("heard", [True, False])
def test_a_chunk_without_an_answer_is_sent_less_and_less_often(*, heard: bool) -> None:
    """Twice as long each time, up to a bound, whether the follower is away or only takes no snapshot (E5)."""
    progress = PeerProgress(next_index=9, now=0.0)
    progress.become_snapshot(6)
    assert progress.chunk_due_at(1.0) == float("-inf")
    assert _asked(progress, 7, heard=heard) == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]
    progress.on_chunk_accepted(40, 200.0)
    assert progress.chunk_due_at(1.0) == float("-inf")
    assert _asked(progress, 2, heard=heard) == [1.0, 2.0]


def test_a_follower_that_comes_back_gets_its_chunk_soon() -> None:
    """It does not wait for as long as it was silent."""
    progress = PeerProgress(next_index=9, now=0.0)
    progress.become_snapshot(6)
    assert sum(_asked(progress, 6, heard=False)) == 47.0
    progress.on_heard(140.0, 0)
    assert progress.chunk_due_at(1.0) == 132.0
