"""Each check of a message fires on the lie that it guards against, and lets the truth pass."""

from random import Random

import msgspec
import pytest

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, SnapshotRequest, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.ready import Ready
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation
from raftline.sim.message_checks import Durable, LogRecord, MessageChecks
from raftline.wal.wal import Write

MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
CONFIG = CoreConfig(guard_lost_disk=False)
ENTRY = Entry(1, 1, b"a")
HEARTBEAT = AppendRequest(1, 0, 0, (), 0)
SNAPSHOT = SnapshotRequest(1, 5, 1, MEMBERS, 0, b"", done=True)


class World:
    """n1, with term 1, its own vote and one entry of term 1 on disk, and the checks of what it sends."""

    def __init__(self) -> None:
        self.now = 1.0
        core = Raft(
            "n1", MEMBERS, random=Random(1), now=0.0, config=CONFIG, hard_state=HardState(1, "n1"), entries=[ENTRY]
        )
        self.state: RaftState | None = core.state
        self.checks = MessageChecks(lambda _name: self.now, lambda _name: self.state)
        self.durable = self.checks.durable["n1"] = Durable()
        self.durable.term, self.durable.vote, self.durable.last_index = 1, "n1", 1

    def send(self, message: object, to: str = "n2") -> None:
        """Let n1 send a message."""
        self.checks.on_sent("n1", to, message)

    def lead(self) -> None:
        """Let n1 have won term 1."""
        self.checks.leaders[1] = "n1"


def test_logs_that_disagree_are_noticed() -> None:
    """Same index and term, same entry, same predecessor, whoever stored it (B2)."""
    record = LogRecord()
    record.note("n1", [Entry(1, 1, b"a"), Entry(2, 2, b"b")])
    record.note("n2", [Entry(1, 1, b"a"), Entry(2, 2, b"b")])
    record.note("n2", [Entry(1, 2, b"c"), Entry(2, 3, b"b")])
    with pytest.raises(SafetyViolation, match=r"n3: stores \(b'x', 0\) at index 1 of term 1, where .*log matching"):
        record.note("n3", [Entry(1, 1, b"x")])
    with pytest.raises(SafetyViolation, match=r"n3: stores entry 2 of term 2 behind one of term 2, .* behind term 1"):
        record.note("n3", [Entry(1, 2, b"c"), Entry(2, 2, b"b")])


def test_nothing_counts_as_durable_before_the_log_has_it() -> None:
    """What a node takes for written was given to its log before (C2)."""
    durable = Durable()
    ready = Ready(1, entries=(ENTRY,))
    durable.appended.append(Write(1, entries=(ENTRY,)))
    durable.note("n1", [ready])
    assert durable.last_index == 1
    with pytest.raises(SafetyViolation, match=r"n1: counts on what its log has not been given yet \(C2\)"):
        durable.note("n1", [ready])
    durable.appended.append(Write(1, entries=(Entry(1, 1, b"b"),)))
    with pytest.raises(SafetyViolation, match="has not been given yet"):
        durable.note("n1", [ready])


def test_nothing_is_written_twice() -> None:
    """A term and a vote that are on disk already are not worth an fsync (C7)."""
    durable = Durable()
    write, ready = Write(1, hard_state=HardState(1, "n2")), Ready(1, hard_state=HardState(1, "n2"))
    durable.appended.append(write)
    durable.note("n1", [ready])
    assert (durable.term, durable.vote) == (1, "n2")
    durable.appended.append(write)
    with pytest.raises(SafetyViolation, match=r"which is on its disk already \(C7\)"):
        durable.note("n1", [ready])


def recovered(*, term: int = 1, vote: str | None = "n2", last: int = 0, snapshot: int = 0) -> RaftState:
    """Return what a start found."""
    entries = [Entry(index, 1, b"") for index in range(snapshot + 1, last + 1)]
    meta = SnapshotMeta(snapshot, 1, MEMBERS) if snapshot else None
    return Raft(
        "n1", MEMBERS, random=Random(1), now=0.0, hard_state=HardState(term, vote), snapshot=meta, entries=entries
    ).state


