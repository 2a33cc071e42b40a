"""Snapshots in pieces: whatever is lost, repeated or overtaken, a follower ends up with one whole, newer state."""

from typing import Any

import msgspec
import pytest

from raftline.core.events import Applied, ChunkRead, ChunkStored, Compacted, SnapshotTaken
from raftline.core.messages import AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, VoteReply
from raftline.core.progress import Mode
from raftline.core.ready import ChunkReceived
from raftline.core.snapshots import index_needed
from raftline.core.state import Role


def _chunk(one: Any, offset: int, data: bytes, *, done: bool, at: tuple[int, int] = (6, 1), term: int = 1) -> Any:
    return SnapshotRequest(term, at[0], at[1], one.membership, offset, data, done)


def _file(one: Any, index: int) -> bytes:
    one.others_committed(index)
    content: bytes = one.node.snapshot_file([(n, b"%d" % n) for n in range(1, index + 1)])
    return content


def _leader(bench: Any, **settings: Any) -> Any:
    """Return a leader whose log begins behind 6 and whose follower n2 has only 2 entries."""
    one = bench(snapshot=(6, 1), terms=[1] * 4, **settings)
    one.lead()
    term = one.core.term
    one.receive("n2", AppendReply(term, term, False, 10, 0, conflict_index=3))  # noqa: FBT003
    assert one.state.progress["n2"].mode is Mode.SNAPSHOT
    return one


def _reply(one: Any, index: int, next_offset: int, *, installed: bool = False) -> SnapshotReply:
    return SnapshotReply(one.core.term, one.core.term, index, next_offset, installed)


# The follower.


def test_a_whole_snapshot_replaces_log_and_state(bench: Any) -> None:
    """Chunk after chunk is stored; with the last one the log starts anew and the leader hears of it (D8, D11, D12)."""
    one = bench(terms=[1, 1], term=1)
    content = _file(one, 6)
    assert one.receive("n2", _chunk(one, 0, content[:10], done=False)) == []
    one.node.work_on_snapshot()
    ((to, reply),) = one.taken()
    assert (to, reply.next_offset, reply.installed) == ("n2", 10, False)
    one.receive("n2", _chunk(one, 10, content[10:], done=True))
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert reply.installed
    assert (one.state.log.base_index, one.state.log.last_index, one.state.commit, one.state.applied) == (6, 6, 6, 6)
    assert [index for index, _ in one.node.applied] == [1, 2, 3, 4, 5, 6]


def test_a_chunk_that_comes_twice_while_it_is_stored_starts_nothing_over(bench: Any) -> None:
    """The answer is on its way already: a repetition on the network costs no second transfer (E7)."""
    one = bench()
    content = _file(one, 6)
    one.receive("n2", _chunk(one, 0, content[:10], done=False))
    assert one.receive("n2", _chunk(one, 0, content[:10], done=False)) == []
    assert len(one.node.jobs) == 1
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert reply.next_offset == 10


def test_a_chunk_whose_answer_was_lost_is_answered_with_the_next_offset(bench: Any) -> None:
    """The leader asks again, and goes on where the follower is."""
    one = bench()
    content = _file(one, 6)
    one.receive("n2", _chunk(one, 0, content[:10], done=False))
    one.node.work_on_snapshot()
    one.taken()
    assert one.answer("n2", _chunk(one, 0, content[:10], done=False)).next_offset == 10


def test_the_last_answer_lost_is_given_again(bench: Any) -> None:
    """What is covered is "installed", however often it comes (D9)."""
    one = bench()
    content = _file(one, 6)
    one.receive("n2", _chunk(one, 0, content, done=True))
    one.node.work_on_snapshot()
    one.taken()
    assert one.answer("n2", _chunk(one, 0, content, done=True)).installed
    assert not one.node.jobs


def test_a_lost_beginning_is_asked_for(bench: Any) -> None:
    """After a restart, or of a snapshot not seen before, the first chunk comes first."""
    one = bench()
    assert one.answer("n2", _chunk(one, 10, b"x", done=False)).next_offset == 0
    assert not one.node.jobs


def test_a_damaged_file_is_sent_again_from_its_beginning(bench: Any) -> None:
    """Chunks of two leaders' files do not fit together: the whole is checked before it is installed (D12)."""
    one = bench()
    content = _file(one, 6)
    one.receive("n2", _chunk(one, 0, content[:10], done=False))
    one.node.work_on_snapshot()
    one.taken()
    one.receive("n2", _chunk(one, 10, b"of another file", done=True))
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert (reply.next_offset, reply.installed, one.state.commit) == (0, False, 0)


