"""What the commands of a transaction cost that look at whole values: every replica carries it out in one go.

Commands that only read are bounded by their replies, most others by their arguments. Those here may be short and take
seconds on a value of millions, so a transaction is carried out with a budget for them. It follows from the store alone,
so that all replicas refuse the same.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from raftline.kv.commands.command import Arguments, Command
from raftline.kv.commands.scanning import COUNT_MAX
from raftline.kv.resp.replies import error
from raftline.kv.store import Store
from raftline.kv.values.container import PART_MEMBERS_MAX

__all__ = ["BUDGETS_VERSION", "REPEATS", "Budget", "looks_at_whole_values", "repeats_refusal"]

_ADD_UP = frozenset({"zunion", "zunionstore", "zinter", "zinterstore"})
"""Commands that look at a value as often as they name it: its scores count each time."""
REPEATS = _ADD_UP | {"sort", "sort_ro"}
"""Those, and what returns each member as often as it is told to: `repeats_refusal` bounds them."""
_REPEATS_MAX = 64

BUDGETS_VERSION = 5
"""The `KvMachine.version` that every member must know before a command is refused for what those before it cost."""
MEMBERS_MAX = 1 << 18
"""What a transaction may look at, in members; part of the replicated behaviour, so no setting."""
_QUICK = 16
"""Members of a list that are compared, or of any value that are copied, in the time that one of a set takes."""
_BYTES = 4096
"""Bytes that are copied in that time."""

_SPENT = error(
    "ERR this command was not carried out, the transaction goes on behind it: the commands before it looked at more "
    f"than {MEMBERS_MAX} members of large values"
)


def _all(sizes: Sequence[int], _args: Arguments) -> int:
    return sum(sizes)


def _smallest_in_each(sizes: Sequence[int], _args: Arguments) -> int:
    return min(sizes, default=0) * len(sizes)


def _first_in_each(sizes: Sequence[int], _args: Arguments) -> int:
    return sizes[0] * len(sizes) if sizes else 0


def _sorted(sizes: Sequence[int], args: Arguments) -> int:
    """Of SORT; what GET names is looked up for each member."""
    return sizes[0] * (1 + sum(arg.upper() == b"GET" for arg in args[2:]))


def _quick(sizes: Sequence[int], _args: Arguments) -> int:
    return sizes[0] // _QUICK


def _step(sizes: Sequence[int], args: Arguments) -> int:
    """Of HSCAN and its like, which may find much and return nothing."""
    return min(sizes[0], COUNT_MAX if any(arg.upper() == b"COUNT" for arg in args[3:]) else PART_MEMBERS_MAX)


def _nothing(_sizes: Sequence[int], _args: Arguments) -> int:
    return 0


_Cost = Callable[[Sequence[int], Arguments], int]
_COSTS: Mapping[str, _Cost] = {
    **dict.fromkeys(("sunion", "sunionstore", "zunion", "zunionstore"), _all),
    **dict.fromkeys(("sinter", "sintercard", "sinterstore", "zinter", "zintercard", "zinterstore"), _smallest_in_each),
    **dict.fromkeys(("sdiff", "sdiffstore", "zdiff", "zdiffstore"), _first_in_each),
    **dict.fromkeys(("sort", "sort_ro"), _sorted),
    **dict.fromkeys(("hscan", "sscan", "zscan"), _step),
    **dict.fromkeys(("linsert", "lpos", "lrem", "copy"), _quick),
    **dict.fromkeys(("append", "setrange"), _all),
    "zrangestore": _nothing,
}
"""By the sizes of a command's sources and its arguments; what it stores comes on top."""


def repeats_refusal(row: Command, args: Arguments) -> bytes | None:
    """Return the reply to a command that looks at one value too often: it would cost many times what is stored."""
    if row.name not in _ADD_UP:
        count = sum(arg.upper() == b"GET" for arg in args[2:])
        return (
            error(f"ERR GET stands there {count} times, and may {_REPEATS_MAX} times") if count > _REPEATS_MAX else None
        )
    ((_, count),) = Counter(args[place] for place in row.keys_in(args)).most_common(1) or [(b"", 0)]
    if count <= _REPEATS_MAX:
        return None
    return error(f"ERR a key is named {count} times, and may be {_REPEATS_MAX} times: its scores count each time")


def looks_at_whole_values(row: Command) -> bool:
    """Say whether a command has to be counted."""
    return row.name in _COSTS


class Budget:
    """Of one transaction; what it is told of are commands that look at whole values."""

    __slots__ = ("_spent", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spent = 0

    def refusal(self, row: Command, args: Arguments) -> bytes | None:
        """Return the reply to a command that looks at whole values when too many were looked at; else count it."""
        if self._store.version < BUDGETS_VERSION:
            return None
        if self._spent > MEMBERS_MAX:
            return _SPENT
        first = 1 if row.name.endswith("store") else 0
        self._spent += _COSTS[row.name]([self._size(args[place]) for place in row.keys_in(args)[first:]], args)
        return None

    def on_done(self, row: Command, reply: bytes) -> None:
        """Count what a command stored."""
        if reply[:1] == b":" and (row.name.endswith("store") or row.name == "sort"):
            self._spent += int(reply[1:-2])

    def _size(self, key: bytes) -> int:
        """Return how many members a key holds, or as many as take as long as its bytes."""
        value = self._store.get(key)
        if value is None:
            return 0
        return len(value) // _BYTES if isinstance(value, bytes) else value.count
