"""How much may wait for an outcome in all groups of a node together, and how much of it in one of them.

No group may shut out the others: where there are several, one takes more only as long as it holds at most three times
as much as is left free. So something always is, the first to come gets three quarters at most, and as what waits is
answered groups that want more come to equal parts (dynamic thresholds: Choudhury and Hahne, 1998). A group alone has
all of it. Nothing is set aside for those that ask for nothing, however many they are.
"""

from typing import Protocol

__all__ = ["Admission", "Queue"]

_TIMES_FREE = 3
_LOOK_S = 0.005
"""What is answered is looked for no more often, in the other groups and behind what still waits: while all of it waits
there is nothing to be found."""
_LOOK_S_EACH = 1e-6
"""And no more often than this for each request that is looked at, so that it takes a twentieth of the time at most."""


class Queue(Protocol):
    """What waits in one group."""

    def forget_answered(self) -> None:
        """Count no more what has its answer."""


class Admission:
    """What waits, over all groups; each group counts its own.

    Invariants: `count` and `size_bytes` are the sums of the groups'; up to `count_open` and `bytes_open` every group
    may have more; nothing goes beyond the bounds, but for a request that waits alone.
    """

    __slots__ = (
        "_bytes_max",
        "_count_max",
        "_look_at",
        "_members",
        "bytes_open",
        "count",
        "count_open",
        "queues",
        "size_bytes",
    )

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._members = 0
        self._look_at = float("-inf")
        self.count = 0
        self.size_bytes = 0
        self.queues: dict[Queue, None] = {}
        """Those in which something waits."""
        self.count_open = count_max
        self.bytes_open = bytes_max

    def join(self) -> None:
        """Count one more group."""
        self._count_members(self._members + 1)

    def leave(self) -> None:
        """A group is gone, and what waited in it was answered."""
        self._count_members(self._members - 1)

    def admits(self, count: int, size_bytes: int, more_bytes: int) -> bool:
        """Say whether a group that holds so much, and is beyond what is open to all, may have one request more."""
        if self.count == 0:
            return True
        if not self._leaves_enough(count + 1, self._count_max - self.count - 1):
            return False
        if not more_bytes:
            return True  # a read is not refused for the commands that wait
        return self._leaves_enough(size_bytes + more_bytes, self._bytes_max - self.size_bytes - more_bytes)

    def forget_answered(self, now: float) -> bool:
        """Count no more what has its answer, in any group; False: it was just done."""
        if now < self._look_at:
            return False
        self._look_at = now + max(_LOOK_S, _LOOK_S_EACH * self.count)
        for queue in list(self.queues):
            queue.forget_answered()
        return True

    def _leaves_enough(self, held: int, left: int) -> bool:
        """Say whether a group may hold so much where that is left free for all."""
        return left >= 0 and (self._members == 1 or held <= _TIMES_FREE * left)

    def _count_members(self, members: int) -> None:
        self._members = members
        self.count_open, self.bytes_open = self._count_max, self._bytes_max
        if members > 1:  # then up to here nobody can hold more than three times what is left
            self.count_open -= -(-self._count_max // (_TIMES_FREE + 1))
            self.bytes_open -= -(-self._bytes_max // (_TIMES_FREE + 1))
