"""`lab_raft.py` with one mistake at a time: the wrong lines that implementers really write, to see what the lab says.

    raftline lab --implementation examples/lab_raft_broken.py:two_votes

Each mistake is a rule, and pairs of lines: as they are, and as they were. `python examples/lab_raft_broken.py` lists
them. `HARMLESS` are mistakes that other lines of this very server make up for, so that no test can see them.
"""

import sys
import types
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).with_name("lab_raft.py")

MISTAKES: dict[str, tuple[str, ...]] = {
    "no_vote_for_myself": ("A1", "self.me, {self.me}\n", "self.me, set()\n"),
    "same_term_again": ("A1", "CANDIDATE, self.term + 1,", "CANDIDATE, max(self.term, 1),"),
    "timer_restarted_by_any_vote_request": (
        "A2",
        "        mine = (self.term_at",
        ("        self.restart_election_timer()\n        mine = (self.term_at"),
    ),
    "timer_restarted_by_old_leader": (
        "A3",
        ("        if term < self.term:\n            return self.term, False, 0, 0\n"),
        (
            "        self.restart_election_timer()\n"
            "        if term < self.term:\n"
            "            return self.term, False, 0, 0\n"
        ),
    ),
    "candidate_gives_up": (
        "A5",
        "elif loop.time() >= self.deadline:",
        "elif self.role == FOLLOWER and loop.time() >= self.deadline:",
    ),
    "equal_timeouts": ("A6", "random.uniform(*ELECTION_S)", "ELECTION_S[0]"),
    "timeouts_too_short": ("A7", "ELECTION_S = (0.4, 0.8)", "ELECTION_S = (0.08, 0.12)"),
    "vote_request_does_not_raise_my_term": ("A8", ("        self.see_term(term)\n        mine"), "        mine"),
    "leader_ignores_term_in_replies": (
        "A9",
        ("        reply_term, success, conflict_term, conflict_index = reply\n        self.see_term(reply_term)\n"),
        "        reply_term, success, conflict_term, conflict_index = reply\n",
    ),
    "leader_never_steps_down": (
        "A9",
        ("        if term > self.term:\n            if self.role == LEADER:\n"),
        ("        if term > self.term and self.role != LEADER:\n            if self.role == LEADER:\n"),
    ),
    "leader_adopts_term_and_stays": (
        "A9",
        "self.role, self.term, self.voted_for = FOLLOWER, term, None",
        ("self.role, self.term, self.voted_for = self.role if self.role == LEADER else FOLLOWER, term, None"),
    ),
    "two_votes": ("A11", "term == self.term and self.voted_for in {None, candidate} and", "term == self.term and"),
    "vote_not_recorded": ("A11", "            self.voted_for = candidate\n", ""),
    "vote_forgotten_on_heartbeat": (
        "A12",
        "        self.role = FOLLOWER  # A20\n",
        "        self.role, self.voted_for = FOLLOWER, None\n",
    ),
    "longer_log_wins": ("A13", "(last_term, last_index) >= mine", "last_index >= self.last_index()"),
    "later_term_is_enough": ("A13", "(last_term, last_index) >= mine", "last_term >= mine[0]"),
    "equal_log_refused": ("A13", "(last_term, last_index) >= mine", "(last_term, last_index) > mine"),
    "any_log_will_do": ("A13", " and (last_term, last_index) >= mine", ""),
    "half_is_a_majority": (
        "A16",
        "if 2 * len(self.votes) > len(self.peers):",
        "if 2 * len(self.votes) >= len(self.peers) - 1:",
    ),
    "lost_reply_is_a_vote": (
        "A16",
        ('        reply = await self.call(peer, "vote", term, *args)\n        if reply is None:\n            return\n'),
        '        reply = await self.call(peer, "vote", term, *args) or (0, True)\n',
    ),
    "vote_for_old_terms": (
        "A14",
        ("granted = term == self.term and self.voted_for in {None, candidate} and (last_term, last_index) >= mine"),
        "granted = self.voted_for in {None, candidate} and (last_term, last_index) >= mine",
        "        return self.term, granted\n",
        "        return term, granted\n",
    ),
    "late_votes_count": (
        "A17",
        "if granted and self.role == CANDIDATE and self.term == term:",
        "if granted and self.role == CANDIDATE:",
    ),
    "no_announcement": (
        "A19",
        ("dict.fromkeys(self.others, 0)\n        self.broadcast()\n"),
        "dict.fromkeys(self.others, 0)\n",
        "next_heartbeat = 0.0  # whoever",
        "next_heartbeat = loop.time() + 3 * HEARTBEAT_S  # whoever",
    ),
    "candidate_ignores_leader_of_its_term": (
        "A20",
        (
            "        if term < self.term:\n"
            "            return self.term, False, 0, 0\n"
            "        self.role = FOLLOWER  # A20\n"
        ),
        ("        if term < self.term or self.role == CANDIDATE:\n            return self.term, False, 0, 0\n"),
    ),
    "deposed_leader_sends_on": (
        "A21",
        ("            if self.role == LEADER:\n                if loop"),
        ("            if self.next_index:\n                if loop"),
        ("        if self.role == LEADER and not self.killed:\n            for peer"),
        ("        if self.next_index and not self.killed:\n            for peer"),
    ),
    "heartbeat_loop_per_office": (
        "A25",
        ("dict.fromkeys(self.others, 0)\n        self.broadcast()\n"),
        ("dict.fromkeys(self.others, 0)\n        self.broadcast()\n        self.spawn(self.timer_loop())\n"),
    ),
    "no_heartbeats": ("A22", "if loop.time() >= next_heartbeat:", "if False:"),
    "leader_does_not_count_itself": (
        "B1",
        "sorted([*self.match_index.values(), self.last_index()]",
        "sorted([*self.match_index.values(), 0]",
    ),
    "prev_term_not_checked": ("B2", "if prev >= self.base and self.term_at(prev) != prev_term:", "if False:"),
    "heartbeats_not_checked": (
        "B3",
        "        if prev > self.last_index():\n",
        (
            "        if not entries:\n"
            "            self.commit_to(min(commit, self.last_index()))\n"
            "            return self.term, True, 0, 0\n"
            "        if prev > self.last_index():\n"
        ),
    ),
    "gap_accepted": (
        "B4",
        ("        if prev > self.last_index():\n            return self.term, False, 0, self.last_index() + 1\n"),
        ("        if prev > self.last_index():\n            return self.term, True, 0, 0\n"),
    ),
    "commit_after_refusal": (
        "B5",
        "            return self.term, False, conflict, prev\n",
        (
            "            self.commit_to(min(commit, self.last_index()))\n"
            "            return self.term, False, conflict, prev\n"
        ),
    ),
    "always_truncates": (
        "B6",
        "            if index <= self.last_index() and self.term_at(index) != entry_term:\n",
        "            if index <= self.last_index() and index == max(prev, self.base) + 1:\n",
    ),
    "overwrites_in_place": (
        "B7",
        "                del self.log[index - self.base :]  # only at a real conflict (B6, B7)\n",
        "                self.log[index - self.base] = (entry_term, command)\n",
    ),
    "appends_twice": (
        "B8",
        ("            if index > self.last_index():\n                self.log.append"),
        ("            if True:\n                self.log.append"),
    ),
    "commits_what_it_receives": (
        "B10",
        "self.commit_to(min(commit, prev + len(entries)))",
        "self.commit_to(prev + len(entries))",
    ),
    "commits_old_terms": (
        "B11",
        "if majority_has > self.commit and self.term_at(majority_has) == self.term:",
        "if majority_has > self.commit:",
    ),
    "waits_for_everybody": ("B13", "stored[len(self.peers) // 2]", "stored[-1]"),
    "empty_heartbeats_repair_nothing": (
        "B15",
        "        elif prev > self.match_index[peer] and prev < self.next_index[peer]:  # E4\n",
        "        elif False:\n",
    ),
    "match_is_next_minus_one": (
        "B19",
        "self.match_index = dict.fromkeys(self.others, 0)",
        "self.match_index = dict.fromkeys(self.others, self.last_index())",
    ),
    "acceptance_proves_whole_log": (
        "B20",
        "self.on_accepted(peer, prev + len(entries))",
        "self.on_accepted(peer, self.last_index())",
    ),
    "one_step_back": ("B22", "min(prev, last + 1 if last else conflict_index)", "prev"),
    "commits_without_majority": ("B28", "stored[len(self.peers) // 2]", "stored[0]"),
    "sends_whole_log": ("B29", "        prev = self.next_index[peer] - 1\n", "        prev = self.base\n"),
    "one_broadcast_per_command": (
        "B29",
        "        if not self.broadcast_scheduled:  # all",
        "        for _ in range(2):  # all",
    ),
    "first_index_is_zero": (
        "B30",
        "        return self.last_index(), self.term, True",
        "        return self.last_index() - 1, self.term, True",
    ),
    "commit_goes_back": (
        "B32",
        ("        if index > self.commit:\n            self.commit = index\n            self.news.set()"),
        ("        self.commit = index\n        self.applied = min(self.applied, index)\n        self.news.set()"),
    ),
    "saves_a_moment_later": (
        "C2",
        "        self.persister.save(msgspec.msgpack.encode(state), self.snapshot_data)",
        (
            "        asyncio.get_running_loop().call_later(\n"
            "            0.01, self.persister.save, msgspec.msgpack.encode(state), self.snapshot_data\n"
            "        )"
        ),
    ),
    "vote_not_saved": ("C3", "            self.persist()  # C3\n", ""),
    "vote_not_loaded": (
        "C3",
        "self.term, self.voted_for, self.base, log = msgspec",
        "self.term, _, self.base, log = msgspec",
    ),
    "term_not_loaded": ("C4", "self.term, self.voted_for, self.base, log = msgspec", "_, _, self.base, log = msgspec"),
    "followers_do_not_save": ("C5", ("        if entries:\n            self.persist()  # C5\n"), ""),
    "start_does_not_save": ("C6", "        self.persist()  # C6\n", ""),
    "term_in_messages_not_saved": (
        "C6",
        ("FOLLOWER, term, None\n            self.persist()\n"),
        "FOLLOWER, term, None\n",
    ),
    "nothing_loaded": ("C8", "        self.restore()\n", ""),
    "snapshot_not_saved_again": (
        "C10",
        "        self.persister.save(msgspec.msgpack.encode(state), self.snapshot_data)",
        '        self.persister.save(msgspec.msgpack.encode(state), b"")',
    ),
    "applied_starts_at_zero": (
        "C12",
        "        self.commit = self.applied = self.base\n",
        "        self.commit = self.applied = 0\n",
    ),
    "drops_one_too_many": (
        "D1",
        ('[(self.term_at(index), b""), *self.entries_from(index + 1)]\n            self.base'),
        ('[(self.term_at(index), b""), *self.entries_from(index + 2)]\n            self.base'),
    ),
    "snapshots_ignored": ("D1", "        if self.base < index <= self.applied:\n", "        if False:\n"),
    "offset_forgotten": ("D4", "        return self.log[index - self.base :]", "        return self.log[index:]"),
    "base_term_lost": (
        "D5",
        ('[(self.term_at(index), b""), *self.entries_from(index + 1)]\n            self.base'),
        ('[(0, b""), *self.entries_from(index + 1)]\n            self.base'),
    ),
    "no_snapshot_for_laggards": (
        "D6",
        (
            "            self.spawn(self.install(peer, self.term, self.base, self.term_at(self.base),"
            " self.snapshot_data))  # D6\n"
        ),
        "",
    ),
    "old_snapshots_installed": (
        "D9",
        ("            if index > self.commit:\n                keeps"),
        ("            if index >= self.base:\n                keeps"),
    ),
    "snapshot_not_delivered": (
        "D11",
        ("                self.news.set()\n        return (self.term,)"),
        (
            "                self.pending_snapshot = None\n"
            "                self.applied = index\n"
            "        return (self.term,)"
        ),
    ),
    "negative_index": ("D14", "                continue  # in my snapshot already (D14)\n", "                pass\n"),
    "match_from_present_base": (
        "D15",
        "                self.on_accepted(peer, index)  # D15",
        "                self.on_accepted(peer, self.last_index())",
    ),
    "replies_of_old_terms_count": (
        "E1",
        ("        if self.role != LEADER or self.term != term:\n            return\n        if success"),
        ("        if self.role != LEADER:\n            return\n        if success"),
    ),
    "lost_reply_is_a_refusal": (
        "E5",
        (
            "self.next_index[peer] = max(self.match_index[peer] + 1, min(self.next_index[peer], prev + 1))\n"
            "            return"
        ),
        ("self.next_index[peer] = self.base + 1\n            return"),
    ),
    "old_leaders_entries_taken": (
        "E6",
        ("        if term < self.term:\n            return self.term, False, 0, 0\n"),
        "",
    ),
    "dead_servers_answer": ("E8", ('        if self.killed:\n            return b""\n'), ""),
    "one_rpc_after_the_other": (
        "E9",
        ("            for peer in self.others:\n                self.send_entries(peer)\n"),
        (
            "            self.spawn(self.one_after_the_other())\n"
            "\n"
            "    async def one_after_the_other(self):\n"
            "        for peer in self.others:\n"
            "            before = set(self.tasks)\n"
            "            if self.role == LEADER:\n"
            "                self.send_entries(peer)\n"
            "            await asyncio.wait((self.tasks - before) or {asyncio.current_task()}, timeout=8)\n"
        ),
    ),
    "two_appliers": (
        "F8",
        "        self.spawn(self.apply_loop())\n",
        ("        self.spawn(self.apply_loop())\n        self.spawn(self.apply_loop())\n"),
    ),
    "applier_not_woken": (
        "F10",
        ("            self.commit = index\n            self.news.set()\n"),
        ("            self.commit = index\n            if not self.tasks:\n                self.news.set()\n"),
    ),
    "kill_does_nothing": (
        "F22",
        (
            "        self.killed = True\n"
            "        for task in self.tasks:\n"
            "            if task is not asyncio.current_task():\n"
            "                task.cancel()\n"
        ),
        "        return\n",
    ),
    "log_shared_by_all": (
        "H9",
        '        self.log: list[Entry] = [(0, b"")]\n',
        "        self.log: list[Entry] = Raft.shared_log\n",
        "    # --- the interface",
        ('    shared_log: list[Entry] = [(0, b"")]\n\n    # --- the interface'),
    ),
    "heartbeats_all_the_time": ("J1", "HEARTBEAT_S = 0.12", "HEARTBEAT_S = 0.02"),
    "no_op_in_the_log": (
        "L47",
        "        self.role = LEADER\n",
        ('        self.role = LEADER\n        self.log.append((self.term, b""))\n'),
    ),
    "exception_in_handler": (
        "E2",
        ("        self.see_term(term)\n        if term < self.term:\n            return self.term, False, 0, 0\n"),
        ("        self.see_term(term)\n        if entries:\n            entries[7]\n"),
    ),
    "exception_in_task": (
        "E2",
        "        reply_term, success, conflict_term, conflict_index = reply\n",
        "        reply_term, success, conflict_term = reply\n",
    ),
    "endless_loop": (
        "F19",
        ("        if index > self.commit:\n            self.commit = index\n"),
        ("        if index > self.commit:\n            while self.commit < index:\n                pass\n"),
    ),
    "spins_without_waiting": ("F19", "            await asyncio.sleep(0.02)\n", "            await asyncio.sleep(0)\n"),
    "replies_with_text": (
        "H2",
        "        return msgspec.msgpack.encode(getattr(self",
        "        return repr(getattr(self",
    ),
    "start_returns_a_list": (
        "H2",
        "        return self.last_index(), self.term, True",
        "        return [self.last_index(), self.term, True]",
    ),
    "calls_without_end": (
        "B25",
        ("            self.send_entries(peer)\n\n    def last_index_of"),
        ("            self.send_entries(peer)\n        self.send_entries(peer)\n\n    def last_index_of"),
    ),
    "blocks_the_loop": (
        "F19",
        ("            await asyncio.sleep(0.02)\n            if self.role"),
        ("            import time; time.sleep(0.5)\n            if self.role"),
    ),
    "eats_memory": (
        "F19",
        ("        if index > self.commit:\n            self.commit = index\n"),
        ("        hoard = []\n        while index > self.commit:\n            hoard.append(bytes(1000000))\n"),
    ),
    "ends_the_program": (
        "H5",
        ("            self.commit = index\n            self.news.set()\n"),
        ("            self.commit = index\n            import sys; sys.exit(3)\n"),
    ),
}
"""name → (rule, line as it is, line as it was, ...); `raftline lab --implementation THIS_FILE:name` runs one."""

