"""A lock: who holds it, and the token that whatever it guards is shown. Its lease is the key's deadline.

It never changes: whoever takes it next gets a new one. A container of one member, so that snapshots, the count of
memory and the commands for keys of any type need no rule of its own.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from raftline.kv.values.container import Container, Item

__all__ = ["LOST_TOKENS_MAX", "Lock"]

LOST_TOKENS_MAX = 1 << 40
"""More fencing tokens than were ever given between two moments of one cluster: a thousand a second for 34 years."""


class Lock(Container):
    """One lock that is held; invariant: no two that a store ever held have the same token."""

    __slots__ = ("owner", "token")
    kind: ClassVar[int] = 5
    item_count: ClassVar[int] = 2

    def __init__(self, owner: bytes = b"", token: int = 0) -> None:
        super().__init__()
        self.owner = owner
        self.token = token
        self.size_bytes += len(owner)

    @property
    def count(self) -> int:
        """Return 1: a key that holds a lock has one."""
        return 1

    def clone(self) -> Self:
        """Return an equal lock."""
        return self._copy_sizes(type(self)(self.owner, self.token))

    def pieces(self, first: int = 0) -> Iterator[list[Item]]:
        """Yield the owner and the token, in digits."""
        if not first:
            yield [self.owner, b"%d" % self.token]

    def extend(self, items: list[Item]) -> None:
        """Become the lock of a snapshot."""
        if items:
            owner, token = items
            assert isinstance(owner, bytes)
            assert isinstance(token, bytes)
            assert token.isdigit(), "a token is a number"
            self.size_bytes += len(owner) - len(self.owner)
            self.owner, self.token = owner, int(token)

    def parts(self) -> list[Any]:
        """Return nothing: there is little to give back."""
        return []
