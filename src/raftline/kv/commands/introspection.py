"""COMMAND and its subcommands: the command table, told in the form that Redis clients read."""

from collections.abc import Mapping

from raftline.kv.acl.rights import categories_of
from raftline.kv.client import Client
from raftline.kv.commands.arguments import SYNTAX_ERROR
from raftline.kv.commands.command import Arguments, Command
from raftline.kv.commands.glob import compile_glob
from raftline.kv.resp.replies import NULL, array, bulk, bulk_array, error, integer, mapping, set_of, simple

__all__ = ["CommandCommands", "help_lines"]

_ALL_SHARDS = "request_policy:all_shards"
_ALL_NODES = "request_policy:all_nodes"
_MANY_SHARDS = "request_policy:multi_shard"
_SUM, _ALL_WELL = "response_policy:agg_sum", "response_policy:all_succeeded"
_TIPS = {
    "config|set": (_ALL_NODES, _ALL_WELL),
    "dbsize": (_ALL_SHARDS, _SUM),
    "del": (_MANY_SHARDS, _SUM),
    "exists": (_MANY_SHARDS, _SUM),
    "flushall": (_ALL_SHARDS, _ALL_WELL),
    "flushdb": (_ALL_SHARDS, _ALL_WELL),
    "info": (_ALL_SHARDS, "response_policy:special"),
    "memory|doctor": (_ALL_SHARDS, "response_policy:special"),
    "memory|stats": (_ALL_SHARDS, "response_policy:special"),
    "mget": (_MANY_SHARDS,),
    "mset": (_MANY_SHARDS, _ALL_WELL),
    "msetnx": (_MANY_SHARDS, "response_policy:agg_min"),
    "ping": (_ALL_SHARDS, _ALL_WELL),
    "slowlog|get": (_ALL_NODES,),
    "slowlog|len": (_ALL_NODES, _SUM),
    "slowlog|reset": (_ALL_NODES, _ALL_WELL),
    "touch": (_MANY_SHARDS, _SUM),
    "unlink": (_MANY_SHARDS, _SUM),
}
"""How libraries ask several nodes and put the answers together, in Redis's words."""

_NO_SUCH_COMMAND = error("ERR Invalid command specified")
_NO_KEYS = error("ERR The command has no key arguments")
_BAD_ARITY = error("ERR Invalid number of arguments specified for command")


class CommandCommands:
    """The functions behind COMMAND; `commands` maps upper-case names to rows."""

    def __init__(self, commands: Mapping[bytes, Command]) -> None:
        self._commands = commands

    def all(self, client: Client, _args: Arguments) -> bytes:
        """COMMAND."""
        return array([_info(command, _has_tips(client)) for command in self._commands.values()])

    def count(self, _client: Client, _args: Arguments) -> bytes:
        """COMMAND COUNT."""
        return integer(len(self._commands))

    def info(self, client: Client, args: Arguments) -> bytes:
        """COMMAND INFO [name ...]."""
        if len(args) == 2:
            return self.all(client, args)
        found = [self._find(name) for name in args[2:]]
        return array([_info(command, _has_tips(client)) if command else NULL for command in found])

    def docs(self, _client: Client, args: Arguments) -> bytes:
        """COMMAND DOCS [name ...]; unknown names are left out."""
        if len(args) == 2:
            found = list(self._commands.values())
        else:
            found = [command for name in args[2:] if (command := self._find(name))]
        return mapping((bulk(command.name.encode()), _docs(command)) for command in found)

    def list_(self, _client: Client, args: Arguments) -> bytes:
        """COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]: subcommands, too."""
        commands = [row for command in self._commands.values() for row in (command, *command.subcommands)]
        if len(args) > 2:
            if len(args) != 5 or args[2].upper() != b"FILTERBY":
                return SYNTAX_ERROR
            kind, value = args[3].upper(), args[4]
            if kind == b"MODULE":
                commands = []
            elif kind == b"ACLCAT":
                commands = [
                    command for command in commands if value.decode(errors="replace").lower() in categories_of(command)
                ]
            elif kind == b"PATTERN":
                matches = compile_glob(value.lower())
                commands = [command for command in commands if matches(command.name.encode())]
            else:
                return SYNTAX_ERROR
        return bulk_array([command.name.encode() for command in commands])

    def getkeys(self, client: Client, args: Arguments) -> bytes:
        """COMMAND GETKEYS command [argument ...]."""
        command = self._find(args[2])
        if command is None:
            return _NO_SUCH_COMMAND
        if command.wraps and len(args) > 2 + command.wraps:
            return self.getkeys(client, args[command.wraps :])
        if not command.keys[0] and not command.numkeys:
            return _NO_KEYS
        count = len(args) - 2
        if (command.arity > 0 and count != command.arity) or count < -command.arity:
            return _BAD_ARITY
        return bulk_array([args[2 + position] for position in command.keys_in(args[2:])])

    def _find(self, name: bytes) -> Command | None:
        """Return a command, or a subcommand named as in `client|setname`."""
        container, bar, subcommand = name.upper().partition(b"|")
        command = self._commands.get(container)
        if command is None or not bar:
            return command
        for row in command.subcommands:
            if row.name.upper().encode() == container + b"|" + subcommand:
                return row
        return None


