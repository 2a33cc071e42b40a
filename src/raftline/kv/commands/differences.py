"""THE LIST of what is answered otherwise than Redis answers it; docs/commands.md shows it.

Random sequences of commands are compared with a real redis-server; the comparison leaves out what stands here, each
entry for the commands that it names, and nothing else.
"""

import msgspec

__all__ = ["DIFFERENCES", "Difference"]


class Difference(msgspec.Struct, frozen=True):
    """One difference: of which commands, what is different, and why it stays so."""

    name: str
    commands: str
    """Lower case, divided by blanks."""
    what: str
    why: str


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "order",
        "hkeys hvals hgetall smembers sinter sunion sdiff keys scan hscan sscan zscan sort sort_ro",
        "Members without an order come in another order: that of insertion up to 512, then by parts. SORT does so for "
        "sets with BY and a constant, and where ALPHA texts of BY are equal.",
        "Redis's order follows from a seed of the process; here all nodes have one order.",
    ),
    Difference(
        "draws",
        "hrandfield srandmember zrandmember randomkey spop",
        "Other members are drawn; at most 65,536 with repetition.",
        "They are random. A count without end would hold the node up for ever.",
    ),
    Difference(
        "minus-zero",
        "zadd zincrby zscore zmscore zrange zrevrange zrangebyscore zrevrangebyscore zpopmin zpopmax zmpop zunion "
        "zinter zdiff zscan zrandmember",
        "A score of -0 is stored as 0.",
        "In Redis it depends on how large the set is or once was.",
    ),
    Difference(
        "walked-scores",
        "zscan",
        "A whole score of 10^17 or more is written with an exponent.",
        "So do all other commands. In Redis it depends on how large the set is or once was.",
    ),
    Difference(
        "conditions",
        "set delex delifeq",
        "SET and DELEX take IFEQ and IFNE as Redis 8.4 does, but not its digests; DELIFEQ is Valkey's. Redis 7.0 has "
        "none of them.",
        "Compare and set, compare and delete are what a replicated store is used for.",
    ),
    Difference(
        "transactions",
        "multi",
        "AUTH, HELLO, READONLY, READWRITE, CLIENT READS, CLIENT REPLY, SUBSCRIBE and its like, ACL but for what a node "
        "answers itself, and what changes the cluster cannot be queued; CONFIG SET of `notify-keyspace-events` can, "
        "and EXEC replies an error in its place.",
        "They would change how the rest is answered, or take their time.",
    ),
    Difference(
        "repeated-keys",
        "zunionstore",
        "ZUNION, ZINTER, ZUNIONSTORE and ZINTERSTORE take one key at most 64 times.",
        "It is looked at each time; a value of a million members named 65,000 times would hold everybody up for hours.",
    ),
    Difference(
        "repeated-gets",
        "sort sort_ro",
        "At most 64 GET.",
        "Each of them returns, or stores, as much as the value holds: thousands would not fit into any memory.",
    ),
    Difference(
        "budgets",
        "exec",
        "Commands that look at whole values (SUNIONSTORE, SORT, LREM and their like) are refused, each by itself, "
        "behind others of the transaction that looked at 262,144 members.",
        "All of it is carried out in one go, and holds everybody up.",
    ),
    Difference(
        "watched-cells",
        "watch",
        "A change of another key may abort, too: of one in 65,536.",
        "See decisions/0010-transactions.md.",
    ),
    Difference(
        "memory",
        "memory",
        "MEMORY USAGE says what INFO counts here.",
        "It is another program: values take another amount of memory.",
    ),
    Difference(
        "objects",
        "object",
        "REFCOUNT is always 1; IDLETIME is refused; ENCODING is `hashtable` of every hash and set, `skiplist` of every "
        "sorted set, and of strings what Redis chooses for a new one.",
        "Values are not shared, accesses are not noted, and there is one form of each type.",
    ),
)
