"""Scenes of the log: a survivor meets a cluster that began anew, and a slow follower is fed from the disk.

As in `scenes.py` the seed says who and how much; here single cores are told every word, also by a disk that lies.
"""

from random import Random

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry
from raftline.core.events import Applied, EntriesRead, Persisted, Proposed, Received, TimerDue, Unloaded
from raftline.core.ids import Index, NodeId
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.ready import EntriesWanted
from raftline.errors import SafetyViolation
from raftline.sim.core_cluster import CoreCluster, CoreNode, InFlight

__all__ = ["bounded_window", "fed_from_disk", "two_histories", "what_may_leave_memory"]

_MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
_PLAIN = CoreConfig(pre_vote=False, guard_lost_disk=False, check_quorum=False)
_REFUSAL = "started anew"


def two_histories(seed: int) -> None:
    """Two emptied nodes begin anew without hearing of the third, which must neither follow nor elect them (C14)."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    first, anew = CoreCluster(3, config=CoreConfig(), seed=seed), CoreCluster(3, config=CoreConfig(), seed=~seed)
    name = chance.choice(list(first.nodes))
    written = _write(first, chance.randint(1, 6))
    survivor = first.nodes[name]
    words: list[InFlight] = []
    anew.cut = {(one, other) for one in anew.nodes for other in anew.nodes if name in (one, other) and one != other}
    pass_on = anew.on_sent

    def overhear(flight: InFlight) -> None:
        if flight.target == name:
            words.append(flight)
        pass_on(flight)

    anew.on_sent = overhear  # type: ignore[method-assign]
    last = _write(anew, written + chance.randint(1, 6), but=name)
    leader = anew.leaders()[-1]
    leader.crash()
    anew.run(5.0, lambda: any(_asks_with(flight, last) for flight in words))
    led = [flight for flight in words if type(flight.message) is AppendRequest]
    asked = [flight for flight in words if _asks_with(flight, last)]
    if chance.random() < 0.5:
        survivor.crash()
        survivor.start()
    _meet(survivor, chance.choice(led))
    survivor.crash()
    survivor.start()
    _meet(survivor, chance.choice(asked))


def _asks_with(flight: InFlight, last: Index) -> bool:
    return type(flight.message) is VoteRequest and flight.message.last_index >= last


def _write(cluster: CoreCluster, count: int, but: NodeId = "") -> Index:
    """Start a cluster and let it commit so many commands; return the last one's index."""
    cluster.start()
    leaders = [name for name in cluster.nodes if name != but]
    if not cluster.run(20.0, lambda: any(node.name in leaders for node in cluster.leaders())):
        raise SafetyViolation("nobody is elected")
    leader = next(node for node in reversed(cluster.leaders()) if node.name in leaders)
    last = leader.propose(*(b"%d" % number for number in range(count)))
    last += count - 1
    others = [node for node in cluster.nodes.values() if node.name != but]
    if not cluster.run(5.0, lambda: all(node.state.commit >= last for node in others)):
        raise SafetyViolation("what was written is not committed")
    cluster.run(0.2)
    return last


def _meet(survivor: CoreNode, flight: InFlight) -> None:
    """Let the survivor hear one word of the others: its log, term and vote stay, and nothing is granted."""
    core, message = survivor.core, flight.message
    state = core.state
    before = state.term, state.vote, state.commit, [state.log.term_at(n) for n in range(state.log.last_index + 1)]
    refused = False
    try:
        core.step(Received(flight.source, message), state.now)
    except SafetyViolation as error:
        if _REFUSAL not in str(error):
            raise
        refused = True
    after = state.term, state.vote, state.commit, [state.log.term_at(n) for n in range(state.log.last_index + 1)]
    if before != after:
        raise SafetyViolation(f"{survivor.name} held {before}, and {after} after {message!r} of another history (C14)")
    is_leaders = type(message) is AppendRequest and message.term >= state.term
    if is_leaders and not refused:
        raise SafetyViolation(f"{survivor.name} goes on beside the leader of another history (C14)")
    said = []
    while not refused and (ready := core.take_ready()) is not None:
        said += [*ready.messages, *ready.messages_after_persist]
    if any(type(out.message) is VoteReply and out.message.granted for out in said):
        raise SafetyViolation(f"{survivor.name} votes for {flight.source} of another history (C14)")


