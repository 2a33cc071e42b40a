"""Settings that cannot work are refused by name."""

from typing import Any

import pytest

from raftline.core.config import CoreConfig
from raftline.errors import ConfigError

INFINITE, NAN = float("inf"), float("nan")


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
        (
            {"election_timeout_s": [0.4, 0.8]},
            "election_timeout_s must be two numbers, as in (0.4, 0.8), not [0.4, 0.8]",
        ),
        ({"election_timeout_s": 0.5}, "as in (0.4, 0.8), not 0.5"),
        ({"election_timeout_s": (0.4, 0.8, 1.2)}, "as in (0.4, 0.8), not (0.4, 0.8, 1.2)"),
        ({"election_timeout_s": (0.4, "0.8")}, "as in (0.4, 0.8), not (0.4, '0.8')"),
        ({"election_timeout_s": (0.4, INFINITE)}, "as in (0.4, 0.8), not (0.4, inf)"),
        ({"election_timeout_s": (NAN, 0.8)}, "as in (0.4, 0.8), not (nan, 0.8)"),
        ({"heartbeat_interval_s": NAN}, "heartbeat_interval_s must be above 0, not nan"),
        ({"heartbeat_interval_s": "0.1"}, "heartbeat_interval_s must be a number, not '0.1'"),
        ({"commit_notice_s": None}, "commit_notice_s must be a number, not None"),
        ({"priority_handover_s": NAN}, "priority_handover_s must be above 0, not nan"),
        ({"quiesce_after_s": NAN}, "quiesce_after_s must be at least heartbeat_interval_s, 0.075, not nan"),
        ({"clock_drift_max": "0"}, "clock_drift_max must be a number, not '0'"),
        ({"append_bytes_max": NAN}, "append_bytes_max must be a whole number, not nan"),
        ({"snapshot_chunk_bytes": 1e5}, "snapshot_chunk_bytes must be a whole number, not 100000.0"),
        ({"command_version": "2"}, "command_version must be a whole number, not '2'"),
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
