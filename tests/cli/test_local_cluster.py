"""A cluster of real processes on this machine; one node is enough to show what the handles do."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftline.cli import local_cluster
from raftline.cli.local_cluster import ClusterTrouble, LocalCluster, free_port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One node, running."""
    with LocalCluster(tmp_path_factory.mktemp("one"), size=1, settings={"log_level": "info"}) as one:
        one.start()
        yield one


def test_ports_are_given_once() -> None:
    """No two nodes of one run share a port."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_no_other_process_is_given_a_port_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that start clusters side by side do not meet, though neither listens yet."""
    port = free_port()
    monkeypatch.setattr(local_cluster, "_PORTS", range(port, port + 1))
    monkeypatch.setattr(local_cluster, "_claims", {})  # what another process knows of this one's
    with pytest.raises(ClusterTrouble, match="no free port found"):
        free_port()


def test_ports_that_were_given_take_few_descriptors() -> None:
    """A process that starts clusters all day does not run out of files."""
    descriptors = Path("/proc/self/fd")
    for _ in range(200):
        free_port()
    before = len(list(descriptors.iterdir()))
    for _ in range(200):
        free_port()
    assert len(list(descriptors.iterdir())) <= before


def test_the_command_line_has_identity_cluster_and_settings(tmp_path: Path) -> None:
    """Every node is told the same cluster; settings become flags; a prefix goes first."""
    three = LocalCluster(tmp_path, settings={"segment_bytes": 65536}, prefix=("nice",))
    command = three.command("n2")
    assert command[0] == "nice"
    assert command[command.index("--id") + 1] == "n2"
    assert command[command.index("--cluster") + 1].count("=127.0.0.1:") == 3
    assert command[command.index("--segment-bytes") + 1] == "65536"


def test_a_node_that_joins_is_told_whom(tmp_path: Path) -> None:
    """Its own address and one of the first members' client address; those are told nothing of it."""
    three = LocalCluster(tmp_path)
    node = three.grow("n4", joins="n2")
    command = three.command("n4")
    assert command[command.index("--join") + 1] == f"127.0.0.1:{three.nodes['n2'].port}"
    assert command[command.index("--listen") + 1] == node.address
    assert "--cluster" not in command
    assert "n4=" not in three.command("n1")[three.command("n1").index("--cluster") + 1]


def test_with_proxies_every_node_is_told_their_addresses(tmp_path: Path) -> None:
    """The same for all, as without; the nodes listen elsewhere, at the same ports, where clients find them."""
    three = LocalCluster(tmp_path)
    three.link_proxies()
    told = {name: three.command(name) for name in three.nodes}
    clusters = {command[command.index("--cluster") + 1] for command in told.values()}
    assert clusters == {",".join(f"{n.name}=127.0.0.2:{n.port}@{n.bus_port}" for n in three.nodes.values())}
    assert all(command[command.index("--bind") + 1] == "127.0.0.1" for command in told.values())


def test_a_node_leads_alone_and_answers(cluster: LocalCluster) -> None:
    """A cluster of one elects itself."""
    assert cluster.wait_for_leader() == "n1"
    assert cluster.followers() == []
    with cluster.client("n1") as client:
        assert client.set("key", "value")
    assert cluster.wait_until_level()["n1"].role == "leader"
    assert "recovered" in cluster.nodes["n1"].log()


def test_a_paused_node_does_not_answer_until_it_is_resumed(cluster: LocalCluster) -> None:
    """SIGSTOP and SIGCONT."""
    cluster.pause("n1")
    assert cluster.info("n1", 0.2) is None
    cluster.resume("n1")
    cluster.wait_for(lambda: cluster.info("n1"), "an answer", 60.0)


def test_what_was_written_survives_kill9_but_not_a_wipe(cluster: LocalCluster) -> None:
    """The directory is the node's memory."""
    with cluster.client("n1") as client:
        client.set("kept", "1")
    cluster.kill9("n1")
    assert not cluster.nodes["n1"].running
    cluster.start("n1")
    cluster.wait_for_leader()
    with cluster.client("n1") as client:
        assert client.get("kept") == b"1"
    cluster.restart("n1")
    cluster.kill9()
    cluster.wipe("n1")
    cluster.start()
    cluster.wait_for_leader()
    with cluster.client("n1") as client:
        assert client.get("kept") is None


def test_a_node_that_ends_instead_of_serving_is_told_with_its_log(tmp_path: Path) -> None:
    """The exit code and the last lines are in the message."""
    broken = LocalCluster(tmp_path, size=1, settings={"log_level": "loud"})
    with broken, pytest.raises(ClusterTrouble, match=r"exit code 2 before it served:\n.*write one of debug"):
        broken.start()


def test_waiting_is_bounded(cluster: LocalCluster) -> None:
    """What does not come is said in words."""
    with pytest.raises(ClusterTrouble, match=r"a miracle: not after 0\.05 s"):
        cluster.wait_for(lambda: False, "a miracle", 0.05)
    with pytest.raises(ClusterTrouble, match=r"no leader after 0\.05 s"):
        cluster.wait_for_leader(0.05, other_than="n1")


def test_leaving_the_context_ends_every_process(tmp_path: Path) -> None:
    """A paused process too."""
    with LocalCluster(tmp_path, size=1) as one:
        one.start()
        process = one.nodes["n1"].process
        assert process is not None
        one.pause("n1")
    assert process.poll() == -signal.SIGKILL


def test_a_node_that_does_not_end_is_told(cluster: LocalCluster) -> None:
    """Waiting for an exit is bounded as well."""
    began = time.monotonic()
    with pytest.raises(ClusterTrouble, match=r"n1 has not ended after 0\.05 s"):
        cluster.wait_exit("n1", 0.05)
    assert cluster.nodes["n1"].running
    assert time.monotonic() >= began + 0.05
