"""Promises about members that come, go and hand over, with real nodes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from msgspec import structs
from tests.runtime.conftest import HANGS_S, free_addresses

from raftline import (
    AddLearner,
    ChangeRefused,
    ConfigError,
    Move,
    Node,
    NotMember,
    Promote,
    Remove,
    Replace,
    SetPriority,
)
from raftline.core.membership import Membership
from raftline.runtime.members import misnamed


def _voters(node: Node) -> list[str]:
    return [member.node_id for member in node.members() if member.voter]


def test_a_group_grows_and_shrinks_while_it_works(make_cluster: Any) -> None:
    """Three nodes become five and three again, asked on any node; every write in between is kept."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            first = await cluster.follower()
            await first.propose(b"k=0")
            for number in (4, 5):
                address = await cluster.join(f"n{number}")
                await first.change_membership(AddLearner(f"n{number}", address))
                await first.propose(b"k=%d" % number)
            await cluster.until(lambda: _voters(first) == ["n1", "n2", "n3", "n4", "n5"])
            assert await cluster.nodes["n5"].propose(b"k=6") == b"5"
            old = (await cluster.leader()).config.node_id
            for name in [old, *[name for name in ("n1", "n2", "n3") if name != old]][:2]:
                await cluster.nodes["n4"].change_membership(Remove(name))
            await cluster.until(lambda: len(_voters(cluster.nodes["n5"])) == 3)
            assert await cluster.nodes["n5"].read(b"k") == b"6"
            await cluster.until(lambda: cluster.nodes[old].status().role == "removed")

    asyncio.run(scenario())


def test_a_node_that_the_group_has_elsewhere_says_so(make_cluster: Any) -> None:
    """Moved by mistake, or started with its old address: nobody reaches it, and its status says what mends that."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            moved = await cluster.follower()
            me, own = moved.config.node_id, moved.config.own_address
            leader = await cluster.leader()
            assert moved.status().trouble is None
            await leader.change_membership(Move(me, "127.0.0.1:1@2"))
            await cluster.until(lambda: moved.status().trouble is not None)
            assert f"has {me} at 127.0.0.1:1@2, while it was started at {own}: if" in moved.status().trouble
            assert "start it with --listen 127.0.0.1:1@2" in moved.status().trouble
            await leader.change_membership(Move(me, own))
            await cluster.until(lambda: moved.status().leader_id is not None)
            assert moved.status().trouble is None

    asyncio.run(scenario())


def test_a_node_waits_until_it_is_added(make_cluster: Any) -> None:
    """It elects nobody, says so, and takes part once it is added and promoted."""

    async def scenario() -> None:
        async with make_cluster(size=1) as cluster:
            address = await cluster.join("n2")
            newcomer = cluster.nodes["n2"]
            assert newcomer.status().role == "waiting"
            assert newcomer.members() == ()
            one = await cluster.leader()
            await one.propose(b"k=1")
            await one.change_membership(AddLearner("n2", address, promote=False))
            await cluster.until(lambda: newcomer.status().role == "learner")
            assert await newcomer.read(b"k") == b"1"
            await cluster.until(lambda: one.members()[1].caught_up == "")
            await newcomer.change_membership(Promote("n2"))
            await cluster.until(lambda: newcomer.status().role == "follower")
            assert _voters(one) == ["n1", "n2"]

    asyncio.run(scenario())


def test_clients_of_a_node_that_is_removed_know_what_became_of_each_command(make_cluster: Any) -> None:
    """Follower or leader: it is carried out, or refused with the members to ask and without any effect, for sure."""

    async def client(node: Node, key: bytes) -> bytes:
        await node.propose(key + b"=0")
        value = b"0"
        with pytest.raises(NotMember, match="was removed from the group: ask n") as refusal:  # noqa: PT012  which one is refused is chance
            for count in range(1, 1_000_000):
                old = await node.propose(key + b"=%d" % count)
                assert old == b"%d" % (count - 1)
                value = b"%d" % count
        assert not refusal.value.may_take_effect
        return value

    async def scenario() -> None:
        async with make_cluster(size=5) as cluster:
            for pick in (cluster.follower, cluster.leader):
                leaving = await pick()
                name = leaving.config.node_id
                keys = [f"{name}/{number}".encode() for number in range(8)]
                clients = [asyncio.ensure_future(client(leaving, key)) for key in keys]
                other = next(node for node in cluster.nodes.values() if node is not leaving)
                await other.change_membership(Remove(name))
                for key, value in zip(keys, await asyncio.gather(*clients), strict=True):
                    assert await other.read(key) == value
                await cluster.stop(name)

    asyncio.run(scenario())


def test_a_port_of_a_member_is_nobody_elses(make_cluster: Any) -> None:
    """Whether it is the one for clients or for peers, and asked on any node; the log is not touched."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            node = await cluster.follower()
            await node.propose(b"k=1")
            before = node.status().last_index
            client, bus = cluster.members["n2"].removeprefix("127.0.0.1:").split("@")
            for address in (f"127.0.0.1:{bus}@1", f"127.0.0.1:1@{client}", f"127.0.0.1:{client}@{bus}"):
                for change in (
                    AddLearner("n4", address),
                    Move("n3", address),
                    Replace.by({"n1": "h:1@2", "n4": address}),
                ):
                    with pytest.raises(ConfigError, match=f"{address} has a port in common with n2, which is at"):
                        await node.change_membership(change)
            assert node.status().last_index == before

    asyncio.run(scenario())


