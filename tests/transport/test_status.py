"""What a transport tells about its peers adds up with what the peer tells."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from raftline.core.messages import TimeoutNow

if TYPE_CHECKING:
    from tests.transport.conftest import World

Run = Callable[[Callable[["World"], Awaitable[None]]], None]


def test_what_one_sent_the_other_received(run: Run) -> None:
    """Messages and bytes, on both ends; nothing waits and nothing was dropped once all of it arrived."""

    async def story(world: "World") -> None:
        b = await world.node("b", peers={"a": "127.0.0.1:2@1"})
        a = await world.node("a", peers={"b": b.address})
        await a.until_link("b", up=True)
        for term in range(20):
            a.send("b", TimeoutNow(term))
            await b.inbox.get()
        sent, received = a.transport.status()["b"], b.transport.status()["a"]
        assert (sent.sent_messages, sent.dropped_messages, sent.queued_bytes, sent.reconnects) == (20, 0, 0, 0)
        assert (received.received_messages, received.received_bytes) == (sent.sent_messages, sent.sent_bytes)
        assert (sent.connected, sent.last_trouble) == (True, "")
        assert sent.version is not None
        assert not received.connected  # b's own way to a leads nowhere, and says why
        assert received.version is None
        assert received.address == "127.0.0.1:1"

    run(story)
