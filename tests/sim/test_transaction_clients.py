"""Clients with transactions: they do what they are for, and what they watch for is noticed."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from raftline.errors import SafetyViolation
from raftline.sim.nemesis import NemesisPlan
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario
from raftline.sim.transaction_clients import TransactionClients
from raftline.sim.workload import Answer, WorkloadPlan


def test_they_move_read_replace_and_are_refused() -> None:
    """In a quiet run everything that they can be told comes up, and nothing is wrong (G1)."""
    scenario = Scenario(
        size=3,
        safety_s=5.0,
        plan=NemesisPlan(),
        workload=WorkloadPlan(clients=1, once_clients=0, expiry_clients=0, transaction_clients=8),
    )
    outcome = run_seed(1, scenario)
    assert outcome.error is None
    for name in ("transactions moved", "transactions replaced", "transactions aborted", "sums read"):
        assert outcome.faults[name] > 0, name


class _World:
    """Everything happens at once."""

    now = 0.0

    def call_later(self, delay_s: float, what: Callable[..., None], *args: Any) -> None:
        if delay_s < 1.0:
            what(*args)


class _Cluster:
    """One member."""

    world = _World()

    def ready(self) -> list[str]:
        return ["n1"]


class _Lies:
    """A door behind which watches do not hold and sums are wrong."""

    def __init__(self, clients_end: Callable[[], None]) -> None:
        self._end = clients_end
        self.asked = 0
        self.total = 0

    def ask(self, _member: object, words: list[bytes], done: Callable[[Answer], None]) -> None:
        self.asked += 1
        if self.asked > 200:
            self._end()
        elif words[0] == b"RAFTLINE.WATCH":
            done(Answer(value=["test", 2]))
        elif words[0] == b"GET":
            done(Answer(value=str(self.asked) if self.total else "old"))
        elif words[0] == b"MGET":
            done(Answer(value=[self.total, None]))
        else:
            done(Answer(value=["OK"]))


def _clients(seed: int) -> tuple[TransactionClients, _Lies]:
    door = _Lies(lambda: clients.stop())  # noqa: PLW0108  it is made in the next line
    clients = TransactionClients(_Cluster(), door, 1, Random(seed))  # type: ignore[arg-type]
    return clients, door


def test_a_value_that_is_replaced_twice_is_noticed() -> None:
    """Two acknowledged replacements of one value: one of them is lost (G1)."""
    clients, _ = _clients(1)
    with pytest.raises(SafetyViolation, match="was replaced by"):
        clients.start()


def test_half_a_transaction_is_noticed() -> None:
    """Accounts whose sum has changed."""
    clients, door = _clients(3)
    door.total = 5
    with pytest.raises(SafetyViolation, match="half a transaction"):
        clients.start()
