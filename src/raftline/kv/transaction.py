"""What one connection has asked for between WATCH or MULTI and the end of its transaction; no decisions here."""

from typing import Any

__all__ = ["Transaction"]


class Transaction:
    """Marks of watched keys, and the commands that wait for EXEC.

    Invariants: nothing is queued unless it is open; a broken one keeps no commands.
    """

    __slots__ = ("is_broken", "is_open", "queued", "size_bytes", "watched")

    def __init__(self) -> None:
        self.is_open = False
        """MULTI came."""
        self.is_broken = False
        """A command was refused, so EXEC will be."""
        self.queued: list[tuple[Any, list[bytes]]] = []
        """`Plan` and arguments of each command."""
        self.size_bytes = 0
        self.watched: dict[bytes, int | None] = {}
        """Key → `Store.mark`; None while WATCH has no answer, and if it failed."""

    def add(self, plan: Any, args: list[bytes]) -> None:
        """Queue a command; a broken transaction forgets it at once."""
        if not self.is_broken:
            self.queued.append((plan, args))
            self.size_bytes += sum(map(len, args))

    def break_(self) -> None:
        """Let EXEC be refused."""
        self.is_broken = True
        self.queued = []
        self.size_bytes = 0
