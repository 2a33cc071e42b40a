"""`raftline backup HOST:PORT FILE` and `raftline backup verify FILE`: all data as of one moment, in one checked file.

The node that is asked takes a snapshot with everything acknowledged so far and gives it piece by piece; nothing is in
memory as a whole on either side. The file gets its name when every byte of it was read back, checked and made durable.
"""

import os
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from raftline.cli.asking import Asker, pairs_of
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.output import byte_progress, complain, say
from raftline.core.entries import SnapshotMeta
from raftline.errors import ConfigError, CorruptLog, RaftlineError
from raftline.kv.snapshot import FORMAT, decode_changes, decode_header, decode_records
from raftline.runtime.backup import PIECE_BYTES_MAX
from raftline.wal.backup_file import BackupHeader, BackupReader
from raftline.wal.files import OsFiles, ReadOnlyOsFiles

__all__ = ["Checked", "check_backup", "run_backup", "run_backup_verify"]

_READS_AT_ONCE = 4
_PART = ".part"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole backup holds."""

    header: BackupHeader
    meta: SnapshotMeta
    chunk_count: int
    key_count: int | None
    """None if the state is not that of raftline's key/value store."""
    size_bytes: int

    @property
    def text(self) -> str:
        """Say in one line what it is."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.header.time_ms / 1000))
        keys = "" if self.key_count is None else f"{self.key_count:,} keys, "
        return (
            f"backup of cluster {self.header.cluster_id} by {self.header.node_id} ({self.header.software}) at {when}: "
            f"{keys}{self.size_bytes:,} bytes, log index {self.meta.index} of term {self.meta.term}"
        )


def run_backup(target: str, file: str, *, timeout_s: float) -> ExitCode:
    """Fetch a backup from the node at `target`; return the exit code."""
    path, part = Path(file), Path(f"{file}.{os.getpid()}{_PART}")  # another one may be making the same file
    if path.exists():
        complain(f"raftline backup: {file} is there already: name another file, or remove it first")
        return ExitCode.CONFIG
    try:
        with Asker(target, timeout_s) as node, open(part, "wb", opener=_private) as out:
            _fetch(node, out)
            out.flush()
            os.fsync(out.fileno())
        checked = check_backup(str(part))
        if path.exists():
            raise ConfigError(f"{file} was made by somebody else meanwhile: name another file")
        part.replace(path)
        OsFiles().sync_directory(str(path.absolute().parent))
    except (RaftlineError, OSError) as error:
        complain(f"raftline backup: {error}. Nothing was kept")
        return exit_code_of(error)
    finally:
        part.unlink(missing_ok=True)  # also when it was interrupted; it is gone already if it got its name
    say(f"{file}: {checked.text}")
    return ExitCode.OK


def run_backup_verify(file: str) -> ExitCode:
    """Read every byte of a backup and say what it holds; return the exit code."""
    try:
        checked = check_backup(file)
    except RaftlineError as error:
        complain(f"raftline backup verify: {error}")
        return exit_code_of(error)
    say(f"{file}: in order: {checked.text}")
    return ExitCode.OK


def check_backup(file: str) -> Checked:
    """Read a backup to its end; raises `CorruptLog`, `ConfigError` if it is newer, or another `StorageError`."""
    reader = BackupReader(ReadOnlyOsFiles(), file)
    try:
        size = reader.snapshot.size
        keys: _KeyCount | None = None
        count = done = 0
        with byte_progress("checking", size) as show:
            for chunk in reader.chunks():
                if count == 1:
                    keys = _KeyCount.begun_with(chunk)
                elif count and keys is not None:
                    keys.take(file, chunk)
                count += 1
                done += len(chunk)
                show(done)
        return Checked(
            header=reader.header,
            meta=reader.meta,
            chunk_count=count,
            key_count=None if keys is None else keys.checked(file),
            size_bytes=Path(file).stat().st_size,
        )
    finally:
        reader.close()


def _private(path: str, flags: int) -> int:
    """Open a file that this user alone may read: it holds all data, and the hashes of passwords."""
    return os.open(path, flags, 0o600)


class _KeyCount:
    """Counts the keys of the key/value store's chunks without keeping them."""

    def __init__(self, expected: int, cells: int) -> None:
        self._expected = expected
        self._found = 0
        self._cells_left = cells

    @classmethod
    def begun_with(cls, chunk: bytes) -> "_KeyCount | None":
        """Return a counter if the first chunk of the state is one of the key/value store's."""
        try:
            header = decode_header(chunk)
        except msgspec.MsgspecError:
            return None
        return cls(header.count, header.cells) if header.format <= FORMAT else None

    def take(self, file: str, chunk: bytes) -> None:
        """Count the keys that end in this chunk."""
        try:
            if self._cells_left > 0:
                self._cells_left -= len(decode_changes(chunk)) or 1
                return
            self._found += sum(not record.more for _, records in decode_records(chunk) for record in records)
        except msgspec.MsgspecError as error:
            raise CorruptLog(f"{file}: a chunk with a good checksum cannot be read: {error}") from error

    def checked(self, file: str) -> int:
        """Return how many keys there are; raises `CorruptLog` if some are missing."""
        if self._found != self._expected or self._cells_left:
            raise CorruptLog(f"{file}: it holds {self._found} keys, but was made of {self._expected}")
        return self._found


def _fetch(node: Asker, out: BinaryIO) -> None:
    """Ask for piece after piece, a few at a time, and write them down."""
    facts = pairs_of(node.ask("RAFTLINE.BACKUP", "BEGIN"))
    number, size, done = facts["backup"], facts["size"], 0
    with byte_progress("fetching", size) as show:
        while done < size:
            offsets = [done + ahead * PIECE_BYTES_MAX for ahead in range(_READS_AT_ONCE)]
            for piece in node.ask_all([("RAFTLINE.BACKUP", "READ", number, offset) for offset in offsets]):
                out.write(piece)
                done += len(piece)
            show(done)
    node.ask("RAFTLINE.BACKUP", "END", number)
