"""Who leads, or stands back, before it has restored a snapshot is found (D21)."""

import pytest
from tests.core.test_restoring import HIGH_S, Restoring

from raftline.core.events import Event, Received, TimerDue
from raftline.core.messages import TimeoutNow, VoteReply
from raftline.errors import SafetyViolation
from raftline.sim.restore_checks import check_leaves_it_to_others, may_stand_back

TOLD = Received("n1", TimeoutNow(1))
WON = Received("n1", VoteReply(1, 2, granted=True, pre_vote=True))


@pytest.mark.parametrize(
    ("event", "silent_s", "is_wrong"),
    [
        (TimerDue(), 4.9 * HIGH_S, True),
        (TimerDue(), 5.1 * HIGH_S, False),
        (TOLD, 0.0, True),
        (TOLD, 5.1 * HIGH_S, True),
        (WON, 0.0, False),
    ],
)
def test_who_restores_runs_late_and_of_its_own_accord(event: Event, silent_s: float, is_wrong: bool) -> None:  # noqa: FBT001  a case
    """Others have had their time by then; whoever has restored it runs like anybody (D21)."""
    it = Restoring()
    state = it.one.state
    state.now = state.leader_heard_at + silent_s
    if is_wrong:
        with pytest.raises(SafetyViolation, match=r"n\d: \w+ made it run for leader .* a snapshot up to 11 \(D21\)"):
            check_leaves_it_to_others(state, event, begins=True)
    else:
        check_leaves_it_to_others(state, event, begins=True)
    check_leaves_it_to_others(state, event, begins=False)
    assert may_stand_back(state) is (silent_s < 5 * HIGH_S)
    it.one.finish_applying()
    check_leaves_it_to_others(state, event, begins=True)
    assert not may_stand_back(state)
