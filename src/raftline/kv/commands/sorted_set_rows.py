"""The rows of the sorted set commands."""

from raftline.kv.commands import algebra, blocking, ranges, sorted_sets
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import NO_KEYS, ONE_KEY, TWO_KEYS, WAITING_NOTE, Rows

__all__ = ["SORTED_SET_ROWS"]

_LOG = "O(log(N) + N/512) in the size of the set."
_PER_MEMBER = "O(M*log(N)) in the number of members named and the size of the set."
_RANGE = "O(log(N) + N/512 + M) in the size of the set and the number of members that are returned or removed."
_SUM = "O(N*log(N)) in the size of all sets."
_SMALLEST = "O(N*M) in the size of the smallest set and the number of sets."
_BY_MEMBER = "Ranges by member are for members of one score, as in Redis; of others they say nothing."

SORTED_SET_ROWS: dict[bytes, Command] = {}
"""Upper-case name → row."""

_add = Rows(SORTED_SET_ROWS, "sorted-set", keys=ONE_KEY, since="1.2.0").add

_add(
    "zadd",
    -4,
    "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
    "Set the scores of members.",
    write=sorted_sets.zadd,
    flags="denyoom fast",
    complexity=_PER_MEMBER,
)
_add(
    "zincrby",
    4,
    "key increment member",
    "Add to the score of a member.",
    write=sorted_sets.zincrby,
    flags="denyoom fast",
    complexity=_LOG,
)
_add(
    "zrem",
    -3,
    "key member [member ...]",
    "Remove members.",
    write=sorted_sets.zrem,
    flags="fast",
    complexity=_PER_MEMBER,
)
_add(
    "zcard",
    2,
    "key",
    "Count the members.",
    read=sorted_sets.zcard,
    flags="fast",
)
_add(
    "zscore",
    3,
    "key member",
    "Return the score of a member.",
    read=sorted_sets.zscore,
    flags="fast",
)
_add(
    "zmscore",
    -3,
    "key member [member ...]",
    "Return the scores of members.",
    read=sorted_sets.zmscore,
    flags="fast",
    since="6.2.0",
    complexity="O(N) in the number of members named.",
)
_add(
    "zrank",
    3,
    "key member",
    "Count the members before one, from the lowest score.",
    read=sorted_sets.zrank,
    flags="fast",
    since="2.0.0",
    complexity=_LOG,
)
_add(
    "zrevrank",
    3,
    "key member",
    "Count the members before one, from the highest score.",
    read=sorted_sets.zrevrank,
    flags="fast",
    since="2.0.0",
    complexity=_LOG,
)
_add(
    "zpopmin",
    -2,
    "key [count]",
    "Remove and return the members with the lowest scores.",
    write=sorted_sets.zpopmin,
    flags="fast",
    since="5.0.0",
    complexity=_RANGE,
)
_add(
    "zpopmax",
    -2,
    "key [count]",
    "Remove and return the members with the highest scores.",
    write=sorted_sets.zpopmax,
    flags="fast",
    since="5.0.0",
    complexity=_RANGE,
)
_add(
    "zmpop",
    -4,
    "numkeys key [key ...] MIN | MAX [COUNT count]",
    "Remove and return members of the first sorted set that has any.",
    write=sorted_sets.zmpop,
    flags="movablekeys",
    keys=NO_KEYS,
    numkeys=1,
    since="7.0.0",
    complexity=_RANGE,
)
_add(
    "zrandmember",
    -2,
    "key [count [WITHSCORES]]",
    "Return members drawn at random.",
    read=sorted_sets.zrandmember,
    since="6.2.0",
    complexity="O(N) in the number of members returned.",
)
_add(
    "zscan",
    -3,
    "key cursor [MATCH pattern] [COUNT count]",
    "Walk over the members in small steps.",
    read=sorted_sets.zscan,
    patterns=3,
    since="2.8.0",
    complexity="O(COUNT) a step, O(N) for the whole walk.",
    note="A step returns parts of up to 512 members whole. Cursors mean the same on every node.",
)
_add(
    "zrange",
    -4,
    "key first last [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
    "Return a range by rank, score or member.",
    read=ranges.zrange,
    complexity=_RANGE,
    note=_BY_MEMBER,
)
_add(
    "zrangestore",
    -5,
    "destination source first last [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
    "Make a sorted set of a range.",
    write=ranges.zrangestore,
    flags="denyoom",
    keys=TWO_KEYS,
    since="6.2.0",
    complexity=_RANGE,
)
_add(
    "zrevrange",
    -4,
    "key first last [WITHSCORES]",
    "Return a range by rank, from the highest score; ZRANGE says more.",
    read=ranges.zrevrange,
    complexity=_RANGE,
)
_add(
    "zrangebyscore",
    -4,
    "key min max [WITHSCORES] [LIMIT offset count]",
    "Return a range by score; ZRANGE says more.",
    read=ranges.zrangebyscore,
    since="1.0.5",
    complexity=_RANGE,
)
_add(
    "zrevrangebyscore",
    -4,
    "key max min [WITHSCORES] [LIMIT offset count]",
    "Return a range by score, from the highest; ZRANGE says more.",
    read=ranges.zrevrangebyscore,
    since="2.2.0",
    complexity=_RANGE,
)
_add(
    "zrangebylex",
    -4,
    "key min max [LIMIT offset count]",
    "Return a range by member; ZRANGE says more.",
    read=ranges.zrangebylex,
    since="2.8.9",
    complexity=_RANGE,
)
_add(
    "zrevrangebylex",
    -4,
    "key max min [LIMIT offset count]",
    "Return a range by member, from the last; ZRANGE says more.",
    read=ranges.zrevrangebylex,
    since="2.8.9",
    complexity=_RANGE,
)
_add(
    "zcount",
    4,
    "key min max",
    "Count the members with scores in a range.",
    read=ranges.zcount,
    flags="fast",
    since="2.0.0",
    complexity=_LOG,
)
_add(
    "zlexcount",
    4,
    "key min max",
    "Count the members of a range.",
    read=ranges.zlexcount,
    flags="fast",
    since="2.8.9",
    complexity=_LOG,
)
_add(
    "zremrangebyrank",
    4,
    "key first last",
    "Remove a range by rank.",
    write=ranges.zremrangebyrank,
    since="2.0.0",
    complexity=_RANGE,
)
_add(
    "zremrangebyscore",
    4,
    "key min max",
    "Remove a range by score.",
    write=ranges.zremrangebyscore,
    complexity=_RANGE,
)
_add(
    "zremrangebylex",
    4,
    "key min max",
    "Remove a range by member.",
    write=ranges.zremrangebylex,
    since="2.8.9",
    complexity=_RANGE,
)
_add(
    "zunion",
    -3,
    "numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]",
    "Return what is in any sorted set or set.",
    read=algebra.zunion,
    flags="movablekeys",
    keys=NO_KEYS,
    numkeys=1,
    since="6.2.0",
    complexity=_SUM,
)
_add(
    "zinter",
    -3,
    "numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]",
    "Return what is in all sorted sets or sets.",
    read=algebra.zinter,
    flags="movablekeys",
    keys=NO_KEYS,
    numkeys=1,
    since="6.2.0",
    complexity=_SMALLEST,
)
_add(
    "zdiff",
    -3,
    "numkeys key [key ...] [WITHSCORES]",
    "Return what is in the first sorted set or set and in no other.",
    read=algebra.zdiff,
    flags="movablekeys",
    keys=NO_KEYS,
    numkeys=1,
    since="6.2.0",
    complexity=_SUM,
)
_add(
    "zintercard",
    -3,
    "numkeys key [key ...] [LIMIT limit]",
    "Count what is in all sorted sets or sets, up to a limit.",
    read=algebra.zintercard,
    flags="movablekeys",
    keys=NO_KEYS,
    numkeys=1,
    since="7.0.0",
    complexity=_SMALLEST,
)
_add(
    "zunionstore",
    -4,
    "destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX]",
    "Make a sorted set of what is in any.",
    write=algebra.zunionstore,
    flags="denyoom movablekeys",
    numkeys=2,
    since="2.0.0",
    complexity=_SUM,
)
_add(
    "zinterstore",
    -4,
    "destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX]",
    "Make a sorted set of what is in all.",
    write=algebra.zinterstore,
    flags="denyoom movablekeys",
    numkeys=2,
    since="2.0.0",
    complexity=_SMALLEST,
)
_add(
    "zdiffstore",
    -4,
    "destination numkeys key [key ...]",
    "Make a sorted set of what is in the first and in no other.",
    write=algebra.zdiffstore,
    flags="denyoom movablekeys",
    numkeys=2,
    since="6.2.0",
    complexity=_SUM,
)

for _name, _pop, _end in (("bzpopmin", blocking.bzpopmin, "lowest"), ("bzpopmax", blocking.bzpopmax, "highest")):
    _add(
        _name,
        -3,
        "key [key ...] timeout",
        f"Remove and return the member with the {_end} score of the first sorted set; wait for one if there is none.",
        write=_pop,
        check=blocking.check_last,
        flags="blocking fast",
        keys=(1, -2, 1),
        since="5.0.0",
        complexity="O(N+log(M)) in the number of keys and of members.",
        note=WAITING_NOTE,
    )
_add(
    "bzmpop",
    -5,
    "timeout numkeys key [key ...] MIN | MAX [COUNT count]",
    "Remove and return members of the first sorted set that there is; wait for some if there is none.",
    write=blocking.bzmpop,
    check=blocking.check_bzmpop,
    flags="blocking movablekeys",
    keys=(0, 0, 0),
    numkeys=2,
    since="7.0.0",
    complexity="O(K+M*log(N)) in the number of keys, of members returned and of all members.",
    note=WAITING_NOTE,
)
