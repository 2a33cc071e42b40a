"""How commands talk: answers on standard output, complaints on standard error, tables as wide as they need.

A reader that went away (`raftline status ... | head -1`) is no error.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console

__all__ = ["DEBUG_VARIABLE", "byte_progress", "complain", "make_console", "say"]

DEBUG_VARIABLE = "RAFTLINE_DEBUG"
"""If it is set, errors that no command has words for are shown with where they came from."""

_WIDTH_PIPED = 140


def say(text: str) -> bool:
    """Print one line of the command's answer at once; return whether there is still a reader."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True


def complain(text: str) -> None:
    """Print one line to standard error at once, if it can be: the exit code is to tell what went wrong, not this."""
    if sys.stderr is None:
        return  # the process was started without one
    with contextlib.suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def make_console(*, markup: bool = False) -> Console:
    """Return a console for standard output; where that is no terminal, tables keep one line per row.

    Without `markup` what stands in square brackets is no style: an address may, as in [fe80::1]:7001.
    """
    console = Console(highlight=False, markup=markup)
    return console if console.is_terminal else Console(highlight=False, markup=markup, width=_WIDTH_PIPED)


@contextlib.contextmanager
def byte_progress(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Give a function that takes how many bytes are done; a bar on standard error, if that is a terminal."""
    from rich.progress import (  # noqa: PLC0415  which a server need not load
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=total_bytes)
        yield lambda done_bytes: progress.update(bar, completed=done_bytes)
