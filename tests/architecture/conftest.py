"""Every module of the package, parsed once."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    """Dotted, as `raftline.core.log`; a package's is that of its folder."""
    path: str
    """Relative to the repository, for messages."""
    text: str
    tree: ast.Module
    is_package: bool

    @property
    def layer(self) -> str:
        """The folder under `raftline`, or the module's own name if it lies directly there."""
        return self.name.split(".")[1] if "." in self.name else ""

    def imports(self) -> list[tuple[int, str]]:
        """Return (line, dotted name) of everything imported, wherever in the file; `from a import b` gives `a.b`."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base_of(node)
                found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
        return found

    def _base_of(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*parts, *filter(None, [node.module])])


def parse(name: str, text: str, path: str = "example.py", *, is_package: bool = False) -> Module:
    """Return the module that `text` is."""
    return Module(name, path, text, ast.parse(text), is_package)


def load() -> list[Module]:
    """Return every module under src/raftline."""
    modules = []
    for path in sorted(SOURCE.glob("raftline/**/*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text(encoding="utf-8")
        modules.append(parse(name, text, str(path.relative_to(SOURCE.parent)), is_package=is_package))
    return modules


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every module of the package."""
    return load()


@pytest.fixture(scope="session")
def example() -> object:
    """Make a module out of text, to show that a check can fail."""
    return parse
