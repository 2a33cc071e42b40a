"""The Make/Start face keeps the lab's interface to the letter, on virtual time and on the real loop."""

import asyncio
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import pytest

from raftline.core.messages import AppendRequest, VoteReply
from raftline.errors import ConfigError, CorruptLog
from raftline.lab import ApplyMsg, Persister, make
from raftline.lab.image import LogImage
from raftline.lab.network import NetworkEvent, Valve
from raftline.lab.wire import Wire
from raftline.sim.loop import SimLoop

_WIRE = Wire(0)


def _entries(event: NetworkEvent) -> list[bytes]:
    request = _WIRE.decode_request(event.method, event.payload)
    assert request is not None
    return [entry.data for entry in request.message.entries] if isinstance(request.message, AppendRequest) else []


def test_the_package_offers_exactly_the_interface() -> None:
    """`raftline.lab` exports make, ApplyMsg, Persister and ClientEnd, and nothing else."""
    import raftline.lab  # noqa: PLC0415  what is looked at

    assert raftline.lab.__all__ == ["ApplyMsg", "ClientEnd", "Persister", "make"]


def test_servers_elect_a_leader_by_themselves_and_never_call_themselves(group: Any) -> None:
    """Without being asked, one of three leads a term, and peers[me] is never called (H1)."""
    group.loop.run_for(3)
    states = [raft.get_state() for raft in group.rafts]
    assert sorted(leads for _, leads in states) == [False, False, True]
    assert len({term for term, _ in states}) == 1
    assert all(event.source != event.target for event in group.events)


def test_the_first_command_has_index_1_and_no_noop_stands_before_it(group: Any) -> None:
    """start() returns 1, 2, 3 from callbacks outside any task, and every server delivers them in order (B30, L47)."""
    leader = group.leader()
    results = group.start(leader, b"a", b"b", b"c")
    term, _ = group.rafts[leader].get_state()
    assert results == [(1, term, True), (2, term, True), (3, term, True)]
    group.loop.run_for(1)
    for inbox in group.inboxes:
        assert inbox.messages == [
            ApplyMsg(command_valid=True, command=command, command_index=index, command_term=term)
            for index, command in enumerate((b"a", b"b", b"c"), start=1)
        ]


def test_a_follower_takes_no_command(group: Any) -> None:
    """start() of a server that does not lead returns False and appends nothing (H2)."""
    leader = group.leader()
    group.loop.run_for(0.5)
    follower = (leader + 1) % 3
    term, _ = group.rafts[follower].get_state()
    saved = group.persisters[follower].read_raft_state()
    assert group.start(follower, b"x") == [(-1, term, False)]
    group.loop.run_for(0.5)
    assert group.persisters[follower].read_raft_state() == saved


@pytest.mark.parametrize(
    "command", [b"", b"\x00", bytes(range(256)), b"\xff" * 70_000], ids=["empty", "nul", "all", "long"]
)
def test_commands_may_be_any_bytes(group: Any, command: bytes) -> None:
    """Whatever bytes go in come out on every server (H11)."""
    group.start(group.leader(), command)
    group.loop.run_for(1)
    assert [inbox.commands for inbox in group.inboxes] == [[command]] * 3


def test_a_command_that_is_no_bytes_is_refused(group: Any) -> None:
    """start() raises TypeError for text, before anything changes (H2)."""
    leader = group.leader()
    with group.loop.entered(), pytest.raises(TypeError, match="a command is bytes, not str"):
        group.rafts[leader].start("text")
    assert group.start(leader, b"x")[0][0] == 1


def test_what_a_message_depends_on_is_saved_before_it_leaves(group: Any) -> None:
    """Entries are in the sender's state when it sends them, votes in the voter's when it gives them (C2, C3, C5)."""
    seen = {"entries": 0, "votes": 0, "acknowledgements": 0}
    asked: dict[int, AppendRequest] = {}

    def check(event: NetworkEvent) -> None:
        if event.what == "request":
            request = _WIRE.decode_request(event.method, event.payload)
            assert request is not None
            saved = LogImage(group.persisters[event.source].read_raft_state())
            assert saved.hard_state.term >= request.message.term
            if isinstance(request.message, AppendRequest):
                asked[event.number] = request.message
                for entry in request.message.entries:
                    assert entry in saved.entries()
                    seen["entries"] += 1
        elif event.what == "reply":
            answer = _WIRE.decode_answer(event.payload)
            saved = LogImage(group.persisters[event.target].read_raft_state())
            if isinstance(answer, VoteReply) and answer.granted:
                assert saved.hard_state.vote == str(event.source)
                seen["votes"] += 1
            for entry in asked[event.number].entries if event.number in asked else ():
                assert entry in saved.entries()
                seen["acknowledgements"] += 1

    group.on_event = check
    leader = group.leader()
    for number in range(5):
        group.start(leader, b"%d" % number)
        group.loop.run_for(0.3)
    assert all(seen.values()), seen


