"""THE TABLE: every command, one row each. Dispatch, arity, COMMAND and docs/commands.md all come from it.

To add a command: write its function in the file of its family, add its row here.
"""

from raftline.kv.commands import clients, conditional, connection, expiry, keys, reads, strings
from raftline.kv.commands.acl_rows import add_acl_rows
from raftline.kv.commands.cluster_rows import add_cluster_rows
from raftline.kv.commands.command import Command
from raftline.kv.commands.hash_rows import HASH_ROWS
from raftline.kv.commands.info import info
from raftline.kv.commands.introspection import CommandCommands
from raftline.kv.commands.list_rows import LIST_ROWS
from raftline.kv.commands.lock_rows import add_lock_rows
from raftline.kv.commands.more_rows import MORE_KEY_ROWS, MORE_STRING_ROWS
from raftline.kv.commands.pubsub_rows import add_pubsub_rows
from raftline.kv.commands.rows import ALL_KEYS, ONE_KEY, Rows, subcommand
from raftline.kv.commands.server_rows import add_server_rows
from raftline.kv.commands.set_rows import SET_ROWS
from raftline.kv.commands.shard_rows import add_shard_rows
from raftline.kv.commands.slots_rows import add_slots_rows
from raftline.kv.commands.sorted_set_rows import SORTED_SET_ROWS
from raftline.kv.commands.transaction_rows import add_transaction_rows

__all__ = ["COMMANDS"]

_PER_KEY = "O(N) in the number of keys."
_PER_STORED_KEY = "O(N) in the number of keys stored."
_FLUSH = "Both modes return at once; memory is given back little by little."

COMMANDS: dict[bytes, Command] = {}
"""Upper-case name → row, in the order of this file."""

_string = Rows(COMMANDS, "string").add
_generic = Rows(COMMANDS, "generic").add
_connection = Rows(COMMANDS, "connection").add
_server = Rows(COMMANDS, "server").add
_containers = Rows(COMMANDS, "server").add_container
_client = Rows(COMMANDS, "connection").add_container

# Strings.

_string("get", 2, "key", "Return the value of a key.", read=strings.get, keys=ONE_KEY, flags="fast")
_string(
    "set",
    -3,
    "key value [NX | XX | IFEQ value | IFNE value] [GET] "
    "[EX seconds | PX ms | EXAT unix-seconds | PXAT unix-ms | KEEPTTL]",
    "Set the value of a key, whatever it held; with IFEQ or IFNE only if that was, or was not, the value given.",
    newer_options=strings.CONDITIONS,
    write=strings.set_,
    check=strings.check_set,
    keys=ONE_KEY,
    flags="denyoom",
)
_string(
    "setnx",
    3,
    "key value",
    "Set the value of a key that does not exist.",
    write=strings.setnx,
    keys=ONE_KEY,
    flags="denyoom fast",
)
_string(
    "setex",
    4,
    "key seconds value",
    "Set a value that expires after some seconds.",
    write=strings.setex,
    check=strings.check_setex,
    keys=ONE_KEY,
    flags="denyoom",
    since="2.0.0",
)
_string(
    "psetex",
    4,
    "key ms value",
    "Set a value that expires after some milliseconds.",
    write=strings.psetex,
    check=strings.check_psetex,
    keys=ONE_KEY,
    flags="denyoom",
    since="2.6.0",
)
_string(
    "getset",
    3,
    "key value",
    "Set a value and return the one before.",
    write=strings.getset,
    keys=ONE_KEY,
    flags="denyoom fast",
)
_string(
    "getex",
    -2,
    "key [EX seconds | PX ms | EXAT unix-seconds | PXAT unix-ms | PERSIST]",
    "Return a value and change when it expires.",
    write=strings.getex,
    check=strings.check_getex,
    keys=ONE_KEY,
    flags="fast",
    since="6.2.0",
)
_string(
    "getdel",
    2,
    "key",
    "Return a value and remove the key.",
    write=strings.getdel,
    keys=ONE_KEY,
    flags="fast",
    since="6.2.0",
)
_string(
    "delex",
    -2,
    "key [IFEQ value | IFNE value]",
    "Remove a key; with a condition only if its value is, or is not, the one given.",
    write=conditional.delex,
    check=conditional.check_delex,
    keys=ONE_KEY,
    flags="fast",
    since="8.4.0",
    version=2,
)
_string(
    "delifeq",
    3,
    "key value",
    "Remove a key if its value is the one given, as in Valkey.",
    write=conditional.delifeq,
    keys=ONE_KEY,
    flags="fast",
    since="9.0.0",
    version=2,
)
_string(
    "append",
    3,
    "key value",
    "Put bytes behind those that a key holds.",
    write=strings.append,
    keys=ONE_KEY,
    flags="denyoom fast",
    since="2.0.0",
    complexity="O(N) in the length of the result: values are immutable.",
)
_string(
    "strlen", 2, "key", "Return the length of a value.", read=strings.strlen, keys=ONE_KEY, flags="fast", since="2.2.0"
)
_string("incr", 2, "key", "Add 1 to a number.", write=strings.incr, keys=ONE_KEY, flags="denyoom fast")
_string("decr", 2, "key", "Subtract 1 from a number.", write=strings.decr, keys=ONE_KEY, flags="denyoom fast")
_string(
    "incrby",
    3,
    "key increment",
    "Add to a number.",
    write=strings.incrby,
    check=strings.check_incrby,
    keys=ONE_KEY,
    flags="denyoom fast",
)
_string(
    "decrby",
    3,
    "key decrement",
    "Subtract from a number.",
    write=strings.decrby,
    check=strings.check_decrby,
    keys=ONE_KEY,
    flags="denyoom fast",
)

