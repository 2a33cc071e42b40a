"""The lab's network loses, delays and reorders exactly as it says, and counts what it carries."""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

import pytest

from raftline.lab.network import LabNetwork, NetworkEvent, Valve
from raftline.sim.loop import SimLoop


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    """Return a loop on virtual time."""
    with SimLoop(1) as made:
        yield made


class Echo:
    """Answers with its name and the arguments, after a delay."""

    def __init__(self, name: bytes = b"", delay_s: float = 0.0) -> None:
        self.name = name
        self.delay_s = delay_s
        self.calls: list[tuple[str, bytes]] = []

    async def handle(self, method: str, args: bytes) -> bytes:
        """Remember the call and answer."""
        self.calls.append((method, args))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return self.name + args


def _network(count: int = 3, seed: int = 1, **options: Any) -> tuple[LabNetwork, list[Echo]]:
    network = LabNetwork(count, Random(seed), **options)
    servers = [Echo(b"%d:" % number) for number in range(count)]
    for number, server in enumerate(servers):
        network.add_server(number, server)
        network.connect(number)
    return network, servers


def _timed(loop: SimLoop, make: Callable[[], Awaitable[Any]], count: int) -> list[tuple[Any, float]]:
    """Make `count` calls one after the other; return each result and how long it took."""

    async def main() -> list[tuple[Any, float]]:
        results = []
        for _ in range(count):
            started = loop.time()
            results.append((await make(), loop.time() - started))
        return results

    return loop.run_until_complete(main())


def test_a_reliable_call_returns_the_reply_at_once(loop: SimLoop) -> None:
    """Reliable calls all arrive, within a fifth of a millisecond, at the right server."""
    network, servers = _network()
    ends = network.new_ends(0)
    results = _timed(loop, lambda: ends[2].call("Raft.Vote", b"args"), 200)
    assert {reply for reply, _ in results} == {b"2:args"}
    assert max(took for _, took in results) <= 0.0002
    assert servers[2].calls[0] == ("Raft.Vote", b"args")
    assert servers[1].calls == []


def test_calls_and_bytes_are_counted_in_total_and_per_server(loop: SimLoop) -> None:
    """RPCs count when sent, per server when they arrive; bytes are arguments plus delivered replies (H12)."""
    network, _ = _network()
    ends = network.new_ends(0)
    _timed(loop, lambda: ends[1].call("m", b"12345"), 3)
    network.disconnect(2)
    _timed(loop, lambda: ends[2].call("m", b"12345"), 2)
    assert network.rpcs_sent == 5
    assert [network.rpcs_received(server) for server in range(3)] == [0, 3, 0]
    assert network.bytes_of(1) == 3 * (5 + 7)
    assert network.bytes_of(2) == 2 * 5
    assert network.bytes_total == 3 * 12 + 2 * 5


def test_an_unreliable_network_loses_a_tenth_of_requests_and_of_replies(loop: SimLoop) -> None:
    """About 81 % of calls succeed, about 90 % reach the handler, delays stay within 26 ms and a bit (H8)."""
    network, servers = _network()
    network.reliable = False
    ends = network.new_ends(0)
    results = _timed(loop, lambda: ends[1].call("m", b""), 4000)
    answered = [took for reply, took in results if reply is not None]
    assert 0.78 < len(answered) / 4000 < 0.84
    assert 0.88 < len(servers[1].calls) / 4000 < 0.92
    assert max(took for _, took in results) <= 0.0262
    assert 0.012 < sum(answered) / len(answered) < 0.014


@pytest.mark.parametrize(("long_delays", "longest_s"), [(False, 0.1), (True, 7.0)])
def test_calls_to_an_unreachable_server_fail_late(loop: SimLoop, long_delays: bool, longest_s: float) -> None:  # noqa: FBT001
    """A call to a disconnected server ends with None after up to 0.1 s, with long delays up to 7 s."""
    network, servers = _network()
    network.long_delays = long_delays
    network.disconnect(1)
    ends = network.new_ends(0)
    results = _timed(loop, lambda: ends[1].call("m", b""), 500)
    assert {reply for reply, _ in results} == {None}
    assert servers[1].calls == []
    took = [seconds for _, seconds in results]
    assert 0.95 * longest_s < max(took) <= longest_s
    assert min(took) < 0.05 * longest_s


