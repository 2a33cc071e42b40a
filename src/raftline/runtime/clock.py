"""The real wall clock behind the `Clock` port."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Reads the operating system's clock."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)
    """Seconds of a clock that never goes back; read for every turn, so without a function of ours around it."""
