"""The rows of the list commands."""

from raftline.kv.commands import blocking, lists
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import ONE_KEY, TWO_KEYS, WAITING_NOTE, Rows

__all__ = ["LIST_ROWS"]

_PER_ITEM = "O(N) in the number of items named."
_PER_LENGTH = "O(N) in the length of the list."
_RETURNED = "O(N) in the number of items returned."
_PER_KEY = "O(N) in the number of keys."

LIST_ROWS: dict[bytes, Command] = {}
"""Upper-case name → row."""

_add = Rows(LIST_ROWS, "list", keys=ONE_KEY).add

_items = "key item [item ...]"
_add("lpush", -3, _items, "Add items at the beginning.", write=lists.lpush, flags="denyoom fast", complexity=_PER_ITEM)
_add("rpush", -3, _items, "Add items at the end.", write=lists.rpush, flags="denyoom fast", complexity=_PER_ITEM)
_add(
    "lpushx",
    -3,
    _items,
    "Add items at the beginning of a list that exists.",
    write=lists.lpushx,
    flags="denyoom fast",
    complexity=_PER_ITEM,
    since="2.2.0",
)
_add(
    "rpushx",
    -3,
    _items,
    "Add items at the end of a list that exists.",
    write=lists.rpushx,
    flags="denyoom fast",
    complexity=_PER_ITEM,
    since="2.2.0",
)
_add(
    "lpop",
    -2,
    "key [count]",
    "Remove and return the first item, or several.",
    write=lists.lpop,
    flags="fast",
    complexity=_RETURNED,
)
_add(
    "rpop",
    -2,
    "key [count]",
    "Remove and return the last item, or several.",
    write=lists.rpop,
    flags="fast",
    complexity=_RETURNED,
)
_add("llen", 2, "key", "Count the items.", read=lists.llen, flags="fast")
_add("lindex", 3, "key index", "Return the item at an index.", read=lists.lindex, complexity="O(N/512), at most.")
_add(
    "lset",
    4,
    "key index item",
    "Put an item in the place of another.",
    write=lists.lset,
    flags="denyoom",
    complexity="O(N/512), at most.",
)
_add(
    "lrange", 4, "key start last", "Return the items of a range, both ends included.", read=lists.lrange,
    complexity=_RETURNED,
)  # fmt: skip
_add(
    "ltrim",
    4,
    "key start last",
    "Keep the items of a range only.",
    write=lists.ltrim,
    complexity="O(N) in the number of items removed.",
)
_add(
    "linsert",
    5,
    "key BEFORE | AFTER pivot item",
    "Add an item beside another.",
    write=lists.linsert,
    flags="denyoom",
    since="2.2.0",
    complexity=_PER_LENGTH,
)
_add("lrem", 4, "key count item", "Remove items that are equal to one.", write=lists.lrem, complexity=_PER_LENGTH)
_add(
    "lpos",
    -3,
    "key item [RANK rank] [COUNT count] [MAXLEN length]",
    "Return where an item stands.",
    read=lists.lpos,
    since="6.0.6",
    complexity=_PER_LENGTH,
)
_add(
    "rpoplpush",
    3,
    "source destination",
    "Move the last item of a list to the beginning of one; LMOVE says more.",
    write=lists.rpoplpush,
    flags="denyoom",
    keys=TWO_KEYS,
    since="1.2.0",
)
_add(
    "lmove",
    5,
    "source destination LEFT | RIGHT LEFT | RIGHT",
    "Move an item from one end of a list to one end of a list.",
    write=lists.lmove,
    flags="denyoom",
    keys=TWO_KEYS,
    since="6.2.0",
)
_add(
    "lmpop",
    -4,
    "numkeys key [key ...] LEFT | RIGHT [COUNT count]",
    "Remove and return items of the first list that has any.",
    write=lists.lmpop,
    flags="movablekeys",
    keys=(0, 0, 0),
    numkeys=1,
    since="7.0.0",
    complexity="O(N+M) in the number of keys and of items returned.",
)

_timed_keys = "key [key ...] timeout"
for _name, _pop, _end in (("blpop", blocking.blpop, "first"), ("brpop", blocking.brpop, "last")):
    _add(
        _name,
        -3,
        _timed_keys,
        f"Remove and return the {_end} item of the first list that has any; wait for one if there is none.",
        write=_pop,
        check=blocking.check_last,
        flags="blocking",
        keys=(1, -2, 1),
        since="2.0.0",
        complexity=_PER_KEY,
        note=WAITING_NOTE,
    )
_add(
    "blmove",
    6,
    "source destination LEFT | RIGHT LEFT | RIGHT timeout",
    "Move an item from one end of a list to one end of a list; wait for one if there is none.",
    write=blocking.blmove,
    check=blocking.check_blmove,
    flags="denyoom blocking",
    keys=TWO_KEYS,
    since="6.2.0",
    note=WAITING_NOTE,
)
_add(
    "brpoplpush",
    4,
    "source destination timeout",
    "Move the last item of a list to the beginning of one; BLMOVE says more.",
    write=blocking.brpoplpush,
    check=blocking.check_last,
    flags="denyoom blocking",
    keys=TWO_KEYS,
    since="2.2.0",
    note=WAITING_NOTE,
)
_add(
    "blmpop",
    -5,
    "timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]",
    "Remove and return items of the first list that has any; wait for some if there are none.",
    write=blocking.blmpop,
    check=blocking.check_blmpop,
    flags="blocking movablekeys",
    keys=(0, 0, 0),
    numkeys=2,
    since="7.0.0",
    complexity="O(N+M) in the number of keys and of items returned.",
    note=WAITING_NOTE,
)
