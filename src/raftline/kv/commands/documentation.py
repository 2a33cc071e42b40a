"""docs/commands.md from the command table: `python -m raftline.kv.commands.documentation > docs/commands.md`."""

import sys
from collections.abc import Iterator, Sequence

from raftline.kv.commands.command import Command
from raftline.kv.commands.differences import DIFFERENCES
from raftline.kv.commands.table import COMMANDS
from raftline.kv.version import REDIS_VERSION

__all__ = ["render_commands"]

_GROUPS = {
    "string": "Strings",
    "hash": "Hashes",
    "list": "Lists",
    "set": "Sets",
    "sorted-set": "Sorted sets",
    "generic": "Keys",
    "pubsub": "Channels",
    "connection": "Connection",
    "transactions": "Transactions",
    "server": "Server",
    "cluster": "Slots of a sharded store",
    "raftline": "Cluster",
}

_ERRORS = [
    ("Error", "Meaning", "Did a write take effect?"),
    ("---", "---", "---"),
    ("`-CLUSTERDOWN ...: the command did not take effect`", "no leader or no quorum in time", "no"),
    (
        "`-CLUSTERDOWN ...: the command may have been applied, or may still be`",
        "it was proposed, and its outcome is not known",
        "unknown: look before you repeat it",
    ),
    (
        "`-CLUSTERDOWN ...: nothing can be read that is certain to be current`",
        "a read that could not be made linearizable in time",
        "it was a read",
    ),
    (
        "`-CLUSTERDOWN the copy that was asked is too old: ...`",
        "a read that may be older: no leader has vouched for so young a copy",
        "it was a read",
    ),
    (
        "`-CLUSTERDOWN Hash slot not served`",
        "a sharded store: no group serves the slot, as far as the node knows",
        "no",
    ),
    (
        "`-TRYAGAIN ...`",
        "the leader changed, too many commands wait, or a slot moves for too long",
        "no; of FLUSHALL in a sharded store `some groups were flushed, others not`",
    ),
    ("`-OOM ...`", "keys and values take more than `maxmemory` on this node", "no"),
    ("`-NOTMEMBER ...`", "a command about the cluster, asked of a node that was removed or not added yet", "no"),
    ("`-MOVED slot host:port`", "a sharded store: another node leads the group of this slot; see below", "no"),
    ("`-CROSSSLOT ...`", "a sharded store: keys of one command, or of one transaction, are in several slots", "no"),
    (
        "`-NOSESSION ...`",
        "the session of RAFTLINE.ONCE is not open: closed, idle for an hour, or it made room",
        "not now, nor later; unknown of an earlier try that was not answered",
    ),
    ("`-OUTDATED ...`", "the session of RAFTLINE.ONCE carried out a higher number", "as after NOSESSION"),
    (
        "`-FORGOTTEN ...`",
        "a command in a session was carried out before, and its reply is kept no more, or is too large for the way",
        "yes, once",
    ),
    ("`-LOCKED ...`, `-NOTHELD ...`", "somebody else holds the lock; or who asks does not hold it", "no"),
    ("`-UNBLOCKED ...`", "a command that waited for something to pop was ended, or the node stops", "no"),
    ("`-ERR a key of ... bytes`, `-ERR a value of ... bytes`", "above `key_bytes_max` or `value_bytes_max`", "no"),
    ("`-ERR max number of clients reached`", "more than `clients_max` connections", "no"),
]


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_HEAD = f"""# Commands

This page is made from the command table (`src/raftline/kv/commands/table.py`); edit that, then run
`python -m raftline.kv.commands.documentation > docs/commands.md`.

Every node takes every command. **Write**: goes through the log, on whichever node it arrives, and is answered when a
quorum has it on disk and it was applied. **Read**: answered by the node that was asked, after it made sure that its own
copy is current; never stale. **Local**: answered by the node that was asked, from what it knows itself, also without a
quorum. **Task**: about the cluster; answered when it is done, and what the connection sends after it waits. **Its**: as
the command that it carries.

Replies and errors are those of Redis {REDIS_VERSION}, in RESP2 and, after `HELLO 3`, in RESP3. On top of them:

{_table(_ERRORS)}

[All that clients are told](operations.md#what-clients-are-told), with what to do.

Commands of one connection take effect in the order in which they were sent, pipelined or not.
Deadlines count by the log's clock, which is the same on every node: see
[the decision](decisions/0003-expiry-through-the-log.md).
"""