def help_lines(container: str, subcommands: tuple[Command, ...]) -> bytes:
    """Return the answer to `CLIENT HELP` and its like."""
    lines = [f"{container.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for row in subcommands:
        name = row.name.partition("|")[2].upper()
        lines += [f"{name} {row.syntax}".rstrip(), f"    {row.summary}"]
    return array([simple(line) for line in lines])


def _has_tips(client: Client) -> bool:
    """Say whether libraries are told whom to ask, which matters where each node counts its own keys."""
    return client.server.cluster is not None and client.server.cluster.wants_all_nodes_asked


def _info(command: Command, has_tips: bool) -> bytes:  # noqa: FBT001  one fact
    """Return the ten fields of one command."""
    first, last, step = command.keys
    return array(
        [
            bulk(command.name.encode()),
            integer(command.arity),
            set_of([simple(flag) for flag in command.flags]),
            integer(first),
            integer(last),
            integer(step),
            set_of([simple(f"@{category}") for category in categories_of(command)]),
            array([simple(tip) for tip in _TIPS.get(command.name, ())] if has_tips else []),
            array(_key_specifications(command)),
            array([_info(row, has_tips) for row in command.subcommands]),
        ]
    )


def _key_specifications(command: Command) -> list[bytes]:
    fixed = [_key_specification(command)] if command.keys[0] else []
    return [*fixed, _number_specification(command)] if command.numkeys else fixed


def _key_specification(command: Command) -> bytes:
    first, last, step = command.keys
    access = "RW" if "write" in command.flags else "RO"
    begin = mapping([(bulk(b"type"), bulk(b"index")), (bulk(b"spec"), mapping([(bulk(b"index"), integer(first))]))])
    last_from_first = last - first if last >= 0 else last
    reach = [(b"lastkey", last_from_first), (b"keystep", step), (b"limit", 0)]
    find = mapping(
        [
            (bulk(b"type"), bulk(b"range")),
            (bulk(b"spec"), mapping((bulk(name), integer(value)) for name, value in reach)),
        ]
    )
    flags = set_of([simple(access)])
    return mapping([(bulk(b"flags"), flags), (bulk(b"begin_search"), begin), (bulk(b"find_keys"), find)])


def _number_specification(command: Command) -> bytes:
    """Return the specification of keys whose number is said before them."""
    access = "RW" if "write" in command.flags and not command.keys[0] else "RO"
    reach = [(b"keynumidx", 0), (b"firstkey", 1), (b"keystep", 1)]
    spec = mapping((bulk(name), integer(value)) for name, value in reach)
    find = mapping([(bulk(b"type"), bulk(b"keynum")), (bulk(b"spec"), spec)])
    begin = mapping(
        [(bulk(b"type"), bulk(b"index")), (bulk(b"spec"), mapping([(bulk(b"index"), integer(command.numkeys))]))]
    )
    flags = set_of([simple(access)])
    return mapping([(bulk(b"flags"), flags), (bulk(b"begin_search"), begin), (bulk(b"find_keys"), find)])


def _docs(command: Command) -> bytes:
    texts = {
        "summary": command.summary,
        "since": command.since,
        "group": command.group,
        "complexity": command.complexity,
    }
    pairs = [(bulk(name.encode()), bulk(text.encode())) for name, text in texts.items() if text]
    if command.subcommands:
        rows = mapping((bulk(row.name.encode()), _docs(row)) for row in command.subcommands)
        pairs.append((bulk(b"subcommands"), rows))
    return mapping(pairs)
