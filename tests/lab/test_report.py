"""What people read is complete, aligned, and can be typed in again."""

import shlex

import msgspec

from raftline.lab.loader import OURS
from raftline.lab.reference import SAMPLE
from raftline.lab.report import (
    failure_lines,
    first_line,
    passed_line,
    replay_command,
    summary_lines,
    table_lines,
)
from raftline.lab.result import Failure, Numbers, TestResult

_NUMBERS = Numbers(time_s=1.04, servers=3, rpcs=16, bytes=4572, commits=3)
_PASSED = TestResult(
    part="2B", title="basic agreement", seed=1, virtual=True, passed=True, numbers=_NUMBERS, cpu_s=0.25
)
_FAILED = TestResult(
    part="2B",
    title="concurrent Start()s",
    seed=7,
    virtual=True,
    passed=False,
    failure=Failure(
        promise="promised",
        seen="seen",
        at_s=1.5,
        server=0,
        index=3,
        script="a schedule",
        rules={f"B{n}": f"rule {n}" for n in range(1, 9)},
        also=["something else"],
        trace="traces/x.txt",
    ),
)


def test_the_labs_line() -> None:
    """Title and numbers stand as in the course: seconds, peers, RPCs, bytes, commits (H12)."""
    assert first_line("2B", "basic agreement") == "Test (2B): basic agreement ..."
    assert passed_line(_NUMBERS).split() == ["...", "Passed", "--", "1.0", "3", "16", "4572", "3"]


def test_a_diagnosis_says_what_where_and_why() -> None:
    """Promise, sight, schedule, place, other exceptions, five rules, trace and command; server 0 is a place, too."""
    assert list(failure_lines(_FAILED, "the command")) == [
        "--- FAIL: concurrent Start()s (at 1.500 s of virtual time, seed 7)",
        "    promise:  promised",
        "    seen:     seen",
        "    schedule: a schedule",
        "    where:    server 0, index 3",
        "    also:     something else",
        "    look at:  B1   rule 1",
        "              B2   rule 2",
        "              B3   rule 3",
        "              B4   rule 4",
        "              B5   rule 5",
        "    trace:    traces/x.txt",
        "    again:    the command",
    ]


def test_the_command_repeats_the_test() -> None:
    """Title, seed, implementation and clock are in it, quoted for a shell."""
    command = replay_command(_FAILED, "my raft.py")
    assert shlex.split(command) == [
        *("raftline", "lab", "concurrent Start()s", "--seed", "7"),
        *("--implementation", "my raft.py"),
    ]
    real = msgspec.structs.replace(_FAILED, virtual=False)
    assert shlex.split(replay_command(real, OURS))[-1] == "--real-time"


def test_the_table_stands_beside_the_sample() -> None:
    """Medians over the runs, the sample's numbers, and the ratios, total and per second."""
    faster = msgspec.structs.replace(_PASSED, numbers=msgspec.structs.replace(_NUMBERS, rpcs=12, time_s=0.5))
    slower = msgspec.structs.replace(_PASSED, numbers=msgspec.structs.replace(_NUMBERS, rpcs=8, time_s=0.5))
    *_, row = table_lines([faster, slower, faster, _FAILED])
    sample = SAMPLE["basic agreement"]
    assert row.split()[2:] == [
        *("0.5", str(sample.time_s)),
        *("12", "16", "16", "0.75", "1.35"),
        *("4572", "4572", "1.00", "1.80", "3"),
    ]


def test_the_summary_counts_and_names_what_failed() -> None:
    """Failed titles come with their seeds."""
    lines = list(summary_lines([_PASSED, _FAILED, msgspec.structs.replace(_FAILED, seed=9)], 2.0))
    assert lines == [
        "1 of 3 passed: 2 tests, 3 seeds, 0.2 s of CPU, 2.0 s",
        "  concurrent Start()s: 2 of 2 failed, with seed 7, 9",
    ]
