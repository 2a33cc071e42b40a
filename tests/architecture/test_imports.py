"""Arrows only go down: who may import whom, and which folders stay pure (the table of docs/architecture.md)."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.architecture.conftest import Module

    Example = Callable[..., Module]

LAYERS: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"kv", "lab", "sim"},
    "client": set(),
    "testing": {"sim", "linearizability"},
    "kv": {"runtime", "replica", "shards"},
    "shards": {"replica"},
    "lab": {"sim", "core", "linearizability", "shards"},
    "sim": {"runtime", "replica", "wal", "kv", "client", "linearizability", "shards"},
    "runtime": {"replica", "wal", "transport"},
    "replica": {"core"},
    "wal": {"core.entries"},
    "transport": {"core.messages"},
    "core": set(),
    "linearizability": set(),
    "errors": set(),
}
"""Layer → what it may import; besides that whatever those may import, and `errors`."""

PUBLIC_FACE = "raftline"
"""It re-exports public names from any layer."""

NO_ERRORS = {"linearizability", "errors"}
"""They import nothing of raftline at all."""

PURE = {"core", "replica", "shards", "linearizability"}
"""No clock, no chance, no I/O: the same inputs give the same outputs."""

IMPURE_MODULES = {
    "time",
    "datetime",
    "random",
    "secrets",
    "asyncio",
    "os",
    "socket",
    "threading",
    "subprocess",
    "signal",
}

THIRD_PARTY_OF_PURE = {"msgspec"}

OWNERS_OF_TASKS = {"runtime", "sim", "transport", "kv", "cli", "client", "lab", "testing"}
"""Who may touch asyncio."""

OWNERS_OF_THREADS = {"runtime", "cli", "client", "sim", "lab"}
"""Who may name threads: the runtime has the disk's, a command's clients are no part of a node, neither is the thread
that renews a client's lock, sim refuses them, the lab counts them."""

UNPICKLERS = {"pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle"}


def allowed_targets(layer: str, modules: Iterable["Module"]) -> set[str]:
    """Return the prefixes below `raftline.` that `layer` may import: the transitive closure of its row."""
    by_name = {module.name: module for module in modules}
    allowed = {layer} | (set() if layer in NO_ERRORS else {"errors"})
    waiting = set(LAYERS[layer])
    while waiting:
        target = waiting.pop()
        if target in allowed:
            continue
        allowed.add(target)
        if target in LAYERS:
            waiting |= LAYERS[target]
        elif (module := by_name.get(f"raftline.{target}")) is not None:
            waiting |= {resolve(name, by_name).removeprefix("raftline.") for name in ours(module)}
    return allowed


def ours(module: "Module") -> list[str]:
    """Return what `module` imports of raftline."""
    return [name for _, name in module.imports() if name == "raftline" or name.startswith("raftline.")]


def resolve(name: str, known: Iterable[str]) -> str:
    """Return the module that an imported dotted name belongs to: itself, or its parent if it names an object."""
    return name if name in known else name.rpartition(".")[0]


def wrong_arrows(module: "Module", modules: list["Module"]) -> list[str]:
    """Return every import of `module` that goes up or aside."""
    if module.name == PUBLIC_FACE:
        return []
    known = {each.name for each in modules}
    allowed = {f"raftline.{target}" for target in allowed_targets(module.layer, modules)}
    return [
        f"{module.path}:{line} imports {name}"
        for line, name in module.imports()
        if name.split(".")[0] == "raftline"
        and not any(f"{resolve(name, known)}.".startswith(f"{target}.") for target in allowed)
    ]


def impurities(module: "Module") -> list[str]:
    """Return every import of a pure module that is neither harmless standard library nor msgspec nor raftline."""
    found = []
    for line, name in module.imports():
        top = name.split(".")[0]
        harmless = top in sys.stdlib_module_names and top not in IMPURE_MODULES
        if module.layer in PURE and not harmless and top not in THIRD_PARTY_OF_PURE | {"raftline"}:
            found.append(f"{module.path}:{line} imports {top}")
    return found


def strangers(module: "Module", names: set[str], owners: set[str]) -> list[str]:
    """Return the imports of `names` in a module whose layer is none of `owners`."""
    return [
        f"{module.path}:{line} imports {name}"
        for line, name in module.imports()
        if name.split(".")[0] in names and module.layer not in owners
    ]


