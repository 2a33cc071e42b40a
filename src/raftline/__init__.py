"""Raft for Python: a library, a linearizable Redis-protocol store, and a test bench.

Layers, arrows only go down:

    cli → kv, lab, sim                      commands people type
    client → errors                         redis-py's clients, for a cluster
    testing → sim, linearizability          your state machine, simulated: a pytest plugin
    kv  → runtime, replica                  the Redis-protocol store
    lab → sim, core                         the labs of MIT 6.5840
    sim → runtime, replica, wal, kv, client the code that ships, under virtual time
    runtime → replica, wal, transport       tasks, threads, clocks
    replica → core                          pure: core, state machine, sessions, waiters
    wal, transport → core                   bytes on disk, bytes between nodes
    core → errors                           pure consensus
    linearizability → nothing               pure checker
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from raftline.core.changes import AddLearner, MembershipChange, Move, Promote, Remove, Replace, SetPriority
from raftline.core.config import CoreConfig
from raftline.errors import (
    ApplyError,
    ChangeRefused,
    ConfigError,
    CorruptLog,
    DirectoryInUse,
    Diverged,
    NotLeader,
    NotMember,
    NotServed,
    OutdatedSequence,
    Overloaded,
    ProposalError,
    ProposalLost,
    RaftlineError,
    ReplyForgotten,
    SafetyViolation,
    SessionClosed,
    Stopped,
    StorageError,
    Timeout,
    TooLarge,
    TooNew,
    TooStale,
)
from raftline.replica.state_machine import StateMachine

if TYPE_CHECKING:  # at run time they are loaded when they are first asked for, and what they need with them
    from raftline.client.async_lock import AsyncRaftlineLock
    from raftline.client.asynchronous import AsyncClient
    from raftline.client.errors import CommandFailed, LockLost, LockNotAcquired, ReplyLost, SessionLost, Unavailable
    from raftline.client.lock import RaftlineLock
    from raftline.client.sync import Client
    from raftline.runtime.collector import settle_garbage_collector
    from raftline.runtime.config import GroupConfig, NodeConfig
    from raftline.runtime.group import Group
    from raftline.runtime.node import Node
    from raftline.runtime.status import MemberStatus, SessionStatus, Status
    from raftline.transport.tls import TlsFiles

__all__ = [
    "AddLearner",
    "ApplyError",
    "AsyncClient",
    "AsyncRaftlineLock",
    "ChangeRefused",
    "Client",
    "CommandFailed",
    "ConfigError",
    "CoreConfig",
    "CorruptLog",
    "DirectoryInUse",
    "Diverged",
    "Group",
    "GroupConfig",
    "LockLost",
    "LockNotAcquired",
    "MemberStatus",
    "MembershipChange",
    "Move",
    "Node",
    "NodeConfig",
    "NotLeader",
    "NotMember",
    "NotServed",
    "OutdatedSequence",
    "Overloaded",
    "Promote",
    "ProposalError",
    "ProposalLost",
    "RaftlineError",
    "RaftlineLock",
    "Remove",
    "Replace",
    "ReplyForgotten",
    "ReplyLost",
    "SafetyViolation",
    "SessionClosed",
    "SessionLost",
    "SessionStatus",
    "SetPriority",
    "StateMachine",
    "Status",
    "Stopped",
    "StorageError",
    "Timeout",
    "TlsFiles",
    "TooLarge",
    "TooNew",
    "TooStale",
    "Unavailable",
    "settle_garbage_collector",
]

_LATE = {
    "AsyncClient": "client.asynchronous",
    "AsyncRaftlineLock": "client.async_lock",
    "Client": "client.sync",
    "CommandFailed": "client.errors",
    "Group": "runtime.group",
    "GroupConfig": "runtime.config",
    "LockLost": "client.errors",
    "LockNotAcquired": "client.errors",
    "MemberStatus": "runtime.status",
    "Node": "runtime.node",
    "NodeConfig": "runtime.config",
    "RaftlineLock": "client.lock",
    "ReplyLost": "client.errors",
    "SessionLost": "client.errors",
    "SessionStatus": "runtime.status",
    "Status": "runtime.status",
    "TlsFiles": "transport.tls",
    "Unavailable": "client.errors",
    "settle_garbage_collector": "runtime.collector",
}


def __getattr__(name: str) -> Any:
    """Load a node or a client when it is first asked for: whoever needs neither starts in a third of the time."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"raftline.{_LATE[name]}"), name)
    return found