def test_long_reordering_holds_two_thirds_of_the_replies(loop: SimLoop) -> None:
    """About two thirds of the replies take 0.2 s to 2.2 s, the others come at once."""
    network, _ = _network()
    network.long_reordering = True
    ends = network.new_ends(0)
    results = _timed(loop, lambda: ends[1].call("m", b""), 3000)
    late = [took for _, took in results if took > 0.01]
    assert all(reply is not None for reply, _ in results)
    assert 0.64 < len(late) / 3000 < 0.69
    assert min(late) >= 0.2
    assert 1.5 < max(late) <= 2.2002


def test_replies_overtake_each_other_with_long_reordering(loop: SimLoop) -> None:
    """Calls made in order are answered in another order (H8)."""
    network, _ = _network()
    network.long_reordering = True
    ends = network.new_ends(0)
    order: list[int] = []

    async def one(number: int) -> None:
        await ends[1].call("m", b"")
        order.append(number)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    loop.run_until_complete(main())
    assert sorted(order) == list(range(20))
    assert order != sorted(order)


def test_disconnecting_cuts_both_directions(loop: SimLoop) -> None:
    """A disconnected server neither calls nor is called; connecting it again restores both."""
    network, _ = _network()
    ends = [network.new_ends(server) for server in range(3)]
    network.disconnect(1)
    assert not network.is_connected(1)

    async def talk() -> list[bytes | None]:
        calls = (ends[0][1].call("m", b""), ends[1][0].call("m", b""), ends[0][2].call("m", b""))
        return list(await asyncio.gather(*calls))

    assert loop.run_until_complete(talk()) == [None, None, b"2:"]
    network.connect(1)
    assert network.is_connected(1)
    assert loop.run_until_complete(talk()) == [b"1:", b"0:", b"2:"]


def test_a_cut_during_the_call_loses_the_reply_though_the_handler_ran(loop: SimLoop) -> None:
    """Disconnecting while the handler works ends the call with None; the work was done all the same."""
    network, servers = _network()
    servers[1].delay_s = 1.0
    ends = network.new_ends(0)
    loop.call_at(0.5, network.disconnect, 1)
    loop.call_at(0.8, network.connect, 1)
    ((reply, took),) = _timed(loop, lambda: ends[1].call("m", b""), 1)
    assert reply is None
    assert 0.5 <= took <= 0.6
    assert len(servers[1].calls) == 1
    loop.run_for(2)


def test_replies_of_a_deleted_server_are_discarded(loop: SimLoop) -> None:
    """What a crashed incarnation answers reaches nobody, even if its successor is there by then."""
    network, servers = _network()
    servers[1].delay_s = 1.0
    ends = network.new_ends(0)
    successor = Echo(b"successor:")
    loop.call_at(0.4, network.delete_server, 1)
    loop.call_at(0.5, network.add_server, 1, successor)
    assert _timed(loop, lambda: ends[1].call("m", b""), 1)[0][0] is None
    loop.run_for(2)
    assert _timed(loop, lambda: ends[1].call("m", b"x"), 1)[0][0] == b"successor:x"
    assert network.bytes_of(1) == 0 + 1 + len(b"successor:x")


def test_a_request_under_way_does_not_reach_the_next_incarnation(loop: SimLoop) -> None:
    """A request sent to the crashed incarnation is lost, not handed to the restarted one."""
    network, _ = _network()
    network.reliable = False
    ends = network.new_ends(0)
    successor = Echo()
    tasks = [loop.create_task(ends[1].call("m", b"")) for _ in range(50)]
    loop.call_at(0.0, network.delete_server, 1)
    loop.call_at(0.0, network.add_server, 1, successor)
    loop.run_until(1)
    assert [task.result() for task in tasks] == [None] * 50
    assert successor.calls == []


