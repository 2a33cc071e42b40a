"""What people read: the lab's line per test, the diagnosis of a failure, and our numbers beside the sample's."""

import shlex
from collections.abc import Iterator, Sequence
from statistics import median

from raftline.lab.loader import OURS
from raftline.lab.reference import SAMPLE, STRAIGHTFORWARD_RPCS
from raftline.lab.result import Failure, Numbers, TestResult

__all__ = ["failure_lines", "first_line", "passed_line", "replay_command", "summary_lines", "table_lines"]

_RULES_SHOWN_MAX = 5


def first_line(part: str, title: str) -> str:
    """Return the line that announces a test."""
    return f"Test ({part}): {title} ..."


def passed_line(numbers: Numbers) -> str:
    """Return the lab's line: seconds, peers, RPCs, bytes, commits (H12)."""
    return (
        f"  ... Passed -- {numbers.time_s:5.1f} {numbers.servers:2} {numbers.rpcs:5} {numbers.bytes:8} "
        f"{numbers.commits:4}"
    )


def failure_lines(result: TestResult, replay: str) -> Iterator[str]:
    """Return the diagnosis of a failed test, line by line."""
    failure = result.failure
    assert failure is not None, "only failures are diagnosed"
    clock = "virtual time" if result.virtual else "real time"
    yield f"--- FAIL: {result.title} (at {failure.at_s:.3f} s of {clock}, seed {result.seed})"
    yield f"    promise:  {failure.promise}"
    yield f"    seen:     {failure.seen}"
    if failure.script is not None:
        yield f"    schedule: {failure.script}"
    places = ((name, getattr(failure, name)) for name in ("server", "index", "term"))
    known = [f"{name} {value}" for name, value in places if value is not None]
    if known:
        yield f"    where:    {', '.join(known)}"
    for text in failure.also:
        yield f"    also:     {text}"
    yield from _cause_lines(failure)
    if failure.trace is not None:
        yield f"    trace:    {failure.trace}"
    yield f"    again:    {replay}"


def _cause_lines(failure: Failure) -> Iterator[str]:
    head = "look at:"
    for number, rule in list(failure.rules.items())[:_RULES_SHOWN_MAX]:
        yield f"    {head:9} {number:4} {rule}"
        head = ""


def replay_command(result: TestResult, implementation: str) -> str:
    """Return the command that runs the very same test again."""
    words = ["raftline", "lab", result.title, "--seed", str(result.seed)]
    if implementation != OURS:
        words += ["--implementation", implementation]
    if not result.virtual:
        words.append("--real-time")
    return shlex.join(words)


def table_lines(results: Sequence[TestResult]) -> Iterator[str]:
    """Return the numbers of passed runs, medians over the seeds, beside those of the course's sample run.

    `x` is ours divided by the sample's; `x/s` the same per second, for tests whose length differs.
    """
    titles = list(dict.fromkeys(result.title for result in results))
    width = max(map(len, titles), default=4)
    yield f"{'':{width}}      time s            RPCs                             bytes"
    yield (
        f"{'test':{width}}    ours sample     ours sample  plain     x   x/s      ours   sample     x   x/s  commits"
    )
    for title in titles:
        numbers = [result.numbers for result in results if result.title == title and result.numbers is not None]
        if numbers:
            yield f"{title:{width}}  {_row(title, numbers)}"


def _row(title: str, numbers: Sequence[Numbers]) -> str:
    sample = SAMPLE[title]
    time_s = median(item.time_s for item in numbers)
    rpcs = median(item.rpcs for item in numbers)
    size = median(item.bytes for item in numbers)
    commits = median(item.commits for item in numbers)
    pace = sample.time_s / time_s
    plain = STRAIGHTFORWARD_RPCS.get(title)
    return (
        f"{time_s:6.1f} {sample.time_s:6.1f}   {rpcs:6.0f} {sample.rpcs:6} {plain or '':>6} {rpcs / sample.rpcs:5.2f} "
        f"{rpcs / sample.rpcs * pace:5.2f}  {size:8.0f} {sample.bytes:8} {size / sample.bytes:5.2f} "
        f"{size / sample.bytes * pace:5.2f}   {commits:6.0f}"
    )


def summary_lines(results: Sequence[TestResult], wall_s: float) -> Iterator[str]:
    """Return what came out of all runs."""
    failed = [result for result in results if not result.passed]
    cpu_s = sum(result.cpu_s for result in results)
    seeds = len({result.seed for result in results})
    tests = len({result.title for result in results})
    yield (
        f"{len(results) - len(failed)} of {len(results)} passed: {tests} tests, {seeds} seed{'s'[: seeds > 1]}, "
        f"{cpu_s:.1f} s of CPU, {wall_s:.1f} s"
    )
    for title in dict.fromkeys(result.title for result in failed):
        of_title = [result for result in results if result.title == title]
        bad = [str(result.seed) for result in of_title if not result.passed]
        shown = ", ".join(bad[:10]) + (", ..." if len(bad) > 10 else "")
        yield f"  {title}: {len(bad)} of {len(of_title)} failed, with seed {shown}"
