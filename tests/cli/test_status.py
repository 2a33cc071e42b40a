"""`raftline status` against nodes that are not there, or say what a test wants."""

import errno
import io
import json
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from raftline.cli import status
from raftline.cli.local_cluster import free_port
from raftline.cli.node_info import Unreachable
from raftline.cli.status import ask_group, group_table, run_status

Lines = Callable[..., str]
FakeNode = Callable[..., int]


ANSWER_S_MAX = 60.0
"""Nothing here waits for it: who is away refuses at once."""


def three(fake_node: FakeNode, lines_of: Lines, **overrides: dict[str, object]) -> dict[str, int]:
    """Start three fakes that know each other; `overrides` are fields by node."""
    ports = {name: free_port() for name in ("n1", "n2", "n3")}
    for name, port in ports.items():
        fake_node(lines_of(name, ports, **overrides.get(name, {})), port=port)
    return ports


def test_a_group_in_order(fake_node: FakeNode, lines_of: Lines) -> None:
    """Whichever node is asked, every member is asked for itself."""
    ports = three(fake_node, lines_of, n3={"applied_index": 7})
    group = ask_group("127.0.0.1", ports["n2"], ANSWER_S_MAX)
    assert group.in_order
    assert group.summary == "n1 leads 3 members in term 4"
    assert [(row.node_id, row.role, row.lag_entries) for row in group.members] == [
        ("n1", "leader", 0), ("n2", "follower", 0), ("n3", "follower", 3),
    ]  # fmt: skip
    assert group.members[0].address == f"127.0.0.1:{ports['n1']}@{ports['n1'] - 1}"


def test_a_member_that_is_away_is_shown(fake_node: FakeNode, lines_of: Lines) -> None:
    """It has a row, its trouble is told, and the group is not in order."""
    ports = {name: free_port() for name in ("n1", "n2")}
    fake_node(lines_of("n1", ports), port=ports["n1"])
    group = ask_group("127.0.0.1", ports["n1"], ANSWER_S_MAX)
    assert not group.in_order
    assert group.summary == "n1 leads 2 members in term 4; unreachable: n2"
    assert not group.members[1].reachable
    assert "refused" in group.members[1].trouble


def test_the_leader_of_an_older_term_does_not_lead(fake_node: FakeNode, lines_of: Lines) -> None:
    """A deposed leader that has not heard of it is shown, not believed."""
    ports = three(
        fake_node, lines_of, n2={"role": "leader", "term": 5, "leader_id": "n2"}, n3={"leader_id": "n2", "term": 5}
    )
    group = ask_group("127.0.0.1", ports["n1"], ANSWER_S_MAX)
    assert (group.leader_id, group.term) == ("n2", 5)
    assert group.summary == "n2 leads 3 members in term 5; not following it: n1"
    assert not group.in_order


def test_nobody_leads(fake_node: FakeNode, lines_of: Lines) -> None:
    """An election that is under way is told as such."""
    lost: dict[str, object] = {"role": "candidate", "leader_id": ""}
    ports = three(fake_node, lines_of, n1=lost, n2=lost, n3=lost)
    group = ask_group("127.0.0.1", ports["n1"], ANSWER_S_MAX)
    assert (group.in_order, group.summary) == (False, "no leader in term 4")


def test_an_address_where_another_node_answers_is_told(fake_node: FakeNode, lines_of: Lines) -> None:
    """Two clusters mixed up on one host do not look like one."""
    ports = {name: free_port() for name in ("n1", "n2")}
    fake_node(lines_of("n1", ports), port=ports["n1"])
    fake_node(lines_of("n7", ports), port=ports["n2"])
    row = ask_group("127.0.0.1", ports["n1"], ANSWER_S_MAX).members[1]
    assert not row.reachable
    assert "answers as 'n7', not as 'n2'" in row.trouble


