"""Dashboard, alert rules and manual name only metrics that a real node exposes, with labels that it gives."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from raftline import Node, NodeConfig
from raftline.cli.local_cluster import LocalCluster, free_port
from raftline.core.role_changes import Cause
from raftline.kv.machine import KvMachine
from raftline.kv.monitor import Monitor
from raftline.kv.server import KvServer
from raftline.runtime.stages import STAGES

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "raftline.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
MANUAL = ROOT / "docs" / "operations.md"
NAME = re.compile(r"\b(?:raftline|process)_[a-z][a-z_]*[a-z]\b")
OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what a real node of one answers to a scrape."""

    async def scrape() -> str:
        members = {"n1": f"127.0.0.1:{free_port()}@{free_port()}"}
        machine = KvMachine()
        async with Node(
            NodeConfig(node_id="n1", members=members, data_dir=str(tmp_path_factory.mktemp("node"))), machine
        ) as node:
            server = KvServer(node, machine, "127.0.0.1", 0)
            await server.start()
            page = Monitor("127.0.0.1", 0, lambda: server.service, lambda: None).metrics()[2]
            await server.stop()
        return page.decode()

    return asyncio.run(scrape())


@pytest.fixture(scope="module")
def sharded_exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what a real node of a sharded cluster answers to a scrape, once it has told of a group."""
    address = f"127.0.0.1:{free_port()}"

    def page() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as reply:
            text: str = reply.read().decode()
            return text

    settings = {"sharded": "on", "metrics": address}
    with LocalCluster(tmp_path_factory.mktemp("sharded"), size=1, settings=settings) as cluster:
        cluster.start()
        cluster.wait_for(lambda: 'raftline_group_leader{group="1"} 1.0' in page(), "the node leads its group", 60.0)
        return page()


@pytest.fixture(scope="module")
def names(exposition: str, sharded_exposition: str) -> set[str]:
    """Return every name that can be queried."""
    found: set[str] = set()
    for line in (exposition + sharded_exposition).splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            found |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    return found


def _expressions(panels: Iterable[Any]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _unknown(expressions: Iterable[str], names: set[str]) -> set[str]:
    return {name for text in expressions for name in NAME.findall(text)} - names


def test_every_query_of_the_dashboard_names_a_metric_that_exists(names: set[str]) -> None:
    """Nothing on the dashboard stays empty because of a name."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = _expressions(dashboard["panels"])
    assert len(expressions) > 30
    assert _unknown(expressions, names) == set()
    queries = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert _unknown(queries, names) == set()
    assert all(NAME.search(expression) for expression in expressions)


def test_every_panel_says_what_it_shows_and_has_a_place() -> None:
    """Titles are unique within the dashboard, panels do not lie on each other."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")


def test_labels_have_values_that_a_node_gives(exposition: str) -> None:
    """Stages, roles, positions and queues are spelt as they are exposed."""
    texts = [*_expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"])]
    texts += [rule["expr"] for rule in _alerts()]
    for label in ("stage", "role", "position", "queue", "kind"):
        known = set(re.findall(rf'\b{label}="([^"]*)"', exposition))
        used = {
            value
            for text in texts
            for values in re.findall(rf'\b{label}=~?"([^"]*)"', text)
            for value in values.split("|")
        }
        assert used <= known, label
    assert set(re.findall(r'\bstage="([^"]*)"', "".join(texts))) == set(STAGES)


def test_every_alert_names_metrics_that_exist(names: set[str]) -> None:
    """An alert on a name that is not there would never fire."""
    rules = _alerts()
    assert len(rules) >= 10
    assert _unknown((rule["expr"] for rule in rules), names) == set()
    for rule in rules:
        assert NAME.search(rule["expr"]) or re.search(r"\bup\b", rule["expr"]), rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_manual_explains_every_alarm_and_no_other() -> None:
    """Whoever is woken finds what it means and what to do."""
    rows = re.findall(r"^\| `(Raftline\w+)` \| (.+) \| (.+) \|$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(rule["alert"] for rule in _alerts())


def test_the_manual_names_only_metrics_that_exist(names: set[str]) -> None:
    """A histogram is named without its suffix; settings and INFO lines are no metrics."""
    text = MANUAL.read_text(encoding="utf-8")
    bare = {name.removesuffix("_bucket") for name in names if name.endswith("_bucket")}
    assert set(re.findall(r"`((?:raftline|process)_[a-z_]+)`", text)) - names - bare == set()
    stages = re.findall(r"^\| `(\w+)` \| (?:each node|leader) \|", text, re.MULTILINE)
    assert stages == list(STAGES)


def test_the_manual_names_every_metric(names: set[str]) -> None:
    """Its tables are written by hand: whoever adds a metric adds its line."""
    own = {name for name in names if name.startswith("raftline_")}
    whole = {name.removesuffix("_bucket") for name in own if name.endswith("_bucket")}
    parts = {f"{name}_{part}" for name in whole for part in ("bucket", "count", "sum")}
    rows = "\n".join(re.findall(r"^\| `raftline_.*$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE))
    assert (own - parts) | whole == set(re.findall(r"`(raftline_[a-z_]+)`", rows))


def test_a_wrong_name_is_found(names: set[str]) -> None:
    """The check itself can fail; causes are words that stand well in a label."""
    assert _unknown(["rate(raftline_no_such_total[5m])"], names) == {"raftline_no_such_total"}
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", cause.value) for cause in Cause)
