"""Where log lines go: standard error, as text for people or one JSON object a line for collectors.

Standard output is kept for what was asked for, so that it can be piped.
"""

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog

__all__ = ["set_up_logs"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logs(level: str, log_format: str, **bound: str) -> None:
    """Send every structlog line of `level` and above to standard error; each carries the `bound` fields."""
    structlog.contextvars.bind_contextvars(**bound)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr is not None and sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lines(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """A stream that takes no offence: whoever logs has other things to do than to mind that nobody reads it.

    The terminal may be closed, the reader of a pipe gone, the disk full: a node goes on, and stops as it should.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None in a process that was started without standard error."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do not."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.flush()
