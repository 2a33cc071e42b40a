"""What a node may hear of its own copy of the data while entries are applied; none of it is part of the state."""

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Listener", "Waited"]


class Waited(Protocol):
    """Who wants to know when keys are filled; nothing that it does changes the store."""

    def on_filled(self, key: bytes) -> None:
        """Note that `key` holds a container that it did not hold before."""

    def on_replaced(self) -> None:
        """Note that everything was replaced."""


class Listener(Protocol):
    """Who hands messages on; nothing that it does changes the store, or a reply."""

    def on_message(self, channel: bytes, message: bytes, *, is_shard: bool = False) -> None:
        """Hand on a message that was published."""

    def carry_out(self, write: Callable[[Any, list[bytes], int], bytes], args: list[bytes]) -> bytes:
        """Carry a write out, return its reply, and hand on what it did."""

    def on_expired(self, keys: list[bytes]) -> None:
        """Hand on that keys were removed because they expired."""

    def on_missed(self, key: bytes) -> None:
        """Hand on that a key was read that is not there."""
