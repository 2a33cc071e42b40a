"""Where log lines go: standard error, as text for people or one JSON object a line for collectors.

Standard output is kept for what was asked for, so that it can be piped.
"""

import logging
import sys
from typing import Any

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
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
