"""What a lab test is: a body that is measured, and scripts that run after it, each in a world of its own."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from raftline.lab.bench import Bench
from raftline.lab.cluster import Cluster

__all__ = ["LabTest", "Script"]


class Script(NamedTuple):
    """An exact schedule; it makes its own clusters, and its RPCs are not counted."""

    title: str
    suspects: tuple[str, ...]
    """Numbers of the rules it aims at."""
    run: Callable[[Bench], Awaitable[bool | None]]
    """Returns False if chance kept it from its point, and it has to be tried again."""
    virtual_only: bool = False
    """It takes too long for real time, or needs timers that nothing delays."""


class LabTest(NamedTuple):
    """One of the 25 tests."""

    part: str
    """2A, 2B, 2C or 2D"""
    title: str
    servers: int
    body: Callable[[Cluster], Awaitable[None]]
    """What the course's test does; gets a cluster whose servers run and are connected."""
    reliable: bool = True
    snapshots: bool = False
    scripts: tuple[Script, ...] = ()