def test_ends_of_a_crashed_incarnation_are_dead(loop: SimLoop) -> None:
    """New ends retire the old ones: what a server that should be dead still sends does not arrive."""
    network, servers = _network()
    old = network.new_ends(0)
    servers[1].delay_s = 1.0
    under_way = loop.create_task(old[1].call("m", b""))
    loop.run_for(0.5)
    new = network.new_ends(0)
    servers[1].delay_s = 0.0
    results = [loop.run_until_complete(end.call("m", b"")) for end in (old[1], new[1])]
    loop.run_for(2)
    assert results == [None, b"1:"]
    assert under_way.result() is None
    assert "retired" in repr(old[1])
    assert "retired" not in repr(new[1])


class Broken:
    """A learner's server that does everything wrong."""

    def handle(self, method: str, args: bytes) -> Any:
        """Fail in the way that `method` names."""
        if method == "plain":
            return args
        if method == "raise early":
            raise LookupError("early")
        return self._later(method)

    async def _later(self, method: str) -> Any:
        if method == "raise":
            raise LookupError("late")
        if method == "exit":
            sys.exit(3)
        if method == "cancelled":
            raise asyncio.CancelledError
        return {"type": "wrong"}


@pytest.mark.parametrize(
    ("method", "kind", "words"),
    [
        ("plain", TypeError, "must be `async def`"),
        ("raise early", LookupError, "early"),
        ("raise", LookupError, "late"),
        ("exit", RuntimeError, "end the program"),
        ("cancelled", asyncio.CancelledError, "cancelled"),
        ("wrong type", TypeError, "must return bytes, it returned dict"),
    ],
)
def test_a_broken_handler_is_reported_and_its_caller_gets_none(
    loop: SimLoop, method: str, kind: type[BaseException], words: str
) -> None:
    """Exceptions, exits and wrong types of a handler stay within its call."""
    errors: list[tuple[int, str, BaseException]] = []
    network = LabNetwork(2, Random(1), on_error=lambda *report: errors.append(report))
    network.add_server(1, Broken())
    network.connect(0)
    network.connect(1)
    ends = network.new_ends(0)
    assert _timed(loop, lambda: ends[1].call(method, b""), 1)[0][0] is None
    ((server, called, error),) = errors
    assert (server, called) == (1, method)
    assert isinstance(error, kind)
    assert words in str(error)


def test_arguments_of_the_wrong_type_are_refused(loop: SimLoop) -> None:
    """Only str and bytes travel: nothing is shared by reference (F17, H9)."""
    network, _ = _network()
    ends = network.new_ends(0)
    for method, args in (("m", bytearray(b"x")), ("m", ["x"]), (b"m", b"x")):
        with pytest.raises(TypeError, match="was given"):
            loop.run_until_complete(ends[1].call(method, args))  # type: ignore[arg-type]
    assert network.rpcs_sent == 0


def test_a_caller_may_give_up_waiting(loop: SimLoop) -> None:
    """Cancelling a call neither stops the handler nor breaks the network."""
    network, servers = _network()
    servers[1].delay_s = 1.0
    ends = network.new_ends(0)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ends[1].call("m", b""), 0.5)
        await asyncio.sleep(2)

    loop.run_until_complete(main())
    assert len(servers[1].calls) == 1


def test_close_ends_everything(loop: SimLoop) -> None:
    """Calls under way end with None, handlers are cancelled, later calls get None at once."""
    network, servers = _network()
    servers[1].delay_s = 1e9
    ends = network.new_ends(0)
    under_way = loop.create_task(ends[1].call("m", b""))
    loop.run_for(1)
    network.close()
    assert _timed(loop, lambda: ends[1].call("m", b""), 1) == [(None, 0.0)]
    loop.run_for(1)
    assert under_way.result() is None
    assert all(timer.cancelled() for _, _, timer in loop.timers)


def test_every_step_of_a_call_can_be_traced(loop: SimLoop) -> None:
    """The event hook sees requests, replies and losses with both ends and sizes."""
    events: list[NetworkEvent] = []
    network, _ = _network(on_event=events.append)
    network.reliable = False
    network.long_reordering = True
    ends = network.new_ends(0)
    _timed(loop, lambda: ends[1].call("m", b"abc"), 200)
    network.disconnect(1)
    _timed(loop, lambda: ends[1].call("m", b"abc"), 1)
    kinds = Counter(event.what for event in events)
    assert set(kinds) == {"request", "reply", "request lost", "reply lost", "reply late", "unreachable"}
    assert kinds["request"] == kinds["reply"] + kinds["request lost"] + kinds["reply lost"] + kinds["unreachable"]
    assert events[0] == NetworkEvent(0.0, "request", 0, 1, "m", 3, 1, events[0].payload)


