"""Promises of the rolling hash: it sees commands, results and their order, and it remembers the recent past."""

import pytest

from raftline.errors import Diverged
from raftline.replica.digest import Digest


def test_it_depends_on_commands_results_and_order() -> None:
    """Any difference in what was applied shows."""
    values = set()
    for history in ([(b"a", b"1"), (b"b", b"2")], [(b"b", b"2"), (b"a", b"1")], [(b"a", b"1"), (b"b", b"3")]):
        digest = Digest()
        for index, (command, result) in enumerate(history, 1):
            digest.on_applied(index, command, result)
        values.add(digest.value)
    assert len(values) == 3


def test_an_old_index_is_compared_as_long_as_it_is_remembered() -> None:
    """A follower that is ahead still notices; what it forgot it does not judge."""
    digest, values = Digest(), {}
    for index in range(1, 10_000):
        digest.on_applied(index, b"c%d" % index, b"r")
        values[index] = digest.value
    digest.compare(9_000, values[9_000])
    with pytest.raises(Diverged, match="index 9000"):
        digest.compare(9_000, values[9_000] ^ 1)
    digest.compare(5, 0)


def test_a_snapshot_starts_a_new_memory() -> None:
    """Indices before the snapshot are not judged, the snapshot's own is."""
    digest = Digest()
    digest.restart_at(100, 42)
    digest.compare(50, 7)
    digest.compare(100, 42)
    with pytest.raises(Diverged, match="index 100"):
        digest.compare(100, 43)