HARMLESS: dict[str, tuple[str, ...]] = {
    "commits_past_the_message": (
        "B9",
        "self.commit_to(min(commit, prev + len(entries)))",
        "self.commit_to(min(commit, self.last_index()))",
    ),
    "sends_once": (
        "B14",
        ("prev + 1))\n            return\n        reply_term, success"),
        ("self.next_index[peer]))\n            return\n        reply_term, success"),
    ),
    "too_short_says_nothing": (
        "B23",
        "return self.term, False, 0, self.last_index() + 1",
        "return self.term, False, 0, 0",
    ),
    "suffix_thrown_away": (
        "D10",
        "keeps = index <= self.last_index() and self.term_at(index) == index_term",
        "keeps = False",
    ),
    "suffix_always_kept": (
        "D10",
        "keeps = index <= self.last_index() and self.term_at(index) == index_term",
        "keeps = index <= self.last_index()",
    ),
    "match_goes_back": (
        "E3",
        (
            "        self.match_index[peer] = max(self.match_index[peer], index)\n"
            "        self.next_index[peer] = max(self.next_index[peer], self.match_index[peer] + 1)\n"
        ),
        ("        self.match_index[peer] = index\n        self.next_index[peer] = index + 1\n"),
    ),
    "late_refusals_count": (
        "E4",
        ("        elif prev > self.match_index[peer] and prev < self.next_index[peer]:  # E4\n            last"),
        ("        else:\n            self.match_index[peer] = 0\n            last"),
    ),
}
"""As above."""


def broken(name: str) -> types.ModuleType:
    """Return the module with one mistake; raise ValueError if the line it changes is not there exactly once."""
    rule, *lines = {**MISTAKES, **HARMLESS}[name]
    source = _SOURCE.read_text(encoding="utf-8")
    for right, wrong in zip(lines[::2], lines[1::2], strict=True):
        if source.count(right) != 1:
            raise ValueError(
                f"{name} ({rule}) changes a line that stands {source.count(right)} times, not once: {right!r}"
            )
        source = source.replace(right, wrong)
    module = types.ModuleType(f"lab_raft_{name}")
    exec(compile(source, str(_SOURCE), "exec"), module.__dict__)  # noqa: S102  our own file, changed by us
    return module


def __getattr__(name: str) -> Any:
    if name in MISTAKES or name in HARMLESS:
        return broken(name).__dict__["make"]
    raise AttributeError(name)


if __name__ == "__main__":
    for name, (rule, *_) in MISTAKES.items():
        sys.stdout.write(f"{rule:4} {name}\n")
