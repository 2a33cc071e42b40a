"""Mutants of RAFTLINE.LOCK: tokens that come twice, leases that end at another time, locks that others give back."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_LOCKS = "raftline.kv.commands.locks"
_RESTORE = "raftline.kv.restore"
_STORE = "raftline.kv.store"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="token_comes_again_after_expiry",
        rules=("G1", "G4"),
        does="A token is the number of locks that are held, so that after an expiry it comes a second time.",
        patches=(Patch(_STORE, "        self.last_token += 1\n", "        self.last_token = self.count + 1\n"),),
        bench="locks",
    ),
    Mutant(
        name="tokens_are_not_in_the_snapshot",
        rules=("G1", "G14"),
        does="A restored node counts tokens from 0.",
        patches=(
            Patch(
                _RESTORE,
                "        self._store.last_token = header.last_token\n",
                "        self._store.last_token = 0\n",
            ),
        ),
        bench="locks",
    ),
    Mutant(
        name="lock_is_renewed_after_expiry",
        rules=("G1",),
        does="A renewal that comes after the lease ran out takes the lock again, under the old token.",
        patches=(
            Patch(
                _LOCKS,
                "    lock = existing(store, args[2], Lock)\n    if lock is None:\n        raise Refused(_NOBODY)\n",
                "    lock = existing(store, args[2], Lock)\n"
                "    if lock is None:\n"
                "        lock = Lock(owner, token)\n"
                "        store.put_new(args[2], lock)\n",
            ),
        ),
        bench="locks",
    ),
    Mutant(
        name="anybody_releases_a_lock",
        rules=("G1",),
        does="Whoever knows the token gives the lock back, whoever holds it.",
        patches=(
            Patch(
                _LOCKS,
                "    if lock.owner != owner or lock.token != token:\n",
                "    if lock.token != token:\n",
            ),
        ),
        bench="locks",
    ),
    Mutant(
        name="any_token_renews_a_lock",
        rules=("G1",),
        does="The owner's name is enough to renew or release: a holder of long ago keeps the lock of today.",
        patches=(
            Patch(
                _LOCKS,
                "    if lock.owner != owner or lock.token != token:\n",
                "    if lock.token < token:\n",
            ),
        ),
        bench="locks",
    ),
    Mutant(
        name="lease_by_the_wall_clock",
        rules=("G1",),
        does="Each replica counts a lease from its own clock's time.",
        patches=(
            Patch(_LOCKS, "from raftline.kv.commands.arguments", "import time\n\nfrom raftline.kv.commands.arguments"),
            Patch(
                _LOCKS,
                'deadline_of(lease_ms, 1, time_ms, "raftline.lock|acquire")',
                'deadline_of(lease_ms, 1, time.time_ns() // 1_000_000, "raftline.lock|acquire")',
            ),
        ),
        bench="locks",
    ),
    Mutant(
        name="lock_is_shared",
        rules=("G1",),
        does="An acquisition replaces whoever holds the lock.",
        patches=(
            Patch(
                _LOCKS,
                "    if lock is None:\n        lock = Lock(owner, store",
                "    if lock is None or lock.owner != owner:\n        lock = Lock(owner, store",
            ),
        ),
        bench="locks",
    ),
)
