"""TLS between the library's nodes, with real certificates."""

import asyncio
from typing import Any

import pytest
import structlog

from raftline import ConfigError, NodeConfig, TlsFiles


def test_only_certified_nodes_take_part(make_cluster: Any, office: Any) -> None:
    """Two nodes with certificates agree; one without TLS, or with a foreign certificate, is not let in."""

    async def scenario() -> None:
        async with make_cluster(started=False) as cluster:
            start_one = cluster._start  # its own way, with settings of each node
            for name in ("n1", "n2"):
                cluster.settings["tls"] = office.files(name)
                await start_one(name)
            leader = await cluster.leader()
            assert await leader.propose(b"k=1") == b""
            cluster.settings["tls"] = None
            with structlog.testing.capture_logs() as lines:
                await start_one("n3")
                await cluster.until(lambda: any("TLS" in str(line) for line in lines))
            assert cluster.nodes["n3"].status().applied_index == 0
            await cluster.stop("n3")
            cluster.settings["tls"] = office.files("n2")
            with structlog.testing.capture_logs() as lines:
                await start_one("n3")
                await cluster.until(lambda: any("certificate" in str(line) for line in lines))
            assert cluster.nodes["n3"].status().applied_index == 0
            await cluster.stop("n3")
            cluster.settings["tls"] = office.files("n3")
            await start_one("n3")
            await cluster.until(lambda: cluster.machines["n3"].values.get(b"k") == b"1")
            cluster.settings["tls"].reload()
            assert await cluster.nodes["n3"].propose(b"k=2") == b"1"

    asyncio.run(scenario())


def test_files_that_cannot_be_used_are_named(office: Any, tmp_path: Any) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match=r"nothing\.crt"):
        TlsFiles(str(tmp_path / "nothing.crt"), str(tmp_path / "nothing.key"), str(office.ca_file))
    config = NodeConfig(node_id="n1", members={"n1": "127.0.0.1:7001"}, data_dir="unused", tls=office.files("n1"))
    assert config.check().tls is not None
