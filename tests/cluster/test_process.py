"""The server as a process: one line on standard output, signals, exit codes, and disks that fail."""

import re
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from tests.cluster.conftest import STEADY

from raftline.cli.local_cluster import LocalCluster


def run_to_end(cluster: LocalCluster, name: str = "n1") -> tuple[int, str]:
    """Start a node that cannot serve; return its exit code and what it wrote to standard error."""
    cluster.start(name, wait=False)
    code = cluster.wait_exit(name)
    assert cluster.nodes[name].out_path.read_bytes() == b"", "nothing on standard output"
    return code, cluster.nodes[name].log()


def set_until_refused(client: redis.Redis, value: str) -> int:
    """Set key:0, key:1, ... until one is not acknowledged; return how many were."""
    for number in range(10_000):
        try:
            client.set(f"key:{number}", value)
        except redis.RedisError:
            return number
    raise AssertionError("the disk never refused")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_cleanly(start_cluster: Callable[..., LocalCluster], number: signal.Signals) -> None:
    """Exit code 0, clients' connections closed, and what was written is there after the next start."""
    cluster = start_cluster(size=1)
    client = cluster.client("n1")
    client.set("key", "value")
    assert cluster.terminate("n1", number) == 0
    with pytest.raises(redis.ConnectionError):
        client.get("key")
    cluster.start("n1")
    cluster.wait_for_leader()
    assert client.get("key") == b"value"
    client.close()


def test_there_is_one_line_on_standard_output(start_cluster: Callable[..., LocalCluster]) -> None:
    """It says where clients connect, where peers do, where the data is, and the pid."""
    cluster = start_cluster(size=1)
    node = cluster.nodes["n1"]
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.terminate("n1")
    assert node.out_path.read_text() == (
        f"raftline n1 serves Redis clients on 127.0.0.1:{node.port} "
        f"(peers on 127.0.0.1:{node.bus_port}, data in {node.data_dir}, pid {node.pid})\n"
    )


def test_a_node_without_a_quorum_stops_as_cleanly(tmp_path: Path) -> None:
    """SIGTERM while the node looks for the others: exit code 0."""
    with LocalCluster(tmp_path) as cluster:
        cluster.start("n1")
        assert cluster.terminate("n1") == 0


@pytest.mark.parametrize("which", ["port", "bus_port"])
def test_a_taken_port_ends_with_69(tmp_path: Path, which: str) -> None:
    """The message names the address."""
    with LocalCluster(tmp_path, size=1) as cluster, socket.socket() as taken:
        port = getattr(cluster.nodes["n1"], which)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who had it before may have left traces
        taken.bind(("127.0.0.1", port))
        taken.listen()
        code, log = run_to_end(cluster)
        assert code == 69
        assert re.search(rf"raftline n1 stops: .*127\.0\.0\.1', {port}|raftline n1 stops: .*127\.0\.0\.1:{port}", log)


def test_a_directory_in_use_ends_with_75(start_cluster: Callable[..., LocalCluster], tmp_path: Path) -> None:
    """Two processes never write one log."""
    cluster = start_cluster(size=1)
    with LocalCluster(tmp_path, size=1) as second:
        second.nodes["n1"].data_dir = cluster.nodes["n1"].data_dir
        code, log = run_to_end(second)
        assert code == 75
        assert "DirectoryInUse" in log
        assert str(cluster.nodes["n1"].data_dir) in log


def test_a_damaged_log_ends_with_76(tmp_path: Path) -> None:
    """A byte flipped inside the log: file, offset and reason are named, nothing is thrown away."""
    with LocalCluster(tmp_path, size=1) as cluster:
        cluster.start()
        cluster.wait_for_leader()
        with cluster.client("n1") as client:
            for number in range(100):
                client.set(f"key:{number}", "value" * 20)
        cluster.terminate("n1")
        log_file = max(cluster.nodes["n1"].data_dir.rglob("*"), key=lambda path: path.stat().st_size)
        data = bytearray(log_file.read_bytes())
        place = data.find(b"valuevalue", 2000)
        data[place] ^= 0xFF
        log_file.write_bytes(data)
        code, log = run_to_end(cluster)
        assert code == 76
        assert log_file.name in log
        assert "CorruptLog" in log
        assert log_file.read_bytes() == bytes(data)


@pytest.mark.parametrize("change", ["cluster_id", "id"])
def test_the_directory_of_another_node_or_cluster_is_refused(tmp_path: Path, change: str) -> None:
    """A copied or mixed-up directory is not joined to the wrong log."""
    with LocalCluster(tmp_path, size=2) as cluster:
        cluster.start()
        cluster.wait_for_leader()
        for name in cluster.nodes:
            cluster.terminate(name)
        if change == "cluster_id":
            cluster.settings["cluster_id"] = "other"
        else:
            cluster.nodes["n1"].data_dir = cluster.nodes["n2"].data_dir
        code, log = run_to_end(cluster)
        assert code == 2
        assert re.search(r"raftline n1 stops: ConfigError: .*('other'|'n2')", log)


