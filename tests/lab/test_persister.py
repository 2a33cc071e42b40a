"""The persister keeps two byte strings together, and a copy is a disk of its own."""

from typing import Any

import pytest

from raftline.lab import Persister


def test_what_was_saved_last_is_read_back() -> None:
    """save() replaces state and snapshot as one, and the sizes are theirs (C10)."""
    persister = Persister()
    assert (persister.read_raft_state(), persister.read_snapshot(), persister.raft_state_size()) == (b"", b"", 0)
    persister.save(b"state", b"snap")
    assert (persister.read_raft_state(), persister.read_snapshot()) == (b"state", b"snap")
    assert (persister.raft_state_size(), persister.snapshot_size()) == (5, 4)


def test_a_copy_is_independent() -> None:
    """What a dead incarnation saves into the old one does not reach the copy (H7)."""
    old = Persister(b"state", b"snap")
    copy = old.copy()
    old.save(b"later", b"")
    assert (copy.read_raft_state(), copy.read_snapshot()) == (b"state", b"snap")


@pytest.mark.parametrize("values", [(None, b""), (b"", None), ("text", b""), (bytearray(b"x"), b"")])
def test_only_bytes_are_saved(values: tuple[Any, Any]) -> None:
    """Anything but bytes raises TypeError and changes nothing (C9)."""
    persister = Persister(b"before", b"")
    with pytest.raises(TypeError, match="save wants bytes for"):
        persister.save(*values)
    assert persister.read_raft_state() == b"before"
