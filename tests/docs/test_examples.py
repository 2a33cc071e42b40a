"""examples/: what is there to be run runs."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

import raftline
from raftline.cli.local_cluster import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_groups_count_for_themselves(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each total is that of its own group."""
    example = _load("groups")
    members = {f"n{n}": f"127.0.0.1:{free_port()}@{free_port()}" for n in (1, 2, 3)}
    monkeypatch.setattr(example, "MEMBERS", members)
    asyncio.run(example.main())
    told = capsys.readouterr().out
    assert "orders: n3 reads 10" in told
    assert "users: n3 reads 100" in told


@pytest.mark.parametrize("name", ["counter", "groups"])
def test_nothing_is_left_of_an_example_that_cannot_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three nodes of which one has no port the others are stopped, also one that takes its time to start."""
    example = _load(name)
    members = {f"n{n}": f"127.0.0.1:{free_port()}@{free_port()}" for n in (1, 2, 3)}
    monkeypatch.setattr(example, "MEMBERS", members)
    started: list[raftline.Node] = []
    begin = raftline.Node.start

    async def start(node: raftline.Node) -> None:
        if node.config.node_id == "n2":
            raise raftline.ConfigError("cannot listen for peers")
        for _ in range(20):
            await asyncio.sleep(0)
        await begin(node)
        started.append(node)

    monkeypatch.setattr(raftline.Node, "start", start)

    async def scenario() -> None:
        with pytest.raises(raftline.ConfigError, match="cannot listen for peers"):
            await example.main()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert [node.status().role for node in started] == ["stopped"] * len(started)

    asyncio.run(scenario())
