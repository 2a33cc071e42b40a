"""What a node is given for what waits holds for all its groups together: real nodes, several groups."""

import asyncio
from collections.abc import Iterable
from typing import Any

from raftline import Group, GroupConfig, Overloaded, StateMachine

GROUPS = range(1, 9)


class Length(StateMachine):
    """Remembers how long all commands were together."""

    def __init__(self) -> None:
        self.size = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        self.size += len(command)
        return b""

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        return b"%d" % self.size

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.size]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.size = int(b"".join(chunks))


async def _add_all(cluster: Any, name: str = "n1") -> list[Group]:
    node = cluster.nodes[name]
    return [await node.add_group(GroupConfig(group=number, members=cluster.members), Length()) for number in GROUPS]


# What waits for an outcome.


async def _offer(group: Group, count: int, size: int) -> list[asyncio.Future[bytes]]:
    """Propose so many commands of so many bytes; return those that were not refused at once."""
    offered = [asyncio.ensure_future(group.propose(b"x" * size)) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    for proposal in offered:
        if proposal.done():
            assert isinstance(proposal.exception(), Overloaded), proposal.exception()
    return [proposal for proposal in offered if not proposal.done()]


def _play_without_a_majority(make_cluster: Any, offers: Any, **settings: Any) -> None:
    """Let groups that have no leader, so that everything waits, be offered something."""

    async def scenario() -> None:
        async with make_cluster(started=False, drain_s_max=0.0, request_timeout_s=60.0, **settings) as cluster:
            await cluster.start("n1")
            groups = await _add_all(cluster)
            waiting = await offers(cluster.nodes["n1"], groups)
            assert cluster.nodes["n1"].measure().requests_waiting == len(waiting)
            await cluster.stop()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, Exception) for outcome in outcomes)

    asyncio.run(scenario())


def test_what_waits_in_all_groups_is_no_more_than_a_node_may_hold(make_cluster: Any) -> None:
    """In bytes: the refusal says how much waits, and one group leaves something to each of the others (F24, G5)."""
    most = 400_000

    async def offers(_node: Any, groups: list[Group]) -> list[asyncio.Future[bytes]]:
        admitted = [await _offer(group, 500, 1000) for group in groups]
        sizes = [len(waiting) for waiting in admitted]
        assert sum(sizes) * 1000 <= most
        assert 200 <= sizes[0] <= 300, "one may have up to three quarters"
        assert sizes[1] > 50
        assert min(sizes[:4]) >= 1
        refused = (await asyncio.gather(groups[0].propose(b"x" * 1000), return_exceptions=True))[0]
        assert isinstance(refused, Overloaded)
        assert f"{sum(sizes)} requests" in str(refused)
        assert not refused.may_take_effect
        return [proposal for waiting in admitted for proposal in waiting]

    _play_without_a_majority(make_cluster, offers, pending_bytes_max=most)


def test_how_many_wait_in_all_groups_is_bounded_and_shared_too(make_cluster: Any) -> None:
    """By their number; a group that is gone holds nothing."""

    async def offers(node: Any, groups: list[Group]) -> list[asyncio.Future[bytes]]:
        first, second = await _offer(groups[0], 200, 1), await _offer(groups[1], 200, 1)
        assert len(first) == 75
        assert 15 <= len(second) <= 19
        await node.remove_group(groups[0].group)
        await asyncio.gather(*first, return_exceptions=True)
        more = await _offer(groups[2], 200, 1)
        assert len(second) + len(more) <= 100
        assert len(more) >= 50
        return second + more

    _play_without_a_majority(make_cluster, offers, pending_max=100)