def test_a_newer_snapshot_ends_the_older_one(bench: Any) -> None:
    """The leader has moved on: what is still being stored of the older one is given up."""
    one = bench()
    one.receive("n2", _chunk(one, 0, _file(one, 6)[:10], done=False))
    newer = _file(one, 9)
    one.receive("n2", _chunk(one, 0, newer, done=True, at=(9, 1)))
    one.node.work_on_snapshot()
    assert one.taken() == []
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert (reply.index, reply.installed, one.state.commit) == (9, True, 9)


def test_an_older_snapshot_does_not_undo_a_newer_one_that_was_stored(bench: Any) -> None:
    """Chunks of two snapshots overtake one another on the network: whatever is whole on disk counts (D9).

    Found by a simulated seed: the state machine was restored from the newer file, the log from the older one.
    """
    one = bench()
    older, newer = _file(one, 6), _file(one, 9)
    one.receive("n2", _chunk(one, 0, newer, done=True, at=(9, 1)))
    one.receive("n2", _chunk(one, 0, older, done=True))
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert (reply.index, reply.installed, one.state.commit, one.state.applied) == (9, True, 9, 9)
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert (reply.index, reply.installed, one.state.commit, one.state.log.base_index) == (6, True, 9, 9)


def test_a_chunk_stored_for_a_former_leader_is_reported_to_the_present_one(bench: Any) -> None:
    """Whoever leads now learns how far this follower is, in its own term (E1)."""
    one = bench()
    one.receive("n2", _chunk(one, 0, _file(one, 6)[:10], done=False))
    one.receive("n3", AppendRequest(2, 0, 0, (), 0))
    one.node.work_on_snapshot()
    ((to, reply),) = one.taken()
    assert (to, reply.request_term, reply.next_offset) == ("n3", 2, 10)


def test_an_answer_names_the_request_it_is_to(bench: Any) -> None:
    """Of an earlier leader's none: its numbers were its own (E2)."""
    one = bench()
    content = _file(one, 6)
    first, second = (
        msgspec.structs.replace(_chunk(one, at, content[at : at + 10], done=False), stamp=70 + at) for at in (0, 10)
    )
    one.receive("n2", first)
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert (reply.next_offset, reply.echo) == (10, 70)
    reply = one.answer("n2", first)
    assert (reply.next_offset, reply.echo) == (10, 70)
    one.receive("n2", second)
    one.receive("n3", AppendRequest(2, 0, 0, (), 0))
    one.node.work_on_snapshot()
    ((to, reply),) = one.taken()
    assert (to, reply.next_offset, reply.echo) == ("n3", 20, 0)


def test_without_a_leader_nobody_is_told(bench: Any) -> None:
    """The chunk counts all the same: the next leader goes on behind it."""
    one = bench()
    content = _file(one, 6)
    one.receive("n2", _chunk(one, 0, content[:10], done=False))
    one.time_out()
    one.node.work_on_snapshot()
    assert one.taken() == []
    assert one.answer("n3", _chunk(one, 0, content[:10], done=False, term=2)).next_offset == 10


def test_a_new_leader_has_no_use_for_what_it_was_being_sent(bench: Any) -> None:
    """Who was elected holds everything committed already (§5.4)."""
    one = bench(terms=[1] * 8)
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True))
    one.lead()
    one.node.work_on_snapshot()
    assert one.state.commit == 0
    assert one.core.is_leader


def test_entries_may_overtake_a_snapshot(bench: Any, entries: Any) -> None:
    """What was committed while it was stored is not undone; the leader still hears that it is there (D9)."""
    one = bench(terms=[1, 1])
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True))
    one.receive("n2", AppendRequest(1, 2, 1, entries(3, 1, 1, 1, 1, 1), 7))
    one.node.work_on_snapshot()
    ((_, reply),) = one.taken()
    assert reply.installed
    assert (one.state.commit, one.state.applied, one.state.log.base_index) == (7, 7, 0)


def test_an_acknowledged_suffix_survives_an_install_in_the_same_turn(bench: Any, entries: Any) -> None:
    """Entries, and the snapshot below them: the disk gets the snapshot, then the rest, without a gap (D10)."""
    one = bench(terms=[1, 1], term=1)
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True))
    one.node.held = True
    one.receive("n2", AppendRequest(1, 2, 1, entries(3, 1, 1, 1, 1, 1, 1), 2))
    one.node.work_on_snapshot()
    one.node.held = False
    one.node.work()
    replies = [message for _, message in one.taken()]
    assert [reply.match_index for reply in replies if isinstance(reply, AppendReply)] == [8]
    assert [entry.index for entry in one.node.disk.entries] == [7, 8]
    one.node.crash()
    one.node.start()
    assert (one.state.snapshot.index, one.state.log.last_index) == (6, 8)