def test_commands_of_one_turn_travel_together(group: Any) -> None:
    """Fifty start() in one turn of the loop are one AppendEntries per follower, each command once (B29)."""
    leader = group.leader()
    group.loop.run_for(0.5)
    before = len(group.events)
    commands = [b"%d" % number for number in range(50)]
    group.start(leader, *commands)
    group.loop.run_for(2)
    carrying = [event for event in group.requests(leader, before) if _entries(event)]
    assert sorted(event.target for event in carrying) == [server for server in range(3) if server != leader]
    assert all(_entries(event) == commands for event in carrying)


def test_a_command_after_a_quiet_time_is_sent_at_once(group: Any) -> None:
    """The AppendEntries of a single command leaves within the very instant of start() (B29)."""
    leader = group.leader()
    group.loop.run_for(0.5)
    before, now = len(group.events), group.loop.time()
    group.start(leader, b"x")
    assert {event.time_s for event in group.requests(leader, before) if _entries(event)} == {now}


def test_commands_in_quick_succession_share_messages(group: Any) -> None:
    """A hundred commands, 3 ms apart, reach each follower in few AppendEntries, each command once (B29)."""
    leader = group.leader()
    group.loop.run_for(0.5)
    before = len(group.events)
    commands = [b"%d" % number for number in range(100)]
    for command in commands:
        group.start(leader, command)
        group.loop.run_for(0.003)
    group.loop.run_for(0.1)
    assert [inbox.commands for inbox in group.inboxes] == [commands] * 3
    carrying = [event for event in group.requests(leader, before) if _entries(event)]
    assert len(carrying) <= 2 * 25
    for server in range(3):
        if server != leader:
            assert [data for event in carrying if event.target == server for data in _entries(event)] == commands


def test_followers_learn_of_a_commit_before_the_next_heartbeat(group: Any) -> None:
    """Every server delivers a lone command within 50 ms, a quarter of the heartbeat interval (B27)."""
    leader = group.leader()
    group.loop.run_for(0.51)
    group.start(leader, b"x")
    group.loop.run_for(0.05)
    assert [inbox.commands for inbox in group.inboxes] == [[b"x"]] * 3


def test_ten_large_commands_take_each_way_once(group: Any) -> None:
    """Ten commands of 5,000 bytes to two followers are under 200 kB of RPCs, and each is sent to each once (I5)."""
    leader = group.leader()
    group.loop.run_for(0.5)
    before, mark = group.network.bytes_total, len(group.events)
    for number in range(10):
        group.start(leader, b"%d" % number * 5000)
        group.loop.run_for(0.3)
    assert group.network.bytes_total - before < 110_000
    sent = [(event.target, data) for event in group.requests(leader, mark) for data in _entries(event)]
    assert len(sent) == len(set(sent)) == 20


def test_a_call_that_hangs_delays_nothing(group: Any) -> None:
    """While every reply of one follower is held back, commands commit and it still gets all of them (E9)."""
    leader = group.leader()
    slow, other = [server for server in range(3) if server != leader]
    group.network.set_valve("reply", leader, slow, Valve.HOLD)
    group.network.disconnect(other)
    group.network.connect(other)
    for number in range(10):
        group.start(leader, b"%d" % number)
        group.loop.run_for(0.1)
    group.loop.run_for(0.5)
    assert [inbox.commands for inbox in group.inboxes] == [[b"%d" % number for number in range(10)]] * 3


def test_replies_two_seconds_late_still_count(group: Any) -> None:
    """With a majority's replies always 2 s late, a command commits when they come (E9, B28)."""
    leader = group.leader()
    for other in range(3):
        group.network.set_valve("reply", leader, other, Valve.HOLD)
    group.start(leader, b"x")
    group.loop.run_for(2)
    assert group.inboxes[leader].commands == []
    for held in list(group.network.held):
        group.network.release(held)
    group.loop.run_for(0.1)
    assert group.inboxes[leader].commands == [b"x"]


def test_a_quiet_leader_heartbeats_at_most_ten_times_a_second(group: Any) -> None:
    """In ten idle seconds each follower is called at most 100 times, by the leader only (J1, A22)."""
    leader = group.leader()
    group.loop.run_for(1)
    before = len(group.events)
    group.loop.run_for(10)
    calls = group.requests(since=before)
    assert {event.source for event in calls} == {leader}
    for server in range(3):
        assert sum(event.target == server for event in calls) <= 100


