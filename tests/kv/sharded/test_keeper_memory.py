"""What a keeper remembers of earlier configurations, and of nodes that were away, without any node around it."""

import asyncio
import gc
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from raftline.kv.sharded.keeper import Keeper
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.requests import AddGroups, Began, change_command
from raftline.kv.sharded.settings import KeeperSettings
from raftline.kv.sharded.topology import Topology
from raftline.shards.configuration import Move

ADDRESSES = {f"n{number}": f"127.0.0.1:{number}@1{number}" for number in (1, 2, 3, 4)}


class _Node:
    """A node that hosts nothing."""

    def __init__(self) -> None:
        self.groups: dict[int, Any] = {}
        self.recovered_groups = ()
        self.is_leader = True
        self.down: set[str] = set()
        self.proposed = 0

    def members(self) -> tuple[Any, ...]:
        return tuple(
            SimpleNamespace(node_id=node, address=address, leaving=False) for node, address in ADDRESSES.items()
        )

    def is_up(self, node: str) -> bool:
        return node not in self.down

    async def propose(self, _command: bytes, *, version: int = 1) -> bytes:  # noqa: ARG002  as the real one
        self.proposed += 1
        return b":1\r\n"


@pytest.fixture
def meta() -> MetaMachine:
    """Return the controller's state with three groups."""
    meta = MetaMachine()
    founders = {node: ADDRESSES[node] for node in ("n1", "n2", "n3")}
    assert meta.apply(change_command(AddGroups(3, founders, 3, only_first=True)), 1, 1000)[:1] == b":"
    return meta


def _keeper(meta: MetaMachine, node: Any) -> Keeper:
    keeper = Keeper(node, "n4", meta, KeeperSettings(replace_dead_after_s=60))
    keeper._addresses = dict(ADDRESSES)
    return keeper


class _Looking:
    """A keeper whose node leads, on a clock that is moved by hand; made inside a loop."""

    def __init__(self, meta: MetaMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = _Node()
        self.keeper = _keeper(meta, self.node)
        self.keeper._is_current = True
        self._now_s = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self._now_s)

    def look(self, *, later_s: float = 0.0, down: tuple[str, ...] = ()) -> None:
        """Look once, while some nodes are down."""
        self._now_s += later_s
        self.node.down = set(down)
        self.keeper._look()


def _let_begin(meta: MetaMachine) -> None:
    """Let all groups have had a leader."""
    for group in (1, 2, 3):
        meta.apply(change_command(Began(group)), 1, 1000)


def test_who_had_a_slot_is_known_however_many_configurations_came_since(meta: MetaMachine) -> None:
    """A move that waits for a group that is down leaves its slots where they were, through any number of changes."""
    first = meta.configuration.owner(0)
    other = 2 if first != 2 else 3
    moves = [Move(0, 1, other), *(Move(16000 + n, 16001 + n, 1 + n % 3) for n in range(150))]
    for move in moves:
        meta.apply(change_command(move), 1, 1000)
    assert meta.configuration.number > 64
    assert list(_keeper(meta, _Node()).formers(0)) == [first]


def test_who_had_a_slot_is_asked_as_fast_after_many_configurations(meta: MetaMachine) -> None:
    """Every command that is held asks each time that it is tried again: nothing is walked through."""

    def calls() -> int:
        counted = []
        keeper = _keeper(meta, _Node())
        gc.collect()
        gc.disable()  # whoever is called when it begins would be counted
        sys.setprofile(lambda _frame, event, _what: counted.append(event) if event == "call" else None)
        try:
            keeper.formers(0)
        finally:
            sys.setprofile(None)
            gc.enable()
        return len(counted)

    before = calls()
    for number in range(300):
        assert meta.apply(change_command(Move(16000, 16001, 1 + number % 3)), 1, 1000)[:1] in b":-"
    assert meta.configuration.number > 250
    assert calls() == before


@pytest.mark.parametrize(
    "told",
    [
        Keeper.report,
        lambda keeper: Topology(keeper, "auto").slots(),
        lambda keeper: [keeper.leader_of(group) for group in keeper.group_ids],
    ],
    ids=["report", "slots", "leaders"],
)
def test_what_is_told_of_all_groups_costs_no_more_for_each_if_there_are_more(told: Callable[[Keeper], object]) -> None:
    """Each scrape of the metrics, and each client that learns the slots, held a node with thousands of groups up."""

    def steps(groups: int) -> int:
        counted = 0
        meta = MetaMachine()

        def count(_frame: object, _event: str, _what: object) -> Any:
            nonlocal counted
            counted += 1
            return count

        assert meta.apply(change_command(AddGroups(groups, ADDRESSES, 3)), 1, 1000)[:1] == b":"
        keeper = _keeper(meta, _Node())
        before = sys.gettrace()
        sys.settrace(count)
        try:
            told(keeper)
        finally:
            sys.settrace(before)
        return counted

    assert steps(400) < 5 * steps(100)


def test_nobody_is_given_up_for_what_an_earlier_leadership_saw(
    meta: MetaMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was down when this node led last may have been up ever since."""
    _let_begin(meta)

    async def scenario() -> int:
        looking = _Looking(meta, monkeypatch)
        looking.look(down=("n3",))
        looking.node.is_leader = False
        looking.look()
        looking.node.is_leader = True
        looking.look(later_s=3600, down=("n3",))
        tasks = looking.keeper._tasks
        begun = len([what for what, _ in tasks if what == "replace"])
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        return begun

    assert asyncio.run(scenario()) == 0


@pytest.mark.parametrize("begun", [True, False])
def test_a_node_is_given_up_only_for_what_can_be_placed(
    meta: MetaMachine, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    """A group that never begins is refused a place each time: the next dead node would wait for that for ever."""
    if begun:
        _let_begin(meta)

    async def scenario() -> int:
        looking = _Looking(meta, monkeypatch)
        looking.look(down=("n3",))
        looking.look(later_s=3600, down=("n3",))
        await asyncio.gather(*looking.keeper._tasks.values())
        return looking.node.proposed

    assert asyncio.run(scenario()) == (3 if begun else 0)
