"""The core's settings: durations in seconds, sizes in bytes, nothing about disks or sockets."""

from math import isfinite

import msgspec

from raftline.errors import ConfigError

__all__ = ["CoreConfig", "check_number"]


class CoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica behaves; every member of a group should use the same."""

    heartbeat_interval_s: float = 0.075
    """A leader that has nothing to send says so this often (A22)."""
    commit_notice_s: float = float("inf")
    """A follower that holds what was committed since the last message to it is told this long after that message,
    and does not wait for the heartbeat (B27)."""
    election_timeout_s: tuple[float, float] = (0.4, 0.8)
    """`[low, high)` from which each timeout is drawn anew (A6, A7)."""
    pre_vote: bool = True
    """Ask before starting an election, and keep to a leader heard from within `low` (thesis 9.6, K2)."""
    check_quorum: bool = True
    """A leader that hears no majority for `high` steps down."""
    noop: bool = True
    """Open each term with an empty entry, so that older entries commit and reads can start (§8, L47)."""
    lease_reads: bool = False
    """Let a leader answer reads that ask for it on its lease (thesis 6.4.1): correct only while no two nodes' clocks
    drift apart by more than `clock_drift_max`. All members have to agree on it."""
    clock_drift_max: float = 0.1
    """By how much, as a fraction, one node's clock may run faster than another's; bounds leases, nothing else."""
    priority_handover_s: float = 10.0
    """A leader that led undisturbed for so long hands over to a caught-up voter of higher priority."""
    quiesce_after_s: float = float("inf")
    """A group that had nothing to do for so long falls asleep: no heartbeats, no election timers. Needs a driver that
    reports `Woken`; all members have to agree on it, or it stays awake."""
    command_version: int = 1
    """The newest version of commands that this node's state machine knows; the leader is told."""
    guard_lost_disk: bool = True
    """A voter whose directory is empty votes only in a first start, or once it has caught up (C14)."""
    append_bytes_max: int = 1 << 20
    """Most payload bytes in one AppendEntries (one entry may be larger)."""
    append_entries_max: int = 8192
    """Most entries in one AppendEntries."""
    probe_bytes_max: int = 64 << 10
    """Most payload bytes sent to a follower whose log is not known to match yet."""
    inflight_messages_max: int = 16
    """Most unanswered AppendEntries with entries per follower."""
    inflight_bytes_max: int = 8 << 20
    """Most unanswered payload bytes per follower."""
    committed_max: int = 4096
    """Most committed entries handed out at a time, so that a long backlog is applied in slices."""
    snapshot_chunk_bytes: int = 256 << 10
    """Size of the pieces in which a snapshot travels."""
    snapshot_retry_s: float = 1.0
    """A chunk without an answer is sent again after this long, then each time after twice as long, up to 16 times; so
    is a snapshot that a follower could not store."""

    def check(self) -> "CoreConfig":
        """Return self, or raise `ConfigError` naming the setting that cannot work."""
        for name in self.__struct_fields__:
            if name.endswith("_s") or name == "clock_drift_max":
                if name != "election_timeout_s":
                    check_number(name, getattr(self, name))
            elif name.endswith(("_max", "_chunk_bytes", "_version")):
                check_number(name, getattr(self, name), is_whole=True)
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        self._check_timing()
        if self.guard_lost_disk and not self.pre_vote:
            raise ConfigError("guard_lost_disk needs pre_vote: switch both on, or both off")
        self._check_reads_and_handover()
        return self

    def _check_timing(self) -> None:
        if not _is_range(self.election_timeout_s):
            raise ConfigError(
                f"election_timeout_s must be two numbers, as in (0.4, 0.8), not {self.election_timeout_s!r}"
            )
        low, high = self.election_timeout_s
        if not self.heartbeat_interval_s > 0:
            raise ConfigError(f"heartbeat_interval_s must be above 0, not {self.heartbeat_interval_s}")
        if not self.commit_notice_s >= 0:
            raise ConfigError(f"commit_notice_s must be 0 or more, not {self.commit_notice_s}")
        if not self.snapshot_retry_s > 0:
            raise ConfigError(f"snapshot_retry_s must be above 0, not {self.snapshot_retry_s}")
        if not low < high:
            raise ConfigError(f"election_timeout_s must be a range [low, high) with low < high, not [{low}, {high})")
        if low < 2 * self.heartbeat_interval_s:
            raise ConfigError(
                f"election_timeout_s starts at {low}, which is less than two heartbeats of "
                f"{self.heartbeat_interval_s} s: one lost heartbeat would cause an election; raise it"
            )

    def _check_reads_and_handover(self) -> None:
        if not 0 <= self.clock_drift_max < 1:
            raise ConfigError(f"clock_drift_max is a fraction in [0, 1), not {self.clock_drift_max}")
        if self.lease_reads and not (self.pre_vote and self.check_quorum):
            raise ConfigError("lease_reads needs pre_vote and check_quorum: they keep a second leader away meanwhile")
        if not self.quiesce_after_s >= self.heartbeat_interval_s:
            raise ConfigError(
                f"quiesce_after_s must be at least heartbeat_interval_s, {self.heartbeat_interval_s}, "
                f"not {self.quiesce_after_s}"
            )
        if self.quiesce_after_s < float("inf") and not self.pre_vote:
            raise ConfigError("quiesce_after_s needs pre_vote: who wakes and hears nobody must not depose the leader")
        if not self.priority_handover_s > 0:
            raise ConfigError(f"priority_handover_s must be above 0, not {self.priority_handover_s}")


def check_number(name: str, value: object, *, is_whole: bool = False) -> None:
    """Raise `ConfigError` naming the setting if a value is no number, or no whole one where it has to be."""
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
        raise ConfigError(f"{name} must be a {'whole ' if is_whole else ''}number, not {value!r}")


def _is_range(value: object) -> bool:
    """Say whether a value is a pair of numbers; a list could be changed, and then its config is another one."""
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    return all(isinstance(each, int | float) and not isinstance(each, bool) and isfinite(each) for each in value)
