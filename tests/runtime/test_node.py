"""Promises of the library: propose, read and status over real files, threads and sockets."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from tests.runtime.conftest import CALM, HANGS_S

from raftline import (
    ApplyError,
    ConfigError,
    CoreConfig,
    Node,
    NodeConfig,
    NotLeader,
    Overloaded,
    ProposalError,
    Timeout,
)
from raftline.errors import SessionClosed, TooLarge
from raftline.kv.machine import KvMachine


def test_a_proposal_on_any_node_is_applied_on_all(make_cluster: Any) -> None:
    """Leader and followers take proposals alike, and every replica applies them in one order."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            for number in range(30):
                node = list(cluster.nodes.values())[number % 3]
                await node.propose(b"k=%d" % number)
            assert await (await cluster.leader()).propose(b"k=end") == b"29"
            for node in cluster.nodes.values():
                assert await node.read(b"k") == b"end"
            await cluster.until(lambda: len({node.status().digest for node in cluster.nodes.values()}) == 1)

    asyncio.run(scenario())


def test_a_read_on_any_node_sees_every_acknowledged_write(make_cluster: Any) -> None:
    """A read that starts after a write was acknowledged returns it, wherever it is asked (G3)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            nodes = list(cluster.nodes.values())
            for number in range(60):
                await nodes[number % 3].propose(b"k=%d" % number)
                assert await nodes[(number + 1) % 3].read(b"k") == b"%d" % number

    asyncio.run(scenario())


def test_a_read_that_gives_no_bytes_is_an_error_of_the_machine(make_cluster: Any) -> None:
    """And not one that nobody answers."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            with pytest.raises(ApplyError, match=r"read\(\) must return bytes, not NoneType"):
                await leader.read(b"no bytes")

    asyncio.run(scenario())


def test_everything_acknowledged_survives_a_restart_of_all(make_cluster: Any) -> None:
    """What was acknowledged is on disk (C13)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await asyncio.gather(*(leader.propose(b"k%d=%d" % (n, n)) for n in range(200)))
            await cluster.stop()
            await cluster.start()
            node = await cluster.follower()
            for number in range(0, 200, 17):
                assert await node.read(b"k%d" % number) == b"%d" % number

    asyncio.run(scenario())


def test_the_cluster_goes_on_without_its_leader(make_cluster: Any) -> None:
    """A new leader is elected, and the old one catches up when it comes back (B14)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=1")
            old = leader.config.node_id
            await cluster.stop(old)
            await (await cluster.leader()).propose(b"k=2")
            await cluster.start(old)
            assert await cluster.nodes[old].read(b"k") == b"2"

    asyncio.run(scenario())


def test_without_a_quorum_requests_fail_in_time_and_with_words(make_cluster: Any) -> None:
    """No majority: an error after a bounded wait, never a wrong answer (G5, G11)."""

    async def scenario() -> None:
        async with make_cluster(request_timeout_s=0.5) as cluster:
            leader = await cluster.leader()
            await leader.propose(b"k=1")
            for node in cluster.nodes.values():
                if node is not leader:
                    await node.groups[0].driver.host.transport.stop()
            with pytest.raises(ProposalError) as proposal:
                await leader.propose(b"k=2")
            assert proposal.value.may_take_effect
            with pytest.raises(Timeout):
                await leader.read(b"k")
            await cluster.until(lambda: leader.status().role != "leader")
            with pytest.raises(Timeout) as refused:
                await leader.propose(b"k=3")
            assert not refused.value.may_take_effect

    asyncio.run(scenario())


def test_a_wiped_node_catches_up_by_snapshot_and_votes_again(make_cluster: Any) -> None:
    """A node that lost its directory gets the snapshot in chunks, the log behind it, and is whole again (C14, D6)."""

    async def scenario() -> None:
        core = structs.replace(CALM, snapshot_chunk_bytes=1000)
        async with make_cluster(core=core, snapshot_log_entries=100, keep_log_entries=10) as cluster:
            node = await cluster.wiped()
            assert await node.read(b"k999") == b"999"
            assert await node.read(b"k0") == b"0"
            assert node.status().snapshots_installed == 1
            await cluster.until(lambda: node.status().established)

    asyncio.run(scenario())


def test_snapshots_let_go_of_the_log_and_survive_restarts(make_cluster: Any) -> None:
    """The log stays bounded, and a node starts from its snapshot and the log behind it (D1, D17, D18)."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_entries=50, keep_log_entries=5) as cluster:
            node = await cluster.leader()
            for number in range(400):
                await node.propose(b"k%d=%d" % (number % 30, number))
            await cluster.until(lambda: node.status().compacted_index > 300)
            await cluster.stop()
            await cluster.start()
            node = await cluster.leader()
            assert node.status().snapshot_index > 300
            assert await node.read(b"k9") == b"399"

    asyncio.run(scenario())


def test_an_exception_in_apply_is_the_proposers_error(make_cluster: Any) -> None:
    """The log goes on behind it, on followers' proposals too."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            for node in cluster.nodes.values():
                with pytest.raises(ApplyError, match="boom"):
                    await node.propose(b"boom")
                with pytest.raises(ApplyError, match="no such thing"):
                    await node.read(b"boom")
                await node.propose(b"k=v")

    asyncio.run(scenario())


