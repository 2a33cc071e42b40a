"""All users of a cluster, as this node knows them; part of the replicated state.

The log says who they are. Only the password that this node's settings give to `default` is the node's own: it counts
whatever the log says of that user's passwords, and is in no snapshot.
"""

import hmac
from typing import Final

from msgspec.structs import replace

from raftline.kv.acl.user import DEFAULT_NAME, User, default_user, hash_of

__all__ = ["BYTES_MAX", "USERS_MAX", "Users"]

USERS_MAX: Final = 1000
BYTES_MAX: Final = 256 << 10
"""Of all users together: they travel in the first chunk of a snapshot."""
_NOBODY: Final = hash_of(b"nobody")


class Users:
    """Users by name.

    Invariant: `version` is higher after every change, so whoever remembers something of a user can see that it may be
    outdated.
    """

    __slots__ = ("_own_password", "_users", "version")

    def __init__(self) -> None:
        self._users: dict[bytes, User] = {}
        self._own_password = b""
        self.version = 1

    def set_own_password(self, password: str) -> None:
        """Ask for this password of `default`, or for one that the log gives it; empty: only the log counts."""
        self._own_password = hash_of(password.encode()) if password else b""
        self._on_change()

    def named(self, name: bytes) -> User | None:
        """Return a user as it is on this node, None if there is none of that name."""
        user = self.logged(name)
        if user is not None and name == DEFAULT_NAME and self._own_password:
            known = (self._own_password, *(each for each in user.passwords if each != self._own_password))
            user = replace(user, nopass=False, passwords=known)
        return user

    def logged(self, name: bytes) -> User | None:
        """Return a user as the log has it, the same on every replica."""
        user = self._users.get(name)
        return default_user() if user is None and name == DEFAULT_NAME else user

    def names(self) -> list[bytes]:
        """Return everybody's names, sorted."""
        return sorted({*self._users, DEFAULT_NAME})

    def dump(self) -> tuple[User, ...]:
        """Return everybody whom the log told of, sorted by name, for a snapshot."""
        return tuple(self._users[name] for name in sorted(self._users))

    def load(self, users: tuple[User, ...]) -> None:
        """Replace everybody by the users of a snapshot."""
        self._users = {user.name: user for user in users}
        self._on_change()

    def has_room_for(self, user: User) -> bool:
        """Say whether the users stay within their limits with this one."""
        others = [each for each in self._users.values() if each.name != user.name]
        size = sum(each.size_bytes for each in others) + user.size_bytes
        return len(others) < USERS_MAX and size <= BYTES_MAX

    def put(self, user: User) -> None:
        """Add or replace a user."""
        self._users[user.name] = user
        self._on_change()

    def remove(self, name: bytes) -> bool:
        """Remove a user; return whether there was one."""
        found = self._users.pop(name, None) is not None
        self._on_change()
        return found

    def may_log_in(self, name: bytes, password: bytes) -> bool:
        """Say whether this is the password of a user that may log in; takes as long whichever part is wrong."""
        user = self.named(name)
        given = hash_of(password)
        matches = [hmac.compare_digest(given, known) for known in (user.passwords if user else (_NOBODY,))]
        return user is not None and user.enabled and (user.nopass or any(matches))

    @property
    def default_needs_password(self) -> bool:
        """Say whether a new connection has to log in before anything else."""
        user = self.named(DEFAULT_NAME)
        return user is None or not user.nopass or not user.enabled

    @property
    def is_default_open(self) -> bool:
        """Say whether `default` takes any password."""
        user = self.named(DEFAULT_NAME)
        return user is not None and user.nopass

    def _on_change(self) -> None:
        self.version += 1
