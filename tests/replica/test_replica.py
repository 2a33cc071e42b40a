"""Promises of the replica: one applier, results to their proposers, exceptions as results, exactly-once sessions."""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry, SnapshotMeta
from raftline.core.events import ChunkStored, Persisted, Received
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, SnapshotRequest
from raftline.core.raft import Raft
from raftline.errors import ApplyError, Diverged, OutdatedSequence, ReplyForgotten, SessionClosed
from raftline.replica.commands import close_session, history_lost, in_session, open_session, plain, use_version
from raftline.replica.replica import Replica
from raftline.replica.sessions import Sessions
from raftline.replica.state_machine import StateMachine


def test_results_reach_their_proposers_in_log_order(driver: Any) -> None:
    """Each proposal gets the result of its own entry, applied once and in order (F8, G2)."""
    assert driver.propose(plain(b"a"), plain(b"b")) == [b"did a", b"did b"]
    assert [command for _, command, _ in driver.machine.commands] == [b"a", b"b"]
    indices = [index for index, _, _ in driver.machine.commands]
    assert indices == sorted(indices)


def test_an_exception_in_apply_is_the_result_and_the_log_goes_on(driver: Any) -> None:
    """A command that raises is answered as an error, counted, and never repeated."""
    failed, fine = driver.propose(plain(b"boom"), plain(b"c"))
    assert isinstance(failed, ApplyError)
    assert "ValueError: boom" in str(failed)
    assert fine == b"did c"
    assert driver.replica.apply_errors == 1


def test_a_result_that_is_not_bytes_is_an_error_of_the_machine(driver: Any) -> None:
    """Whatever `apply` returns besides bytes becomes a clear error."""
    (outcome,) = driver.propose(plain(b"text"))
    assert isinstance(outcome, ApplyError)
    assert "must return bytes, not str" in str(outcome)


class _Mute(Exception):
    """One whose text cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "told"),
    [(_Mute(), "_Mute"), (ValueError("no letter: \ud800"), "ValueError: no letter: \\ud800")],
)
def test_whatever_an_exception_says_it_is_a_result(driver: Any, error: Exception, told: str) -> None:
    """Also one that says nothing, or what UTF-8 has no letter for; in a session nothing is carried out twice (G7)."""

    def fail(*_: object) -> bytes:
        carried_out.append(1)
        raise error

    carried_out: list[int] = []
    (session,) = driver.propose(open_session())
    driver.machine.apply = fail
    (plainly,) = driver.propose(plain(b"a"))
    first, again = driver.propose(*[in_session(int(session), 1, b"a")] * 2)
    assert [str(outcome) for outcome in (plainly, first, again)] == [told] * 3
    assert len(carried_out) == 2


def test_a_generator_gives_the_state_as_of_its_call(driver: Any) -> None:
    """Though its body begins with the first chunk: what it copies first is not of later commands (D2)."""

    def snapshot() -> Iterator[bytes]:
        commands = [command for _, command, _ in driver.machine.commands]
        yield from commands

    driver.machine.snapshot = snapshot
    driver.propose(plain(b"a"), plain(b"b"))
    _, chunks = driver.replica.snapshot()
    driver.propose(plain(b"c"))
    assert list(chunks)[1:] == [b"a", b"b"]


def test_time_never_goes_back_for_the_machine(driver: Any) -> None:
    """A leader whose clock is behind does not turn the machine's time back."""
    driver.propose(plain(b"a"), time_ms=1000)
    driver.propose(plain(b"b"), time_ms=400)
    assert [time_ms for _, _, time_ms in driver.machine.commands] == [1000, 1000]


def test_the_machine_hears_that_history_was_lost(driver: Any) -> None:
    """Once, in log order, before anything that comes behind it (C14)."""
    told: list[int] = []
    driver.machine.on_history_lost = lambda: told.append(len(driver.machine.commands))
    assert driver.propose(plain(b"a"), history_lost(), plain(b"b")) == [b"did a", b"", b"did b"]
    assert told == [1]


