"""What a node is given for its log and for what waits holds for all its groups together: real nodes, several groups."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from raftline import Group, GroupConfig, Overloaded, SetPriority, StateMachine, TooLarge

GROUPS = range(1, 9)
VALUE = b"v" * 1000


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


async def _write(group: Group, count: int) -> None:
    for _ in range(count // 20):
        await asyncio.gather(*(group.propose(VALUE) for _ in range(20)))


def _in_memory(group: Group) -> int:
    """Return how many bytes of commands its log holds, counted one by one."""
    return sum(len(entry.data) for entry in group.driver.replica.core.state.log._entries)


# The log in memory.

MEMORY = 100_000


def test_the_logs_of_all_groups_keep_within_the_memory_of_one(make_cluster: Any) -> None:
    """One that has it to itself uses all of it; eight that are busy share it, and so they do after a restart (D16)."""

    async def scenario() -> None:
        async with make_cluster(1, log_memory_bytes=MEMORY, snapshot_log_bytes=1 << 30) as cluster:
            groups = await _add_all(cluster)
            await _write(groups[0], 200)
            await cluster.until(lambda: 0.8 * MEMORY < _in_memory(groups[0]) <= MEMORY)
            for _ in range(6):
                await asyncio.gather(*(_write(group, 20) for group in groups))
            for _ in range(2):
                for group in groups:  # one by one: nobody gives way for what others cannot let go of yet
                    await _write(group, 20)
            await cluster.until(lambda: sum(map(_in_memory, groups)) <= MEMORY)
            assert min(map(_in_memory, groups)) > MEMORY / 8 / 4, "all are about as busy"
            assert cluster.nodes["n1"].measure().log_memory_bytes <= MEMORY
            await cluster.stop()
            await cluster.start()
            again = await _add_all(cluster)
            await asyncio.gather(*(_write(group, 20) for group in again))
            await cluster.until(lambda: sum(map(_in_memory, again)) <= MEMORY)
            assert [await group.read(b"") for group in again] == [b"380000"] + 7 * [b"180000"]

    asyncio.run(scenario())


def test_a_busy_group_gets_what_idle_ones_hold(make_cluster: Any) -> None:
    """They give way although they take no turns of their own, and a group that is gone holds nothing."""

    async def scenario() -> None:
        async with make_cluster(1, log_memory_bytes=MEMORY, snapshot_log_bytes=1 << 30) as cluster:
            groups = await _add_all(cluster)
            for group in groups[:-1]:
                await _write(group, 60)
            assert _in_memory(groups[0]) < 40_000
            await _write(groups[-1], 400)
            await cluster.until(lambda: sum(map(_in_memory, groups)) <= MEMORY)
            assert _in_memory(groups[-1]) >= MEMORY / 8
            left = _in_memory(groups[0])
            assert left > 0, "what is little stays"
            held = cluster.nodes["n1"].measure().log_memory_bytes
            await cluster.nodes["n1"].remove_group(groups[0].group)
            assert cluster.nodes["n1"].measure().log_memory_bytes == held - left

    asyncio.run(scenario())


# The log before a snapshot.

LOG = 300_000


def test_the_logs_of_all_groups_grow_no_further_than_that_of_one(make_cluster: Any) -> None:
    """Groups of which none is due by itself take snapshots, whether they are busy or idle by then (D18)."""

    async def scenario() -> None:
        settings = {"snapshot_log_bytes": LOG, "keep_log_entries": 0, "segment_bytes": 1 << 16}
        async with make_cluster(1, **settings) as cluster:
            groups = await _add_all(cluster)
            await _write(groups[0], 240)
            assert groups[0].status().snapshot_index == 0, "it alone is not due"
            for group in groups[1:]:
                await _write(group, 240)
            await cluster.until(lambda: sum(group.status().log_bytes for group in groups) <= LOG + 20 * len(VALUE))
            assert groups[0].status().snapshot_index > 0
            await cluster.until(lambda: len(list((cluster.directory / "n1").glob("wal-*.log"))) <= 10)
            await cluster.stop()
            await cluster.start()
            assert [await group.read(b"") for group in await _add_all(cluster)] == 8 * [b"240000"]

    asyncio.run(scenario())


def test_snapshots_for_others_sake_are_taken_a_few_at_a_time(make_cluster: Any) -> None:
    """All at once, none would be done, and let go of its log, before all are; and each keeps a file open (D18)."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_bytes=LOG, snapshot_bytes_per_second=2000) as cluster:
            groups = await _add_all(cluster)
            at_once: set[int] = set()
            for _ in range(4):
                for group in groups:
                    await _write(group, 20)
                    at_once.add(sum(group.status().snapshot_in_progress for group in groups))
            assert 1 <= max(at_once) <= 4
            await cluster.until(lambda: sum(group.driver.compaction._growth.size for group in groups) <= LOG)
            assert sum(group.status().snapshots_taken for group in groups) >= 5, "the next ones follow"

    asyncio.run(scenario())


