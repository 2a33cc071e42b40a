"""Names for the numbers and strings that travel through every layer.

They are plain aliases: a reader sees what an `int` means, and nothing is paid for it at run time.
"""

from typing import TypeAlias

__all__ = ["GroupId", "Index", "NodeId", "Term"]

NodeId: TypeAlias = str
"""The operator's name of a node (`n1`); unique within a cluster, never reused for another data directory."""

GroupId: TypeAlias = int
"""Which Raft group a message or a record belongs to; 0 is the only group of an unsharded cluster."""

Term: TypeAlias = int
"""Logical time (§5.1); 0 before the first election."""

Index: TypeAlias = int
"""Position in a log; the first entry has index 1, 0 means "before the first"."""
