"""What is passed on to nodes that host a group: once, in order, elsewhere if it was refused, and never a wrong word."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from raftline import (
    ApplyError,
    ConfigError,
    GroupConfig,
    NotServed,
    Overloaded,
    ProposalLost,
    StateMachine,
    Stopped,
    TooStale,
)
from raftline.core.messages import Message, RemoteCommands, RemoteQuery, RemoteReply
from raftline.errors import ProposalError, SessionClosed, Timeout
from raftline.runtime.admission import Admission
from raftline.runtime.remote import NO_EFFECT, NOT_HOSTED, NOT_TAKEN, REJECTED, TOO_STALE, RemoteGroup, Remotes
from raftline.runtime.requests import Consistency
from raftline.transport.peer_link import PeerLink

ORIGIN, HISTORY = 77, 6


class _Bench:
    """A node whose transport keeps what is sent, and whose clock is moved by hand."""

    def __init__(self, hosts: list[str]) -> None:
        self.hosts = hosts
        self.down: set[str] = set()
        self.now = 0.0
        self.sent: list[tuple[str, Message]] = []
        self.room = 1 << 30
        self.outcomes: dict[str, Any] = {}
        self._due: list[Callable[[], None]] = []
        self._sweep: Callable[[], None] | None = None
        world: Any = self
        self.transport = self.turns = self.loop = world
        self.admission = Admission(100, 1 << 20)
        self.remotes = Remotes(
            world, lambda: ORIGIN, is_up=lambda node: node not in self.down, history=lambda: HISTORY,
            command_bytes_max=1 << 20, request_timeout_s=5.0,
        )  # fmt: skip
        self.group: RemoteGroup = self.remotes.group(3, lambda: self.hosts)

    def send(self, to: str, group: int, message: Message) -> None:
        assert group == 3
        self.sent.append((to, message))
        self.room -= sum(map(len, message.commands)) if isinstance(message, RemoteCommands) else 0

    def has_room(self, _to: str, size: int) -> bool:
        return size <= self.room

    def add(self, turn: Callable[[], None]) -> None:
        self._due.append(turn)

    call_soon = staticmethod(lambda callback, *arguments: callback(*arguments))

    def call_later(self, _seconds: float, callback: Callable[[], None]) -> Any:
        self._sweep = callback
        return self

    def cancel(self) -> None:
        self._sweep = None

    def time(self) -> float:
        return self.now

    def submit(self, *commands: str) -> None:
        for command in commands:
            self.group.submit(command.encode(), lambda outcome, name=command: self.outcomes.setdefault(name, outcome))  # type: ignore[misc]

    def run(self) -> list[tuple[str, int, str]]:
        """Let groups take their turns; return (to, number, commands) of what was sent."""
        self.sent.clear()
        due, self._due = self._due, []
        for turn in due:
            turn()
        return [
            (to, message.number, " ".join(command[1:].decode() for command in message.commands))
            for to, message in self.sent
            if isinstance(message, RemoteCommands)
        ]

    def pass_time(self, seconds: float) -> list[tuple[str, int, str]]:
        """Let time pass and look once."""
        self.now += seconds
        assert self._sweep is not None, "somebody waits"
        self._sweep()
        return self.run()

    def reply(self, number: int, *results: tuple[int, bytes], first: int = 0) -> None:
        self.remotes.on_reply(RemoteReply(ORIGIN, number, first, results))


def test_what_comes_together_goes_in_one_frame_and_is_answered_one_by_one() -> None:
    """Each gets its own result, whatever kind it is, with the same words as on a node that hosts the group."""
    bench = _Bench(["n2"])
    bench.submit("a", "b", "c", "d", "e", "f", "g")
    assert bench.run() == [("n2", 1, "a b c d e f g")]
    bench.reply(1, (0, b"one"), (1, b"boom"), (10, b"slot 3 moved"), first=0)
    assert bench.outcomes["a"] == b"one"
    bench.reply(1, (7, b"closed"), (NO_EFFECT, b"late"), (REJECTED, b"odd"), (NOT_TAKEN, b"overtaken"), first=3)
    kinds = {name: type(outcome) for name, outcome in bench.outcomes.items()}
    assert kinds == {
        "a": bytes, "b": ApplyError, "c": NotServed, "d": SessionClosed, "e": Timeout, "f": ConfigError,
        "g": ProposalLost,
    }  # fmt: skip
    assert not bench.outcomes["e"].may_take_effect
    assert not bench.outcomes["g"].may_take_effect


def test_who_does_not_host_the_group_is_asked_no_more_for_a_while() -> None:
    """Nothing was done there, so the same commands go to another host, in their order (G5)."""
    bench = _Bench(["n2", "n3"])
    bench.submit("a", "b")
    assert bench.run() == [("n2", 1, "a b")]
    bench.submit("c")
    assert bench.run() == [("n2", 2, "c")]
    bench.reply(1, (NOT_HOSTED, b""), (NOT_HOSTED, b""))
    assert bench.run() == [], "what came later is still under way"
    bench.submit("d")
    assert bench.run() == []
    bench.reply(2, (NOT_HOSTED, b""))
    assert bench.run() == [("n3", 3, "a b c d")]
    bench.reply(3, *[(NOT_HOSTED, b"")] * 4)
    assert bench.run() == [], "both were asked just now"
    assert bench.pass_time(0.3) == []
    assert bench.pass_time(0.3) == [("n2", 4, "a b c d")]


def test_who_gave_no_answer_is_asked_after_the_others() -> None:
    """A host may be up and yet hear of no leader: the next one is asked, in turns, and the first again when it can."""
    bench = _Bench(["n2", "n3", "n4"])
    for name, to in (("a", "n2"), ("b", "n3"), ("c", "n4"), ("d", "n2")):
        bench.submit(name)
        assert [sent[0] for sent in bench.run()] == [to]
        bench.pass_time(5.1)
        assert isinstance(bench.outcomes[name], Timeout)
    bench.submit("e")
    assert bench.run() == [("n3", 5, "e")]
    bench.reply(5, (0, b"1"))
    bench.submit("f")
    assert bench.run() == [("n3", 6, "f")], "n2 and n4 were asked in vain"
    bench.reply(6, (NO_EFFECT, b"no leader in time"))
    bench.submit("g")
    assert bench.run() == [("n4", 7, "g")]
    bench.reply(7, (0, b"2"))
    bench.submit("h")
    assert bench.run() == [("n4", 8, "h")]
    bench.pass_time(4.0)
    bench.reply(8, (0, b"3"))
    bench.pass_time(10.1)
    bench.submit("i")
    assert bench.run() == [("n2", 9, "i")], "long ago"


def test_whose_copy_is_too_old_is_asked_after_the_others_for_what_must_be_as_new() -> None:
    """It may be cut off from its leader, and the next one not; no other question or command goes elsewhere for that."""

    async def scenario() -> None:
        bench = _Bench(["n2", "n3"])
        bench.remotes.loop = asyncio.get_running_loop()
        number = 0

        async def asked(consistency: Consistency, bound_s: float, status: int) -> str:
            nonlocal number
            number += 1
            asking = asyncio.ensure_future(bench.group.ask(b"q", consistency, bound_s))
            await asyncio.sleep(0)
            bench.run()
            bench.reply(number, (status, b""))
            await asyncio.wait([asking])
            assert isinstance(asking.exception(), TooStale) == (status == TOO_STALE)
            return bench.sent[-1][0]

        hosts = [await asked("bounded", 0.001, TOO_STALE) for _ in range(4)]
        assert hosts == ["n2", "n3", "n2", "n3"]
        assert await asked("bounded", 5.0, 0) == "n2"
        assert await asked("linearizable", 0.0, 0) == "n2"
        number += 1
        bench.submit("a")
        assert bench.run() == [("n2", number, "a")]
        assert await asked("bounded", 10.0, TOO_STALE) == "n2"
        assert await asked("bounded", 5.0, 0) == "n3"
        assert await asked("bounded", 11.0, 0) == "n2"
        bench.remotes.stop(Stopped("done"))

    asyncio.run(scenario())


def test_who_does_not_host_the_group_comes_after_who_does() -> None:
    """One that is still empty is not asked first twice a second."""
    bench = _Bench(["n2", "n3"])
    bench.submit("a")
    bench.run()
    bench.reply(1, (NOT_HOSTED, b""))
    assert bench.run() == [("n3", 2, "a")]
    bench.submit("b")
    bench.run()
    bench.pass_time(0.6)
    bench.reply(2, (0, b"1"))
    bench.reply(3, (0, b"1"))
    bench.submit("c")
    assert bench.run() == [("n3", 4, "c")]


def test_what_was_refused_is_given_up_if_something_newer_was_taken() -> None:
    """It would take effect out of order."""
    bench = _Bench(["n2", "n3"])
    bench.submit("a")
    bench.run()
    bench.submit("b")
    bench.run()
    bench.reply(1, (NOT_HOSTED, b""))
    bench.reply(2, (0, b"done"))
    assert bench.outcomes["b"] == b"done"
    assert isinstance(bench.outcomes["a"], ProposalLost)
    assert not bench.outcomes["a"].may_take_effect
    assert bench.run() == []


def test_commands_go_to_another_host_only_when_the_first_one_has_answered() -> None:
    """Two hosts could take them in either order."""
    bench = _Bench(["n2", "n3"])
    bench.submit("a")
    bench.run()
    bench.hosts = ["n3", "n2"]
    bench.submit("b")
    assert bench.run() == []
    bench.reply(1, (0, b"1"))
    assert bench.run() == [("n3", 2, "b")]


def test_a_lost_connection_leaves_outcomes_unknown() -> None:
    """Commands that were under way may still take effect, and their callers are told so; what waits goes elsewhere."""
    bench = _Bench(["n2", "n3"])
    bench.submit("a")
    bench.run()
    bench.down.add("n2")
    bench.submit("b")
    bench.remotes.on_lost("n3")
    assert bench.outcomes == {}
    bench.remotes.on_lost("n2")
    assert isinstance(bench.outcomes["a"], Stopped)
    assert bench.outcomes["a"].may_take_effect
    assert bench.run() == [("n3", 2, "b")]
    bench.reply(1, (0, b"late"))
    assert "b" not in bench.outcomes


def test_commands_wait_until_there_is_room_on_the_way() -> None:
    """What a peer's queue drops nobody hears of; they go in their order, and the time of a request counts (G5)."""
    bench = _Bench(["n2"])
    bench.room = 0
    bench.submit("a", "b")
    assert bench.run() == []
    bench.submit("c")
    assert bench.run() == []
    bench.room = 1000
    assert bench.pass_time(0.05) == [("n2", 1, "a b c")]
    bench.room = 0
    bench.submit("d")
    assert bench.run() == []
    bench.reply(1, *[(0, b"done")] * 3)
    assert bench.run() == []
    bench.pass_time(5.1)
    assert isinstance(bench.outcomes["d"], Timeout)
    assert not bench.outcomes["d"].may_take_effect