def test_two_installs_in_one_turn_leave_no_gap_either(bench: Any, entries: Any) -> None:
    """The second finds its end among entries that the disk never saw."""
    one = bench(term=1)
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True))
    one.node.held = True
    one.node.work_on_snapshot()
    one.receive("n2", AppendRequest(1, 6, 1, entries(7, 1, 1, 1, 1), 6))
    one.step(ChunkStored(one.meta(8, 1), 3, complete=False))
    assert one.state.storing is None, "nobody sent that one"
    one.receive("n2", _chunk(one, 0, _file(one, 8), done=True, at=(8, 1)))
    (received,) = one.state.chunks_received
    one.node.jobs.append(received)
    one.state.chunks_received.clear()
    one.node.work_on_snapshot()
    one.node.held = False
    one.node.work()
    assert one.state.commit == 8
    assert [entry.index for entry in one.node.disk.entries] == [9, 10]


def test_a_conflicting_suffix_goes(bench: Any) -> None:
    """Without the snapshot's last entry in the log nothing behind it can be trusted (D10)."""
    one = bench(terms=[1, 1, 2, 2, 2, 2, 2, 2], term=3)
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True, at=(6, 3), term=3))
    one.node.work_on_snapshot()
    assert (one.state.log.base_index, one.state.log.base_term, one.state.log.last_index) == (6, 3, 6)
    assert one.node.disk.entries == []


def test_a_write_under_way_is_not_mistaken_for_what_replaced_it(bench: Any, entries: Any) -> None:
    """Entries still on their way to the disk when the log starts anew count for nothing afterwards."""
    one = bench(terms=[1], term=1)
    one.node.slow_disk = True
    one.receive("n2", AppendRequest(1, 1, 1, entries(2, 1, 1), 0))
    one.receive("n2", _chunk(one, 0, _file(one, 9), done=True, at=(9, 1)))
    one.node.work_on_snapshot()
    one.node.persist()
    assert one.state.persisted == 9
    one.node.persist(10)
    assert one.state.persisted == 9
    assert one.node.disk.entries == []


@pytest.mark.parametrize("role", [Role.PRE_CANDIDATE, Role.CANDIDATE])
def test_a_snapshot_comes_from_the_leader(bench: Any, role: Role) -> None:
    """It restarts the timer and ends a candidacy like any AppendEntries (D8, A2, A20)."""
    one = bench(pre_vote=role is Role.PRE_CANDIDATE)
    one.time_out()
    assert one.core.role is role
    deadline = one.state.election_deadline
    one.cluster.now += 0.01
    one.receive("n2", _chunk(one, 0, b"x", done=False, term=1))
    assert (one.core.role.value, one.core.leader) == ("follower", "n2")
    assert one.state.election_deadline != deadline


def test_a_deposed_leaders_snapshot_is_refused(bench: Any) -> None:
    """With the present term, and with no other effect (D8, E6)."""
    one = bench(term=5)
    deadline = one.state.election_deadline
    reply = one.answer("n2", _chunk(one, 0, b"x", done=True, term=4))
    assert (reply.term, reply.request_term, reply.installed) == (5, 4, False)
    assert (one.core.leader, one.state.election_deadline, list(one.node.jobs)) == (None, deadline, [])


# A snapshot of one's own.


def test_an_own_snapshot_that_comes_late_is_useless(bench: Any) -> None:
    """An installed one is newer: the base does not go back (D3)."""
    one = bench(terms=[1] * 4, term=1)
    one.receive("n2", AppendRequest(1, 4, 1, (), 4))
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True))
    one.node.work_on_snapshot()
    one.step(SnapshotTaken(one.meta(4, 1), 4))
    assert (one.state.snapshot.index, one.state.log.base_index) == (6, 6)


def test_the_log_goes_piece_by_piece(bench: Any) -> None:
    """What the snapshot covers may be let go later; twice is harmless, more than it covers a bug (D1, D16)."""
    one = bench(terms=[1] * 8, term=1)
    one.receive("n2", AppendRequest(1, 8, 1, (), 8))
    one.node.take_snapshot(keep=8)
    assert (one.state.snapshot.index, one.state.log.base_index) == (8, 0)
    one.step(Compacted(5))
    one.step(Compacted(3))
    assert (one.state.log.base_index, one.state.log.base_term, len(one.state.log)) == (5, 1, 3)
    with pytest.raises(AssertionError, match="covers"):
        one.core.step(Compacted(9), one.now)


