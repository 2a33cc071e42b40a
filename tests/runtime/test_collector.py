"""The garbage collector, settled: short collections only."""

import gc

import raftline


def test_the_garbage_collector_leaves_the_past_alone() -> None:
    """What start-up made is frozen, other collections look at few objects, and full ones are rare."""
    thresholds = gc.get_threshold()
    try:
        raftline.settle_garbage_collector()
        assert gc.get_freeze_count() > 1000
        young, older, full = gc.get_threshold()
        assert young * (older + 2) <= 2_000
        assert young * (older + 1) * full >= 1_000_000_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