def test_without_a_host_that_is_up_commands_wait_until_their_time_is_over() -> None:
    """Those that were never sent have no effect, and those that were may have one (G5)."""
    bench = _Bench(["n2"])
    bench.submit("sent")
    bench.run()
    bench.down.add("n2")
    bench.submit("kept")
    assert bench.run() == []
    assert bench.pass_time(5.1) == []
    assert {name: outcome.may_take_effect for name, outcome in bench.outcomes.items()} == {"sent": True, "kept": False}
    assert {type(outcome) for outcome in bench.outcomes.values()} == {Timeout}


def test_replies_of_another_life_and_to_nothing_are_passed_over() -> None:
    """A number is known by whoever drew the origin."""
    bench = _Bench(["n2"])
    bench.submit("a")
    bench.run()
    bench.remotes.on_reply(RemoteReply(ORIGIN + 1, 1, 0, ((0, b"x"),)))
    bench.reply(9, (0, b"x"))
    assert bench.outcomes == {}
    bench.reply(1, (0, b"1"), (0, b"more than was asked"))
    bench.reply(1, (0, b"again"))
    assert bench.outcomes == {"a": b"1"}


def test_a_piece_that_comes_twice_answers_for_no_other() -> None:
    """Connections may repeat what they carry: what has not come yet is waited for (G5)."""
    bench = _Bench(["n2", "n3"])
    bench.submit("a", "b", "c", "d")
    bench.run()
    for _ in range(4):
        bench.reply(1, (0, b"1"))
    assert bench.outcomes == {"a": b"1"}
    bench.reply(1, (NOT_HOSTED, b""), first=3)
    bench.reply(1, (0, b"odd"), first=-1)
    assert bench.run() == [], "b and c may have been taken"
    bench.reply(1, (0, b"2"), (0, b"3"), first=1)
    assert {name: type(outcome) for name, outcome in bench.outcomes.items()} == {
        "a": bytes, "b": bytes, "c": bytes, "d": ProposalLost,
    }  # fmt: skip


