"""From flags, variables and a file to settings."""

import tomllib
from pathlib import Path

import pytest

from raftline.cli.settings import node_config_of, own_address_of
from raftline.cli.settings_loading import load_settings, parse_cluster
from raftline.errors import ConfigError

CLUSTER = "n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003@7903"
FLAGS: dict[str, str | None] = {"id": "n1", "cluster": CLUSTER, "data_dir": "/tmp/n1"}  # noqa: S108  never opened


def refusal(flags: dict[str, str | None], environ: dict[str, str] | None = None, config: str | None = None) -> str:
    """Return the message with which settings are refused."""
    with pytest.raises(ConfigError) as caught:
        load_settings(flags, environ or {}, config)
    return str(caught.value)


def test_three_flags_are_enough() -> None:
    """Everything else has a default."""
    settings = load_settings(FLAGS, {}).settings
    assert settings.id == "n1"
    assert settings.cluster == {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002", "n3": "127.0.0.1:7003@7903"}
    assert settings.log_level == "info"


def test_a_flag_counts_before_a_variable_before_the_file_before_the_default(tmp_path: Path) -> None:
    """Four sources, one order."""
    path = tmp_path / "raftline.toml"
    path.write_text('log_level = "error"\nlog_format = "json"\nrequest_timeout_s = 3\n')
    environ = {"RAFTLINE_LOG_LEVEL": "warning", "RAFTLINE_LOG_FORMAT": "text"}
    loaded = load_settings({**FLAGS, "log_level": "debug"}, environ, str(path))
    assert loaded.settings.log_level == "debug"
    assert loaded.settings.log_format == "text"
    assert loaded.settings.request_timeout_s == 3.0
    assert loaded.settings.cluster_id == ""
    assert loaded.origins["log_level"] == "--log-level"
    assert loaded.origins["log_format"] == "variable RAFTLINE_LOG_FORMAT"
    assert loaded.origins["request_timeout_s"] == f"{path}, key 'request_timeout_s'"
    assert "cluster_id" not in loaded.origins


def test_a_variable_can_name_the_file(tmp_path: Path) -> None:
    """RAFTLINE_CONFIG is what --config is; the flag counts first."""
    path, other = tmp_path / "a.toml", tmp_path / "b.toml"
    path.write_text('cluster_id = "one"')
    other.write_text('cluster_id = "two"')
    environ = {"RAFTLINE_CONFIG": str(path)}
    assert load_settings(FLAGS, environ).settings.cluster_id == "one"
    assert load_settings(FLAGS, environ, str(other)).settings.cluster_id == "two"


def test_the_file_may_write_the_cluster_as_a_table_or_as_text(tmp_path: Path) -> None:
    """Both forms give the same members."""
    path = tmp_path / "raftline.toml"
    path.write_text('id = "n1"\ndata_dir = "d"\n[cluster]\nn1 = "h:1000"\nn2 = "h:1001"\n')
    assert load_settings({}, {}, str(path)).settings.cluster == {"n1": "h:1000", "n2": "h:1001"}
    path.write_text('id = "n1"\ndata_dir = "d"\ncluster = "n1=h:1000, n2=h:1001"\n')
    assert load_settings({}, {}, str(path)).settings.cluster == {"n1": "h:1000", "n2": "h:1001"}


def test_the_example_file_can_be_used() -> None:
    """examples/raftline.toml is valid and uses only settings that exist."""
    path = Path(__file__).parents[2] / "examples" / "raftline.toml"
    settings = load_settings({}, {}, str(path)).settings
    assert settings.id in settings.cluster
    assert settings.value_bytes_max == 8 << 20
    assert tomllib.loads(path.read_text())["bind"] == settings.bind


@pytest.mark.parametrize(
    ("written", "size"), [("65536", 65536), ("64KiB", 65536), ("1 MiB", 1 << 20), ("2GiB", 2 << 30), ("70000B", 70000)]
)
def test_sizes_are_bytes_or_have_a_unit(written: str, size: int) -> None:
    """Units are those of 1024, written out."""
    assert load_settings({**FLAGS, "segment_bytes": written}, {}).settings.segment_bytes == size
    assert load_settings({**FLAGS, "snapshot_bytes_per_second": written}, {}).settings.snapshot_bytes_per_second == size


def test_a_range_is_two_numbers(tmp_path: Path) -> None:
    """`low,high` on the command line, `[low, high]` in the file."""
    assert load_settings({**FLAGS, "election_timeout_s": "1,2.5"}, {}).settings.election_timeout_s == (1.0, 2.5)
    path = tmp_path / "raftline.toml"
    path.write_text("election_timeout_s = [1, 2]")
    assert load_settings(FLAGS, {}, str(path)).settings.election_timeout_s == (1.0, 2.0)


JOINING: dict[str, str | None] = {
    "id": "n4", "listen": "127.0.0.1:7004", "join": "127.0.0.1:7001", "data_dir": "d",
}  # fmt: skip


def test_a_node_that_joins_needs_its_own_address_and_somebody_elses() -> None:
    """And no list of members: they come with the log."""
    settings = load_settings(JOINING, {}).settings
    config = node_config_of(settings)
    assert (config.members, config.address) == ({}, "127.0.0.1:7004@17004")
    assert str(own_address_of(load_settings(FLAGS, {}).settings)) == "127.0.0.1:7001@17001"
    moved = load_settings({**FLAGS, "listen": "127.0.0.1:7009"}, {}).settings
    assert node_config_of(moved).address == "127.0.0.1:7009@17009"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({**JOINING, "listen": None}, "--listen HOST:PORT (its own address) and --join HOST:PORT (any node's)"),
        ({**JOINING, "cluster": CLUSTER}, "--join: `cluster` is given, too"),
        ({**JOINING, "join": "n1"}, "--join: 'n1' is no address: write host:port of any node"),
        ({**JOINING, "listen": "7004"}, "--listen: address '7004': the port is missing"),
    ],
)
def test_two_ways_to_begin_do_not_mix(flags: dict[str, str | None], words: str) -> None:
    """A node is of a new cluster, or added to one."""
    assert words in refusal(flags)


