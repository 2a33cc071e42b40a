"""The rows of the set commands."""

from raftline.kv.commands import sets
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import ALL_KEYS, ONE_KEY, TWO_KEYS, Rows

__all__ = ["SET_ROWS"]

_PER_MEMBER = "O(N) in the number of members named."
_ALL = "O(N) in the size of the set."
_ALL_SETS = "O(N) in the size of all sets."
_SMALLEST = "O(N*M) in the size of the smallest set and the number of sets."

SET_ROWS: dict[bytes, Command] = {}
"""Upper-case name → row."""

_add = Rows(SET_ROWS, "set", keys=ONE_KEY).add

_members = "key member [member ...]"
_add("sadd", -3, _members, "Add members.", write=sets.sadd, flags="denyoom fast", complexity=_PER_MEMBER)
_add("srem", -3, _members, "Remove members.", write=sets.srem, flags="fast", complexity=_PER_MEMBER)
_add(
    "smove",
    4,
    "source destination member",
    "Move a member to another set.",
    write=sets.smove,
    flags="fast",
    keys=TWO_KEYS,
)
_add("sismember", 3, "key member", "Say whether a member is there.", read=sets.sismember, flags="fast")
_add(
    "smismember",
    -3,
    _members,
    "Say of several members whether they are there.",
    read=sets.smismember,
    flags="fast",
    since="6.2.0",
    complexity=_PER_MEMBER,
)
_add("scard", 2, "key", "Count the members.", read=sets.scard, flags="fast")
_add("smembers", 2, "key", "Return all members.", read=sets.smembers, complexity=_ALL)
_add(
    "spop",
    -2,
    "key [count]",
    "Remove and return members drawn at random.",
    write=sets.spop,
    flags="fast",
    complexity="O(N) in the number of members returned.",
    note="Drawn from the entry's index and time: alike on every node.",
)
_add(
    "srandmember",
    -2,
    "key [count]",
    "Return members drawn at random.",
    read=sets.srandmember,
    complexity="O(N) in the number of members returned.",
)
_add(
    "sinter", -2, "key [key ...]", "Return what is in all sets.", read=sets.sinter, keys=ALL_KEYS, complexity=_SMALLEST
)
_add("sunion", -2, "key [key ...]", "Return what is in any set.", read=sets.sunion, keys=ALL_KEYS, complexity=_ALL_SETS)
_add(
    "sdiff",
    -2,
    "key [key ...]",
    "Return what is in the first set and in no other.",
    read=sets.sdiff,
    keys=ALL_KEYS,
    complexity=_ALL_SETS,
)
_add(
    "sintercard",
    -3,
    "numkeys key [key ...] [LIMIT limit]",
    "Count what is in all sets, up to a limit.",
    read=sets.sintercard,
    flags="movablekeys",
    keys=(0, 0, 0),
    numkeys=1,
    since="7.0.0",
    complexity=_SMALLEST,
)
_destination = "destination key [key ...]"
_add(
    "sinterstore",
    -3,
    _destination,
    "Make a set of what is in all sets.",
    write=sets.sinterstore,
    flags="denyoom",
    keys=ALL_KEYS,
    complexity=_SMALLEST,
)
_add(
    "sunionstore",
    -3,
    _destination,
    "Make a set of what is in any set.",
    write=sets.sunionstore,
    flags="denyoom",
    keys=ALL_KEYS,
    complexity=_ALL_SETS,
)
_add(
    "sdiffstore",
    -3,
    _destination,
    "Make a set of what is in the first set and in no other.",
    write=sets.sdiffstore,
    flags="denyoom",
    keys=ALL_KEYS,
    complexity=_ALL_SETS,
)
_add(
    "sscan",
    -3,
    "key cursor [MATCH pattern] [COUNT count]",
    "Walk over the members in small steps.",
    read=sets.sscan,
    patterns=3,
    since="2.8.0",
    complexity="O(COUNT) a step, O(N) for the whole walk.",
    note="A step returns parts of up to 512 members whole. Cursors mean the same on every node.",
)
