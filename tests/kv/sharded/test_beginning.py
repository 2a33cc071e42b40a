"""Who may begin a group: real nodes that start again with little of it, and with an old state of the first group."""

import shutil
from pathlib import Path

from tests.kv.sharded.test_keeper import KEYS, Sharded, in_a_loop, sharded

from raftline.core.entries import HardState
from raftline.core.state import Role
from raftline.kv.sharded.requests import change_command
from raftline.shards.configuration import Place
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal, Write


async def _come_back_with_a_term(cluster: Sharded, directory: Path) -> None:
    """Place group 1 elsewhere and back on n1, which starts with the term of the group's leader and no entry of it.

    It has to wait for the group's log, and everything that was written has to be there in the end.
    """
    first, other = cluster.places["n1"], cluster.places["n2"]
    await cluster.change(Place(1, ("n2",)))
    await cluster.wait(lambda: cluster.hosts("n1") == set() and cluster.hosts("n2") == {1, 2}, "moved")
    running = other.keeper.running(1)
    assert running is not None
    term = running.driver.replica.core.term
    await cluster.places.pop("n1").stop()
    log = Wal.open(OsFiles(), str(directory / "n1"), cluster_id=first.node.config.cluster_id, node_id="n1")
    log.append([Write(group=1, hard_state=HardState(term, None, False, 0))])  # noqa: FBT003
    log.close()
    await other.rest()  # nobody lets n1 in
    number = int((await other.node.propose(change_command(Place(1, ("n1",)))))[1:])
    await cluster.start("n1")
    place = cluster.places["n1"]
    await cluster.wait(lambda: cluster.hosts("n1") == {1}, "hosted")
    replica = place.keeper.running(1)
    assert replica is not None
    assert not replica.driver.replica.core.state.membership.voters
    other.work()
    await cluster.wait_settled(number)
    await cluster.wait(lambda: cluster.hosts("n2") == {2}, "moved back")
    for key in KEYS:
        assert await cluster.ask(key, b"APPEND", b"!") == b":2\r\n"


@in_a_loop
async def test_a_founder_that_comes_back_begins_nothing(tmp_path: Path) -> None:
    """It stops after the first word of the group's leader, before it has an entry: it waits for the group's log (C14).

    The group is on another node by then, with everything that was written; all that n1 has is that leader's term.
    """
    async with sharded(tmp_path, first_groups=3, replicas=1) as cluster:
        await cluster.fill()
        await _come_back_with_a_term(cluster, tmp_path)


@in_a_loop
async def test_nobody_begins_a_group_by_an_old_state_of_the_first_one(tmp_path: Path) -> None:
    """What it knows right after its start may be from before the group went elsewhere (C14).

    All that n1 has of the group that comes back is its leader's term, as while it is sent a large snapshot.
    """
    async with sharded(tmp_path, first_groups=3, replicas=1) as cluster:
        await cluster.fill()
        # a snapshot of the first group, in which group 1 was never placed
        (await cluster.places["n1"].node.open_backup()).close()
        await _come_back_with_a_term(cluster, tmp_path)


@in_a_loop
async def test_nobody_begins_a_group_anew_whose_disks_are_lost(tmp_path: Path) -> None:
    """The first group remembers that it had begun: who asks for its keys is told that they are not served (C14)."""
    async with sharded(tmp_path, first_groups=3, replicas=1) as cluster:
        await cluster.fill()
        home = cluster.places["n1"].meta.configuration.nodes_of(1)
        assert home == ("n1",)
        await cluster.places.pop("n1").stop()
        shutil.rmtree(tmp_path / "n1")
        await cluster.start("n1")
        await cluster.wait(lambda: cluster.hosts("n1") == {1}, "hosted")
        running = cluster.places["n1"].keeper.running(1)
        assert running is not None
        core = running.driver.replica.core
        await cluster.wait(lambda: core.role is not Role.FOLLOWER, "it looks for a leader")
        assert core.role is Role.PRE_CANDIDATE
        assert not core.state.established
