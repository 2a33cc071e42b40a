"""`raftline top` against nodes that are not there, or say what a test wants, and against a real one in a terminal."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable

import pytest

from raftline.cli.exit_codes import ExitCode
from raftline.cli.local_cluster import free_port
from raftline.cli.top import look_at, look_at_all, run_top

Lines = Callable[..., str]
FakeNode = Callable[..., int]

ANSWER_S_MAX = 60.0
"""Nothing here waits for it: who is away refuses at once."""


def _three(fake_node: FakeNode, lines_of: Lines, *up: str) -> dict[str, int]:
    ports = {name: free_port() for name in ("n1", "n2", "n3")}
    for name in up:
        fake_node(lines_of(name, ports), port=ports[name])
    return ports


def test_whoever_is_asked_all_members_are_seen(fake_node: FakeNode, lines_of: Lines) -> None:
    """A node names the others, and each is asked for itself; who is away keeps a row with the reason."""
    ports = _three(fake_node, lines_of, "n1", "n2")
    looks = look_at_all({"n2": f"127.0.0.1:{ports['n2']}"}, ANSWER_S_MAX)
    assert [look.node_id for look in looks] == ["n1", "n2", "n3"]
    assert looks[0].lines["raft_role"] == "leader"
    assert looks[2].info is None
    assert "refused" in looks[2].trouble


def test_one_frame_can_be_piped(fake_node: FakeNode, lines_of: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """--once prints a frame without control characters; the exit code says whether all answered."""
    ports = _three(fake_node, lines_of, "n1", "n2", "n3")
    target = f"127.0.0.1:{ports['n3']}"
    assert run_top(target, once=True, interval_s=0.0, timeout_s=ANSWER_S_MAX) is ExitCode.OK
    printed = capsys.readouterr().out
    assert printed.startswith("n1 leads in term 4; 3 of 3 nodes answer\n")
    assert "latency by stage" in printed
    assert "\x1b" not in printed
    away = _three(fake_node, lines_of, "n1")
    assert run_top(f"127.0.0.1:{away['n1']}", once=True, interval_s=0.0, timeout_s=ANSWER_S_MAX) is ExitCode.TROUBLE
    assert "1 of 3 nodes answer" in capsys.readouterr().out


def test_a_node_that_is_not_there_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """An address that is none, nobody there, and somebody else's address."""
    assert run_top("nowhere", once=True, interval_s=0.0, timeout_s=ANSWER_S_MAX) is ExitCode.CONFIG
    assert (
        run_top(f"127.0.0.1:{free_port()}", once=True, interval_s=0.0, timeout_s=ANSWER_S_MAX) is ExitCode.UNAVAILABLE
    )
    complaints = capsys.readouterr().err.splitlines()
    assert complaints[0] == "raftline top: 'nowhere' is no address: write HOST:PORT, as in 127.0.0.1:7001"
    assert "refused" in complaints[1]


def test_a_node_of_another_name_is_not_believed(fake_node: FakeNode, lines_of: Lines) -> None:
    """Two nodes that changed addresses are seen as such."""
    port = fake_node(lines_of("n1", {"n1": 7001}))
    look = look_at("n2", f"127.0.0.1:{port}", ANSWER_S_MAX)
    assert look.info is None
    assert look.trouble == f"127.0.0.1:{port} answers as 'n1', not as 'n2'"


def test_a_key_ends_it_and_the_terminal_is_as_before(fake_node: FakeNode, lines_of: Lines) -> None:
    """In a terminal frames follow each other until q; then the screen comes back."""
    ports = _three(fake_node, lines_of, "n1", "n2", "n3")
    command = [sys.executable, "-m", "raftline", "top", f"127.0.0.1:{ports['n1']}", "--interval-s", "0.1"]
    command += ["--timeout-s", str(ANSWER_S_MAX)]
    terminal, its_side = pty.openpty()
    process = subprocess.Popen(
        command, stdin=its_side, stdout=its_side, stderr=its_side, env={**os.environ, "TERM": "xterm"}
    )
    os.close(its_side)
    shown = b""
    is_told = False
    while select.select([terminal], [], [], 60)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break  # the child closed its side
        shown += data
        if not is_told and shown.count(b"latency by stage") >= 2:
            os.write(terminal, b"q")
            is_told = True
    os.close(terminal)
    assert process.wait(60) == 0, shown
    assert b"q quits" in shown
    assert b"\x1b[?1049l" in shown
