"""ACL: who may log in, and what each may do. SETUSER and DELUSER go through the log; the others only tell.

Passwords are hashed before anything is proposed. Decisions are made by `raftline.kv.acl`.
"""

import secrets
from collections.abc import Mapping
from functools import cached_property

from raftline.kv.acl.denials import Entry
from raftline.kv.acl.draft import Draft, RuleError, StateError
from raftline.kv.acl.rights import CATEGORIES, Denial, Rights, categories_of, known_rules, rows_of
from raftline.kv.acl.user import DEFAULT_NAME, User, new_user, without_secrets
from raftline.kv.acl.users import BYTES_MAX, USERS_MAX
from raftline.kv.client import Client
from raftline.kv.commands.arguments import require_integer
from raftline.kv.commands.command import Arguments, Command, Refused
from raftline.kv.commands.glob import PATTERN_BYTES_MAX, TOO_LONG
from raftline.kv.resp.replies import (
    NULL,
    OK,
    array,
    bulk,
    bulk_array,
    double,
    error,
    integer,
    mapping,
    set_of,
    shown,
    simple,
)
from raftline.kv.store import Store

__all__ = ["AclCommands", "deluser", "genpass", "getuser", "list_", "log", "setuser", "users", "whoami"]

_BAD_NAME = error("ERR Usernames can't contain spaces or null characters")
_KEEP_DEFAULT = error("ERR The 'default' user cannot be removed")
_NO_ROOM = error(f"ERR there is no room for this user: at most {USERS_MAX} users of {BYTES_MAX} bytes together")
_BAD_BITS = error(
    "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
)
_BITS_MAX = 4096
_UNKNOWN_NAME = RuleError("Unknown command or category name in ACL")
_LOG_SHOWN = 10


