"""Real servers: each test gets processes of its own, and afterwards every one that still runs must stop cleanly."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftline.cli.local_cluster import LocalCluster

StartCluster = Callable[..., LocalCluster]

STEADY = {"election_timeout_s": "2.5,5"}
"""For tests in which nobody is to be elected after the beginning, though a process may stand for a second or two."""


def stop_cleanly(cluster: LocalCluster) -> None:
    """Resume and terminate whatever runs; each must end with exit code 0 and without a traceback in its log."""
    codes = {}
    try:
        for name, node in cluster.nodes.items():
            if node.running:
                cluster.resume(name)
                codes[name] = cluster.terminate(name)
    finally:
        cluster.close()
    assert set(codes.values()) <= {0}, f"exit codes on SIGTERM: {codes}"
    for node in cluster.nodes.values():
        assert "Traceback" not in node.log(), node.log()


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Call with `size`, `settings`, `prefix` to get a cluster that has a leader and takes every command."""
    clusters: list[LocalCluster] = []

    def start(**options: Any) -> LocalCluster:
        directory = tmp_path / f"cluster{len(clusters)}"
        directory.mkdir()
        cluster = LocalCluster(directory, **options)
        clusters.append(cluster)
        cluster.start()
        cluster.wait_until_agreed()
        return cluster

    try:
        yield start
    except BaseException:
        for cluster in clusters:
            cluster.close()
        raise
    for cluster in clusters:
        stop_cleanly(cluster)


@pytest.fixture(scope="module")
def shared_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One steady cluster for the tests of a file that leave it as it was; the file's SETTINGS, ACCESS are for it."""
    settings, access = STEADY | getattr(request.module, "SETTINGS", {}), getattr(request.module, "ACCESS", None)
    cluster = LocalCluster(tmp_path_factory.mktemp("shared"), settings=settings, access=access)
    try:
        cluster.start()
        cluster.wait_until_agreed()
        yield cluster
    except BaseException:
        cluster.close()
        raise
    stop_cleanly(cluster)
