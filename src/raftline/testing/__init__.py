"""Run your own state machine and client code under virtual time and every fault: the simulator as a pytest plugin.

    @pytest.mark.simulate(machine=Bank, seeds=1000)
    async def test_money_is_never_lost(simulation: Simulation) -> None:
        ...

docs/testing.md says how. Nothing here is needed in production.
"""

from raftline.sim.nemesis import NemesisPlan as Faults
from raftline.testing.running import Failure, Outcome, Settings, simulate
from raftline.testing.simulation import Disconnected, Simulation

__all__ = ["Disconnected", "Failure", "Faults", "Outcome", "Settings", "Simulation", "simulate"]