def test_too_many_are_refused_at_once_and_nobody_is_left_waiting_at_the_end() -> None:
    """No queue without a bound; a node that stops answers everybody (G5, G11)."""
    bench = _Bench(["n2"])
    bench.submit(*(str(number) for number in range(101)))
    assert isinstance(bench.outcomes["100"], Overloaded)
    bench.remotes.stop(Stopped("this node stops"))
    assert len(bench.outcomes) == 101
    bench.submit("late")
    assert isinstance(bench.outcomes["late"], Stopped)


def test_questions_are_asked_again_wherever_they_may_be() -> None:
    """To ask twice does no harm: a lost connection and a node that hosts the group no more are not the caller's."""

    async def scenario() -> None:
        bench = _Bench(["n2", "n3"])
        bench.remotes.loop = asyncio.get_running_loop()
        asked = asyncio.ensure_future(bench.group.ask(b"q", "stale"))
        await asyncio.sleep(0)
        bench.run()
        assert bench.sent == [("n2", RemoteQuery(ORIGIN, 1, b"q", "stale", 0.0, HISTORY))]
        bench.remotes.on_lost("n2")
        bench.run()
        assert bench.sent == [("n3", RemoteQuery(ORIGIN, 2, b"q", "stale", 0.0, HISTORY))]
        bench.reply(2, (0, b"answer"))
        assert await asked == b"answer"
        bench.remotes.stop(Stopped("done"))

    asyncio.run(scenario())


