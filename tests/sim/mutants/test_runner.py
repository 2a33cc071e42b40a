"""Mutants run in processes of their own; some of them really, each caught by the seed recorded here."""

import sys
from pathlib import Path

import pytest

from raftline.sim.mutants import runner
from raftline.sim.mutants.catalogue import find
from raftline.sim.mutants.runner import Verdict, control, run_mutants

CAUGHT = (
    ("append_clears_the_vote", 0),
    ("silence_is_consent", 0),
    ("late_vote_wins_again", 0),
    ("waits_for_everybody", 0),
    ("commit_to_the_end_of_the_log", 1),
    ("previous_index_is_off_by_one", 0),
    ("failed_node_goes_on", 0),
    ("finished_write_of_a_cut_tail_counts", 37),
    ("replay_keeps_the_old_tail", 0),
    ("leaders_search_ends_before_the_base", 0),
    ("old_majority_alone_decides", 0),
    ("version_is_used_before_all_know_it", 0),
)
"""Mutant, and a seed that catches it."""


@pytest.mark.parametrize(("name", "seed"), CAUGHT)
def test_wrong_code_is_caught(name: str, seed: int) -> None:
    """The checks notice what implementers do wrong."""
    (verdict,) = run_mutants([find(name)], range(seed, seed + 1))
    assert verdict.caught, verdict
    assert (verdict.seed, verdict.seeds, verdict.broken) == (seed, 1, None)


def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Let every process be this program instead."""
    path = tmp_path / "child.py"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(runner, "process_command", lambda *_: [sys.executable, str(path)])


def test_seeds_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Virtual time and seeds are summed up to the catch, and every seed is reported as it ends."""
    lines = ('{"seed":0,"virtual_s":2.0,"cpu_s":1.0}', '{"seed":1,"virtual_s":3.0,"cpu_s":1.0,"check":"c","error":"e"}')
    script(monkeypatch, tmp_path, "\n".join(f"print({line!r})" for line in lines))
    seen: list[int] = []
    (verdict,) = run_mutants(
        [find("vote_twice_in_a_term")], range(9), on_trial=lambda verdict: seen.append(verdict.seeds)
    )
    assert (verdict.seeds, verdict.virtual_s, verdict.cpu_s, verdict.seed) == (2, 5.0, 2.0, 1)
    assert (verdict.caught, verdict.check, verdict.error, verdict.broken) == (True, "c", "e", None)
    assert seen == [1, 2]


def test_a_process_that_dies_is_a_broken_mutant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its complaint is kept; it is no catch."""
    script(monkeypatch, tmp_path, "import sys; sys.exit('the code it patches has moved')")
    (verdict,) = run_mutants([find("vote_twice_in_a_term")], range(9))
    assert not verdict.caught
    assert verdict.broken == "the code it patches has moved"


def test_a_process_that_hangs_is_a_broken_mutant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Silence ends, too."""
    script(monkeypatch, tmp_path, "import time\nwhile True: time.sleep(1)")
    monkeypatch.setattr(runner, "_SILENCE_S_MAX", 0.2)
    (verdict,) = run_mutants([find("vote_twice_in_a_term")], range(9))
    assert not verdict.caught
    assert "hangs" in (verdict.broken or "")


def test_the_code_as_it_is_runs_on_the_same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bench is tried without a mutant on as many seeds as its slowest mutant needed."""
    work: list[tuple[str, str, range]] = []

    def run_one(verdict: Verdict, seeds: range, _on_trial: object) -> Verdict:
        work.append((verdict.mutant, verdict.bench, seeds))
        return verdict

    monkeypatch.setattr(runner, "_run_one", run_one)
    done = [
        Verdict(mutant="x", rules=("A1",), bench="one", seeds=3),
        Verdict(mutant="y", rules=("A1",), bench="one", seeds=5),
        Verdict(mutant="z", rules=("A1",), bench="two", seeds=1),
    ]
    list(control(done, range(10, 100)))
    assert work == [("none", "one", range(10, 15)), ("none", "two", range(10, 11))]
