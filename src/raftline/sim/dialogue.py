"""Dialogues: a text of commands (`propose n1 x`, `deliver n1->n2`) and the trace that they leave, line by line.

`run_dialogue` carries the commands of a text out on a `CoreCluster` and returns the text with the trace as it is now:
one file holds both, and somebody who reads no Python can review it. Lines that begin with `#` are the story, with `>`
commands; everything else is trace: time, node, role and term, vote, commit index, the log by terms, what happened, and
behind the arrow what was sent. Nothing happens that no command asked for. All invariants are checked on the way.
"""

import re
from collections.abc import Callable
from itertools import groupby
from typing import Any

import msgspec

from raftline.core.changes import AddLearner, MembershipChange, Move, Promote, Remove, Replace, SetPriority
from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.events import ChangeRequested, ReadRequested, TransferRequested
from raftline.core.ids import NodeId
from raftline.core.membership import Membership
from raftline.core.state import Role
from raftline.errors import ConfigError
from raftline.sim.core_cluster import CoreCluster, CoreNode, InFlight
from raftline.sim.words import describe_log, describe_message

__all__ = ["COMMANDS", "DialogueError", "run_dialogue"]

_PLAIN = {"pre_vote": False, "check_quorum": False, "guard_lost_disk": False, "noop": False}
_ROLES = {
    Role.FOLLOWER: "follower",
    Role.PRE_CANDIDATE: "pre-cand.",
    Role.CANDIDATE: "candidate",
    Role.LEADER: "LEADER",
}


class DialogueError(ConfigError):
    """A command that cannot be read or carried out; names the line."""


class _Timeouts:
    """Timeouts that a reader can predict: the first node draws the shortest, the others follow in equal steps."""

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    def random(self) -> float:
        """Return the node's place in `[0, 1)`."""
        return self._fraction