@pytest.mark.parametrize("join", ["127.0.0.1:7004", "127.0.0.1:17004"])
def test_a_node_does_not_join_itself(join: str) -> None:
    """It would wait for an answer of its own; both of its ports are known."""
    flags = {"id": "n4", "data_dir": "d", "listen": "127.0.0.1:7004", "join": join}
    with pytest.raises(ConfigError, match=f"--join: '{join}' is this node's own address: name another node"):
        load_settings(flags, {})


def test_leases_are_switched_on_by_name() -> None:
    """For the core, and as what connections get that choose nothing."""
    assert not node_config_of(load_settings(FLAGS, {}).settings).core.lease_reads
    settings = load_settings({**FLAGS, "reads": "lease", "clock_drift_max": "0.2"}, {}).settings
    core = node_config_of(settings).core
    assert (core.lease_reads, core.clock_drift_max) == (True, 0.2)
    assert "--clock-drift-max: '1' cannot be used: it must be < 1" in refusal({**FLAGS, "clock_drift_max": "1"})


@pytest.mark.parametrize("missing", ["id", "cluster", "data_dir"])
def test_a_missing_setting_is_named_with_all_the_ways_to_give_it(missing: str) -> None:
    """The message has the flag, the variable and the key."""
    message = refusal({name: value for name, value in FLAGS.items() if name != missing})
    assert message.startswith(f"{missing} is not set")
    assert f"--{missing.replace('_', '-')}" in message
    assert f"RAFTLINE_{missing.upper()}" in message
    assert f"key '{missing}'" in message