class Large(Length):
    """Its snapshots are much larger than what changes."""

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.size, b" " * 200_000]


def test_no_large_snapshot_is_taken_early_after_a_restart_either(make_cluster: Any) -> None:
    """How large one is is known as soon as it is restored: it takes as much more of the log as before (D18)."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_bytes=100_000) as cluster:

            async def add() -> list[Group]:
                configs = [GroupConfig(group=number, members=cluster.members) for number in (1, 2)]
                return [await cluster.nodes["n1"].add_group(config, Large()) for config in configs]

            groups = await add()
            for group in groups:
                await _write(group, 120)
                await cluster.until(lambda group=group: group.status().snapshots_taken == 1)
            await cluster.stop()
            await cluster.start()
            again = await add()
            await asyncio.gather(*(_write(group, 60) for group in again))
            status = [group.status() for group in again]
            assert [(it.snapshots_taken, it.snapshot_in_progress) for it in status] == 2 * [(0, False)]

    asyncio.run(scenario())


def test_many_small_entries_are_much_too(make_cluster: Any) -> None:
    """The bound on entries holds for all groups together as well; what is kept for followers is bounded with it."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_entries=400) as cluster:
            groups = await _add_all(cluster)
            for _ in range(10):
                for group in groups:
                    await asyncio.gather(*(group.propose(b"x") for _ in range(20)))
            await cluster.until(lambda: sum(group.status().snapshots_taken for group in groups) >= 3)
            assert all(group.status().snapshots_taken <= 8 for group in groups), "no more than one for each 25 entries"

    asyncio.run(scenario())


def test_what_is_kept_for_followers_is_no_more_than_what_went_between_two_snapshots(make_cluster: Any) -> None:
    """Where a group takes its snapshots early for others' sake, it keeps less before them, too (D18)."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_bytes=LOG) as cluster:
            groups = await _add_all(cluster)
            for _ in range(14):
                await asyncio.gather(*(_write(group, 20) for group in groups))
                await cluster.until(lambda: not any(group.status().snapshot_in_progress for group in groups))
            await cluster.until(lambda: sum(group.status().log_bytes for group in groups) <= 4 * LOG)

    asyncio.run(scenario())


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


# A single command.


def test_a_command_is_as_large_as_its_author_made_it(make_cluster: Any) -> None:
    """What is put around it does not count: in a session or not, on a node that hosts the group or elsewhere."""

    async def scenario() -> None:
        async with make_cluster(2, command_bytes_max=8) as cluster:
            hosting, asking = cluster.nodes["n1"], cluster.nodes["n2"]
            members = {"n1": cluster.members["n1"]}
            group = await hosting.add_group(GroupConfig(group=1, members=members), Length())
            remote = asking.remote(1, lambda: ["n1"])
            session = await group.open_session()

            async def pass_on(command: bytes, **how: int) -> bytes:
                future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                remote.submit(command, future.set_result, **how)
                outcome = await future
                if isinstance(outcome, bytes):
                    return outcome
                raise outcome

            for sequence, propose in enumerate((group.propose, pass_on), 1):
                for how in ({}, {"session": session, "sequence": sequence}):
                    assert await propose(b"x" * 8, **how) == b""
                    with pytest.raises(TooLarge, match="the command has 9 bytes, the limit is 8"):
                        await propose(b"x" * 9, **how)
            assert await remote.ask(b"") == b"32"
            assert await remote.open_session(7) == 7
            assert await group.close_session(session)
            await hosting.change_membership(SetPriority("n2", 1))

    asyncio.run(scenario())
