"""Restarts and upgrades one node at a time, under load: no write fails, old and new nodes understand each other."""

import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from tests.cluster.conftest import STEADY

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.output import say
from raftline.transport.codec import VERSIONS

StartCluster = Callable[..., LocalCluster]

ROOT = Path(__file__).parents[2]
OLD_COMMIT = "64c0f74"
"""Before protocol versions were negotiated, members could change and leaders handed over."""

SPEAKS_ONE = """
import sys
from raftline.transport import codec, tcp
tcp.TcpTransport.__init__.__kwdefaults__["versions"] = codec.Versions(1, 1)
from raftline.cli.main import main
main()
"""
"""This code as a node of the first protocol version would be."""

SPEAKS_LATER = SPEAKS_ONE.replace("Versions(1, 1)", "Versions(98, 99)")
"""This code as a node of a release so late that it no longer speaks what we do."""

UNHURRIED = STEADY | {"drain_s_max": 30}
"""Nobody is elected, and nobody stops before all is answered, because a process had to wait for its turn."""

CONNECTION_ENDS = ("Connection closed by server", "Connection refused", "Connection reset by peer", "Broken pipe")


class Mixed(LocalCluster):
    """A cluster in which the nodes in `old` are started by `old_command`."""

    def __init__(self, directory: Path, old_command: list[str], **settings: object) -> None:
        super().__init__(directory, settings=settings)
        self.old = set(self.nodes)
        self._old_command = old_command

    def command(self, name: str) -> list[str]:
        """Return the command line of a node, old or new."""
        command = super().command(name)
        return [*self._old_command, *command[command.index("server") :]] if name in self.old else command


@contextmanager
def mixed_cluster(directory: Path, old_command: list[str], **settings: object) -> Iterator[Mixed]:
    """Start a cluster of old nodes."""
    with Mixed(directory, old_command, **settings) as cluster:
        cluster.start()
        cluster.wait_for_leader()
        yield cluster
        codes = {name: cluster.terminate(name) for name in cluster.nodes}
    assert set(codes.values()) == {0}
    assert [node.log() for node in cluster.nodes.values() if "Traceback" in node.log()] == []


def others(cluster: LocalCluster, name: str) -> list[int]:
    """Return the client ports of the other nodes."""
    return [node.port for node in cluster.nodes.values() if node.name != name]


def running_load(cluster: LocalCluster, ports: list[int], prefix: str = "load") -> Load:
    """Start clients with keys of their own and wait until they are at work."""
    load = Load(ports, writers=3, readers=1, prefix=prefix)
    load.start()
    cluster.wait_for(lambda: load.writes > 100, "100 writes")
    return load


def check_everywhere(cluster: LocalCluster, load: Load) -> None:
    """No read was wrong, everything acknowledged is on every node, and all have applied the same."""
    assert load.wrong == []
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    assert [fault for node in cluster.nodes.values() for fault in load.check_node(node.port)] == []


def longest_pause_s(load: Load, since: float) -> float:
    """Return the longest time without an acknowledgement since `since` (`time.monotonic`)."""
    times = [at for at in load.acknowledged_times() if at >= since]
    return max((after - before for before, after in pairwise(times)), default=0.0)


