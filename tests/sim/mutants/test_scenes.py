"""Scenes end well with the code as it is, whoever plays whom."""

import msgspec
import pytest

from raftline.core.entries import SnapshotMeta
from raftline.core.log import Log
from raftline.errors import SafetyViolation
from raftline.replica.replica import Replica
from raftline.sim.mutants.scenes import SCENES


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("seed", range(10))
def test_a_scene_ends_well(name: str, seed: int) -> None:
    """Nothing is violated where nothing is wrong (D11, D19)."""
    SCENES[name](seed)


def test_a_scene_leads_to_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that does not know the term of its base is found out (D19)."""
    monkeypatch.setattr(Log, "last_index_of_term", lambda *_: None)
    with pytest.raises(SafetyViolation, match="B24"):
        SCENES["conflict_at_the_base"](0)


def test_a_scene_leads_to_a_second_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that says it ended where the first snapshot does is found out (D11)."""
    restore_begin = Replica.restore_begin

    def begin_too_early(self: Replica, meta: SnapshotMeta) -> None:
        assert self.restoring == meta
        self._to_apply = ()
        restore_begin(self, msgspec.structs.replace(meta, index=meta.index - 1))

    monkeypatch.setattr(Replica, "restore_begin", begin_too_early)
    with pytest.raises(SafetyViolation, match="D11"):
        SCENES["two_snapshots"](0)
