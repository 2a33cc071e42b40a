"""§5.5 Crashes, §5.6 timing."""

from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.core.messages import AppendReply, AppendRequest, VoteRequest
from raftline.errors import ConfigError


def test_requests_are_repeated_until_a_follower_answers(server: Any) -> None:
    """A crashed follower is tried again for ever (B14)."""
    one = server()
    one.lead()
    one.propose(b"x")
    for _ in range(5):
        sent = one.wait(CoreConfig().heartbeat_interval_s)
        assert {"n2", "n3"} == {to for to, _ in sent}
    one.receive("n3", AppendReply(1, 1, True, 0, 0))  # noqa: FBT003
    assert one.state.progress["n3"].next_index == 2


def test_repeated_requests_do_no_harm(server: Any) -> None:
    """Requests are idempotent: the crash may have come after the answer (E7, A15)."""
    one = server()
    request = VoteRequest(1, 0, 0)
    assert one.answer("n2", request).granted
    assert one.answer("n2", request).granted
    append = AppendRequest(1, 0, 0, (), 0)
    assert one.answer("n2", append) == one.answer("n2", append)


def test_a_leader_gives_a_silent_follower_no_further_entries_than_its_window(server: Any) -> None:
    """A follower that is down costs heartbeats, not the whole log again and again (B29, E5)."""
    one = server()
    one.lead()
    one.receive("n2", AppendReply(1, 1, True, 0, 0))  # noqa: FBT003
    for number in range(100):
        one.propose(b"%d" % number)
    sent = [message for to, message in one.wait(CoreConfig().heartbeat_interval_s) if to == "n2"]
    assert [message.entries for message in sent] == [()]


def test_timing_that_cannot_work_is_refused() -> None:
    """The broadcast time << election timeout: a range below two heartbeats would elect all the time (A7, J3)."""
    with pytest.raises(ConfigError, match="less than two heartbeats"):
        CoreConfig(heartbeat_interval_s=0.3).check()
    with pytest.raises(ConfigError, match="low < high"):
        CoreConfig(election_timeout_s=(0.5, 0.5)).check()


def test_a_leader_that_hears_no_majority_steps_down(server: Any) -> None:
    """Its clients get an error instead of a hang (thesis 6.2, G5, G11)."""
    one = server(config=CoreConfig(guard_lost_disk=False, pre_vote=False, noop=False))
    one.lead()
    one.wait(0.5)
    assert one.raft.is_leader
    one.wait(0.5)
    assert not one.raft.is_leader
    assert one.state.leader is None


def test_one_answer_per_timeout_from_a_majority_keeps_the_leader(server: Any) -> None:
    """Check-quorum asks for a majority, not for everybody."""
    one = server(config=CoreConfig(guard_lost_disk=False, pre_vote=False, noop=False))
    one.lead()
    for _ in range(20):
        one.wait(0.3)
        one.receive("n2", AppendReply(1, 1, True, 0, 0))  # noqa: FBT003
    assert one.raft.is_leader
