"""Code that does its worst: each becomes a failed test with a reason, and the next test runs as if nothing had been."""

import os
import sys
import textwrap
from pathlib import Path

import pytest

from raftline.lab.loader import OURS
from raftline.lab.result import TestResult
from raftline.lab.supervisor import run_jobs
from raftline.lab.warden import PROCESSES_MAX, descendants
from raftline.lab.worker import Job

_HURRIED = """
from raftline.lab import run, watchdog, worker
from raftline.lab.loader import OURS
run_job = worker.run_job

def run_hurriedly(job, *more):
    is_ours = job.implementation == OURS
    run._STUCK_S = worker._LOADING_S_MAX = 30.0 if is_ours else 1.0
    watchdog._DEAF_S_MAX = 60.0 if is_ours else 3.0
    return run_job(job, *more)

worker.run_job = run_hurriedly
worker.main()
"""
"""A worker that loses patience with what it is given earlier than usual, and not with ours."""

_PATIENT = """
from raftline.lab import run, worker
run._STUCK_S = worker._LOADING_S_MAX = 60.0
worker.main()
"""
"""A worker that others are to end before it does so itself, however slow they are."""

_HEAD = """
import asyncio, ctypes, gc, itertools, os, random, re, signal, subprocess, sys, threading, time
from raftline.lab import ApplyMsg
from raftline.lab import make as ours

class Mine:
    def __init__(self, peers, me, persister, apply):
        self.peers, self.me, self.persister, self.apply = peers, me, persister, apply
        self.task = asyncio.get_running_loop().create_task(self.begin())
    async def begin(self):
        await asyncio.sleep(0.05)
        if self.me == 0:
            outcome = self.work()
            if outcome is not None:
                await outcome
    def work(self): pass
    def start(self, command): return -1, 0, False
    def get_state(self): return 0, False
    def snapshot(self, index, data): pass
    async def handle(self, method, args): return b""
    def kill(self): self.task.cancel()
"""


def _implementation(folder: Path, body: str) -> str:
    path = folder / "hostile.py"
    path.write_text(_HEAD + textwrap.dedent(body))
    return f"{path}:make"


def _run(folder: Path, body: str, title: str = "initial election", *, worker: str = _PATIENT) -> TestResult:
    """Run a test with an implementation, and afterwards, if its worker lives, another with ours."""
    mine = Job(title=title, seed=1, virtual=True, implementation=_implementation(folder, body))
    ours = Job(title="initial election", seed=1, virtual=True, implementation=OURS)
    others = descendants(os.getpid())  # of earlier tests: multiprocessing keeps a helper as long as the program runs
    first, second = run_jobs([mine, ours], command=(sys.executable, "-c", worker))
    assert second.failure is None
    assert set(descendants(os.getpid())) <= set(others)
    return first


def _work(*lines: str, head: str = "def work(self):") -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"class make(Mine):\n    {head}\n{body}"


SEEN = {
    "exception": (_work("raise KeyError('what')"), "KeyError: 'what' at "),
    "endless loop": (_work("while True: pass"), "one step of the program took more than 1 s"),
    "endless loop that catches everything": (
        _work("while True:", "    try:", "        while True: pass", "    except BaseException: pass"),
        "one step of the program took more than 1 s",
    ),
    "endless import": ("while True: pass", "one step of the program took more than"),
    "a huge regular expression": (_work("re.match('(a+)+$', 'a' * 40 + 'b')"), "in work"),
    "a huge power": (_work("10 ** 10 ** 9"), "in work"),
    "C code that no signal reaches": (_work("sum(itertools.repeat(0))"), "no signal reached the program"),
    "blocked signals": (
        _work("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])", "while True: pass"),
        "no signal reached the program",
    ),
    "an endless loop in a thread": (
        """
        def spin():
            while True: pass
        def make(*everything):
            threading.Thread(target=spin, name='spinner', daemon=True).start()
            return ours(*everything)
        """,
        "threads still run after kill(): spinner",
    ),
    "threads without end": (
        _work(
            "for _ in range(200): threading.Thread(target=time.sleep, args=(20,), daemon=True).start()",
            "return asyncio.sleep(5)",
        ),
        " threads; servers need none",
    ),
    "memory": (_work("hoard = []", "while True: hoard.append(bytes(10_000_000))"), "MemoryError"),
    "calls without end": (
        _work(
            "while True:",
            "    self.kept = [asyncio.ensure_future(self.peers[1].call('m', b'x')) for _ in range(50)]",
            "    await asyncio.sleep(0.001)",
            head="async def work(self):",
        ),
        "calls within one second",
    ),
    "recursion": (_work("self.work()"), "RecursionError"),
    "os._exit": (_work("os._exit(3)"), "the process that ran the test ended with exit code 3"),
    "SIGKILL of itself": (_work("os.kill(os.getpid(), signal.SIGKILL)"), "ended by signal SIGKILL"),
    "SIGKILL of its parent": (_work("os.kill(os.getppid(), signal.SIGKILL)", "time.sleep(5)"), "by signal SIGKILL"),
    "SIGKILL of its group": (_work("os.killpg(0, signal.SIGKILL)"), "ended by signal SIGKILL"),
    "a crash of the interpreter": (_work("ctypes.string_at(0)"), "ended by signal SIGSEGV"),
    "closed descriptors": (_work("os.closerange(3, 100)", "raise KeyError"), "the code closed file descriptors"),
    "gigabytes of print": (
        _work("block = 'x' * 1_000_000", "for _ in range(5000): print(block)"),
        "the code printed more than 64 MiB within 10 s",
    ),
    "a replaced function": (
        "def make(*a):\n    asyncio.sleep = asyncio.sleep.__call__\n    return ours(*a)",
        "the code replaced asyncio.sleep",
    ),
    "a replaced clock": (_work("time.monotonic = lambda: 0.0"), "the code replaced time.monotonic"),
    "a handler that is a generator": (
        _work("return self.peers[1].call('m', b'')") + "    def handle(self, method, args):\n        yield b''",
        "handle() must be `async def`, it returned generator",
    ),
    "a reply of the wrong type": (
        _work("return self.peers[1].call('m', b'')") + "    async def handle(self, method, args): return 'text'",
        "must return bytes, it returned str",
    ),
    "a state of the wrong type": (
        "class make(Mine):\n    def get_state(self): return [0, False]",
        "get_state() must return (int, bool)",
    ),
    "a saved state of the wrong type": (
        _work("self.persister.save({'term': 1}, b'')"),
        "save wants bytes for raft_state, not dict",
    ),
    "a command index of the wrong type": (
        _work("return self.apply.put(ApplyMsg(command_valid=True, command_index='1'))"),
        "command_index, command_term, command must be int, int, bytes",
    ),
    "a snapshot of the wrong type": (
        _work("return self.apply.put(ApplyMsg(snapshot_valid=True, snapshot=None, snapshot_index=1))"),
        "snapshot_index, snapshot_term, snapshot must be int, int, bytes",
    ),
    "a leader that stops the loop": (_work("asyncio.get_running_loop().stop()"), "stopped the loop"),
    "somebody else's tasks cancelled": (
        _work("[task.cancel() for task in asyncio.all_tasks() if task is not self.task]"),
        "cancelled a task of the tester",
    ),
}


