"""Log lines that cannot flood."""

from typing import Any

from raftline.transport.notices import Notices


class _Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = info


def test_each_kind_is_told_at_once_and_then_once_per_interval() -> None:
    """The first line of a kind is logged, the flood behind it is counted, and the count is told with the next."""
    log, now = _Log(), [100.0]
    notices = Notices(log, lambda: now[0], interval_s=10.0)
    for _ in range(5):
        notices.warn("x", "trouble", where="here")
    notices.warn("y", "other trouble")
    assert log.lines == [("trouble", {"where": "here"}), ("other trouble", {})]
    now[0] = 110.0
    notices.warn("x", "trouble")
    notices.warn("y", "other trouble")
    assert log.lines[2:] == [("trouble", {"held_back": 4}), ("other trouble", {})]


def test_information_is_never_held_back() -> None:
    """Changes of state are all told."""
    log = _Log()
    notices = Notices(log, lambda: 0.0)
    notices.info("up")
    notices.info("up")
    assert len(log.lines) == 2


def test_kinds_cannot_pile_up() -> None:
    """An attacker who makes up kinds of trouble fills no memory."""
    notices = Notices(_Log(), lambda: 0.0)
    for number in range(5000):
        notices.warn(number, "trouble")
        notices.warn(number, "trouble")
    assert len(notices._next_s) <= 1024
    assert len(notices._held_back) <= 1024