def test_nothing_is_saved_while_nothing_changes(group: Any) -> None:
    """Heartbeats cost no save (C7)."""
    group.leader()
    group.loop.run_for(1)
    saved = [persister.read_raft_state() for persister in group.persisters]
    group.loop.run_for(5)
    assert all(now.read_raft_state() is then for now, then in zip(group.persisters, saved, strict=True))


def test_a_new_leader_stands_within_five_seconds(group: Any) -> None:
    """Five times over the leader is cut off, and another one leads a later term within 5 s (J2)."""
    for _ in range(5):
        first = group.leader()
        term, _ = group.rafts[first].get_state()
        group.network.disconnect(first)
        group.loop.run_for(5)
        states = [raft.get_state() for server, raft in enumerate(group.rafts) if server != first]
        assert any(leads and later > term for later, leads in states)
        group.network.connect(first)
        group.loop.run_for(2)


def test_a_killed_server_is_silent(group: Any) -> None:
    """After kill() nothing is sent, saved or delivered, start() takes nothing and handle() answers nothing (E8, H5)."""
    leader = group.leader()
    group.start(leader, b"x")
    request = next(event for event in group.requests(leader) if _entries(event))
    group.loop.call_soon(group.rafts[leader].kill)
    group.loop.run_for(0)
    before, saved = len(group.events), group.persisters[leader].read_raft_state()
    group.loop.run_for(5)
    assert group.requests(leader, before) == []
    assert group.persisters[leader].read_raft_state() is saved
    assert group.inboxes[leader].messages == []
    assert group.start(leader, b"y")[0][2] is False
    assert group.rafts[leader].get_state()[1] is False
    assert group.loop.run_until_complete(group.rafts[leader].handle(request.method, request.payload)) == b""


def test_kill_from_within_the_consumer_ends_delivery(group: Any) -> None:
    """A consumer that kills its server gets nothing more, and is not cancelled half-way (F22)."""
    leader = group.leader()
    finished: list[int] = []

    def on_put(message: ApplyMsg) -> Coroutine[Any, Any, None]:
        async def take() -> None:
            group.rafts[leader].kill()
            await asyncio.sleep(0.1)
            finished.append(message.command_index)

        return take()

    group.inboxes[leader].on_put = on_put
    group.start(leader, b"a", b"b")
    group.loop.run_for(1)
    assert finished == [1]


def test_a_slow_consumer_delays_only_itself(group: Any) -> None:
    """With a consumer that takes 0.3 s per command, its server goes on leading, and delivers one by one (F8, F9)."""
    leader = group.leader()
    term, _ = group.rafts[leader].get_state()
    running: list[int] = []

    def on_put(message: ApplyMsg) -> Coroutine[Any, Any, None]:
        async def take() -> None:
            assert not running
            running.append(message.command_index)
            await asyncio.sleep(0.3)
            running.clear()

        return take()

    group.inboxes[leader].on_put = on_put
    group.start(leader, *(b"%d" % number for number in range(20)))
    group.loop.run_for(1)
    assert group.rafts[leader].get_state() == (term, True)
    assert 0 < len(group.inboxes[leader].messages) < 20
    assert all(len(inbox.messages) == 20 for server, inbox in enumerate(group.inboxes) if server != leader)
    group.loop.run_for(6)
    assert [message.command_index for message in group.inboxes[leader].messages] == list(range(1, 21))


def test_small_entries_cost_at_most_60_bytes_of_state(group: Any) -> None:
    """A hundred commands of 20 bytes are saved in under 60 bytes each."""
    group.start(group.leader(), *(b"%020d" % number for number in range(100)))
    group.loop.run_for(1)
    assert all(0 < persister.raft_state_size() <= 60 * 100 for persister in group.persisters)


def test_a_snapshot_taken_by_the_consumer_shortens_the_state(group: Any) -> None:
    """snapshot() from within put() drops the log up to there, on followers too; an older one is ignored (D1, D20)."""
    for raft, inbox in zip(group.rafts, group.inboxes, strict=True):
        inbox.on_put = lambda message, raft=raft: (
            raft.snapshot(message.command_index, b"up to 5") if message.command_index == 5 else None
        )
    group.start(group.leader(), *(b"%d" % number for number in range(8)))
    group.loop.run_for(1)
    for raft, persister in zip(group.rafts, group.persisters, strict=True):
        assert persister.read_snapshot() == b"up to 5"
        image = LogImage(persister.read_raft_state())
        assert image.base_index == 5
        assert [entry.index for entry in image.entries()] == [6, 7, 8]
        with group.loop.entered():
            raft.snapshot(3, b"older")
        assert persister.read_snapshot() == b"up to 5"


