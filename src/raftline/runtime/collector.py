"""Python's garbage collector in a process that answers others: collections short enough that nobody notices them.

It belongs to the whole process, so a node leaves it alone; whoever owns the process decides.
"""

import gc

__all__ = ["settle_garbage_collector"]

_THRESHOLDS = (250, 0, 4_000_000)
"""A collection walks up to 250 new objects, or 500, and what they refer to: parts of containers have 512 members each,
so that with 3,000 of them one took 16 ms in the midst of a snapshot. Each object is walked as often either way.
"""


def settle_garbage_collector() -> None:
    """Keep collections short in this process: what there is by now is never looked at again, what gets old seldom.

    A full collection walks every container that lives, which takes longer than a turn of the event loop may. Call it
    once, when all is imported and started; `gc.unfreeze()` and `gc.set_threshold(700, 10, 10)` undo it. What is put
    into cycles and dropped after a while is then freed late: break cycles, or collect when nobody waits.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
