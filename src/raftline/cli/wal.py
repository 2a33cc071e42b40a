"""`raftline wal inspect|verify DIR`: what a data directory holds, and whatever start-up would refuse.

Both only read, and may run beside the node that uses the directory. Exit codes: 0 in order, 1 nothing there, 2 no
directory or one of a newer format, 74 it cannot be read, 76 damage.
"""

import contextlib
import os
from pathlib import Path

import msgspec
from rich.table import Table

from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.output import complain, make_console, say
from raftline.core.configuration import Configuration
from raftline.core.entries import HardState, SnapshotMeta
from raftline.core.ids import GroupId, Index, NodeId, Term
from raftline.core.membership import Membership
from raftline.errors import StorageError
from raftline.wal.files import ReadOnlyOsFiles
from raftline.wal.inspect import Line, Survey, survey
from raftline.wal.replay import Recovered
from raftline.wal.restoring import MARK
from raftline.wal.storage_errors import REMEDY

__all__ = ["DirectoryReport", "GroupReport", "holder_of", "report_on", "run_inspect", "run_verify"]


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a node would start with in one group: positions, term and vote, and who is in it."""

    group: GroupId
    term: Term
    vote: NodeId | None
    may_vote: bool
    """False while the directory is new and might be a lost one (C14)."""
    snapshot_index: Index
    snapshot_term: Term
    first_index: Index | None
    """The first entry behind the snapshot; None if there is none."""
    last_index: Index
    last_term: Term
    entry_bytes: int
    membership: Membership


class DirectoryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory adds up to; `groups` is empty if a node would refuse to start from it."""

    directory: str
    cluster_id: str | None
    node_id: str | None
    in_use_by: int | None
    """Process that holds the directory, None if none does or it cannot be told."""
    verdict: str
    size_bytes: int
    groups: tuple[GroupReport, ...]
    lines: tuple[Line, ...]

    @property
    def problems(self) -> tuple[Line, ...]:
        """Return whatever start-up, or a restore, would refuse."""
        return tuple(line for line in self.lines if line.is_damage)


def report_on(directory: str, *, records: bool = False) -> DirectoryReport:
    """Look at a data directory, changing nothing; raises `StorageError` if it cannot be read."""
    found = survey(ReadOnlyOsFiles(), directory, records=records)
    cluster_id, node_id = found.owner or (None, None)
    recovered = found.recovered or {}
    return DirectoryReport(
        directory=directory,
        cluster_id=cluster_id,
        node_id=node_id,
        in_use_by=holder_of(directory),
        verdict=_verdict(found),
        size_bytes=_size_of(directory),
        groups=tuple(_group(group, recovered[group]) for group in sorted(recovered)),
        lines=found.lines,
    )


def holder_of(directory: str) -> int | None:
    """Return the process that holds the directory's LOCK, by what the kernel lists; taking the lock would disturb."""
    lock = Path(directory) / "LOCK"
    with contextlib.suppress(OSError, ValueError):
        inode = lock.stat().st_ino
        holder = int(lock.read_text(encoding="ascii").strip())
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if "FLOCK" in fields and str(holder) in fields and any(part.endswith(f":{inode}") for part in fields):
                return holder
    return None


def run_inspect(directory: str, *, as_json: bool, records: bool) -> ExitCode:
    """Show what is there; return the exit code."""
    report = _report(directory, "inspect", records=records)
    if isinstance(report, ExitCode):
        return report
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _show(report)
    return _code(report)


def run_verify(directory: str) -> ExitCode:
    """Read every byte that counts, and say in one line whether a node could start; problems go to standard error."""
    report = _report(directory, "verify", records=False)
    if isinstance(report, ExitCode):
        return report
    say(f"{directory}: {report.verdict}")
    for line in report.problems:
        complain(f"raftline wal verify: {_where(line)}{line.text}")
    if _code(report) is ExitCode.CORRUPT and not _is_told(report):
        complain(f"raftline wal verify: {REMEDY}")
    return _code(report)


def _is_told(report: DirectoryReport) -> bool:
    """Say whether one of the problems names what to do itself, or is half a restore, which begins anew."""
    return any(REMEDY in line.text or line.file == MARK for line in report.problems)


