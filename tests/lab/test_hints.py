"""Hints name coroutines that nobody awaits and lines that mean something else on virtual time."""

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from raftline.lab.hints import remember_unawaited, suspicious_lines


def _imported(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> ModuleType:
    (folder / "suspect.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "suspect", raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("suspect")


def test_suspicious_lines_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real clocks, sleeping and threads are named with file and line, comments are not (F19)."""
    text = "import threading, time\n# time.sleep(2)\ndef make(*_):\n    time.sleep(1)\n    threading.Thread()\n"
    module = _imported(tmp_path, monkeypatch, text)
    hints = list(suspicious_lines(module.make))
    assert [hint.split(" -- ")[0] for hint in hints] == [
        f"{module.__file__}:4: time.sleep(1)",
        f"{module.__file__}:5: threading.Thread()",
    ]


def test_code_without_a_module_has_no_suspicious_lines() -> None:
    """A `make` that was made by `exec`, or is no function at all, gives no hint and no exception."""
    scope: dict[str, object] = {"__name__": "nowhere to be found"}
    exec("def make(*_): pass", scope)  # noqa: S102  what examples/lab_raft_broken.py does
    made = scope["make"]
    assert callable(made)
    assert list(suspicious_lines(made)) == []
    assert list(suspicious_lines(type("Odd", (), {"__module__": 7}))) == []


@pytest.mark.filterwarnings("error")
def test_coroutines_that_nobody_awaits_are_remembered() -> None:
    """What was called and not awaited becomes one hint; other warnings are passed on."""

    async def nothing() -> None:
        pass

    put: Callable[[], object] = nothing

    with remember_unawaited() as hints:
        for _ in range(2):
            put()
    assert len(hints) == 1
    assert "nothing() was called and its result not awaited" in hints[0]
    with pytest.warns(UserWarning, match="something else"), remember_unawaited() as hints:
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert hints == []
