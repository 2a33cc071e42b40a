"""The table of settings."""

import re

import msgspec
import pytest

from raftline.cli.settings import ServerSettings, settings_table
from raftline.core.config import CoreConfig
from raftline.kv.limits import Limits
from raftline.runtime.config import NodeConfig

ROWS = {row.name: row for row in settings_table()}


def test_the_table_has_a_row_per_field_in_order() -> None:
    """Nothing can be set that the table does not list."""
    assert list(ROWS) == list(ServerSettings.__struct_fields__)


@pytest.mark.parametrize("name", ROWS)
def test_each_row_can_be_printed_as_help(name: str) -> None:
    """Each setting has a sentence of help, a flag, a variable, and something that stands for its value."""
    found = ROWS[name]
    assert found.help.endswith(".")
    assert re.fullmatch(r"--[a-z-]+", found.flag)
    assert re.fullmatch(r"RAFTLINE_[A-Z_]+", found.variable)
    assert found.metavar


def test_only_two_settings_have_to_be_given_always() -> None:
    """A node has a name and a directory; the cluster, or its own address, comes on top."""
    assert [row.name for row in ROWS.values() if row.required] == ["id", "data_dir"]


def test_the_defaults_are_those_of_the_layers_below() -> None:
    """A default stands in one place: changing it in a layer changes it here."""
    settings = ServerSettings(id="n1", cluster={"n1": "h:1"}, data_dir="d")
    node = NodeConfig(node_id="n1", members={"n1": "h:1"}, data_dir="d")
    for source in (node, CoreConfig(), Limits()):
        shared = set(source.__struct_fields__) & set(ROWS) - {"data_dir", "cluster_id"}
        assert shared
        for name in shared:
            assert getattr(settings, name) == getattr(source, name), name


def test_units_stand_last_in_the_names() -> None:
    """A setting in seconds has _s in its name, one in bytes, or in bytes per second, has bytes."""
    for row in ROWS.values():
        assert ("s" in row.name.split("_")) == (row.unit == "seconds")
        is_named_by_redis = row.name == "maxmemory"
        assert ("bytes" in row.name or is_named_by_redis) == (row.unit in ("bytes", "bytes per second"))


def test_what_stands_for_a_value_tells_how_to_write_it() -> None:
    """The help shows choices, ranges and units."""
    assert ROWS["log_format"].metavar == "text|json"
    assert ROWS["election_timeout_s"].metavar == "LOW,HIGH"
    assert ROWS["cluster"].metavar == "NAME=HOST:PORT,..."
    assert ROWS["segment_bytes"].metavar == "BYTES"
    assert ROWS["bind"].metavar == "TEXT"
    assert ROWS["election_timeout_s"].default_text == "0.4,0.8"
    assert not ROWS["cluster"].default_text


def test_a_setting_cannot_be_changed_once_made() -> None:
    """Settings are a value."""
    settings = ServerSettings(id="n1", cluster={"n1": "h:1"}, data_dir="d")
    with pytest.raises(AttributeError):
        settings.id = "n2"  # type: ignore[misc]
    assert msgspec.structs.replace(settings, id="n3").id == "n3"
