"""What a node that hosts a group does with what others pass on: once, in order, and with the right words."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from raftline.core.messages import RemoteCommands, RemoteQuery, RemoteReply
from raftline.errors import (
    ApplyError,
    ConfigError,
    NotMember,
    NotServed,
    Overloaded,
    ReplyForgotten,
    Stopped,
    Timeout,
    TooNew,
    TooStale,
)
from raftline.runtime.answers import Answers
from raftline.runtime.config import NodeConfig
from raftline.runtime.remote import NO_EFFECT, NOT_HOSTED, NOT_TAKEN, REJECTED, TOO_STALE
from raftline.runtime.remote_host import RemoteHost, encode

ORIGIN = 5


class _Bench:
    """A node that hosts group 1, whose commands are done as they come unless they are held."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.held: list[Any] = []
        self.holds = False
        self.has_members = True
        self.replies: list[tuple[str, int, RemoteReply]] = []
        self.flushes = 0
        self.room = 1 << 30
        self.looks: list[Any] = []
        self.now = 0.0
        config = NodeConfig(
            node_id="n1", members={"n1": "127.0.0.1:1@2"}, data_dir="nowhere", pending_bytes_max=4_000_000
        )
        this: Any = self
        answers = Answers(config, this, this, this)
        world: Any = SimpleNamespace(turns=self, config=config, answers=answers)
        group: Any = self
        self.history = 6
        self.host = RemoteHost(world, lambda number: group if number == 1 else None, lambda: self.history)

    def submit_wrapped(self, command: bytes, done: Any) -> None:
        self.done.append(command)
        if self.holds:
            self.held.append(done)
        else:
            done(b"did " + command)

    def submit_query(self, query: bytes, done: Any, consistency: str, staleness_s_max: float) -> None:
        if consistency == "lease":
            raise ConfigError("switched off")
        done(f"{query.decode()} {consistency} {staleness_s_max}".encode())

    def send(self, to: str, group: int, message: Any) -> None:
        self.replies.append((to, group, message))
        self.room -= sum(len(value) for _, value in message.results)

    def has_room(self, _to: str, size: int) -> bool:
        return size <= self.room

    def time(self) -> float:
        return self.now

    def call_later(self, _seconds: float, look: Any) -> None:
        self.looks.append(look)

    def flush_soon(self) -> None:
        self.flushes += 1

    def take(self, number: int, *commands: bytes, group: int = 1, origin: int = ORIGIN) -> list[tuple[int, bytes]]:
        """Pass commands on as n3 does; return what it is told at once."""
        self.replies.clear()
        self.host.on_request("n3", group, RemoteCommands(origin, number, commands))
        return [result for _, _, reply in self.replies for result in reply.results]


def test_a_frame_that_comes_twice_is_taken_once() -> None:
    """And not answered twice: its sender may have sent the command elsewhere since (G5)."""
    bench = _Bench()
    assert bench.take(1, b"a", b"b") == [(0, b"did a"), (0, b"did b")]
    assert bench.take(1, b"a", b"b") == []
    assert bench.done == [b"a", b"b"]
    assert bench.take(1, b"c", origin=ORIGIN + 1) == [(0, b"did c")], "another life counts for itself"
    assert bench.flushes == 2


def test_a_frame_that_was_overtaken_is_refused_for_good() -> None:
    """It would take effect behind what came after it."""
    bench = _Bench()
    bench.take(2, b"b")
    assert [status for status, _ in bench.take(1, b"a")] == [NOT_TAKEN]
    assert bench.take(1, b"a") == []
    assert bench.done == [b"b"]


def test_each_group_has_an_order_of_its_own_and_costs_next_to_nothing() -> None:
    """Numbers are those of a node's frames for all groups; a thousand groups that came and went leave little (G15)."""
    bench = _Bench()
    assert bench.take(2, b"b", group=2) == [(NOT_HOSTED, b"")]
    assert bench.take(1, b"a") == [(0, b"did a")]
    assert bench.take(1, b"a") == []
    number = 2
    tracemalloc.start()
    try:
        for group in range(2, 1002):
            for _ in range(20):
                number += 1
                bench.host.on_request("n3", group, RemoteCommands(ORIGIN, number, (b"x",)))
            bench.replies.clear()
        assert tracemalloc.get_traced_memory()[0] < 1000 * 250
    finally:
        tracemalloc.stop()
    assert bench.take(number, b"a", group=1001) == []


def test_what_is_not_hosted_is_said_so_and_may_be_hosted_later() -> None:
    """Nothing was taken."""
    bench = _Bench()
    assert bench.take(1, b"a", group=2) == [(NOT_HOSTED, b"")]
    bench.host.on_request("n3", 2, RemoteQuery(ORIGIN, 2, b"q", "stale"))
    assert bench.replies[-1] == ("n3", 2, RemoteReply(ORIGIN, 2, 0, ((NOT_HOSTED, b""),)))


def test_a_replica_that_waits_to_be_added_sends_others_elsewhere() -> None:
    """It knows nothing of the group, and nobody who could tell it; nothing was taken (G5)."""
    bench = _Bench()
    bench.has_members = False
    assert bench.take(1, b"a") == [(NOT_HOSTED, b"")]
    bench.host.on_request("n3", 1, RemoteQuery(ORIGIN, 2, b"q", "stale"))
    assert bench.replies[-1] == ("n3", 1, RemoteReply(ORIGIN, 2, 0, ((NOT_HOSTED, b""),)))
    bench.has_members = True
    assert bench.take(3, b"a") == [(0, b"did a")]
    assert bench.done == [b"a"]


