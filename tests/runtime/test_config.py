"""A node's settings: what cannot work is refused by name, before anything is started."""

from typing import Any

import pytest

from raftline import ConfigError, CoreConfig, NodeConfig

MEMBERS = {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"}


def config(**changed: Any) -> NodeConfig:
    """Return settings that work, but for what is changed."""
    return NodeConfig(**{"node_id": "n1", "members": MEMBERS, "data_dir": "d", **changed})


def test_defaults_work() -> None:
    """With the names and addresses alone; a node is reached where the members say, or where it says."""
    assert config().check().own_address == "127.0.0.1:7001"
    assert config(members={}, address="127.0.0.1:9").check().own_address == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"node_id": ""}, "node_id must not be empty"),
        ({"members": {}}, "members are empty: name the first voters, or the address"),
        ({"node_id": "n9"}, r"'n9' is not among the members \(n1, n2\)"),
        (
            {"members": {**MEMBERS, "n3": "127.0.0.1"}},
            "members: n3: address '127.0.0.1': the port is missing; write 'host:port'",
        ),
        ({"members": {**MEMBERS, "n3": ""}}, "members: n3: address '': the port is missing"),
        (
            {"members": {**MEMBERS, "n3": None}},
            "members: n3: None is no address: write 'host:port' or 'host:port@busport'",
        ),
        (
            {"members": {**MEMBERS, "n3": "127.0.0.1:7001"}},
            "members: n3 at 127.0.0.1:7001@17001 has a port in common with n1",
        ),
        ({"members": {**MEMBERS, "n3": "127.0.0.1:9@17002"}}, "members: n3 at .* has a port in common with n2"),
        ({"members": {**MEMBERS, "": "127.0.0.1:7003"}}, "members: a name is empty"),
        (
            {"members": {"n1": "127.0.0.1:7001", "n2": "a..b:1"}},
            "members: n2: address 'a..b:1': 'a..b' is no host name",
        ),
        ({"address": "127.0.0.1:99999"}, "address: address '127.0.0.1:99999': the port 99999 is out of range"),
        ({"members": {}, "address": "here"}, "address: address 'here': the port is missing"),
        ({"data_dir": ""}, "data_dir must not be empty"),
        ({"drain_s_max": float("nan")}, "drain_s_max must be 0 or more, not nan"),
        ({"drain_s_max": "2"}, "drain_s_max must be a number, not '2'"),
        ({"drain_s_max": None}, "drain_s_max must be a number, not None"),
        ({"request_timeout_s": float("nan")}, "request_timeout_s must be above 0, not nan"),
        ({"request_timeout_s": "5"}, "request_timeout_s must be a number, not '5'"),
        ({"pending_max": float("nan")}, "pending_max must be a whole number, not nan"),
        ({"snapshot_log_bytes": 1.5e6}, "snapshot_log_bytes must be a whole number, not 1500000.0"),
        ({"segment_bytes": "64MiB"}, "segment_bytes must be a whole number, not '64MiB'"),
        ({"apply_slice": True}, "apply_slice must be a whole number, not True"),
        ({"drain_s_max": -1}, "drain_s_max must be 0 or more, not -1"),
        ({"request_timeout_s": 0}, "request_timeout_s must be above 0, not 0"),
        ({"pending_max": 0}, "pending_max must be at least 1, not 0"),
        ({"pending_bytes_max": 0}, "pending_bytes_max must be at least 1, not 0"),
        ({"command_bytes_max": 0}, "command_bytes_max must be at least 1, not 0"),
        ({"command_bytes_max": 2 << 30}, "command_bytes_max must be below 2147483648, not 2147483648"),
        ({"log_memory_bytes": -1}, "log_memory_bytes must be at least 0, not -1"),
        ({"snapshot_log_bytes": 0}, "snapshot_log_bytes must be at least 1, not 0"),
        ({"snapshot_log_entries": 0}, "snapshot_log_entries must be at least 1, not 0"),
        ({"keep_log_entries": -1}, "keep_log_entries must be at least 0, not -1"),
        ({"segment_bytes": 1000}, "segment_bytes must be at least 65536, not 1000"),
        ({"apply_slice": 0}, "apply_slice must be at least 1, not 0"),
        ({"core": CoreConfig(heartbeat_interval_s=0)}, "heartbeat_interval_s"),
        ({"core": CoreConfig(election_timeout_s=[0.4, 0.8])}, "election_timeout_s must be .*, not \\[0.4, 0.8\\]"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_work_is_named(changed: dict[str, Any], words: str) -> None:
    """Each setting by its name, with what was given."""
    with pytest.raises(ConfigError, match=words):
        config(**changed).check()
