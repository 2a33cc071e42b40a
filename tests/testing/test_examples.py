"""The example passes, and a machine that is wrong in the way that the documentation shows does not."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_bank.py"


def _pytest(path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)


def test_the_bank_keeps_the_money() -> None:
    """As the documentation runs it, on a few seeds."""
    result = _pytest(EXAMPLE, "--simulate-seeds", "3")
    assert result.returncode == 0, result.stdout
    assert "3 seeds, " in result.stdout


def test_a_bank_that_looks_at_the_clock_is_refused(tmp_path: Path) -> None:
    """`apply` that puts the time of day into its result is named, with command, index and nodes (G1)."""
    right = "return str(self.balances[payer]).encode()"
    wrong = 'return f"{self.balances[payer]} at {time.time_ns()}".encode()'
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count(right) == 1
    path = tmp_path / "test_bank.py"
    path.write_text(text.replace(right, wrong).replace("import json\n", "import json\nimport time\n"), encoding="utf-8")
    result = _pytest(path, "--simulate-seeds", "3")
    assert result.returncode == 1
    assert "apply() is not deterministic: for the command b'{" in result.stdout
    assert "test_money_is_neither_made_nor_lost' --simulate-seed 0" in result.stdout
    assert (tmp_path / "artifacts").is_dir()