def test_a_leader_that_is_stopped_costs_no_write(
    start_cluster: StartCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clients of the others see no error, only a short pause, which is printed; the leader ends with code 0."""
    cluster = start_cluster(settings=UNHURRIED)
    pauses = []
    for turn in range(2):
        leader = cluster.wait_for_leader()
        load = running_load(cluster, others(cluster, leader), f"turn{turn}")
        stopped_at = time.monotonic()
        assert cluster.terminate(leader) == 0
        load.wait_acknowledged_after(time.monotonic(), 30.0)
        load.stop()
        assert (load.refusals, load.wrong) == ({}, [])
        pauses.append(longest_pause_s(load, stopped_at))
        cluster.start(leader)
    with capsys.disabled():
        say(f"\nSIGTERM of the leader: writes paused for {', '.join(f'{1000 * pause:.0f}' for pause in pauses)} ms")
    check_everywhere(cluster, load)


def test_all_three_are_restarted_one_by_one(start_cluster: StartCluster) -> None:
    """Clients of all nodes: nobody is refused anything; whoever is connected to the one that stops sees it end."""
    cluster = start_cluster(settings=UNHURRIED)
    load = running_load(cluster, [node.port for node in cluster.nodes.values()])
    for name in list(cluster.nodes):
        cluster.restart(name)
        load.wait_acknowledged_after(time.monotonic(), 30.0)
    load.stop()
    errors = {text: count for text, count in load.refusals.items() if not any(end in text for end in CONNECTION_ENDS)}
    assert errors == {}
    check_everywhere(cluster, load)


def test_an_upgrade_of_the_protocol_costs_no_write(tmp_path: Path) -> None:
    """Nodes that speak an older version are replaced one by one; clients of the others see no error."""
    with mixed_cluster(tmp_path, [sys.executable, "-c", SPEAKS_ONE], **UNHURRIED) as cluster:
        for name in list(cluster.nodes):
            load = running_load(cluster, others(cluster, name), f"without-{name}")
            cluster.old.discard(name)
            cluster.restart(name)
            load.wait_acknowledged_after(time.monotonic(), 30.0)
            load.stop()
            assert (load.refusals, load.wrong) == ({}, [])
        check_everywhere(cluster, load)
        log = cluster.nodes["n3"].log()
        assert "protocol=1" in log
        assert f"protocol={VERSIONS.newest}" in log


def test_a_node_without_a_common_version_harms_nobody_and_says_what_to_upgrade(tmp_path: Path) -> None:
    """Both sides name the older one in their logs; the others serve on, and with the right software it follows them."""
    with LocalCluster(tmp_path, size=3) as healthy:
        healthy.start()
        healthy.wait_for_leader()
        assert healthy.terminate("n3") == 0
        later = Mixed(tmp_path, [sys.executable, "-c", SPEAKS_LATER])
        later.nodes = healthy.nodes
        later.start("n3")
        reason = "protocol versions 98 to 99; 'n1' speaks"
        with healthy.client("n1") as client:
            assert client.set("key", "value")
        healthy.wait_for(lambda: reason in healthy.nodes["n1"].log(), "n1 refuses what it cannot speak")
        healthy.wait_for(lambda: "upgrade 'n1' first" in healthy.nodes["n3"].log(), "n3 hears why")
        assert "upgrade 'n1' first" in healthy.nodes["n1"].log()
        info = healthy.info("n3", 30)
        assert info is not None
        assert info.leader_id is None
        assert later.terminate("n3") == 0
        healthy.start("n3")
        healthy.wait_until_level()
        assert [healthy.terminate(name) for name in healthy.nodes] == [0, 0, 0]


def old_source(directory: Path) -> Path:
    """Return the source of the old commit; skip if the history does not reach back."""
    done = subprocess.run(["git", "archive", OLD_COMMIT, "src"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"commit {OLD_COMMIT} is not in this history, so there is no old node: {done.stderr.decode()[:80]}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory / "src"


@pytest.mark.timeout(120)
def test_nodes_of_the_first_protocol_are_upgraded_one_by_one(tmp_path: Path) -> None:
    """Really old code beside new: one cluster all along, nothing acknowledged is lost, their directories are read.

    The old code does not hand over when it stops, so what was under way at its leader then has an unknown outcome.
    """
    source = old_source(tmp_path / "old")
    command = ["env", f"PYTHONPATH={source}", sys.executable, "-m", "raftline.cli.main"]
    with mixed_cluster(tmp_path, command) as cluster:
        load = running_load(cluster, [node.port for node in cluster.nodes.values()])
        for name in list(cluster.nodes):
            cluster.old.discard(name)
            cluster.restart(name)
            load.wait_acknowledged_after(time.monotonic(), 30.0)
            assert all(cluster.info(each, 30) for each in cluster.nodes)
        load.stop()
        told = [*CONNECTION_ENDS, "may have been applied", "certain to be current", "did not take effect"]
        assert [text for text in load.refusals if not any(words in text for words in told)] == []
        check_everywhere(cluster, load)
        assert "protocol=1" in cluster.nodes["n1"].log()


def test_a_directory_of_a_newer_format_is_refused_in_words(start_cluster: StartCluster) -> None:
    """Code 2, what was found and what to do; the directory is left as it is."""
    cluster = start_cluster(size=1)
    assert cluster.terminate("n1") == 0
    (path,) = cluster.nodes["n1"].data_dir.glob("wal-*.log")
    newer = b"RLw2" + path.read_bytes()[4:]
    path.write_bytes(newer)
    cluster.start("n1", wait=False)
    assert cluster.wait_exit("n1") == 2
    assert f"{path} has format 2, this raftline reads up to 1: use a newer raftline" in cluster.nodes["n1"].log()
    assert path.read_bytes() == newer