_SHARDED = """
## In a sharded store

Where keys are divided over groups, any node takes any command and passes it on to the group of its keys. A client that
asked for the slots (CLUSTER SLOTS, SHARDS or NODES), or said READONLY, READWRITE or ASKING, is redirected on that
connection instead, with MOVED, as by Redis Cluster; the setting `redirects` makes that so for everybody (`always`) or
for nobody (`never`). There is no ASK: a command for a slot that is on its way is held until the slot has arrived.

- Keys of one command, of one transaction, and of what it watches are in one slot; `{tags}` see to that.
- SORT takes no BY with a `*`, and of GET `#` only: what they name may be in any slot.
- WATCH is of one group: if the slot moves to another before EXEC, the transaction is not carried out.
- DBSIZE, KEYS, SCAN, RANDOMKEY and RAFTLINE.LOCK LIST are about all groups, at every node. Only DBSIZE counts, for who
  is redirected, the keys of the groups that this node leads, so that a cluster client may add up what the nodes say.
  FLUSHALL and FLUSHDB reach every group; they are not one step: a write of somebody else may come between two groups.
  None of them, nor PUBLISH or SPUBLISH, can be in a transaction with keys; nor FLUSHALL and FLUSHDB in RAFTLINE.ONCE.
- INFO counts the keys of the groups that the node leads, and the memory of all groups that it hosts.
- PUBLISH and SPUBLISH reach the clients of all nodes, whatever the slot of the name. Keyspace events are told of by the
  nodes that host the key's group.
- A command that waits for something to pop stands in line on a node that hosts the group; through any other node the
  group is asked every 100 ms.
- A session is opened in a group when it is first used there. RAFTLINE.BACKUP BEGIN is refused.
"""

_DIFFERENCES = """
## Differences from Redis

Every command of the five types is compared with a real redis-server: random sequences, every reply, errors included.
These are the differences; what a command's line above says beside them is a limit of size.

"""
_NOT_THERE = """
A client that waits for several keys, all filled by one transaction, gets what is in the first that it named; in Redis
it is the first that was filled.

A pattern, of KEYS, MATCH, PSUBSCRIBE, ACL SETUSER and the like, has at most 1 KiB.

Not there: bit operations, HyperLogLog, geographic commands and streams; DUMP, RESTORE and MIGRATE (the formats belong
to Redis); MOVE and SWAPDB (there is one database); WAIT (every answered write is on a quorum's disks); scripts and
functions; MONITOR, TIME and LATENCY; CLIENT TRACKING and PAUSE; LOLWUT, modules, and what administers a Redis server
(SAVE, BGSAVE, SHUTDOWN, ROLE, REPLICAOF, FAILOVER, what changes a cluster in CLUSTER, DEBUG and their like): `raftline`
has commands of its own for that.
"""


def render_commands() -> str:
    """Return the page."""
    return _HEAD + "".join(_group(name, title) for name, title in _GROUPS.items()) + _SHARDED + _differences()


def _differences() -> str:
    """Return what is answered otherwise than in Redis, and what is not there."""
    rows = [(" ".join(f"`{name.upper()}`" for name in row.commands.split()), row.what, row.why) for row in DIFFERENCES]
    head = [("Commands", "What is different", "Why"), ("---", "---", "---")]
    return _DIFFERENCES + _table([*head, *rows]) + "\n" + _NOT_THERE


def _group(name: str, title: str) -> str:
    rows = [row for command in COMMANDS.values() if command.group == name for row in _rows(command)]
    lines = [
        f"\n## {title}\n",
        "| Command | Kind | What it does | Complexity |",
        "|---|---|---|---|",
        *[_line(row) for row in rows],
    ]
    return "\n".join(lines) + "\n"


def _rows(command: Command) -> Iterator[Command]:
    """Yield a command, or what it consists of."""
    if command.local is not None or command.task is not None or not command.subcommands:
        yield command
    yield from command.subcommands


def _line(command: Command) -> str:
    usage = f"{command.name.replace('|', ' ').upper()} {command.syntax}".strip().replace("|", "\\|")
    kind = (
        "write"
        if command.write or command.execute
        else "read"
        if command.read or command.bound
        else "task"
        if command.task
        else "local"
        if command.local
        else "its"
    )
    text = f"{command.summary} {command.note}".strip()
    return f"| `{usage}` | {kind} | {text} | {command.complexity} |"


if __name__ == "__main__":
    sys.stdout.write(render_commands())
