"""What often stands behind a failure and shows in no message: coroutines that nobody awaits, real clocks, threads."""

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["remember_unawaited", "suspicious_lines"]

_HINTS_MAX = 3

_UNAWAITED = re.compile(r"coroutine '([\w.<>]+)' was never awaited")

_SUSPICIOUS = (
    (
        re.compile(r"\btime\.(time|monotonic|perf_counter)\(|\bfrom time import (time|monotonic|perf_counter)\b"),
        "is the real clock, which stands still on virtual time: take asyncio.get_running_loop().time()",
    ),
    (
        re.compile(r"\btime\.sleep\(|\bfrom time import sleep\b"),
        "stops every server, and no virtual time passes: await asyncio.sleep()",
    ),
    (re.compile(r"\bthreading\.(Thread|Timer)\(|\bto_thread\(|\brun_in_executor\("), "starts a thread: use tasks"),
)


@contextmanager
def remember_unawaited() -> Iterator[list[str]]:
    """Collect what Python says of coroutines that were dropped without being awaited."""
    hints: list[str] = []
    show = warnings.showwarning

    def remember(message: Warning | str, category: type[Warning], *others: Any, **options: Any) -> None:
        found = _UNAWAITED.search(str(message))
        if found is None:
            show(message, category, *others, **options)
            return
        name = {"Consumer.put": "apply.put()", "NetworkEnd.call": "peers[i].call()"}.get(found[1], f"{found[1]}()")
        hint = f"{name} was called and its result not awaited, so that nothing happened"
        if hint not in hints and len(hints) < _HINTS_MAX:
            hints.append(hint)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="coroutine .* was never awaited", category=RuntimeWarning)
        warnings.showwarning = remember
        yield hints


def suspicious_lines(make: Callable[..., Any]) -> Iterator[str]:
    """Return lines of the implementation's file that do not mean on virtual time what they seem to."""
    module = sys.modules.get(str(getattr(make, "__module__", None)))
    if module is None:
        return  # code under test need not stand in an imported module
    try:
        lines = inspect.getsource(module).splitlines()
    except (OSError, TypeError, SyntaxError):
        return
    for expression, what in _SUSPICIOUS:
        for number, line in enumerate(lines, start=1):
            if expression.search(line.partition("#")[0]):
                yield f"{module.__file__}:{number}: {line.strip()} -- this {what}"
                break