def test_a_snapshot_of_what_was_not_delivered_is_refused(group: Any) -> None:
    """snapshot() beyond the last delivered command raises ConfigError and saves nothing (D3)."""
    leader = group.leader()
    group.start(leader, b"a")
    group.loop.run_for(1)
    with group.loop.entered(), pytest.raises(ConfigError, match="only commands up to 1"):
        group.rafts[leader].snapshot(2, b"x")
    assert group.persisters[leader].read_snapshot() == b""


def test_every_save_passes_the_snapshot(group: Any) -> None:
    """Votes and entries saved after a snapshot do not wipe it (C10)."""
    leader = group.leader()
    group.start(leader, b"a", b"b")
    group.loop.run_for(1)
    with group.loop.entered():
        for raft in group.rafts:
            raft.snapshot(2, b"kept")
    group.network.disconnect(leader)
    group.loop.run_for(3)
    group.network.connect(leader)
    group.start(group.leader(), b"c")
    group.loop.run_for(2)
    assert [persister.read_snapshot() for persister in group.persisters] == [b"kept"] * 3


def test_a_restarted_server_goes_on_behind_its_snapshot(group: Any) -> None:
    """After a restart nothing at or below the snapshot is delivered, everything behind it is, once (C12, D17)."""
    leader = group.leader()
    group.start(leader, *(b"%d" % number for number in range(6)))
    group.loop.run_for(1)
    with group.loop.entered():
        for raft in group.rafts:
            raft.snapshot(4, b"four")
    for server in range(3):
        group.restart(server)
    group.start(group.leader(), b"after")
    group.loop.run_for(1)
    for inbox in group.inboxes:
        assert [message.command_index for message in inbox.messages] == [5, 6, 7]
        assert inbox.commands == [b"4", b"5", b"after"]


def test_term_and_vote_survive_a_restart(group: Any) -> None:
    """A restarted server starts in the term that it saved (C4)."""
    group.leader()
    group.loop.run_for(0.5)
    terms = [raft.get_state()[0] for raft in group.rafts]
    for server in range(3):
        group.restart(server)
    assert [raft.get_state() for raft in group.rafts] == [(term, False) for term in terms]


def test_a_laggard_is_sent_the_snapshot_and_delivers_it_once(group: Any) -> None:
    """Who needs entries that are gone gets one ApplyMsg with the snapshot, then the commands behind it (D6, D11)."""
    leader = group.leader()
    away = (leader + 1) % 3
    group.network.disconnect(away)
    group.start(leader, *(b"%d" % number for number in range(10)))
    group.loop.run_for(1)
    term, _ = group.rafts[leader].get_state()
    with group.loop.entered():
        for server, raft in enumerate(group.rafts):
            if server != away:
                raft.snapshot(8, b"eight")
    group.network.connect(away)
    group.loop.run_for(3)
    first, *others = group.inboxes[away].messages
    assert first == ApplyMsg(snapshot_valid=True, snapshot=b"eight", snapshot_index=8, snapshot_term=term)
    assert [message.command for message in others] == [b"8", b"9"]
    assert group.persisters[away].read_snapshot() == b"eight"
    assert LogImage(group.persisters[away].read_raft_state()).base_index == 8


def test_entries_before_a_snapshot_are_freed(sim_loop: SimLoop) -> None:
    """Ten megabytes of commands are gone from memory once a snapshot covers them (D16)."""

    class Forgetful:
        async def put(self, _message: ApplyMsg) -> None:
            """Keep nothing."""

    async def main() -> int:
        raft = make([_no_peer()], 0, Persister(), Forgetful())
        await asyncio.sleep(2)
        for _ in range(100):
            raft.start(bytes(100_000))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        full, _ = tracemalloc.get_traced_memory()
        raft.snapshot(100, b"small")
        await asyncio.sleep(0.1)
        empty, _ = tracemalloc.get_traced_memory()
        assert full > 10_000_000
        raft.kill()
        return empty

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert sim_loop.run_until_complete(main()) - before < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_single_server_serves_alone(sim_loop: SimLoop) -> None:
    """A group of one leads and commits without calling anybody."""

    async def main() -> list[ApplyMsg]:
        queue: asyncio.Queue[ApplyMsg] = asyncio.Queue()
        raft = make([_no_peer()], 0, Persister(), queue)
        await asyncio.sleep(2)
        assert raft.start(b"alone")[::2] == (1, True)
        await asyncio.sleep(0.1)
        raft.kill()
        return [queue.get_nowait() for _ in range(queue.qsize())]

    assert [message.command for message in sim_loop.run_until_complete(main())] == [b"alone"]


