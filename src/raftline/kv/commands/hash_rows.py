"""The rows of the hash commands."""

from raftline.kv.commands import hashes
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import ONE_KEY, Rows

__all__ = ["HASH_ROWS"]

_PER_FIELD = "O(N) in the number of fields named."
_ALL = "O(N) in the size of the hash."
_SEVERAL = "key field value [field value ...]"

HASH_ROWS: dict[bytes, Command] = {}
"""Upper-case name → row."""

_add = Rows(HASH_ROWS, "hash", keys=ONE_KEY, since="2.0.0").add

_add("hset", -4, _SEVERAL, "Set fields of a hash.", write=hashes.hset, flags="denyoom fast", complexity=_PER_FIELD)
_add("hsetnx", 4, "key field value", "Set a field that is not there.", write=hashes.hsetnx, flags="denyoom fast")
_add("hget", 3, "key field", "Return the value of a field.", read=hashes.hget, flags="fast")
_add(
    "hmset",
    -4,
    _SEVERAL,
    "Set fields of a hash; HSET says more.",
    write=hashes.hmset,
    flags="denyoom fast",
    complexity=_PER_FIELD,
)
_add(
    "hmget",
    -3,
    "key field [field ...]",
    "Return the values of fields.",
    read=hashes.hmget,
    flags="fast",
    complexity=_PER_FIELD,
)
_add(
    "hincrby",
    4,
    "key field increment",
    "Add to the number in a field.",
    write=hashes.hincrby,
    flags="denyoom fast",
)
_add(
    "hincrbyfloat",
    4,
    "key field increment",
    "Add a number with a fraction to the one in a field.",
    write=hashes.hincrbyfloat,
    flags="denyoom fast",
    since="2.6.0",
    note="Calculated with 64 bits of mantissa, as Redis does on x86, on every processor.",
)
_add(
    "hdel",
    -3,
    "key field [field ...]",
    "Remove fields.",
    write=hashes.hdel,
    flags="fast",
    complexity=_PER_FIELD,
)
_add("hlen", 2, "key", "Count the fields.", read=hashes.hlen, flags="fast")
_add(
    "hstrlen",
    3,
    "key field",
    "Return the length of a field's value.",
    read=hashes.hstrlen,
    flags="fast",
    since="3.2.0",
)
_add("hexists", 3, "key field", "Say whether a field is there.", read=hashes.hexists, flags="fast")
_add("hkeys", 2, "key", "Return the names of all fields.", read=hashes.hkeys, complexity=_ALL)
_add("hvals", 2, "key", "Return the values of all fields.", read=hashes.hvals, complexity=_ALL)
_add("hgetall", 2, "key", "Return all fields and their values.", read=hashes.hgetall, complexity=_ALL)
_add(
    "hrandfield",
    -2,
    "key [count [WITHVALUES]]",
    "Return fields drawn at random.",
    read=hashes.hrandfield,
    since="6.2.0",
    complexity="O(N) in the number of fields returned.",
)
_add(
    "hscan",
    -3,
    "key cursor [MATCH pattern] [COUNT count]",
    "Walk over the fields in small steps.",
    read=hashes.hscan,
    patterns=3,
    since="2.8.0",
    complexity="O(COUNT) a step, O(N) for the whole walk.",
    note="A step returns parts of up to 512 fields whole. Cursors mean the same on every node.",
)