class Slots(StateMachine):
    """Serves one key, refuses another, fails at a third."""

    def __init__(self) -> None:
        self.done: list[bytes] = []

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        if command == b"moved":
            raise NotServed("slot 3 is not served here")
        if command == b"boom":
            raise ValueError("boom")
        self.done.append(command)
        return b"%d" % len(self.done)

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        if query == b"moved":
            raise NotServed("slot 3 is not served here")
        if query == b"some":
            return bytes(4 << 20)
        if query == b"much":
            return bytes(17 << 20)
        return query + b": " + b" ".join(self.done)

    def snapshot(self) -> list[bytes]:
        return []

    def restore(self, chunks: Any) -> None:
        raise NotImplementedError


def test_a_node_that_does_not_host_a_group_reaches_it_through_one_that_does(make_cluster: Any) -> None:
    """Commands, questions and sessions, with the results and refusals that the group's own nodes get."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            members = {name: cluster.members[name] for name in ("n1", "n2")}
            config = GroupConfig(group=1, members=members)
            await asyncio.gather(*(cluster.nodes[name].add_group(config, Slots()) for name in members))
            remote = cluster.nodes["n3"].remote(1, lambda: ["n3", "n2", "n1"])
            answers: list[Any] = []
            for command in (b"a", b"moved", b"b", b"boom", b"c"):
                remote.submit(command, answers.append)
            await cluster.until(lambda: len(answers) == 5)
            assert [answer if isinstance(answer, bytes) else type(answer) for answer in answers] == [
                b"1", NotServed, b"2", ApplyError, b"3",
            ]  # fmt: skip
            assert await remote.ask(b"all") == b"all: a b c"
            assert await remote.ask(b"all", "stale") != b""
            with pytest.raises(NotServed):
                await remote.ask(b"moved")
            asked = cluster.nodes["n2"].group(1).driver.replica.core
            await cluster.until(lambda: asked.freshness(0.0)[0] > float("-inf"))
            assert await remote.ask(b"all", "bounded", 60.0) != b""
            with pytest.raises(TooStale, match="the bound is 1e-09 s"):
                await remote.ask(b"all", "bounded", 1e-9)
            with pytest.raises(ApplyError, match="has 17825792 bytes, more than one message can carry"):
                await remote.ask(b"much")
            some = await asyncio.gather(*[remote.ask(b"some") for _ in range(16)])
            assert [len(answer) for answer in some] == [4 << 20] * 16, "more than a queue holds"
            with pytest.raises(ConfigError, match="a bounded read needs staleness_s_max"):
                await remote.ask(b"all", "bounded")
            with pytest.raises(ConfigError, match="reads on a lease are switched off"):
                await remote.ask(b"all", "lease")
            assert await remote.open_session(4711) == 4711
            for _ in range(2):
                future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                remote.submit(b"once", future.set_result, session=4711, sequence=1)
                assert await future == b"4"
            assert await cluster.nodes["n1"].group(1).read(b"all") == b"all: a b c once"

    asyncio.run(scenario())


def test_a_host_that_goes_is_replaced_by_the_next_one(make_cluster: Any) -> None:
    """Nothing is done twice; whoever has no answer is told that the outcome is unknown."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            members = dict(cluster.members)
            config = GroupConfig(group=1, members=members)
            await asyncio.gather(*(cluster.nodes[name].add_group(config, Slots()) for name in members))
            remote = cluster.nodes["n3"].remote(1, lambda: ["n1", "n2"])
            answers: list[Any] = []
            for number in range(50):
                remote.submit(b"%d" % number, answers.append)
            await cluster.stop("n1")
            for number in range(50, 100):
                remote.submit(b"%d" % number, answers.append)
            await cluster.until(lambda: len(answers) == 100)
            for answer in answers:
                assert isinstance(answer, bytes | ProposalError)
            done = (await cluster.nodes["n2"].group(1).read(b"all")).split(b": ")[1].split()
            assert len(set(done)) == len(done)
            assert [int(one) for one in done] == sorted(int(one) for one in done)
            assert sum(isinstance(answer, bytes) for answer in answers) <= len(done)

    asyncio.run(scenario())