# Keys and their deadlines.

_generic("del", -2, "key [key ...]", "Remove keys.", write=keys.delete, keys=ALL_KEYS, complexity=_PER_KEY)
_generic(
    "unlink",
    -2,
    "key [key ...]",
    "Remove keys; the same as DEL here.",
    write=keys.delete,
    keys=ALL_KEYS,
    flags="fast",
    since="4.0.0",
    complexity=_PER_KEY,
)
_generic(
    "exists",
    -2,
    "key [key ...]",
    "Count which of some keys exist.",
    read=keys.exists,
    keys=ALL_KEYS,
    flags="fast",
    complexity=_PER_KEY,
)
_generic("type", 2, "key", "Return what kind of value a key holds.", read=keys.type_, keys=ONE_KEY, flags="fast")
_generic(
    "expire",
    -3,
    "key seconds [NX | XX | GT | LT]",
    "Let a key expire after some seconds.",
    write=expiry.expire,
    check=expiry.check_expire,
    keys=ONE_KEY,
    flags="fast",
)
_generic(
    "pexpire",
    -3,
    "key ms [NX | XX | GT | LT]",
    "Let a key expire after some milliseconds.",
    write=expiry.pexpire,
    check=expiry.check_expire,
    keys=ONE_KEY,
    flags="fast",
    since="2.6.0",
)
_generic(
    "expireat",
    -3,
    "key unix-seconds [NX | XX | GT | LT]",
    "Let a key expire at a time in seconds since 1970.",
    write=expiry.expireat,
    check=expiry.check_expire,
    keys=ONE_KEY,
    flags="fast",
    since="1.2.0",
)
_generic(
    "pexpireat",
    -3,
    "key unix-ms [NX | XX | GT | LT]",
    "Let a key expire at a time in milliseconds since 1970.",
    write=expiry.pexpireat,
    check=expiry.check_expire,
    keys=ONE_KEY,
    flags="fast",
    since="2.6.0",
)
_generic("ttl", 2, "key", "Return in how many seconds a key expires.", read=expiry.ttl, keys=ONE_KEY, flags="fast")
_generic(
    "pttl",
    2,
    "key",
    "Return in how many milliseconds a key expires.",
    read=expiry.pttl,
    keys=ONE_KEY,
    flags="fast",
    since="2.6.0",
)
_generic(
    "expiretime",
    2,
    "key",
    "Return when a key expires, in seconds since 1970.",
    read=expiry.expiretime,
    keys=ONE_KEY,
    flags="fast",
    since="7.0.0",
)
_generic(
    "pexpiretime",
    2,
    "key",
    "Return when a key expires, in milliseconds since 1970.",
    read=expiry.pexpiretime,
    keys=ONE_KEY,
    flags="fast",
    since="7.0.0",
)
_generic(
    "persist",
    2,
    "key",
    "Take away the deadline of a key.",
    write=expiry.persist,
    keys=ONE_KEY,
    flags="fast",
    since="2.2.0",
)
_generic(
    "keys",
    2,
    "pattern",
    "Return every key that matches a pattern.",
    read=keys.keys,
    patterns=1,
    may_walk_all=True,
    complexity=_PER_STORED_KEY,
    note="Holds up everybody else on that node while it looks at every key; prefer SCAN. "
    "At most 16 of both, and of RAFTLINE.LOCK LIST, in one transaction.",
)
_generic(
    "scan",
    -2,
    "cursor [MATCH pattern] [COUNT count] [TYPE type]",
    "Walk over the keys in small steps.",
    read=keys.scan,
    patterns=2,
    may_walk_all=True,
    since="2.8.0",
    complexity="O(COUNT) a step, O(N) for the whole walk.",
    note="Cursors mean the same on every node.",
)
for _rows in (MORE_STRING_ROWS, MORE_KEY_ROWS, HASH_ROWS, LIST_ROWS, SET_ROWS, SORTED_SET_ROWS):
    COMMANDS.update(_rows)

