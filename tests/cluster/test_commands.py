"""`raftline server` from a file and from variables, and `raftline status`, as an operator uses them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster.conftest import STEADY

from raftline.cli.local_cluster import LocalCluster

RAFTLINE = [sys.executable, "-m", "raftline.cli.main"]


def status_of(cluster: LocalCluster, name: str, *flags: str) -> tuple[int, str, str]:
    """Run `raftline status` against one node; return exit code, standard output, standard error."""
    command = [*RAFTLINE, "status", f"127.0.0.1:{cluster.nodes[name].port}", "--timeout-s", "30", *flags]
    done = subprocess.run(command, capture_output=True, timeout=100, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_status_shows_the_cluster_from_any_node(start_cluster: Callable[..., LocalCluster]) -> None:
    """All in order: code 0. A member killed: its row says so, code 1. The node asked is dead: code 69."""
    cluster = start_cluster(settings=STEADY)
    leader = cluster.wait_for_leader()
    cluster.wait_until_level()
    for name in cluster.nodes:
        code, out, _ = status_of(cluster, name, "--json")
        document = json.loads(out)
        assert (code, document["in_order"], document["leader_id"]) == (0, True, leader)
        assert [member["node_id"] for member in document["members"]] == ["n1", "n2", "n3"]
        assert all(member["reachable"] for member in document["members"])
        assert {member["address"] for member in document["members"]} == {
            node.address for node in cluster.nodes.values()
        }
    victim = cluster.followers()[0]
    cluster.kill9(victim)
    code, out, _ = status_of(cluster, leader)
    assert code == 1
    assert f"{leader} leads 3 members" in out
    assert f"unreachable: {victim}" in out
    code, _, err = status_of(cluster, victim)
    assert code == 69
    assert "refused" in err


def test_a_node_starts_from_a_file_and_variables(tmp_path: Path) -> None:
    """The same server as from flags; the variable counts before the file."""
    with LocalCluster(tmp_path, size=1) as cluster:
        node = cluster.nodes["n1"]
        config = tmp_path / "raftline.toml"
        config.write_text(
            f'id = "n1"\ndata_dir = "{tmp_path / "from-file"}"\nlog_format = "json"\n[cluster]\nn1 = "{node.address}"\n'
        )
        environment = {**os.environ, "RAFTLINE_DATA_DIR": str(node.data_dir), "RAFTLINE_PORT": "tcp://10.0.0.1:1"}
        with node.out_path.open("wb") as out, node.log_path.open("wb") as log:
            node.process = subprocess.Popen(
                [*RAFTLINE, "server", "--config", str(config)], stdout=out, stderr=log, env=environment
            )
        cluster.wait_until_serving("n1")
        cluster.wait_for_leader()
        with cluster.client("n1") as client:
            assert client.set("key", "value")
        assert cluster.terminate("n1") == 0
        assert node.data_dir.is_dir()
        assert not (tmp_path / "from-file").exists()
        events = [json.loads(line) for line in node.log().splitlines()]
        assert {event["node"] for event in events} == {"n1"}
        assert any(event.get("variable") == "RAFTLINE_PORT" for event in events)
