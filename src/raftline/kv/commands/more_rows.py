"""The rows of commands about parts of strings, and about keys as a whole, that are rarer than those in the table."""

from raftline.kv.commands import keys, objects, server, sorting, strings, substrings
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import ALL_KEYS, NO_KEYS, ONE_KEY, TWO_KEYS, Rows, subcommand

__all__ = ["MORE_KEY_ROWS", "MORE_STRING_ROWS"]

_SECOND_KEY = (2, 2, 1)

MORE_STRING_ROWS: dict[bytes, Command] = {}
"""Upper-case name → row."""
MORE_KEY_ROWS: dict[bytes, Command] = {}

_string = Rows(MORE_STRING_ROWS, "string", keys=ONE_KEY).add
_generic = Rows(MORE_KEY_ROWS, "generic", keys=ONE_KEY).add
_container = Rows(MORE_KEY_ROWS, "generic").add_container

_string(
    "mget",
    -2,
    "key [key ...]",
    "Return the values of several keys, all as of one moment.",
    read=strings.mget,
    keys=ALL_KEYS,
    flags="fast",
    complexity="O(N) in the number of keys.",
    note="More than 32 MiB of values are refused.",
)
_string(
    "mset",
    -3,
    "key value [key value ...]",
    "Set several keys, all of them at one moment.",
    write=strings.mset,
    check=strings.check_mset,
    keys=(1, -1, 2),
    flags="denyoom",
    since="1.0.1",
    complexity="O(N) in the number of keys.",
)
_string(
    "incrbyfloat",
    3,
    "key increment",
    "Add a number with a fraction.",
    write=strings.incrbyfloat,
    flags="denyoom fast",
    since="2.6.0",
    note="Calculated with 64 bits of mantissa, as Redis does on x86, on every processor.",
)
_string(
    "msetnx",
    -3,
    "key value [key value ...]",
    "Set several keys if none of them exists.",
    write=strings.msetnx,
    check=strings.check_msetnx,
    flags="denyoom",
    keys=(1, -1, 2),
    since="1.0.1",
    complexity="O(N) in the number of keys.",
)
_string(
    "getrange",
    4,
    "key first last",
    "Return a part of a value.",
    read=substrings.getrange,
    since="2.4.0",
    complexity="O(N) in the length returned.",
)
_string(
    "substr",
    4,
    "key first last",
    "Return a part of a value; the old name of GETRANGE.",
    read=substrings.getrange,
    complexity="O(N) in the length returned.",
)
_string(
    "setrange",
    4,
    "key offset value",
    "Write over a part of a value.",
    write=substrings.setrange,
    flags="denyoom",
    since="2.2.0",
    complexity="O(N) in the length of the result: values are immutable.",
)
_string(
    "lcs",
    -3,
    "key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]",
    "Return the longest bytes that two values have in common, in this order.",
    read=substrings.lcs,
    keys=TWO_KEYS,
    since="7.0.0",
    complexity="O(N*M) in the lengths.",
    note=f"Refused if the product of the lengths is above {substrings.LCS_CELLS_MAX}.",
)

_generic("rename", 3, "key new", "Give a key another name.", write=keys.rename, keys=TWO_KEYS)
_generic(
    "renamenx",
    3,
    "key new",
    "Give a key a name that is not taken.",
    write=keys.renamenx,
    keys=TWO_KEYS,
    flags="fast",
)
_generic(
    "copy",
    -3,
    "source destination [DB 0] [REPLACE]",
    "Give a key's value, and its deadline, to another key as well.",
    write=keys.copy,
    keys=TWO_KEYS,
    flags="denyoom",
    since="6.2.0",
    complexity="O(N/512) in the number of members.",
)
_generic(
    "touch",
    -2,
    "key [key ...]",
    "Count which of some keys exist; access times are not kept.",
    read=keys.exists,
    keys=ALL_KEYS,
    flags="fast",
    since="3.2.1",
    complexity="O(N) in the number of keys.",
)
_generic("randomkey", 1, "", "Return some key.", read=keys.randomkey, keys=NO_KEYS, complexity="O(1) in a full store.")
_options = "[BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]"
_generic(
    "sort",
    -2,
    f"key {_options} [STORE destination]",
    "Return, or store, the members of a list, set or sorted set in order.",
    write=sorting.sort,
    flags="denyoom movablekeys",
    destination_option=b"STORE",
    complexity="O(N*log(N)) in the number of members.",
    note="Texts are compared byte by byte. SORT_RO does not go through the log.",
)
_generic(
    "sort_ro",
    -2,
    f"key {_options}",
    "Return the members of a list, set or sorted set in order.",
    read=sorting.sort_ro,
    flags="movablekeys",
    since="7.0.0",
    complexity="O(N*log(N)) in the number of members.",
)
_container(
    "object",
    "2.2.3",
    "Look into values.",
    (
        subcommand(
            "object|encoding",
            3,
            "key",
            "Return how Redis would call the way in which a value is held.",
            read=objects.object_encoding,
            keys=_SECOND_KEY,
            since="2.2.3",
        ),
        subcommand(
            "object|freq",
            3,
            "key",
            "Refused: access frequencies are not kept.",
            read=objects.object_freq,
            keys=_SECOND_KEY,
            since="4.0.0",
        ),
        subcommand(
            "object|idletime",
            3,
            "key",
            "Refused: access times are not kept.",
            read=objects.object_idletime,
            keys=_SECOND_KEY,
            since="2.2.3",
        ),
        subcommand(
            "object|refcount",
            3,
            "key",
            "Return 1: values are not shared between keys.",
            read=objects.object_refcount,
            keys=_SECOND_KEY,
            since="2.2.3",
        ),
    ),
)
_container(
    "memory",
    "4.0.0",
    "Learn about memory.",
    (
        subcommand(
            "memory|usage",
            -3,
            "key [SAMPLES count]",
            "Return the memory of a key and its value, as INFO counts it; nothing is sampled.",
            read=objects.memory_usage,
            keys=_SECOND_KEY,
            since="4.0.0",
        ),
        subcommand(
            "memory|stats",
            2,
            "",
            "Return what this node's memory is used for, as far as it is counted, in Redis's names.",
            local=server.memory_stats,
            since="4.0.0",
        ),
        subcommand(
            "memory|doctor",
            2,
            "",
            "Say in words whether anything is wrong with this node's memory.",
            local=server.memory_doctor,
            since="4.0.0",
        ),
    ),
)
