"""What a transaction does when its entry is applied: all or nothing, the same on every replica."""

import msgspec
import pytest

from raftline.kv.commands import transactions
from raftline.kv.commands.transactions import has_changed, mark_of
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.store import CELL_COUNT

pack = msgspec.msgpack.encode


class Replica:
    """A machine and its log."""

    def __init__(self) -> None:
        self.machine = KvMachine()
        self.machine.use_version(2)
        self.index = 0
        self.time_ms = 1000

    def do(self, *args: bytes) -> bytes:
        self.index += 1
        return self.machine.apply(encode_command(list(args)), self.index, self.time_ms)

    def execute(self, watched: dict[bytes, int], *commands: str) -> bytes:
        packed = [encode_command(command.encode().split()) for command in commands]
        return self.do(b"RAFTLINE.EXEC", pack(list(watched.items())), *packed)

    def mark(self, key: bytes) -> int:
        return mark_of(self.machine.store, key, self.machine.store.time_ms)


@pytest.fixture
def replica() -> Replica:
    """Return a machine that knows transactions."""
    return Replica()


def test_reads_see_the_writes_before_them_and_errors_undo_nothing(replica: Replica) -> None:
    """Commands are carried out in order; one that fails is answered so, and the others are done (G1)."""
    reply = replica.execute({}, "SET a x", "INCR a", "GET a", "SET b 1", "STRLEN a")
    assert reply == b"*5\r\n+OK\r\n-ERR value is not an integer or out of range\r\n$1\r\nx\r\n+OK\r\n:1\r\n"


def test_what_cannot_be_read_is_not_carried_out_in_part(replica: Replica) -> None:
    """An entry that no door of this version makes changes nothing."""
    good = encode_command([b"SET", b"a", b"1"])
    for bad in (b"\xc1", encode_command([b"NOSUCH"]), encode_command([b"RAFTLINE.EXEC", b"", b""]), pack([])):
        assert replica.do(b"RAFTLINE.EXEC", pack([]), good, bad).startswith(b"-ERR malformed transaction")
    assert replica.do(b"RAFTLINE.EXEC", b"\xc1", good).startswith(b"-ERR malformed transaction")
    assert replica.machine.store.get(b"a") is None


CHANGES = [
    "SET k 2", "INCR k", "APPEND k x", "DEL k", "GETDEL k", "EXPIRE k 5", "PEXPIRE k -1", "RENAME k other",
    "SETRANGE k 0 z", "RENAME l k", "FLUSHALL", "SETEX k 5 v", "GETEX k EX 5", "MSET a 1 k 2",
    "COPY l k REPLACE", "SUNIONSTORE k s",
]  # fmt: skip
OF_LISTS = ["RPUSH l 2", "LPOP l", "LSET l 0 y", "LTRIM l 1 0", "LINSERT l BEFORE 1 0", "LREM l 0 1", "RPOPLPUSH l m"]
OF_OTHERS = [
    "HSET h f 2",
    "HDEL h f",
    "SADD s y",
    "SREM s x",
    "SPOP s",
    "ZADD z 2 m",
    "ZREM z m",
    "ZPOPMIN z",
    "HINCRBY h f 1",
]
LEAVE = [
    "GET k",
    "SET other 1",
    "EXPIRE k 5 XX",
    "PERSIST k",
    "SETNX k 9",
    "LPUSHX none 1",
    "SREM s nothing",
    "DEL none",
]


def filled(replica: Replica) -> None:
    """Set a key of each type."""
    for text in ("SET k 1", "RPUSH l 1 2", "HSET h f 1", "SADD s x q", "ZADD z 1 m"):
        replica.do(*text.encode().split())


@pytest.mark.parametrize("text", CHANGES + OF_LISTS + OF_OTHERS)
def test_a_change_of_a_watched_key_aborts(replica: Replica, text: str) -> None:
    """Whatever changed it, also in place, also only its deadline, also in the same transaction as others."""
    filled(replica)
    key = text.split()[1].encode() if text in OF_LISTS + OF_OTHERS else b"k"
    mark = replica.mark(key)
    replica.do(*text.encode().split())
    assert replica.execute({key: mark}, "SET done 1") == b"&-1\r\n"
    assert replica.machine.store.get(b"done") is None
    assert replica.execute({key: replica.mark(key)}, "SET done 1") == b"*1\r\n+OK\r\n"


@pytest.mark.parametrize("text", LEAVE)
def test_what_changes_nothing_aborts_nothing(replica: Replica, text: str) -> None:
    """Reads, writes of other keys and writes without effect leave a watch as it is."""
    filled(replica)
    marks = {key: replica.mark(key) for key in (b"k", b"s", b"h", b"z", b"l", b"none")}
    if not text.startswith("GET"):
        replica.do(*text.encode().split())
    assert replica.execute(marks, "SET done 1") == b"*1\r\n+OK\r\n"


def test_a_key_that_comes_back_has_changed(replica: Replica) -> None:
    """Removed and made again with the same value, expired and made again: another key."""
    for how in ("DEL k", "FLUSHALL", "PEXPIRE k -1"):
        filled(replica)
        mark = replica.mark(b"k")
        replica.do(*how.encode().split())
        replica.do(b"SET", b"k", b"1")
        assert replica.execute({b"k": mark}, "SET done 1") == b"&-1\r\n", how


