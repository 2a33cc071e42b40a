"""The names of a simulated disk: creations, renames and removals, which last only once their directory is synced.

A crash decides about each of them for itself, within what a file system must keep: a rename happens whole or not at
all, and nothing happens to a name whose earlier change was lost.
"""

import math
from collections import Counter
from collections.abc import Callable

from raftline.sim.inode import Inode

__all__ = ["NameChange", "Names", "parent_of"]


def parent_of(path: str) -> str:
    """Return the directory that holds `path`."""
    return path.rpartition("/")[0] or "/"


class NameChange:
    """`path` becomes a name of `inode`, instead of `old` if that is given; with `inode` None it is removed."""

    __slots__ = ("durable_s", "inode", "made_s", "old", "path")

    def __init__(self, path: str, inode: Inode | None, made_s: float, old: str | None = None) -> None:
        self.path = path
        self.inode = inode
        self.old = old
        self.made_s = made_s
        self.durable_s = math.inf

    def names(self) -> tuple[str, ...]:
        """Return every name it touches."""
        return (self.path,) if self.old is None else (self.path, self.old)

    def apply(self, files: dict[str, Inode]) -> None:
        """Do it."""
        if self.old is not None:
            files.pop(self.old, None)
        if self.inode is None:
            files.pop(self.path, None)
        else:
            files[self.path] = self.inode


class Names:
    """All names of one disk.

    Invariant: `live` is `durable` with every change of `changes` applied in order.
    """

    def __init__(self) -> None:
        self.live: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self.directories: dict[str, None] = {"/": None}
        self.changes: list[NameChange] = []

    def change(self, change: NameChange) -> None:
        """Create, rename or remove; not durable yet."""
        change.apply(self.live)
        self.changes.append(change)

    def list(self, directory: str) -> list[str]:
        """Return the names in `directory`, of directories too, sorted."""
        paths = [*self.live, *self.directories]
        return sorted(path.rpartition("/")[2] for path in paths if path != "/" and parent_of(path) == directory)

    def sync(self, directory: str, made_s: float, durable_s: float) -> None:
        """Let what was done in `directory` by `made_s` be durable from `durable_s` on."""
        for change in self.changes:
            if (
                change.durable_s == math.inf
                and change.made_s <= made_s
                and any(parent_of(name) == directory for name in change.names())
            ):
                change.durable_s = durable_s

    def sync_partly(self, now_s: float, draw: Callable[[], float]) -> None:
        """Let the first so many changes be durable: a directory sync that was interrupted."""
        for change in self.changes[: int(draw() * (len(self.changes) + 1))]:
            change.durable_s = min(change.durable_s, now_s)

    def settle(self, now_s: float) -> None:
        """Forget what cannot be undone any more."""
        count = 0
        for change in self.changes:
            if change.durable_s > now_s:
                break
            change.apply(self.durable)
            count += 1
        del self.changes[:count]

    def kill(self, now_s: float) -> None:
        """Let the program die at `now_s`: what it did by then stays, synced or not."""
        made = [change for change in self.changes if change.made_s <= now_s]
        if len(made) < len(self.changes):
            self.changes = made
            self.live = dict(self.durable)
            for change in made:
                change.apply(self.live)

    def lose_power(self, now_s: float, keep: float, draw: Callable[[], float], stats: Counter[str]) -> None:
        """Let the machine die at `now_s`: each change that is not durable stays with probability `keep`."""
        undone: dict[str, None] = {}
        for change in self.changes:
            if change.made_s > now_s:
                continue
            lost = change.durable_s > now_s and (any(name in undone for name in change.names()) or draw() >= keep)
            if lost:
                stats["names lost"] += 1
                undone.update(dict.fromkeys(change.names()))
            else:
                if change.durable_s > now_s:
                    stats["names kept"] += 1
                change.apply(self.durable)
        self.changes = []
        self.live = dict(self.durable)
