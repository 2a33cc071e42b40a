"""Our own core with one wrong line at a time, under the lab's tests: which of the simulator's mutants they notice.

A mutant runs in worker processes in which the simulator's import hook compiles the patched source. It is tried test by
test, seed by seed, until a test fails. Those that no test of this kind can see are listed here, each with its reason.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

import msgspec

from raftline.lab.catalogue import TESTS
from raftline.lab.loader import OURS
from raftline.lab.result import TestResult
from raftline.lab.supervisor import WORKER, run_jobs
from raftline.lab.worker import Job
from raftline.sim.mutants.catalogue import select
from raftline.sim.mutants.mutant import Mutant
from raftline.sim.mutants.runner import process_command

__all__ = ["UNSEEN", "LabVerdict", "in_scope", "run_mutants"]

_PATCHED = "raftline.core."
"""What the lab runs of the production code."""


_RULES_OUT = ("G", "K", "A30")

UNSEEN = {
    "vote_in_an_old_term": "the vote carries the later term, so that the candidate steps down before it counts it",
    "candidate_fights_the_leader_of_its_term": "it obeys, its timer restarts, and no further vote of its term can"
    " reach it: the winner has a majority; only the name of its role is wrong",
    "leader_is_never_forgotten": "the interface does not say who leads, only whether oneself does",
    "leader_is_not_recorded": "the interface does not say who leads, only whether oneself does",
    "expiry_is_not_checked_again": "the face that the lab tests looks at the clock itself before it wakes the core",
    "leader_counts_what_is_not_on_its_disk": "a server here saves before it sends, so that nobody can have"
    " acknowledged what it has not saved",
    "commit_to_the_end_of_the_log": "its leader never starts below the place where the logs part, so that the first"
    " entry of a message cuts the wrong tail before the commit index is looked at",
    "commit_index_follows_any_message": "what was delivered is counted separately and only rises, and the next message"
    " makes up for it",
    "lost_disk_is_trusted": "no disk is lost here: a persister that is empty belongs to a new server",
    "acknowledgements_of_a_lost_disk_count": "no disk is lost here: a persister that is empty belongs to a new server",
    "useless_snapshot_is_taken_over": "the face that the lab tests ignores an old `snapshot()` before the core sees it",
    "chunks_are_stored_as_they_come": "a snapshot travels in one piece here",
    "snapshot_leaves_the_timer": "a leader that sends a snapshot goes on sending heartbeats, which restart the timer",
    "log_is_always_cleared": "harm needs a snapshot for a server whose log goes beyond it, uncommitted; no leader sends"
    " one here to a server that may hold its entries",
    "acceptance_waits_for_the_state_machine": "a server here counts a snapshot as applied as soon as it is queued",
    "who_restores_runs_like_anybody": "a server here counts a snapshot as applied as soon as it is queued",
    "who_restores_takes_over": "the labs ask nobody to hand the leadership over",
    "finished_write_of_a_cut_tail_counts": "a save is finished before anything else happens",
    "answers_of_a_former_self_count": "the labs lose no disks and remove nobody",
    "snapshots_of_a_former_self_count": "the labs lose no disks and remove nobody",
    "a_newcomer_answers_old_numbers": "the labs remove nobody",
    "a_lost_disk_answers_old_numbers": "no disk is lost here: a persister that is empty belongs to a new server",
    "last_reply_wins": "the commit index only rises, and the next acceptance makes up for it",
    "log_is_shared_with_messages": "messages are bytes here, and share nothing",
    "window_without_a_bound": "a window of messages is never full here",
    "reads_on_a_lease": "the interface has no reads",
    "reads_outlive_the_leadership": "the interface has no reads",
    "log_behind_a_snapshot_under_way_goes": "the service of the labs decides by its own snapshots what of the log goes",
    "leader_of_another_history_is_followed": "the labs lose no disks, so that there is one history only",
    "candidate_of_another_history_is_heard": "the labs lose no disks, so that there is one history only",
    "history_is_not_on_disk": "the labs lose no disks, so that there is one history only",
    "history_is_never_adopted": "the labs lose no disks, so that there is one history only",
    "what_was_read_is_not_compared": "a server of the labs holds all of its log in memory and reads nothing back",
    "term_of_what_was_read_is_not_compared": "a server of the labs holds all of its log in memory and"
    " reads nothing back",
    "late_reading_is_sent": "a server of the labs holds all of its log in memory and reads nothing back",
    "reads_the_disk_again_and_again": "a server of the labs holds all of its log in memory and reads nothing back",
    "nothing_is_read_for_who_lags": "a server of the labs holds all of its log in memory and reads nothing back",
    "entries_leave_memory_before_they_are_on_disk": "a server of the labs holds all of its log in memory and"
    " reads nothing back",
    "entries_leave_memory_before_they_are_applied": "a server of the labs holds all of its log in memory and"
    " reads nothing back",
    "window_counts_no_bytes": "the labs send too little at a time to fill a window",
    "window_never_closes": "the labs send too little at a time to fill a window",
    "chunks_of_two_snapshots_are_mixed": "a snapshot of the labs is one chunk (D7)",
    "chunks_go_on_by_the_leaders_count": "a snapshot of the labs is one chunk (D7)",
}
"""Mutants that no test at this interface can notice: name → why."""


class LabVerdict(msgspec.Struct, kw_only=True):
    """What became of a mutant."""

    mutant: str
    rules: tuple[str, ...]
    runs: int = 0
    """Tests run, the one that failed included."""
    failed: TestResult | None = None
    """The run that noticed, None if none did."""


def in_scope(words: Sequence[str] = ()) -> list[Mutant]:
    """Return the mutants of the core meant by names, rules or sections; raise `ConfigError` for a word without any.

    Those that are about reads (G) or what the labs do not ask for (K: membership, leases, transfers; A30: groups that
    sleep) are left out.
    """
    return [
        mutant
        for mutant in select(words)
        if not mutant.rules[0].startswith(_RULES_OUT) and any(name.startswith(_PATCHED) for name in mutant.modules())
    ]


def run_mutants(mutants: Sequence[Mutant], seeds: range, workers: int = 1) -> Iterator[LabVerdict]:
    """Run each mutant until a test fails, `workers` side by side; yield what became of it, in the order they end.

    Raises `PatchMoved` for one whose code is no longer there: a process that cannot begin looks like a failed test.
    """
    for mutant in mutants:
        for module in mutant.modules():
            spec = find_spec(module)
            assert spec is not None, "mutants patch what exists"
            assert spec.origin is not None, "in a file"
            mutant.apply(module, Path(spec.origin).read_text(encoding="utf-8"))
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_run_one, mutant, seeds) for mutant in mutants]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_one(mutant: Mutant, seeds: range) -> LabVerdict:
    verdict = LabVerdict(mutant=mutant.name, rules=mutant.rules)
    jobs = [Job(title=test.title, seed=seed, virtual=True, implementation=OURS) for seed in seeds for test in TESTS]
    results = run_jobs(jobs, command=process_command(mutant.name, WORKER))
    for result in results:
        verdict.runs += 1
        if not result.passed:
            verdict.failed = result
            break
    return verdict
