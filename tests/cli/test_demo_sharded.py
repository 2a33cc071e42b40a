"""The sharded demo tells the truth."""

from pathlib import Path

from rich.console import Console

from raftline.cli.demo_sharded import SETTINGS, ShardedDemo
from raftline.cli.local_cluster import LocalCluster


def test_the_sharded_demo_holds_its_promises(tmp_path: Path) -> None:
    """A group added, a node killed, a group removed, all under load: exit code 0 and a line for each promise (G15)."""
    with (tmp_path / "out").open("w") as out:
        console = Console(record=True, width=140, highlight=False, file=out)
        with LocalCluster(tmp_path, settings=SETTINGS) as cluster:
            code = ShardedDemo(cluster, console, write_s=0.5).run()
        told = console.export_text()
    assert code == 0, told
    assert "killed with SIGKILL" in told
    assert told.count("carried out after") == 2
    assert told.count("ok    ") == 5
    assert "FAIL" not in told