def test_a_call_that_nobody_sends_gets_an_empty_answer(group: Any) -> None:
    """Garbage, unknown methods and strangers change nothing and get no answer (E7)."""
    leader = group.leader()
    raft = group.rafts[leader]
    request = next(event for event in group.requests(leader) if event.method == "AppendEntries")
    before = raft.get_state()
    for method, args in (
        ("AppendEntries", b"garbage"),
        ("NoSuchMethod", request.payload),
        ("RequestVote", request.payload),
        ("AppendEntries", b""),
        ("AppendEntries", request.payload),  # from itself
    ):
        assert group.loop.run_until_complete(raft.handle(method, args)) == b""
    assert raft.get_state() == before


def test_a_save_that_fails_ends_the_server_before_anything_leaves(sim_loop: SimLoop) -> None:
    """If the state cannot be saved, no vote request that depends on it is sent, and the error is not hidden (C2)."""

    class Full(Persister):
        def save(self, raft_state: bytes, snapshot: bytes) -> None:
            """Raise."""
            raise OSError(f"disk full at {len(raft_state) + len(snapshot)} bytes")

    async def main() -> None:
        raft = make([_no_peer()] * 3, 0, Full(), asyncio.Queue())
        await asyncio.sleep(5)
        assert raft.get_state() == (1, False)

    errors: list[Any] = []
    sim_loop.set_exception_handler(lambda _loop, context: errors.append(context["exception"]))
    sim_loop.run_until_complete(main())
    assert [str(error) for error in errors] == ["disk full at 40 bytes"]


def test_a_state_that_is_not_ours_is_refused(sim_loop: SimLoop) -> None:
    """make() raises CorruptLog for foreign bytes, and for a snapshot without its state (C9)."""
    with sim_loop.entered():
        with pytest.raises(CorruptLog, match="not one of raftline's"):
            make([_no_peer()], 0, Persister(b"something else"), asyncio.Queue())
        with pytest.raises(CorruptLog, match="knows of none"):
            make([_no_peer()], 0, Persister(b"", b"snapshot"), asyncio.Queue())


def test_a_position_outside_the_group_is_refused(sim_loop: SimLoop) -> None:
    """make() raises ConfigError if `me` is no position in `peers` (H1)."""
    with sim_loop.entered(), pytest.raises(ConfigError, match="me is 3"):
        make([_no_peer()] * 3, 3, Persister(), asyncio.Queue())


def test_a_network_that_raises_is_one_that_loses(sim_loop: SimLoop) -> None:
    """An exception out of call() counts as a lost message, and the server goes on trying (E5)."""
    calls: list[str] = []

    class Broken:
        async def call(self, method: str, _args: bytes) -> bytes | None:
            """Raise."""
            calls.append(method)
            raise ConnectionError("no route")

    async def main() -> None:
        raft = make([_no_peer(), Broken(), Broken()], 0, Persister(), asyncio.Queue())
        await asyncio.sleep(5)
        assert raft.get_state()[0] >= 2
        raft.kill()

    sim_loop.run_until_complete(main())
    assert len(calls) >= 4


def test_it_runs_on_the_real_loop() -> None:
    """The same make() elects and delivers on asyncio's own loop and clock."""

    async def main() -> list[bytes]:
        rafts: list[Any] = []

        class Direct:
            def __init__(self, target: int) -> None:
                self.target = target

            async def call(self, method: str, args: bytes) -> bytes | None:
                """Hand the call over."""
                reply: bytes = await rafts[self.target].handle(method, args)
                return reply

        queue: asyncio.Queue[ApplyMsg] = asyncio.Queue()
        rafts += [make([Direct(n) for n in range(3)], me, Persister(), queue) for me in range(3)]
        while not any(raft.get_state()[1] for raft in rafts):  # noqa: ASYNC110  servers have no event to wait for
            await asyncio.sleep(0.01)
        leader = next(raft for raft in rafts if raft.get_state()[1])
        leader.start(b"really")
        delivered = [(await queue.get()).command for _ in range(3)]
        for raft in rafts:
            raft.kill()
        return delivered

    assert asyncio.run(main()) == [b"really"] * 3


class _NoPeer:
    async def call(self, _method: str, _args: bytes) -> bytes | None:
        """Lose everything."""
        return None


def _no_peer() -> _NoPeer:
    return _NoPeer()
