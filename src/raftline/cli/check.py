"""`raftline check HISTORY`: is this history linearizable? Yes, no (and why), or unknown within the time limit.

The exit code answers too: 0 yes, 1 no, 2 unknown, 3 the input cannot be used. (An option that does not exist is
refused before this file is asked, with the command line's own code 2 and a usage message.)
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from raftline.cli.output import complain, say
from raftline.linearizability.checker import Result, Verdict
from raftline.linearizability.checker import check as check_history
from raftline.linearizability.explain import Explanation, explain
from raftline.linearizability.formats import READERS, guess_format
from raftline.linearizability.history import History, HistoryError, Operation
from raftline.linearizability.model import Model, show
from raftline.linearizability.models import MODELS, model_named
from raftline.linearizability.picture import render

__all__ = ["BAD_INPUT", "EXIT_CODES", "check_file", "run_check"]

EXIT_CODES = {Verdict.YES: 0, Verdict.NO: 1, Verdict.UNKNOWN: 2}
BAD_INPUT = 3


def check_file(
    history: str, *, model: str | None, history_format: str, html: str | None, time_limit: str, as_json: bool
) -> int:
    """Check the history in a file and report; return the exit code."""
    try:
        limit_s = _positive(time_limit)
        recorded, name = _load(history, history_format)
        chosen = _model(model or recorded.model)
        return run_check(recorded, chosen, limit_s=limit_s, html=html, as_json=as_json, source=name)
    except (HistoryError, OSError) as error:
        complain(f"raftline check: {error}")
        return BAD_INPUT


def run_check(
    history: History, model: Model, *, limit_s: float, html: str | None, as_json: bool, source: str = "history"
) -> int:
    """Check, report on standard output, write the page if asked for; return the exit code.

    Raises HistoryError if an operation does not fit the model, OSError if the page cannot be written.
    """
    if not history.operations:
        raise HistoryError(f"{source}: no operations found; is the format right?")
    began = time.monotonic()
    result = check_history(history.operations, model, expired=_deadline(limit_s))
    seconds = time.monotonic() - began
    reasons = _explain_all(result, model, _deadline(limit_s))
    if html is not None and reasons:
        page = render(reasons[0], model, title=f"{source} is not linearizable")
        Path(html).write_text(page, encoding="utf-8", errors="backslashreplace")
    if as_json:
        say(json.dumps(_as_json(history, model, result, reasons, seconds)))
    else:
        for line in _in_words(history, model, result, reasons, seconds):
            say(_printable(line))
        if html is not None and reasons:
            say(f"picture: {html}")
    return EXIT_CODES[result.verdict]


def _positive(text: str) -> float:
    """Read a number of seconds."""
    with suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < float("inf"):
            return seconds
    raise HistoryError(f"--time-limit must be a positive number of seconds, found {text!r}")


def _model(name: str | None) -> Model:
    """Return the model asked for, or the one that the history names."""
    if name is None:
        raise HistoryError(f"the history names no model: say which with --model, one of {', '.join(MODELS)}")
    return model_named(name)


def _load(path: str, history_format: str) -> tuple[History, str]:
    """Read the file; return the history and a name for it."""
    source = "standard input" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HistoryError(f"{source}: not UTF-8 text: {error}") from error
    lines = text.split("\n")
    name = guess_format(lines) if history_format == "auto" else history_format
    if name not in READERS:
        raise HistoryError(f"there is no format {name!r}, only auto, {', '.join(READERS)}")
    try:
        return READERS[name](lines), source
    except HistoryError as error:
        raise HistoryError(f"{source}: {error}") from error


def _deadline(limit_s: float) -> Callable[[], bool]:
    end = time.monotonic() + limit_s
    return lambda: time.monotonic() >= end


def _explain_all(result: Result, model: Model, expired: Callable[[], bool]) -> list[Explanation]:
    """Explain every key that has no order, the one that went wrong first at the front."""
    reasons = [explain(part, model, expired=expired) for part in result.failing()]
    return sorted(reasons, key=lambda reason: reason.culprit.return_time or 0.0)


def _in_words(history: History, model: Model, result: Result, reasons: list[Explanation], seconds: float) -> list[str]:
    """Return the report, the verdict first."""
    verdicts = {Verdict.YES: "LINEARIZABLE", Verdict.NO: "NOT LINEARIZABLE", Verdict.UNKNOWN: "UNKNOWN"}
    keys = len(result.partitions)
    size = f"{len(history.operations)} operations on {keys} key{'s' if keys > 1 else ''}, model {model.name}"
    lines = [f"{verdicts[result.verdict]}: {size}, {result.steps} positions tried in {seconds:.2f} s"]
    for reason in reasons:
        culprit, doubt = reason.culprit, "" if reason.shortest else " or fewer (time ran out)"
        answer = f"client {culprit.client} gets {model.describe_operation(culprit)}"
        times = f"called at {culprit.call_time}, returned at {culprit.return_time}"
        lines.append(f"{_key(reason.key)}there is an order up to here, but none in which {answer}")
        lines.append(f"    {times}; the shortest failing prefix has {len(reason.operations)} operations{doubt}")
        if reason.answers:
            lines.append(f"    in the order found it would get {' or '.join(show(value) for value in reason.answers)}")
    unfinished = [_key(part.key) for part in result.partitions if part.verdict is Verdict.UNKNOWN]
    if unfinished:
        lines.append(f"{len(unfinished)} of {keys} keys not finished when time ran out; a longer --time-limit may do")
    return lines


def _printable(line: str) -> str:
    """Write what standard output has no letter for (an arrow, bytes that are no text) as an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _key(key: str | None) -> str:
    return "" if key is None else f"key {show(key)}: "


def _as_json(
    history: History, model: Model, result: Result, reasons: list[Explanation], seconds: float
) -> dict[str, Any]:
    """Return the report as one JSON document."""
    return {
        "verdict": result.verdict.value,
        "model": model.name,
        "operations": len(history.operations),
        "keys": len(result.partitions),
        "steps": result.steps,
        "seconds": round(seconds, 3),
        "unfinished_keys": [part.key for part in result.partitions if part.verdict is Verdict.UNKNOWN],
        "failing": [
            {
                "key": reason.key,
                "prefix_operations": len(reason.operations),
                "shortest": reason.shortest,
                "culprit": _operation_as_json(reason.culprit),
                "possible_answers": list(reason.answers),
                "order": [_operation_as_json(item.operation) for item in reason.order],
            }
            for reason in reasons
        ],
    }


def _operation_as_json(operation: Operation) -> dict[str, Any]:
    return {
        "client": operation.client,
        "kind": operation.kind,
        "input": operation.input,
        "output": operation.output,
        "call": operation.call_time,
        "return": operation.return_time,
    }