def test_what_a_start_forgot_is_noticed() -> None:
    """Term, vote, log and snapshot are at least what was on disk (C3 to C5, C13, D12)."""
    durable = Durable()
    durable.term, durable.vote, durable.last_index, durable.snapshot_index = 1, "n2", 5, 2
    durable.note_crash([])
    durable.check_recovered(recovered(last=5, snapshot=2))
    durable.check_recovered(recovered(term=2, vote=None, last=7, snapshot=2))
    durable.check_recovered(recovered(last=6, snapshot=6))
    with pytest.raises(SafetyViolation, match=r"term went back from 1 to 0 .* \(C4\)"):
        durable.check_recovered(recovered(term=0, vote=None))
    with pytest.raises(SafetyViolation, match=r"forgot its vote of term 1 for n2: None \(C3\)"):
        durable.check_recovered(recovered(vote=None))
    with pytest.raises(SafetyViolation, match=r"its snapshot went back from 2 .* \(D12\)"):
        durable.check_recovered(recovered(last=5))
    with pytest.raises(SafetyViolation, match=r"its log ends at 4 after a restart, 5 was on disk \(C5\)"):
        durable.check_recovered(recovered(last=4, snapshot=2))


def test_what_was_being_written_in_a_crash_may_be_lost() -> None:
    """An overwritten tail and a log that begins anew may be there, or what they replace, or neither."""
    durable = Durable()
    durable.term, durable.vote, durable.last_index = 1, "n2", 5
    durable.note_crash([Ready(1, entries=(Entry(4, 2, b""),))])
    durable.check_recovered(recovered(last=3))
    with pytest.raises(SafetyViolation, match="its log ends at 2 after a restart, 3 was on disk"):
        durable.check_recovered(recovered(last=2))
    durable.note_crash([Ready(1, reset=SnapshotMeta(1, 1, MEMBERS))])
    durable.check_recovered(recovered(last=1))


def test_the_truth_passes() -> None:
    """A leader that speaks of what is on its disk, and a voter that keeps its word."""
    world = World()
    world.send(VoteRequest(1, 1, 1))
    world.lead()
    world.send(HEARTBEAT)
    world.send(AppendRequest(1, 0, 0, (ENTRY,), 0))
    world.send(SNAPSHOT)
    assert world.checks.voters_for("n1", 1) == {"n1"}
    assert world.checks.announced["n1", 1] == {"n2"}
    world.durable.term, world.durable.vote = 2, "n3"
    world.send(VoteReply(2, 2, granted=True), "n3")
    world.send(VoteReply(2, 2, granted=True), "n3")
    world.send(VoteReply(2, 2, granted=True, pre_vote=True), "n2")
    world.send(AppendReply(2, 2, success=True, prev_index=0, match_index=1), "n3")
    assert world.checks.voters_for("n3", 2) == {"n1"}


def test_what_is_not_on_disk_may_not_be_said() -> None:
    """Acknowledgements, terms and votes wait for the disk (C2, C3, C5)."""
    world = World()
    with pytest.raises(SafetyViolation, match=r"n1: speaks of term 2 before it is on disk \(C2\)"):
        world.send(AppendReply(2, 2, success=False, prev_index=0, match_index=0))
    with pytest.raises(SafetyViolation, match=r"n1: acknowledges 2, but 1 is on disk \(C2, C5\)"):
        world.send(AppendReply(1, 1, success=True, prev_index=1, match_index=2))
    with pytest.raises(SafetyViolation, match=r"leads term 2 before it is on disk \(C2\)"):
        world.send(AppendRequest(2, 0, 0, (), 0))
    with pytest.raises(SafetyViolation, match=r"asks for votes in term 2, its disk says otherwise \(C2, E11\)"):
        world.send(VoteRequest(2, 1, 1))
    with pytest.raises(SafetyViolation, match=r"gives its vote of term 2 to n2 before it is on disk \(C3\)"):
        world.send(VoteReply(2, 2, granted=True))


def test_a_term_may_be_overtaken_on_disk_before_its_votes_are_asked_for() -> None:
    """Two elections may wait for one write; what the first asks for is as safe as if it had come in time (C2, E11)."""
    world = World()
    world.durable.term, world.durable.vote = 3, "n1"
    world.send(VoteRequest(2, 1, 1))
    world.durable.term, world.durable.vote = 3, "n2"
    with pytest.raises(SafetyViolation, match=r"asks for votes in term 3, its disk says otherwise \(C2, E11\)"):
        world.send(VoteRequest(3, 1, 1))


def test_two_votes_in_a_term_are_noticed() -> None:
    """Also if the disk forgot the first in between (A11)."""
    world = World()
    world.durable.vote = "n2"
    world.send(VoteReply(1, 1, granted=True))
    world.durable.vote = "n3"
    with pytest.raises(SafetyViolation, match=r"n1: votes for n2 and for n3 in term 1 \(A11\)"):
        world.send(VoteReply(1, 1, granted=True), "n3")
    world.checks.forget_votes_of("n1")
    world.send(VoteReply(1, 1, granted=True), "n3")