def test_every_folder_has_its_row(modules: "list[Module]") -> None:
    """No folder is outside the table, and the table names no folder that is gone."""
    layers = {module.layer for module in modules if module.name != PUBLIC_FACE}
    assert layers == set(LAYERS)


def test_arrows_only_go_down(modules: "list[Module]") -> None:
    """No module imports anything that its layer may not."""
    assert [wrong for module in modules for wrong in wrong_arrows(module, modules)] == []


def test_pure_folders_stay_pure(modules: "list[Module]") -> None:
    """Core, replica and the linearizability checker know no time, chance, task, file, socket or thread."""
    assert [wrong for module in modules for wrong in impurities(module)] == []


def test_tasks_and_threads_have_owners(modules: "list[Module]") -> None:
    """Only the folders that face the world touch asyncio, and no layer of a node but the runtime has threads."""
    wrong = [wrong for module in modules for wrong in strangers(module, {"asyncio", "uvloop"}, OWNERS_OF_TASKS)]
    wrong += [wrong for module in modules for wrong in strangers(module, {"threading", "_thread"}, OWNERS_OF_THREADS)]
    assert wrong == []


def test_nothing_is_ever_unpickled(modules: "list[Module]") -> None:
    """Bytes from a disk or a network never become code."""
    assert [wrong for module in modules for wrong in strangers(module, UNPICKLERS, set())] == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("raftline.core.x", "from raftline.replica.replica import Replica", "raftline.replica.replica.Replica"),
        ("raftline.core.x", "def f():\n    import raftline.runtime.node", "raftline.runtime.node"),
        ("raftline.core.x", "from ..wal import wal", "raftline.wal.wal"),
        ("raftline.core.x", "from raftline import errors, wal", "raftline.wal"),
        ("raftline.core.x", "import raftline", "raftline"),
        ("raftline.transport.x", "from raftline.core.log import Log", "raftline.core.log.Log"),
        ("raftline.wal.x", "from raftline.core import raft", "raftline.core.raft"),
        ("raftline.linearizability.x", "from raftline.errors import RaftlineError", "raftline.errors.RaftlineError"),
        ("raftline.kv.x", "from raftline.sim import loop", "raftline.sim.loop"),
        ("raftline.sim.x", "from raftline.testing import Simulation", "raftline.testing.Simulation"),
        ("raftline.testing.x", "from raftline.cli import main", "raftline.cli.main"),
    ],
)
def test_an_arrow_up_is_found(
    modules: "list[Module]", example: "Example", name: str, text: str, complaint: str
) -> None:
    """The check can fail: imports up, aside, relative, within functions and of single modules are seen."""
    line = text.count("\n") + 1
    assert wrong_arrows(example(name, text), modules) == [f"example.py:{line} imports {complaint}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("raftline.kv.x", "from raftline.core.ids import NodeId\nfrom raftline.transport.address import parse_address"),
        (
            "raftline.transport.x",
            "from raftline.core.entries import Entry\nfrom raftline.core.membership import Membership",
        ),
        ("raftline.wal.x", "from raftline.core.entries import Entry\nfrom raftline.errors import StorageError"),
        ("raftline.core.x", "from .log import Log\nfrom raftline import errors"),
        ("raftline.testing", "from raftline.sim import run"),
    ],
)
def test_arrows_down_are_allowed(modules: "list[Module]", example: "Example", name: str, text: str) -> None:
    """What a row names, and whatever that may import, is open."""
    assert wrong_arrows(example(name, text), modules) == []


def test_impurity_is_found(example: "Example") -> None:
    """The check can fail: a clock in the core, a third-party package in the replica."""
    assert impurities(example("raftline.core.x", "from time import monotonic")) == ["example.py:1 imports time"]
    assert impurities(example("raftline.replica.x", "import redis")) == ["example.py:1 imports redis"]
    assert impurities(example("raftline.core.x", "import bisect, msgspec\nimport raftline.errors")) == []
    assert strangers(example("raftline.kv.x", "import threading"), {"threading"}, OWNERS_OF_THREADS) != []
