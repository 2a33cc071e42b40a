"""One user; a value, the same on every replica.

Passwords stand here as SHA-256 in hexadecimal; the clear ones are hashed before a command is proposed
(`without_secrets`), so that they reach neither the log nor another node. It refuses to know which commands there are:
names are kept as written and mean something where they are looked up.
"""

import hashlib
from typing import Final

import msgspec

__all__ = ["DEFAULT_NAME", "User", "default_user", "hash_of", "new_user", "without_secrets"]

DEFAULT_NAME: Final = b"default"


class User(msgspec.Struct, frozen=True, array_like=True):
    """Who may log in how, and what for.

    Invariants: `commands` begins with `+@all` or `-@all`; every other rule stands there once; `&*` stands alone;
    `~*` stands alone or first, `%R~*` or `%W~*` next.
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
