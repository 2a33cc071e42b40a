"""TLS on real processes: a cluster that speaks nothing else, and the commands that connect to it."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from tests.cluster.conftest import STEADY

from raftline.cli.access import Access

if TYPE_CHECKING:
    from tests.conftest import Office

    from raftline.cli.local_cluster import LocalCluster
    from raftline.transport.tls import TlsFiles

    StartCluster = Callable[..., LocalCluster]


def raftline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as people do."""
    command = [sys.executable, "-m", "raftline.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def mutual_tls(files: "TlsFiles", office: "Office") -> dict[str, object]:
    """Return the settings of nodes that believe nobody without a certificate."""
    return {
        "tls_clients": "mutual",
        "tls_peers": "mutual",
        "tls_cert": files._cert_file,
        "tls_key": files._key_file,
        "tls_ca": office.ca_file,
    }


def shown(files: "TlsFiles", office: "Office") -> tuple[Access, list[object]]:
    """Return how a client shows a certificate to such nodes, and the options by which a command does."""
    cert, key = files._cert_file, files._key_file
    options: list[object] = ["--tls-ca", office.ca_file, "--tls-cert", cert, "--tls-key", key]
    return Access(tls=True, ca=str(office.ca_file), cert=cert, key=key), options


def test_a_cluster_under_mutual_tls(start_cluster: "StartCluster", office: "Office", tmp_path: Path) -> None:
    """Clients, peers, a joining node and every command work over mutual TLS; SIGHUP brings new certificates."""
    files = office.files("n1", "n2", "n3", "n4", "127.0.0.1", stem="nodes")
    mine = office.files("operator", stem="operator")
    settings = STEADY | mutual_tls(files, office)
    access, options = shown(mine, office)
    cluster = start_cluster(settings=settings, access=access)
    assert cluster.client("n2").set("key", "value")
    assert cluster.client("n3").get("key") == b"value"

    cluster.grow("n4", joins="n1")
    cluster.start("n4", wait=False)
    target = f"127.0.0.1:{cluster.nodes['n1'].port}"
    added = raftline("member", "add", f"n4={cluster.nodes['n4'].address}", "--node", target, *options)
    assert added.returncode == 0, added.stderr
    cluster.wait_until_serving("n4")
    assert cluster.client("n4").get("key") == b"value"
    assert raftline("status", target, "--timeout-s", 30, *options).returncode == 0
    assert raftline("backup", target, tmp_path / "backup", *options).returncode == 0

    without = raftline("status", target, "--tls-ca", office.ca_file)
    assert without.returncode == 69
    assert "certificate required" in without.stderr
    plain = raftline("status", target)
    assert plain.returncode == 69
    assert "this port speaks TLS" in plain.stderr

    replacement = office.files("nobody", stem="replacement")
    shutil.copy(replacement._cert_file, files._cert_file)
    shutil.copy(replacement._key_file, files._key_file)
    process = cluster.nodes["n1"].process
    assert process is not None
    process.send_signal(signal.SIGHUP)
    cluster.wait_for(lambda: "certificates read again" in cluster.nodes["n1"].log(), "SIGHUP")
    with pytest.raises(redis.ConnectionError, match=r"certificate is not valid for '127.0.0.1'"):
        cluster.client("n1").ping()


def test_a_node_without_tls_does_not_take_part(start_cluster: "StartCluster", office: "Office") -> None:
    """One of three nodes speaks plain text with its peers: both sides say what is wrong, and the others go on."""
    files = office.files("n1", "n2", "n3", stem="nodes")
    settings = STEADY | {
        "tls_peers": "mutual",
        "tls_cert": files._cert_file,
        "tls_key": files._key_file,
        "tls_ca": office.ca_file,
    }
    cluster = start_cluster(settings=settings)
    odd = cluster.followers()[0]
    cluster.terminate(odd)
    cluster.settings = {}
    cluster.start(odd, wait=False)
    other = cluster.wait_for_leader()
    cluster.wait_for(lambda: "this node speaks TLS with its peers" in cluster.nodes[odd].log(), "the odd one's log")
    cluster.wait_for(lambda: "it sent plain text where TLS is spoken" in cluster.nodes[other].log(), "the leader's log")
    assert cluster.client(other).set("key", "value")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tls-peers", "mutual"], "--tls-peers: mutual needs tls_cert"),
        (["--tls-clients", "on", "--tls-cert", "x"], "--tls-clients: on needs tls_key"),
        (["--tls-cert", "x"], "--tls-cert: it is given, but no port speaks TLS"),
        (["--tls-clients", "mutual", "--tls-cert", "x", "--tls-key", "y"], "--tls-clients: mutual needs tls_ca"),
        (["--tls-clients", "on", "--tls-cert", "x", "--tls-key", "y"], "certificate x with key y: cannot be read"),
    ],
)
def test_settings_that_do_not_suffice_are_refused(tmp_path: Path, flags: list[str], words: str) -> None:
    """TLS without its files, files without TLS, and files that cannot be read end the start with exit code 2."""
    start = ["server", "--id", "n1", "--cluster", "n1=127.0.0.1:1@2", "--data-dir", tmp_path / "data"]
    done = raftline(*start, *flags)
    assert done.returncode == 2
    assert words in done.stderr
