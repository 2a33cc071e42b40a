"""An import hook that compiles the patched source of the modules that a mutant names.

Nothing is written: neither source nor compiled files. It must be in place before any of those modules is imported.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source, spec_from_file_location
from types import CodeType, ModuleType

from raftline.errors import ConfigError
from raftline.sim.mutants.mutant import Mutant

__all__ = ["MutantFinder"]


class MutantFinder(MetaPathFinder):
    """Finds the modules of one mutant, and only those.

    Invariant: `applied` names every module whose patched code was compiled in this process.
    """

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.applied: set[str] = set()
        self._modules = frozenset(mutant.modules())

    def install(self) -> None:
        """Take effect; raise `ConfigError` if a module to be patched is loaded already."""
        late = sorted(self._modules & sys.modules.keys())
        if late:
            raise ConfigError(f"mutant {self.mutant.name}: {', '.join(late)} was imported before it could be patched")
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec that loads the patched source, or None for every other module."""
        if fullname not in self._modules:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return None
        loader = _PatchedLoader(fullname, found.origin, self)
        return spec_from_file_location(
            fullname, found.origin, loader=loader, submodule_search_locations=found.submodule_search_locations
        )


class _PatchedLoader(SourceFileLoader):
    """Compiles patched source each time; no compiled file is read or written."""

    def __init__(self, fullname: str, path: str, finder: MutantFinder) -> None:
        super().__init__(fullname, path)
        self._finder = finder

    def get_code(self, fullname: str) -> CodeType:
        source = decode_source(self.get_data(self.path))
        patched = self._finder.mutant.apply(fullname, source)
        code = compile(patched, self.path, "exec", dont_inherit=True)
        self._finder.applied.add(fullname)
        return code