@pytest.mark.parametrize(
    ("hook", "command"),
    [("on_history_lost", history_lost()), ("use_version", use_version(1))],
)
def test_a_machine_that_cannot_take_note_ends_the_replica(driver: Any, hook: str, command: bytes) -> None:
    """It would go on with what is not what it has to be: nobody proposed this, so nobody would hear of it (C14)."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("no token is left")

    setattr(driver.machine, hook, fail)
    with pytest.raises(ZeroDivisionError, match="no token is left"):
        driver.propose(command)


def test_the_machine_hears_who_the_members_are() -> None:
    """In log order; who is being removed is none from the joint configuration on (G17)."""
    told: list[tuple[int, Sequence[str]]] = []
    machine = _machine()
    replica = _follower(machine)
    machine.on_membership = lambda members: told.append((replica.applied, members))
    joint = Membership(
        voters=("n1", "n2"),
        outgoing=("n1", "n2", "n3"),
        learners=("n4",),
        addresses=tuple((f"n{number}", f"127.0.0.1:{number}") for number in range(1, 5)),
    )
    entries = (Entry(1, 1, plain(b"a")), Entry(2, 1, encode_membership(joint), KIND_MEMBERSHIP))
    replica.step(Received("n1", AppendRequest(1, 0, 0, entries, 2)), 0.0)
    replica.take_ready()
    assert replica.apply_some(1, 0.0) == 1
    assert not told
    replica.apply_some(1, 0.0)
    assert told == [(1, ("n1", "n2", "n4"))]


def test_the_machine_knows_what_stands_before_a_removal(driver: Any) -> None:
    """All of the log that is not applied, committed or not; who is no member is the core's affair (G17)."""
    pending: list[tuple[str, list[bytes]]] = []
    driver.machine.objection_to_removal = lambda node, commands: pending.append((node, list(commands)))
    replica: Replica = driver.replica
    driver.propose(plain(b"applied"))
    sessions = open_session(7), in_session(7, 1, b"in a session"), close_session(7)
    replica.propose([plain(b"committed"), *sessions], [lambda _outcome: None] * 4, 0.0, 0)
    while (ready := replica.take_ready()) is not None:
        if ready.must_persist:
            replica.step(Persisted(ready.number), 0.0)
    assert replica.backlog == 4
    replica.propose([plain(b"appended")], [lambda _outcome: None], 0.0, 0)
    for node in ("n1", "n9"):
        assert replica.objection_to_removal(node) is None
    assert pending == [("n1", [b"committed", b"in a session", b"appended"])]


def test_a_retry_in_a_session_is_answered_from_the_remembered_reply(driver: Any) -> None:
    """The same number is carried out once, and its retry gets the first reply (G7, G8, L38)."""
    session = int(driver.propose(open_session())[0])
    once = in_session(session, 1, b"x")
    assert driver.propose(once) == [b"did x"]
    assert driver.propose(once, once) == [b"did x", b"did x"]
    assert [command for _, command, _ in driver.machine.commands] == [b"x"]
    assert driver.propose(in_session(session, 2, b"y")) == [b"did y"]


def test_a_failed_command_in_a_session_fails_again_without_being_carried_out(driver: Any) -> None:
    """An exception is remembered like any reply."""
    session = int(driver.propose(open_session())[0])
    first, second = driver.propose(in_session(session, 1, b"boom"), in_session(session, 1, b"boom"))
    assert isinstance(first, ApplyError)
    assert isinstance(second, ApplyError)
    assert str(first) == str(second)
    assert driver.replica.apply_errors == 2


def test_an_older_number_or_an_unknown_session_is_refused_with_words(driver: Any) -> None:
    """What cannot be answered from memory is never carried out again."""
    session = int(driver.propose(open_session())[0])
    driver.propose(in_session(session, 5, b"x"))
    old, unknown = driver.propose(in_session(session, 4, b"old"), in_session(999, 1, b"who"))
    assert isinstance(old, OutdatedSequence)
    assert "older than the last one (5)" in str(old)
    assert isinstance(unknown, SessionClosed)
    assert "session 999 is not open" in str(unknown)
    assert "not answered took effect is unknown" in str(unknown)
    assert [command for _, command, _ in driver.machine.commands] == [b"x"]
    assert driver.replica.apply_errors == 0, "nothing was carried out that could have failed"


def test_a_session_has_the_number_that_its_entry_brings(driver: Any) -> None:
    """Whoever opens it draws the number; an entry without one, of an older node, is known by its index."""
    drawn, indexed = driver.propose(open_session(2**53), open_session())
    assert drawn == b"%d" % 2**53
    assert indexed == b"%d" % driver.replica.applied
    assert driver.propose(in_session(2**53, 1, b"x")) == [b"did x"]


