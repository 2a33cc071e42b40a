"""`raftline lab --mutants`: our own core with one wrong line at a time, and which of the lab's tests notice it."""

import json
import time
from collections.abc import Sequence

import msgspec

from raftline.cli.output import complain, say
from raftline.errors import ConfigError
from raftline.lab.mutants import UNSEEN, LabVerdict, in_scope, run_mutants

__all__ = ["run_lab_mutants"]

_BAD_INPUT = 2


def run_lab_mutants(words: Sequence[str], seeds: range, workers: int, *, as_json: bool) -> int:
    """Run the mutants meant by names, rules or sections and print a Markdown table; return the exit code.

    0: each was noticed or is known as one that cannot be; 1: some were not; 2: a word means no mutant of the core.
    """
    try:
        mutants = in_scope(words)
    except ConfigError as error:
        complain(f"raftline lab --mutants: {error}")
        return _BAD_INPUT
    if not mutants:
        complain(f"raftline lab --mutants: no mutant of the core is meant by {' '.join(words)}")
        return _BAD_INPUT
    began = time.monotonic()
    verdicts = []
    if not as_json:
        say("| mutant | rule | noticed by |")
        say("|---|---|---|")
    for verdict in run_mutants(mutants, seeds, workers):
        verdicts.append(verdict)
        if not as_json:
            say(f"| `{verdict.mutant}` | {verdict.rules[0]} | {_outcome(verdict)} |")
    missed = [verdict.mutant for verdict in verdicts if verdict.failed is None and verdict.mutant not in UNSEEN]
    if as_json:
        say(json.dumps({"mutants": msgspec.to_builtins(verdicts), "missed": missed}, indent=2))
        return 1 if missed else 0
    noticed = sum(verdict.failed is not None for verdict in verdicts)
    say("")
    say(
        f"{noticed} of {len(verdicts)} noticed, {len(verdicts) - noticed - len(missed)} known as unseen, "
        f"{len(missed)} missed, {sum(verdict.runs for verdict in verdicts)} tests, {time.monotonic() - began:.0f} s"
    )
    return 1 if missed else 0


def _outcome(verdict: LabVerdict) -> str:
    """Return the test and schedule that noticed a mutant, or why none does."""
    if verdict.failed is None:
        return f"nothing: {UNSEEN[verdict.mutant]}" if verdict.mutant in UNSEEN else "NOTHING"
    failure = verdict.failed.failure
    assert failure is not None, "it failed"
    place = verdict.failed.title if failure.script is None else f"{verdict.failed.title}: {failure.script}"
    return place if verdict.failed.seed == 0 else f"{place} (seed {verdict.failed.seed})"
