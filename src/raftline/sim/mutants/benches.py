"""Where mutants are run: each bench turns a seed into one deterministic run under our checks.

`cluster` is the full simulator as campaigns use it. The others torment what some mutants are about more than a random
plan does. The code as it is must pass them all.
"""

from collections.abc import Callable

from raftline.sim.run import Outcome, Scenario, run_seed

__all__ = ["BENCHES", "Bench"]

Bench = Callable[[int], Outcome]

_SCENARIOS: dict[str, Scenario] = {
    "cluster": Scenario(),
}


def _simulate(scenario: Scenario) -> Bench:
    return lambda seed: run_seed(seed, scenario)


BENCHES: dict[str, Bench] = {name: _simulate(scenario) for name, scenario in _SCENARIOS.items()}
"""Name → seed → what came of it."""
