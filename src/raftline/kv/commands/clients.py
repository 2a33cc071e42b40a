"""CLIENT UNBLOCK and CLIENT KILL: what one connection may do to others of the same node."""

from collections.abc import Callable
from typing import Final

from raftline.kv.client import Client
from raftline.kv.commands.arguments import NOT_AN_INTEGER, SYNTAX_ERROR, parse_integer, require_at_least
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.resp.replies import NULL_ARRAY, OK, ONE, ZERO, error, integer, shown
from raftline.kv.waiting import UNBLOCKED

__all__ = ["client_kill", "client_unblock", "kind_of"]

_BAD_REASON: Final = error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
_UNBLOCK_ARITY: Final = error("ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.")
_NO_SUCH_CLIENT: Final = error("ERR No such client")
_TYPES: Final = frozenset({b"normal", b"master", b"replica", b"slave", b"pubsub"})

Filter = Callable[[Client], bool]


def kind_of(client: Client) -> bytes:
    """Return the type of a client, as CLIENT LIST and CLIENT KILL know it."""
    return b"pubsub" if client.is_subscribed else b"normal"


def client_unblock(client: Client, args: Arguments) -> bytes:
    """CLIENT UNBLOCK client-id [TIMEOUT | ERROR]: 1, or 0 if that client does not wait."""
    if len(args) > 4:
        return _UNBLOCK_ARITY
    reason = args[3].upper() if len(args) == 4 else b"TIMEOUT"
    if reason not in {b"TIMEOUT", b"ERROR"}:
        return _BAD_REASON
    number = parse_integer(args[2])
    if number is None:
        return NOT_AN_INTEGER
    other = client.server.clients.get(number)
    if other is None or other.blocked is None:
        return ZERO
    other.blocked.give_up(UNBLOCKED if reason == b"ERROR" else NULL_ARRAY)
    return ONE


def client_kill(client: Client, args: Arguments) -> bytes:
    """CLIENT KILL address | option value [option value ...]: close the connections that all of it fits."""
    if len(args) == 3:
        address = args[2].decode(errors="replace")
        found = [other for other in client.server.clients.values() if other.address == address]
        _kill(client, found)
        return OK if found else _NO_SUCH_CLIENT
    if len(args) % 2:
        return SYNTAX_ERROR
    skips_me = True
    filters: list[Filter] = []
    for option, value in zip(args[2::2], args[3::2], strict=True):
        if option.upper() == b"SKIPME":
            if value.lower() not in {b"yes", b"no"}:
                return SYNTAX_ERROR
            skips_me = value.lower() == b"yes"
        else:
            filters.append(_filter(client, option.upper(), value))
    found = [
        other
        for other in client.server.clients.values()
        if not (skips_me and other is client) and all(fits(other) for fits in filters)
    ]
    _kill(client, found)
    return integer(len(found))


def _filter(client: Client, option: bytes, value: bytes) -> Filter:
    """Return what an option asks of a client; raises `Refused`."""
    text = value.decode(errors="replace")
    if option == b"ID":
        number = require_at_least(value, 1, "client-id should be greater than 0")
        return lambda other: other.id == number
    if option == b"ADDR":
        return lambda other: other.address == text
    if option == b"LADDR":
        return lambda other: other.local_address == text
    if option == b"TYPE":
        kind = value.lower()
        if kind not in _TYPES:
            raise Refused(error(f"ERR Unknown client type '{shown(value)}'"))
        return lambda other: kind_of(other) == kind
    if option == b"USER":
        if client.server.store.users.named(value) is None:
            raise Refused(error(f"ERR No such user '{shown(value)}'"))
        return lambda other: other.user == value
    raise Refused(SYNTAX_ERROR)


def _kill(client: Client, found: list[Client]) -> None:
    """Close connections: others at once, the one that asks behind its reply."""
    for other in found:
        other.closing = True
        if other is not client:
            other.kill()