def test_a_refusal_says_why(make_cluster: Any) -> None:
    """On the leader and on a follower alike."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            for node in (await cluster.leader(), await cluster.follower()):
                with pytest.raises(ChangeRefused, match="n9 is no member; there are n1, n2, n3"):
                    await node.change_membership(Remove("n9"))
                with pytest.raises(ChangeRefused, match="n2 votes already, at"):
                    await node.change_membership(AddLearner("n2", "127.0.0.1:7009"))
                with pytest.raises(ConfigError, match="the port is missing"):
                    await node.change_membership(Move("n2", "nowhere"))
                with pytest.raises(ChangeRefused, match="n9 is no member"):
                    await node.transfer_leadership("n9")

    asyncio.run(scenario())


def test_the_leadership_goes_where_it_is_asked_to_go(make_cluster: Any) -> None:
    """Asked on any node; writes go on."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=1")
            follower = await cluster.follower()
            name = follower.config.node_id
            writes = [asyncio.ensure_future(leader.propose(b"k%d=1" % n)) for n in range(50)]
            await leader.transfer_leadership(name)
            await cluster.until(lambda: follower.is_leader)
            await asyncio.gather(*writes)
            await follower.transfer_leadership()
            await cluster.until(lambda: not follower.is_leader)
            await follower.propose(b"k=2")

    asyncio.run(scenario())


def test_a_leader_that_stops_fails_no_write(make_cluster: Any) -> None:
    """It hands over first, and whoever waits gets a result, here and on the other nodes (thesis 3.10)."""

    async def scenario() -> None:
        async with make_cluster(drain_s_max=HANGS_S) as cluster:
            for _ in range(3):
                leader = await cluster.leader()
                await leader.propose(b"k=1")
                nodes = list(cluster.nodes.values())
                writes = [asyncio.ensure_future(nodes[n % 3].propose(b"k%d=1" % n)) for n in range(300)]
                await asyncio.sleep(0)
                name = leader.config.node_id
                await cluster.stop(name)
                await asyncio.gather(*writes)
                await cluster.start(name)

    asyncio.run(scenario())


