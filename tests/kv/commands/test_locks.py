"""RAFTLINE.LOCK: who holds a lock, until when, and with which token."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.store import Store
from raftline.kv.values.lock import LOST_TOKENS_MAX, Lock

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

NOBODY = b"-NOTHELD nobody holds this lock: its lease ran out, or it was released\r\n"


class Locks:
    """A machine whose log's time the test sets."""

    def __init__(self) -> None:
        self.machine = KvMachine()
        self.index = 0
        self.time_ms = 1_000

    @property
    def store(self) -> Store:
        """Return what the machine holds."""
        return self.machine.store

    def do(self, line: str) -> bytes:
        """Apply `acquire name owner lease` and its like, or any other write."""
        words = line.encode().split()
        verb = words[0].upper()
        if verb in {b"ACQUIRE", b"RENEW", b"RELEASE"}:
            words = [b"RAFTLINE.LOCK|" + verb, *words]
        else:
            words[0] = verb
        self.index += 1
        return self.machine.apply(encode_command(words), self.index, self.time_ms)

    def look(self, line: str) -> bytes:
        """Ask something that changes nothing."""
        return self.machine.read(encode_command(line.encode().split()), self.time_ms)


@pytest.fixture
def locks() -> Locks:
    """Return locks of which none is held."""
    return Locks()


def test_a_lock_has_one_holder_and_a_token(locks: Locks) -> None:
    """Whoever comes first gets a token; others hear who holds it and for how long at most."""
    assert locks.do("acquire a me 500") == b":1\r\n"
    locks.time_ms += 100
    assert locks.do("acquire a you 500") == (
        b"-LOCKED 'me' holds this lock with token 1 for 400 ms more, unless the lease is renewed\r\n"
    )
    assert locks.do("acquire b you 500") == b":2\r\n"


def test_the_owner_may_acquire_again(locks: Locks) -> None:
    """The same token, and a lease that begins anew: a request that was repeated does no harm."""
    locks.do("acquire a me 500")
    locks.time_ms += 400
    assert locks.do("acquire a me 500") == b":1\r\n"
    assert locks.store.deadline_ms(b"a") == 1_900


def test_a_lease_ends_by_the_logs_time(locks: Locks) -> None:
    """At its deadline the lock is free, not before; the next holder's token is higher (G1)."""
    locks.do("acquire a me 500")
    locks.time_ms = 1_499
    assert locks.do("acquire a you 500").startswith(b"-LOCKED")
    locks.time_ms = 1_500
    assert locks.do("acquire a you 500") == b":2\r\n"


def test_a_lease_can_be_renewed_while_it_runs(locks: Locks) -> None:
    """It ends that long after the renewal; once it has ended nothing brings it back."""
    locks.do("acquire a me 500")
    locks.time_ms = 1_400
    assert locks.do("renew a me 1 300") == b"+OK\r\n"
    locks.time_ms = 1_699
    assert locks.do("renew a me 1 100") == b"+OK\r\n"
    locks.time_ms = 1_799
    assert locks.do("renew a me 1 1000") == NOBODY
    assert locks.do("acquire a me 1000") == b":2\r\n"
    assert locks.do("renew a me 1 1000") == b"-NOTHELD 'me' holds this lock with token 2\r\n"


def test_only_the_holder_releases(locks: Locks) -> None:
    """Owner and token must both be right; a second release is told so."""
    locks.do("acquire a me 500")
    for line in ("release a you 1", "release a me 2", "renew a you 1 500", "renew a me 2 500"):
        assert locks.do(line) == b"-NOTHELD 'me' holds this lock with token 1\r\n"
    assert locks.do("release a me 1") == b":1\r\n"
    assert locks.do("release a me 1") == NOBODY
    assert locks.store.count == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("acquire a me 0", b"the lease is a number of milliseconds from 1 to 86400000"),
        ("acquire a me x", b"the lease is a number"),
        ("acquire a me 86400001", b"the lease is a number"),
        ("acquire a " + "x" * 1025 + " 5", b"the owner is a name of 1 to 1024 bytes"),
        ("renew a me 0 5", b"the token is a number that RAFTLINE.LOCK ACQUIRE gave"),
        ("renew a me 1 -5", b"the lease is a number"),
        ("release a me x", b"the token is a number"),
    ],
)
def test_what_cannot_be_is_refused(conversation: "Conversation", locks: Locks, line: str, words: bytes) -> None:
    """In words, before anything is proposed; applied nevertheless it comes to the same."""
    reply = conversation.send(
        b"*%d\r\n" % (len(line.split()) + 1)
        + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in (b"raftline.lock", *line.encode().split()))
    )
    assert reply.startswith(b"-ERR " + words)
    assert locks.do(line) == reply


