"""Runs a module under a mutant: `python .../sim/mutants/process.py NAME -m MODULE ARGUMENTS...`.

Executed by its path, never imported as part of raftline, because the import hook must be there before anything of
raftline is loaded. The catalogue is read under empty stand-ins of the packages above it, which are then forgotten.
Child processes inherit the mutant through the environment. NAME `none` runs the code as it is.
"""

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["NO_MUTANT", "VARIABLE", "main", "mutate"]

NO_MUTANT = "none"
VARIABLE = "RAFTLINE_MUTANT"
_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[2]
_STAND_INS = ("raftline", "raftline.sim")


def mutate(name: str) -> None:
    """Let this process load the mutant's code; raises if a module's text has moved or was imported already."""
    if name == NO_MUTANT:
        return
    if any(module == "raftline" or module.startswith("raftline.") for module in sys.modules):
        raise SystemExit(f"mutant {name}: raftline was imported before it could be patched")
    for package in _STAND_INS:
        stand_in = ModuleType(package)
        stand_in.__path__ = [str(_ROOT.joinpath(*package.split(".")))]
        sys.modules[package] = stand_in
    try:
        from raftline.sim.mutants.catalogue import find  # noqa: PLC0415  only now it loads nothing else
        from raftline.sim.mutants.importing import MutantFinder  # noqa: PLC0415

        mutant = find(name)
        finder = MutantFinder(mutant)
    finally:
        for module in [module for module in sys.modules if module == "raftline" or module.startswith("raftline.")]:
            del sys.modules[module]
    for module in mutant.modules():
        mutant.apply(module, _source(module))
    finder.install()


def _source(module: str) -> str:
    """Return a module's unpatched text."""
    path = _ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path.read_text(encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Run `NAME -m MODULE ARGUMENTS...`."""
    if len(arguments) < 3 or arguments[1] != "-m":
        raise SystemExit("usage: process.py NAME -m MODULE ARGUMENTS...   (NAME `none`: the code as it is)")
    name, _, module, *rest = arguments
    sys.path[:] = [str(_ROOT), *(entry for entry in sys.path if Path(entry or ".").resolve() != _HERE)]
    os.environ[VARIABLE] = name
    inherited = [str(_HERE / "inherit"), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in inherited if entry)
    mutate(name)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
