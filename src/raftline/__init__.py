"""Raft for Python: a library, a linearizable Redis-protocol store, and a test bench.

Layers, arrows only go down:

    cli → kv, lab, sim                      commands people type
    kv  → runtime, replica                  the Redis-protocol store
    lab → sim, core                         the labs of MIT 6.5840
    sim → runtime, replica, wal, kv         the code that ships, under virtual time
    runtime → replica, wal, transport       tasks, threads, clocks
    replica → core                          pure: core, state machine, sessions, waiters
    wal, transport → core                   bytes on disk, bytes between nodes
    core → errors                           pure consensus
    linearizability → nothing               pure checker
"""

from raftline.core.config import CoreConfig
from raftline.errors import (
    ApplyError,
    ConfigError,
    CorruptLog,
    DirectoryInUse,
    Diverged,
    NotLeader,
    Overloaded,
    ProposalError,
    ProposalLost,
    RaftlineError,
    SafetyViolation,
    Stopped,
    StorageError,
    Timeout,
)
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node
from raftline.runtime.status import Status

__all__ = [
    "ApplyError",
    "ConfigError",
    "CoreConfig",
    "CorruptLog",
    "DirectoryInUse",
    "Diverged",
    "Node",
    "NodeConfig",
    "NotLeader",
    "Overloaded",
    "ProposalError",
    "ProposalLost",
    "RaftlineError",
    "SafetyViolation",
    "StateMachine",
    "Status",
    "Stopped",
    "StorageError",
    "Timeout",
]
