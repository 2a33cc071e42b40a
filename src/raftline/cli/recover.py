"""`raftline recover`: one survivor of a cluster that lost its majority becomes a cluster of its own.

Raft cannot do this safely, because what the lost disks alone knew is lost with them. So it is done only on demand, with
words about what may be lost, and what was decided on is written down beside the log. The membership is replaced by the
survivor alone; the cluster gets a new id, so that an old member that comes back cannot mix its past into it.
"""

import contextlib
import os
import re
import sys
import time

import msgspec

from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.output import complain, say
from raftline.cli.settings_loading import load_settings
from raftline.cli.sharding import is_marked
from raftline.cli.wal import DirectoryReport, GroupReport, report_on
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_COMMAND, KIND_MEMBERSHIP, Entry, HardState
from raftline.core.membership import Membership
from raftline.errors import ConfigError, CorruptLog, DirectoryInUse, RaftlineError
from raftline.replica.commands import history_lost
from raftline.transport.address import parse_address
from raftline.wal.files import Files, OsFiles
from raftline.wal.replay import Recovered
from raftline.wal.wal import Wal, Write

__all__ = ["Recovery", "carry_out", "run_recover"]

_GROUP = 0


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What was found and decided; written to `recovered-<time>.json` in the directory before anything is changed."""

    node_id: str
    address: str
    time: str
    old_cluster_id: str
    new_cluster_id: str
    old_members: dict[str, str]
    """As far as the log or `--cluster` name them."""
    term: int
    snapshot_index: int
    last_index: int
    last_term: int
    may_vote: bool
    may_be_lost: tuple[str, ...]
    """In words, for whoever has to tell the users."""
    new_membership_index: int


def run_recover(
    *, data_dir: str, node_id: str, cluster: str, cluster_id: str | None, confirmed: bool, segment_bytes: int = 64 << 20
) -> ExitCode:
    """Ask, then do it; return the exit code."""
    try:
        recovery = _plan(data_dir, node_id, cluster, cluster_id)
        _explain(recovery, data_dir)
        if not confirmed and not _confirmed(node_id):
            complain("raftline recover: not confirmed. Nothing was changed")
            return ExitCode.CONFIG
        record = carry_out(OsFiles(), data_dir, recovery, segment_bytes)
    except (RaftlineError, OSError) as error:
        complain(f"raftline recover: {error}")
        return exit_code_of(error)
    complain(
        f"{recovery.time} recovered from one survivor: node {node_id}, cluster {recovery.old_cluster_id} is now "
        f"{recovery.new_cluster_id}, log up to index {recovery.last_index} of term {recovery.last_term}; see {record}"
    )
    _say_how_to_go_on(recovery, data_dir, record)
    return ExitCode.OK


def _plan(data_dir: str, node_id: str, cluster: str, cluster_id: str | None) -> Recovery:
    """Look at the directory and say what would be done; raises if it cannot be."""
    flags = {"id": node_id, "cluster": cluster, "data_dir": data_dir, "cluster_id": cluster_id}
    members = load_settings(flags, {}).settings.cluster
    if not os.path.isdir(data_dir):  # noqa: PTH112  a path as it was written
        raise ConfigError(f"--data-dir: {data_dir} is no directory: name the survivor's data directory")
    report = report_on(data_dir)
    group = _usable(report, node_id)
    assert report.cluster_id is not None, "the directory has an owner"
    new_id = cluster_id or _new_cluster_id(report.cluster_id)
    if new_id == report.cluster_id:
        raise ConfigError(
            f"--cluster-id: {new_id!r} is the old cluster: leave it away or give a new name, so that an old member "
            f"that comes back cannot mix its past into the new cluster"
        )
    known = {node: group.membership.address_of(node) or "" for node in group.membership.everyone()}
    if list(known) == [node_id]:
        raise ConfigError(
            f"{data_dir} is a cluster of one already ({report.cluster_id}), perhaps because this command was given "
            f"before: start it with `raftline server --id {node_id} --cluster {node_id}={known[node_id]} "
            f"--data-dir {data_dir}`"
        )
    old = known or {node: str(parse_address(address)) for node, address in members.items()}
    return Recovery(
        node_id=node_id,
        address=str(parse_address(members[node_id])),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        old_cluster_id=report.cluster_id,
        new_cluster_id=new_id,
        old_members=old,
        term=group.term,
        snapshot_index=group.snapshot_index,
        last_index=group.last_index,
        last_term=group.last_term,
        may_vote=group.may_vote,
        may_be_lost=_may_be_lost(group, len(old)),
        new_membership_index=group.last_index + 1,
    )


def _usable(report: DirectoryReport, node_id: str) -> GroupReport:
    """Return what the directory holds; raises if there is nothing, if it is damaged or another node's, or in use."""
    if report.problems:
        problem = report.problems[0]
        error = ConfigError if problem.kind == "newer" else CorruptLog
        raise error(f"{report.directory}: {problem.text}. `raftline wal verify` lists all that is wrong")
    if report.in_use_by is not None:
        raise DirectoryInUse(f"{report.directory} is held by process {report.in_use_by}: stop that node first")
    if is_marked(report.directory):
        raise ConfigError(
            f"--data-dir: {report.directory} is of a node of a sharded cluster. `recover` makes a cluster of one group "
            "out of what is left, and would leave its other groups without a majority for good: start the nodes again, "
            "or bring their disks back"
        )
    if report.node_id is not None and report.node_id != node_id:
        raise ConfigError(f"--id: the directory is that of node {report.node_id!r}: give that id, or its directory")
    groups = [group for group in report.groups if group.group == _GROUP]
    if report.node_id is None or not groups or not groups[0].last_index:
        raise ConfigError(f"--data-dir: {report.directory} holds no log: there is nothing to recover from")
    return groups[0]


