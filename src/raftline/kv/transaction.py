"""What one connection has asked for between WATCH or MULTI and the end of its transaction; no decisions here."""

from typing import Any

from raftline.kv.limits import ARGUMENT_BYTES

__all__ = ["Transaction"]


class Transaction:
    """Marks of watched keys, and the commands that wait for EXEC.

    Invariants: nothing is queued unless it is open; a broken one keeps no commands; `args_count` and `size_bytes` are
    of the queued commands and the watched keys together.
    """

    __slots__ = ("args_count", "is_broken", "is_open", "queued", "size_bytes", "walks", "watched")

    def __init__(self) -> None:
        self.is_open = False
        """MULTI came."""
        self.is_broken = False
        """A command was refused, so EXEC will be."""
        self.queued: list[tuple[Any, list[bytes]]] = []
        """`Plan` and arguments of each command."""
        self.args_count = 0
        self.size_bytes = 0
        self.walks = 0
        """Queued commands that may look at every key."""
        self.watched: dict[bytes, int | None] = {}
        """Key → `Store.mark`; None while WATCH has no answer, and if it failed."""

    @property
    def memory_bytes(self) -> int:
        """Return what it takes, about."""
        return self.size_bytes + ARGUMENT_BYTES * self.args_count

    def watch(self, key: bytes) -> None:
        """Wait for the mark of a key, unless it has one."""
        if key not in self.watched:
            self.watched[key] = None
            self.args_count += 1
            self.size_bytes += len(key)

    def add(self, plan: Any, args: list[bytes]) -> None:
        """Queue a command; a broken transaction forgets it at once."""
        if not self.is_broken:
            self.queued.append((plan, args))
            self.args_count += len(args)
            self.size_bytes += sum(map(len, args))
            self.walks += plan.command.may_walk_all

    def break_(self) -> None:
        """Let EXEC be refused."""
        self.is_broken = True
        self.queued = []
        self.args_count = len(self.watched)
        self.size_bytes = sum(map(len, self.watched))
