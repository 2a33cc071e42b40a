"""`lab_raft.py` with one mistake at a time, to see what the lab says: the lines are in `lab_raft_mistakes.txt`.

python examples/lab_raft_broken.py                                         lists the mistakes
raftline lab --implementation examples/lab_raft_broken.py:two_votes        shows one
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["MISTAKES", "Mistake", "broken"]

_FOLDER = Path(__file__).parent


class Mistake(NamedTuple):
    """A rule that is broken, the title of a test that notices it or "none", and (lines as they are, as they were)."""

    rule: str
    test: str
    changes: list[tuple[str, str]]


def _read() -> dict[str, Mistake]:
    mistakes: dict[str, Mistake] = {}
    for paragraph in (_FOLDER / "lab_raft_mistakes.txt").read_text(encoding="utf-8").split("\n\n")[2:]:
        head, *lines = paragraph.strip("\n").split("\n")
        name, rule, test = head.split(" | ")
        changes = "\n".join(lines).split("\n...\n")
        mistakes[name] = Mistake(rule, test, [(_lines(change, "-"), _lines(change, "+")) for change in changes])
    return mistakes


def _lines(change: str, sign: str) -> str:
    return "".join(f"{line[1:]}\n" for line in change.split("\n") if line.startswith(sign))


MISTAKES = _read()


def broken(name: str) -> ModuleType:
    """Return the module with one mistake; raise ValueError if a line that it changes is not there exactly once."""
    source = "\n" + (_FOLDER / "lab_raft.py").read_text(encoding="utf-8")
    for right, wrong in MISTAKES[name].changes:
        if source.count("\n" + right) != 1:
            raise ValueError(f"{name} changes lines that stand {source.count(right)} times, not once:\n{right}")
        source = source.replace("\n" + right, "\n" + wrong)
    module = ModuleType(f"lab_raft_{name}")
    code = compile(source.removeprefix("\n"), str(_FOLDER / "lab_raft.py"), "exec")
    exec(code, module.__dict__)  # noqa: S102  our own file, changed by us
    return module


def __getattr__(name: str) -> Any:
    if name in MISTAKES:
        return broken(name).__dict__["make"]
    raise AttributeError(name)


if __name__ == "__main__":
    for name, mistake in MISTAKES.items():
        sys.stdout.write(f"{mistake.rule:4} {name:40} {mistake.test}\n")