def test_a_lost_disk_does_not_vote_before_it_holds_what_was_committed() -> None:
    """A vote for a log that lacks what this one lost could undo a commit (C14)."""
    world = World()
    world.checks.lost["n1"] = 2
    world.durable.vote = "n2"
    with pytest.raises(SafetyViolation, match=r"votes with a log up to 1, having lost 2 \(C14\)"):
        world.send(VoteReply(1, 1, granted=True))
    world.checks.lost["n1"] = 1
    world.send(VoteReply(1, 1, granted=True))


def test_only_the_winner_of_a_term_speaks_for_it() -> None:
    """AppendEntries and snapshots come from who won (A21, E12)."""
    world = World()
    with pytest.raises(SafetyViolation, match=r"sends AppendEntries of term 1, which it did not win \(A21\)"):
        world.send(HEARTBEAT)
    with pytest.raises(SafetyViolation, match=r"sends a snapshot in term 1, which it did not win \(A21, E12\)"):
        world.send(SNAPSHOT)


def test_a_failed_disk_makes_its_node_silent() -> None:
    """Nothing can be promised any more (E8)."""
    world = World()
    world.lead()
    world.checks.failed.add("n1")
    with pytest.raises(SafetyViolation, match=r"sends AppendRequest after its disk failed \(E8\)"):
        world.send(HEARTBEAT)


def test_entries_are_sent_again_only_if_somebody_asked() -> None:
    """The last message may be repeated with a heartbeat; earlier ones after an answer (B25, B29, E5)."""
    world = World()
    world.lead()
    request = AppendRequest(1, 0, 0, (ENTRY,), 0)
    world.send(request)
    world.send(request, "n3")
    world.checks.on_delivered("n2", "n1", AppendReply(1, 1, success=False, prev_index=0, match_index=0))
    world.send(request)
    world.now += 0.06
    world.send(request)
    world.now += 0.01
    with pytest.raises(SafetyViolation, match=r"sends n2 entries from 1 again, 10\.0 ms after .* nobody asked"):
        world.send(request)


def test_a_late_word_of_a_lost_disk_makes_a_leader_start_over() -> None:
    """It cannot know that the follower wrote since; any other refusal is no reason to repeat a heartbeat (A7, C14)."""
    world = World()
    world.lead()
    refusal = AppendReply(1, 1, success=False, prev_index=0, match_index=0)
    world.send(HEARTBEAT)
    world.checks.on_delivered("n2", "n1", msgspec.structs.replace(refusal, unestablished=True))
    world.send(HEARTBEAT)
    world.checks.on_delivered("n2", "n1", refusal)
    with pytest.raises(SafetyViolation, match="repeats its heartbeat to n2"):
        world.send(HEARTBEAT)


def test_a_request_comes_from_one_view_of_the_log() -> None:
    """What stands before the entries is theirs (B31)."""
    world = World()
    world.lead()
    with pytest.raises(SafetyViolation, match=r"sends entries from 2 behind 0 \(B31\)"):
        world.send(AppendRequest(1, 0, 0, (Entry(2, 1, b""),), 0))
    with pytest.raises(SafetyViolation, match=r"says term 7 of entry 1, it holds term 1 \(B31\)"):
        world.send(AppendRequest(1, 1, 7, (), 0))


def test_a_node_that_is_down_owes_nothing() -> None:
    """Messages of a stranger, whose disk was never seen, are not judged; a dead node's snapshot is remembered."""
    world = World()
    world.checks.on_sent("n9", "n1", VoteRequest(9, 0, 0))
    world.state = None
    world.durable.snapshot_index = 4
    world.send(AppendReply(1, 1, success=True, prev_index=1, match_index=4))


def test_a_batch_reaches_as_far_as_its_furthest_part() -> None:
    """What a later part of one write cut off was on disk with it: its acknowledgement may leave (C2).

    Found by the simulator, seed 27 of the bench `slow_disks`.
    """
    durable = Durable()
    longer, shorter = (Entry(1, 1, b""), Entry(2, 1, b"")), (Entry(1, 2, b""),)
    batch = [Ready(number=1, entries=longer), Ready(number=2, hard_state=HardState(2, "n2"), entries=shorter)]
    durable.appended.extend(Write(group=0, entries=ready.entries, hard_state=ready.hard_state) for ready in batch)
    durable.note("n1", batch)
    assert (durable.reached, durable.last_index) == (2, 1)
