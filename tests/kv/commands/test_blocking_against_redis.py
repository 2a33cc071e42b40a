"""Commands that wait, side by side with a real redis-server: the same clients, the same bytes on the wire."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.kv.conftest import PlayBoth, Side

Scenario = Callable[["Side"], Awaitable[Any]]


async def refusals(side: "Side") -> list[bytes]:
    """Everything that is refused at once."""
    one = await side.connect()
    await one.ask("SET", "string", "x")
    await one.ask("RPUSH", "list", *"12345")
    await one.ask("ZADD", "zset", "1", "m", "2", "n", "3", "o")
    lines = [
        *(f"{name} k {timeout}" for name in ("BLPOP", "BRPOP", "BZPOPMIN", "bzpopmax") for timeout in TIMEOUTS),
        *(f"BLMOVE a b LEFT right {timeout}" for timeout in TIMEOUTS),
        *(f"BRPOPLPUSH a b {timeout}" for timeout in TIMEOUTS),
        *(f"BLMPOP {timeout} 1 k LEFT" for timeout in TIMEOUTS),
        *(f"BZMPOP {timeout} 1 k MIN" for timeout in TIMEOUTS),
        "BLPOP", "BLPOP k", "BLMOVE a b LEFT 0", "BLMOVE a b foo LEFT x", "BLMOVE a b LEFT foo 0", "BLMPOP 1 k LEFT",
        "BLMPOP 0 0 k LEFT", "BLMPOP 0 x k LEFT", "BLMPOP 0 2 k LEFT", "BLMPOP 0 1 k MIN", "BLMPOP 0 1 k LEFT COUNT",
        "BLMPOP 0 1 k LEFT COUNT 0", "BLMPOP 0 1 k LEFT COUNT x", "BLMPOP 0 1 k LEFT COUNT 1 COUNT 1",
        "BLMPOP 0 1 k LEFT FOO 1", "BZMPOP 0 1 k LEFT", "BZMPOP 0 -1 k MIN", "BZMPOP 0 3 k MIN", "BLPOP string 0",
        "BLPOP list string 0", "BLPOP nosuch string list 0", "BLPOP nosuch list string 0", "BZPOPMIN list 0",
        "BZPOPMAX zset list 0", "BLMOVE string a LEFT LEFT 0", "BLMOVE list string LEFT LEFT 0", "BRPOPLPUSH zset a 0",
        "BLMPOP 0 2 nosuch zset LEFT", "BZMPOP 0 2 nosuch string MAX COUNT 3", "CLIENT UNBLOCK", "CLIENT UNBLOCK x",
        "CLIENT UNBLOCK 99999", "CLIENT UNBLOCK 1 FOO", "CLIENT UNBLOCK 1 ERROR x", "CLIENT KILL", "CLIENT KILL foo",
        "CLIENT KILL ID x", "CLIENT KILL ID 0", "CLIENT KILL TYPE foo", "CLIENT KILL USER nobody", "CLIENT KILL ID 1 2",
        "CLIENT KILL SKIPME maybe", "CLIENT KILL FOO 1", "CLIENT KILL ADDR 1.2.3.4:5", "CLIENT KILL ID 99999",
    ]  # fmt: skip
    return [await one.ask(*line.split()) for line in lines]


TIMEOUTS = ("x", "-1", "nan", "inf", "-inf", "1e300", "9223372036854775807", "1.5x", "-0.01")


async def what_is_there(side: "Side") -> list[bytes]:
    """Nobody waits for what is there: several keys in their order, both ends, several at a time."""
    one = await side.connect()
    await one.ask("RPUSH", "a", *"123456789")
    await one.ask("ZADD", "z", "1.5", "x", "2", "y", "3", "w", "4", "v")
    lines = [
        "BLPOP nosuch a 0", "brpop a nosuch 0.5", "BLMOVE a b LEFT RIGHT 0", "BRPOPLPUSH a b 0",
        "BLMOVE a a left left 1", "BLMPOP 0 2 nosuch a RIGHT COUNT 2", "BLMPOP 0 1 a LEFT", "BZPOPMIN nosuch z 0",
        "BZPOPMAX z 0", "BZMPOP 1 2 nosuch z MAX COUNT 5", "EXISTS z", "LRANGE a 0 -1", "LRANGE b 0 -1",
        "BLMPOP 0 1 a LEFT COUNT 100", "EXISTS a", "TYPE b",
    ]  # fmt: skip
    return [await one.ask(*line.split()) for line in lines]


async def time_is_over(side: "Side") -> list[bytes]:
    """Each command's nil."""
    lines = [
        "BLPOP k 0.01", "BRPOP k l 0.001", "BLMOVE k l LEFT LEFT 0.01", "BRPOPLPUSH k l 0.01", "BLMPOP 0.01 1 k LEFT",
        "BZPOPMIN k 0.01", "BZPOPMAX k 0.01", "BZMPOP 0.01 1 k MIN", "PING",
    ]  # fmt: skip
    one = await side.connect()
    return [await one.ask(*line.split()) for line in lines]


