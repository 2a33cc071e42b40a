"""Limits that cannot work are refused when they are made."""

import pytest

from raftline.errors import ConfigError
from raftline.kv.limits import KEY_BYTES_CEILING, Limits


def test_the_usual_limits_can_be_made() -> None:
    """The defaults are valid, and every one of them can be given."""
    limits = Limits()
    assert Limits(**{name: getattr(limits, name) for name in limits.__struct_fields__}) == limits


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_nothing_may_be_zero(name: str) -> None:
    """The refusal names the limit; 0 means something for idle clients, maxmemory and SLOWLOG, -1 for SLOWLOG."""
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: -2 if name in {"slowlog_log_slower_than", "idle_s_max", "maxmemory"} else 0})


def test_keys_fit_into_a_chunk_of_a_snapshot() -> None:
    """A key may not be so long that a snapshot could not carry it."""
    with pytest.raises(ConfigError, match="key_bytes_max"):
        Limits(key_bytes_max=KEY_BYTES_CEILING + 1)