@pytest.mark.parametrize(
    ("name", "written", "what_to_do"),
    [
        ("segment_bytes", "12x", "'12x' is no size: write bytes, as in 1048576, 1024KiB or 1MiB"),
        ("segment_bytes", "1MB", "'1MB' is no size"),
        ("segment_bytes", "100", "it must be >= 65536 bytes"),
        ("request_bytes_max", "2GiB", "it must be <= 536870912 bytes"),
        ("clients_max", "many", "'many' is no whole number"),
        ("clients_max", "0", "it must be >= 1 connections"),
        ("groups", "16385", "it must be <= 16384 groups"),
        ("clients_max", "-4", "it must be >= 1"),
        ("request_timeout_s", "soon", "'soon' is no number"),
        ("request_timeout_s", "0", "it must be > 0"),
        ("request_timeout_s", "inf", "no number that can be waited for"),
        ("request_timeout_s", "nan", "no number that can be waited for"),
        ("log_level", "loud", "write one of debug, info, warning, error"),
        ("election_timeout_s", "0.5", "is no range: write low,high"),
        ("election_timeout_s", "0.8,0.4", "low must be below high"),
        ("election_timeout_s", "0.1,0.2", "less than two heartbeats"),
        ("id", "n9", "'n9' is not in the cluster (n1, n2, n3)"),
        ("id", "a b", "is no name"),
        ("cluster_id", "-x", "is no name"),
        ("data_dir", " ", "it is empty"),
        ("cluster", "n1", "'n1' is no member: write name=host:port"),
        ("cluster", "n1=h:1000,n1=h:1001", "the name 'n1' stands there twice"),
        ("cluster", "n1=h", "n1: address 'h': the port is missing"),
        ("cluster", "n1=h:70000", "out of range"),
        ("cluster", "n1=h:1000,n2=h:1000", "n2's client port is h:1000, and so is n1's client port"),
        ("cluster", "n1=h:1000,n2=h:11000", "n2's client port is h:11000, and so is n1's bus port"),
        ("key_bytes_max", "1GiB", "it must be <= 524288 bytes"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_place_and_remedy(name: str, written: str, what_to_do: str) -> None:
    """The message starts with the flag, shows what was written, and says what to write."""
    message = refusal({**FLAGS, name: written})
    assert message.startswith(f"--{name.replace('_', '-')}: ")
    assert what_to_do in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clients_max = true", "True is no whole number"),
        ("clients_max = 1.5", "1.5 is no whole number"),
        ('clients_max = "9"', None),
        ("request_timeout_s = true", "True is no number"),
        ("id = 5", "write TEXT"),
        ("cluster = 5", "write NAME=HOST:PORT"),
        ("cluster = { n1 = 7001 }", "write NAME=HOST:PORT"),
        ("election_timeout_s = 0.5", "is no range"),
        ("election_timeout_s = [0.5, true]", "True is no number"),
    ],
)
def test_values_of_the_file_have_their_type(tmp_path: Path, line: str, message: str | None) -> None:
    """A TOML value of another type is refused with file and key, unless it can only mean one thing."""
    path = tmp_path / "raftline.toml"
    path.write_text(line)
    flags: dict[str, str | None] = {**FLAGS, line.split(" ", 1)[0]: None}
    if message is None:
        assert load_settings(flags, {}, str(path)).settings.clients_max == 9
        return
    found = refusal(flags, config=str(path))
    assert found.startswith(f"{path}, key '{line.split(' ', 1)[0]}': ")
    assert message in found


def test_an_unknown_key_is_refused_and_the_likely_one_named(tmp_path: Path) -> None:
    """A misspelt setting never stays at its default unnoticed."""
    path = tmp_path / "raftline.toml"
    path.write_text("data-dirs = 1")
    assert refusal(FLAGS, config=str(path)) == (
        f"{path}, key 'data-dirs': there is no such setting; did you mean 'data_dir'?"
    )
    path.write_text("zzz = 1")
    assert "`raftline server --help` lists them" in refusal(FLAGS, config=str(path))


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Missing, not TOML, not text: each says which file and what is wrong."""
    path = tmp_path / "raftline.toml"
    assert "cannot be read: No such file" in refusal(FLAGS, config=str(path))
    path.write_text("a = = 1")
    assert "not valid TOML" in refusal(FLAGS, config=str(path))
    path.write_bytes(b"\xff\xfe")
    assert "no UTF-8" in refusal(FLAGS, config=str(path))


def test_an_unknown_variable_is_told_but_not_refused() -> None:
    """Container platforms set RAFTLINE_PORT and the like for a service of that name."""
    environ = {"RAFTLINE_PORT": "tcp://10.0.0.1:7001", "RAFTLINE_ID": "n2", "OTHER": "x", "RAFTLINE_CONFIG": ""}
    loaded = load_settings({**FLAGS, "id": None}, environ)
    assert loaded.settings.id == "n2"
    assert loaded.unknown_variables == ("RAFTLINE_PORT",)


def test_an_empty_variable_counts_as_not_set() -> None:
    """`RAFTLINE_BIND=` in a unit file changes nothing."""
    assert load_settings(FLAGS, {"RAFTLINE_CLUSTER_ID": ""}).settings.cluster_id == ""


def test_a_cluster_may_be_written_with_spaces() -> None:
    """Spaces around names and commas mean nothing."""
    assert parse_cluster(" n1=h:1 , n2 = h:2") == {"n1": "h:1", "n2": "h:2"}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ("9121", "is no address: write host:port"),
        ("127.0.0.1:7001", "port 7001 is taken by this node's clients or peers"),
        ("0.0.0.0:17001", "port 17001 is taken by this node's clients or peers"),
    ],
)
def test_a_monitoring_port_that_cannot_be_is_refused(metrics: str, words: str) -> None:
    """Before anything is started, with the setting's name."""
    message = refusal({**FLAGS, "metrics": metrics})
    assert words in message
    assert "--metrics" in message


def test_a_monitoring_port_may_be_anywhere_else() -> None:
    """Off unless it is given."""
    assert load_settings(FLAGS, {}).settings.metrics == ""
    assert load_settings({**FLAGS, "metrics": "127.0.0.1:9121"}, {}).settings.metrics == "127.0.0.1:9121"