def test_every_voter_can_be_replaced_at_once(make_cluster: Any) -> None:
    """Three new nodes take over from the old three, which learn that they are out (§6)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            await (await cluster.leader()).propose(b"k=1")
            addresses = {name: await cluster.join(name) for name in ("n4", "n5", "n6")}
            await (await cluster.follower()).change_membership(Replace.by(addresses))
            new = [cluster.nodes[name] for name in addresses]
            await cluster.until(lambda: any(node.is_leader for node in new))
            assert await new[0].read(b"k") == b"1"
            assert _voters(new[1]) == ["n4", "n5", "n6"]
            await cluster.stop("n1", "n2", "n3")
            assert await new[2].propose(b"k=2") == b"1"

    asyncio.run(scenario())


def test_the_preferred_node_leads(make_cluster: Any) -> None:
    """After a while in which nothing else changes."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            follower = await cluster.follower()
            name = follower.config.node_id
            await follower.change_membership(SetPriority(name, 5))
            await cluster.until(lambda: follower.is_leader)
            assert [member.priority for member in follower.members() if member.node_id == name] == [5]

    asyncio.run(scenario())


async def _said_at_a_start(cluster: Any, name: str, members: dict[str, str], address: str) -> list[dict[str, Any]]:
    """Start a node again with other members; return the warnings about them."""
    config = structs.replace(cluster.nodes[name].config, members=members, address=address)
    await cluster.stop(name)
    with structlog.testing.capture_logs() as said:
        await cluster._run(name, config)
    return [dict(entry) for entry in said if entry["log_level"] == "warning" and "members" in entry["event"]]


def test_members_that_are_not_those_of_the_log_are_said(make_cluster: Any) -> None:
    """They do not count, and would if the directory were lost: both are named, with what to do."""

    async def scenario() -> None:
        async with make_cluster(size=1) as cluster:
            leader = await cluster.leader()
            first = {"n1": cluster.members["n1"]}
            n2, n3 = free_addresses(2)
            await leader.change_membership(AddLearner("n2", n2, promote=False))
            for given in (first, {}, first | {"n2": n2}):
                assert await _said_at_a_start(cluster, "n1", given, first["n1"]) == []
            for given in (first | {"n3": n3}, first | {"n2": n3}):
                (warning,) = await _said_at_a_start(cluster, "n1", given, first["n1"])
                assert warning["event"].startswith("the log names other members than the settings do, and counts: ")
                assert warning["log"] == f"n1 at {first['n1']}, n2 at {n2}"
                assert warning["given"] == ", ".join(f"{node} at {where}" for node, where in given.items())
                assert warning["node"] == "n1"
                assert [member.node_id for member in cluster.nodes["n1"].members()] == ["n1", "n2"]

    asyncio.run(scenario())


def test_a_voter_that_the_settings_leave_out_is_missed() -> None:
    """A learner is not: it is none of the first voters."""
    three = {f"n{number}": f"127.0.0.1:700{number}" for number in (1, 2, 3)}
    membership = structs.replace(Membership.of(three), voters=("n1", "n2"), learners=("n3",))
    state: Any = SimpleNamespace(membership=membership, log=SimpleNamespace(last_index=9))
    in_full = {node: f"{address}@1700{number}" for number, (node, address) in enumerate(three.items(), 1)}
    for given in (three, in_full, {node: three[node] for node in ("n1", "n2")}):
        assert misnamed(state, given) is None
    assert "and counts" in str(misnamed(state, {"n1": three["n1"], "n3": three["n3"]}))


def test_a_log_that_names_no_members_is_said_where_none_are_given(make_cluster: Any) -> None:
    """A first voter that is started again without its members would wait for ever, and say nothing."""

    async def scenario() -> None:
        async with make_cluster(size=1) as cluster:
            await (await cluster.leader()).propose(b"k=1")
            own = cluster.members["n1"]
            assert await _said_at_a_start(cluster, "n1", cluster.members, own) == []
            (warning,) = await _said_at_a_start(cluster, "n1", {}, own)
            assert warning["event"].startswith("neither the log nor the settings name any members: this node waits")
            assert cluster.nodes["n1"].status().role == "waiting"

    asyncio.run(scenario())
