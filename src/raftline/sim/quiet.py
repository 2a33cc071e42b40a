"""The log lines of simulated nodes are let go: the trace says more, and a campaign would drown in them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Drop every log line below critical until the block ends."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
