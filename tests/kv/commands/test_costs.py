"""What commands on whole values may cost inside one transaction, which every replica carries out in one go."""

from collections.abc import Sequence

import pytest
from tests.kv.commands.test_transactions import Replica

from raftline.kv.commands import costs
from raftline.kv.commands.costs import BUDGETS_VERSION
from raftline.kv.commands.table import COMMANDS
from raftline.kv.resp.items import items_of

REFUSED = (
    b"-ERR this command was not carried out, the transaction goes on behind it: the commands before it looked at more "
    b"than 262144 members of large values\r\n"
)


@pytest.fixture
def replica() -> Replica:
    """Return a machine that holds a value of 600 members of each kind, and whose group has budgets."""
    replica = Replica()
    replica.machine.use_version(BUDGETS_VERSION)
    numbers = [b"%d" % number for number in range(600)]
    replica.do(b"SADD", b"s", *numbers)
    replica.do(b"RPUSH", b"l", *numbers)
    replica.do(b"HSET", b"h", *[word for number in numbers for word in (number, number)])
    replica.do(b"ZADD", b"z", *[word for number in numbers for word in (number, number)])
    replica.do(b"SADD", b"few", b"1", b"2")
    replica.do(b"SET", b"text", bytes(600 * 4096))
    return replica


def outcomes(replica: Replica, commands: Sequence[str]) -> list[bytes]:
    """Return the replies to the commands of a transaction."""
    return list(items_of(replica.execute({}, *commands)))


def test_whole_values_are_looked_at_so_often(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows is refused, each command by itself; what looks at little, or only returns much, goes on (G5, G9)."""
    monkeypatch.setattr(costs, "MEMBERS_MAX", 2000)
    commands = ["SUNIONSTORE d s"] * 3 + ["ZINTERCARD 1 z", "SADD s x", "SMEMBERS few", "SORT_RO few", "LRANGE l 0 1"]
    done, *others, card, add, members, sort, items = outcomes(replica, commands)
    assert [done, others[0]] == [b":600\r\n"] * 2
    assert all(reply == REFUSED for reply in (others[1], card, sort))
    assert [add, members, items] == [b":1\r\n", b"~2\r\n$1\r\n1\r\n$1\r\n2\r\n", b"*2\r\n$1\r\n0\r\n$1\r\n1\r\n"]
    assert outcomes(replica, commands[:2]) == [b":601\r\n"] * 2, "each transaction has its own"


def test_a_single_one_is_carried_out_however_large(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would be outside of a transaction."""
    monkeypatch.setattr(costs, "MEMBERS_MAX", 10)
    assert outcomes(replica, ["INCR n", "ZUNIONSTORE d 2 z s"]) == [b":1\r\n", b":600\r\n"]


def test_nobody_refuses_before_all_members_do(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of before carries all of them out, and so does everybody until it is upgraded (G1)."""
    monkeypatch.setattr(costs, "MEMBERS_MAX", 10)
    replica.machine.use_version(BUDGETS_VERSION - 1)
    assert outcomes(replica, ["SUNIONSTORE d s"] * 9) == [b":600\r\n"] * 9


@pytest.mark.parametrize(
    ("command", "cost"),
    [
        *[("SUNION s", 600), ("SUNIONSTORE d s", 1200), ("ZUNION 1 z", 600), ("ZUNIONSTORE d 2 z s", 1800)],
        *[("SINTER s s", 1200), ("SINTERCARD 1 s LIMIT 1", 600), ("SINTERSTORE d s", 1200), ("ZINTER 1 z", 600)],
        *[("ZINTERCARD 1 z", 600), ("ZINTERSTORE d 1 z", 1200), ("SDIFF s s", 1200), ("SDIFFSTORE d s few", 1798)],
        *[("ZDIFF 1 z", 600), ("ZDIFFSTORE d 2 z s", 1200), ("ZRANGESTORE d z 0 -1", 600)],
        *[("SORT l LIMIT 0 1", 600), ("SORT s STORE d", 1200), ("SORT_RO z BY x", 600), ("SORT few GET #", 4)],
        *[("HSCAN h 0 MATCH x COUNT 1000", 600), ("SSCAN s 0 COUNT 600", 600), ("ZSCAN z 0", 512)],
        *[("LINSERT l BEFORE x x", 37), ("LPOS l x", 37), ("LREM l 0 x", 37), ("COPY h d REPLACE", 37)],
        *[("APPEND text x", 600), ("SETRANGE text 0 x", 600)],
    ],
)
def test_each_is_counted(replica: Replica, command: str, cost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ten are allowed, ten are carried out."""
    monkeypatch.setattr(costs, "MEMBERS_MAX", 10 * cost - 1)
    refused = [reply == REFUSED for reply in outcomes(replica, [command] * 20)]
    assert refused == [False] * 10 + [True] * 10


@pytest.mark.parametrize(
    "command",
    [
        *[
            "SINTERCARD 2 s few",
            "ZINTERSTORE d 2 few z",
            "SDIFF few s",
            "ZRANGESTORE d z 0 9",
            "SINTERSTORE d s nosuch",
        ],
        *["LRANGE l 0 9", "HGET h 1", "LREM few 1 1", "SADD s 1 2 3", "ZRANGE z 0 2", "SCARD s", "SSCAN few 0"],
    ],
)
def test_little_of_a_large_value_costs_little(replica: Replica, command: str) -> None:
    """Thousands of them are nothing special."""
    assert not any(reply == REFUSED for reply in outcomes(replica, [command] * 5000))


def test_all_counted_commands_are_in_the_table() -> None:
    """None of them is counted under a name that nobody has."""
    assert set(costs._COSTS) <= {command.name for command in COMMANDS.values()}