async def filled_later(side: "Side") -> list[bytes]:
    """Each command is answered by what makes its key."""
    found = []
    for wait, fill in (
        ("BLPOP k l 0", "RPUSH l 1 2 3"),
        ("BRPOP k l 0", "LPUSH k 1 2 3"),
        ("BLMOVE k l LEFT RIGHT 0", "RPUSH k 1 2"),
        ("BRPOPLPUSH k l 20", "RPUSH k 1 2"),
        ("BLMPOP 0 2 k l LEFT COUNT 2", "RPUSH l 1 2 3"),
        ("BZPOPMIN k z 0", "ZADD z 1 a 2.5 b"),
        ("BZPOPMAX k z 0", "ZINCRBY z 7 a"),
        ("BZMPOP 0 1 z MAX COUNT 2", "ZADD z 1 a 2 b 3 c"),
        ("BLPOP dst 0", "LMOVE src dst LEFT LEFT"),
        ("BLPOP dst 0", "RENAME src dst"),
        ("BLPOP dst 0", "COPY src dst"),
        ("BLPOP dst 0", "SORT src STORE dst"),
        ("BZPOPMIN dst 0", "ZUNIONSTORE dst 1 zsrc"),
        ("BZPOPMIN dst 0", "ZRANGESTORE dst zsrc 0 -1"),
    ):
        waiter, other = await side.connect(), await side.connect()
        await other.ask("RPUSH", "src", "3", "1")
        await other.ask("ZADD", "zsrc", "3", "m")
        waiter.send(*wait.split())
        await side.until_blocked(1)
        found += [await other.ask(*fill.split()), await waiter.take()]
        found += [await other.ask(*line.split()) for line in ("LRANGE k 0 -1", "LRANGE l 0 -1", "ZCARD z", "FLUSHALL")]
    return found


async def first_come_first_served(side: "Side") -> list[bytes]:
    """Three wait; what comes goes to them in their order, and to nobody twice; others wait on."""
    waiters = []
    for number, keys in enumerate(("k l", "l k", "k", "other k")):
        waiter = await side.connect()
        waiter.send("BLPOP", *keys.split(), "0")
        await side.until_blocked(number + 1)
        waiters.append(waiter)
    other = await side.connect()
    found = [await other.ask("RPUSH", "k", "1"), await waiters[0].take()]
    waiters[0].send("BLPOP", "k", "0")
    await side.until_blocked(4)
    found += [await other.ask("RPUSH", "k", "2", "3"), await waiters[1].take(), await waiters[2].take()]
    found += [await other.ask("LLEN", "k"), await other.ask("RPUSH", "k", "4", "5", "6")]
    found += [await waiters[3].take(), await waiters[0].take(), await other.ask("LRANGE", "k", "0", "-1")]
    return found


