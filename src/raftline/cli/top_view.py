"""What `raftline top` shows: two looks at each node become rates and percentiles, and those become tables.

It opens no connection and reads no clock; whoever looks gives it the answers and when they came.
"""

from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raftline.cli.node_info import NodeInfo
from raftline.cli.shard_view import groups_only, merged
from raftline.kv.shards_view import ShardReport
from raftline.runtime.histogram import quantile
from raftline.runtime.stages import STAGES

__all__ = ["Look", "frame", "stage_quantiles"]

_NOTHING = "-"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One node at one moment: what it said, or why it said nothing."""

    node_id: str
    address: str
    at_s: float
    info: NodeInfo | None = None
    lines: dict[str, str] = {}
    """Every line of its INFO."""
    trouble: str = ""
    shards: ShardReport | None = None
    """What it knows of groups and slots, if the cluster is sharded."""


def frame(looks: Sequence[Look], before: Mapping[str, Look], headline: str, hint: str = "") -> RenderableType:
    """Return one frame; `before` are the looks before by node, for what happened since."""
    parts: list[RenderableType] = [Text(headline, style="bold"), _nodes(looks, before), _stages(looks, before)]
    reports = [look.shards for look in looks if look.shards is not None]
    if reports:
        parts.append(groups_only(merged(reports)))
    parts += [Text(f"{look.node_id}: {look.trouble}", style="red") for look in looks if look.trouble]
    if hint:
        parts.append(Text(hint, style="dim"))
    return Group(*parts)


def stage_quantiles(look: Look, before: Look | None, stage: str) -> tuple[float | None, float | None]:
    """Return the median and the 99th percentile in seconds, since `before` or, if nothing happened since, the start."""
    counts = _buckets(look, stage)
    earlier = _buckets(before, stage) if before is not None else []
    if len(earlier) == len(counts):
        since = [now - then for now, then in zip(counts, earlier, strict=True)]
        if any(since) and min(since) >= 0:  # a restart begins at 0 again
            counts = since
    return quantile(counts, 0.5), quantile(counts, 0.99)


def _buckets(look: Look | None, stage: str) -> list[int]:
    line = look.lines.get(f"latency_{stage}", "") if look is not None else ""
    text = line.rpartition("buckets=")[2]
    return [int(part) for part in text.split("|") if part.isdecimal()]


def _nodes(looks: Sequence[Look], before: Mapping[str, Look]) -> Table:
    table = Table(title_justify="left")
    for column in ("node", "address", "role", "term"):
        table.add_column(column)
    for column in ("commit", "applied", "lag", "ops/s", "clients", "keys", "waiting", "elections", "snapshots"):
        table.add_column(column, justify="right")
    committed = max((look.info.commit_index for look in looks if look.info is not None), default=0)
    for look in looks:
        info = look.info
        if info is None:
            table.add_row(look.node_id, look.address, "not reached", *[_NOTHING] * 10, style="red")
            continue
        cells = (
            info.role if info.fields.get("ready") != "0" else f"{info.role}, not ready",
            f"{info.term}",
            f"{info.commit_index}",
            f"{info.applied_index}",
            f"{max(0, committed - info.applied_index)}",
            _rate(look, before.get(look.node_id), "total_commands_processed"),
            look.lines.get("connected_clients", _NOTHING),
            _keys(look),
            info.fields.get("pending_requests", _NOTHING),
            info.fields.get("elections", _NOTHING),
            _snapshots(info),
        )
        table.add_row(look.node_id, look.address, *cells, style="green" if info.role == "leader" else "")
    return table


def _stages(looks: Sequence[Look], before: Mapping[str, Look]) -> Table:
    """Draw median and 99th percentile of each stage, in milliseconds."""
    table = Table(title="latency by stage, median / 99th percentile, ms", title_justify="left", title_style="")
    table.add_column("node")
    for stage in STAGES:
        table.add_column(stage, justify="right")
    for look in looks:
        if look.info is not None:
            pairs = [stage_quantiles(look, before.get(look.node_id), stage) for stage in STAGES]
            table.add_row(look.node_id, *[f"{_ms(middle)} / {_ms(high)}" for middle, high in pairs])
    return table


def _ms(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{seconds * 1000:.2f}"


def _rate(look: Look, before: Look | None, name: str) -> str:
    if before is None or name not in look.lines or name not in before.lines or look.at_s <= before.at_s:
        return _NOTHING
    count = int(look.lines[name]) - int(before.lines[name])
    return f"{count / (look.at_s - before.at_s):.0f}" if count >= 0 else _NOTHING


def _keys(look: Look) -> str:
    fields = dict(part.split("=", 1) for part in look.lines.get("db0", "keys=0").split(",") if "=" in part)
    return fields.get("keys", "0")


def _snapshots(info: NodeInfo) -> str:
    """Say how many were taken and installed, and whether one is under way."""
    text = f"{info.fields.get('snapshots_taken', _NOTHING)} + {info.fields.get('snapshots_installed', _NOTHING)}"
    if info.fields.get("restoring") == "1":
        return f"{text}, restoring"
    return f"{text}, writing" if info.fields.get("snapshot_in_progress") == "1" else text
