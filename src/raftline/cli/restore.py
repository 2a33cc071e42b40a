"""`raftline restore FILE`: a backup becomes the data directory of one node of a new cluster.

Run once for each node, with the same file, members and cluster id. The new cluster has a name of its own, so that no
node of the old one can mix with it. The file is read to its end before anything is written.
"""

import shlex
import zlib

from raftline.cli.backup import check_backup
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.output import byte_progress, complain, say
from raftline.cli.settings import ServerSettings, node_config_of
from raftline.cli.settings_loading import load_settings
from raftline.core.entries import KIND_COMMAND, Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import ConfigError, RaftlineError
from raftline.replica.commands import history_lost
from raftline.wal.backup_file import BackupReader
from raftline.wal.files import Files, OsFiles, ReadOnlyOsFiles
from raftline.wal.wal import Wal, Write

__all__ = ["restore_into", "run_restore"]

_GROUP = 0


def run_restore(file: str, *, data_dir: str, node_id: str, cluster: str, cluster_id: str) -> ExitCode:
    """Make the directory; return the exit code."""
    flags = {"id": node_id, "cluster": cluster, "data_dir": data_dir, "cluster_id": cluster_id}
    try:
        if not cluster_id:
            raise ConfigError("--cluster-id: it is empty: give the new cluster a name of its own")
        settings = load_settings(flags, {}).settings
        checked = check_backup(file)
        if checked.header.cluster_id == cluster_id:
            raise ConfigError(
                f"--cluster-id: {cluster_id!r} is the cluster of the backup: give the new cluster a new name, as in "
                f"{cluster_id}-2, so that nodes of the old one cannot mix with it"
            )
        restore_into(OsFiles(), file, settings)
    except (RaftlineError, OSError) as error:
        complain(f"raftline restore: {error}")
        return exit_code_of(error)
    say(f"{data_dir}: node {node_id} of the new cluster {cluster_id}, from a {checked.text}")
    say("When every node has been restored from this file, start each one as always, with its own --id:")
    say(f"raftline server --id {node_id} --cluster {cluster} --cluster-id {cluster_id} --data-dir {data_dir}")
    return ExitCode.OK


def restore_into(files: Files, file: str, settings: ServerSettings) -> None:
    """Write the snapshot with the new members, then a log that begins behind it; marked until all of it is durable.

    Its first entry, the same on every node, says that what the old cluster did after the backup is lost.
    """
    config = node_config_of(settings)
    reader = BackupReader(ReadOnlyOsFiles(), file)
    try:
        wal = Wal.restore(
            files,
            config.data_dir,
            cluster_id=config.cluster_id,
            node_id=config.node_id,
            command=_command(file, settings),
            segment_bytes=config.segment_bytes,
        )
    except RaftlineError:
        reader.close()
        raise
    try:
        meta = SnapshotMeta(reader.meta.index, reader.meta.term, Membership.of(config.members))
        writer = wal.snapshots.create(_GROUP, meta)
        done = 0
        with byte_progress("restoring", reader.snapshot.size) as show:
            for chunk in reader.chunks():
                writer.write(chunk)
                done += len(chunk)
                show(done)
        writer.commit()
        hard_state = HardState(meta.term, history=_history_of(settings.cluster_id, reader))
        entry = Entry(meta.index + 1, meta.term, history_lost(), KIND_COMMAND, reader.header.time_ms)
        wal.append([Write(group=_GROUP, hard_state=hard_state, reset=meta, entries=(entry,))])
        wal.end_restore()
    finally:
        reader.close()
        wal.close()


def _command(file: str, settings: ServerSettings) -> str:
    """Return the command that is being carried out, for whoever finds the directory before its end."""
    cluster = ",".join(f"{node}={address}" for node, address in settings.cluster.items())
    options = {"data-dir": settings.data_dir, "id": settings.id, "cluster": cluster, "cluster-id": settings.cluster_id}
    return shlex.join(["raftline", "restore", file, *(part for key in options for part in (f"--{key}", options[key]))])


def _history_of(cluster_id: str, reader: BackupReader) -> int:
    """The same number on every node restored from this backup, so that none mixes with one that started anew (C14)."""
    header, meta = reader.header, reader.meta
    origin = f"{cluster_id} {header.cluster_id} {header.node_id} {header.time_ms} {meta.index} {meta.term}"
    return zlib.crc32(origin.encode()) or 1
