"""A user under change: the words of ACL SETUSER, Redis's, one after the other.

What a user has stands here in dicts, so that a word costs the same however many came before it. The same words make
the same user on every replica.
"""

from collections.abc import Callable, Iterable
from typing import Final

from raftline.kv.acl.user import User, without_secrets

__all__ = ["Draft", "RuleError", "StateError", "changed"]

_HASH_LENGTH: Final = 64
_HEX: Final = frozenset(b"0123456789abcdef")
_SYNTAX: Final = "Syntax error"
_BAD_HASH: Final = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
_NO_SUCH_PASSWORD: Final = "The password you are trying to remove from the user does not exist"  # noqa: S105  no password
_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'all{0}' flag) is not valid and does not have any effect. "
    "Try 'reset{0}' to start with an empty list of {1}"
)
_ALL_KEYS: Final = b"~*"
_ALL_CHANNELS: Final = b"&*"


class RuleError(Exception):
    """A word of ACL SETUSER that cannot be used, and why."""


class StateError(RuleError):
    """One that could be used if the user were another."""


def changed(user: User, *words: bytes) -> User:
    """Return `user` as words of ACL SETUSER make it; raises `RuleError`. Pure."""
    draft = Draft(user)
    for word in words:
        draft.change(word)
    return draft.user()


class Draft:
    """What a user has, in order; `user()` is the user that the words have made so far.

    Invariant: `_rules` holds each rule but the first, under the name that it begins with, up to the first `|`.
    """

    __slots__ = ("_channels", "_commands", "_enabled", "_keys", "_name", "_nopass", "_passwords", "_rules")

    def __init__(self, user: User) -> None:
        self._name = user.name
        self._enabled = user.enabled
        self._nopass = user.nopass
        self._passwords = dict.fromkeys(user.passwords)
        self._keys = dict.fromkeys(user.keys)
        self._channels = dict.fromkeys(user.channels)
        self._commands: dict[bytes, None] = {}
        self._rules: dict[bytes, list[bytes]] = {}
        self._start_commands(user.commands)

    def user(self) -> User:
        """Return the user."""
        return User(
            self._name,
            self._enabled,
            self._nopass,
            tuple(self._passwords),
            tuple(self._commands),
            tuple(self._keys),
            tuple(self._channels),
        )

    def change(self, word: bytes) -> None:
        """Do what one word says; raises `RuleError`, and has changed nothing then."""
        fixed = _FIXED.get(word.lower())
        by_first = _BY_FIRST.get(word[:1])
        if fixed is not None:
            fixed(self)
        elif by_first is not None:
            by_first(self, word)
        else:
            raise RuleError(_SYNTAX)

    # Words that are always the same.

    def set_enabled(self, *, enabled: bool) -> None:
        """`on` or `off`."""
        self._enabled = enabled

    def reset_passwords(self, *, nopass: bool) -> None:
        """`resetpass`, or `nopass`."""
        self._nopass = nopass
        self._passwords = {}

    def set_keys(self, *rules: bytes) -> None:
        """`resetkeys`, or `allkeys`."""
        self._keys = dict.fromkeys(rules)

    def set_channels(self, *rules: bytes) -> None:
        """`resetchannels`, or `allchannels`."""
        self._channels = dict.fromkeys(rules)

    def set_commands(self, first: bytes) -> None:
        """`allcommands`, or `nocommands`."""
        self._start_commands((first,))

    def reset(self) -> None:
        """`reset`: a user as new."""
        self.set_enabled(enabled=False)
        self.reset_passwords(nopass=False)
        self.set_keys()
        self.set_channels()
        self.set_commands(b"-@all")

    def ignore(self) -> None:
        """Let a word stand for nothing."""

    # Words that name something.

    def add_password(self, word: bytes) -> None:
        """`>password` or `#hash`."""
        self._passwords.setdefault(_hash_in(without_secrets(word)))
        self._nopass = False

    def remove_password(self, word: bytes) -> None:
        """`<password` or `!hash`."""
        password = _hash_in(without_secrets(word))
        if password not in self._passwords:
            raise StateError(_NO_SUCH_PASSWORD)
        del self._passwords[password]

    def add_command(self, word: bytes) -> None:
        """Put a rule last; those of the same name before it no longer mean anything."""
        rule = word.lower()
        if rule in {b"+@all", b"-@all"}:
            self.set_commands(rule)
            return
        name = rule[1:]
        beside = self._rules.get(_head(rule), [])
        kept = [each for each in beside if each[1:] != name and not each[1:].startswith(name + b"|")]
        for each in set(beside).difference(kept):
            del self._commands[each]
        self._rules[_head(rule)] = [*kept, rule]
        self._commands[rule] = None

    def add_key(self, word: bytes) -> None:
        """`~pattern`, or `%R~pattern` and the like."""
        access, tilde, pattern = (b"%RW", b"~", word[1:]) if word[:1] == b"~" else word.partition(b"~")
        letters = access[1:].upper()
        if not tilde or not letters or not frozenset(letters) <= frozenset(b"RW"):
            raise RuleError(_SYNTAX)
        if self._keys.keys() == {_ALL_KEYS} and pattern != b"*":
            raise StateError(_AFTER_ALL.format("keys", "patterns"))
        rule = b"~" + pattern if frozenset(letters) == frozenset(b"RW") else b"%" + letters[:1] + b"~" + pattern
        if rule == _ALL_KEYS:
            self.set_keys(rule)
        else:
            self._keys.setdefault(rule)

    def add_channel(self, word: bytes) -> None:
        """`&pattern`."""
        if word == _ALL_CHANNELS:
            self.set_channels(word)
        elif _ALL_CHANNELS in self._channels:
            raise StateError(_AFTER_ALL.format("channels", "channels"))
        else:
            self._channels.setdefault(word)

    def _start_commands(self, commands: Iterable[bytes]) -> None:
        self._commands = dict.fromkeys(commands)
        self._rules = {}
        for rule in list(self._commands)[1:]:
            self._rules.setdefault(_head(rule), []).append(rule)


