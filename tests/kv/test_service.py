"""The service: who is admitted, and how keys expire without traffic."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from raftline.errors import Timeout
from raftline.kv.limits import Limits
from raftline.kv.machine import TICK_COMMAND, KvMachine
from raftline.kv.service import Service

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock, HeldNode

    NewConversation = Callable[..., Conversation]


def test_keys_expire_without_traffic(
    service: Service, conversation: "Conversation", held_node: "HeldNode", clock: "FakeClock", machine: KvMachine
) -> None:
    """The leader proposes a tick when a key is due, not before, and only one at a time."""
    conversation.ask(b"SET", b"k", b"v", b"PX", b"500")
    service.expire()
    assert held_node.waiting == []
    clock.now_ms += 1000
    service.expire()
    service.expire()
    assert [command for command, _ in held_node.waiting] == [TICK_COMMAND]
    assert machine.store.count == 1
    held_node.answer()
    assert machine.store.count == 0
    service.expire()
    assert held_node.waiting == []


def test_many_due_keys_need_no_further_timer(
    service: Service, conversation: "Conversation", held_node: "HeldNode", clock: "FakeClock", machine: KvMachine
) -> None:
    """As long as a tick leaves due keys behind, the next one follows at once."""
    for number in range(2500):
        conversation.ask(b"SET", b"%d" % number, b"v", b"PX", b"500")
    clock.now_ms += 1000
    service.expire()
    ticks = 0
    while held_node.waiting:
        held_node.answer()
        ticks += 1
    assert machine.store.count == 0
    assert ticks == 3


def test_only_a_leader_ticks(
    service: Service, conversation: "Conversation", held_node: "HeldNode", clock: "FakeClock"
) -> None:
    """A follower leaves it to the leader, whose clock counts."""
    conversation.ask(b"SET", b"k", b"v", b"PX", b"500")
    clock.now_ms += 1000
    held_node.is_leader = False
    service.expire()
    assert held_node.waiting == []


def test_a_tick_that_fails_is_tried_again(
    service: Service, conversation: "Conversation", held_node: "HeldNode", clock: "FakeClock"
) -> None:
    """After a tick without an outcome the next timer proposes another."""
    conversation.ask(b"SET", b"k", b"v", b"PX", b"500")
    clock.now_ms += 1000
    service.expire()
    held_node.answer(Timeout("late"))
    assert held_node.waiting == []
    service.expire()
    assert len(held_node.waiting) == 1


def test_clients_are_counted_and_limited(held_node: "HeldNode", machine: KvMachine, clock: "FakeClock") -> None:
    """Beyond the limit nobody is admitted until somebody leaves; numbers are never reused."""
    service = Service(held_node, machine, Limits(clients_max=2), clock, "127.0.0.1", 1)
    first = service.connect("a", "b", lambda: None)
    second = service.connect("a", "b", lambda: None)
    assert first is not None
    assert second is not None
    assert service.connect("a", "b", lambda: None) is None
    service.disconnect(first)
    third = service.connect("a", "b", lambda: None)
    assert third is not None
    assert sorted(service.clients) == [second.client.id, third.client.id] == [2, 3]
    assert service.statistics.connections == 4
    assert service.statistics.rejected_connections == 1


def test_flushed_memory_is_given_back_without_traffic(
    service: Service, conversation: "Conversation", machine: KvMachine
) -> None:
    """After FLUSHALL the timer lets go of what was held, little by little."""
    for number in range(200):
        conversation.ask(b"SET", b"%d" % number, b"v")
    conversation.ask(b"FLUSHALL")
    for _ in range(100):
        service.expire()
    assert machine.store._garbage == []
