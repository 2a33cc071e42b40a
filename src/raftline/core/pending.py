"""What a leader has begun and not finished: a change somebody asked for, a transfer, members on their way out.

Plain values of `RaftState`, gone with the leadership; the rules about them are in `changing` and `transfer`.
"""

import msgspec

from raftline.core.ids import Index, NodeId

__all__ = ["Departure", "PendingChange", "Transfer"]


class PendingChange(msgspec.Struct, frozen=True, gc=False):
    """A change whose asker is answered once the membership it leads to is committed."""

    request_id: int
    what: str
    replaces: bool = False
    """The asker waits until no replacement waits any more."""


class Transfer(msgspec.Struct, gc=False, eq=False):
    """The leadership on its way to another voter (thesis 3.10)."""

    to: NodeId
    deadline: float
    """When this leader gives up and goes on."""
    request_id: int | None = None
    """Who asked; None if a rule did."""
    is_for_disk: bool = False
    """This leader's disk does not keep up. Nobody is told before all is committed: a quorum may need that disk."""
    slow_s: float = 0.0
    """For how long it should not lead therefore; set when the target is told."""
    must_tell: bool = False
    """The next `Ready` tells the target to take over, if this transfer is not over by then."""
    told_at: float | None = None
    """When `TimeoutNow` was sent last; None while the target is brought up to date."""


class Departure(msgspec.Struct, gc=False, eq=False):
    """A member that was removed and is kept up to date a little longer, so that it learns of it."""

    address: str
    """Empty where only the transport knows it."""
    index: Index
    """The entry that removed it."""
    until: float = float("inf")
    """Set once that entry is committed."""
