"""Random walks of a cluster of bare cores: each step is one delivery, loss, write, tick, crash or request.

Finer than the whole node under simulation, and faster: one seed chooses every single delivery and write. The step
checks and all invariants hold after every step; afterwards everything heals and progress is demanded.
"""

import random
from collections import Counter
from collections.abc import Callable

import msgspec

from raftline.core.changes import AddLearner, MembershipChange, Move, Promote, Remove, Replace, SetPriority
from raftline.core.config import CoreConfig
from raftline.core.events import ChangeRequested, Proposed, ReadRequested, TransferRequested
from raftline.core.ids import NodeId
from raftline.core.invariants import check_cluster
from raftline.core.membership import Membership
from raftline.sim.core_cluster import CoreCluster, CoreNode
from raftline.sim.step_checks import StepChecks, Timeouts

__all__ = ["Walk", "Weights", "draw_config"]

_POOL_MAX = 150


class Weights(msgspec.Struct, frozen=True):
    """How often each kind of step is taken, relative to the others; drawn anew for each walk."""

    deliver: float
    reorder: float
    duplicate: float
    drop: float
    tick: float
    time_out: float
    propose: float
    read: float
    member: float
    snapshot: float
    snapshot_work: float
    persist: float
    slow_disk: float
    hold: float
    release: float
    crash: float
    restart: float
    cut: float
    heal: float
    wipe: float

    @staticmethod
    def draw(chance: random.Random, *, wipes: bool) -> "Weights":
        """Return weights in which some kinds are rare, some frequent and some missing."""

        def pick(*values: float) -> float:
            return chance.choice(values)

        return Weights(
            deliver=40,
            reorder=0.0 if wipes else pick(0, 5, 40),
            duplicate=0.0 if wipes else pick(0, 1, 5),
            drop=pick(0, 1, 10),
            tick=pick(2, 10),
            time_out=pick(0.2, 1, 3),
            propose=pick(2, 10),
            read=pick(0, 2, 5),
            member=0.0 if wipes else pick(0, 0, 0.5, 2),
            snapshot=pick(0, 0.5, 2),
            snapshot_work=pick(2, 10),
            persist=pick(5, 20),
            slow_disk=pick(0, 0.5, 2),
            hold=pick(0, 0.5, 2),
            release=pick(1, 5),
            crash=pick(0, 0.3, 1),
            restart=pick(1, 3),
            cut=pick(0, 0.5, 2),
            heal=pick(0.2, 1),
            wipe=pick(0.2, 0.6) if wipes else 0.0,
        )


def draw_config(chance: random.Random, *, wipes: bool) -> CoreConfig:
    """Return settings under which small walks reach every limit."""
    pre_vote = wipes or chance.random() < 0.7
    return CoreConfig(
        pre_vote=pre_vote,
        guard_lost_disk=wipes or (pre_vote and chance.random() < 0.5),
        check_quorum=wipes or chance.random() < 0.7,
        noop=wipes or chance.random() < 0.8,
        commit_notice_s=chance.choice((float("inf"), 0.0, 0.01)),
        append_bytes_max=chance.choice((40, 1 << 20)),
        append_entries_max=chance.choice((1, 3, 1000)),
        probe_bytes_max=chance.choice((1, 60, 1 << 16)),
        inflight_messages_max=chance.choice((1, 2, 16)),
        inflight_bytes_max=chance.choice((30, 1 << 20)),
        committed_max=chance.choice((1, 3, 4096)),
        snapshot_chunk_bytes=chance.choice((16, 64, 1 << 20)),
        snapshot_retry_s=chance.choice((0.1, 1.0)),
    )


