"""Whatever code under test does to its process, every job gets a result, in order."""

from pathlib import Path

import pytest

from raftline.lab import supervisor as supervisor_module
from raftline.lab.loader import OURS
from raftline.lab.supervisor import run_jobs
from raftline.lab.worker import Job


def _job(title: str, implementation: str = OURS, seed: int = 1) -> Job:
    return Job(title=title, seed=seed, virtual=True, implementation=implementation)


def _file(folder: Path, name: str, body: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(f"import os, signal, sys, threading, time\ndef make(*_):\n    {body}\n")
    return str(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    """One worker or several: the same results, in the same order."""
    jobs = [_job(title) for title in ("churn", "initial election", "basic agreement")]
    begun: list[str] = []
    results = list(run_jobs(jobs, workers, on_start=lambda job: begun.append(job.title)))
    assert [result.title for result in results] == [job.title for job in jobs]
    assert all(result.passed for result in results)
    assert begun == ([job.title for job in jobs] if workers == 1 else [])


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("os._exit(5)", "with exit code 5"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "by signal SIGKILL"),
        ("os.abort()", "by signal SIGABRT"),
    ],
)
def test_a_process_that_dies_is_a_failed_test(tmp_path: Path, body: str, seen: str) -> None:
    """Its end is the reason, and the next job runs in a new process."""
    results = list(run_jobs([_job("initial election", _file(tmp_path, "dies", body)), _job("initial election")]))
    assert results[0].failure is not None
    assert results[0].failure.seen == f"the process that ran the test ended {seen}"
    assert results[1].passed


def test_a_process_that_cannot_be_interrupted_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that blocks the signal and never returns costs the time limit, not the whole run (F19)."""
    body = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); threading.Event().wait()"
    hangs = _job("initial election", _file(tmp_path, "hangs", body))

    def limit(job: Job) -> None:
        monkeypatch.setattr(supervisor_module, "TIME_LIMIT_S", 2.0 if job is hangs else 120.0)

    results = list(run_jobs([hangs, _job("basic agreement")], on_start=limit))
    assert results[0].failure is not None
    assert results[0].failure.seen == "the test did not end within 2 s and swallowed every interruption"
    assert results[1].passed


def test_what_the_code_prints_does_not_disturb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Output of the implementation goes to standard error, results stay intact."""
    body = "print('{}' * 5); from raftline.lab import make as ours; return ours(*_)"
    [result] = run_jobs([_job("initial election", _file(tmp_path, "prints", body))])
    assert result.passed
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "{}{}{}{}{}" in captured.err