def test_tokens_only_rise(locks: Locks) -> None:
    """Release, expiry, DEL, SET, FLUSHALL: none of them gives a token a second time."""
    given = []
    for how in ("release a me {}", "del a", "set a text", "flushall", "get a"):
        token = int(locks.do("acquire a me 500")[1:])
        given.append(token)
        if how != "get a":
            locks.do(how.format(token))
        locks.do("del a")
        locks.time_ms += 1_000
    assert given == [1, 2, 3, 4, 5]


def test_tokens_and_locks_are_in_snapshots(locks: Locks) -> None:
    """A restored store goes on where the other one was, also if no lock is held any more (D2)."""
    locks.do("acquire a me 500")
    locks.do("acquire b me 500")
    locks.do("release b me 2")
    other = KvMachine()
    other.restore_begin()
    for chunk in locks.machine.snapshot():
        other.restore_chunk(chunk)
    other.restore_end()
    held = other.store.get(b"a")
    assert isinstance(held, Lock)
    assert (held.owner, held.token, other.store.deadline_ms(b"a")) == (b"me", 1, 1_500)
    assert (other.store.last_token, other.store.used_bytes) == (2, locks.store.used_bytes)


def test_lost_entries_gave_none_of_the_tokens_that_follow(locks: Locks) -> None:
    """Behind a recovery or a backup tokens go on far above those that lost entries can have given."""
    locks.do("acquire a me 500")
    locks.machine.on_history_lost()
    assert locks.do("acquire b me 500") == b":%d\r\n" % (LOST_TOKENS_MAX + 2)


def test_it_is_a_key_among_others(locks: Locks) -> None:
    """TYPE, PTTL, SCAN, MEMORY and DEL know it; other types' commands do not take it."""
    locks.do("acquire a me 500")
    locks.do("set b text")
    assert locks.look("TYPE a") == b"+lock\r\n"
    assert locks.look("PTTL a") == b":500\r\n"
    assert locks.look("SCAN 0 TYPE lock") == b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n"
    assert locks.look("OBJECT ENCODING a") == b"$4\r\nlock\r\n"
    assert locks.look("GET a").startswith(b"-WRONGTYPE")
    assert locks.do("acquire b me 5").startswith(b"-WRONGTYPE")
    assert locks.look("RAFTLINE.LOCK SHOW b").startswith(b"-WRONGTYPE")
    usage = [int(locks.look(f"MEMORY USAGE {key}")[1:]) for key in "ab"]
    assert sum(usage) == locks.store.used_bytes
    assert locks.do("del a") == b":1\r\n"
    assert locks.do("release a me 1") == NOBODY


@pytest.mark.parametrize(
    "line", ["rename a b", "renamenx a b", "copy a b", "persist a", "expire a 9", "pexpireat a 1 LT", "sort a"]
)
def test_a_lock_keeps_its_name_and_its_lease(locks: Locks, line: str) -> None:
    """A second name would have a token that is lower than one it had before; a deadline is changed with the token."""
    locks.do("acquire a me 500")
    assert locks.do(line).startswith(b"-WRONGTYPE")
    assert locks.store.deadline_ms(b"a") == 1_500


