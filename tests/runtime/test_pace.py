"""Snapshots of all groups of a node go at one pace, together."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.runtime.test_group import Count

from raftline import GroupConfig
from raftline.runtime.pace import Pace


def test_whoever_asks_waits_for_what_was_moved_before() -> None:
    """The first goes at once, the next when that has had its time; nobody waits for what is long over."""
    now = 10.0
    moments: list[float] = []
    gone: list[str] = []

    def call_at(when: float, go: Callable[[], None]) -> None:
        moments.append(when)
        go()

    pace = Pace(lambda: now, call_at, 100)
    for name in "abc":
        pace.move(50, partial(gone.append, name))
    assert moments == [10.5, 11.0]
    now = 20.0
    pace.move(50, partial(gone.append, "d"))
    assert moments == [10.5, 11.0]
    assert gone == ["a", "b", "c", "d"]


def test_groups_of_a_node_share_the_pace(make_cluster: Any) -> None:
    """However many there are, `snapshot_bytes_per_second` is what all of them write (D16)."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = cluster.nodes["n1"]
            group = await node.add_group(GroupConfig(group=1, members=cluster.members), Count())
            paces = [driver.snapshotting._pace for driver in (node._group, group.driver)]
            assert paces[0] is paces[1]

    asyncio.run(scenario())
