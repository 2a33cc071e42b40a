"""What a holder may believe of its lease, by its own stopwatch."""

import pytest
import redis

from raftline.client.errors import LockLost, LockNotAcquired, ReplyLost, SessionLost, Unavailable
from raftline.client.lease import Lease, backoff_s, check_options, is_locked
from raftline.errors import ConfigError


def held(lease_s: float = 10.0, token: int = 7) -> Lease:
    """Return a lease that was asked for at 100 and granted at 101."""
    lease = Lease("name", lease_s)
    lease.begin()
    assert lease.on_acquired(token, 100.0, 101.0)
    return lease


def test_it_counts_from_before_the_request() -> None:
    """Whenever the answer came, the lease is believed in for a little less than it was given for."""
    lease = held()
    assert lease.check(109.8) == 7
    assert not lease.has_run_out(109.8)
    with pytest.raises(LockLost, match="'name' was lost: its lease ran out before it was renewed"):
        lease.check(109.95)


def test_what_is_lost_stays_lost() -> None:
    """A renewal that comes after the holder was told that the lease is gone changes nothing."""
    lease = held()
    assert lease.has_run_out(111.0)
    lease.on_renewed(110.5)
    assert lease.has_run_out(110.6)


def test_an_answer_that_comes_too_late_is_none() -> None:
    """Who waited longer for the lock than it lasts asks again."""
    lease = Lease("name", 1.0)
    lease.begin()
    assert not lease.on_acquired(7, 100.0, 101.0)
    assert lease.token is None


def test_a_renewal_begins_the_lease_anew() -> None:
    """From when it was asked for; three are due within one lease."""
    lease = held(lease_s=9.0)
    assert lease.renewal_in_s() == 3.0
    lease.on_renewed(105.0)
    assert lease.check(113.0) == 7
    assert lease.left_s(105.0) == pytest.approx(8.91)


def test_failed_renewals_are_repeated_while_the_lease_lasts() -> None:
    """No answer is no loss until the time is up; a refusal is one at once."""
    lease = held()
    assert lease.on_failed_renewal(Unavailable("nobody", may_have_been_applied=True), 105.0) == 0.05
    assert lease.on_failed_renewal(ConnectionError("reset"), 106.0) == 0.05
    assert lease.on_failed_renewal(Unavailable("nobody", may_have_been_applied=True), 109.95) is None
    assert lease.reason.startswith("its lease ran out")
    refused = held()
    assert refused.on_failed_renewal(redis.ResponseError("NOTHELD nobody holds this lock"), 102.0) is None
    assert refused.reason == "NOTHELD nobody holds this lock"
    broken = held()
    assert broken.on_failed_renewal(ZeroDivisionError("bug"), 102.0) is None


def test_each_acquisition_has_a_name_of_its_own() -> None:
    """Two objects, and two acquisitions of one, are different owners; a lock that is held cannot be acquired."""
    lease = held()
    first = lease.owner
    with pytest.raises(LockNotAcquired, match="release it first"):
        lease.begin()
    lease.end()
    with pytest.raises(LockLost, match="is not held"):
        lease.check(101.0)
    lease.begin()
    assert len({first, lease.owner, held().owner}) == 3


def test_only_what_may_change_is_tried_again() -> None:
    """Somebody else's lock, and a reply that was lost; no error of the command itself."""
    assert is_locked(redis.ResponseError("LOCKED 'x' holds this lock"))
    assert is_locked(SessionLost("gone", may_have_been_applied=True))
    assert is_locked(ReplyLost("gone", may_have_been_applied=True))
    assert not is_locked(redis.ResponseError("WRONGTYPE no"))
    assert not is_locked(Unavailable("nobody", may_have_been_applied=True))


def test_the_pauses_grow_and_differ() -> None:
    """From 20 milliseconds to half a second, at random."""
    assert [backoff_s(attempt, lambda: 1.0) for attempt in (0, 1, 4, 5, 10_000)] == [0.02, 0.04, 0.32, 0.5, 0.5]
    assert backoff_s(0, lambda: 0.0) == 0.01


@pytest.mark.parametrize("lease_s", [0.0, -1.0, 86_401.0, float("nan")])
def test_a_lease_that_cannot_be_is_refused(lease_s: float) -> None:
    """From a millisecond to a day."""
    with pytest.raises(ConfigError, match="lease_s must be"):
        Lease("name", lease_s)


def test_options_of_another_lock_are_refused() -> None:
    """In words that say which lock this is."""
    check_options({})
    with pytest.raises(TypeError, match=r"does not take blocking, timeout: this is raftline's lock.*Lua"):
        check_options({"timeout": 3, "blocking": True})