def test_who_is_of_another_history_is_told_that_nothing_is_hosted() -> None:
    """Its groups are others, though they are called the same (C14); who does not say its own is a node of before."""
    bench = _Bench()
    taken: list[bytes] = []
    for number, (own, other) in enumerate([(6, 7), (6, 6), (6, 0), (0, 7), (6, 7)], 1):
        bench.history = own
        command = b"of %d at %d" % (other, own)
        bench.host.on_request("n3", 1, RemoteCommands(ORIGIN, 2 * number, (command,), other))
        bench.host.on_request("n3", 1, RemoteQuery(ORIGIN, 2 * number + 1, b"q", "stale", 0.0, other))
        statuses = {reply.results[0][0] for _, _, reply in bench.replies[-2:]}
        assert statuses == ({NOT_HOSTED} if own and other == 7 else {0})
        taken += [command] if statuses == {0} else []
    assert bench.done == taken


def test_the_answer_comes_when_the_last_outcome_is_known_in_pieces_if_it_is_large() -> None:
    """No frame between nodes grows without a bound."""
    bench = _Bench()
    bench.holds = True
    assert bench.take(1, b"a", b"b", b"c") == []
    for done in bench.held:
        done(b"x" * 700_000)
    assert [(reply.first, len(reply.results)) for _, _, reply in bench.replies] == [(0, 1), (1, 1), (2, 1)]


def test_what_no_message_can_carry_is_said() -> None:
    """Nobody would hear anything of an answer that is too long to be sent, and wait in vain (G5)."""
    bench = _Bench()
    bench.holds = True
    bench.take(1, b"a", b"b", b"c")
    for done, size in zip(bench.held, (10, 17 << 20, 20), strict=True):
        done(b"x" * size)
    results = [result for _, _, reply in bench.replies for result in reply.results]
    assert [(status, len(value)) for status, value in results if status == 0] == [(0, 10), (0, 20)]
    assert results[1][0] == encode(ReplyForgotten(""))[0]
    assert b"the command was carried out" in results[1][1]


def test_answers_wait_until_there_is_room_for_them() -> None:
    """What a peer's queue drops nobody hears of; too many are told that their values have no room (G5)."""
    bench = _Bench()
    bench.holds = True
    bench.take(1, b"a", b"b", b"c", b"d", b"e")
    bench.room = 0
    for done in bench.held:
        done(b"x" * 900_000)
    (told,) = [reply for _, _, reply in bench.replies]
    assert (told.first, len(told.results)) == (4, 1)
    assert b"carried out, and too many replies wait" in told.results[0][1]
    bench.room = 1 << 22
    (look,) = bench.looks
    look()
    assert [reply.first for _, _, reply in bench.replies] == [4, 0, 1, 2, 3]
    assert bench.looks == [look]


def test_small_answers_pass_large_ones_that_wait() -> None:
    """What is told in place of a value for which there is no room takes as much room as they do (G5)."""
    bench = _Bench()
    bench.holds = True
    bench.room = 0
    for number in range(1, 6):
        bench.take(number, b"a")
        bench.held.pop()(b"x" * 1_000_000)
    bench.take(6, b"b")
    bench.held.pop()(b"OK")
    assert [reply.results for _, _, reply in bench.replies] == [((0, b"OK"),)]


def test_answers_do_not_wait_until_nobody_waits_for_them() -> None:
    """Where more is asked for than the way carries, what it does carry comes in time, and the rest is told (G5)."""
    bench = _Bench()
    bench.holds = True
    bench.room = 0
    begun_at: dict[int, float] = {}
    carried_s: list[float] = []
    left_out = 0
    for number in range(1, 401):
        begun_at[number] = bench.now
        bench.take(number, b"a")
        bench.held.pop()(b"x" * 100_000)
        if number % 2 == 0:
            bench.room = 100_000  # for one answer each half second
            bench.now += 0.5
            bench.looks.pop()()
        for _, _, reply in bench.replies:
            ((status, value),) = reply.results
            if status == 0:
                carried_s.append(bench.now - begun_at[reply.number])
            else:
                left_out += b"was carried out, and too many replies wait" in value
    assert len(carried_s) == 200, "all that the way carries"
    assert max(carried_s) <= 3.0, "well before the time of a request"
    assert left_out >= 190, "all others but those that wait still"


def test_questions_are_answered_or_refused() -> None:
    """With the words of this node."""
    bench = _Bench()
    bench.host.on_request("n3", 1, RemoteQuery(ORIGIN, 1, b"q", "stale"))
    bench.host.on_request("n3", 1, RemoteQuery(ORIGIN, 2, b"q", "lease"))
    bench.host.on_request("n3", 1, RemoteQuery(ORIGIN, 3, b"q", "bounded", 1.5))
    assert [reply.results for _, _, reply in bench.replies] == [
        ((0, b"q stale 0.0"),),
        ((REJECTED, b"switched off"),),
        ((0, b"q bounded 1.5"),),
    ]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (b"done", 0),
        (ApplyError("boom"), 1),
        (Overloaded("full"), 4),
        (Stopped("who knows"), 5),
        (Timeout("who knows"), 5),
        (NotServed("moved"), 10),
        (NotMember("elsewhere"), NOT_HOSTED),
        (Timeout("no leader", may_take_effect=False), NO_EFFECT),
        (TooNew("later"), NO_EFFECT),
        (ConfigError("odd"), REJECTED),
        (TooStale("by a second"), TOO_STALE),
    ],
)
def test_what_may_have_had_an_effect_is_told_from_what_had_none(outcome: Any, status: int) -> None:
    """So that its caller is told the truth (G5)."""
    assert encode(outcome)[0] == status
