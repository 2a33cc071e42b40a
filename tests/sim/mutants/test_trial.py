"""What counts as a catch: a check that noticed; never a crash."""

import pytest
import structlog

from raftline.sim.mutants import trial
from raftline.sim.mutants.benches import BENCHES
from raftline.sim.mutants.trial import try_seed
from raftline.sim.run import Outcome


def outcome(seed: int, **fields: str) -> Outcome:
    """Return what a run might come to."""
    return Outcome(seed=seed, virtual_s=3.0, cpu_s=0.5, **fields)  # type: ignore[arg-type]


def test_a_check_that_noticed_is_a_catch() -> None:
    """The check's place and the first line of its message are kept."""
    found = try_seed(lambda seed: outcome(seed, check="SafetyViolation", where="sim.x.y", error="a\nb"), 7)
    assert (found.seed, found.virtual_s, found.check, found.error, found.broken) == (7, 3.0, "sim.x.y", "a", None)


def test_a_run_without_complaint_is_none() -> None:
    """Nothing noticed, nothing broken."""
    found = try_seed(outcome, 1)
    assert (found.check, found.error, found.broken) == (None, None, None)


def test_a_crash_is_no_catch() -> None:
    """A NameError, or settings that are refused, show a patch that cannot work."""

    def crash(_seed: int) -> Outcome:
        raise NameError("name 'x' is not defined")

    assert "NameError" in (try_seed(crash, 1).broken or "")
    for kind in ("ConfigError", "NameError"):
        refused = try_seed(lambda seed, kind=kind: outcome(seed, check=kind, error="no"), 1)  # type: ignore[misc]
        assert (refused.check, refused.broken) == (None, f"{kind}: no")


def test_seeds_are_tried_until_one_is_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per seed, and none behind the catch."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
    caught_at_2 = lambda seed: outcome(seed, **({"check": "C", "error": "e"} if seed == 2 else {}))  # noqa: E731
    monkeypatch.setitem(BENCHES, "fake", caught_at_2)
    trial.main(["fake", "0", "10"])
    lines = capsys.readouterr().out.splitlines()
    assert [f'"seed":{seed}' in line for seed, line in enumerate(lines)] == [True] * 3
