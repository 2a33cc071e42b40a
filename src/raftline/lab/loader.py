"""Finds the implementation under test: `module:make`, a file, or `file.py:make`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from raftline.lab.bench import describe_error
from raftline.lab.promises import BrokenPromise

__all__ = ["OURS", "load_make"]

OURS = "raftline.lab:make"
"""The implementation that is tested if no other is named."""


def load_make(implementation: str) -> Callable[..., Any]:
    """Return `make` of an implementation; raise `BrokenPromise` if it cannot be imported or has none."""
    where, _, name = implementation.rpartition(":") if ":" in implementation else (implementation, "", "make")
    try:
        module = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        make = getattr(module, name)
    except BrokenPromise:
        raise
    except Exception as error:  # whatever its code raises while it is imported
        raise BrokenPromise("loads", f"{implementation}: {describe_error(error)}") from error
    if not callable(make):
        raise BrokenPromise("loads", f"{implementation}: {name} is {type(make).__name__}, nothing that can be called")
    found: Callable[..., Any] = make
    return found


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BrokenPromise("loads", f"there is no file {path}")
    sys.path.insert(0, str(path.parent.resolve()))  # what stands beside it can be imported, as when it is run
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a .py file has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