def _report(directory: str, verb: str, *, records: bool) -> DirectoryReport | ExitCode:
    if not os.path.isdir(directory):  # noqa: PTH112  a path as it was written
        complain(f"raftline wal {verb}: {directory} is no directory: name a node's data directory")
        return ExitCode.CONFIG
    try:
        return report_on(directory, records=records)
    except StorageError as error:
        complain(f"raftline wal {verb}: {error}")
        return exit_code_of(error)


def _code(report: DirectoryReport) -> ExitCode:
    kinds = {line.kind for line in report.problems}
    if "damage" in kinds:
        return ExitCode.CORRUPT
    if "newer" in kinds:
        return ExitCode.CONFIG
    return ExitCode.OK if report.node_id is not None else ExitCode.TROUBLE


def _verdict(found: Survey) -> str:
    if any(line.kind == "damage" for line in found.lines):
        return f"damaged ({len(found.problems)} found): a node would refuse to start from it"
    if found.problems:
        return "of a newer format: this raftline would refuse to start from it"
    if found.owner is None:
        return "empty: a node that starts here is new, and does not vote before it has caught up"
    snapshots = sum(line.kind == "snapshot" for line in found.lines)
    segments = sum(line.kind == "segment" for line in found.lines)
    return f"in order: {segments} segments, {snapshots} snapshots, every checksum fits"


def _size_of(directory: str) -> int:
    total = 0
    for path in Path(directory).iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _group(group: GroupId, found: Recovered) -> GroupReport:
    state = found.hard_state or HardState(established=False)
    snapshot = found.snapshot or SnapshotMeta()
    entries = found.entries
    last = entries[-1] if entries else None
    return GroupReport(
        group=group,
        term=state.term,
        vote=state.vote,
        may_vote=state.established,
        snapshot_index=snapshot.index,
        snapshot_term=snapshot.term,
        first_index=entries[0].index if entries else None,
        last_index=last.index if last else snapshot.index,
        last_term=last.term if last else snapshot.term,
        entry_bytes=sum(len(entry.data) for entry in entries),
        membership=Configuration(snapshot.index, snapshot.membership, entries).current,
    )


def _show(report: DirectoryReport) -> None:
    console = make_console()
    whose = f"node {report.node_id} of cluster {report.cluster_id}" if report.node_id else "nobody's yet"
    console.print(f"{report.directory}: {whose}, {report.size_bytes:,} bytes on disk")
    if report.in_use_by is not None:
        console.print(f"in use by process {report.in_use_by}: what it is writing may show as an interrupted write")
    for group in report.groups:
        _show_group(group)
    table = Table(box=None, pad_edge=False)
    for column in ("file", "offset", "kind", "group", "what"):
        table.add_column(column, justify="right" if column == "offset" else "left", overflow="fold")
    for line in report.lines:
        group_text = "" if line.group is None else str(line.group)
        style = "bold red" if line.is_damage else ""
        table.add_row(line.file, str(line.offset), line.kind, group_text, line.text, style=style)
    if report.lines:
        console.print(table)
    console.print(report.verdict, style="bold red" if report.problems else "bold")


def _show_group(group: GroupReport) -> None:
    say(
        f"group {group.group}: term {group.term}, vote {group.vote or 'none'}"
        f"{'' if group.may_vote else ', may not vote yet'}; snapshot up to {group.snapshot_index}, "
        f"log {group.first_index or '-'} to {group.last_index} (term {group.last_term}, {group.entry_bytes:,} bytes)"
    )
    members = group.membership
    names = [("voters", members.voters), ("outgoing", members.outgoing), ("learners", members.learners)]
    for what, nodes in names:
        if nodes:
            say(f"  {what}: " + ", ".join(f"{node}={members.address_of(node)}" for node in nodes))
    if not members.everyone():
        first = "that the group began with" if group.group else "of --cluster"
        say(f"  members: those {first}; the log names none")


def _where(line: Line) -> str:
    """Name the place, unless the text does so itself."""
    return f"{line.file}, offset {line.offset}: " if line.file and line.file not in line.text else ""
