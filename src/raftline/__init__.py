"""Raft for Python: a library, a linearizable Redis-protocol store, and a test bench.

Layers, arrows only go down:

    cli → kv, lab, sim                      commands people type
    testing → sim, linearizability          your state machine, simulated: a pytest plugin
    kv  → runtime, replica                  the Redis-protocol store
    lab → sim, core                         the labs of MIT 6.5840
    sim → runtime, replica, wal, kv         the code that ships, under virtual time
    runtime → replica, wal, transport       tasks, threads, clocks
    replica → core                          pure: core, state machine, sessions, waiters
    wal, transport → core                   bytes on disk, bytes between nodes
    core → errors                           pure consensus
    linearizability → nothing               pure checker
"""

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
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node
from raftline.runtime.status import MemberStatus, SessionStatus, Status

__all__ = [
    "AddLearner",
    "ApplyError",
    "ChangeRefused",
    "ConfigError",
    "CoreConfig",
    "CorruptLog",
    "DirectoryInUse",
    "Diverged",
    "MemberStatus",
    "MembershipChange",
    "Move",
    "Node",
    "NodeConfig",
    "NotLeader",
    "NotMember",
    "OutdatedSequence",
    "Overloaded",
    "Promote",
    "ProposalError",
    "ProposalLost",
    "RaftlineError",
    "Remove",
    "Replace",
    "ReplyForgotten",
    "SafetyViolation",
    "SessionClosed",
    "SessionStatus",
    "SetPriority",
    "StateMachine",
    "Status",
    "Stopped",
    "StorageError",
    "Timeout",
    "TooLarge",
    "TooNew",
    "TooStale",
]