def test_the_same_random_source_gives_the_same_run() -> None:
    """Two runs with equal seeds agree event by event, another seed differs."""

    def run(seed: int) -> list[NetworkEvent]:
        events: list[NetworkEvent] = []
        with SimLoop(seed) as loop:
            network, _ = _network(seed=seed, on_event=events.append)
            network.reliable = False
            ends = [network.new_ends(server) for server in range(3)]
            for number in range(100):
                loop.create_task(ends[number % 3][(number + 1) % 3].call("m", b"x" * number))
            loop.run_until(10)
        return events

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_it_works_on_the_real_event_loop() -> None:
    """Nothing in it needs virtual time."""
    network, _ = _network()
    ends = network.new_ends(0)

    async def main() -> list[bytes | None]:
        return list(await asyncio.gather(*(ends[1].call("m", b"%d" % number) for number in range(10))))

    assert asyncio.run(main()) == [b"1:%d" % number for number in range(10)]


def test_a_valve_drops_one_direction_of_one_link(loop: SimLoop) -> None:
    """Dropped requests never reach the handler, dropped replies never the caller; other links and ways are open."""
    network, servers = _network()
    network.set_valve("request", 0, 1, Valve.DROP)
    network.set_valve("reply", 1, 0, Valve.DROP)
    ends = network.new_ends(0), network.new_ends(1)
    assert _timed(loop, lambda: ends[0][1].call("m", b"a"), 1)[0][0] is None
    assert servers[1].calls == []
    assert _timed(loop, lambda: ends[1][0].call("m", b"b"), 1)[0][0] is None
    assert servers[0].calls == [("m", b"b")]
    assert _timed(loop, lambda: ends[0][2].call("m", b"c"), 1)[0][0] == b"2:c"
    network.open_valves()
    assert _timed(loop, lambda: ends[0][1].call("m", b"d"), 1)[0][0] == b"1:d"


def test_a_held_request_arrives_when_it_is_released(loop: SimLoop) -> None:
    """Nothing of a held request is seen until its release, which reaches whoever serves the target by then."""
    network, servers = _network()
    network.set_valve("request", 0, 1, Valve.HOLD)
    network.disconnect(1)
    ends = network.new_ends(0)
    call = loop.create_task(ends[1].call("m", b"x"))
    loop.run_for(10)
    assert not call.done()
    assert [(held.what, held.source, held.target) for held in network.held] == [("request", 0, 1)]
    network.delete_server(1)
    heir = Echo(b"heir:")
    network.add_server(1, heir)
    network.connect(1)
    with loop.entered():
        network.release(network.held[0])
    loop.run_for(1)
    assert call.result() == b"heir:x"
    assert servers[1].calls == []
    assert network.held == []


def test_a_held_reply_survives_the_crash_of_its_sender(loop: SimLoop) -> None:
    """A reply that has left arrives when released, though its server is gone; a discarded one is lost."""
    network, _ = _network()
    network.set_valve("reply", 0, 1, Valve.HOLD)
    ends = network.new_ends(0)
    calls = [loop.create_task(ends[1].call("m", b"%d" % n)) for n in range(2)]
    loop.run_for(1)
    network.disconnect(1)
    network.delete_server(1)
    network.release(network.held[0])
    network.discard(network.held[0])
    loop.run_for(1)
    assert sorted(len(call.result() or b"") for call in calls) == [0, len(b"1:0")]


def test_closing_ends_what_is_held(loop: SimLoop) -> None:
    """close() answers held calls with None, so that nobody waits for ever."""
    network, _ = _network()
    network.set_valve("request", 0, 1, Valve.HOLD)
    call = loop.create_task(network.new_ends(0)[1].call("m", b"x"))
    loop.run_for(1)
    network.close()
    loop.run_for(1)
    assert call.result() is None
