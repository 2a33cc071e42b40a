"""INFO: lines of `name:value` in sections that tools can read."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import hiredis
import pytest

from raftline.kv.service import Service
from raftline.runtime.stages import STAGES

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, HeldNode

    Ask = Callable[..., dict[str, str]]

SECTIONS = ["Server", "Clients", "Memory", "Stats", "Replication", "Cpu", "Keyspace", "Raft", "Latency", "Commandstats"]


def lines_of(conversation: "Conversation", *sections: bytes) -> dict[str, str]:
    """Ask for sections and return their lines."""
    reader = hiredis.Reader()
    reader.feed(conversation.ask(b"INFO", *sections))
    text = reader.gets().decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def headings(conversation: "Conversation", *sections: bytes) -> list[str]:
    """Ask for sections and return their headings."""
    text = conversation.ask(b"INFO", *sections).decode()
    return [line.removeprefix("# ") for line in text.split("\r\n") if line.startswith("# ")]


def test_raft_tells_positions(conversation: "Conversation") -> None:
    """Every field of the node's status is a line that begins with `raft_`."""
    lines = lines_of(conversation, b"raft")
    assert lines["raft_node_id"] == "n1"
    assert lines["raft_role"] == "leader"
    assert lines["raft_leader_id"] == "n1"
    assert lines["raft_term"] == "1"
    assert lines["raft_commit_index"] == lines["raft_applied_index"] == "5"
    assert lines["raft_last_index"] == "6"
    assert lines["raft_snapshot_index"] == "0"
    assert lines["raft_established"] == "1"
    assert lines["raft_members"] == "0"
    assert all(name.startswith("raft_") for name in lines)


@pytest.mark.parametrize("sections", [(), (b"all",), (b"everything",), (b"DEFAULT",)])
def test_all_sections_are_given(conversation: "Conversation", sections: tuple[bytes, ...]) -> None:
    """Without a name, or with one for all, every section is there, in order."""
    assert headings(conversation, *sections) == SECTIONS


def test_sections_are_chosen_by_name(conversation: "Conversation") -> None:
    """Several names give several sections, an unknown one none."""
    assert headings(conversation, b"keyspace", b"CLIENTS") == ["Clients", "Keyspace"]
    assert headings(conversation, b"nosuch") == []


def test_counters_count(conversation: "Conversation") -> None:
    """Keys, deadlines, memory and commands are what was done."""
    before = lines_of(conversation)
    assert "db0" not in before
    conversation.ask(b"SET", b"k", b"v")
    conversation.ask(b"SET", b"l", b"v", b"EX", b"10")
    after = lines_of(conversation)
    assert after["db0"] == "keys=2,expires=1,avg_ttl=0"
    assert int(after["used_memory"]) > int(before["used_memory"]) == 0
    assert int(after["total_commands_processed"]) == int(before["total_commands_processed"]) + 3
    assert after["connected_clients"] == "1"
    conversation.ask(b"CONFIG", b"RESETSTAT")
    assert int(lines_of(conversation)["total_commands_processed"]) <= 1


def test_info_needs_no_quorum(conversation: "Conversation") -> None:
    """A node that reaches nobody still says how it is."""
    reply = conversation.send(b"*2\r\n$4\r\nINFO\r\n$4\r\nraft\r\n")
    assert b"raft_role:leader" in reply
    assert conversation.node.waiting == []


def test_info_is_text_for_people_in_resp3(conversation: "Conversation") -> None:
    """After HELLO 3 the reply is verbatim text."""
    conversation.ask(b"HELLO", b"3")
    assert conversation.ask(b"INFO", b"server").startswith(b"=")


def test_stages_are_told_with_percentiles_and_buckets(
    conversation: "Conversation", service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage is a line; percentiles only where something was measured; buckets can be subtracted by who watches."""
    measured = held_node.measure()
    measured.stages["commit"].observe(0.0015, count=4)
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    service.reply_latency.observe(0.1)
    lines = lines_of(conversation, b"latency")
    assert list(lines) == [f"latency_{name}" for name in STAGES]
    commit = dict(part.split("=") for part in lines["latency_commit"].split(","))
    assert (commit["count"], commit["sum_us"], commit["p50_us"], commit["p99_us"]) == ("4", "6000", "1500", "1990")
    assert sum(map(int, commit["buckets"].split("|"))) == 4
    assert "p50_us" not in lines["latency_queue"]


def test_commands_are_counted_by_name_until_they_are_reset(conversation: "Conversation") -> None:
    """As Redis's commandstats; CONFIG RESETSTAT begins anew."""
    conversation.ask(b"SET", b"k", b"v")
    conversation.ask(b"SET", b"k", b"v")
    assert lines_of(conversation, b"commandstats")["cmdstat_set"] == "calls=2"
    conversation.ask(b"CONFIG", b"RESETSTAT")
    assert "cmdstat_set" not in lines_of(conversation, b"commandstats")


def test_raft_says_whether_the_node_is_ready(conversation: "Conversation") -> None:
    """The reason is empty where there is none."""
    lines = lines_of(conversation, b"raft")
    assert (lines["raft_ready"], lines["raft_not_ready"], lines["raft_elections"]) == ("1", "", "0")