def test_a_log_that_names_no_members_needs_the_list_again(start_cluster: Callable[..., LocalCluster]) -> None:
    """Without it the node would wait to be added to a cluster that it is a member of, and say so to its clients."""
    cluster = start_cluster(size=1)
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.terminate("n1")
    node = cluster.nodes["n1"]
    command = cluster.command("n1")
    at = command.index("--cluster")
    command[at : at + 2] = ["--listen", node.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the log in {node.data_dir} names no members yet: start the node with the --cluster" in done.stderr
    cluster.start("n1")
    cluster.wait_for_leader()
    with cluster.client("n1") as client:
        assert client.get("key") == b"value"


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_data_directory_that_is_a_file_is_told(tmp_path: Path, below: str) -> None:
    """A mistake in the settings: the path and the reason, in one sentence, and no traceback."""
    with LocalCluster(tmp_path, size=1) as cluster:
        (tmp_path / "file").write_text("")
        place = cluster.nodes["n1"].data_dir = tmp_path / "file" / below
        code, log = run_to_end(cluster)
        assert code == 2
        assert f"raftline n1 stops: ConfigError: {place} is a file, or lies below one, and no directory" in log
        assert "Traceback" not in log


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="there is no place that nobody may write to")
def test_a_data_directory_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    """Code 74: the path, the reason, what to check, and no traceback."""
    with LocalCluster(tmp_path, size=1) as cluster:
        cluster.nodes["n1"].data_dir = Path("/sys/kernel/raftline")
        code, log = run_to_end(cluster)
        assert code == 74
        assert re.search(
            r"could not open /sys/kernel/raftline: (Permission denied|Operation not permitted) \(this", log
        )
        assert "Traceback" not in log


def test_a_disk_that_refuses_writes_stops_the_node_with_74(start_cluster: Callable[..., LocalCluster]) -> None:
    """The node says why and ends; the other two go on, and what was acknowledged stays, on this node too."""
    cluster = start_cluster(settings=STEADY | {"segment_bytes": 1 << 17})
    leader = cluster.wait_for_leader()
    process = cluster.nodes[leader].process
    assert process is not None
    with cluster.client(leader) as client:
        client.set("key:0", "x" * 100)
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (64 << 10, hard))
        written = set_until_refused(client, "x" * 100)
    assert cluster.wait_exit(leader) == 74
    log = cluster.nodes[leader].log()
    assert re.search(rf"raftline {leader} stops: StorageError: .*\[exit code 74\]", log)
    other = cluster.wait_for_leader(other_than=leader)
    with cluster.client(other) as client:
        values = client.mget([f"key:{number}" for number in range(written)])
        assert values == [b"x" * 100] * written
        assert client.set("after", "1")
    cluster.start(leader)
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_node_with_74(tiny_disk: Path, tmp_path: Path) -> None:
    """No space for the next segment: clients get an error, the node says why; with more room it comes back complete."""
    with LocalCluster(tmp_path, size=1, settings={"segment_bytes": 1 << 20}) as cluster:
        cluster.nodes["n1"].data_dir = tiny_disk / "data"
        cluster.start()
        cluster.wait_for_leader()
        with cluster.client("n1") as client:
            written = set_until_refused(client, "x" * 10_000)
        assert cluster.wait_exit("n1") == 74
        assert re.search(r"stops: StorageError: .*[Nn]o space left", cluster.nodes["n1"].log())
        subprocess.run(["mount", "-o", "remount,size=32m", str(tiny_disk)], check=True)
        cluster.start()
        cluster.wait_for_leader()
        with cluster.client("n1") as client:
            values = client.mget([f"key:{number}" for number in range(written)])
            assert values == [b"x" * 10_000] * written
        assert cluster.terminate("n1") == 0


def test_a_disk_that_is_full_at_the_start_is_told(tiny_disk: Path, tmp_path: Path) -> None:
    """Code 74, which file, what to do, and no traceback; with room the same command starts the node."""
    with LocalCluster(tmp_path, size=1, settings={"segment_bytes": 1 << 20}) as cluster:
        (tiny_disk / "ballast").write_bytes(bytes(3_500_000))
        cluster.nodes["n1"].data_dir = tiny_disk / "data"
        code, log = run_to_end(cluster)
        assert code == 74
        assert re.search(r"could not make \S+/data/wal-\S+: No space left on device \(the disk is full: make room", log)
        assert "Traceback" not in log
        (tiny_disk / "ballast").unlink()
        cluster.start()
        cluster.wait_for_leader()
        assert cluster.terminate("n1") == 0


def test_stopping_takes_no_longer_with_clients_connected(start_cluster: Callable[..., LocalCluster]) -> None:
    """Idle and busy connections are closed by the node; none of them holds it up."""
    cluster = start_cluster(settings=STEADY)
    leader = cluster.wait_for_leader()
    idle = [socket.create_connection(("127.0.0.1", cluster.nodes[leader].port)) for _ in range(50)]
    busy = cluster.client(leader)
    busy.set("key", "value")
    assert cluster.terminate(leader) == 0
    assert "within the time for stopping" not in cluster.nodes[leader].log(), "stopped by itself, not by giving up"
    for connection in idle:
        with connection:
            assert connection.recv(100) == b""
    busy.close()
