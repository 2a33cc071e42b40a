"""A replicated bank, and its test under crashes, partitions, slow disks and drifting clocks.

    pytest examples/test_bank.py --simulate-seeds 1000

Money is moved, never made and never lost, whatever happens to the machines and the network.
"""

import asyncio
import json
from collections.abc import Iterable

import pytest

import raftline
from raftline.testing import Simulation

OPENING = {"ann": 100, "bob": 100, "eve": 100}


class Bank(raftline.StateMachine):
    """Accounts with balances; commands and queries are JSON."""

    def __init__(self) -> None:
        self.balances = dict(OPENING)

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Carry out `{"from": "ann", "to": "bob", "amount": 5}` if there is enough; return what the payer has left."""
        order = json.loads(command)
        payer, payee, amount = order["from"], order["to"], order["amount"]
        if self.balances[payer] < amount:
            return b"not enough"
        self.balances[payer] -= amount
        self.balances[payee] += amount
        return str(self.balances[payer]).encode()

    def read(self, query: bytes, time_ms: int) -> bytes:
        """Return all balances."""
        return json.dumps(self.balances, sort_keys=True).encode()

    def snapshot(self) -> Iterable[bytes]:
        """Return the whole state."""
        return [json.dumps(self.balances, sort_keys=True).encode()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over what `snapshot` returned."""
        self.balances = json.loads(b"".join(chunks))


async def _transfer(simulation: Simulation, session: int, number: int) -> None:
    """Move a random amount exactly once: repeat the same number in the session until the outcome is known."""
    payer, payee = simulation.random.sample(sorted(OPENING), 2)
    command = json.dumps({"from": payer, "to": payee, "amount": simulation.random.randint(1, 60)}).encode()
    while True:
        try:
            await simulation.propose(command, session=session, sequence=number)
        except raftline.ProposalError:
            await asyncio.sleep(0.1)
        else:
            return


async def _session(simulation: Simulation) -> int:
    while True:
        try:
            return await simulation.open_session()
        except raftline.ProposalError:
            await asyncio.sleep(0.1)


@pytest.mark.simulate(machine=Bank, seeds=10)
async def test_money_is_neither_made_nor_lost(simulation: Simulation) -> None:
    """Whatever happens, every linearizable read shows the sum that was there in the beginning, and no debts."""

    async def client() -> None:
        session, number = await _session(simulation), 0
        while simulation.faulty:
            number += 1
            await _transfer(simulation, session, number)
            await asyncio.sleep(0.3 * simulation.random.random())

    async def auditor() -> None:
        while simulation.faulty:
            try:
                balances = json.loads(await simulation.read(b""))
            except raftline.ProposalError:
                continue
            assert sum(balances.values()) == sum(OPENING.values())
            assert min(balances.values()) >= 0
            await asyncio.sleep(0.2)

    await asyncio.gather(client(), client(), client(), auditor())
    balances = json.loads(await simulation.read(b""))
    assert sum(balances.values()) == sum(OPENING.values())
