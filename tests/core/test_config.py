"""Settings that cannot work are refused by name."""

from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.errors import ConfigError


def test_the_defaults_work() -> None:
    """They pass their own check, unchanged (A7)."""
    config = CoreConfig()
    assert config.check() is config


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"heartbeat_interval_s": 0.0}, "heartbeat_interval_s must be above 0"),
        ({"commit_notice_s": -1.0}, "commit_notice_s must be 0 or more"),
        ({"snapshot_retry_s": 0.0}, "snapshot_retry_s must be above 0"),
        ({"election_timeout_s": (0.8, 0.8)}, "low < high"),
        ({"heartbeat_interval_s": 0.25}, "less than two heartbeats of 0.25 s"),
        ({"pre_vote": False}, "guard_lost_disk needs pre_vote"),
        ({"append_bytes_max": 0}, "append_bytes_max must be at least 1, not 0"),
        ({"append_entries_max": 0}, "append_entries_max"),
        ({"probe_bytes_max": 0}, "probe_bytes_max"),
        ({"inflight_messages_max": -3}, "inflight_messages_max must be at least 1, not -3"),
        ({"inflight_bytes_max": 0}, "inflight_bytes_max"),
        ({"committed_max": 0}, "committed_max"),
        ({"snapshot_chunk_bytes": 0}, "snapshot_chunk_bytes"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, Any], complaint: str) -> None:
    """With what it was and what it has to be (A7)."""
    with pytest.raises(ConfigError) as caught:
        CoreConfig(**settings).check()
    assert complaint in str(caught.value)
