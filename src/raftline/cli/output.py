"""How commands talk: answers on standard output, complaints on standard error, tables as wide as they need.

A reader that went away (`raftline status ... | head -1`) is no error.
"""

import contextlib
import sys

from rich.console import Console

__all__ = ["complain", "make_console", "say"]

_WIDTH_PIPED = 140


def say(text: str) -> None:
    """Print one line of the command's answer at once."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def complain(text: str) -> None:
    """Print one line to standard error at once."""
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def make_console() -> Console:
    """Return a console for standard output; where that is no terminal, tables keep one line per row."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_PIPED)