def setuser(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ACL SETUSER username [rule ...]: all rules or none."""
    known = store.users.logged(args[2])
    draft = Draft(new_user(args[2]) if known is None else known)
    for word in args[3:]:
        try:
            draft.change(word)
        except RuleError as reason:
            return _bad_rule(word, reason)
    user = draft.user()
    if not store.users.has_room_for(user):
        return _NO_ROOM
    store.users.put(user)
    return OK


def deluser(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ACL DELUSER username [username ...]."""
    if DEFAULT_NAME in args[2:]:
        return _KEEP_DEFAULT
    return integer(sum(store.users.remove(name) for name in args[2:]))


def list_(store: Store, _args: Arguments, _now_ms: int) -> bytes:
    """ACL LIST."""
    return bulk_array([user.describe() for user in _everybody(store)])


def users(store: Store, _args: Arguments, _now_ms: int) -> bytes:
    """ACL USERS."""
    return bulk_array(store.users.names())


def getuser(store: Store, args: Arguments, _now_ms: int) -> bytes:
    """ACL GETUSER username."""
    user = store.users.named(args[2])
    if user is None:
        return NULL
    flags = ["on" if user.enabled else "off", *(["nopass"] if user.nopass else [])]
    return mapping(
        [
            (bulk(b"flags"), set_of([simple(flag) for flag in flags])),
            (bulk(b"passwords"), bulk_array(list(user.passwords))),
            (bulk(b"commands"), bulk(b" ".join(user.commands))),
            (bulk(b"keys"), bulk(b" ".join(user.keys))),
            (bulk(b"channels"), bulk(b" ".join(user.channels))),
            (bulk(b"selectors"), array([])),
        ]
    )


def whoami(client: Client, _args: Arguments) -> bytes:
    """ACL WHOAMI."""
    return bulk(client.user)


def genpass(_client: Client, args: Arguments) -> bytes:
    """ACL GENPASS [bits]: a random password in hexadecimal."""
    bits = 256
    if len(args) > 2:
        bits = require_integer(args[2])
        if not 0 < bits <= _BITS_MAX:
            return _BAD_BITS
    digits = (bits + 3) // 4
    return bulk(secrets.token_hex((digits + 1) // 2)[:digits].encode())


def log(client: Client, args: Arguments) -> bytes:
    """ACL LOG [count | RESET]: what this node refused lately."""
    denials = client.server.guard.denials
    if len(args) > 2 and args[2].upper() == b"RESET":
        denials.clear()
        return OK
    count = max(0, require_integer(args[2])) if len(args) > 2 else _LOG_SHOWN
    now_ms = client.server.now_ms()
    return array([_entry(entry, now_ms) for entry in denials.latest(count)])


class AclCommands:
    """The functions behind ACL that have to know the commands; `commands` maps upper-case names to rows."""

    def __init__(self, commands: Mapping[bytes, Command]) -> None:
        self._commands = commands

    @cached_property
    def _known_rules(self) -> frozenset[bytes]:
        return known_rules(self._commands)

    def check_setuser(self, args: Arguments) -> None:
        """Refuse what no node could carry out, and hash passwords, so that the log has none."""
        _check_name(args[2])
        draft = Draft(new_user(args[2]))
        for position, word in enumerate(args[3:], 3):
            args[position] = without_secrets(word)
            _check_pattern(word)
            try:
                draft.change(args[position])
            except StateError:
                continue
            except RuleError as reason:
                raise Refused(_bad_rule(word, reason)) from None
            if word[:1] in {b"+", b"-"} and word[1:].lower() not in self._known_rules:
                raise Refused(_bad_rule(word, _UNKNOWN_NAME))

    def cat(self, _client: Client, args: Arguments) -> bytes:
        """ACL CAT [category]."""
        if len(args) == 2:
            return bulk_array([category.encode() for category in CATEGORIES])
        category = args[2].decode("ascii", "replace").lower()
        if category not in CATEGORIES:
            return error(f"ERR Unknown category '{shown(args[2])}'")
        names = [row.name for row in rows_of(self._commands) if category in categories_of(row) and not row.subcommands]
        return bulk_array([name.encode() for name in names])

    def dryrun(self, store: Store, args: Arguments, _now_ms: int) -> bytes:
        """ACL DRYRUN username command [argument ...]."""
        user = store.users.named(args[2])
        if user is None:
            return error(f"ERR User '{shown(args[2])}' not found")
        command = self._find(args[3:])
        if command is None:
            return error(f"ERR Command '{shown(args[3])}' not found")
        count = len(args) - 3
        if (command.arity >= 0 and count != command.arity) or count < -command.arity:
            return error(f"ERR wrong number of arguments for '{command.name}' command")
        denial = Rights(user, self._commands).denial(command, args[3:])
        return OK if denial is None else bulk(_what_is_missing(denial))

    def _find(self, args: Arguments) -> Command | None:
        command = self._commands.get(args[0].upper())
        if command is None or not command.subcommands or len(args) == 1:
            return command
        name = f"{command.name}|{args[1].decode('ascii', 'replace').lower()}"
        return next((row for row in command.subcommands if row.name == name), None)


def _what_is_missing(denial: Denial) -> bytes:
    if denial.reason == "key":
        return b"This user has no permissions to access the '%b' key" % denial.object
    return b"This user has no permissions to run the '%b' command" % denial.object


def _everybody(store: Store) -> list[User]:
    found = [store.users.named(name) for name in store.users.names()]
    return [user for user in found if user is not None]


def _check_name(name: bytes) -> None:
    if any(space in name for space in b" \t\n\r\v\f\0"):
        raise Refused(_BAD_NAME)


def _check_pattern(word: bytes) -> None:
    kind, _, pattern = word.partition(b"&" if word[:1] == b"&" else b"~")
    if len(pattern) > PATTERN_BYTES_MAX and (not kind or kind[:1] == b"%"):
        raise Refused(_bad_rule(word, RuleError(TOO_LONG.format(len(pattern)))))


def _bad_rule(word: bytes, reason: RuleError) -> bytes:
    return error(f"ERR Error in ACL SETUSER modifier '{shown(word)}': {reason}")


def _entry(entry: Entry, now_ms: int) -> bytes:
    return mapping(
        [
            (bulk(b"count"), integer(entry.count)),
            (bulk(b"reason"), bulk(entry.reason.encode())),
            (bulk(b"context"), bulk(b"toplevel")),
            (bulk(b"object"), bulk(entry.object)),
            (bulk(b"username"), bulk(entry.username)),
            (bulk(b"age-seconds"), double(max(0, now_ms - entry.created_ms) / 1000)),
            (bulk(b"client-info"), bulk(entry.client_info.rstrip("\n").encode())),
        ]
    )
