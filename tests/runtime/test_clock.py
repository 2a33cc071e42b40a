"""The real clock: milliseconds since 1970, and seconds that never go back."""

import time

from raftline.runtime.clock import SystemClock


def test_the_wall_clock_is_in_whole_milliseconds() -> None:
    """Between two looks at the operating system's own clock."""
    before = time.time_ns()
    now_ms = SystemClock().wall_ms()
    after = time.time_ns()
    assert before // 1_000_000 <= now_ms <= after // 1_000_000
    assert isinstance(now_ms, int)


def test_the_other_one_never_goes_back() -> None:
    """However often it is read, whatever the wall clock does."""
    clock = SystemClock()
    found = [clock.monotonic_s() for _ in range(1000)]
    assert found == sorted(found)
