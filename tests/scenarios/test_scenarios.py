"""Golden dialogues: each file tells a story in commands and holds the trace that they leave.

`RAFTLINE_REWRITE=1 pytest tests/scenarios` writes the traces anew; the difference is then to be read, line by line.
"""

import os
from pathlib import Path

import pytest

from raftline.sim.dialogue import COMMANDS, run_dialogue

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_dialogue_leaves_the_trace_that_it_left(path: Path) -> None:
    """Every line is as it was when somebody last read it."""
    text = path.read_text(encoding="utf-8")
    trace = run_dialogue(text)
    if os.environ.get("RAFTLINE_REWRITE"):
        path.write_text(trace, encoding="utf-8")
    else:
        assert trace == text


def test_every_command_is_used_somewhere() -> None:
    """No command of the language is left untried."""
    lines = [line for path in FILES for line in path.read_text(encoding="utf-8").splitlines()]
    used = {line.split()[1] for line in lines if line.startswith("> ")}
    assert set(COMMANDS) - used == set()
