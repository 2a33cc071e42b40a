"""docs/library.md: what it shows works as it stands there."""

import ast
import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import CodeType
from typing import Any

import raftline
from raftline.cli.local_cluster import free_port

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
WAIT_S_MAX = 60.0


def _blocks() -> list[CodeType]:
    """Return the page's blocks of Python, each at its line of the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return [
        compile("\n" * text.count("\n", 0, block.start(1)) + block[1], str(PAGE), "exec", flags=flags)
        for block in found
    ]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110  what another node knows
            await asyncio.sleep(0.01)


def test_every_block_runs(tmp_path: Path) -> None:
    """In the page's order, on three real nodes, a fourth waiting to be added."""
    machine, settings, *steps = _blocks()
    names: dict[str, Any] = {"until": _until, "backup_path": tmp_path / "backup"}
    exec(machine, names)  # noqa: S102  the page's own code
    exec(settings, names)  # noqa: S102
    assert names["config"].check().own_address == "127.0.0.1:7101"

    async def go() -> None:
        addresses = {name: f"127.0.0.1:{free_port()}@{free_port()}" for name in ("n1", "n2", "n3", "n4")}
        voters = {name: addresses[name] for name in ("n1", "n2", "n3")}
        async with AsyncExitStack() as stack:
            nodes = []
            for name, address in addresses.items():
                members = {} if name == "n4" else voters
                config = raftline.NodeConfig(
                    node_id=name,
                    members=members,
                    address=address,
                    data_dir=str(tmp_path / name),
                    request_timeout_s=WAIT_S_MAX,
                )
                node = raftline.Node(config, names["Accounts"]())
                nodes.append(node)
            await asyncio.gather(*(stack.enter_async_context(node) for node in nodes))
            names.update(node=nodes[0], nodes=nodes, address_of_n4=addresses["n4"])
            for step in steps:
                await eval(step, names)  # noqa: S307  the page's own code

    asyncio.run(go())
    assert names["backup_path"].stat().st_size > 0
