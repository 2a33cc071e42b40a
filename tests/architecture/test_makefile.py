"""What everything that make starts is given."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_make_starts_keeps_what_it_compiled() -> None:
    """A variable that many containers set would let each of the thousand programs of the tests compile all anew."""
    asked = ["make", "--silent", "--eval", "shown:; @env", "shown"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "PATH=" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown
