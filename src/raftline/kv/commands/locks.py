"""RAFTLINE.LOCK: locks with a lease and a fencing token, each in a key of its own type.

Leases run by the log's time, tokens come from one counter of the whole store that never goes back: two holders of one
lock never have the same token, and the later one has the higher. See docs/decisions/0012-locks.md.
"""

from raftline.kv.commands.arguments import deadline_of, parse_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.glob import compile_glob
from raftline.kv.commands.scanning import parse_cursor, parse_scan_options
from raftline.kv.commands.typed import existing, viewed
from raftline.kv.key_walks import scan_keys
from raftline.kv.resp.replies import NULL, OK, ONE, array, bulk, error, integer, mapping, shown
from raftline.kv.store import Store
from raftline.kv.values.lock import Lock

__all__ = [
    "LEASE_MS_MAX",
    "OWNER_BYTES_MAX",
    "acquire",
    "check_acquire",
    "check_release",
    "check_renew",
    "list_",
    "release",
    "renew",
    "show",
]

LEASE_MS_MAX = 86_400_000
"""A day: who needs a lock for longer renews it."""
OWNER_BYTES_MAX = 1024

_SHOWN_BYTES_MAX = 64
_BAD_LEASE = error(f"ERR the lease is a number of milliseconds from 1 to {LEASE_MS_MAX}")
_BAD_OWNER = error(f"ERR the owner is a name of 1 to {OWNER_BYTES_MAX} bytes")
_BAD_TOKEN = error("ERR the token is a number that RAFTLINE.LOCK ACQUIRE gave")
_NOBODY = error("NOTHELD nobody holds this lock: its lease ran out, or it was released")


def acquire(store: Store, args: Arguments, time_ms: int) -> bytes:
    """RAFTLINE.LOCK ACQUIRE name owner lease-ms: the token, or who holds it.

    An owner who holds it already gets the same token, and a new lease.
    """
    name, owner = args[2], args[3]
    lease_ms = _lease(args[4])
    _check_owner(owner)
    lock = existing(store, name, Lock)
    if lock is None:
        lock = Lock(owner, store.next_token())
        store.put_new(name, lock)
    elif lock.owner != owner:
        left_ms = (store.deadline_ms(name) or time_ms) - time_ms
        return error(f"LOCKED {_holder(lock)} for {left_ms} ms more, unless the lease is renewed")
    store.expire_at(name, deadline_of(lease_ms, 1, time_ms, "raftline.lock|acquire"))
    return integer(lock.token)


def check_acquire(args: Arguments) -> None:
    """Refuse a lease or an owner that cannot be."""
    _lease(args[4])
    _check_owner(args[3])


def renew(store: Store, args: Arguments, time_ms: int) -> bytes:
    """RAFTLINE.LOCK RENEW name owner token lease-ms: the lease ends that long from now, sooner or later than before."""
    lease_ms = _lease(args[5])
    _held(store, args)
    store.expire_at(args[2], deadline_of(lease_ms, 1, time_ms, "raftline.lock|renew"))
    return OK


def check_renew(args: Arguments) -> None:
    """Refuse a lease, an owner or a token that cannot be."""
    _lease(args[5])
    check_release(args)


def release(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RAFTLINE.LOCK RELEASE name owner token."""
    _held(store, args)
    store.delete(args[2])
    return ONE


def check_release(args: Arguments) -> None:
    """Refuse an owner or a token that cannot be."""
    _check_owner(args[3])
    _token(args[4])


def show(store: Store, args: Arguments, now_ms: int) -> bytes:
    """RAFTLINE.LOCK SHOW name: owner, token and how long the lease lasts; nil if nobody holds it."""
    lock = viewed(store, args[2], now_ms, Lock)
    return NULL if lock is None else _map(store, args[2], lock, now_ms)


def list_(store: Store, args: Arguments, now_ms: int) -> bytes:
    """RAFTLINE.LOCK LIST [cursor] [MATCH pattern] [COUNT count]: a step of a walk, as SCAN makes it."""
    cursor = parse_cursor(args[2]) if len(args) > 2 else 0
    options = parse_scan_options(args, 3, has_type=False)
    next_cursor, found = scan_keys(store, cursor, options.count, now_ms)
    if options.pattern is not None:
        matches = compile_glob(options.pattern)
        found = [name for name in found if matches(name)]
    locks = [(name, lock) for name in found if isinstance(lock := store.read(name, now_ms), Lock)]
    return array([bulk(b"%d" % next_cursor), array([_map(store, name, lock, now_ms) for name, lock in locks])])


def _held(store: Store, args: Arguments) -> None:
    """Refuse who does not hold the lock with this token, or does not any more."""
    owner, token = args[3], _token(args[4])
    _check_owner(owner)
    lock = existing(store, args[2], Lock)
    if lock is None:
        raise Refused(_NOBODY)
    if lock.owner != owner or lock.token != token:
        raise Refused(error(f"NOTHELD {_holder(lock)}"))


def _map(store: Store, name: bytes, lock: Lock, now_ms: int) -> bytes:
    left_ms = max(0, (store.deadline_ms(name) or 0) - max(now_ms, store.time_ms))
    return mapping(
        (
            (bulk(b"name"), bulk(name)),
            (bulk(b"owner"), bulk(lock.owner)),
            (bulk(b"token"), integer(lock.token)),
            (bulk(b"lease-ms"), integer(left_ms)),
        )
    )


def _holder(lock: Lock) -> str:
    return f"'{shown(lock.owner, _SHOWN_BYTES_MAX)}' holds this lock with token {lock.token}"


def _lease(text: bytes) -> int:
    lease_ms = parse_integer(text)
    if lease_ms is None or not 0 < lease_ms <= LEASE_MS_MAX:
        raise Refused(_BAD_LEASE)
    return lease_ms


def _check_owner(owner: bytes) -> None:
    if not 0 < len(owner) <= OWNER_BYTES_MAX:
        raise Refused(_BAD_OWNER)


def _token(text: bytes) -> int:
    token = parse_integer(text)
    if token is None or token < 1:
        raise Refused(_BAD_TOKEN)
    return token