def _head(rule: bytes) -> bytes:
    """Return the name of the command, or of the category, that a rule is about."""
    return rule[1:].partition(b"|")[0]


def _hash_in(word: bytes) -> bytes:
    if len(word) != _HASH_LENGTH + 1 or not _HEX.issuperset(word[1:]):
        raise RuleError(_BAD_HASH)
    return word[1:]


_FIXED: Final[dict[bytes, Callable[[Draft], None]]] = {
    b"": Draft.ignore,
    b"on": lambda draft: draft.set_enabled(enabled=True),
    b"off": lambda draft: draft.set_enabled(enabled=False),
    b"nopass": lambda draft: draft.reset_passwords(nopass=True),
    b"resetpass": lambda draft: draft.reset_passwords(nopass=False),
    b"allkeys": lambda draft: draft.set_keys(_ALL_KEYS),
    b"resetkeys": Draft.set_keys,
    b"allchannels": lambda draft: draft.set_channels(_ALL_CHANNELS),
    b"resetchannels": Draft.set_channels,
    b"allcommands": lambda draft: draft.set_commands(b"+@all"),
    b"nocommands": lambda draft: draft.set_commands(b"-@all"),
    b"reset": Draft.reset,
    b"clearselectors": Draft.ignore,
    b"sanitize-payload": Draft.ignore,
    b"skip-sanitize-payload": Draft.ignore,
}
_BY_FIRST: Final[dict[bytes, Callable[[Draft, bytes], None]]] = {
    b">": Draft.add_password,
    b"#": Draft.add_password,
    b"<": Draft.remove_password,
    b"!": Draft.remove_password,
    b"+": Draft.add_command,
    b"-": Draft.add_command,
    b"~": Draft.add_key,
    b"%": Draft.add_key,
    b"&": Draft.add_channel,
}
