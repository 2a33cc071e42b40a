"""Mutants of commands that wait: pops that the log does not know of, sleepers, and pops for those who are gone.

The rules are those of section G that they break: what is carried out without the log, twice, or for nobody.
"""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_BLOCKED = "raftline.kv.blocked"
_CONNECTION = "raftline.kv.connection"
_STORE = "raftline.kv.store"
_WAITING = "raftline.kv.waiting"

_POP = "            reply = await propose(node, client, form.narrowed(args, keys))\n"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="woken_client_pops_without_the_log",
        rules=("G1", "G2"),
        does="Who is woken pops from its node's own copy.",
        patches=(
            Patch(
                _BLOCKED,
                _POP,
                "            from raftline.kv.commands.lookup import WRITES\n"
                "            reply = WRITES[args[0]](client.server.store, form.narrowed(args, keys), 0)\n",
            ),
        ),
        bench="queues",
    ),
    Mutant(
        name="client_that_is_gone_pops",
        rules=("G6", "G13"),
        does="A client that hangs up while it waits stays in the queue, and an element is popped for it.",
        patches=(Patch(_CONNECTION, "            self._task.cancel()\n", "            pass\n"),),
        bench="queues",
    ),
    Mutant(
        name="nobody_is_woken_after_a_pop",
        rules=("G13", "G5"),
        does="Only a push to an empty key wakes: who waits behind it sleeps on when the first one leaves the queue.",
        patches=(
            Patch(
                _WAITING,
                "        if self._queues:\n            self.look(waiter.keys)\n        else:\n",
                "        if not self._queues:\n",
            ),
        ),
        bench="woken_in_order",
    ),
    Mutant(
        name="snapshot_wakes_nobody",
        rules=("G14", "G5"),
        does="When a snapshot is installed those who wait for what it holds sleep on.",
        patches=(Patch(_STORE, "            self.waited.on_replaced()\n", "            pass\n"),),
        bench="woken_by_a_snapshot",
    ),
    Mutant(
        name="last_come_first_served",
        rules=("G13",),
        does="Those who came last are woken first.",
        patches=(
            Patch(
                _WAITING,
                "    for waiter in queue:\n        if not left",
                "    for waiter in reversed(queue):\n        if not left",
            ),
        ),
        bench="woken_in_order",
    ),
)