def test_a_guest_that_may_have_been_here_is_refused_as_a_closed_session_is(driver: Any) -> None:
    """Where another group draws sessions, what had to make room is not opened anew, and told in words (G16)."""
    driver.replica.sessions.are_guests, driver.replica.sessions.count_max = True, 1
    assert driver.propose(open_session(71, 3), in_session(71, 1, b"x")) == [b"71", b"did x"]
    _, anew, retry = driver.propose(open_session(72, 5), open_session(71, 3), in_session(71, 1, b"x"))
    assert isinstance(anew, SessionClosed)
    assert isinstance(retry, SessionClosed)
    assert "not answered took effect is unknown" in str(anew)
    assert [command for _, command, _ in driver.machine.commands] == [b"x"]


def test_a_number_may_be_left_out(driver: Any) -> None:
    """A command that was given up before it was sent leaves a gap: the next number is carried out (G8)."""
    session = int(driver.propose(open_session())[0])
    assert driver.propose(in_session(session, 1, b"x"), in_session(session, 7, b"y")) == [b"did x", b"did y"]


def test_a_closed_session_carries_nothing_out(driver: Any) -> None:
    """Closing is a command like any other; it says whether the session was open."""
    session = int(driver.propose(open_session())[0])
    assert driver.propose(close_session(session), close_session(session)) == [b"1", b"0"]
    assert isinstance(driver.propose(in_session(session, 1, b"x"))[0], SessionClosed)
    assert driver.machine.commands == []


def test_an_idle_session_expires_by_the_logs_time(driver: Any) -> None:
    """An hour without a command closes it, as of the entries' time; nothing is carried out in it then (G9)."""
    session, used = (int(answer) for answer in driver.propose(open_session(), open_session(), time_ms=1000))
    driver.propose(in_session(used, 1, b"x"), time_ms=2000)
    late, fine = driver.propose(in_session(session, 1, b"late"), in_session(used, 2, b"y"), time_ms=3_601_000)
    assert isinstance(late, SessionClosed)
    assert fine == b"did y"


def test_a_forgotten_reply_is_no_second_execution(driver: Any) -> None:
    """A retry whose reply had to make room is told that the command was carried out, as often as it asks (G7)."""
    driver.replica.sessions.reply_bytes_max = 20
    sessions = [int(answer) for answer in driver.propose(open_session(), open_session(), open_session())]
    asked = [in_session(session, 1, b"123456") for session in sessions]
    assert driver.propose(*asked) == [b"did 123456"] * 3
    assert driver.propose(asked[1]) == [b"did 123456"]
    for retry in (asked[0], asked[0]):
        (outcome,) = driver.propose(retry)
        assert isinstance(outcome, ReplyForgotten), outcome
        assert "was carried out" in str(outcome)
    assert len(driver.machine.commands) == 3


def test_sessions_digest_and_time_travel_in_the_snapshot(driver: Any) -> None:
    """A replica restored from a snapshot repeats the remembered reply instead of applying again (G9, G14)."""
    session = int(driver.propose(open_session())[0])
    driver.propose(in_session(session, 1, b"x"), time_ms=77)
    meta, chunks = driver.replica.snapshot()
    copied = list(chunks)

    other = type(driver)(type(driver.machine)())
    other.replica.restore_begin(SnapshotMeta(meta.index, meta.term, meta.membership))
    other.replica.restore_header(copied[0])
    assert other.replica.apply_some(10, 0.0) == 0, "nothing is applied while a snapshot is being restored"
    for chunk in copied[1:]:
        other.replica.machine.restore_chunk(chunk)
    other.replica.core.state.commit = max(other.replica.core.state.commit, meta.index)
    other.replica.restore_end(0.0)
    assert other.replica.digest.value == driver.replica.digest.value
    assert other.replica.time_ms == 77
    assert other.replica.applied == meta.index
    assert other.replica.sessions.find(session) == driver.replica.sessions.find(session)


def test_what_a_restored_snapshot_holds_is_not_applied_again(driver: Any) -> None:
    """A newer snapshot than the installed one was found on disk: entries that it covers are passed over (D11, F8)."""
    replica = driver.replica
    driver.propose(plain(b"a"), plain(b"b"), plain(b"c"))
    last = replica.applied
    meta, chunks = replica.snapshot()
    copied = list(chunks)
    other = type(driver)(type(driver.machine)())
    other.replica.restore_begin(SnapshotMeta(meta.index, meta.term, meta.membership))
    other.replica._to_apply = deque(Entry(index, meta.term, plain(b"x")) for index in range(last - 1, last + 2))
    other.replica.restore_header(copied[0])
    other.replica.machine.restore_chunk(copied[1])
    other.replica.core.state.commit = max(other.replica.core.state.commit, last + 1)
    other.replica.restore_end(0.0)
    assert other.replica.applied == last
    assert [entry.index for entry in other.replica._to_apply] == [last + 1]


