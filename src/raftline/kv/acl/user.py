"""One user, and the words of ACL SETUSER that change it; a value, the same on every replica.

Words are Redis's. Passwords stand here as SHA-256 in hexadecimal; the clear ones are hashed before a command is
proposed (`without_secrets`), so that they reach neither the log nor another node. It refuses to know which commands
there are: names are kept as written and mean something where they are looked up.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

__all__ = [
    "DEFAULT_NAME",
    "RuleError",
    "StateError",
    "User",
    "changed",
    "default_user",
    "hash_of",
    "new_user",
    "without_secrets",
]

DEFAULT_NAME: Final = b"default"
_HASH_LENGTH: Final = 64
_HEX: Final = frozenset(b"0123456789abcdef")
_SYNTAX: Final = "Syntax error"
_BAD_HASH: Final = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
_NO_SUCH_PASSWORD: Final = "The password you are trying to remove from the user does not exist"  # noqa: S105  no password
_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'all{0}' flag) is not valid and does not have any effect. "
    "Try 'reset{0}' to start with an empty list of {1}"
)


class RuleError(Exception):
    """A word of ACL SETUSER that cannot be used, and why."""


class StateError(RuleError):
    """One that could be used if the user were another."""


class User(msgspec.Struct, frozen=True, array_like=True):
    """Who may log in how, and what for.

    Invariants: `commands` begins with `+@all` or `-@all`; every other rule stands there once; `~*` and `&*` stand
    alone.
    """

    name: bytes
    enabled: bool
    nopass: bool
    """Any password will do."""
    passwords: tuple[bytes, ...]
    """SHA-256 in hexadecimal, in the order they were given."""
    commands: tuple[bytes, ...]
    """`+get`, `-@dangerous`, `+client|id`: later ones count."""
    keys: tuple[bytes, ...]
    """`~pattern`, `%R~pattern`, `%W~pattern`."""
    channels: tuple[bytes, ...]
    """`&pattern`."""

    def describe(self) -> bytes:
        """Return the user as ACL LIST shows it, in words that ACL SETUSER takes."""
        words = [b"user", self.name, b"on" if self.enabled else b"off"]
        if self.nopass:
            words.append(b"nopass")
        words += [b"#" + password for password in self.passwords]
        words += self.keys
        if self.channels != (b"&*",):
            words.append(b"resetchannels")
        words += self.channels
        words += self.commands
        return b" ".join(words)

    @property
    def is_free(self) -> bool:
        """Whether this user may do everything."""
        return self.commands == (b"+@all",) and self.keys == (b"~*",) and self.channels == (b"&*",)

    @property
    def size_bytes(self) -> int:
        """How much of the state it takes, about."""
        return len(self.describe())


def default_user() -> User:
    """Return the user that every connection begins as, before anybody changed it."""
    return User(DEFAULT_NAME, True, True, (), (b"+@all",), (b"~*",), (b"&*",))  # noqa: FBT003  columns of one row


def new_user(name: bytes) -> User:
    """Return a user that may do nothing and cannot log in."""
    return User(name, False, False, (), (b"-@all",), (), ())  # noqa: FBT003  columns of one row


def hash_of(password: bytes) -> bytes:
    """Return the form in which a password is kept."""
    return hashlib.sha256(password).hexdigest().encode()


def without_secrets(word: bytes) -> bytes:
    """Return `word` with its password hashed, if it has one."""
    if word[:1] == b">":
        return b"#" + hash_of(word[1:])
    if word[:1] == b"<":
        return b"!" + hash_of(word[1:])
    return word


def changed(user: User, word: bytes) -> User:
    """Return `user` as one word of ACL SETUSER makes it; raises `RuleError`. Pure."""
    fixed = _FIXED.get(word.lower())
    if fixed is not None:
        return fixed(user)
    by_first = _BY_FIRST.get(word[:1])
    if by_first is None:
        raise RuleError(_SYNTAX)
    return by_first(user, word)


def _with_password(user: User, word: bytes) -> User:
    password = _hash_in(without_secrets(word))
    known = tuple(each for each in user.passwords if each != password)
    passwords = user.passwords if len(known) < len(user.passwords) else (*known, password)
    return replace(user, passwords=passwords, nopass=False)


def _without_password(user: User, word: bytes) -> User:
    password = _hash_in(without_secrets(word))
    if password not in user.passwords:
        raise StateError(_NO_SUCH_PASSWORD)
    return replace(user, passwords=tuple(each for each in user.passwords if each != password))


def _hash_in(word: bytes) -> bytes:
    if len(word) != _HASH_LENGTH + 1 or not _HEX.issuperset(word[1:]):
        raise RuleError(_BAD_HASH)
    return word[1:]


def _with_command(user: User, word: bytes) -> User:
    """Put a rule last; those of the same name before it no longer mean anything."""
    rule = word.lower()
    if rule in {b"+@all", b"-@all"}:
        return replace(user, commands=(rule,))
    name = rule[1:]
    kept = tuple(
        each
        for position, each in enumerate(user.commands)
        if position == 0 or (each[1:] != name and not each[1:].startswith(name + b"|"))
    )
    return replace(user, commands=(*kept, rule))


def _with_key(user: User, word: bytes) -> User:
    access, tilde, pattern = (b"%RW", b"~", word[1:]) if word[:1] == b"~" else word.partition(b"~")
    letters = access[1:].upper()
    if not tilde or not letters or not frozenset(letters) <= frozenset(b"RW"):
        raise RuleError(_SYNTAX)
    if user.keys == (b"~*",) and pattern != b"*":
        raise StateError(_AFTER_ALL.format("keys", "patterns"))
    rule = b"~" + pattern if frozenset(letters) == frozenset(b"RW") else b"%" + letters[:1] + b"~" + pattern
    if rule == b"~*":
        return replace(user, keys=(rule,))
    return user if rule in user.keys else replace(user, keys=(*user.keys, rule))


def _with_channel(user: User, word: bytes) -> User:
    if word == b"&*":
        return replace(user, channels=(word,))
    if user.channels == (b"&*",):
        raise StateError(_AFTER_ALL.format("channels", "channels"))
    return user if word in user.channels else replace(user, channels=(*user.channels, word))


_FIXED: Final[dict[bytes, Callable[[User], User]]] = {
    b"": lambda user: user,
    b"on": lambda user: replace(user, enabled=True),
    b"off": lambda user: replace(user, enabled=False),
    b"nopass": lambda user: replace(user, nopass=True, passwords=()),
    b"resetpass": lambda user: replace(user, nopass=False, passwords=()),
    b"allkeys": lambda user: replace(user, keys=(b"~*",)),
    b"resetkeys": lambda user: replace(user, keys=()),
    b"allchannels": lambda user: replace(user, channels=(b"&*",)),
    b"resetchannels": lambda user: replace(user, channels=()),
    b"allcommands": lambda user: replace(user, commands=(b"+@all",)),
    b"nocommands": lambda user: replace(user, commands=(b"-@all",)),
    b"reset": lambda user: new_user(user.name),
    b"clearselectors": lambda user: user,
    b"sanitize-payload": lambda user: user,
    b"skip-sanitize-payload": lambda user: user,
}
_BY_FIRST: Final[dict[bytes, Callable[[User, bytes], User]]] = {
    b">": _with_password,
    b"#": _with_password,
    b"<": _without_password,
    b"!": _without_password,
    b"+": _with_command,
    b"-": _with_command,
    b"~": _with_key,
    b"%": _with_key,
    b"&": _with_channel,
}
