"""Limits that cannot work together are refused at the start."""

from typing import Any

import pytest

from raftline.errors import ConfigError
from raftline.transport.settings import TransportSettings


def test_the_defaults_hold_a_snapshot_chunk_with_room() -> None:
    """A megabyte of snapshot data and its surroundings fit into a frame."""
    assert TransportSettings().max_frame_bytes >= 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"max_frame_bytes": 0}, "max_frame_bytes is 0; it must be above 0"),
        ({"ping_interval_s": -1.0}, "ping_interval_s is -1.0"),
        ({"queue_bytes": 1000, "max_frame_bytes": 1000}, "it must be at least 1004"),
        ({"queue_bytes": 1 << 40, "max_frame_bytes": 1 << 32}, "the length has 4 bytes"),
        ({"backoff_s_min": 2.0, "backoff_s_max": 1.0}, "backoff_s_max is below"),
    ],
)
def test_what_is_refused(setting: dict[str, Any], complaint: str) -> None:
    """The setting is named, with what it must be."""
    with pytest.raises(ConfigError, match=complaint):
        TransportSettings(**setting)