def test_it_is_shown(locks: Locks) -> None:
    """Owner, token and what is left; nil for one that nobody holds; LIST walks over those that are held."""
    locks.do("acquire a me 500")
    locks.do("set b text")
    locks.do("acquire c you 700")
    shown = (
        b"%%4\r\n$4\r\nname\r\n$1\r\n%b\r\n$5\r\nowner\r\n$%d\r\n%b\r\n$5\r\ntoken\r\n:%d\r\n$8\r\nlease-ms\r\n:%d\r\n"
    )
    first, second = shown % (b"a", 2, b"me", 1, 500), shown % (b"c", 3, b"you", 2, 700)
    assert locks.look("RAFTLINE.LOCK SHOW a") == first
    assert locks.look("RAFTLINE.LOCK SHOW x") == b"_\r\n"
    whole = locks.look("RAFTLINE.LOCK LIST")
    assert whole.startswith(b"*2\r\n$1\r\n0\r\n*2\r\n")
    assert first in whole
    assert second in whole
    assert locks.look("RAFTLINE.LOCK LIST 0 MATCH c COUNT 100") == b"*2\r\n$1\r\n0\r\n*1\r\n" + second
    assert locks.look("RAFTLINE.LOCK LIST 0 TYPE x") == b"-ERR syntax error\r\n"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("acquire", "renew", "release", "del", "flushall")),
            st.sampled_from(("me", "you")),
            st.integers(1, 6),
            st.integers(0, 40),
        ),
        max_size=40,
    )
)
def test_whoever_holds_it_holds_it_alone(steps: list[tuple[str, str, int, int]]) -> None:
    """A model with one holder, one deadline and the highest token agrees with every reply."""
    locks = Locks()
    holder, token, until, highest = "", 0, 0, 0
    for verb, who, number, pause_ms in steps:
        locks.time_ms += pause_ms
        if locks.time_ms >= until:
            holder = ""
        if verb in {"del", "flushall"}:
            locks.do("del a" if verb == "del" else verb)
            holder, until = "", 0
        elif verb == "acquire":
            reply = locks.do(f"acquire a {who} 50")
            if holder in {"", who}:
                highest += not holder
                holder, token, until = who, highest, locks.time_ms + 50
                assert reply == b":%d\r\n" % token
            else:
                assert reply.startswith(b"-LOCKED")
        else:
            reply = locks.do(f"{verb} a {who} {number}" + " 50" * (verb == "renew"))
            if holder == who and number == token:
                assert reply == (b"+OK\r\n" if verb == "renew" else b":1\r\n")
                until = locks.time_ms + 50 if verb == "renew" else 0
            else:
                assert reply.startswith(b"-NOTHELD")


def test_two_acquisitions_in_one_entry_have_two_tokens(conversation: "Conversation") -> None:
    """A transaction is one entry; the lock that changes hands within it has another token all the same."""
    lines = ("RAFTLINE.LOCK ACQUIRE a me 500", "DEL a", "RAFTLINE.LOCK ACQUIRE a you 500")
    conversation.ask(b"MULTI")
    for line in lines:
        assert conversation.ask(*line.encode().split()) == b"+QUEUED\r\n"
    assert conversation.ask(b"EXEC") == b"*3\r\n:1\r\n:1\r\n:2\r\n"


def test_what_a_lock_guards_in_the_store_can_watch_it(conversation: "Conversation") -> None:
    """WATCH the lock, look who holds it, write in a transaction: nothing is written once it changed hands."""
    acquire, show = b"RAFTLINE.LOCK ACQUIRE a %b 500", b"RAFTLINE.LOCK SHOW a"
    for robbed, outcome in ((False, b"*1\r\n+OK\r\n"), (True, b"*-1\r\n")):
        conversation.ask(*(acquire % b"me").split())
        conversation.ask(b"WATCH", b"a")
        assert b"$2\r\nme\r\n" in conversation.ask(*show.split())
        if robbed:
            conversation.node.submit(encode_command([b"DEL", b"a"]), lambda _outcome: None)
            conversation.node.submit(
                encode_command([b"RAFTLINE.LOCK|ACQUIRE", *(acquire % b"you").split()[1:]]), lambda _outcome: None
            )
            conversation.node.answer_all()
        conversation.ask(b"MULTI")
        conversation.ask(b"SET", b"guarded", b"by me")
        assert conversation.ask(b"EXEC") == outcome
