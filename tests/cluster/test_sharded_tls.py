"""A sharded cluster on real processes that speaks nothing but mutual TLS: its clients, its movers and its commands."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster
from tests.cluster.conftest import STEADY
from tests.cluster.test_tls import mutual_tls, shown

if TYPE_CHECKING:
    from tests.conftest import Office

    from raftline.cli.local_cluster import LocalCluster

    StartCluster = Callable[..., LocalCluster]

VALUE = b"v" * 20_000


def raftline(*arguments: object) -> str:
    """Run the command line as people do, and return what it says; fails if it does."""
    command = [sys.executable, "-m", "raftline.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serves_all(cluster: "LocalCluster", node: str) -> bool:
    """Say whether a node knows who serves each slot, and that it is served."""
    found: dict[str, str] = cluster.client(node).execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    return found["cluster_state"] == "ok"


def test_a_sharded_cluster_under_mutual_tls(start_cluster: "StartCluster", office: "Office") -> None:
    """Cluster clients find every group, slots move with what they hold, and commands show it all."""
    files = office.files("n1", "n2", "n3", "127.0.0.1", stem="nodes")
    mine = office.files("operator", stem="operator")
    settings = STEADY | {"sharded": "on", "groups": 2, "replicas": 2} | mutual_tls(files, office)
    access, options = shown(mine, office)
    cluster = start_cluster(settings=settings, access=access)
    cluster.wait_for(lambda: all(serves_all(cluster, node) for node in cluster.nodes), "all slots")
    target = f"127.0.0.1:{cluster.nodes['n1'].port}"
    of_tls: dict[str, Any] = {
        "ssl": True,
        "ssl_ca_certs": str(office.ca_file),
        "ssl_certfile": mine._cert_file,
        "ssl_keyfile": mine._key_file,
    }
    with RedisCluster(host="127.0.0.1", port=cluster.nodes["n2"].port, **of_tls) as client:
        names = [f"key:{number}" for number in range(100)]
        for name in names:
            assert client.set(name, VALUE)
        counted, is_over = [0], threading.Event()

        def count() -> None:
            with RedisCluster(host="127.0.0.1", port=cluster.nodes["n3"].port, **of_tls) as other:
                while not is_over.is_set():
                    other.incr(f"{{{counted[0] % 50}}}counter")
                    counted[0] += 1

        thread = threading.Thread(target=count)
        thread.start()
        try:
            said = raftline("shard", "add-group", "--node", target, "--count", 2, *options)
            assert "carried out" in said
            raftline("shard", "remove-group", 1, "--node", target, *options)
        finally:
            is_over.set()
            thread.join()
        assert counted[0] > 0
        assert sum(int(client.get(f"{{{number}}}counter") or 0) for number in range(50)) == counted[0]
        assert [client.get(name) for name in names] == [VALUE] * 100

    assert "n3" in raftline("shard", "status", "--node", target, *options)
    assert "n3" in raftline("top", target, "--once", "--timeout-s", 30, *options)