class _Leader:
    """A leader of three whose log has left memory, and what it says and asks for."""

    def __init__(self, chance: Random, count: int, config: CoreConfig = _PLAIN) -> None:
        self.chance = chance
        self.now = 0.0
        self.is_disk_slow = False
        self.core = Raft("n1", _MEMBERS, random=chance, now=0.0, config=config)
        self.now = self.core.next_deadline
        self.core.step(TimerDue(), self.now)
        self.wanted: list[EntriesWanted] = []
        self.sent: list[AppendRequest] = []
        self.turn()
        self.step(Received("n2", VoteReply(1, 1, granted=True)))
        self.step(Proposed(tuple(b"%d" % number for number in range(count))))
        self.last = self.core.state.log.last_index
        self.entries = [self.core.state.log.entry(index) for index in range(1, self.last + 1)]
        self.answer("n2", 0, self.last)
        self.step(Applied(self.last))
        self.step(Unloaded(0, 10_000))
        if self.core.state.log.disk_index != self.last:
            raise SafetyViolation(f"entries up to {self.core.state.log.disk_index} leave memory, {self.last} could")

    def step(self, event: object) -> None:
        """Step, then take the turn, everything on disk at once."""
        self.core.step(event, self.now)  # type: ignore[arg-type]
        self.turn()

    def turn(self) -> None:
        """Carry out what is ready; note what the slow follower is sent, and what is to be read for it."""
        while (ready := self.core.take_ready()) is not None:
            said = (*ready.messages, *ready.messages_after_persist)
            self.sent += [out.message for out in said if out.to == "n3" and type(out.message) is AppendRequest]
            self.wanted += ready.entries_wanted
            if len(self.wanted) > 1:
                raise SafetyViolation(f"{len(self.wanted)} readings for one follower are under way")
            if ready.must_persist and not self.is_disk_slow:
                self.core.step(Persisted(ready.number), self.now)

    def answer(self, peer: NodeId, prev_index: Index, match_index: Index, *, success: bool = True) -> None:
        """Let a follower answer."""
        reply = AppendReply(1, 1, success, prev_index, match_index, conflict_index=match_index + 1)
        self.step(Received(peer, reply))

    def beat(self) -> None:
        """Let a heartbeat's time pass."""
        self.now += self.core.state.config.heartbeat_interval_s
        self.step(TimerDue())

    def read(self, *, shift: int = 0, term: int = 1) -> None:
        """Let the reading under way end, with entries of another place or term if it is asked to lie."""
        wanted = self.wanted.pop()
        found = self.entries[wanted.low - 1 + shift : wanted.high - 1 + shift]
        self.step(EntriesRead("n3", wanted.low, tuple(Entry(e.index, term, e.data, e.kind) for e in found)))


def fed_from_disk(seed: int) -> None:
    """A follower that needs what only the disk holds gets just that; what a disk gives that lies is not sent (B2)."""
    chance = Random(seed)  # noqa: S311  as above
    count = chance.randint(6, 20)
    leader = _Leader(chance, count)
    match_index = chance.randint(1, 3)
    leader.answer("n3", match_index, match_index)
    for _ in range(chance.randint(1, 3)):
        leader.beat()
    if not leader.wanted:
        raise SafetyViolation("nothing is read for a follower that needs what has left memory")
    leader.sent.clear()
    if chance.random() < 0.5:
        _overtaken(leader, match_index)
        return
    lies: tuple[dict[str, int], ...] = ({}, {"shift": 1}, {"term": 2})
    lie = lies[seed % 3]
    try:
        leader.read(**lie)
    except SafetyViolation as error:
        if not lie or "the disk gives entry" not in str(error):
            raise
        return
    _check_sent(leader)
    if lie:
        raise SafetyViolation(f"what the disk gave was wrong ({lie}), and was taken (B2)")
    if not any(request.entries for request in leader.sent):
        raise SafetyViolation("what was read for a follower is not sent to it")


def _overtaken(leader: _Leader, match_index: Index) -> None:
    """While a reading is under way the follower turns out to be further on: what was read is not what it needs."""
    further = match_index + leader.chance.randint(1, 2)
    stale = leader.wanted.pop()
    leader.answer("n3", further, further)
    entries = leader.entries[stale.low - 1 : stale.high - 1]
    leader.step(EntriesRead("n3", stale.low, tuple(entries)))
    _check_sent(leader)


def _check_sent(leader: _Leader) -> None:
    """Whatever is sent is this log, from right behind the index that it names."""
    for request in leader.sent:
        for number, entry in enumerate(request.entries, request.prev_index + 1):
            if entry != leader.entries[number - 1]:
                raise SafetyViolation(f"{entry!r} is sent as entry {number} (B2)")


def what_may_leave_memory(seed: int) -> None:
    """Data stays in memory until it is on this node's disk, whoever else has it, and until it was handed out (B2)."""
    chance = Random(seed)  # noqa: S311  as above
    leader = _Leader(chance, chance.randint(2, 6))
    leader.answer("n3", leader.last, leader.last)
    leader.is_disk_slow = seed % 2 == 0
    leader.step(Proposed(tuple(b"later" for _ in range(chance.randint(1, 5)))))
    state = leader.core.state
    last = state.log.last_index
    if leader.is_disk_slow:
        leader.answer("n2", last, last)
        leader.answer("n3", last, last)
        if state.commit != last or state.persisted == last:
            raise SafetyViolation(f"{state.commit} is committed and {state.persisted} on disk, all others have {last}")
    leader.step(Unloaded(0, 10_000))
    bound = min(state.persisted, state.handed_out)
    if state.log.disk_index > bound:
        raise SafetyViolation(f"entries up to {state.log.disk_index} have left memory, {bound} could (B2)")


def bounded_window(seed: int) -> None:
    """A follower that does not answer is sent no more than its window holds, in messages and in bytes (F24)."""
    chance = Random(seed)  # noqa: S311  as above
    most, most_bytes, each = chance.randint(2, 5), chance.randint(40, 200), chance.randint(5, 20)
    config = CoreConfig(
        pre_vote=False,
        guard_lost_disk=False,
        check_quorum=False,
        inflight_messages_max=most,
        inflight_bytes_max=most_bytes,
        append_bytes_max=chance.choice((each, 4 * each)),
    )
    leader = _Leader(chance, 3, config)
    leader.answer("n3", leader.last, leader.last)
    leader.sent.clear()
    for _ in range(40):
        leader.step(Proposed((b"x" * each,)))
    unanswered = [request for request in leader.sent if request.entries]
    size = sum(len(entry.data) for request in unanswered for entry in request.entries)
    if not unanswered:
        raise SafetyViolation("a follower with an open window is sent nothing")
    if len(unanswered) > most or size >= most_bytes + each:
        raise SafetyViolation(
            f"{len(unanswered)} messages with {size} bytes are unanswered, {most} with {most_bytes} may be (F24)"
        )