def test_a_node_that_was_moved_while_away_is_told_where_to_start(fake_node: FakeNode, lines_of: Lines) -> None:
    """Started with its old address it hears nobody, and has not heard of the move: the leader's list says it."""
    ports = {name: free_port() for name in ("n1", "n2")}
    moved = f"127.0.0.1:1@{ports['n2'] - 1}"
    fake_node(lines_of("n1", ports | {"n2": 1}).replace("127.0.0.1:1@0", moved), port=ports["n1"])
    fake_node(lines_of("n2", ports, role="candidate", leader_id=""), port=ports["n2"])
    row = ask_group("127.0.0.1", ports["n2"], ANSWER_S_MAX).members[1]
    own = f"127.0.0.1:{ports['n2']}@{ports['n2'] - 1}"
    assert row.trouble.startswith(f"it answers at {own}, and n1, the leader, has it at {moved}: start it with --listen")


def test_the_table_has_a_line_per_member(fake_node: FakeNode, lines_of: Lines) -> None:
    """Role, term, positions and lag; a member that is away is marked."""
    ports = {name: free_port() for name in ("n1", "n2")}
    fake_node(lines_of("n1", ports), port=ports["n1"])
    text = io.StringIO()
    Console(file=text, width=140).print(group_table(ask_group("127.0.0.1", ports["n1"], ANSWER_S_MAX)))
    lines = [line for line in text.getvalue().splitlines() if line.strip().startswith(("│ n1", "│ n2"))]
    assert "leader" in lines[0]
    assert "unreachable" in lines[1]


def test_json_has_the_same_as_the_table(
    fake_node: FakeNode, lines_of: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    """One document, exit code 0 for a group in order."""
    ports = three(fake_node, lines_of)
    assert run_status(f"127.0.0.1:{ports['n1']}", as_json=True, watch=False, timeout_s=ANSWER_S_MAX) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["leader_id"] == "n1"
    assert [member["node_id"] for member in document["members"]] == ["n1", "n2", "n3"]
    assert document["members"][0]["commit_index"] == 10


def test_the_exit_code_tells_trouble(fake_node: FakeNode, lines_of: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """1 for a member that is away, 69 for a node that does not answer, 2 for an address that is none."""
    ports = {name: free_port() for name in ("n1", "n2")}
    fake_node(lines_of("n1", ports), port=ports["n1"])
    assert run_status(f"127.0.0.1:{ports['n1']}", as_json=False, watch=False, timeout_s=ANSWER_S_MAX) == 1
    assert "n2: 127.0.0.1" in capsys.readouterr().out
    assert run_status(f"127.0.0.1:{ports['n2']}@1", as_json=False, watch=False, timeout_s=ANSWER_S_MAX) == 69
    assert "refused" in capsys.readouterr().err
    assert run_status("nonsense", as_json=False, watch=False, timeout_s=ANSWER_S_MAX) == 2
    assert capsys.readouterr().err == (
        "raftline status: 'nonsense' is no address: write HOST:PORT, as in 127.0.0.1:7001\n"
    )


def test_watching_ends_when_nobody_reads_it(
    fake_node: FakeNode, lines_of: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before `| head -1`: it would ask the cluster every second for ever."""
    ports = three(fake_node, lines_of)

    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(status, "_WATCH_S", 0.0)
    assert run_status(f"127.0.0.1:{ports['n1']}", as_json=True, watch=True, timeout_s=ANSWER_S_MAX) == 0


def test_watching_looks_again_until_interrupted(
    fake_node: FakeNode, lines_of: Lines, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON line per look; Ctrl-C ends it with code 0; a node that vanishes meanwhile is told, not fatal."""
    ports = three(fake_node, lines_of)
    looks = 0

    def look(host: str, port: int, timeout_s: float) -> status.GroupStatus:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Unreachable("gone")
        if looks == 4:
            raise KeyboardInterrupt
        return ask_group(host, port, timeout_s)

    monkeypatch.setattr(status, "ask_group", look)
    monkeypatch.setattr(status, "_WATCH_S", 0.0)
    assert run_status(f"127.0.0.1:{ports['n1']}", as_json=True, watch=True, timeout_s=ANSWER_S_MAX) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["leader_id"] for line in captured.out.splitlines()] == ["n1", "n1"]
    assert captured.err == "raftline status: gone\n"