class _Dialogue:
    """One run: commands in, trace out."""

    def __init__(self) -> None:
        self._cluster: CoreCluster | None = None
        self._disks: dict[NodeId, dict[str, str]] = {}
        self._trace: list[str] = []
        self._sent: list[InFlight] = []
        self._seen: dict[NodeId, tuple[int, int]] = {}
        self._reads = 0
        self._requests = 0
        self._told: dict[NodeId, int] = {}

    @property
    def cluster(self) -> CoreCluster:
        """Return the cluster, once `start` has made it."""
        if self._cluster is None:
            raise DialogueError("nothing runs yet: begin with 'start 3'")
        return self._cluster

    def carry_out(self, line: str) -> list[str]:
        """Carry out one command; return its trace."""
        name, *arguments = line.split()
        command = COMMANDS.get(name)
        if command is None:
            raise DialogueError(f"unknown command {name!r}; there are {', '.join(sorted(COMMANDS))}")
        self._trace = []
        command(self, arguments)
        return self._trace

    # Reading commands.

    def _node(self, name: str) -> CoreNode:
        node = self.cluster.nodes.get(name)
        if node is None:
            raise DialogueError(f"no node {name!r}; there are {', '.join(self.cluster.nodes)}")
        return node

    def _running(self, name: str) -> CoreNode:
        node = self._node(name)
        if node.raft is None:
            raise DialogueError(f"{name} is down")
        return node

    def _on_link(self, link: str) -> list[InFlight]:
        """Return the messages under way on `n1->n2`, where `*` stands for anybody, oldest first."""
        source, arrow, target = link.partition("->")
        if not arrow:
            raise DialogueError(f"{link!r} is no link: write n1->n2, n1->*, *->n2 or *->*")
        return [
            flight for flight in self.cluster.pool if source in ("*", flight.source) and target in ("*", flight.target)
        ]

    def _chosen(self, arguments: list[str]) -> list[InFlight]:
        """Return the messages that `LINK [NUMBER]` names; NUMBER counts from 1, without it all of the link."""
        flights = self._on_link(arguments[0])
        if len(arguments) > 1:
            number = int(arguments[1])
            flights = flights[number - 1 : number]
        if not flights:
            raise DialogueError(f"nothing is under way on {' '.join(arguments)}")
        return flights

    # Commands.

    def start(self, arguments: list[str]) -> None:
        """`start SIZE [+SPARES] [plain] [SETTING=VALUE ...]`: make a cluster; plain is Figure 2 and nothing else.

        Spares are nodes that wait to be added.
        """
        settings: dict[str, Any] = dict(_PLAIN) if "plain" in arguments else {}
        for argument in arguments[1:]:
            name, equals, value = argument.partition("=")
            if equals:
                settings[name] = {"on": True, "off": False}.get(value, float(value) if "." in value else value)
        config = msgspec.convert({"snapshot_chunk_bytes": 64} | settings, CoreConfig, strict=False)
        size = int(arguments[0])
        spares = sum(int(argument) for argument in arguments[1:] if argument.startswith("+"))
        total = size + spares
        cluster = CoreCluster(
            size, spares=spares, config=config, random_of=lambda node: _Timeouts((int(node.name[1:]) - 1) / total)
        )
        self._cluster = cluster
        pool_message = cluster.on_sent

        def on_sent(flight: InFlight) -> None:
            pool_message(flight)
            self._sent.append(flight)

        cluster.on_sent = on_sent  # type: ignore[method-assign]
        for name, parts in self._disks.items():
            self._fill(self._node(name), parts)
        cluster.start()
        for node in cluster.up():
            self._seen[node.name] = (len(node.applied), 0)

    def disk(self, arguments: list[str]) -> None:
        """`disk NODE [terms=1,1,4] [term=T] [vote=NODE] [snapshot=INDEX.TERM]`, before `start`: what it begins with."""
        self._disks[arguments[0]] = dict(argument.split("=") for argument in arguments[1:])

    def _fill(self, node: CoreNode, parts: dict[str, str]) -> None:
        index, term = (int(number) for number in parts.get("snapshot", "0.0").split("."))
        terms = [int(number) for number in parts.get("terms", "").split(",") if number]
        node.disk.entries = [Entry(index + n, each, b"%d" % (index + n)) for n, each in enumerate(terms, 1)]
        node.disk.hard_state = HardState(int(parts.get("term", max([*terms, term]))), parts.get("vote"))
        record = self.cluster.record.committed
        record += [Entry(n, term, b"%d" % n) for n in range(len(record) + 1, index + 1)]
        if index:
            applied = [(n, b"%d" % n) for n in range(1, index + 1)]
            node.disk.store(SnapshotMeta(index, term, self.cluster.membership), node.snapshot_file(applied))

    def timeout(self, arguments: list[str]) -> None:
        """`timeout NODE`: move the clock to this node's deadline; nobody else's timer fires."""
        node = self._running(arguments[0])
        self.cluster.now = max(self.cluster.now, node.core.next_deadline)
        node.fire()
        self._line(node, "timer")

    def wait(self, arguments: list[str]) -> None:
        """`wait 400ms`: let time pass; timers fire on the way, nothing is delivered."""
        cluster = self.cluster
        end = cluster.now + _seconds(arguments[0])
        while (due := cluster.next_deadline()) <= end:
            cluster.now = max(cluster.now, due)
            for node in cluster.up():
                if node.core.next_deadline <= cluster.now:
                    node.fire()
                    self._line(node, "timer")
        cluster.now = end

    def run_for(self, arguments: list[str]) -> None:
        """`run 900ms`: let time pass, deliver and write everything at once; only how things stand then is shown."""
        self.cluster.run(_seconds(arguments[0]))
        self._sent.clear()
        self.state([])

    def propose(self, arguments: list[str]) -> None:
        """`propose NODE COMMAND ...`: hand clients' commands in, together."""
        node = self._running(arguments[0])
        index = node.propose(*[command.encode() for command in arguments[1:]])
        self._line(node, f"propose {' '.join(arguments[1:])}{'' if index else ' (refused)'}")

    def change(self, arguments: list[str]) -> None:
        """`change NODE add n4 [learner]`: ask for another membership.

        Or `promote n4`, `remove n4`, `move n4 ADDRESS`, `priority n4 5`, `replace n1 n4`.
        """
        node = self._running(arguments[0])
        self._requests += 1
        node.step(ChangeRequested(self._requests, _change(arguments[1:])))
        self._line(node, f"change {self._requests}: {' '.join(arguments[1:])}")

    def transfer(self, arguments: list[str]) -> None:
        """`transfer NODE [TO]`: ask the leader to hand over."""
        node = self._running(arguments[0])
        self._requests += 1
        node.step(TransferRequested(self._requests, arguments[1] if len(arguments) > 1 else None))
        self._line(node, f"change {self._requests}: transfer {' '.join(arguments[1:])}".rstrip())

    def read(self, arguments: list[str]) -> None:
        """`read NODE [lease]`: somebody wants to read there."""
        node = self._running(arguments[0])
        self._reads += 1
        node.ask(self._reads, ReadRequested(self._reads, lease="lease" in arguments))
        self._line(node, f"read {self._reads}{' on the lease' if 'lease' in arguments else ''}")

    def deliver(self, arguments: list[str]) -> None:
        """`deliver LINK [NUMBER]`, or `deliver all`: everything, and what comes of it, until nothing is under way."""
        if arguments == ["all"]:
            while self.cluster.pool:
                self._deliver(self.cluster.pool[0])
            return
        for flight in self._chosen(arguments):
            self._deliver(flight)

    def repeat(self, arguments: list[str]) -> None:
        """`repeat LINK [NUMBER]`: deliver, and keep a copy under way."""
        for flight in self._chosen(arguments):
            self._deliver(flight, keep=True)

    def drop(self, arguments: list[str]) -> None:
        """`drop LINK [NUMBER]`: lose messages."""
        for flight in self._chosen(arguments):
            self.cluster.pool.remove(flight)
            self._note(flight.target, f"lost {flight.source}: {self._text(flight)}")

    def cut(self, arguments: list[str]) -> None:
        """`cut LINK ...`: lose from now on whatever is sent there."""
        names = list(self.cluster.nodes)
        for link in arguments:
            source, _, target = link.partition("->")
            self.cluster.cut |= {
                (one, other) for one in names for other in names if source in ("*", one) and target in ("*", other)
            }

    def heal(self, _arguments: list[str]) -> None:
        """`heal`: mend every link."""
        self.cluster.cut.clear()

    def hold(self, arguments: list[str]) -> None:
        """`hold NODE`: let what happens to it share one turn, until `release`."""
        self._running(arguments[0]).held = True

    def release(self, arguments: list[str]) -> None:
        """`release NODE`: end the turn."""
        node = self._running(arguments[0])
        node.held = False
        node.work()
        self._line(node, "turn")

    def slow(self, arguments: list[str]) -> None:
        """`slow NODE`: its disk writes only on `persist`."""
        self._node(arguments[0]).slow_disk = True

    def persist(self, arguments: list[str]) -> None:
        """`persist NODE [COUNT]`: finish writes, all that wait if no count is given."""
        node = self._running(arguments[0])
        node.persist(int(arguments[1]) if len(arguments) > 1 else len(node.to_persist))
        self._line(node, "on disk")

    def snapshot(self, arguments: list[str]) -> None:
        """`snapshot NODE [KEEP]`: snapshot what is applied there, compact all but KEEP entries."""
        node = self._running(arguments[0])
        node.take_snapshot(int(arguments[1]) if len(arguments) > 1 else 0)
        self._line(node, "snapshot")

    def chunk(self, arguments: list[str]) -> None:
        """`chunk NODE`: let its snapshot thread read or store one chunk."""
        node = self._running(arguments[0])
        if not node.jobs:
            raise DialogueError(f"{node.name} has no chunk to read or to store")
        job = node.jobs[0]
        what = f"read chunk for {job.to}" if hasattr(job, "to") else f"store chunk at {job.request.offset}"
        node.work_on_snapshot()
        self._line(node, what)

    def crash(self, arguments: list[str]) -> None:
        """`crash NODE`: what waits for its disk is lost."""
        self._running(arguments[0]).crash()
        self._note(arguments[0], "crash")

    def wipe(self, arguments: list[str]) -> None:
        """`wipe NODE`: crash it, and lose its disk."""
        node = self._node(arguments[0])
        if node.raft is not None:
            node.crash()
        node.disk = type(node.disk)()
        self._note(node.name, "crash, disk lost")

    def restart(self, arguments: list[str]) -> None:
        """`restart NODE`: start again from its disk."""
        node = self._node(arguments[0])
        node.start()
        self._told.pop(node.name, None)
        self._seen[node.name] = (len(node.applied), 0)
        self._line(node, "restart")

    def state(self, arguments: list[str]) -> None:
        """`state [NODE ...]`: show how things stand."""
        for name in arguments or self.cluster.nodes:
            node = self._node(name)
            if node.raft is None:
                self._note(name, "down")
            else:
                self._line(node, "")

    def messages(self, _arguments: list[str]) -> None:
        """`messages`: show what is under way, oldest first."""
        for flight in self.cluster.pool:
            self._trace.append(f"         {flight.source}->{flight.target}  {self._text(flight)}")

    def progress(self, arguments: list[str]) -> None:
        """`progress NODE`: show how a leader sends to each follower."""
        for name, peer in self._running(arguments[0]).state.progress.items():
            more = (
                f", snapshot {peer.snapshot_index} from {peer.snapshot_offset}" if peer.mode.name == "SNAPSHOT" else ""
            )
            self._trace.append(
                f"         {name}  {peer.mode.name.lower()}, match {peer.match_index}, next {peer.next_index}{more}"
            )

    def members(self, arguments: list[str]) -> None:
        """`members NODE`: show the membership in force there; of the addresses, those that are not NODE:1."""
        membership: Membership = self._running(arguments[0]).state.membership
        outgoing = f" and {' '.join(membership.outgoing)}" if membership.outgoing else ""
        more = "".join(
            f", {name} {' '.join(getattr(membership, name))}"
            for name in ("learners", "promoting", "wanted")
            if getattr(membership, name)
        )
        more += "".join(f", {name} at {address}" for name, address in membership.addresses if address != f"{name}:1")
        more += "".join(f", {name} has priority {priority}" for name, priority in membership.priorities)
        self._trace.append(f"         {arguments[0]}  voters {' '.join(membership.voters)}{outgoing}{more}")

    # Writing the trace.

    def _deliver(self, flight: InFlight, *, keep: bool = False) -> None:
        text = f"{flight.source}: {self._text(flight)}"
        if self.cluster.deliver(flight, keep=keep):
            self._line(self._node(flight.target), text)
        else:
            self._note(flight.target, f"down, lost {text}")

    def _text(self, flight: InFlight) -> str:
        return describe_message(flight.message)

    def _note(self, name: NodeId, what: str) -> None:
        self._trace.append(f"{self.cluster.now:7.3f}  {name}  -- {what}")

    def _line(self, node: CoreNode, what: str) -> None:
        """Add the line of a transition: how things stand now, and what brought that about."""
        state = node.state
        role = f"{_ROLES[state.role]:<9} t{state.term}"
        vote = f"voted {state.vote}" if state.vote else ""
        log = f"[{describe_log(state.log)}]"
        news = "; ".join([part for part in (what, *self._news(node)) if part])
        text = f"{self.cluster.now:7.3f}  {node.name}  {role:<13} {vote:<9} commit {state.commit:<3} {log:<24} {news}"
        self._trace.append(text.rstrip())

    def _news(self, node: CoreNode) -> list[str]:
        """Return what a transition brought about: entries applied, reads answered, writes that wait, messages."""
        parts: list[str] = []
        applied, answered = self._seen[node.name]
        if len(node.applied) > applied:
            parts.append(f"applied {node.applied[applied][0]}..{node.applied[-1][0]}")
        outcomes = list(node.outcomes.items())
        parts += [
            f"read {read_id} failed" if index is None else f"read {read_id} once {index} is applied"
            for read_id, index in outcomes[answered:]
        ]
        self._seen[node.name] = (len(node.applied), len(outcomes))
        answers = list(node.answers.values())
        parts += [
            f"change {answer.request_id} {answer.verdict.value}{': ' if answer.reason else ''}{answer.reason}"
            for answer in answers[self._told.get(node.name, 0) :]
        ]
        self._told[node.name] = len(answers)
        if not node.state.established:
            parts.append("not trusted")
        if node.held:
            parts.append("held")
        if node.slow_disk and node.to_persist:
            parts.append(f"{len(node.to_persist)} to write")
        sent, self._sent = self._sent, []
        for text, flights in groupby(sent, key=self._text):
            targets = ",".join(flight.target for flight in flights)
            parts.append(f"→ {targets} {text}")
        return parts