@pytest.mark.parametrize("name", sorted(SEEN))
def test_it_is_a_failed_test_with_a_reason(name: str, tmp_path: Path) -> None:
    """Whatever the code does, its test fails and says why, and our core passes the next one (F19, H5)."""
    body, seen = SEEN[name]
    never_returns = seen.startswith(("one step", "no signal", "in work"))
    failure = _run(tmp_path, body, worker=_HURRIED if never_returns else _PATIENT).failure
    assert failure is not None
    assert seen in " | ".join([failure.seen, *failure.also])


def test_a_put_that_nobody_awaits_is_named(tmp_path: Path) -> None:
    """Deliveries that were only called stay away, and the reason is given (H4)."""
    body = """
    class Unawaited:
        def __init__(self, apply): self.apply = apply
        async def put(self, message): self.apply.put(message)
    def make(peers, me, persister, apply): return ours(peers, me, persister, Unawaited(apply))
    """
    failure = _run(tmp_path, body, "basic agreement").failure
    assert failure is not None
    assert any("apply.put() was called and its result not awaited" in hint for hint in failure.also)


_BOMB = """
def bomb():
    for _ in range(50):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.write(pids, b"%d\\n" % os.getpid())
            time.sleep(120)
            os._exit(0)
    time.sleep(120)
"""
"""Fifty processes, no more, that no group holds together; each ends by itself after two minutes."""


def test_processes_without_end_are_ended(tmp_path: Path) -> None:
    """Too many processes fail the test, and all are gone before the next one, sessions of their own included."""
    file = tmp_path / "pids"
    head = f"pids = os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)"
    failure = _run(tmp_path, head + _BOMB + _work("bomb()")).failure
    assert failure is not None
    assert f"{PROCESSES_MAX} are too many already" in failure.seen
    begun = set(map(int, file.read_text().split()))
    assert begun
    assert not begun & set(descendants(1))


def test_processes_left_behind_are_ended(tmp_path: Path) -> None:
    """A few that outlive their worker are ended with it; `_run` looks for them (H5)."""
    body = _work("subprocess.Popen(['sleep', '20'], start_new_session=True)", "os._exit(0)")
    failure = _run(tmp_path, body).failure
    assert failure is not None
    assert "with exit code 0" in failure.seen


def test_another_directory_does_not_move_the_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths mean the same in every job, wherever the code went (H5)."""
    monkeypatch.chdir(tmp_path)
    mine = _implementation(tmp_path, _work("os.chdir('/')"))
    jobs = [
        Job(title="initial election", seed=seed, virtual=True, implementation=mine, traces="traces") for seed in (1, 2)
    ]
    failures = [result.failure for result in run_jobs(jobs)]
    assert [failure and failure.trace for failure in failures] == [
        f"traces/2A-initial-election-seed{seed}.txt" for seed in (1, 2)
    ]
    assert len(list((tmp_path / "traces").iterdir())) == 2