class Walk:
    """One seed's cluster and what happens to it."""

    def __init__(self, seed: int, *, wipes: bool = False, weights: Weights | None = None) -> None:
        self.chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        size = self.chance.choice((1, 2, 3, 3, 3, 5)) if not wipes else self.chance.choice((3, 5))
        self.weights = weights or Weights.draw(self.chance, wipes=wipes)
        config = draw_config(self.chance, wipes=wipes)
        # From a source of its own, so that walks without changes are what they were before there were any.
        self._member_chance = random.Random(f"{seed}/members")  # noqa: S311  reproducible on purpose
        spares = 0
        if self.weights.member:
            spares = self._member_chance.choice((0, 1, 3))
            leases = config.pre_vote and config.check_quorum and self._member_chance.random() < 0.5
            handover_s = self._member_chance.choice((1.0, 10.0))
            config = msgspec.structs.replace(config, lease_reads=leases, priority_handover_s=handover_s)
        self.cluster = CoreCluster(size, spares=spares, config=config, seed=seed)
        timeouts = Timeouts()
        self.cluster.on_started = lambda node: StepChecks(node.core, timeouts)
        self.cluster.start()
        self.reached: Counter[str] = Counter()
        self.reads = 0
        self.requests = 0
        self.asked: list[tuple[NodeId, int, int]] = []
        """Changes and transfers: who was asked, in which of its lives, and the request's number."""
        self.commands = 0
        actions = {name: getattr(self, f"do_{name}") for name in Weights.__struct_fields__}
        self._names = list(actions)
        self._actions: dict[str, Callable[[], None]] = actions
        self._cumulative: list[float] = []
        total = 0.0
        for name in self._names:
            total += getattr(self.weights, name)
            self._cumulative.append(total)

    def run(self, steps: int) -> None:
        """Take so many steps."""
        for number in range(steps):
            name = self.chance.choices(self._names, cum_weights=self._cumulative)[0]
            self._actions[name]()
            if number % 10 == 0:
                check_cluster([node.state for node in self.cluster.up()])
            while len(self.cluster.pool) > _POOL_MAX:
                del self.cluster.pool[self.chance.randrange(len(self.cluster.pool))]

    def a_node(self) -> CoreNode | None:
        """Return some node that runs."""
        up = self.cluster.up()
        return self.chance.choice(up) if up else None

    def do_deliver(self) -> None:
        """Deliver the oldest message of some link."""
        pool = self.cluster.pool
        if pool:
            some = self.chance.choice(pool)
            flight = next(each for each in pool if (each.source, each.target) == (some.source, some.target))
            self.reached[type(flight.message).__name__] += 1
            self.cluster.deliver(flight)

    def do_reorder(self) -> None:
        """Deliver any message."""
        if self.cluster.pool:
            self.cluster.deliver(self.chance.choice(self.cluster.pool))

    def do_duplicate(self) -> None:
        """Deliver any message and keep it."""
        if self.cluster.pool:
            self.cluster.deliver(self.chance.choice(self.cluster.pool), keep=True)

    def do_drop(self) -> None:
        """Lose any message."""
        if self.cluster.pool:
            self.cluster.pool.remove(self.chance.choice(self.cluster.pool))

    def do_tick(self) -> None:
        """Let a little time pass."""
        self.cluster.advance(self.cluster.now + self.chance.random() * 0.05)

    def do_time_out(self) -> None:
        """Jump to the next deadline of anybody."""
        due = self.cluster.next_deadline()
        if due < float("inf"):
            self.cluster.advance(due)

    def do_propose(self) -> None:
        """Hand commands to somebody who takes itself for leader."""
        leaders = self.cluster.leaders()
        if leaders:
            self.commands += 1
            size = self.chance.choice((1, 10, 100))
            count = self.chance.choice((1, 1, 3))
            self.chance.choice(leaders).step(Proposed((b"%d" % self.commands + b"." * size,) * count))

    def do_read(self) -> None:
        """Ask anybody for a read."""
        node = self.a_node()
        if node is not None:
            self.reads += 1
            lease = self.cluster.config.lease_reads and self._member_chance.random() < 0.7
            node.ask(self.reads, ReadRequested(self.reads, lease=lease))

    def do_member(self) -> None:
        """Ask for a change of the membership, or for another leader; mostly somebody who leads."""
        chance = self._member_chance
        asked = self.cluster.leaders() if chance.random() < 0.9 else self.cluster.up()
        if not asked:
            return
        node = chance.choice(asked)
        self.requests += 1
        self.asked.append((node.name, node.lives, self.requests))
        if chance.random() < 0.15:
            names = [None, *self.cluster.nodes]
            node.step(TransferRequested(self.requests, chance.choice(names)))
        else:
            node.step(ChangeRequested(self.requests, self._a_change(node.state.membership)))
        answer = node.answers.get(self.requests)
        if answer is None:
            self.reached["membership"] += 1

    def _a_change(self, now: Membership) -> MembershipChange:
        """Return some change, which may make no sense; mostly one that does."""
        chance = self._member_chance
        names = list(self.cluster.nodes)
        strangers = [name for name in names if not now.is_member(name)] or names
        members = [name for name in now.everyone() if name in names] or names
        name = chance.choice(names)
        kind = chance.randrange(8)
        if kind <= 1:
            name = chance.choice(strangers)
            return AddLearner(name, f"{name}:1", promote=chance.random() < 0.7)
        if kind == 2:
            return Promote(chance.choice(list(now.learners) or names))
        if kind <= 4:
            return Remove(chance.choice(members))
        if kind == 5:
            return Move(name, f"{name}:{chance.randrange(1, 5)}")
        if kind == 6:
            return SetPriority(name, chance.randrange(3))
        voters = chance.sample(names, chance.randint(1, len(names)))
        return Replace.by({voter: now.address_of(voter) or f"{voter}:1" for voter in voters})

    def do_snapshot(self) -> None:
        """Let somebody take a snapshot."""
        node = self.a_node()
        if node is not None:
            node.take_snapshot(self.chance.choice((0, 0, 2, 10)))

    def do_snapshot_work(self) -> None:
        """Read or store a chunk."""
        busy = [node for node in self.cluster.up() if node.jobs]
        if busy:
            self.chance.choice(busy).work_on_snapshot()

    def do_persist(self) -> None:
        """Finish a write, or several."""
        busy = [node for node in self.cluster.up() if node.to_persist]
        if busy:
            self.chance.choice(busy).persist(self.chance.choice((1, 1, 100)))

    def do_slow_disk(self) -> None:
        """Make a disk slow, or fast again."""
        node = self.chance.choice(list(self.cluster.nodes.values()))
        node.slow_disk = not node.slow_disk

    def do_hold(self) -> None:
        """Let several events of somebody share one turn."""
        node = self.a_node()
        if node is not None:
            node.held = True

    def do_release(self) -> None:
        """End such turns."""
        for node in self.cluster.up():
            if node.held:
                node.held = False
                node.work()

    def do_crash(self) -> None:
        """Crash somebody; a part of what waits for the disk may have made it."""
        node = self.a_node()
        if node is not None:
            self.reached["crash"] += 1
            node.crash(written=self.chance.choice((0, 0, 1, 100)))

    def do_restart(self) -> None:
        """Start somebody who is down."""
        down = [node for node in self.cluster.nodes.values() if node.raft is None]
        if down:
            self.chance.choice(down).start()

    def do_cut(self) -> None:
        """Cut a link, one way, or somebody off from all."""
        names = list(self.cluster.nodes)
        one, other = self.chance.choice(names), self.chance.choice(names)
        if self.chance.random() < 0.5:
            self.cluster.cut.add((one, other))
        else:
            self.cluster.cut |= {(one, name) for name in names} | {(name, one) for name in names}

    def do_heal(self) -> None:
        """Mend every link."""
        self.cluster.cut.clear()

    def do_wipe(self) -> None:
        """Lose one disk, while every other voter holds something, is up and may vote."""
        nodes = list(self.cluster.nodes.values())
        node = self.chance.choice(nodes)
        others = [other for other in nodes if other is not node]
        if all(other.raft is not None and self._took_part(other) for other in others):
            self.reached["wipe"] += 1
            if node.raft is not None:
                node.crash()
            self.cluster.pool = [
                flight for flight in self.cluster.pool if node.name not in (flight.source, flight.target)
            ]
            node.disk = type(node.disk)()
            node.has_lost = True
            # Replacing a disk takes longer than any election.
            self.cluster.advance(self.cluster.now + self.cluster.config.election_timeout_s[1])
            node.start()

    @staticmethod
    def _took_part(node: CoreNode) -> bool:
        """Say whether a node's disk holds something and may be trusted."""
        return node.disk.last_index > 0 and node.disk.hard_state is not None and node.disk.hard_state.established

    def heal(self) -> None:
        """Mend everything, then demand that a new command is applied everywhere."""
        cluster = self.cluster
        cluster.cut.clear()
        for node in cluster.nodes.values():
            node.slow_disk = False
        self.do_release()
        cluster.start()
        cluster.pool.clear()
        if not cluster.run(20, lambda: self._agreed_leader() is not None):
            raise AssertionError(f"no leader: {self._describe()}")
        for _ in range(2):  # once more after a while, in which every read is answered
            if not cluster.run(20, self._all_applied):
                raise AssertionError(f"not applied everywhere: {self._describe()}")
            cluster.run(2)
        cluster.run(20, lambda: self._all_applied() and self._has_settled())
        self._check_end()

    def _members(self) -> list[CoreNode]:
        leader = self._agreed_leader()
        assert leader is not None
        return [self.cluster.nodes[name] for name in leader.state.membership.everyone()]

    def _agreed_leader(self) -> CoreNode | None:
        """Return the leader that a majority follows, if it is a member itself."""
        for node in self.cluster.leaders()[-1:]:
            if node.state.membership.is_voter(node.name):
                return node
        return None

    def _all_applied(self) -> bool:
        """Say whether a leader's every entry, the last command among them, is committed at all members; else repeat.

        A leader that is to leave has to be asked, too: without a command of its term it never learns that it may go.
        """
        leader = next(iter(self.cluster.leaders()[-1:]), None)
        if leader is None:
            return False
        log = leader.state.log
        tail = log.slice(max(log.disk_index, log.last_index - 9) + 1, log.last_index + 1)
        if all((entry.term, entry.data) != (leader.core.term, b"after all") for entry in tail):
            leader.step(Proposed((b"after all",)))
            return False
        if self._agreed_leader() is not leader:
            return False
        return all(node.state.commit >= log.last_index for node in self._members())

    def _has_settled(self) -> bool:
        """Say whether no change is under way: joint ones are finished, learners that were to vote do."""
        leader = self._agreed_leader()
        now = leader.state.membership if leader is not None else None
        return now is not None and not (now.is_joint or now.wanted or now.promoting)

    def _check_end(self) -> None:
        leader = self._agreed_leader()
        assert leader is not None
        assert self._has_settled(), f"a change is under way for ever: {leader.state.membership}\n{self._describe()}"
        for name, lives, request_id in self.asked:
            node = self.cluster.nodes[name]
            assert node.lives != lives or request_id in node.answers, f"{name} never answered request {request_id}"
        committed = [(entry.index, entry.data) for entry in self.cluster.record.committed]
        for node in self._members():
            assert node.applied == committed, f"{node.name} applied something else"
            assert not node.state.reads.confirming
        for node in self.cluster.up():
            assert not set(node.outcomes) - set(range(self.reads + 1))
            waiting = set(node.asked) - set(node.outcomes)
            assert not waiting, f"{node.name} never answered reads {waiting}"

    def _describe(self) -> str:
        lines = [f"{self.cluster.config}"]
        for node in self.cluster.nodes.values():
            state = node.state
            lines.append(
                f"{node.name} {state.role.value} t{state.term} vote {state.vote} leader {state.leader} "
                f"est {state.established} log {state.log.base_index}..{state.log.last_index}@{state.log.last_term} "
                f"snap {state.snapshot.index} commit {state.commit} voters {state.membership.voters} "
                f"out {state.membership.outgoing} storing {state.storing} "
                + " ".join(
                    f"{name}:{peer.mode.name} m{peer.match_index} n{peer.next_index} s{peer.snapshot_index}"
                    for name, peer in state.progress.items()
                )
            )
        return "\n".join(lines)
