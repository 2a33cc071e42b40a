"""Channels side by side with a real redis-server: replies and messages, the same bytes to every client."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.kv.conftest import PlayBoth, Side, Talker

Scenario = Callable[["Side"], Awaitable[Any]]


async def take(talker: "Talker", count: int) -> list[bytes]:
    """Return the next replies."""
    return [await talker.take() for _ in range(count)]


async def messages(side: "Side") -> list[bytes]:
    """Channels first, then patterns; a client that listens twice gets it twice; nobody else gets anything."""
    one, two, other = await side.connect(), await side.connect(), await side.connect()
    one.send("SUBSCRIBE", "a", "b", "a")
    found = await take(one, 3)
    one.send("PSUBSCRIBE", "a*", "[bc]")
    found += await take(one, 2)
    two.send("PSUBSCRIBE", "*")
    found += await take(two, 1)
    found += [await other.ask("PUBLISH", channel, b"x\r\n\x00") for channel in ("a", "b", "c", "abc", "x y")]
    found += await take(one, 6)
    found += await take(two, 5)
    one.send("UNSUBSCRIBE", "b", "nosuch")
    found += await take(one, 2)
    found += [await other.ask("PUBLISH", "b", "1"), *await take(one, 1), *await take(two, 1)]
    one.send("PUNSUBSCRIBE")
    found += await take(one, 2)
    one.send("UNSUBSCRIBE")
    found += await take(one, 1)
    for name in ("UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"):
        found.append(await one.ask(name))
    return [*found, await one.ask("GET", "k"), await other.ask("PUBLISH", "a", "2")]


async def shards(side: "Side") -> list[bytes]:
    """Shard channels are apart from the others."""
    one, other = await side.connect(), await side.connect()
    one.send("SSUBSCRIBE", "{s}a", "{s}b")
    found = await take(one, 2)
    one.send("SUBSCRIBE", "{s}a")
    found += await take(one, 1)
    one.send("PSUBSCRIBE", "*")
    found += await take(one, 1)
    found += [await other.ask("SPUBLISH", "{s}a", "1"), *await take(one, 1), await other.ask("SPUBLISH", "x", "1")]
    found += [await other.ask(*line.split()) for line in PUBSUB]
    one.send("SUNSUBSCRIBE", "{s}a")
    found += await take(one, 1)
    one.send("SUNSUBSCRIBE")
    return found + await take(one, 1)


PUBSUB = (
    "PUBSUB CHANNELS", "PUBSUB CHANNELS {s}*", "PUBSUB CHANNELS x*", "PUBSUB NUMSUB", "PUBSUB NUMSUB {s}a nosuch {s}a",
    "PUBSUB NUMPAT", "PUBSUB SHARDCHANNELS {s}a", "PUBSUB SHARDCHANNELS x", "PUBSUB SHARDNUMSUB", "PUBSUB FOO",
    "PUBSUB SHARDNUMSUB {s}a {s}b x", "PUBSUB NUMPAT x", "PUBSUB CHANNELS a b", "PUBLISH a", "PUBLISH a b c",
    "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE",
)  # fmt: skip


async def who_listens(side: "Side") -> list[bytes]:
    """In RESP2 who listens can do little else; in RESP3 everything, and messages come in between."""
    one, other = await side.connect(), await side.connect()
    one.send("SUBSCRIBE", "a")
    found = await take(one, 1)
    for line in ("GET k", "PING", "PING hello", "PING a b", "SET k 1", "NOSUCH", "GET", "CLIENT ID x", "PUBLISH a"):
        found.append(await one.ask(*line.split()))
    one.send("PSUBSCRIBE", "x")
    found += await take(one, 1)
    found += [await other.ask("PUBLISH", "a", "m"), *await take(one, 1)]
    return [*found, await one.ask("RESET"), await one.ask("PING"), await other.ask("PUBLISH", "a", "m")]


async def to_oneself(side: "Side") -> list[bytes]:
    """Order within one connection that listens and sends, and what QUIT leaves."""
    one, other = await side.connect(), await side.connect()
    one.send("SUBSCRIBE", "a")
    found = await take(one, 1)
    for number in range(5):
        await other.ask("PUBLISH", "a", str(number))
    found += await take(one, 5)
    found.append(await one.ask("QUIT"))
    return [*found, await one.reader.read(), await other.ask("PUBLISH", "a", "m")]


async def pipelined(side: "Side") -> list[bytes]:
    """What is sent behind a subscription is carried out behind it."""
    one = await side.connect()
    for line in ("SET k 1", "SUBSCRIBE a", "UNSUBSCRIBE a", "GET k", "PUBLISH a 1", "INCR k"):
        one.send(*line.split())
    return await take(one, 6)


async def described(side: "Side") -> list[Any]:
    """CLIENT LIST says who listens to how much."""
    one, other = await side.connect(), await side.connect()
    number = (await one.ask("CLIENT", "ID"))[1:-2]
    one.send("SUBSCRIBE", "a", "b")
    await take(one, 2)
    one.send("PSUBSCRIBE", "c*")
    await take(one, 1)
    found = []
    for words in (("ID", number), ("TYPE", "pubsub")):
        line = await other.ask("CLIENT", "LIST", *words)
        found.append([word for word in line.split() if word.split(b"=")[0] in {b"flags", b"sub", b"psub", b"cmd"}])
    info = await other.ask("INFO", "stats")
    found.append([line for line in info.split() if line.startswith(b"pubsub")])
    found.append([await other.ask("CLIENT", "KILL", "TYPE", "pubsub"), await one.reader.read()])
    return found


async def allowed(side: "Side") -> list[bytes]:
    """Users listen and send where they may; who may no longer is closed."""
    admin, one = await side.connect(), await side.connect()
    found = [await admin.ask(*["ACL", "SETUSER", "u1", "on", ">p", "+@all", "~*", "resetchannels", "&a*", "&news"])]
    found.append(await one.ask("AUTH", "u1", "p"))
    lines = (
        "PUBLISH b x", "PUBLISH abc x", "SUBSCRIBE b", "SUBSCRIBE a b", "PSUBSCRIBE *", "PSUBSCRIBE a?", "SPUBLISH b x",
        "SPUBLISH abc x", "SSUBSCRIBE b", "PUBSUB CHANNELS",
    )  # fmt: skip
    found += [await one.ask(*line.split()) for line in lines]
    one.send("SUBSCRIBE", "abc", "news")
    found += await take(one, 2)
    one.send("PSUBSCRIBE", "a*")
    found += await take(one, 1)
    log = await admin.ask("ACL", "LOG", "1")
    found.append(log[log.index(b"reason") : log.index(b"age-seconds")])
    found += [await admin.ask(*["ACL", "SETUSER", "u1", "resetchannels", "&a*"]), await one.reader.read()]
    return [*found, await admin.ask("ACL", "DELUSER", "u1")]


SCENARIOS = [messages, shards, who_listens, to_oneself, pipelined, described, allowed]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_channels_are_those_of_redis(play_both: "PlayBoth", scenario: Scenario, protocol: int) -> None:
    """Every client is told the same, byte for byte, in the same order."""
    ours, theirs = play_both(scenario, protocol)
    assert ours == theirs
