"""The files for systemd, containers and Kubernetes: they parse; settings, ports and paths in them exist and agree."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from raftline.cli.exit_codes import ExitCode
from raftline.cli.settings import settings_table
from raftline.cli.settings_loading import load_settings
from raftline.kv.monitor import Monitor
from raftline.runtime.config import NodeConfig
from raftline.transport.address import parse_address, parse_client_address

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
VARIABLES = {row.variable for row in settings_table()}
PAGES = set(Monitor("127.0.0.1", 0, lambda: None, lambda: None).door.routes)
CLIENTS, PEERS, METRICS = 7001, 17001, 9121
DRAIN_S_MAX = NodeConfig(node_id="", members={}, data_dir="").drain_s_max
STOP_S_MIN = 2 * DRAIN_S_MAX + 10
"""Clients and successor, and the ten seconds that a stuck disk is waited for."""


def _unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "raftline.service", encoding="utf-8")
    return parser


def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / "compose.yml").read_text(encoding="utf-8"))
    return loaded


def _kubernetes() -> dict[str, Any]:
    """Return the objects by kind and name."""
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "raftline.yml").read_text(encoding="utf-8"))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in documents}


def _image_environment() -> dict[str, str]:
    return dict(re.findall(r"\b(RAFTLINE_[A-Z_]+)=(\S+)", DOCKERFILE.read_text(encoding="utf-8")))


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _kubernetes()["StatefulSet/raftline"]["spec"]["template"]["spec"]
    return pod


def _container() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    loaded: dict[str, Any] = container
    return loaded


def _check_starts(environment: dict[str, str]) -> None:
    """The settings are accepted as a server would take them, and use the ports that are open."""
    assert set(environment) <= VARIABLES
    loaded = load_settings({}, environment, None)
    assert loaded.unknown_variables == ()
    own = parse_address(loaded.settings.cluster[loaded.settings.id])
    assert (own.port, own.bus_port) == (CLIENTS, PEERS)
    metrics = parse_client_address(loaded.settings.metrics)
    assert metrics is not None
    assert metrics.port == METRICS
    assert loaded.settings.data_dir.startswith("/data/")


def test_the_unit_runs_the_server_and_knows_its_exit_codes() -> None:
    """What needs a person first is not started again by itself; the rest is."""
    service = _unit()["Service"]
    words = service["ExecStart"].split()
    assert words[0].endswith("/raftline")
    assert words[1:3] == ["server", "--config"]
    assert service["Restart"] == "on-failure"
    kept_down = [int(code) for code in service["RestartPreventExitStatus"].split()]
    assert kept_down == [ExitCode.CONFIG, ExitCode.SAFETY, ExitCode.CORRUPT]
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) >= STOP_S_MIN
    assert service["ExecReload"].startswith("/bin/kill -HUP")


def test_the_image_opens_the_ports_that_its_settings_name() -> None:
    """Clients, peers and metrics; an unprivileged user; health asked where it is told."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    environment = _image_environment()
    assert set(environment) <= VARIABLES
    (exposed,) = re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE)
    assert [int(port) for port in exposed.split()] == [CLIENTS, PEERS, METRICS]
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", text)
    assert (int(asked[0]), asked[1]) == (METRICS, "/healthz")
    assert asked[1] in PAGES
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["raftline", "server"]' in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((DEPLOY.parent / name).exists() for name in source.split())


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
def test_each_composed_node_would_start(name: str) -> None:
    """Its settings, on top of the image's, are accepted; each has a volume and ports of its own on the host."""
    compose = _compose()
    service = compose["services"][name]
    _check_starts({**_image_environment(), **service["environment"]})
    assert service["environment"]["RAFTLINE_ID"] == name
    assert (DEPLOY / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKERFILE
    assert service["volumes"] == [f"{name}:/data"]
    assert name in compose["volumes"]
    inside = [int(port.rpartition(":")[2]) for port in service["ports"]]
    assert inside == [CLIENTS, METRICS]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_no_two_composed_nodes_share_a_port_of_the_host() -> None:
    """All three can be reached at once."""
    ports = [port.split(":")[1] for service in _compose()["services"].values() for port in service["ports"]]
    assert len(ports) == len(set(ports)) == 6


def test_each_pod_would_start() -> None:
    """Named by the StatefulSet, each finds itself in the cluster's list, under the name that its service gives it."""
    objects = _kubernetes()
    stateful = objects["StatefulSet/raftline"]["spec"]
    environment = {each["name"]: each.get("value", "") for each in _container()["env"]}
    for number in range(stateful["replicas"]):
        _check_starts({**environment, "RAFTLINE_ID": f"raftline-{number}"})
    members = load_settings({}, {**environment, "RAFTLINE_ID": "raftline-0"}, None).settings.cluster
    assert len(members) == stateful["replicas"]
    assert f"Service/{stateful['serviceName']}" in objects
    for name, address in members.items():
        assert address.startswith(f"{name}.{stateful['serviceName']}.")


def test_pods_find_each_other_before_they_are_ready() -> None:
    """A node is ready when a majority is there, so no pod may wait for another one's readiness."""
    objects = _kubernetes()
    nodes = objects["Service/raftline-nodes"]["spec"]
    assert nodes["publishNotReadyAddresses"] is True
    assert nodes["clusterIP"] == "None"
    assert objects["StatefulSet/raftline"]["spec"]["podManagementPolicy"] == "Parallel"
    assert objects["PodDisruptionBudget/raftline"]["spec"]["maxUnavailable"] == 1


def test_probes_and_ports_are_those_of_the_server() -> None:
    """Life is asked at /healthz, readiness at /readyz, both at the port for metrics; selectors hit the pods."""
    objects, container = _kubernetes(), _container()
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"clients": CLIENTS, "peers": PEERS, "metrics": METRICS}
    for probe, page in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": page, "port": "metrics"}
        assert page in PAGES
    assert _pod()["terminationGracePeriodSeconds"] >= STOP_S_MIN
    labels = objects["StatefulSet/raftline"]["spec"]["template"]["metadata"]["labels"]
    for each in ("Service/raftline", "Service/raftline-nodes"):
        assert objects[each]["spec"]["selector"] == labels
    for each in ("StatefulSet/raftline", "PodDisruptionBudget/raftline"):
        assert objects[each]["spec"]["selector"]["matchLabels"] == labels
    (mount,) = container["volumeMounts"]
    (claim,) = objects["StatefulSet/raftline"]["spec"]["volumeClaimTemplates"]
    assert mount == {"name": claim["metadata"]["name"], "mountPath": "/data"}


def test_only_nodes_reach_the_port_for_peers() -> None:
    """It is not protected by itself unless TLS is on."""
    rules = _kubernetes()["NetworkPolicy/raftline"]["spec"]["ingress"]
    with_peers = [rule for rule in rules if {"port": PEERS} in rule["ports"]]
    assert len(with_peers) == 1
    assert with_peers[0]["from"] == [{"podSelector": {"matchLabels": {"app": "raftline"}}}]
