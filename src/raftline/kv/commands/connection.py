"""Commands about the connection itself: greeting, protocol, names, what libraries send when they connect.

They are answered at once by the node the client is connected to, whether or not it can reach the others.
"""

from raftline.kv.acl.user import DEFAULT_NAME
from raftline.kv.client import Client
from raftline.kv.commands.arguments import SYNTAX_ERROR, parse_integer, require_integer
from raftline.kv.commands.clients import kind_of
from raftline.kv.commands.command import Arguments, Refused, Settled, Unsettled
from raftline.kv.resp.replies import (
    OK,
    PONG,
    array,
    bulk,
    bulk_or_null,
    error,
    integer,
    mapping,
    shown,
    simple,
    verbatim,
)
from raftline.kv.version import REDIS_VERSION

__all__ = [
    "auth",
    "client_getname",
    "client_id",
    "client_info",
    "client_list",
    "client_no_evict",
    "client_no_touch",
    "client_reply",
    "client_setinfo",
    "client_setname",
    "echo",
    "hello",
    "ping",
    "quit_",
    "reset",
    "select",
]

_PING_ARITY = error("ERR wrong number of arguments for 'ping' command")
_BAD_NAME = error("ERR Client names cannot contain spaces, newlines or special characters.")
_BAD_PROTOCOL = error("ERR Protocol version is not an integer or out of range")
_UNKNOWN_PROTOCOL = error("NOPROTO unsupported protocol version")
_WRONG_PASSWORD = error("WRONGPASS invalid username-password pair or user is disabled.")
_NO_PASSWORD = error(
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
_HELLO_WITHOUT_AUTH = error(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
    "option can be used to authenticate the client and select the RESP protocol version at the same time"
)
_NO_SELECT = error("ERR SELECT is not allowed in cluster mode")
_NO_SUCH_DATABASE = error("ERR DB index is out of range")
_INVALID_CLIENT_ID = error("ERR Invalid client ID")
_CLIENT_TYPES = frozenset({b"normal", b"master", b"replica", b"slave", b"pubsub"})


def ping(client: Client, args: Arguments) -> bytes:
    """PING [message]."""
    if len(args) > 2:
        return _PING_ARITY
    if client.only_listens:
        return array([bulk(b"pong"), bulk(b"".join(args[1:]))])
    return PONG if len(args) == 1 else bulk(args[1])


def echo(_client: Client, args: Arguments) -> bytes:
    """ECHO message."""
    return bulk(args[1])


def select(client: Client, args: Arguments) -> bytes:
    """SELECT index; there is one database, 0."""
    if require_integer(args[1]) == 0:
        return OK
    return _NO_SUCH_DATABASE if client.server.cluster is None else _NO_SELECT


def quit_(client: Client, _args: Arguments) -> bytes:
    """QUIT."""
    client.closing = True
    return OK


def reset(client: Client, _args: Arguments) -> bytes:
    """RESET."""
    client.reset()
    return simple("RESET")


def auth(client: Client, args: Arguments) -> bytes:
    """AUTH [username] password."""
    if len(args) > 3:
        return SYNTAX_ERROR
    if len(args) == 2 and client.server.store.users.is_default_open:
        return _NO_PASSWORD
    _log_in(client, DEFAULT_NAME if len(args) == 2 else args[1], args[-1], b"AUTH", args)
    return OK


def _log_in(client: Client, user: bytes, password: bytes, command: bytes, args: Arguments) -> None:
    """Log in, or raise `Refused`; before that raise `Unsettled`, once: this node may not know the users of now."""
    server = client.server
    if server.store.users.may_log_in(user, password):
        client.log_in(user)
        return
    if not isinstance(args, Settled):
        raise Unsettled
    server.guard.denials.note("auth", command, user, server.now_ms(), client.line())
    raise Refused(_WRONG_PASSWORD)


def hello(client: Client, args: Arguments) -> bytes:
    """HELLO [protocol [AUTH user password] [SETNAME name]]."""
    protocol = client.protocol
    name: bytes | None = None
    if len(args) > 1:
        protocol = _protocol(args[1])
        login, name = _hello_options(args)
        if login is not None:
            _log_in(client, *login, b"HELLO", args)
    if not client.is_authenticated:
        raise Refused(_HELLO_WITHOUT_AUTH)
    if name is not None:
        client.name = name
    client.protocol = protocol
    role = b"master" if client.server.is_master else b"replica"
    return mapping(
        [
            (bulk(b"server"), bulk(b"redis")),
            (bulk(b"version"), bulk(REDIS_VERSION.encode())),
            (bulk(b"proto"), integer(protocol)),
            (bulk(b"id"), integer(client.id)),
            (bulk(b"mode"), bulk(b"standalone" if client.server.cluster is None else b"cluster")),
            (bulk(b"role"), bulk(role)),
            (bulk(b"modules"), array([])),
        ]
    )


def _protocol(text: bytes) -> int:
    protocol = parse_integer(text)
    if protocol is None:
        raise Refused(_BAD_PROTOCOL)
    if protocol not in {2, 3}:
        raise Refused(_UNKNOWN_PROTOCOL)
    return protocol


def _hello_options(args: Arguments) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    """Return user and password of AUTH, and the name of SETNAME."""
    login: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    position = 2
    while position < len(args):
        option = args[position].upper()
        if option == b"AUTH" and position + 2 < len(args):
            login = (args[position + 1], args[position + 2])
            position += 3
        elif option == b"SETNAME" and position + 1 < len(args):
            name = _checked_name(args[position + 1])
            position += 2
        else:
            raise Refused(error(f"ERR Syntax error in HELLO option '{shown(args[position])}'"))
    return login, name


def _is_printable(text: bytes) -> bool:
    return all(0x21 <= character <= 0x7E for character in text)


def _checked_name(name: bytes) -> bytes:
    if not _is_printable(name):
        raise Refused(_BAD_NAME)
    return name


# CLIENT


def client_setname(client: Client, args: Arguments) -> bytes:
    """CLIENT SETNAME name."""
    client.name = _checked_name(args[2])
    return OK


def client_getname(client: Client, _args: Arguments) -> bytes:
    """CLIENT GETNAME."""
    return bulk_or_null(client.name or None)


def client_id(client: Client, _args: Arguments) -> bytes:
    """CLIENT ID."""
    return integer(client.id)


def client_setinfo(client: Client, args: Arguments) -> bytes:
    """CLIENT SETINFO LIB-NAME name | LIB-VER version."""
    option, value = args[2].lower(), args[3]
    if option not in {b"lib-name", b"lib-ver"}:
        return error(f"ERR Unrecognized option '{shown(args[2])}'")
    if not _is_printable(value):
        return error(f"ERR {option.decode()} cannot contain spaces, newlines or special characters.")
    if option == b"lib-name":
        client.library_name = value
    else:
        client.library_version = value
    return OK


def client_info(client: Client, _args: Arguments) -> bytes:
    """CLIENT INFO."""
    return verbatim(client.line())


def client_list(client: Client, args: Arguments) -> bytes:
    """CLIENT LIST [TYPE type | ID id [id ...]]."""
    clients = client.server.clients
    listed = [clients[number] for number in sorted(clients)]
    if len(args) > 2:
        option = args[2].upper()
        if option == b"TYPE" and len(args) == 4:
            kind = args[3].lower()
            if kind not in _CLIENT_TYPES:
                return error(f"ERR Unknown client type '{shown(args[3])}'")
            listed = [one for one in listed if kind_of(one) == kind]
        elif option == b"ID" and len(args) > 3:
            wanted = [parse_integer(text) for text in args[3:]]
            if any(number is None or number < 1 for number in wanted):
                return _INVALID_CLIENT_ID
            listed = [clients[number] for number in wanted if number in clients]
        else:
            return SYNTAX_ERROR
    return verbatim("".join([one.line() for one in listed]))


def client_no_evict(client: Client, args: Arguments) -> bytes:
    """CLIENT NO-EVICT ON | OFF; no client is ever evicted."""
    client.no_evict = _on_or_off(args[2])
    return OK


def client_no_touch(_client: Client, args: Arguments) -> bytes:
    """CLIENT NO-TOUCH ON | OFF; no access times are kept."""
    _on_or_off(args[2])
    return OK


def client_reply(client: Client, args: Arguments) -> bytes:
    """CLIENT REPLY ON | OFF | SKIP; no bytes are the answer to the last two."""
    mode = args[2].upper()
    if mode == b"ON":
        client.muted = False
        return OK
    if mode == b"OFF":
        client.muted = True
    elif mode == b"SKIP":
        client.skip_reply = not client.muted
    else:
        return SYNTAX_ERROR
    return b""


def _on_or_off(text: bytes) -> bool:
    mode = text.upper()
    if mode not in {b"ON", b"OFF"}:
        raise Refused(SYNTAX_ERROR)
    return mode == b"ON"
