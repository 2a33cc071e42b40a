"""Lab 4A: the shard controller. Who serves what is balanced, moves as little as can be, and every number is kept."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from raftline.core.ids import GroupId
from raftline.lab.promises import BrokenPromise
from raftline.lab.services.case import ServiceTest
from raftline.lab.services.clerk import ControllerClerk
from raftline.lab.services.deployment import Deployment
from raftline.shards.configuration import Change, Configuration, Join, Leave, Move, moves_between
from raftline.shards.controller import ControllerMachine
from raftline.shards.ranges import NOBODY, SLOT_COUNT, filled

__all__ = ["TESTS"]

_CLERKS = 10
_SERVERS = 3


async def _join_and_leave(deployment: Deployment) -> None:
    """Groups come and go, with their nodes; the last leaves nothing behind."""
    clerk = ControllerClerk(deployment, "clerk")
    await _check(clerk, [])
    await _change(clerk, Join({1: ("x", "y", "z")}))
    await _check(clerk, [1])
    await _change(clerk, Join({2: ("a", "b", "c")}))
    found = await _check(clerk, [1, 2])
    if (found.nodes_of(1), found.nodes_of(2)) != (("x", "y", "z"), ("a", "b", "c")):
        raise BrokenPromise("slots", f"the groups' nodes are {found.groups}, which is not what joined")
    await _change(clerk, Leave((1,)))
    await _check(clerk, [2])
    await _change(clerk, Leave((2,), abandon=True))
    await _check(clerk, [])


async def _history(deployment: Deployment) -> None:
    """Every number gives the configuration that it gave when it was the newest, whoever crashed meanwhile."""
    clerk = ControllerClerk(deployment, "clerk")
    changes: list[Change] = [Join({group: _nodes(group)}) for group in range(1, 21)]
    changes += [Leave((2, 5)), Move(0, 100, 6)]
    seen = [await clerk.configuration()]
    seen += [await _change(clerk, change) for change in changes]
    for server in deployment.servers:
        deployment.crash(server)
        await _compare_history(clerk, seen)
        await deployment.restart(server)
        await _compare_history(clerk, seen)
    deployment.crash()
    await deployment.restart()
    await _compare_history(clerk, seen)


async def _history_in_snapshots(deployment: Deployment) -> None:
    """The same with the beginning of the log gone."""
    await _history(deployment)
    if not all(deployment.snapshot_indexes()):
        raise BrokenPromise("small state", f"snapshots up to {deployment.snapshot_indexes()}: one server took none")


async def _compare_history(clerk: ControllerClerk, seen: Sequence[Configuration]) -> None:
    for number, expected in enumerate(seen):
        found = await clerk.configuration(number)
        if found != expected:
            raise BrokenPromise("history kept", f"configuration {number} was {expected}, and is now {found}")


async def _moves(deployment: Deployment) -> None:
    """What is moved by hand is where it was moved to, and nothing else moves."""
    clerk = ControllerClerk(deployment, "clerk")
    await _change(clerk, Join({1: _nodes(1)}))
    before = await _change(clerk, Join({2: _nodes(2)}))
    half = SLOT_COUNT // 2
    for low, high, group in ((0, half, 2), (half, SLOT_COUNT, 1)):
        after = await _change(clerk, Move(low, high, group))
        if any(after.owner(slot) != group for slot in range(low, high)):
            raise BrokenPromise("slots", f"slots [{low}, {high}) were moved to group {group}: {after.ranges}")
        if stray := [piece for piece in moves_between(before, after) if not low <= piece.low < piece.high <= high]:
            raise BrokenPromise("fewest moves", f"the move of [{low}, {high}) moved {stray}, too")
        before = after


async def _concurrent(deployment: Deployment) -> None:
    """Ten clerks at once, each with groups of its own: all that stay are there, and balanced."""

    async def work(number: int) -> None:
        clerk = ControllerClerk(deployment, f"clerk{number}")
        stays, leaves = 100 + number, 200 + number
        await _change(clerk, Join({leaves: _nodes(leaves)}))
        await _change(clerk, Join({stays: _nodes(stays)}))
        await _change(clerk, Leave((leaves,)))

    await asyncio.gather(*(work(number) for number in range(_CLERKS)))
    await _check(ControllerClerk(deployment, "last"), [100 + number for number in range(_CLERKS)])


async def _concurrent_many(deployment: Deployment) -> None:
    """The same with several groups in one change, while servers crash and come back."""

    async def work(number: int) -> None:
        clerk = ControllerClerk(deployment, f"clerk{number}")
        own = [1000 * (number + 1) + piece for piece in range(4)]
        await _change(clerk, Join({group: _nodes(group) for group in own}))
        await _change(clerk, Leave(tuple(own[1:])))

    async def torment() -> None:
        for server in (*deployment.servers, *deployment.servers):
            deployment.crash(server)
            await asyncio.sleep(0.3)
            await deployment.restart(server)
            await asyncio.sleep(0.7)

    await asyncio.gather(torment(), *(work(number) for number in range(_CLERKS)))
    await _check(ControllerClerk(deployment, "last"), [1000 * (number + 1) for number in range(_CLERKS)])


async def _few_moves_on_join(deployment: Deployment) -> None:
    """Who was there before gives away, and gets nothing from others of them."""
    clerk = ControllerClerk(deployment, "clerk")
    before = await _change(clerk, Join({group: _nodes(group) for group in range(1, 11)}))
    for new in ((11,), (12, 13, 14), tuple(range(15, 21))):
        after = await _change(clerk, Join({group: _nodes(group) for group in new}))
        for piece in moves_between(before, after):
            if piece.target not in new:
                raise BrokenPromise("fewest moves", f"{piece} between groups that were there when {new} joined")
        before = await _check(clerk, sorted(after.group_ids))


async def _few_moves_on_leave(deployment: Deployment) -> None:
    """Who stays keeps what it has, and gets what the others leave."""
    clerk = ControllerClerk(deployment, "clerk")
    before = await _change(clerk, Join({group: _nodes(group) for group in range(1, 21)}))
    for gone in ((20,), (3, 7, 11), (1, 2, 4, 5, 6)):
        after = await _change(clerk, Leave(gone))
        for piece in moves_between(before, after):
            if piece.source not in gone:
                raise BrokenPromise("fewest moves", f"{piece} between groups that stay when {gone} left")
        before = await _check(clerk, sorted(after.group_ids))


async def _repeated(deployment: Deployment) -> None:
    """A change that is sent again counts once, over an unreliable network and the crash of who took it (G8)."""
    clerk = ControllerClerk(deployment, "clerk")
    for group in range(1, 13):
        if group % 4 == 0 and (leader := deployment.leader()) is not None:
            deployment.crash(leader)
            task = asyncio.create_task(deployment.restart(leader))
            found = await _change(clerk, Join({group: _nodes(group)}), "exactly once")
            await task
        else:
            found = await _change(clerk, Join({group: _nodes(group)}), "exactly once")
        if found.number != group:
            raise BrokenPromise("exactly once", f"{group} changes made configuration {found.number}")


async def _same_everywhere(deployment: Deployment) -> None:
    """After a failover the next leader answers with the same configuration."""
    clerk = ControllerClerk(deployment, "clerk")
    expected = await _change(clerk, Join({group: _nodes(group) for group in (9, 4, 7)}))
    for _ in range(len(deployment.servers)):
        leader = deployment.leader()
        if leader is None:
            await asyncio.sleep(0.5)
            continue
        deployment.crash(leader)
        found = await clerk.configuration()
        if found != expected:
            raise BrokenPromise("history kept", f"after {leader} crashed: {found}, before: {expected}")
        await deployment.restart(leader)
    await deployment.wait_level()
    held = [machine.history for machine in deployment.machines() if isinstance(machine, ControllerMachine)]
    if any(history != held[0] for history in held):
        raise BrokenPromise("history kept", "the servers' histories are not the same")


def _nodes(group: GroupId) -> tuple[str, ...]:
    return (f"{group}a", f"{group}b", f"{group}c")


async def _change(clerk: ControllerClerk, change: Change, promise: str = "slots") -> Configuration:
    """Make a change and return the configuration it led to; a refusal breaks `promise`."""
    decision = await clerk.change(change)
    if decision.refusal:
        raise BrokenPromise(promise, f"{change} was refused: {decision.refusal}")
    found = await clerk.configuration(decision.number)
    if found.number != decision.number:
        raise BrokenPromise("history kept", f"asked for configuration {decision.number}, got number {found.number}")
    return found


async def _check(clerk: ControllerClerk, groups: Sequence[GroupId]) -> Configuration:
    """The newest configuration has these groups, and is balanced over them."""
    found = await clerk.configuration()
    if list(found.group_ids) != sorted(groups):
        raise BrokenPromise("slots", f"configuration {found.number} has groups {found.group_ids}, not {sorted(groups)}")
    sizes = dict.fromkeys(groups, 0)
    for piece in filled(found.ranges):
        if groups and piece.group not in sizes:
            who = "nobody" if piece.group == NOBODY else f"group {piece.group}, which is not there"
            raise BrokenPromise("slots", f"slots [{piece.low}, {piece.high}) belong to {who}")
        if groups:
            sizes[piece.group] += piece.size
    if groups and max(sizes.values()) > min(sizes.values()) + 1:
        raise BrokenPromise("balanced", f"configuration {found.number} gives the groups {sizes} slots")
    return found


def _test(
    title: str,
    body: Callable[[Deployment], Awaitable[None]],
    *,
    unreliable: bool = False,
    log_bytes_max: int | None = None,
) -> ServiceTest:
    return ServiceTest("4A", title, _SERVERS, ControllerMachine, body, unreliable, log_bytes_max)


TESTS: tuple[ServiceTest, ...] = (
    _test("basic leave and join", _join_and_leave),
    _test("historical queries", _history),
    _test("historical queries, with snapshots", _history_in_snapshots, log_bytes_max=512),
    _test("move", _moves),
    _test("concurrent leave and join", _concurrent),
    _test("concurrent leave and join of several, with failures", _concurrent_many, unreliable=True),
    _test("minimal transfers after joins", _few_moves_on_join),
    _test("minimal transfers after leaves", _few_moves_on_leave),
    _test("repeated changes, with failures", _repeated, unreliable=True),
    _test("same configuration on every server", _same_everywhere),
)
