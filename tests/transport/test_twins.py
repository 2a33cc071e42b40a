"""Two processes with one node id are noticed by those whom both connect to."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from raftline.transport.codec import VERSIONS, Welcome
from raftline.transport.twins import Twins

if TYPE_CHECKING:
    from tests.transport.conftest import World

Run = Callable[[Callable[["World"], Awaitable[None]]], None]


def test_once_is_chance_three_times_within_a_minute_are_two() -> None:
    """And a minute after the last of them it is forgotten."""
    now = [0.0]
    twins = Twins(lambda: now[0])
    assert twins.on_replaced("n2", "a:1", "b:1") is None
    now[0] = 50.0
    assert twins.on_replaced("n2", "b:1", "a:2") is None
    now[0] = 61.0
    assert twins.on_replaced("n2", "a:2", "b:2") is None
    now[0] = 70.0
    words = twins.on_replaced("n2", "b:2", "a:3")
    assert words is not None
    assert words.startswith("two processes call themselves n2: they connect by turns, last from b:2 and from a:3")
    assert twins.trouble() == words
    now[0] = 111.0
    assert twins.trouble() is None


def test_peers_say_so_in_their_log_and_status(run: Run) -> None:
    """Connections of one name that take each other's place while they are alive."""

    async def story(world: "World") -> None:
        node = await world.node("b")
        assert node.transport.trouble() is None
        for _ in range(4):
            client = await world.client(node)
            client.greet("a", "b")
            assert await client.frame() == Welcome(VERSIONS.newest, "b")
        told = node.transport.trouble()
        assert told is not None
        assert "two processes call themselves a" in told
        fields = await node.log.line(told)
        assert fields["peer"] == "a"

    run(story)
