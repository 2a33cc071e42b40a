"""Two clusters of one name whose nodes have the same names, too: what one passes on, the other does not take (C14)."""

import asyncio
from pathlib import Path
from typing import Any

from tests.runtime.conftest import Cluster
from tests.runtime.test_remote import Slots

from raftline import GroupConfig
from raftline.errors import RaftlineError

GROUP = 1


async def host(cluster: Cluster) -> Slots:
    """Let the first two nodes of a cluster host a group; return what n2 has of it: one command."""
    members = {name: cluster.members[name] for name in ("n1", "n2")}
    config = GroupConfig(group=GROUP, members=members)
    machines = {name: Slots() for name in members}
    await asyncio.gather(*(cluster.nodes[name].add_group(config, machines[name]) for name in members))
    await cluster.nodes["n2"].group(GROUP).propose(b"first")
    return machines["n2"]


def test_what_comes_from_a_cluster_of_another_history_is_not_taken(make_cluster: Any, tmp_path: Path) -> None:
    """An address that n2 of one cluster had is that of n2 of the other now: no command is carried out there (C14)."""

    async def scenario() -> None:
        other = Cluster(tmp_path / "other", 3)
        async with make_cluster(started=False) as cluster:
            try:
                await asyncio.gather(other.start("n1", "n2"), cluster.start("n1", "n2"))
                theirs, _ = await host(other), await host(cluster)
                if (leader := await cluster.leader()) is not cluster.nodes["n1"]:
                    await leader.transfer_leadership("n1")  # a leader is refused by the core, with its log's history
                cluster.settings["request_timeout_s"] = 1.0
                await cluster.start("n3")
                nodes = (*cluster.nodes.values(), *other.nodes.values())
                await cluster.until(lambda: all(node.status().commit_index for node in nodes))
                asking = cluster.nodes["n3"]
                remote = asking.remote(GROUP, lambda: ["n2"])
                await cluster.stop("n2")
                await cluster.until(lambda: not asking.is_up("n2"))
                moved = cluster.members | {"n2": other.members["n2"]}
                asking._ports.transport.set_peers(moved)
                await cluster.until(lambda: asking.is_up("n2"))
                outcomes: list[Any] = []
                remote.submit(b"a", outcomes.append)
                await cluster.until(lambda: bool(outcomes))
                assert theirs.done == [b"first"]
                assert isinstance(outcomes[0], RaftlineError)
            finally:
                await other.stop()

    asyncio.run(scenario())
