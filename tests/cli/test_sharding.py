"""Whether a node is one of a sharded cluster: what it was told, against what its directory says."""

from pathlib import Path

import msgspec
import pytest

from raftline.cli.main import _spelled_out
from raftline.cli.settings import ServerSettings
from raftline.cli.sharding import is_sharded, mark_sharded
from raftline.errors import ConfigError
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal


def settings(directory: Path, sharded: str = "auto", join: str = "") -> ServerSettings:
    """Return those of a node."""
    cluster = {} if join else {"n1": "127.0.0.1:7001"}
    return ServerSettings(
        id="n1",
        data_dir=str(directory),
        cluster=cluster,
        listen="127.0.0.1:7001",
        join=join,
        sharded=sharded,  # type: ignore[arg-type]
    )


def nobody() -> bool:
    """Nobody is to be asked."""
    raise AssertionError("nobody is asked")


def test_a_new_cluster_is_what_it_is_told(tmp_path: Path) -> None:
    """Not sharded, unless it is asked for."""
    assert not is_sharded(settings(tmp_path / "d"), nobody)
    assert not is_sharded(settings(tmp_path / "d", "off"), nobody)
    assert is_sharded(settings(tmp_path / "d", "on"), nobody)


@pytest.mark.parametrize("sharded", ["auto", "off"])
def test_groups_are_of_a_sharded_cluster(tmp_path: Path, sharded: str) -> None:
    """Who counts them and forgets to say `--sharded` would find out when all keys are in one group, for good."""
    asked = msgspec.structs.replace(settings(tmp_path / "d", sharded), groups=8)
    with pytest.raises(ConfigError, match="groups: 8 groups are of a sharded cluster: say so, with --sharded"):
        is_sharded(asked, nobody)
    assert is_sharded(msgspec.structs.replace(asked, sharded="on"), nobody)
    Wal.open(OsFiles(), str(tmp_path), cluster_id="c", node_id="n1").close()
    later = msgspec.structs.replace(asked, data_dir=str(tmp_path), sharded="auto")
    assert not is_sharded(later, nobody), "it counts at the first start only"


def test_a_directory_remembers(tmp_path: Path) -> None:
    """A later start need not say it, and is refused in words if it says the opposite."""
    directory = tmp_path / "a" / "d"
    mark_sharded(str(directory))
    mark_sharded(str(directory))
    assert directory.stat().st_mode & 0o777 == 0o700, "nobody else reads what users wrote"
    assert is_sharded(settings(directory), nobody)
    assert is_sharded(settings(directory, "on"), nobody)
    with pytest.raises(ConfigError, match="is of a sharded cluster, and stays so"):
        is_sharded(settings(directory, "off"), nobody)


def test_an_unsharded_directory_stays_so(tmp_path: Path) -> None:
    """Its log would be read as something else."""
    Wal.open(OsFiles(), str(tmp_path), cluster_id="c", node_id="n1").close()
    assert not is_sharded(settings(tmp_path), nobody)
    with pytest.raises(ConfigError, match="is of a cluster that is not sharded, and stays so"):
        is_sharded(settings(tmp_path, "on"), nobody)


def test_a_log_begins_beside_the_mark(tmp_path: Path) -> None:
    """The mark is written first, so that no log is ever without it."""
    mark_sharded(str(tmp_path))
    Wal.open(OsFiles(), str(tmp_path), cluster_id="c", node_id="n1").close()
    assert is_sharded(settings(tmp_path), nobody)


def test_a_node_that_joins_is_what_its_cluster_is(tmp_path: Path) -> None:
    """Told otherwise, it is refused."""
    joining = settings(tmp_path, join="127.0.0.1:7002")
    assert is_sharded(joining, lambda: True)
    assert not is_sharded(joining, lambda: False)
    with pytest.raises(ConfigError, match=r"the cluster of 127.0.0.1:7002 is not sharded"):
        is_sharded(settings(tmp_path, "on", "127.0.0.1:7002"), lambda: False)
    with pytest.raises(ConfigError, match=r"the cluster of 127.0.0.1:7002 is sharded"):
        is_sharded(settings(tmp_path, "off", "127.0.0.1:7002"), lambda: True)


def test_the_flag_alone_means_on() -> None:
    """`--sharded` needs no value; with one, or elsewhere, words stay as they are."""
    assert _spelled_out(["server", "--sharded", "--id", "n1"]) == ["server", "--sharded", "on", "--id", "n1"]
    assert _spelled_out(["server", "--id", "n1", "--sharded"]) == ["server", "--id", "n1", "--sharded", "on"]
    assert _spelled_out(["server", "--sharded", "off"]) == ["server", "--sharded", "off"]
    assert _spelled_out(["demo", "--sharded"]) == ["demo", "--sharded"]
    behind_debug = _spelled_out(["--debug", "server", "--sharded", "--id", "n1"])
    assert behind_debug == ["--debug", "server", "--sharded", "on", "--id", "n1"]
