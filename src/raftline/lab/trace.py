"""What happened in a test, line by line, kept in memory and written only when somebody wants to read it.

A line is: time in seconds, one column per server, and the event. A column shows role and term: `L3` leads term 3, `f3`
does not, `f3!` is disconnected, `--` is down. docs/lab.md teaches how to read it.
"""

from collections import deque
from collections.abc import Iterator

from raftline.lab.network import NetworkEvent

__all__ = ["EVENTS_KEPT_MAX", "Trace"]

EVENTS_KEPT_MAX = 200_000

_ARROWS = {"request": "{source}→{target} {method}", "reply": "{source}←{target} {method}"}


class Trace:
    """The last events of one test run.

    Invariants: times never fall; at most `EVENTS_KEPT_MAX` events are kept, and `dropped` counts the others.
    """

    def __init__(self) -> None:
        self._events: deque[tuple[float, str, str | NetworkEvent]] = deque(maxlen=EVENTS_KEPT_MAX)
        self._noted = 0
        self.columns = ""
        """The servers' columns as of now."""

    @property
    def dropped(self) -> int:
        """Return how many events were forgotten because newer ones came."""
        return self._noted - len(self._events)

    def note(self, time_s: float, event: str | NetworkEvent) -> None:
        """Remember one event."""
        self._noted += 1
        self._events.append((time_s, self.columns, event))

    def lines(self) -> Iterator[str]:
        """Return the lines, oldest first."""
        if self.dropped:
            yield f"# {self.dropped} earlier events are not kept"
        for time_s, columns, event in self._events:
            yield f"{time_s:11.6f}  {columns}  {event if isinstance(event, str) else _text_of(event)}".rstrip()


def _text_of(event: NetworkEvent) -> str:
    kind, _, fate = event.what.partition(" ")
    arrow = _ARROWS.get(kind, "{source}→{target} {method}")
    text = arrow.format(source=event.source, target=event.target, method=event.method)
    what = f"{kind} {fate}".strip() if kind not in {"request", "reply"} else fate
    return f"#{event.number} {text} {event.size_bytes} B{'  ' + what if what else ''}"
