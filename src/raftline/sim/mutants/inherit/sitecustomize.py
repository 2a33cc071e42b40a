"""Lets a child process of a mutant's process load the same mutant, before its own program starts.

Python goes on after a failing `sitecustomize`, and would run the right code under a wrong name: so this one ends the
process.
"""

import os
import runpy
import sys
import traceback
from pathlib import Path

__all__: list[str] = []

_PROCESS = Path(__file__).resolve().parents[1] / "process.py"

try:
    _tools = runpy.run_path(str(_PROCESS), run_name="raftline_mutant_process")
    if _tools["VARIABLE"] in os.environ:
        _tools["mutate"](os.environ[_tools["VARIABLE"]])
except BaseException:  # noqa: BLE001  see the docstring
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(70)
