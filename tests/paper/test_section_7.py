"""§7 Log compaction."""

from typing import Any

import pytest

from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.events import ChunkRead, ChunkStored, SnapshotTaken
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, VoteRequest
from raftline.core.progress import Mode

MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})


def _committed(server: Any, count: int) -> Any:
    one = server(terms=[1] * count, term=1)
    one.receive("n2", AppendRequest(1, count, 1, (), count))
    return one


def test_a_snapshot_lets_go_of_the_log_and_keeps_the_last_term(server: Any) -> None:
    """The sentinel answers for the entry at the snapshot's end (D1, D5, D16, L32)."""
    one = _committed(server, 10)
    one.step(SnapshotTaken(SnapshotMeta(8, 1, MEMBERS), 8))
    assert (one.state.log.base_index, one.state.log.base_term, len(one.state.log)) == (8, 1, 2)
    assert one.answer("n2", AppendRequest(1, 8, 1, (), 8)).success
    assert not one.answer("n3", VoteRequest(2, 9, 1)).granted, "an empty or short log is compared by its real end"


def test_an_older_snapshot_is_useless(server: Any) -> None:
    """The base never goes back (D3)."""
    one = _committed(server, 10)
    one.step(SnapshotTaken(SnapshotMeta(8, 1, MEMBERS), 8))
    one.step(SnapshotTaken(SnapshotMeta(5, 1, MEMBERS), 5))
    assert one.state.log.base_index == 8
    assert one.state.snapshot.index == 8


def test_only_what_is_committed_can_be_in_a_snapshot(server: Any) -> None:
    """A snapshot beyond the commit index is a bug of the caller's (D3)."""
    one = server(terms=[1, 1], term=1)
    with pytest.raises(AssertionError, match="committed"):
        one.raft.step(SnapshotTaken(SnapshotMeta(2, 1, MEMBERS), 2), 0.0)


def test_entries_below_the_base_agree_by_definition(server: Any) -> None:
    """A late AppendEntries from before the compaction is answered, not misread (D14)."""
    one = _committed(server, 10)
    one.step(SnapshotTaken(SnapshotMeta(8, 1, MEMBERS), 8))
    reply = one.answer("n2", AppendRequest(1, 4, 1, tuple(Entry(n, 1, b"") for n in range(5, 13)), 8))
    assert reply.success
    assert reply.match_index == 12
    assert one.state.log.last_index == 12
    assert one.answer("n2", AppendRequest(1, 2, 1, (Entry(3, 1, b""),), 8)).success


def _leader_with_snapshot(server: Any) -> Any:
    one = server(terms=[1] * 4, snapshot=SnapshotMeta(6, 1, MEMBERS), term=1)
    one.lead()
    term = one.state.term
    one.receive("n2", AppendReply(term, term, False, 10, 0, conflict_index=3))  # noqa: FBT003
    return one


def test_a_follower_whose_entries_are_gone_gets_the_snapshot_in_chunks(server: Any) -> None:
    """A nextIndex at or below the base means InstallSnapshot (D6, D19), one chunk at a time."""
    one = _leader_with_snapshot(server)
    progress = one.state.progress["n2"]
    assert progress.mode == Mode.SNAPSHOT
    (wanted,) = one.readies[-1].chunks_wanted
    assert (wanted.to, wanted.index, wanted.offset) == ("n2", 6, 0)
    meta = one.state.snapshot
    term = one.state.term
    sent = one.step(ChunkRead("n2", meta, 0, b"abc", done=False))
    assert [(m.offset, m.data, m.done) for _, m in sent if type(m) is SnapshotRequest] == [(0, b"abc", False)]
    one.receive("n2", SnapshotReply(term, term, 6, 3, installed=False))
    assert one.readies[-1].chunks_wanted[0].offset == 3
    one.step(ChunkRead("n2", meta, 3, b"de", done=True))
    sent = one.receive("n2", SnapshotReply(term, term, 6, 5, installed=True))
    assert progress.match_index == 6, "of the request, whatever the leader compacted since (D15)"
    assert int(progress.mode) == int(Mode.REPLICATE)
    assert [m.prev_index for _, m in sent if type(m) is AppendRequest] == [6]


def test_a_chunk_without_an_answer_is_sent_again(server: Any) -> None:
    """Neither a lost chunk nor a lost reply stops the transfer."""
    one = _leader_with_snapshot(server)
    one.wait(one.state.config.snapshot_retry_s / 2)
    before = sum(len(ready.chunks_wanted) for ready in one.readies)
    one.wait(one.state.config.snapshot_retry_s)
    assert sum(len(ready.chunks_wanted) for ready in one.readies) == before + 1


def _chunk(offset: int, data: bytes, *, done: bool, index: int = 6, term: int = 1) -> SnapshotRequest:
    return SnapshotRequest(term, index, 1, MEMBERS, offset, data, done)


def test_a_follower_installs_a_complete_snapshot(server: Any) -> None:
    """The log starts anew behind it, the state machine is replaced, and only then the leader hears (D8, D10, D12)."""
    one = server(terms=[1, 1], term=1)
    assert one.receive("n2", _chunk(0, b"abc", done=True)) == []
    (received,) = one.readies[-1].chunks_received
    sent = one.step(ChunkStored(received.meta, 3, complete=True))
    assert (one.state.log.base_index, one.state.log.last_index, one.state.commit) == (6, 6, 6)
    assert one.readies[-1].install == received.meta
    assert one.readies[-1].reset == received.meta
    (reply,) = [m for _, m in sent if type(m) is SnapshotReply]
    assert reply.installed
    assert one.answer("n2", AppendRequest(1, 6, 1, (Entry(7, 1, b""),), 6)).success


def test_a_matching_suffix_stays(server: Any) -> None:
    """What follows the snapshot's last entry may have been acknowledged (D10)."""
    one = server(terms=[1] * 8, term=1)
    one.receive("n2", _chunk(0, b"abc", done=True))
    one.step(ChunkStored(one.readies[-1].chunks_received[0].meta, 3, complete=True))
    assert one.state.log.last_index == 8
    assert one.readies[-1].reset is None


def test_a_snapshot_never_moves_a_replica_back(server: Any) -> None:
    """What is committed here already is answered as held, and not installed (D9)."""
    one = _committed(server, 10)
    reply = one.answer("n2", _chunk(0, b"abc", done=True))
    assert reply.installed
    assert one.state.commit == 10
    assert not one.readies[-1].chunks_received


def test_chunks_out_of_order_are_asked_for_again(server: Any) -> None:
    """A chunk that is not the next one is answered with the offset that is wanted."""
    one = server()
    assert one.answer("n2", _chunk(5, b"x", done=False)).next_offset == 0
    one.receive("n2", _chunk(0, b"abcde", done=False))
    one.step(ChunkStored(one.readies[-1].chunks_received[0].meta, 5, complete=False))
    reply = one.answer("n2", _chunk(9, b"x", done=False))
    assert (reply.installed, reply.next_offset) == (False, 5)


def test_after_a_restart_the_snapshot_is_what_is_committed(server: Any) -> None:
    """Commit = applied = the snapshot's index, and nothing at or below it is delivered again (C12, D17)."""
    one = server(terms=[1, 1], snapshot=SnapshotMeta(6, 1, MEMBERS), term=1)
    assert (one.state.commit, one.state.applied, one.state.log.last_index) == (6, 6, 8)
    one.receive("n2", AppendRequest(1, 8, 1, (), 8))
    assert [entry.index for entry in one.applied] == [7, 8]