def test_a_replica_that_waits_to_be_added_is_passed_over(make_cluster: Any) -> None:
    """It would keep commands until their time is over, and answer questions from nothing (G5)."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            await cluster.nodes["n1"].add_group(GroupConfig(group=1, members={"n1": cluster.members["n1"]}), Slots())
            await cluster.nodes["n2"].add_group(GroupConfig(group=1, members={}), Slots())
            remote = cluster.nodes["n3"].remote(1, lambda: ["n2", "n1"])
            answers: list[Any] = []
            remote.submit(b"a", answers.append)
            await cluster.until(lambda: len(answers) == 1)
            assert answers == [b"1"]
            remote = cluster.nodes["n3"].remote(1, lambda: ["n2", "n1"])
            assert await remote.ask(b"all", "stale") == b"all: a"
            assert await remote.ask(b"all") == b"all: a"

    asyncio.run(scenario())


def test_who_asks_before_the_host_has_connected_back_is_answered(
    make_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a host says waits for its connection: nobody is left without an outcome by who connected first (G5)."""
    held: list[tuple[PeerLink, Any]] = []
    on_connected = PeerLink.on_connected

    def connect_later(link: PeerLink, connection: Any) -> None:
        if link.peer_id == "n3":
            held.append((link, connection))
        else:
            on_connected(link, connection)

    monkeypatch.setattr(PeerLink, "on_connected", connect_later)

    async def scenario() -> None:
        async with make_cluster() as cluster:
            machine = Slots()
            config = GroupConfig(group=1, members={"n1": cluster.members["n1"]})
            group = await cluster.nodes["n1"].add_group(config, machine)
            answers: list[Any] = []
            cluster.nodes["n3"].remote(1, lambda: ["n1"]).submit(b"a", answers.append)
            await cluster.until(lambda: machine.done == [b"a"])
            assert await group.read(b"all") == b"all: a"
            assert not cluster.nodes["n1"].is_up("n3")
            monkeypatch.setattr(PeerLink, "on_connected", on_connected)
            for link, connection in held:
                if not connection._ending:  # else its time was up, and the next one is not held
                    on_connected(link, connection)
            await cluster.until(lambda: len(answers) == 1)
            assert answers == [b"1"]

    asyncio.run(scenario())
