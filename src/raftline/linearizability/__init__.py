"""Decides whether a recorded history is linearizable. Pure, usable on any history.

`check(operations, model)` answers yes, no or unknown; `explain` finds the shortest failing prefix, `render` draws it.
Histories come from `read_jsonl` or another reader of `formats`; your own objects are subclasses of `Model`.
"""

from raftline.linearizability.checker import PartitionResult, Result, check
from raftline.linearizability.explain import Explanation, explain
from raftline.linearizability.formats import READERS
from raftline.linearizability.history import History, HistoryError, Operation, Value, read_jsonl, write_jsonl
from raftline.linearizability.model import Guide, Model, State
from raftline.linearizability.models import MODELS, model_named
from raftline.linearizability.picture import render
from raftline.linearizability.search import Placed, Verdict

__all__ = [
    "MODELS",
    "READERS",
    "Explanation",
    "Guide",
    "History",
    "HistoryError",
    "Model",
    "Operation",
    "PartitionResult",
    "Placed",
    "Result",
    "State",
    "Value",
    "Verdict",
    "check",
    "explain",
    "model_named",
    "read_jsonl",
    "render",
    "write_jsonl",
]
