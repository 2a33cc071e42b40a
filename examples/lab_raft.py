"""A complete small Raft for the labs, to read, to start from, or to compare with: figure 2 of the paper, and snapshots.

    raftline lab --implementation examples/lab_raft.py

One asyncio loop runs everything, so code between two `await`s is one step that nobody interrupts, and there are no
locks. Comments name the rules of docs/rules.md that a line keeps.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from raftline.lab import ApplyMsg, ClientEnd, Persister

HEARTBEAT_S = 0.12
ELECTION_S = (0.4, 0.8)
FOLLOWER, CANDIDATE, LEADER = "follower", "candidate", "leader"

Entry = tuple[int, bytes]  # term, command


def make(peers: Sequence[ClientEnd], me: int, persister: Persister, apply: Any) -> "Raft":
    """Start server `me`; what the lab asks for."""
    return Raft(peers, me, persister, apply)


class Raft:
    """One server. The log is a list of (term, command); entry 0 stands for everything up to `self.base`."""

    def __init__(self, peers: Sequence[ClientEnd], me: int, persister: Persister, apply: Any) -> None:
        self.peers, self.me, self.persister, self.apply = peers, me, persister, apply
        self.others = [peer for peer in range(len(peers)) if peer != me]
        # persistent
        self.term = 0
        self.voted_for: int | None = None
        self.base, self.snapshot_data = 0, b""
        self.log: list[Entry] = [(0, b"")]
        self.restore()
        # volatile: what is in the snapshot is committed and applied, nothing else is known to be (C12)
        self.commit = self.applied = self.base
        self.role = FOLLOWER
        self.votes: set[int] = set()
        self.next_index: dict[int, int] = {}
        self.match_index: dict[int, int] = {}
        self.pending_snapshot: ApplyMsg | None = None
        self.killed, self.broadcast_scheduled = False, False
        self.tasks: set[asyncio.Task[None]] = set()
        self.news = asyncio.Event()  # wakes the applier
        self.restart_election_timer()
        self.spawn(self.timer_loop())
        self.spawn(self.apply_loop())

    # --- the interface ---------------------------------------------------------------------------------------------

    def start(self, command: bytes) -> tuple[int, int, bool]:
        """Append a command if this server leads (B1)."""
        if self.role != LEADER or self.killed:
            return -1, self.term, False
        self.log.append((self.term, command))
        self.persist()  # C6
        if not self.broadcast_scheduled:  # all commands of one turn of the loop go out together (B29)
            self.broadcast_scheduled = True
            asyncio.get_running_loop().call_soon(self.broadcast)
        return self.last_index(), self.term, True

    def get_state(self) -> tuple[int, bool]:
        """Return (term, leads)."""
        return self.term, self.role == LEADER

    def snapshot(self, index: int, data: bytes) -> None:
        """Drop the log up to `index` (D1)."""
        if self.base < index <= self.applied:
            self.log = [(self.term_at(index), b""), *self.entries_from(index + 1)]
            self.base, self.snapshot_data = index, data
            self.persist()

    def kill(self) -> None:
        """Stop for good (F22)."""
        self.killed = True
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def handle(self, method: str, args: bytes) -> bytes:
        """Answer a peer; the handlers do not wait, so each is one step (F7)."""
        if self.killed:
            return b""
        request = msgspec.msgpack.decode(args)
        return msgspec.msgpack.encode(getattr(self, f"on_{method}")(*request))

    # --- log and storage -------------------------------------------------------------------------------------------

    def last_index(self) -> int:
        """Return the index of the last entry."""
        return self.base + len(self.log) - 1

    def term_at(self, index: int) -> int:
        """Return the term of an entry that is held; the base has one, too (D5)."""
        return self.log[index - self.base][0]

    def entries_from(self, index: int) -> list[Entry]:
        """Return a copy of everything from `index` on (F17)."""
        return self.log[index - self.base :]

    def persist(self) -> None:
        """Save what must survive; called before anything that depends on it is sent (C2)."""
        state = (self.term, self.voted_for, self.base, self.log)
        self.persister.save(msgspec.msgpack.encode(state), self.snapshot_data)

    def restore(self) -> None:
        """Load what was saved, if anything (C8)."""
        state = self.persister.read_raft_state()
        if state:
            self.term, self.voted_for, self.base, log = msgspec.msgpack.decode(state)
            self.log = [tuple(entry) for entry in log]
            self.snapshot_data = self.persister.read_snapshot()

    # --- elections -------------------------------------------------------------------------------------------------

    def restart_election_timer(self) -> None:
        """Draw a new timeout; called for exactly three events (A2, A6)."""
        self.deadline = asyncio.get_running_loop().time() + random.uniform(*ELECTION_S)  # noqa: S311  timeouts are no secrets

    async def timer_loop(self) -> None:
        """Start elections, and send heartbeats while leading."""
        loop = asyncio.get_running_loop()
        next_heartbeat = 0.0
        while not self.killed:
            await asyncio.sleep(0.02)
            if self.role == LEADER:
                if loop.time() >= next_heartbeat:
                    next_heartbeat = loop.time() + HEARTBEAT_S
                    self.broadcast()
            elif loop.time() >= self.deadline:
                self.start_election()
                next_heartbeat = 0.0  # whoever wins announces it at once (A19)

    def start_election(self) -> None:
        """All of A1 in one step; the arguments are fixed here (E11)."""
        self.role, self.term, self.voted_for, self.votes = CANDIDATE, self.term + 1, self.me, {self.me}
        self.restart_election_timer()
        self.persist()
        args = (self.term, self.me, self.last_index(), self.term_at(self.last_index()))
        for peer in self.others:
            self.spawn(self.ask_for_vote(peer, *args))

    async def ask_for_vote(self, peer: int, term: int, *args: int) -> None:
        """Ask one peer, and count its vote if this is still the same election (A17)."""
        reply = await self.call(peer, "vote", term, *args)
        if reply is None:
            return
        reply_term, granted = reply
        self.see_term(reply_term)
        if granted and self.role == CANDIDATE and self.term == term:
            self.votes.add(peer)
            if 2 * len(self.votes) > len(self.peers):  # of all servers (A16)
                self.become_leader()

    def on_vote(self, term: int, candidate: int, last_index: int, last_term: int) -> tuple[int, bool]:
        """RequestVote: one vote per term (A11), only for a log at least as good as mine (A13)."""
        self.see_term(term)
        mine = (self.term_at(self.last_index()), self.last_index())
        granted = term == self.term and self.voted_for in {None, candidate} and (last_term, last_index) >= mine
        if granted:
            self.voted_for = candidate
            self.persist()  # C3
            self.restart_election_timer()  # A4
        return self.term, granted

    def become_leader(self) -> None:
        """Take office once (A18), knowing nothing of the others (B19)."""
        self.role = LEADER
        self.next_index = {peer: self.last_index() + 1 for peer in self.others}
        self.match_index = dict.fromkeys(self.others, 0)
        self.broadcast()

    def see_term(self, term: int) -> None:
        """A higher term, from whomever and in whatever, ends this one (A8, A9)."""
        if term > self.term:
            if self.role == LEADER:
                self.restart_election_timer()
            self.role, self.term, self.voted_for = FOLLOWER, term, None
            self.persist()

    # --- replication -----------------------------------------------------------------------------------------------

    def broadcast(self) -> None:
        """Send everybody what it lacks; with nothing new that is a heartbeat."""
        self.broadcast_scheduled = False
        if self.role == LEADER and not self.killed:
            for peer in self.others:
                self.send_entries(peer)

    def send_entries(self, peer: int) -> None:
        """Build the message in the same step that knows that I lead (F18); every RPC is its own task (E9)."""
        if self.next_index[peer] <= self.base:
            self.spawn(self.install(peer, self.term, self.base, self.term_at(self.base), self.snapshot_data))  # D6
            return
        prev = self.next_index[peer] - 1
        entries = self.entries_from(prev + 1)
        self.next_index[peer] += len(entries)  # a guess: the next message goes on from here (B29)
        self.spawn(self.append(peer, self.term, prev, self.term_at(prev), entries, self.commit))

    async def append(self, peer: int, term: int, prev: int, prev_term: int, entries: list[Entry], commit: int) -> None:
        """Send AppendEntries and learn from the reply, if it is still of this term (E1)."""
        reply = await self.call(peer, "append", term, self.me, prev, prev_term, entries, commit)
        if reply is None:
            if self.role == LEADER and self.term == term:  # lost: guess lower, without losing what is known (E5)
                self.next_index[peer] = max(self.match_index[peer] + 1, min(self.next_index[peer], prev + 1))
            return
        reply_term, success, conflict_term, conflict_index = reply
        self.see_term(reply_term)
        if self.role != LEADER or self.term != term:
            return
        if success:
            self.on_accepted(peer, prev + len(entries))  # B20
        elif prev > self.match_index[peer] and prev < self.next_index[peer]:  # E4
            last = self.last_index_of(conflict_term) if conflict_term else None  # B24
            self.next_index[peer] = max(self.match_index[peer] + 1, min(prev, last + 1 if last else conflict_index))
            self.send_entries(peer)

    def last_index_of(self, term: int) -> int | None:
        """Return my last index of `term`, None if I have none."""
        found = [index for index in range(self.base, self.last_index() + 1) if self.term_at(index) == term]
        return found[-1] if found else None

    def on_accepted(self, peer: int, index: int) -> None:
        """Remember what a follower has (E3), and commit what a majority has, if it is of my term (B11)."""
        self.match_index[peer] = max(self.match_index[peer], index)
        self.next_index[peer] = max(self.next_index[peer], self.match_index[peer] + 1)
        stored = sorted([*self.match_index.values(), self.last_index()], reverse=True)
        majority_has = stored[len(self.peers) // 2]
        if majority_has > self.commit and self.term_at(majority_has) == self.term:
            self.commit_to(majority_has)

    def on_append(
        self, term: int, _leader: int, prev: int, prev_term: int, entries: list[Entry], commit: int
    ) -> tuple[int, bool, int, int]:
        """AppendEntries, heartbeats included (B3); returns term, success, conflict term and index (B23)."""
        self.see_term(term)
        if term < self.term:
            return self.term, False, 0, 0
        self.role = FOLLOWER  # A20
        self.restart_election_timer()
        if prev > self.last_index():
            return self.term, False, 0, self.last_index() + 1
        if prev >= self.base and self.term_at(prev) != prev_term:
            conflict = self.term_at(prev)
            while prev > self.base + 1 and self.term_at(prev - 1) == conflict:
                prev -= 1
            return self.term, False, conflict, prev
        for index, (entry_term, command) in enumerate(entries, start=prev + 1):
            if index <= self.base:
                continue  # in my snapshot already (D14)
            if index <= self.last_index() and self.term_at(index) != entry_term:
                del self.log[index - self.base :]  # only at a real conflict (B6, B7)
            if index > self.last_index():
                self.log.append((entry_term, command))
        if entries:
            self.persist()  # C5
        self.commit_to(min(commit, prev + len(entries)))  # B9
        return self.term, True, 0, 0

    # --- snapshots -------------------------------------------------------------------------------------------------

    async def install(self, peer: int, term: int, index: int, index_term: int, data: bytes) -> None:
        """Send the whole snapshot in one RPC."""
        reply = await self.call(peer, "install", term, self.me, index, index_term, data)
        if reply is not None:
            self.see_term(reply[0])
            if self.role == LEADER and self.term == term:
                self.on_accepted(peer, index)  # D15

    def on_install(self, term: int, _leader: int, index: int, index_term: int, data: bytes) -> tuple[int]:
        """InstallSnapshot: only forward (D9), keeping what follows it if the logs agree there (D10)."""
        self.see_term(term)
        if term == self.term:
            self.role = FOLLOWER
            self.restart_election_timer()
            if index > self.commit:
                keeps = index <= self.last_index() and self.term_at(index) == index_term
                self.log = [(index_term, b""), *(self.entries_from(index + 1) if keeps else [])]
                self.base, self.commit, self.snapshot_data = index, index, data
                self.persist()
                self.pending_snapshot = ApplyMsg(
                    snapshot_valid=True, snapshot=data, snapshot_term=index_term, snapshot_index=index
                )
                self.news.set()
        return (self.term,)

    # --- applying --------------------------------------------------------------------------------------------------

    def commit_to(self, index: int) -> None:
        """Commit, only ever forward (B32), and wake the applier (F10)."""
        if index > self.commit:
            self.commit = index
            self.news.set()

    async def apply_loop(self) -> None:
        """The one applier (F8): a snapshot that came in, then command after command; a slow consumer harms nobody."""
        while not self.killed:
            await self.news.wait()
            self.news.clear()
            while not self.killed:
                if self.pending_snapshot is not None:
                    message, self.pending_snapshot = self.pending_snapshot, None
                    self.applied = message.snapshot_index
                elif self.applied < self.commit:
                    self.applied += 1
                    term, command = self.log[self.applied - self.base]
                    message = ApplyMsg(
                        command_valid=True, command=command, command_index=self.applied, command_term=term
                    )
                else:
                    break
                await self.apply.put(message)

    # --- helpers ---------------------------------------------------------------------------------------------------

    async def call(self, peer: int, method: str, *args: Any) -> Any:
        """Call a peer; None if the request or the reply was lost."""
        reply = await self.peers[peer].call(method, msgspec.msgpack.encode(args))
        return msgspec.msgpack.decode(reply) if reply and not self.killed else None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine by itself, until it ends or this server is killed."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
