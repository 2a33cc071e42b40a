"""RAFTLINE.SHARD: what is asked of the controller, and how it is refused."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from raftline.errors import Overloaded
from raftline.kv.commands import shards
from raftline.kv.commands.command import Refused
from raftline.kv.sharded.requests import AddGroups, Request
from raftline.kv.shards_view import NodeReport, ShardReport, decode_report
from raftline.shards.configuration import EMPTY, Leave, Move, Place, Rebalance


class Admin:
    """Remembers what it was asked for."""

    def __init__(self, replicas: int = 2) -> None:
        self.replicas = replicas
        self.asked: list[Any] = []
        self.held = [b":3\r\n", b":4\r\n"]

    def report(self) -> ShardReport:
        """Two nodes, and one that is down."""
        nodes = [
            NodeReport(node_id=name, address="a:1", up=name != "n3", replicas=0, first_of=0)
            for name in ("n1", "n2", "n3")
        ]
        return ShardReport(
            node_id="n1",
            configuration=EMPTY,
            last_group=0,
            replicas=self.replicas,
            nodes=tuple(nodes),
            groups=(),
        )

    def adding(self, count: int, nodes: tuple[str, ...] = ()) -> Request:
        """Take any."""
        return AddGroups(count, dict.fromkeys(nodes or ("n1", "n2"), "a:1"))

    async def change(self, request: Request) -> bytes:
        """Remember it."""
        self.asked.append(request)
        if request == Leave((7,)):
            raise Overloaded("too much")
        return b":2\r\n"

    async def replace_node(self, gone: str) -> list[bytes]:
        """Remember it."""
        self.asked.append(gone)
        return self.held


def run(function: Callable[..., Any], admin: Admin | None, *words: bytes) -> Any:
    """Carry a command out for a client of a server."""
    client = SimpleNamespace(server=SimpleNamespace(shards=admin))
    node = SimpleNamespace(submit_read=lambda done, *_: done(None))
    return asyncio.run(function(node, client, [b"RAFTLINE.SHARD", b"X", *words]))


@pytest.mark.parametrize(
    ("function", "words", "wanted"),
    [
        (shards.add_group, [], AddGroups(1, {"n1": "a:1", "n2": "a:1"})),
        (shards.add_group, [b"3"], AddGroups(3, {"n1": "a:1", "n2": "a:1"})),
        (shards.add_group, [b"2", b"on", b"n2"], AddGroups(2, {"n2": "a:1"})),
        (shards.add_group, [b"ON", b"n1"], AddGroups(1, {"n1": "a:1"})),
        (shards.remove_group, [b"1", b"2"], Leave((1, 2))),
        (shards.move, [b"0", b"99", b"2"], Move(0, 100, 2)),
        (shards.rebalance, [], Rebalance()),
        (shards.place, [b"1", b"n2", b"n1"], Place(1, ("n2", "n1"))),
    ],
)
def test_each_change_is_asked_for_as_it_was_written(function: Any, words: list[bytes], wanted: Request) -> None:
    """The reply is the configuration's number; the last slot of a range counts (G17)."""
    admin = Admin()
    assert run(function, admin, *words) == b":2\r\n"
    assert admin.asked == [wanted]


@pytest.mark.parametrize(
    ("function", "words", "words_of_refusal"),
    [
        (shards.add_group, [b"1", b"n1"], "syntax error"),
        (shards.add_group, [b"on"], "syntax error"),
        (shards.add_group, [b"x"], "not an integer"),
        (shards.add_group, [b"on", b"n9"], "'n9' is no node of this cluster; there are n1, n2, n3"),
        (shards.add_group, [b"on", b"n1", b"n3"], "n3: down, so a group there might never begin"),
        (shards.add_group, [b"on", b"n1", b"n1"], "'n1' is named twice: a group has one replica on a node"),
        (shards.place, [b"1", b"n9"], "'n9' is no node of this cluster; there are n1, n2, n3"),
        (shards.replace_node, [b"n9"], "'n9' is no node"),
        (shards.move, [b"a", b"b", b"c"], "not an integer"),
        (shards.move, [b"99", b"0", b"2"], "slots 99-0 are none: they go from 0 to 16383, the lower one first"),
        (shards.move, [b"0", b"16384", b"2"], "slots 0-16384 are none"),
        (shards.move, [b"-1", b"5", b"2"], "slots -1-5 are none"),
        (shards.remove_group, [b"7"], "TRYAGAIN"),
    ],
)
def test_what_cannot_be_is_refused_in_words(function: Any, words: list[bytes], words_of_refusal: str) -> None:
    """Nothing is changed by it."""
    with pytest.raises(Refused) as refused:
        run(function, Admin(), *words)
    assert words_of_refusal in refused.value.reply.decode()


def test_groups_with_fewer_replicas_are_made_only_on_nodes_that_are_named() -> None:
    """Nobody adds replicas later: while a node is down without which there are too few, the operator decides."""
    with pytest.raises(Refused) as refused:
        run(shards.add_group, admin := Admin(replicas=3), b"2")
    words = "n3: down, so a new group would have 2 replicas, not 3; start it, or name the nodes: ON n1 n2 (--on n1,n2)"
    assert (refused.value.reply.decode(), admin.asked) == (f"-ERR {words}\r\n", [])
    assert run(shards.add_group, admin, b"2", b"ON", b"n1", b"n2") == b":2\r\n"


def test_a_node_is_replaced_group_by_group() -> None:
    """The last configuration is told; if a group has to stay, or there is no room anywhere, that."""
    admin = Admin()
    assert run(shards.replace_node, admin, b"n2") == b":4\r\n"
    admin.held = [b":3\r\n", b"-ERR group 7 has not begun yet: place it in a moment\r\n", b":4\r\n"]
    refusal = run(shards.replace_node, admin, b"n2")
    assert refusal.startswith(b"-ERR 1 of 3 groups could not be placed elsewhere, ask again: group 7 has not begun")
    admin.held = []
    assert run(shards.replace_node, admin, b"n2").startswith(b"-ERR no group has room")


def test_a_server_with_one_group_refuses_all_of_it() -> None:
    """It says how to start one that is sharded."""
    for function in (shards.add_group, shards.remove_group, shards.rebalance, shards.replace_node):
        with pytest.raises(Refused, match="not sharded"):
            run(function, None, b"1")


def test_the_report_can_be_read_back() -> None:
    """STATUS is what the command line reads."""
    admin = Admin()
    client: Any = SimpleNamespace(server=SimpleNamespace(shards=admin))
    reply = shards.status(client, [])
    assert decode_report(reply.split(b"\r\n", 1)[1].rstrip()) == admin.report()
    assert msgspec.json.decode(reply.split(b"\r\n", 1)[1].rstrip())["node_id"] == "n1"
