"""A worker turns jobs into results, and writes down what a failure looked like."""

import gc
from pathlib import Path
from typing import Any

from raftline.lab.loader import OURS
from raftline.lab.worker import Job, run_job

_IDLE = """
class make:
    def __init__(self, *_): pass
    def start(self, command): return -1, 0, False
    def get_state(self): return 0, False
    def snapshot(self, index, data): pass
    async def handle(self, method, args): return b""
    def kill(self): pass
"""


def test_a_job_gives_a_result(tmp_path: Path) -> None:
    """A test that passes comes back with its numbers and leaves no file."""
    job = Job(title="basic agreement", seed=3, virtual=True, implementation=OURS, traces=str(tmp_path / "traces"))
    result = run_job(job, {})
    assert (result.passed, result.part, result.title, result.seed) == (True, "2B", "basic agreement", 3)
    assert result.numbers is not None
    assert result.numbers.commits == 3
    assert not (tmp_path / "traces").exists()


def test_a_failure_leaves_its_trace(tmp_path: Path) -> None:
    """The file's head says what was broken, its lines what happened."""
    (tmp_path / "idle.py").write_text(_IDLE)
    job = Job(
        title="initial election",
        seed=3,
        virtual=True,
        implementation=str(tmp_path / "idle.py"),
        traces=str(tmp_path / "traces"),
    )
    result = run_job(job, {})
    assert result.failure is not None
    path = tmp_path / "traces" / "2A-initial-election-seed3.txt"
    assert result.failure.trace == str(path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# Test (2A): initial election, seed 3, of {tmp_path / 'idle.py'}\n# promise: a leader")
    assert "server 2 is connected" in text


def test_nothing_is_kept_of_what_a_failed_test_held(tmp_path: Path) -> None:
    """Code that filled the memory left it full, in cycles, for the tests of others that the worker runs next."""
    lines = "    def __init__(self, *_):\n        self.hoard = [self, bytes(100_000_000)]\n        held.add(self)\n"
    program = f"import weakref\nheld = weakref.WeakSet()\n{_IDLE}".replace("    def __init__(self, *_): pass\n", lines)
    (tmp_path / "hoard.py").write_text(program)
    makes: dict[str, Any] = {}
    job = Job(title="initial election", seed=3, virtual=True, implementation=str(tmp_path / "hoard.py"))
    gc.disable()
    try:
        assert run_job(job, makes).failure is not None
        assert not makes[job.implementation].__init__.__globals__["held"]
    finally:
        gc.enable()


def test_an_implementation_that_does_not_load_fails_every_test(tmp_path: Path) -> None:
    """The reason is the same each time, and nothing is run (H1)."""
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    makes: dict[str, object] = {}
    for title in ("initial election", "churn"):
        job = Job(title=title, seed=0, virtual=True, implementation=str(tmp_path / "wrong.py"))
        result = run_job(job, makes)  # type: ignore[arg-type]
        assert result.failure is not None
        assert "ZeroDivisionError" in result.failure.seen
    assert len(makes) == 1
