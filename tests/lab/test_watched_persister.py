"""A persister under test complains about saves after the end, lost snapshots, and counts saves of nothing new."""

import pytest

from raftline.lab.watched_persister import KILL_GRACE_S, WatchedPersister


class Complaints(list[str]):
    """What was complained about, by the names of promises."""

    def __call__(self, name: str, _seen: str) -> None:
        """Remember it."""
        self.append(name)


@pytest.fixture
def complaints() -> Complaints:
    """Return an empty list of complaints."""
    return Complaints()


def test_a_snapshot_that_is_dropped_is_noticed(complaints: Complaints) -> None:
    """Every save passes the current snapshot too (C10)."""
    persister = WatchedPersister(b"state", b"snapshot", lambda: 0.0, complaints)
    persister.save(b"state 2", b"snapshot")
    assert complaints == []
    persister.save(b"state 3", b"")
    assert complaints == ["saved snapshot"]


def test_saves_after_the_end_change_nothing(complaints: Complaints) -> None:
    """Within the grace they are ignored, later they are a broken promise (E8)."""
    now = [5.0]
    persister = WatchedPersister(b"state", b"", lambda: now[0], complaints)
    persister.killed_at = 5.0
    persister.save(b"late", b"")
    assert complaints == []
    now[0] += KILL_GRACE_S
    persister.save(b"too late", b"")
    assert complaints == ["killed"]
    assert persister.read_raft_state() == b"state"


def test_saves_of_nothing_new_are_counted(complaints: Complaints) -> None:
    """The same state and snapshot once more is one, anything else is none (C7)."""
    persister = WatchedPersister(b"", b"", lambda: 0.0, complaints)
    for state in (b"1", b"1", b"2", b"2", b"2"):
        persister.save(state, b"")
    assert persister.saves_of_nothing == 3
