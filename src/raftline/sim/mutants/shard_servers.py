"""Mutants of servers of a sharded cluster (rules G15 to G19): who hosts which group, and what becomes of a command.

The patched code is that of the keeper, of the first group's machine, and of what finds a command its group.
"""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_KEEPER = "raftline.kv.sharded.keeper"
_META = "raftline.kv.sharded.meta"
_CONTROLS = "raftline.runtime.controls"
_MACHINE = "raftline.kv.sharded.machine"
_KV_MACHINE = "raftline.kv.machine"
_BUNDLES = "raftline.kv.bundles"
_ERRANDS = "raftline.kv.sharded.errands"
_INCOMING = "raftline.kv.sharded.incoming"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="retired_before_it_is_empty",
        rules=("G17", "G15"),
        does="A group that leaves is retired at once, with the slots that nobody has fetched yet.",
        patches=(
            Patch(
                _KEEPER,
                '            self._begin("move", group, self._move)\n        elif group',
                '            self._begin("move", group, self._move)\n        if group',
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="retired_groups_are_kept",
        rules=("G17",),
        does="A replica goes on for ever after its group has left.",
        patches=(
            Patch(
                _KEEPER,
                "        if self._meta.is_retired(group):\n            return True\n        is_gone",
                "        is_gone",
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="members_stay_where_they_were",
        rules=("G17",),
        does="A group that is placed elsewhere is hosted there, and its members are never changed.",
        patches=(
            Patch(
                _KEEPER,
                "        if change is not None:\n",
                "        if change is None:\n            return\n        if not hosted:\n",
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="founders_are_not_in_the_snapshot",
        rules=("G17", "G14"),
        does="A node that begins with a snapshot of the first group does not know who began the others.",
        patches=(Patch(_META, "            dict(self.founders),\n", "            {},\n"),),
        bench="sharded_servers",
    ),
    Mutant(
        name="reads_are_answered_by_who_had_the_slot",
        rules=("G15",),
        does="A server looks who serves a slot when a read arrives, and not when it answers.",
        patches=(Patch(_INCOMING, "            if serves(read.hash_slot):\n", "            if serves is not None:\n"),),
        bench="sharded_servers",
    ),
    Mutant(
        name="entry_is_looked_at_by_its_first_command",
        rules=("G15",),
        does="Of several commands in one entry of a group only the first is refused if its slot is not served.",
        patches=(
            Patch(
                _KV_MACHINE,
                "                if is_sharded:\n",
                "                if is_sharded and not replies:\n",
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="entry_is_refused_for_one_of_its_commands",
        rules=("G19", "G16"),
        does="When one of several commands in an entry is not served, the others are sent again, too.",
        patches=(
            Patch(
                _BUNDLES,
                "    return [refused if reply == NOT_SERVED else reply for reply in replies]\n",
                "    return [refused] * count\n",
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="unknown_writes_are_sent_again",
        rules=("G19",),
        does="A server sends a write on to the next group whatever went wrong, although it may have been carried out.",
        patches=(
            Patch(
                _ERRANDS,
                "        if is_elsewhere(reason):\n",
                "        if isinstance(reason, NotServed | ProposalError):\n",
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="unknown_writes_are_told_as_moving",
        rules=("G19",),
        does="TRYAGAIN, which says that nothing took effect, answers every write that a group did not answer.",
        patches=(
            Patch(
                _ERRANDS,
                "self.end(self.owner.on_failed_write(reason), Stage.IN_VAIN if",
                'self.end(b"-TRYAGAIN the slot is moving\\r\\n", Stage.IN_VAIN if',
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="transactions_are_not_checked",
        rules=("G15",),
        does="Who serves the keys of the commands in a transaction is not looked at when it is carried out.",
        patches=(
            Patch(
                _MACHINE,
                "        elif name != TICK_NAME:\n            self.check_served(args)\n",
                '        elif name not in (TICK_NAME, b"RAFTLINE.EXEC"):\n            self.check_served(args)\n',
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="held_writes_lose_their_session",
        rules=("G16",),
        does="A write that was held while its slot moved is sent on as a plain one.",
        patches=(
            Patch(
                _ERRANDS,
                "place.group.submit(self.command, self.done, self.session, self.sequence)",
                "place.group.submit(self.command, self.done)",
            ),
        ),
        bench="sharded_servers",
    ),
    Mutant(
        name="group_is_begun_anew",
        rules=("C14", "G17"),
        does="Founders with emptied disks are not told that their group has begun, and begin it once more.",
        patches=(
            Patch(
                _KEEPER,
                "next(iter(members), None), group in self._meta.begun\n",
                "next(iter(members), None), False\n",
            ),
        ),
        bench="sharded_lost_disks",
    ),
    Mutant(
        name="newcomers_are_out_by_their_past",
        rules=("G17",),
        does="A replica that is placed back is given up when it reads that its node was removed before.",
        patches=(
            Patch(
                _KEEPER,
                "        return is_gone and (not is_wanted or group in self._joined)\n",
                "        return is_gone\n",
            ),
        ),
        bench="sharded_travellers",
    ),
    Mutant(
        name="removed_with_its_replicas",
        rules=("G17", "K1"),
        does="A member is removed although groups are to have replicas on it.",
        patches=(
            Patch(
                _CONTROLS,
                "                if objection is not None:\n",
                "                if False:\n",
            ),
        ),
        bench="group_beside_a_removal",
    ),
    Mutant(
        name="removed_beside_a_group_in_the_making",
        rules=("G17", "K1"),
        does="Whether groups are to be on a member that is removed is looked up in what is applied, not in the log.",
        patches=(
            Patch(
                _META,
                "            if node in _wanted_by(request):\n",
                "            if False:\n",
            ),
        ),
        bench="group_beside_a_removal",
    ),
    Mutant(
        name="groups_on_who_was_removed",
        rules=("G17", "K1"),
        does="A group is made on a node that was removed before, in the log.",
        patches=(Patch(_META, "            self._check_members(request)\n", ""),),
        bench="group_beside_a_removal",
    ),
)