def test_a_key_that_expires_has_changed_and_one_that_was_gone_has_not(replica: Replica) -> None:
    """Expiry is by the log's time, before and after the key is removed; who watched nothing still sees nothing."""
    replica.do(b"SET", b"k", b"1", b"PX", b"10")
    mark = replica.mark(b"k")
    replica.time_ms += 10
    assert replica.machine.store.count == 1
    assert replica.execute({b"k": mark}, "SET done 1") == b"&-1\r\n"
    gone = replica.mark(b"k")
    replica.time_ms += 1000
    assert replica.execute({b"k": gone}, "SET done 1") == b"*1\r\n+OK\r\n"
    assert replica.execute({b"k": mark}, "SET done 1") == b"&-1\r\n"


def test_a_flush_leaves_alone_who_watched_nothing(replica: Replica) -> None:
    """As in Redis: a key that was not there has not changed."""
    mark = replica.mark(b"k")
    replica.do(b"FLUSHALL")
    assert replica.execute({b"k": mark}, "SET done 1") == b"*1\r\n+OK\r\n"


def test_keys_with_one_hash_tag_do_not_disturb_each_other(replica: Replica) -> None:
    """Cells go by the whole key, so a tag that keeps keys together does not make their watches fail."""
    mark = replica.mark(b"{t}a")
    for number in range(20):
        replica.do(b"SET", b"{t}b%d" % number, b"1")
    assert replica.execute({b"{t}a": mark}, "SET done 1") == b"*1\r\n+OK\r\n"


def test_changes_are_part_of_a_snapshot(replica: Replica) -> None:
    """A replica that comes back from a snapshot decides as the others do, about marks from before and after (G14)."""
    filled(replica)
    early, late = replica.mark(b"k"), 0
    replica.do(b"SET", b"k", b"2")
    late = replica.mark(b"k")
    other = Replica()
    other.machine.restore_begin()
    for chunk in replica.machine.snapshot():
        other.machine.restore_chunk(chunk)
    other.machine.restore_end()
    other.machine.use_version(2)
    other.index = replica.index
    assert other.machine.store.index == replica.index
    assert other.mark(b"k") == replica.mark(b"k")
    for each in (replica, other):
        assert each.execute({b"k": early}, "SET done 1") == b"&-1\r\n"
        assert each.execute({b"k": late}, "SET done 1") == b"*1\r\n+OK\r\n"


def test_a_full_table_fits_its_chunks() -> None:
    """65,536 cells with large indexes are carried in chunks of at most 1 MiB."""
    replica = Replica()
    for cell in range(CELL_COUNT):
        replica.machine.store.changes[cell] = (1 << 50) + cell
    chunks = list(replica.machine.snapshot())
    assert max(map(len, chunks)) <= 1 << 20
    other = KvMachine()
    other.restore_begin()
    for chunk in chunks:
        other.restore_chunk(chunk)
    other.restore_end()
    assert has_changed(other.store, b"x", 1 << 50)


def test_few_changes_are_carried_wherever_they_stand() -> None:
    """Runs of cells that are 0 are left out of a snapshot, and no other cell is."""
    replica = Replica()
    noted = {0: 3, 255: 4, 256: 5, 4095: 6, 4096: 7, 40_000: 8, CELL_COUNT - 1: 9}
    for cell, index in noted.items():
        replica.machine.store.changes[cell] = index
    other = KvMachine()
    other.restore_begin()
    for chunk in replica.machine.snapshot():
        other.restore_chunk(chunk)
    other.restore_end()
    assert {cell: index for cell, index in enumerate(other.store.changes) if index} == noted


def test_what_was_noted_before_everybody_did_counts_for_nothing() -> None:
    """At the entry from which on all members note changes, all begin with none, so that they agree (G1)."""
    older, newer = Replica(), Replica()
    older.machine = KvMachine()
    older.do(b"SET", b"k", b"1")
    first, *_ = list(older.machine.snapshot())
    assert msgspec.msgpack.decode(first)[0] == 1
    newer.machine = KvMachine()
    newer.machine.restore_begin()
    for chunk in older.machine.snapshot():
        newer.machine.restore_chunk(chunk)
    newer.machine.restore_end()
    newer.index = older.index
    for each in (older, newer):
        each.machine.use_version(2)
        assert each.execute({b"k": 1}, "SET done 1") == b"*1\r\n+OK\r\n"
    assert list(older.machine.snapshot()) == list(newer.machine.snapshot())


def test_draws_in_a_transaction_are_the_same_everywhere_and_not_the_same_each_time() -> None:
    """Reads that draw are part of a write there: replicas agree, and two draws do not follow from one number (G1)."""
    replies = []
    for _ in range(2):
        replica = Replica()
        replica.do(b"SADD", b"s", *[b"%d" % number for number in range(100)])
        replies.append(replica.execute({}, *["SRANDMEMBER s"] * 20, "RANDOMKEY", "HRANDFIELD h", "SPOP s"))
    assert replies[0] == replies[1]
    assert len(set(replies[0].split(b"\r\n")[2:42:2])) > 10


def test_replies_are_bounded(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a certain size nothing more is read; what writes goes on (G5)."""
    monkeypatch.setattr(transactions, "REPLIES_BYTES_MAX", 100)
    replica.do(b"SET", b"k", b"v" * 90)
    reply = replica.execute({}, "GET k", "GET k", "GET k", "INCR n", "GET n")
    assert reply.count(b"v" * 90) == 2
    assert reply.count(b"-ERR the replies of the transaction are larger") == 2
    assert b":1\r\n" in reply
