"""What a test of a service lab is."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from raftline.lab.services.deployment import Deployment
from raftline.lab.services.sharded import ShardedDeployment
from raftline.replica.state_machine import StateMachine

__all__ = ["ServiceTest", "ShardedTest"]


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


class ShardedTest(NamedTuple):
    """One test of 4B, whose body gets a deployment of which all servers run and no group has joined."""

    title: str
    groups: int
    body: Callable[[ShardedDeployment], Awaitable[None]]
    unreliable: bool = False
    log_bytes_max: int | None = None
    part: str = "4B"