def test_the_leader_hears_that_a_snapshot_is_being_restored(driver: Any) -> None:
    """From when it is installed until its last chunk is in the state machine, with whatever is answered (D21)."""
    driver.propose(plain(b"a"), plain(b"b"))
    taken, chunks = driver.replica.snapshot()
    header, *rest = chunks
    replica = _follower(type(driver.machine)())
    meta = SnapshotMeta(taken.index, taken.term, replica.core.state.membership)
    request = SnapshotRequest(meta.term, meta.index, meta.term, meta.membership, 0, b"", done=True)
    replica.step(Received("n1", request), 0.0)
    replica.take_ready()
    assert not _says_that_it_restores(replica)
    replica.step(ChunkStored(meta, 0, complete=True), 0.0)
    assert _says_that_it_restores(replica)
    replica.restore_begin(meta)
    replica.restore_header(header)
    for chunk in rest:
        replica.machine.restore_chunk(chunk)
    assert _says_that_it_restores(replica)
    replica.restore_end(0.0)
    assert not _says_that_it_restores(replica)


def _says_that_it_restores(replica: Replica) -> bool:
    """Let the leader ask for what fits and for what does not, and return what it is told."""
    told = set()
    for prev_index in (0, 9):
        replica.step(Received("n1", AppendRequest(replica.core.term, prev_index, 0, (), 0)), 0.0)
        ready = replica.take_ready()
        assert ready is not None
        told |= {out.message.restoring for out in ready.messages_after_persist if type(out.message) is AppendReply}
    (restores,) = told
    return restores


def _follower(machine: StateMachine | None = None) -> Replica:
    config = CoreConfig(guard_lost_disk=False)
    members = Membership.of({"n1": "127.0.0.1:1", "n2": "127.0.0.1:2", "n3": "127.0.0.1:3"})
    return Replica(Raft("n2", members, random=random.Random(1), now=0.0, config=config), machine or _machine())


def _machine() -> Any:
    class Echo(StateMachine):
        def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
            return command

        def snapshot(self) -> list[bytes]:
            return []

    return Echo()


@pytest.mark.parametrize("leader_is_ahead", [True, False])
def test_a_diverged_state_machine_is_noticed_at_the_index(leader_is_ahead: bool) -> None:  # noqa: FBT001
    """The leader's digest is compared at its own index, whichever of the two got there first."""
    replica = _follower()
    entries = tuple(Entry(n, 1, plain(b"x%d" % n)) for n in (1, 2, 3))
    if leader_is_ahead:
        replica.step(Received("n1", AppendRequest(1, 0, 0, entries, 3, digest_index=2, digest=12345)), 0.0)
        replica.take_ready()
        with pytest.raises(Diverged, match="at index 2"):
            replica.apply_some(10, 0.0)
    else:
        replica.step(Received("n1", AppendRequest(1, 0, 0, entries, 3)), 0.0)
        replica.take_ready()
        replica.apply_some(10, 0.0)
        with pytest.raises(Diverged, match="at index 2"):
            replica.step(Received("n1", AppendRequest(1, 3, 1, (), 3, digest_index=2, digest=12345)), 0.0)


def test_an_equal_state_machine_passes_the_comparison() -> None:
    """Equal commands and results give equal digests on leader and follower."""
    leader, follower = _follower(), _follower()
    entries = tuple(Entry(n, 1, plain(b"x%d" % n)) for n in range(1, 50))
    for replica in (leader, follower):
        replica.step(Received("n1", AppendRequest(1, 0, 0, entries, 49)), 0.0)
        replica.take_ready()
        replica.apply_some(100, 0.0)
    request = AppendRequest(1, 49, 1, (), 49, digest_index=leader.digest.index, digest=leader.digest.value)
    follower.step(Received("n1", request), 0.0)
    assert follower.digest.value == leader.digest.value


def test_an_empty_table_of_sessions_is_used_as_it_is(driver: Any) -> None:
    """Bounds that were given count from the first session on, not only for a table that holds one already."""
    sessions = Sessions(count_max=1)
    assert Replica(driver.replica.core, driver.machine, sessions).sessions is sessions