def _may_be_lost(group: GroupReport, member_count: int) -> tuple[str, ...]:
    behind = (
        f"Writes that the others acknowledged and that did not reach this disk: everything behind log index "
        f"{group.last_index} (term {group.last_term}). How many there were cannot be told from here."
    )
    uncertain = (
        f"Answers of 'may have been applied' become certain: every entry up to index {group.last_index} takes effect, "
        f"also those behind index {group.snapshot_index} that no majority of the {member_count} old members had."
    )
    lost = [behind, uncertain]
    if not group.may_vote:
        lost.append(
            "This directory had not caught up with its cluster when it was last used: it may lack writes that were "
            "acknowledged long ago. If any other disk is left, look at that one first (`raftline wal inspect`)."
        )
    return tuple(lost)


def _explain(recovery: Recovery, data_dir: str) -> None:
    others = ", ".join(sorted(set(recovery.old_members) - {recovery.node_id})) or "none"
    say(f"{data_dir}: node {recovery.node_id} of cluster {recovery.old_cluster_id}, last used in term {recovery.term},")
    say(f"  snapshot up to index {recovery.snapshot_index}, log up to index {recovery.last_index}.")
    say("Recovering makes it a cluster of one, which decides alone from then on. It cannot be undone.")
    say("What may be lost:")
    for text in recovery.may_be_lost:
        say(f"  - {text}")
    say(f"The cluster's id becomes {recovery.new_cluster_id}. The other members ({others}) are turned away; they join")
    say("again with empty directories. If a majority of them can still be started, do that instead of this.")


def _confirmed(node_id: str) -> bool:
    """Have the node's id typed; without a terminal only --yes counts."""
    if not _is_terminal():
        complain("raftline recover: there is no terminal to confirm on: give --yes")
        return False
    say(f"Type the node's id ({node_id}) to go on, anything else to leave it:")
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        return input().strip() == node_id
    return False


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def carry_out(files: Files, data_dir: str, recovery: Recovery, segment_bytes: int) -> str:
    """Write the record, then the new membership and the new cluster id in one; return the record's path.

    The record is durable before anything is changed. After a crash the directory is the old cluster's, as it was, and
    the command can be given again, or it is the new one's: a survivor alone that keeps the old cluster's id, to which
    its old members would come back, is never there.
    """
    wal = Wal.open(
        files,
        data_dir,
        cluster_id=recovery.old_cluster_id,
        node_id=recovery.node_id,
        segment_bytes=segment_bytes,
    )
    try:
        _check_unchanged(wal.recovered.get(_GROUP), recovery, data_dir)
        record = f"{data_dir}/recovered-{recovery.time.replace(':', '')}.json"
        file = files.open(f"{record}.tmp", create=True)
        file.truncate(0)
        file.write_at(0, msgspec.json.format(msgspec.json.encode(recovery), indent=2) + b"\n")
        file.sync()
        file.close()
        files.rename(f"{record}.tmp", record)
        files.sync_directory(data_dir)
        term = recovery.term + 1
        alone = encode_membership(Membership.of({recovery.node_id: recovery.address}))
        index, now_ms = recovery.new_membership_index, time.time_ns() // 1_000_000
        entries = (
            Entry(index, term, alone, KIND_MEMBERSHIP, now_ms),
            Entry(index + 1, term, history_lost(), KIND_COMMAND, now_ms),
        )
        found = wal.recovered[_GROUP].hard_state
        hard_state = HardState(term, recovery.node_id, history=found.history if found is not None else 0)
        write = Write(group=_GROUP, entries=entries, hard_state=hard_state)
        wal.rename_cluster(recovery.new_cluster_id, [write])
    finally:
        wal.close()
    return record


def _check_unchanged(found: Recovered | None, recovery: Recovery, data_dir: str) -> None:
    """Raise `ConfigError` if the log is not the one that was looked at, before somebody confirmed."""
    last = None if found is None else found.entries[-1] if found.entries else found.snapshot
    term = recovery.term if found is None or found.hard_state is None else found.hard_state.term
    seen = (recovery.last_index, recovery.last_term, recovery.term)
    if last is None or (last.index, last.term, term) != seen:
        raise ConfigError(
            f"{data_dir}: a node ran here since this command looked at it: nothing was changed; give the command again"
        )


def _say_how_to_go_on(recovery: Recovery, data_dir: str, record: str) -> None:
    node, address = recovery.node_id, recovery.address
    say(f"Recovered; what was decided is in {record}. Start the survivor:")
    say(f"  raftline server --id {node} --cluster {node}={address} --data-dir {data_dir}")


def _new_cluster_id(old: str) -> str:
    """Return the old id with `-r1` behind it, or the next number if it has one."""
    found = re.fullmatch(r"(.*)-r(\d+)", old)
    base, number = (found[1], int(found[2]) + 1) if found else (old, 1)
    ending = f"-r{number}"
    return base[: 64 - len(ending)] + ending