def test_a_session_makes_retries_harmless(make_cluster: Any) -> None:
    """The same number on another node is answered from memory (G7)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            first, second, _ = cluster.nodes.values()
            session = await first.open_session()
            assert await first.propose(b"k=1", session=session, sequence=1) == b""
            assert await second.propose(b"k=1", session=session, sequence=1) == b""
            assert await second.propose(b"k=2", session=session, sequence=2) == b"1"

    asyncio.run(scenario())


def test_a_session_is_shown_and_closed_on_any_node(make_cluster: Any) -> None:
    """What is known of a session is current on the node that is asked, and a closed one is refused (G9)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            first, second, third = cluster.nodes.values()
            session = await first.open_session()
            await first.propose(b"k=1", session=session, sequence=4)
            shown = await second.find_session(session)
            assert shown is not None
            assert (shown.session, shown.sequence, shown.reply_bytes, shown.reply_kept) == (session, 4, 0, True)
            assert second.status().sessions == 1
            assert session > 2**20, "drawn, so that nobody who has no business with it guesses it"
            assert await third.close_session(session)
            assert not await first.close_session(session)
            assert await second.find_session(session) is None
            with pytest.raises(SessionClosed, match="is not open"):
                await second.propose(b"k=2", session=session, sequence=5)

    asyncio.run(scenario())


def test_a_session_without_a_number_is_refused(make_cluster: Any) -> None:
    """A sequence that was left out is the caller's mistake, and no command that was carried out already (G8)."""

    async def scenario() -> None:
        async with make_cluster(size=1) as cluster:
            (node,) = cluster.nodes.values()
            session = await node.open_session()
            with pytest.raises(ConfigError, match="sequence 0 must be"):
                await node.propose(b"k=1", session=session)

    asyncio.run(scenario())


def test_too_much_waiting_is_refused_before_the_log(make_cluster: Any) -> None:
    """A full queue says so at once and loses nothing that was admitted."""

    async def scenario() -> None:
        async with make_cluster(pending_max=10, command_bytes_max=1000) as cluster:
            leader = await cluster.leader()
            outcomes = await asyncio.gather(*(leader.propose(b"k=%d" % n) for n in range(50)), return_exceptions=True)
            refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
            assert len(refused) == 40
            assert not any(outcome.may_take_effect for outcome in refused)
            with pytest.raises(TooLarge, match="the limit is 1000"):
                await leader.propose(b"k=" + b"x" * 2000)

    asyncio.run(scenario())


def test_a_diverging_machine_stops_serving(make_cluster: Any) -> None:
    """A replica whose results differ from the leader's stops by itself and says at which index."""

    async def scenario() -> None:
        async with make_cluster(started=False) as cluster:
            made = cluster.make_machine

            def make(name: str) -> Any:
                machine = made(name)
                if name == "n2":
                    apply = machine.apply
                    machine.apply = lambda command, index, time_ms: apply(command, index, time_ms) + b"!"
                return machine

            cluster.make_machine = make
            await cluster.start()
            leader = await cluster.leader()
            # Whoever leads: where n2 does, the other two differ from it, stop, and the last proposals have no quorum.
            proposals = (leader.propose(b"k=%d" % number) for number in range(5))
            outcomes = await asyncio.gather(*proposals, return_exceptions=True)
            assert not [outcome for outcome in outcomes if not isinstance(outcome, bytes | ProposalError)]
            async with asyncio.timeout(HANGS_S):
                stopped = [asyncio.ensure_future(node.wait_failed()) for node in cluster.nodes.values()]
                finished, waiting = await asyncio.wait(stopped, return_when=asyncio.FIRST_COMPLETED)
                assert "differs from the leader's at index" in str(next(iter(finished)).result())
                for task in waiting:
                    task.cancel()

    asyncio.run(scenario())


def test_settings_that_cannot_work_are_named() -> None:
    """A mistake is found before anything is opened."""
    with pytest.raises(ConfigError, match="not among the members"):
        Node(NodeConfig(node_id="n9", members={"n1": "127.0.0.1:7001"}, data_dir="unused"), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="less than two heartbeats"):
        CoreConfig(heartbeat_interval_s=1.0).check()
    assert "ask n1 at 127.0.0.1:7001" in str(NotLeader("n1", "127.0.0.1:7001"))


@pytest.mark.parametrize("bound_s", [0.0, -1.0, float("nan")])
def test_a_bounded_read_needs_a_bound(bound_s: float) -> None:
    """Said when it is asked for, not by every answer."""
    node = Node(NodeConfig(node_id="n1", members={"n1": "127.0.0.1:1"}, data_dir="/nowhere"), KvMachine())
    with pytest.raises(ConfigError, match="a bounded read needs staleness_s_max, a number of seconds above 0"):
        node.submit_read(lambda _: None, "bounded", bound_s)


def test_a_start_that_is_given_up_gives_the_directory_back(make_cluster: Any) -> None:
    """Whoever waits for it only so long can try again, in the same process."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            await (await cluster.leader()).propose(b"k=1")
            await cluster.stop()
            start = asyncio.ensure_future(cluster.start())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            await cluster.start()
            assert await (await cluster.leader()).read(b"k") == b"1"

    asyncio.run(scenario())
