"""`raftline restore` interrupted: nothing starts from half of one, and the command can be given again."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raftline.cli.main import app
from raftline.cli.restore import restore_into
from raftline.cli.settings_loading import load_settings
from raftline.core.entries import SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import ConfigError, CorruptLog
from raftline.replica.commands import history_lost
from raftline.sim.disk import SimFiles
from raftline.wal.backup_file import BACKUP_VERSION, BackupHeader, encode_backup_header
from raftline.wal.files import OsFiles
from raftline.wal.inspect import survey
from raftline.wal.snapshot_store import SnapshotReader, SnapshotStore
from raftline.wal.wal import Wal

META = SnapshotMeta(7, 2, Membership.of({"n1": "h:1@2"}))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of two chunks."""
    place = tmp_path / "made"
    place.mkdir()
    writer = SnapshotStore(OsFiles(), str(place)).create(0, META)
    for chunk in (b"first", b"second" * 100):
        writer.write(chunk)
    writer.commit()
    (snapshot,) = place.glob("*.snap")
    path = tmp_path / "backup"
    header = BackupHeader(BACKUP_VERSION, "c", "n1", 1_700_000_000_000, "raftline x")
    path.write_bytes(encode_backup_header(header) + snapshot.read_bytes())
    return path


def settings(directory: str) -> Any:
    """Return the settings of a restore into `directory`."""
    flags = {"id": "n1", "cluster": "n1=h:7", "data_dir": directory, "cluster_id": "new", "segment_bytes": "65536"}
    return load_settings(flags, {}).settings


def start(files: Any, directory: str) -> Wal:
    """Open the directory as a server does."""
    return Wal.open(files, directory, cluster_id="new", node_id="n1", segment_bytes=64 << 10)


def test_a_crash_at_any_step_leaves_nothing_that_starts(backup: Path, crashes_of: Any) -> None:
    """Until the last step the directory is empty or refused by name; after it everything is there (C14, D12)."""

    def restore(files: SimFiles) -> None:
        restore_into(files, str(backup), settings("/d"))

    def prepare(files: SimFiles) -> None:
        files.make_directory("/")

    found: Counter[str] = Counter()
    for point, files in crashes_of(prepare, restore):
        names = set(files.list("/d")) - {"LOCK"} if files.exists("/d") else set()
        if not names:
            found["empty"] += 1
            restore(files)
        elif "RESTORING" in names:
            found["marked"] += 1
            with pytest.raises(CorruptLog, match="a restore was begun here and has not ended"):
                start(files, "/d")
            assert [line.file for line in survey(files, "/d").problems][:1] == ["RESTORING"], point
            restore(files)
        else:
            found["whole"] += 1
        wal = start(files, "/d")
        recovered = wal.recovered[0]
        assert recovered.hard_state is not None
        assert recovered.hard_state.established, point
        assert recovered.snapshot is not None
        assert recovered.snapshot.index == META.index, point
        assert [(entry.index, entry.term, entry.data) for entry in recovered.entries] == [(8, 2, history_lost())], point
        (name,) = (name for name in files.list("/d") if name.endswith(".snap"))
        reader = SnapshotReader(name, files.open(f"/d/{name}"))
        assert list(reader.chunks()) == [b"first", b"second" * 100], point
        assert "RESTORING" not in files.list("/d")
    assert found["empty"] > 3
    assert found["marked"] > 20
    assert found["whole"] > 1


def test_a_server_names_the_command_that_was_interrupted(backup: Path, tmp_path: Path) -> None:
    """What, where, and what to do; `wal verify` and `recover` say the same, and another restore begins anew."""
    directory = tmp_path / "n1"
    Wal.restore(OsFiles(), str(directory), cluster_id="old", node_id="n9", command="raftline restore THIS").close()
    words = (
        f"{directory}: a restore was begun here and has not ended, so what it holds is not complete: "
        "give the command again, it begins anew: raftline restore THIS"
    )
    base = ("--data-dir", str(directory), "--id", "n1", "--cluster", "n1=127.0.0.1:7")
    server = ("server", *base, "--cluster-id", "new")
    for arguments in (server, ("wal", "verify", str(directory)), ("recover", *base, "--yes")):
        command = [sys.executable, "-m", "raftline.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 76, arguments
        assert words in done.stderr, arguments
    (directory / "snapshot-0-0000000000000007-2.snap.taken.tmp").write_bytes(b"half")
    nameless = CliRunner().invoke(app, ["restore", str(backup), *base, "--cluster-id", ""])
    assert nameless.exit_code == 2
    assert "--cluster-id: it is empty: give the new cluster a name of its own" in nameless.stderr
    again = CliRunner().invoke(app, ["restore", str(backup), *base, "--cluster-id", "new"])
    assert (again.exit_code, again.stderr) == (0, "")
    assert [path for path in directory.iterdir() if path.suffix == ".tmp"] == []
    start(OsFiles(), str(directory)).close()


def test_the_command_in_the_mark_is_the_one_that_was_given(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every option, quoted where a shell needs it."""
    given = {}

    def note(*_: object, command: str, **__: object) -> Wal:
        given["command"] = command
        raise CorruptLog("enough")

    monkeypatch.setattr(Wal, "restore", note)
    with pytest.raises(CorruptLog, match="enough"):
        restore_into(OsFiles(), str(backup), settings("/data of/n1"))
    assert given["command"] == (
        f"raftline restore {backup} --data-dir '/data of/n1' --id n1 --cluster n1=h:7 --cluster-id new"
    )


def test_only_what_a_restore_left_is_removed(tmp_path: Path) -> None:
    """Without the mark anything is somebody's; with it, what no restore writes stays."""
    files = OsFiles()
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        Wal.restore(files, str(tmp_path), cluster_id="new", node_id="n1", command="")
    (tmp_path / "RESTORING").touch()
    (tmp_path / "wal-1.tmp").write_text("half")
    wal = Wal.restore(files, str(tmp_path), cluster_id="new", node_id="n1", command="", segment_bytes=64 << 10)
    wal.close()
    assert sorted(path.name for path in tmp_path.iterdir())[:3] == ["LOCK", "RESTORING", "notes"]
    with pytest.raises(CorruptLog, match="give `raftline restore` again"):
        start(files, str(tmp_path))
