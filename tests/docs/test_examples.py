"""examples/: what is there to be run runs."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

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
