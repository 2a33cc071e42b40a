"""An implementation is found by module or file, and what is wrong with it is said in words."""

import sys
from pathlib import Path

import pytest

from raftline.lab import make
from raftline.lab.loader import OURS, load_make
from raftline.lab.promises import BrokenPromise


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what loading does to the import system."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})


def test_ours_is_the_default() -> None:
    """The library's own make is found like anybody's."""
    assert load_make(OURS) is make
    assert load_make("raftline.lab") is make


def test_a_file_may_import_what_stands_beside_it(tmp_path: Path) -> None:
    """`file.py` and `file.py:name` work, with helpers in the same folder."""
    (tmp_path / "my_helper.py").write_text("ANSWER = 42\n")
    (tmp_path / "my_raft.py").write_text(
        "import my_helper\ndef make(*_): return my_helper.ANSWER\ndef other(*_): return 7\n"
    )
    assert load_make(str(tmp_path / "my_raft.py"))() == 42
    assert load_make(f"{tmp_path / 'my_raft.py'}:other")() == 7


@pytest.mark.parametrize(
    ("source", "name", "seen"),
    [
        (
            "import no_such_module_anywhere\n",
            "make",
            "ModuleNotFoundError: No module named 'no_such_module_anywhere' at",
        ),
        ("def make(:\n", "make", "SyntaxError"),
        ("x = 1 / 0\n", "make", "ZeroDivisionError: division by zero at"),
        ("y = 1\n", "make", "AttributeError: module 'wrong' has no attribute 'make'"),
        ("make = 3\n", "make", "make is int, nothing that can be called"),
    ],
    ids=["import", "syntax", "exception", "no make", "no function"],
)
def test_a_file_that_cannot_be_used_is_a_broken_promise(tmp_path: Path, source: str, name: str, seen: str) -> None:
    """The reason comes with the place in the file (H1)."""
    path = tmp_path / "wrong.py"
    path.write_text(source)
    with pytest.raises(BrokenPromise) as caught:
        load_make(f"{path}:{name}")
    assert caught.value.name == "loads"
    assert seen in caught.value.seen


def test_a_file_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(BrokenPromise, match="there is no file"):
        load_make(str(tmp_path / "none.py"))
