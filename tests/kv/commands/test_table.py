"""The table: complete and free of contradictions."""

import pytest

from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows
from raftline.kv.commands.table import COMMANDS

ROWS = [row for command in COMMANDS.values() for row in (command, *command.subcommands)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_is_complete(row: Command) -> None:
    """A row has one function, the flag of its kind, and words that explain it."""
    kinds = (row.write, row.read, row.bound, row.local, row.task, row.execute, row.wraps)
    functions = [function for function in kinds if function]
    assert len(functions) == 1 or (row.subcommands and len(functions) <= 1)
    concerns_keys = not row.name.startswith("acl|") and row.group != "pubsub"
    if not row.name.endswith(("exec", "watch")):  # whose flags are Redis's, and those of their like
        assert ("write" in row.flags) == (row.write is not None and concerns_keys)
        assert ("readonly" in row.flags) == (row.read is not None and concerns_keys)
    assert row.check is None or row.write is not None
    assert row.name == row.name.lower()
    assert row.summary.endswith(".")
    assert row.since
    assert row.complexity
    assert row.arity != 0
    first, last, step = row.keys
    assert (first, last, step) == (0, 0, 0) or (first >= 1 and step >= 1)


def test_every_command_of_the_store_is_there() -> None:
    """The commands that are promised can be called."""
    promised = (
        "auth acl get set setnx setex psetex getset getex getdel append del unlink exists incr decr incrby decrby mget "
        "mset strlen expire pexpire expireat pexpireat ttl pttl expiretime pexpiretime persist keys dbsize flushall "
        "flushdb scan type ping echo hello select client command config info quit reset raftline.backup raftline.lock "
        "raftline.member raftline.once raftline.session raftline.transfer readonly readwrite hset hsetnx hget hmset "
        "hmget hincrby hincrbyfloat hdel hlen hstrlen hkeys hvals hgetall hexists hrandfield hscan lpush rpush "
        "lpushx rpushx lpop rpop llen lindex lset lrange ltrim linsert lrem lpos rpoplpush lmove lmpop sadd srem "
        "smove sismember smismember scard smembers spop srandmember sinter sunion sdiff sintercard sinterstore "
        "sunionstore sdiffstore sscan zadd zincrby zrem zcard zscore zmscore zrank zrevrank zpopmin zpopmax zmpop "
        "zrandmember zscan zrange zrangestore zrevrange zrangebyscore zrevrangebyscore zrangebylex zrevrangebylex "
        "zcount zlexcount zremrangebyrank zremrangebyscore zremrangebylex zunion zinter zdiff zintercard "
        "zunionstore zinterstore zdiffstore incrbyfloat msetnx getrange substr setrange lcs rename renamenx copy "
        "touch randomkey sort sort_ro object memory slowlog blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax "
        "bzmpop publish spublish subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe pubsub "
        "cluster asking multi exec discard watch unwatch raftline.watch raftline.exec delex delifeq raftline.shard"
    )
    assert {command.name for command in COMMANDS.values()} == set(promised.split())


def test_keys_are_found_by_position() -> None:
    """First, last and step say where the keys are, for one, for all and for every other argument."""
    assert list(COMMANDS[b"GET"].key_positions(2)) == [1]
    assert list(COMMANDS[b"DEL"].key_positions(4)) == [1, 2, 3]
    assert list(COMMANDS[b"MSET"].key_positions(5)) == [1, 3]
    assert list(COMMANDS[b"PING"].key_positions(2)) == []


def test_keys_are_found_behind_their_number() -> None:
    """A command may say how many keys it names; a number that cannot be names what is there, or nothing."""
    lmpop = COMMANDS[b"LMPOP"]
    assert lmpop.keys_in([b"LMPOP", b"2", b"a", b"b", b"LEFT"]) == [2, 3]
    assert lmpop.keys_in([b"LMPOP", b"9", b"a", b"LEFT"]) == [2, 3]
    assert lmpop.keys_in([b"LMPOP", b"-1", b"a", b"LEFT"]) == []
    assert lmpop.keys_in([b"LMPOP", b"9" * 400, b"a", b"LEFT"]) == []
    assert COMMANDS[b"DEL"].keys_in([b"DEL", b"a", b"b"]) == [1, 2]


def test_a_name_has_one_row() -> None:
    """A second row for a command is noticed when the table is made."""
    rows = Rows(dict(COMMANDS), "string")
    with pytest.raises(AssertionError, match="two rows"):
        rows.add("get", 2, "key", "Again.")
