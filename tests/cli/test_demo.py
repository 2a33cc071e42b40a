"""The demo tells the truth, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from raftline.cli import demo
from raftline.cli.demo import Demo
from raftline.cli.load import Load
from raftline.cli.local_cluster import ClusterTrouble, LocalCluster

PATIENT_DEMO = """
import functools
from raftline.cli import demo
demo.Demo = functools.partial(demo.Demo, write_s=600.0)
raise SystemExit(demo.run_demo())
"""
"""It is still in the middle when the signal comes, however late that is."""


def servers_in(directory: Path) -> list[str]:
    """Return the command lines of living processes that work in `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(directory) in command and " server " in command:
                found.append(command)
    return found


@pytest.mark.parametrize("terminal", [False, True])
def test_the_demo_holds_its_promises(tmp_path: Path, terminal: bool) -> None:  # noqa: FBT001  a parameter of the test
    """Leader killed, writes resumed, nothing lost, logs alike: exit code 0 and a line for each promise."""
    console = Console(
        record=True, width=140, force_terminal=terminal, highlight=False, file=(tmp_path / "out").open("w")
    )
    with LocalCluster(tmp_path) as cluster:
        code = Demo(cluster, console, write_s=0.6).run()
    told = console.export_text()
    console.file.close()
    assert code == 0, told
    assert "killed with SIGKILL" in told
    assert "writes were refused for" in told
    assert told.count("ok    ") == 5
    assert "FAIL" not in told
    assert servers_in(tmp_path) == []


def test_the_demo_minds_nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the environment is for another cluster: its own nodes would refuse the demo."""
    started: list[Mapping[str, str] | None] = []

    class Cluster(LocalCluster):
        def start(self, *names: str, wait: bool = True) -> None:  # noqa: ARG002
            started.append(self.env)
            raise ClusterTrouble("far enough")

    monkeypatch.setenv("RAFTLINE_PASSWORD", "secret")
    monkeypatch.setattr(demo, "LocalCluster", Cluster)
    assert demo.run_demo() == 1
    (env,) = started
    assert env is not None
    assert env["PATH"]
    assert not [name for name in env if name.startswith("RAFTLINE_")]


def test_the_demo_fails_when_something_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is told, and the exit code is 1."""
    console = Console(record=True, width=140, file=(tmp_path / "out").open("w"))
    monkeypatch.setattr(Load, "check_node", lambda _self, port: [f"key missing on {port}"] * 4)
    with LocalCluster(tmp_path) as cluster:
        assert Demo(cluster, console, write_s=0.3).run() == 1
    told = console.export_text()
    console.file.close()
    assert "FAIL" in told
    assert "key missing on" in told
    assert "and 7 more" in told


def test_the_demo_ends_with_1_when_a_server_cannot_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is on standard error."""
    monkeypatch.setattr(LocalCluster, "command", lambda _self, _name: [sys.executable, "-c", "raise SystemExit(3)"])
    assert demo.run_demo() == 1
    assert "ended with exit code 3 before it served" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_comes_inside_a_finalizer_ends_the_demo_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python drops what a signal handler raises there (redis-py's clients have finalizers); the demo ends anyway."""

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def start(_self: LocalCluster, *_names: str) -> None:
        Finalized()

    monkeypatch.setattr(LocalCluster, "start", start)
    monkeypatch.setattr(LocalCluster, "wait_for_leader", lambda _self: "n1")
    assert demo.run_demo() == 1
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle: no process and no directory is left."""
    process = subprocess.Popen(
        # A shell that runs the tests in the background lets them ignore Ctrl-C; the demo must not inherit that.
        ["env", "--default-signal=INT,TERM", sys.executable, "-c", PATIENT_DEMO],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if b"leads" in line:
            break
    assert len(servers_in(tmp_path)) == 3
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"interrupted" in complaint
    deadline = time.monotonic() + 5
    while servers_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert servers_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