def _change(words: list[str]) -> MembershipChange:
    """Read a change; a node's address is NODE:1 unless it moves."""
    kind, node, *rest = words
    if kind == "add":
        return AddLearner(node, f"{node}:1", promote="learner" not in rest)
    if kind == "move":
        return Move(node, rest[0])
    if kind == "priority":
        return SetPriority(node, int(rest[0]))
    if kind == "replace":
        return Replace.by({name: f"{name}:1" for name in words[1:]})
    if kind not in ("promote", "remove"):
        raise DialogueError(f"no change {kind!r}; there are add, promote, remove, move, priority, replace")
    return Promote(node) if kind == "promote" else Remove(node)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)ms", text)
    if match is None:
        raise DialogueError(f"{text!r} is no time: write 400ms")
    return int(match[1]) / 1000


COMMANDS: dict[str, Callable[[_Dialogue, list[str]], None]] = {"run": _Dialogue.run_for} | {
    name: getattr(_Dialogue, name)
    for name in (
        *(
            "start",
            "disk",
            "timeout",
            "wait",
            "propose",
            "change",
            "transfer",
            "read",
            "deliver",
            "repeat",
            "drop",
            "cut",
            "heal",
        ),
        *("hold", "release", "slow", "persist", "snapshot", "chunk", "crash", "wipe", "restart"),
        *("state", "messages", "progress", "members"),
    )
}
"""What a dialogue can say; each one's docstring says how."""


def run_dialogue(text: str) -> str:
    """Return `text` with the trace that its commands leave now.

    Raises `DialogueError` for a command that cannot be carried out, `SafetyViolation` if a promise of Raft is broken.
    """
    dialogue = _Dialogue()
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith(">"):
            if line.startswith("#") or not line.strip():
                lines.append(line)
            continue
        lines.append(line)
        try:
            lines += dialogue.carry_out(line[1:].strip())
        except (DialogueError, ValueError, IndexError, msgspec.ValidationError) as error:
            raise DialogueError(f"line {number}, {line!r}: {error}") from error
    return "\n".join(lines) + "\n"