# The leader.


def test_chunks_follow_each_other_and_then_the_log(bench: Any) -> None:
    """One chunk at a time; after the last one replication goes on behind the snapshot (D6, D15)."""
    one = _leader(bench, snapshot_chunk_bytes=16)
    content = one.node.disk.snapshot_bytes
    received = b""
    while True:
        one.node.work_on_snapshot()
        ((to, request),) = one.taken()
        assert (to, request.offset) == ("n2", len(received))
        received += request.data
        if request.done:
            break
        one.receive("n2", _reply(one, 6, len(received)))
    assert received == content
    sent = one.receive("n2", _reply(one, 6, len(received), installed=True))
    assert [(message.prev_index, len(message.entries)) for _, message in sent] == [(6, 4)]


def test_a_newer_snapshot_in_between_starts_from_its_beginning(bench: Any) -> None:
    """The file that was being read may be gone."""
    one = _leader(bench)
    one.node.jobs.clear()
    sent = one.step(ChunkRead("n2", one.meta(9, 1), 0, b"newer", done=False))
    assert [(message.index, message.offset) for _, message in sent] == [(9, 0)]
    progress = one.state.progress["n2"]
    assert (progress.snapshot_index, progress.snapshot_offset) == (9, 0)
    one.step(ChunkRead("n2", one.meta(12, 1), 30, b"newest", done=False))
    assert (progress.snapshot_index, progress.snapshot_offset) == (12, 0)
    assert [(wanted.index, wanted.offset) for wanted in one.node.jobs] == [(12, 0)]


def test_a_follower_that_installed_what_is_outdated_by_then_gets_the_newer_one(bench: Any) -> None:
    """While the old one travelled the leader let the entries behind it go: the next snapshot follows at once (D6)."""
    one = _leader(bench)
    one.node.work_on_snapshot()
    one.taken()
    term = one.core.term
    one.receive("n3", AppendReply(term, term, True, 10, 10))  # noqa: FBT003
    one.node.propose(b"x")
    one.receive("n3", AppendReply(term, term, True, 10, 11))  # noqa: FBT003
    one.node.take_snapshot()
    assert one.state.log.base_index == 11
    one.receive("n2", _reply(one, 6, 0, installed=True))
    progress = one.state.progress["n2"]
    assert (progress.mode, progress.snapshot_index, progress.match_index) == (Mode.SNAPSHOT, 11, 6)
    assert [(wanted.index, wanted.offset) for wanted in one.node.jobs] == [(11, 0)]


def test_a_chunk_that_nobody_waits_for_is_not_sent(bench: Any) -> None:
    """The follower is at another offset, is no member, is past it, or this node no longer leads."""
    one = _leader(bench)
    meta = one.state.snapshot
    assert one.step(ChunkRead("n2", meta, 17, b"x", done=False)) == []
    assert one.step(ChunkRead("n3", meta, 0, b"x", done=False)) == []
    assert one.step(ChunkRead("n9", meta, 0, b"x", done=False)) == []
    one.receive("n3", AppendRequest(one.core.term + 1, 10, 1, (), 0))
    assert one.step(ChunkRead("n2", meta, 0, b"x", done=False)) == []


def test_answers_about_another_snapshot_change_nothing(bench: Any) -> None:
    """Also none from a stranger (D15)."""
    one = _leader(bench)
    progress = one.state.progress["n2"]
    one.receive("n2", _reply(one, 3, 40))
    one.receive("n9", _reply(one, 6, 40))
    assert (progress.snapshot_index, progress.snapshot_offset) == (6, 0)
    one.receive("n3", _reply(one, 3, 0, installed=True))
    assert one.state.progress["n3"].match_index == 3


def test_a_lost_chunk_is_sent_again(bench: Any) -> None:
    """After `snapshot_retry_s` without an answer, without any other event but the timer."""
    one = _leader(bench, snapshot_retry_s=0.5)
    one.node.work_on_snapshot()
    one.taken()
    one.wait(0.45)
    assert not one.node.jobs
    one.wait(0.15)
    assert [(wanted.to, wanted.offset) for wanted in one.node.jobs] == [("n2", 0)]


def test_heartbeats_go_on_while_a_snapshot_travels(bench: Any) -> None:
    """From the log's base and without entries; a follower that accepts one needs no snapshot any more (A22)."""
    one = _leader(bench)
    sent = [message for to, message in one.wait(0.08) if to == "n2" and isinstance(message, AppendRequest)]
    assert [(message.prev_index, message.entries) for message in sent] == [(6, ())]
    term = one.core.term
    one.receive("n2", AppendReply(term, term, False, 6, 0, conflict_index=3))  # noqa: FBT003
    assert one.state.progress["n2"].mode == Mode.SNAPSHOT
    one.receive("n2", AppendReply(term, term, True, 6, 6))  # noqa: FBT003
    assert int(one.state.progress["n2"].mode) == int(Mode.REPLICATE)