async def other_types(side: "Side") -> list[bytes]:
    """Who waits for a list is not disturbed by other types under the key, and who waits for a set neither."""
    lists, sets, other = await side.connect(), await side.connect(), await side.connect()
    lists.send("BLPOP", "k", "0")
    await side.until_blocked(1)
    sets.send("BZPOPMIN", "k", "0")
    await side.until_blocked(2)
    lines = ("SET k x", "DEL k", "SADD k x", "DEL k", "ZADD k 1 m", "RPUSH k i")
    found = [await other.ask(*line.split()) for line in lines]
    return [*found, await sets.take(), await lists.take()]


async def chains(side: "Side") -> list[bytes]:
    """What a waiting BLMOVE moves is popped by who waits for it; a wrong destination is told, and nothing moved."""
    one, two, other = await side.connect(), await side.connect(), await side.connect()
    one.send("BLMOVE", "a", "b", "LEFT", "RIGHT", "0")
    await side.until_blocked(1)
    two.send("BLPOP", "b", "0")
    await side.until_blocked(2)
    found = [await other.ask("RPUSH", "a", "x", "y"), await one.take(), await two.take()]
    await other.ask("DEL", "a")
    one.send("BLMOVE", "a", "b", "LEFT", "RIGHT", "0")
    await side.until_blocked(1)
    found += [await other.ask("SET", "b", "s"), await other.ask("RPUSH", "a", "x"), await one.take()]
    return [*found, await other.ask("LRANGE", "a", "0", "-1")]


async def unblocked(side: "Side") -> list[bytes]:
    """CLIENT UNBLOCK ends the waiting as a timeout, or with an error; who was unblocked can go on."""
    found = []
    for words in ((), ("TIMEOUT",), ("ERROR",)):
        for wait in ("BLPOP k 0", "BLMOVE k l LEFT LEFT 0", "BZMPOP 0 1 k MIN"):
            waiter, other = await side.connect(), await side.connect()
            number = (await waiter.ask("CLIENT", "ID"))[1:-2]
            found.append(await other.ask("CLIENT", "UNBLOCK", number, *words))
            waiter.send(*wait.split())
            await side.until_blocked(1)
            found += [await other.ask("CLIENT", "UNBLOCK", number, *words), await waiter.take()]
            found += [await waiter.ask("PING"), await other.ask("CLIENT", "UNBLOCK", number)]
    return found


async def gone(side: "Side") -> list[bytes]:
    """Who was killed, or hung up, while it waited takes nothing."""
    one, two, three, other = [await side.connect() for _ in range(4)]
    number = (await one.ask("CLIENT", "ID"))[1:-2]
    for count, waiter in enumerate((one, two, three), 1):
        waiter.send("BLPOP", "k", "0")
        await side.until_blocked(count)
    found = [await other.ask("CLIENT", "KILL", "ID", number), await one.reader.read()]
    two.writer.close()
    await side.until_blocked(1)
    found += [await other.ask("RPUSH", "k", "1", "2"), await three.take()]
    return [*found, await other.ask("LRANGE", "k", "0", "-1")]


async def pipelined(side: "Side") -> list[bytes]:
    """What is sent behind a command that waits is carried out behind it."""
    one, other = await side.connect(), await side.connect()
    for line in ("SET s 1", "BLPOP k 0", "INCR s", "BLPOP k 0.01", "GET s"):
        one.send(*line.split())
    await side.until_blocked(1)
    found = [await other.ask("GET", "s"), await other.ask("INCR", "s"), await other.ask("RPUSH", "k", "i")]
    return found + [await one.take() for _ in range(5)]


SCENARIOS = [
    refusals, what_is_there, time_is_over, filled_later, first_come_first_served, other_types, chains, unblocked, gone,
    pipelined,
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_waiting_is_that_of_redis(play_both: "PlayBoth", scenario: "Scenario", protocol: int) -> None:
    """Every client is told the same, byte for byte, in the same order."""
    ours, theirs = play_both(scenario, protocol)
    assert ours == theirs
