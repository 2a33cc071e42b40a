"""Messages and logs in a few words, for traces; positions are written INDEX.TERM."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

from raftline.core.entries import KIND_MEMBERSHIP, KIND_NOOP, Entry
from raftline.core.log import Log
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    Message,
    ReadIndexReply,
    ReadIndexRequest,
    SnapshotReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

__all__ = ["describe_log", "describe_message"]

_LOG_SHOWN_MAX = 14


def describe_log(log: Log) -> str:
    """Return the terms of a log, as the paper's figures show them, behind its base; long ones in runs."""
    terms = [log.term_at(index) for index in range(log.base_index + 1, log.last_index + 1)]
    if len(terms) <= _LOG_SHOWN_MAX:
        shown = [str(term) for term in terms]
    else:
        shown = [f"{term}×{len(list(run))}" for term, run in groupby(terms)]
    base = [f"{log.base_index}.{log.base_term}|"] if log.base_index else []
    return " ".join(base + shown)


def _entries_text(entries: tuple[Entry, ...]) -> str:
    names = {KIND_NOOP: "noop", KIND_MEMBERSHIP: "member"}
    shown = [
        f"{entry.index}.{entry.term} {names.get(entry.kind) or entry.data.decode(errors='replace')}"
        for entry in entries
    ]
    if len(shown) > 3:
        shown = [shown[0], "…", shown[-1]]
    return ", ".join(shown)


def describe_message(message: Message) -> str:
    """Return a message in a few words."""
    return _WORDS[type(message)](message)


def _vote_request(message: VoteRequest) -> str:
    kind = "PreVote" if message.pre_vote else "Vote"
    flags = "".join([f" {name}" for name in ("transfer", "bootstrap") if getattr(message, name)])
    return f"{kind} t{message.term} last {message.last_index}.{message.last_term}{flags}"


def _vote_reply(message: VoteReply) -> str:
    verdict = "yes" if message.granted else "no"
    blank = ", empty here" if message.unestablished else ""
    return f"{'pre-' if message.pre_vote else ''}{verdict} to t{message.request_term} in t{message.term}{blank}"


def _append_request(message: AppendRequest) -> str:
    entries = f" +({_entries_text(message.entries)})" if message.entries else ""
    round_ = f" round {message.round}" if message.round else ""
    previous = f"{message.prev_index}.{message.prev_term}"
    return f"Append t{message.term} prev {previous}{entries} commit {message.commit}{round_}"


def _append_reply(message: AppendReply) -> str:
    round_ = f" round {message.round}" if message.round else ""
    if message.early:
        return f"heard t{message.term}, on disk {message.match_index}{round_}"
    if message.success:
        return f"ok t{message.term} match {message.match_index}{round_}"
    if message.term > message.request_term:
        return f"refused, it is t{message.term}"
    lost = ", not trusted" if message.unestablished else ""
    term = f".{message.conflict_term}" if message.conflict_term else ""
    return f"conflict at {message.prev_index}, try {message.conflict_index}{term}{lost}{round_}"


def _snapshot_request(message: SnapshotRequest) -> str:
    part = f"[{message.offset}, {message.offset + len(message.data)})"
    return f"Snapshot t{message.term} {message.index}.{message.snapshot_term} {part}{' last' if message.done else ''}"


def _snapshot_reply(message: SnapshotReply) -> str:
    if message.installed:
        return f"installed {message.index}"
    if message.term > message.request_term:
        return f"refused, it is t{message.term}"
    return f"snapshot {message.index}: next {message.next_offset}"


_WORDS: dict[type, Callable[[Any], str]] = {
    VoteRequest: _vote_request,
    VoteReply: _vote_reply,
    AppendRequest: _append_request,
    AppendReply: _append_reply,
    SnapshotRequest: _snapshot_request,
    SnapshotReply: _snapshot_reply,
    ReadIndexRequest: lambda message: f"ReadIndex t{message.term}",
    ReadIndexReply: lambda message: "cannot vouch" if message.index is None else f"read at {message.index}",
    TimeoutNow: lambda message: f"TimeoutNow t{message.term}",
}
