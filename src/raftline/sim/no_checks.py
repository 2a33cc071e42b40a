"""Nobody watches: what a simulated cluster is given instead of its checkers where their record must not grow.

The record of everything that was ever committed is what the checks of a run need, and what a run of hours has no room
for.
"""

from typing import Any

__all__ = ["NoChecks"]


class NoChecks:
    """Has what `SimCluster` calls of `Checkers`, and does nothing."""

    version = 1

    def __init__(self, _cluster: object) -> None:
        pass

    def watch(self, *_: Any) -> None:
        """Look away."""

    forget = on_wiped = on_failed = on_sent = on_delivered = watch
