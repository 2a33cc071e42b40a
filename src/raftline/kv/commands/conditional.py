"""Compare and delete: DELEX, of Redis 8.4, and DELIFEQ, of Valkey 9. Their compare and set is an option of SET."""

from raftline.kv.commands.arguments import SYNTAX_ERROR
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.strings import CONDITIONS, meets
from raftline.kv.commands.typed import existing
from raftline.kv.resp.replies import ONE, ZERO, error
from raftline.kv.store import Store

__all__ = ["check_delex", "delex", "delifeq"]

_DELEX_ARITY = error("ERR wrong number of arguments for 'delex' command")


def delex(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """DELEX key [IFEQ value | IFNE value]; with a condition, of strings only."""
    check_delex(args)
    if len(args) == 2:
        return ONE if store.delete(args[1]) else ZERO
    return _delete_if(store, args[1], args[2].upper(), args[3])


def check_delex(args: Arguments) -> None:
    """Refuse what is no condition."""
    if len(args) not in {2, 4}:
        raise Refused(_DELEX_ARITY)
    if len(args) == 4 and args[2].upper() not in CONDITIONS:
        raise Refused(SYNTAX_ERROR)


def delifeq(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """DELIFEQ key value."""
    return _delete_if(store, args[1], b"IFEQ", args[2])


def _delete_if(store: Store, key: bytes, condition: bytes, expected: bytes) -> bytes:
    value = existing(store, key, bytes)
    if value is None or not meets(value, condition, expected):
        return ZERO
    store.delete(key)
    return ONE
