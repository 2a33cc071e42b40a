"""Values by the type that a command is about; keys of another type are refused as Redis refuses them."""

from typing import TypeVar

from raftline.kv.commands.command import Refused
from raftline.kv.resp.replies import error
from raftline.kv.store import Store
from raftline.kv.values.container import Container
from raftline.kv.values.lock import Lock

__all__ = ["WRONG_TYPE", "editable", "existing", "keep", "opened", "refuse_lock", "viewed"]

C = TypeVar("C", bound=Container)
T = TypeVar("T", bound=bytes | Container)

WRONG_TYPE = error("WRONGTYPE Operation against a key holding the wrong kind of value")
_ONLY_RENEWED = error("WRONGTYPE a lock keeps its name, and its lease: see RAFTLINE.LOCK RENEW and RELEASE")


def existing(store: Store, key: bytes, kind: type[T]) -> T | None:
    """Return the value of a key for a write that does not change it in place, None if there is none."""
    value = store.get(key)
    if value is None or isinstance(value, kind):
        return value
    raise Refused(WRONG_TYPE)


def viewed(store: Store, key: bytes, now_ms: int, kind: type[T]) -> T | None:
    """Return the value of a key for a read, None if there is none."""
    value = store.read(key, now_ms)
    if value is None or isinstance(value, kind):
        return value
    raise Refused(WRONG_TYPE)


def editable(store: Store, key: bytes, kind: type[C]) -> C | None:
    """Return the value of a key for a write that changes it in place, None if there is none.

    Refuse before, call `store.settle` after the change.
    """
    value = existing(store, key, kind)
    return None if value is None else store.own(key, value)


def opened(store: Store, key: bytes, kind: type[C]) -> C:
    """Return the value of a key for a write that changes it in place, a new one if there is none; `keep` it then."""
    value = editable(store, key, kind)
    return kind() if value is None else value


def keep(store: Store, key: bytes, value: Container) -> None:
    """Note that a container has been changed, or put it there if it is new."""
    if value.is_new:
        store.put_new(key, value)
    else:
        store.settle(key, value)


def refuse_lock(value: bytes | Container | None) -> None:
    """Refuse what keys of all other types allow: another name, a copy, another deadline or none."""
    if isinstance(value, Lock):
        raise Refused(_ONLY_RENEWED)
