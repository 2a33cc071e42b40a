"""What a test of a service lab is."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from raftline.lab.services.deployment import Deployment
from raftline.replica.state_machine import StateMachine

__all__ = ["ServiceTest"]


class ServiceTest(NamedTuple):
    """One test, whose body gets a deployment of which all servers run."""

    part: str
    """3A, 3B or 4A"""
    title: str
    servers: int
    make_machine: Callable[[], StateMachine]
    body: Callable[[Deployment], Awaitable[None]]
    unreliable: bool = False
    log_bytes_max: int | None = None