def test_who_steps_down_reads_no_more_chunks(bench: Any) -> None:
    """Chunks wanted but not yet asked for go with the leadership."""
    one = bench(snapshot=(6, 1), terms=[1] * 4)
    one.lead()
    one.node.held = True
    term = one.core.term
    one.receive("n2", AppendReply(term, term, False, 10, 0, conflict_index=3))  # noqa: FBT003
    one.receive("n3", VoteReply(term + 1, term, granted=False))
    one.node.held = False
    one.node.work()
    assert not one.node.jobs


def test_applied_never_falls_behind_an_install(bench: Any) -> None:
    """A report about an entry below the snapshot comes late and changes nothing (F11)."""
    one = bench(term=1)
    one.receive("n2", _chunk(one, 0, _file(one, 6), done=True))
    one.node.work_on_snapshot()
    one.step(Applied(3))
    assert one.state.applied == 6


def test_what_is_stored_says_which_snapshot_it_is(bench: Any) -> None:
    """The runtime gets membership and term with each chunk, so that a complete file can be installed after a crash."""
    one = bench()
    one.receive("n2", _chunk(one, 0, b"x", done=False, at=(6, 1)))
    (job,) = one.node.jobs
    assert isinstance(job, ChunkReceived)
    assert job.meta == one.meta(6, 1)


# How much of the log they need.


def test_the_log_behind_a_snapshot_on_its_way_is_needed(bench: Any) -> None:
    """A newer snapshot changes nothing for a follower that is being sent an older one (§7)."""
    one = _leader(bench)
    term = one.core.term
    one.receive("n3", AppendReply(term, term, True, 10, 10))  # noqa: FBT003
    assert index_needed(one.state) == 6, "n2 goes on there"
    one.receive("n2", _reply(one, 6, 0, installed=True))
    one.receive("n2", AppendReply(term, term, True, 9, 9))  # noqa: FBT003
    assert index_needed(one.state) == 9, "what it is known to hold"


def test_a_follower_that_does_not_answer_needs_nothing(bench: Any) -> None:
    """The log must not grow for as long as a machine is away (D18)."""
    one = _leader(bench)
    term = one.core.term
    while index_needed(one.state) < 10:
        one.wait(0.05)
        one.receive("n3", AppendReply(term, term, True, 10, 10))  # noqa: FBT003
    assert one.core.is_leader
    one.receive("n2", _reply(one, 6, 10))
    assert index_needed(one.state) == 6, "it is back"


def test_only_a_leader_keeps_its_log_for_others(bench: Any) -> None:
    """A follower answers for its own log alone (D1)."""
    one = bench(snapshot=(6, 1), terms=[1] * 4)
    assert index_needed(one.state) == 10


def test_a_follower_that_cannot_keep_a_snapshot_gets_it_less_and_less_often(bench: Any) -> None:
    """Begun anew once, it goes on at once; from then on it waits, each time twice as long, until it has all (E5)."""
    one = _leader(bench, snapshot_retry_s=0.5)
    progress = one.state.progress["n2"]
    waited = []
    for _ in range(7):
        one.receive("n2", _reply(one, 6, 40))
        one.receive("n2", _reply(one, 6, 0))
        waited.append(progress.chunk_due_at(0.5) - one.state.now)
    assert waited == [0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0], "the first is asked for already"
    one.receive("n2", _reply(one, 6, 0, installed=True))
    assert int(progress.mode) == int(Mode.REPLICATE)
    progress.become_snapshot(6)
    progress.on_chunk_accepted(40, one.state.now)
    progress.on_chunk_accepted(0, one.state.now)
    assert progress.chunk_due_at(0.5) == float("-inf")


def test_what_waits_for_a_follower_that_began_anew_is_sent_when_it_is_due(bench: Any) -> None:
    """Neither before nor never."""
    one = _leader(bench, snapshot_retry_s=0.1)
    for _ in range(2):
        one.receive("n2", _reply(one, 6, 40))
        one.receive("n2", _reply(one, 6, 0))
    one.node.jobs.clear()
    one.wait(0.07)
    assert not one.node.jobs
    one.wait(0.08)
    assert [(wanted.to, wanted.offset) for wanted in one.node.jobs] == [("n2", 0)]