_server("dbsize", 1, "", "Count the keys.", read=keys.dbsize, flags="fast")
_server("flushall", -1, "[ASYNC | SYNC]", "Remove every key.", write=keys.flush, check=keys.check_flush, note=_FLUSH)
_server(
    "flushdb",
    -1,
    "[ASYNC | SYNC]",
    "Remove every key of the database.",
    write=keys.flush,
    check=keys.check_flush,
    note=_FLUSH,
)

add_transaction_rows(COMMANDS)

# Connections.

_connection(
    "ping",
    -1,
    "[message]",
    "Answer PONG, or the message.",
    local=connection.ping,
    flags="fast",
    note="Answered by the node itself: it does not tell whether the node reaches the others.",
)
_connection("echo", 2, "message", "Answer the message.", local=connection.echo, flags="fast")
_connection("select", 2, "index", "Choose a database; there is only 0.", local=connection.select, flags="fast")

# Commands with subcommands, and INFO.

_about = CommandCommands(COMMANDS)
_server("info", -1, "[section ...]", "Return what this node knows of itself.", local=info)
_client(
    "client",
    "2.4.0",
    "Learn about, and name, the connections of this node.",
    (
        subcommand(
            "client|setname", 3, "name", "Name this connection.", local=connection.client_setname, since="2.6.9"
        ),
        subcommand(
            "client|getname",
            2,
            "",
            "Return the name of this connection.",
            local=connection.client_getname,
            since="2.6.9",
        ),
        subcommand(
            "client|id", 2, "", "Return the number of this connection.", local=connection.client_id, since="5.0.0"
        ),
        subcommand("client|info", 2, "", "Describe this connection.", local=connection.client_info, since="6.2.0"),
        subcommand(
            "client|list",
            -2,
            "[TYPE type | ID id [id ...]]",
            "Describe the connections of this node.",
            local=connection.client_list,
            flags="admin",
            since="2.4.0",
        ),
        subcommand(
            "client|setinfo",
            4,
            "LIB-NAME name | LIB-VER version",
            "Say which library this connection comes from.",
            local=connection.client_setinfo,
            since="7.2.0",
        ),
        subcommand(
            "client|no-evict",
            3,
            "ON | OFF",
            "Accepted, without effect: no client is ever evicted.",
            local=connection.client_no_evict,
            flags="admin",
            since="7.0.0",
        ),
        subcommand(
            "client|no-touch",
            3,
            "ON | OFF",
            "Accepted, without effect: access times are not kept.",
            local=connection.client_no_touch,
            since="7.2.0",
        ),
        subcommand(
            "client|unblock",
            -3,
            "client-id [TIMEOUT | ERROR]",
            "Let a connection of this node no longer wait for something to pop.",
            local=clients.client_unblock,
            flags="admin",
            since="5.0.0",
        ),
        subcommand(
            "client|kill",
            -3,
            "address | option value [option value ...]",
            "Close connections of this node: options are ID, ADDR, LADDR, TYPE, USER, SKIPME.",
            local=clients.client_kill,
            flags="admin",
            since="2.4.0",
        ),
        subcommand(
            "client|reads",
            -3,
            "LINEARIZABLE | LEASE | BOUNDED ms | STALE",
            "Choose what reads on this connection promise: the newest state (proven by a round of messages, or by the "
            "leader's lease where leases are switched on), one at most so old, or any.",
            local=reads.client_reads,
        ),
        subcommand(
            "client|reply",
            3,
            "ON | OFF | SKIP",
            "Choose whether commands are answered.",
            local=connection.client_reply,
            since="3.2.0",
        ),
    ),
)
add_server_rows(COMMANDS)
_containers(
    "command",
    "2.8.13",
    "Describe every command.",
    (
        subcommand("command|count", 2, "", "Count the commands.", local=_about.count, since="2.8.13"),
        subcommand("command|info", -2, "[name ...]", "Describe some commands.", local=_about.info, since="2.8.13"),
        subcommand("command|docs", -2, "[name ...]", "Explain some commands.", local=_about.docs, since="7.0.0"),
        subcommand(
            "command|list",
            -2,
            "[FILTERBY MODULE name | ACLCAT category | PATTERN pattern]",
            "Name the commands.",
            local=_about.list_,
            patterns=2,
            since="7.0.0",
        ),
        subcommand(
            "command|getkeys",
            -4,
            "command argument [argument ...]",
            "Return the keys in a command.",
            local=_about.getkeys,
            since="2.8.13",
        ),
    ),
    arity=-1,
    local=_about.all,
)

add_cluster_rows(COMMANDS)
add_shard_rows(COMMANDS)
add_lock_rows(COMMANDS)
add_acl_rows(COMMANDS)
add_pubsub_rows(COMMANDS)
add_slots_rows(COMMANDS)
